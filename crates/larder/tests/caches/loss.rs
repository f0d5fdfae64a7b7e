//! A node is killed, or stands still, while clients ask the others.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::load::{Diary, Load, Odd, What};
use crate::support::caches::Caches;
use crate::support::until;

/// Besides, nobody may be taken for silent who is only slow here.
const PATIENT: &str = "--peer-timeout 5000";

/// What was stored at a stand-in lives so long, and what a node that is back should have forgotten is told
/// no longer.
pub(crate) const GUTTER: Duration = Duration::from_secs(10);

/// Of all who run, those but one.
fn but(caches: &Caches, lost: u16) -> Vec<u16> {
    caches.nodes().filter(|node| *node != lost).collect()
}

/// Waits until these say that a node is lost.
pub(crate) fn until_lost(caches: &Caches, asked: &[u16], lost: u16) {
    let name = caches.address(lost);
    for node in asked {
        until("it is known to be lost", || {
            (caches.stats(*node).state(&name) == Some("lost")).then_some(())
        });
    }
}

/// That of the answers of a second since `from` less than a thousandth are errors, and none after it.
pub(crate) fn has_few_errors(diary: &Diary, from: Instant) {
    let within = |at: &Instant| (from..from + Duration::from_secs(1)).contains(at);
    let answers = diary.answers.iter().filter(|at| within(at)).count();
    let is_error = |odd: &&Odd| matches!(odd.what, What::Error(_));
    let errors: Vec<_> = diary.odd.iter().filter(is_error).collect();
    let early = errors.iter().filter(|odd| within(&odd.at)).count();
    assert!(early * 1000 < answers, "{early} of {answers}: {errors:?}");
    assert_eq!(early, errors.len(), "{errors:?}");
}

/// That nothing is missing but what these nodes had.
fn misses_only(caches: &Caches, diary: &Diary, lost: &[u16]) {
    let owners = caches.owners();
    let is_wrong =
        |odd: &&Odd| odd.what == What::Miss && !lost.contains(&owners.of(odd.key.as_bytes()));
    let wrong: Vec<_> = diary.odd.iter().filter(is_wrong).collect();
    assert!(wrong.is_empty(), "{}: {:?}", wrong.len(), wrong[0]);
}

fn old(diary: &Diary) -> Vec<&Odd> {
    diary.odd.iter().filter(|odd| odd.what == What::Old).collect()
}

#[test]
fn who_is_killed_costs_its_own_keys_and_nothing_else() {
    let mut caches = Caches::start(5, PATIENT);
    let lost = 3;
    let load = Load::start(&caches, 8, &but(&caches, lost));
    load.go_on(500);
    let killed = Instant::now();
    caches.kill(lost);
    load.go_on(200);
    until_lost(&caches, &but(&caches, lost), lost);
    load.go_on(500);
    // Another, which has nothing, takes its place.
    caches.open(lost);
    caches.until_all_see(5);
    load.go_on(500);
    let diary = load.end();
    caches.until_all_know(5);
    has_few_errors(&diary, killed);
    misses_only(&caches, &diary, &[lost]);
    assert!(old(&diary).is_empty(), "{:?}", old(&diary));
    for node in caches.nodes() {
        diary.compare(caches.client(node), &caches.owners(), &[lost]);
    }
}

#[test]
fn who_stood_still_tells_nothing_old_when_it_is_back() {
    let caches = Caches::start(5, "--peer-timeout 1000");
    // It is missed by who asks it, and by all who are of the cluster.
    for (still, is_lost) in [(2, false), (4, true)] {
        let load = Load::start(&caches, 8, &but(&caches, still));
        load.go_on(200);
        let stood_in = |node: u16| caches.stats(node).number("stood_in");
        let before: Vec<_> = caches.nodes().map(stood_in).collect();
        let stopped = Instant::now();
        caches.signal(still, Signal::SIGSTOP);
        if is_lost {
            until_lost(&caches, &but(&caches, still), still);
            load.go_on(500);
        } else {
            for node in but(&caches, still) {
                until("others stand in", || {
                    (stood_in(node) > before[usize::from(node - 1)]).then_some(())
                });
            }
        }
        let back = Instant::now();
        caches.signal(still, Signal::SIGCONT);
        caches.until_all_see(5);
        load.go_on(500);
        let diary = load.end();
        caches.until_all_know(5);
        has_few_errors(&diary, stopped);
        misses_only(&caches, &diary, &[still]);
        let late = |odd: &&Odd| !(back..back + GUTTER).contains(&odd.at);
        let old: Vec<_> = old(&diary).into_iter().filter(late).collect();
        assert!(old.is_empty(), "{old:?}");
        for node in caches.nodes() {
            diary.compare(caches.client(node), &caches.owners(), &[still]);
        }
    }
}
