//! Cuts of a cluster that is written to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use larder_peer::{CallError, Credentials, Link, PeerId, Secret, Settings};
use larder_protocol::{Exptime, Op, Outcome, Seconds};

use super::basics::{NOW, put};
use super::block_on;
use super::cluster::{Cluster, eventually, set_at_last};
use super::groups::keys_of;
use crate::backup::call::{BACKUP, Call, Reply, decode, encode};
use crate::backup::{Cut, Item, Leader, Scene, Snapshots};

const GROUPS: u64 = 3;

/// Who asks the nodes of a cluster.
struct Asker {
    runtime: tokio::runtime::Runtime,
    credentials: Credentials,
}

impl Asker {
    fn new() -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let me = PeerId { id: 0, name: "admin".into() };
        let secret = Secret::new(b"0123456789abcdef").unwrap();
        Self {
            runtime: runtime.worker_threads(1).enable_all().build().unwrap(),
            credentials: Credentials::new("tests", me, secret).unwrap(),
        }
    }

    /// Takes one, as soon as all groups are led.
    fn cut(&self, cluster: &Cluster, id: u64) -> Cut {
        eventually("a cut is taken", || {
            self.runtime.block_on(Cut::take(id, scene(cluster), &self.credentials)).ok()
        })
    }

    fn ask(&self, cluster: &Cluster, node: u64, call: &Call) -> Result<Reply, String> {
        self.runtime.block_on(async {
            let settings = Settings::default();
            let address = cluster.address(node);
            let link = Link::open(&address, Some(node), self.credentials.clone(), settings);
            let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
            match link.call(BACKUP, encode(call).unwrap(), deadline).await {
                Ok(answer) => Ok(decode(&answer).unwrap()),
                Err(CallError::Refused(why)) => Err(why.to_string()),
                Err(error) => panic!("{error}"),
            }
        })
    }

    /// All that a cut has, by key.
    fn read(&self, cut: &Cut) -> BTreeMap<String, (String, Seconds)> {
        let mut all = BTreeMap::new();
        for group in cut.groups() {
            for number in 0.. {
                let part = self.runtime.block_on(cut.part(group, number)).unwrap();
                for item in Item::all(&part.items) {
                    let item = item.unwrap();
                    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                    all.insert(text(item.key), (text(item.value), item.exptime));
                }
                if part.is_last {
                    break;
                }
            }
        }
        all
    }
}

/// What group 0 would say.
fn scene(cluster: &Cluster) -> Scene {
    let leader = |group| {
        let node = cluster.leader_of(group);
        (group, Leader { node, name: format!("db{node}"), address: cluster.address(node) })
    };
    let leaders = (1..=GROUPS).map(leader).collect();
    Scene { cluster: "tests".to_owned(), cluster_id: 7, leaders }
}

