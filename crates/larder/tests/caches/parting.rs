//! Two halves that cannot reach each other, while clients of both write and delete.

use std::time::{Duration, Instant};

use nix::unistd::geteuid;

use crate::load::{Load, Odd, What};
use crate::loss::{GUTTER, has_few_errors, until_lost};
use crate::support::caches::Caches;

/// How long they are parted: long after each half has made do with itself.
const APART: Duration = Duration::from_mins(1);

#[test]
fn halves_that_were_parted_agree_again_and_tell_nothing_old_for_long() {
    if !geteuid().is_root() {
        println!("not root: there is no network to part");
        return;
    }
    let caches = Caches::start_apart(5, "--peer-timeout 1000");
    let (two, three) = (&[1, 2], &[3, 4, 5]);
    let all: Vec<_> = caches.nodes().collect();
    let load = Load::start(&caches, 10, &all);
    load.go_on(200);
    let parted = Instant::now();
    caches.part(two, three);
    for (asked, lost) in [(&two[..], &three[..]), (three, two)] {
        for lost in lost {
            until_lost(&caches, asked, *lost);
        }
    }
    println!("each half knows after {:.1?}", parted.elapsed());
    while parted.elapsed() < APART {
        load.go_on(100);
    }
    let joined = Instant::now();
    caches.join(two, three);
    caches.until_all_see(5);
    println!("all see all {:.1?} after they are joined", joined.elapsed());
    caches.until_all_know(5);
    println!("nothing is owed after {:.1?}", joined.elapsed());
    while joined.elapsed() < GUTTER {
        load.go_on(100);
    }
    load.go_on(500);
    let diary = load.end();
    has_few_errors(&diary, parted);
    let is_old = |odd: &&Odd| odd.what == What::Old;
    let old: Vec<_> = diary.odd.iter().filter(is_old).collect();
    let last = old.iter().map(|odd| odd.at.saturating_duration_since(joined)).max();
    println!(
        "of {} answers {} were old, the last after {last:.1?}",
        diary.answers.len(),
        old.len()
    );
    let wrong: Vec<_> =
        old.into_iter().filter(|odd| !(joined..joined + GUTTER).contains(&odd.at)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    // Of a key that both halves had something may be there or not, but never what is old.
    for node in caches.nodes() {
        diary.compare(caches.client(node), &caches.owners(), &all);
    }
}
