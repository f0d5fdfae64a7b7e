//! Nodes that lead no longer, and what becomes of what they had proposed.

use larder_protocol::Outcome;

use super::basics::{NOW, count};
use super::block_on;
use super::cluster::{Cluster, eventually, set_at_last};
use crate::replica::Part;

/// Nobody has told its client that nobody knows, though the leader that was asked was cut off, and another
/// has led since.
#[test]
fn what_a_leader_had_proposed_that_was_cut_off_the_next_does_once() {
    let cluster = Cluster::of_one_group(3);
    set_at_last(&mut cluster.session(1), "n", "0");
    for times in 1.. {
        let led = cluster.leader();
        let last = || cluster.stores[&led].groups().replica(1).unwrap().group().standing().last;
        let (mut session, before) = (cluster.session(led), last());
        cluster.cut(&[led]);
        let counted = session.execute(b"n", &count(1), NOW);
        eventually("another leads", || {
            let mut others = cluster.stores.iter().filter(|(node, _)| **node != led);
            others.find(|(_, store)| matches!(store.groups().part(1), Part::Leads(_))).map(drop)
        });
        let proposed = last() > before;
        cluster.mend();
        match block_on(counted) {
            Outcome::Counted(counted) => assert_eq!(counted.number, times),
            other => panic!("{other:?}"),
        }
        // It may have noticed sooner that nobody follows it.
        if proposed {
            break;
        }
    }
}