/// Of each pair of groups one client writes, again and again, a number to a key of the first, and when
/// that is acknowledged to a key of the other.
#[test]
fn what_a_cut_has_it_has_with_all_that_was_acknowledged_before_that_was_sent() {
    let cluster = Cluster::of(3);
    let asker = Asker::new();
    let stop = AtomicBool::new(false);
    let pair = |number: u64| (number / GROUPS + 1, number % GROUPS + 1);
    let keys = |number: u64| {
        let (first, second) = pair(number);
        let key = |group| keys_of(group, 10)[usize::try_from(number).unwrap()].clone();
        (key(first), keys_of(second, 30)[usize::try_from(10 + number).unwrap()].clone())
    };
    let numbers: Vec<_> = (0..GROUPS * GROUPS).filter(|n| pair(*n).0 != pair(*n).1).collect();
    let written: BTreeMap<_, _> = numbers.iter().map(|n| (*n, AtomicU64::new(0))).collect();
    thread::scope(|scope| {
        for (number, written) in &written {
            let mut session = cluster.session(1 + number % 3);
            let (stop, (first, second)) = (&stop, keys(*number));
            scope.spawn(move || {
                for round in 1.. {
                    for key in [&first, &second] {
                        set_at_last(&mut session, key, &round.to_string());
                    }
                    written.store(round, Ordering::SeqCst);
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        for id in 0..25 {
            let before: BTreeMap<_, _> =
                written.iter().map(|(n, written)| (*n, written.load(Ordering::SeqCst))).collect();
            let cut = asker.cut(&cluster, id);
            let all = asker.read(&cut);
            let round = |key: &str| all.get(key).map_or(0, |(value, _)| value.parse().unwrap());
            for number in &numbers {
                let (first, second) = keys(*number);
                let (first, second): (u64, u64) = (round(&first), round(&second));
                assert!(first >= second, "cut {id}: {second} without {first}: {number}");
                assert!(second >= before[number], "cut {id}: {number} was acknowledged before");
            }
            asker.runtime.block_on(cut.end());
            let counted: Vec<_> = written.values().map(|n| n.load(Ordering::SeqCst)).collect();
            eventually("all write on", || {
                let mut now = written.values().map(|n| n.load(Ordering::SeqCst)).zip(&counted);
                now.all(|(now, then)| now > *then).then_some(())
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// The same, with as much time between the snapshots of two groups as a client needs.
#[test]
fn what_is_sent_while_all_hold_back_is_in_no_cut_and_is_done_then() {
    let cluster = Cluster::of(3);
    let asker = Asker::new();
    let [first, second, third] = [1, 2, 3].map(|group| keys_of(group, 1).remove(0));
    let leaders = [1, 2].map(|group| (group, cluster.leader_of(group)));
    let mut probe = cluster.session(1);
    for key in [&first, &second, &third] {
        set_at_last(&mut probe, key, "before");
    }
    let all = |call: &dyn Fn(u64) -> Call| {
        for (group, leader) in leaders {
            assert_eq!(asker.ask(&cluster, leader, &call(group)), Ok(Reply::Done));
        }
    };
    all(&|group| Call::Hold { cut: 1, group });
    let take = |at: usize| {
        let (group, leader) = leaders[at];
        assert_eq!(asker.ask(&cluster, leader, &Call::Take { cut: 1, group }), Ok(Reply::Done));
    };
    take(0);
    let mut session = cluster.session(2);
    let writes = [first, second];
    thread::scope(|scope| {
        let written = scope.spawn(move || {
            for key in writes {
                set_at_last(&mut session, &key, "after");
            }
        });
        // One that nobody holds back goes on meanwhile, for longer than those two writes take.
        for _ in 0..10 {
            set_at_last(&mut probe, &third, "meanwhile");
        }
        take(1);
        all(&|_| Call::GoOn { cut: 1 });
        written.join().unwrap();
    });
    for (group, leader) in leaders {
        let part = Call::Part { cut: 1, group, number: 0 };
        let Ok(Reply::Part { items, .. }) = asker.ask(&cluster, leader, &part) else { panic!() };
        assert_eq!(Item::take(&mut items.as_slice()).unwrap().value, b"before", "group {group}");
    }
}

#[test]
fn a_group_that_went_on_by_itself_or_is_led_by_another_is_in_no_cut() {
    let mut cluster = Cluster::of(3);
    let asker = Asker::new();
    let leader = cluster.leader_of(1);
    let key = keys_of(1, 1).remove(0);
    let mut session = cluster.session(leader);
    set_at_last(&mut session, &key, "before");
    assert_eq!(asker.ask(&cluster, leader, &Call::Hold { cut: 1, group: 1 }), Ok(Reply::Done));
    let second = asker.ask(&cluster, leader, &Call::Hold { cut: 2, group: 1 }).unwrap_err();
    assert!(second.contains("another backup"), "{second}");
    let other = leader % 3 + 1;
    let follower = asker.ask(&cluster, other, &Call::Hold { cut: 1, group: 1 }).unwrap_err();
    assert!(follower.contains("does not lead group 1"), "{follower}");
    // It waits, and is done when the time is over, though nobody says so.
    set_at_last(&mut session, &key, "after");
    let late = asker.ask(&cluster, leader, &Call::Take { cut: 1, group: 1 }).unwrap_err();
    assert!(late.contains("gone on"), "{late}");
    assert_eq!(asker.ask(&cluster, leader, &Call::Drop { cut: 1 }), Ok(Reply::Done));
    // Of one that was let go, of none, and of a node that leads no longer.
    let gone = asker.ask(&cluster, leader, &Call::Take { cut: 1, group: 1 }).unwrap_err();
    assert!(gone.contains("it has nothing of group 1"), "{gone}");
    assert_eq!(asker.ask(&cluster, leader, &Call::Hold { cut: 3, group: 1 }), Ok(Reply::Done));
    let to = leader % 3 + 1;
    let group = cluster.stores[&leader].groups().replica(1).unwrap().group();
    let handed = group.hand_over(to, Duration::from_secs(10));
    asker.runtime.block_on(handed).unwrap();
    let led = asker.ask(&cluster, leader, &Call::Take { cut: 3, group: 1 }).unwrap_err();
    assert!(led.contains("does not lead group 1") || led.contains("no majority"), "{led}");
    drop(group);
    assert_eq!(asker.ask(&cluster, leader, &Call::Drop { cut: 3 }), Ok(Reply::Done));
    // Who is lost takes what it kept along.
    let cut = asker.cut(&cluster, 4);
    let leader = cluster.leader_of(1);
    cluster.kill(leader);
    cluster.open(leader);
    let lost = eventually("it answers again", || {
        let why = asker.runtime.block_on(cut.part(1, 0)).unwrap_err();
        why.contains("nothing of group 1").then_some(why)
    });
    assert!(lost.starts_with(&format!("db{leader} ")), "{lost}");
}

#[test]
fn parts_are_given_again_and_in_order_and_stay_as_they_were() {
    let cluster = Cluster::of(3);
    let asker = Asker::new();
    let keys = keys_of(1, 3);
    let mut session = cluster.session(1);
    let large = "x".repeat(1 << 20);
    for key in &keys {
        set_at_last(&mut session, key, &large);
    }
    let cut = asker.cut(&cluster, 1);
    set_at_last(&mut session, &keys[1], "later");
    let part = |number| asker.runtime.block_on(cut.part(1, number));
    let first = part(0).unwrap();
    assert_eq!(part(0).unwrap(), first, "its answer may have been lost");
    assert!(!first.is_last && first.items.len() > large.len());
    // Who leads by then does not matter.
    let leader = cluster.leader_of(1);
    let group = cluster.stores[&leader].groups().replica(1).unwrap().group();
    let handed = group.hand_over(leader % 3 + 1, Duration::from_secs(10));
    asker.runtime.block_on(handed).unwrap();
    drop(group);
    set_at_last(&mut session, &keys[2], "much later");
    let wrong = part(2).unwrap_err();
    assert!(wrong.contains("part 2 was asked for behind 1 others"), "{wrong}");
    let rest: Vec<_> = (1..4).map(|number| part(number).unwrap()).collect();
    assert_eq!(rest.iter().map(|part| part.is_last).collect::<Vec<_>>(), [false, false, true]);
    assert!(part(0).is_err(), "it is gone by then");
    let whole: Vec<_> = [first].into_iter().chain(rest).flat_map(|part| part.items).collect();
    let mut items = whole.as_slice();
    for _ in &keys {
        assert_eq!(Item::take(&mut items).unwrap().value, large.as_bytes());
    }
    assert!(items.is_empty());
}

#[test]
fn what_is_flushed_is_in_no_cut_and_what_is_to_be_flushed_goes_then() {
    let cluster = Cluster::of(3);
    let asker = Asker::new();
    let mut session = cluster.session(1);
    let flush = |session: &mut crate::Session, at| {
        eventually("it is flushed", || {
            matches!(block_on(session.flush_all(at, NOW)), Outcome::Deleted).then_some(())
        });
    };
    let [gone, soon, late] = [0, 1, 2].map(|at| keys_of(2, 3).remove(at));
    set_at_last(&mut session, &gone, "gone");
    flush(&mut session, 0);
    for (key, exptime) in [(&soon, NOW + 10), (&late, 0)] {
        let exptime = Exptime(i64::from(exptime));
        let op = Op::Store(larder_protocol::Store { exptime, ..put(b"v") });
        eventually("it is stored", || {
            let outcome = block_on(session.execute(key.as_bytes(), &op, NOW));
            matches!(outcome, Outcome::Stored { .. }).then_some(())
        });
    }
    flush(&mut session, NOW + 50);
    let all = asker.read(&asker.cut(&cluster, 1));
    let expected = [(soon, ("v".to_owned(), NOW + 10)), (late, ("v".to_owned(), NOW + 50))];
    assert_eq!(all, BTreeMap::from(expected));
}

#[test]
fn what_nobody_asks_for_is_let_go_and_there_are_not_too_many_at_once() {
    let cluster = Cluster::of_one_group(1);
    let (asker, store) = (Asker::new(), &cluster.stores[&cluster.leader()]);
    let snapshots = Snapshots::new(Arc::clone(store.groups()), Arc::clone(store.shared()));
    let snapshots = Arc::new(snapshots);
    let ask = |call: &Call| {
        let answer = Arc::clone(&snapshots).answer(encode(call).unwrap());
        let answer = asker.runtime.block_on(answer).map_err(|refusal| refusal.0);
        answer.map(|answer| decode::<Reply>(&answer).unwrap())
    };
    for cut in 1..=4 {
        assert_eq!(ask(&Call::Hold { cut, group: 1 }), Ok(Reply::Done));
        assert_eq!(ask(&Call::Take { cut, group: 1 }), Ok(Reply::Done));
        assert_eq!(ask(&Call::GoOn { cut }), Ok(Reply::Done));
    }
    let more = ask(&Call::Hold { cut: 5, group: 1 }).unwrap_err();
    assert!(more.contains("4 backups"), "{more}");
    assert!(snapshots.clear(Duration::from_mins(1)));
    ask(&Call::Part { cut: 1, group: 1, number: 0 }).unwrap();
    assert!(!snapshots.clear(Duration::ZERO));
    let gone = ask(&Call::Part { cut: 1, group: 1, number: 0 }).unwrap_err();
    assert!(gone.contains("not asked for a minute"), "{gone}");
    ask(&Call::Hold { cut: 5, group: 1 }).unwrap();
}
