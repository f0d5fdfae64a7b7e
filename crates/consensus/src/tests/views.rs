//! Who lacks what, and whether it goes on from the history that is kept or becomes a view.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedMutexGuard;

use super::{Cluster, Ledger, change, entries, propose_all, until};
use crate::group::{Group, Members};

/// Node 1 alone, which has all these entries and has forgotten their history but for so many.
async fn one_with(entries: &[Bytes], kept: u64) -> (Cluster, Arc<Group>) {
    let cluster = Cluster::of(1).await;
    cluster.leader().await;
    let first = Arc::clone(&cluster.nodes[&1].group);
    propose_all(&first, entries).await;
    first.forget_history(kept, None).await.unwrap();
    (cluster, first)
}

/// Has a node take part.
async fn join(cluster: &mut Cluster, first: &Group, node: u64) {
    cluster.start(node).await;
    change(first, Members::Admit(node, String::new())).await.unwrap();
}

/// Has node 2 take part, and be given a view, which it does not become before the guard is dropped.
async fn give_view(cluster: &mut Cluster, first: &Group) -> (Ledger, OwnedMutexGuard<()>) {
    cluster.start(2).await;
    let ledger = cluster.nodes[&2].ledger.clone();
    let gate = Arc::clone(&ledger.0.lock().gate);
    let held = gate.lock_owned().await;
    change(first, Members::Admit(2, String::new())).await.unwrap();
    until("it is given a view", || ledger.0.lock().begun > 0).await;
    (ledger, held)
}

#[tokio::test]
async fn who_joins_after_the_history_was_forgotten_becomes_a_view() {
    let all = entries(0, 300);
    let (mut cluster, first) = one_with(&all[..200], 10).await;
    propose_all(&first, &all[200..250]).await;
    for joins in [2, 3] {
        join(&mut cluster, &first, joins).await;
        cluster.agree_on(&all[..250]).await;
        assert_eq!(cluster.nodes[&joins].ledger.0.lock().installed, 1);
    }
    change(&first, Members::Voters([1, 2, 3].into())).await.unwrap();
    propose_all(&first, &all[250..]).await;
    cluster.agree_on(&all).await;
    // What was installed counts after a restart, and one of three may be gone.
    cluster.stop(1).await;
    let leader = cluster.leader().await;
    propose_all(&cluster.nodes[&leader].group, &entries(300, 310)).await;
    cluster.stop(2).await;
    cluster.start(1).await;
    cluster.start(2).await;
    cluster.agree_on(&entries(0, 310)).await;
}

#[tokio::test]
async fn a_view_whose_parts_take_long_arrives() {
    let all = entries(0, 5);
    let (mut cluster, first) = one_with(&all, 0).await;
    // Longer than entries may take.
    *cluster.wires.slowness.lock() = Duration::from_millis(200);
    join(&mut cluster, &first, 2).await;
    cluster.agree_on(&all).await;
    assert_eq!(cluster.nodes[&2].ledger.0.lock().begun, 1);
}

#[tokio::test]
async fn who_is_given_another_view_while_it_becomes_one_becomes_that_first() {
    let all = entries(0, 300);
    let (mut cluster, first) = one_with(&all[..200], 10).await;
    let given = cluster.nodes[&1].ledger.clone();
    let (_, held) = give_view(&mut cluster, &first).await;
    // Its leader does not hear that it has it, and offers what it has by then.
    let viewed = given.0.lock().viewed;
    cluster.cut_off(2);
    propose_all(&first, &all[200..]).await;
    until("the leader tries again", || given.0.lock().viewed > viewed).await;
    cluster.wires.cut.lock().clear();
    let viewed = given.0.lock().viewed;
    until("its offer is refused", || given.0.lock().viewed > viewed + 1).await;
    drop(held);
    cluster.agree_on(&all).await;
    assert_eq!(cluster.nodes[&2].group.failure(), None);
    cluster.stop(2).await;
    cluster.start(2).await;
    cluster.agree_on(&all).await;
}

#[tokio::test]
async fn who_is_stopped_while_it_becomes_a_view_becomes_it_when_it_is_opened_again() {
    let all = entries(0, 200);
    let (mut cluster, first) = one_with(&all, 10).await;
    let (ledger, held) = give_view(&mut cluster, &first).await;
    cluster.nodes[&2].group.abandon_view();
    drop(held);
    cluster.stop(2).await;
    until("its thread has ended", || Arc::strong_count(&ledger.0) == 1).await;
    assert_eq!(ledger.0.lock().installed, 0);
    // Nobody gives it another.
    cluster.stop(1).await;
    cluster.start(2).await;
    cluster.agree_on(&all).await;
    assert_eq!(cluster.nodes[&2].ledger.0.lock().installed, 1);
}

#[tokio::test]
async fn what_is_written_while_a_view_is_installed_is_kept_for_who_becomes_it() {
    let all = entries(0, 500);
    let (mut cluster, first) = one_with(&all[..200], 10).await;
    let (ledger, held) = give_view(&mut cluster, &first).await;
    for some in all[200..].chunks(100) {
        propose_all(&first, some).await;
        first.forget_history(10, first.held_by_all()).await.unwrap();
    }
    drop(held);
    cluster.agree_on(&all).await;
    assert_eq!(ledger.0.lock().begun, 1);
}

#[tokio::test]
async fn who_was_away_goes_on_from_the_history_that_was_kept_for_it() {
    // Of who led, the next leader has heard nothing.
    for led in [false, true] {
        let cluster = Cluster::of(3).await;
        let all = entries(0, 600);
        let leader = cluster.leader().await;
        propose_all(&cluster.nodes[&leader].group, &all[..100]).await;
        cluster.agree_on(&all[..100]).await;
        for node in cluster.nodes.values() {
            node.group.forget_history(10, None).await.unwrap();
        }
        let away = cluster.nodes.keys().copied().find(|node| (*node == leader) == led).unwrap();
        cluster.cut_off(away);
        let leader = cluster.leader_after(away).await;
        let group = &cluster.nodes[&leader].group;
        for some in all[100..].chunks(100) {
            propose_all(group, some).await;
            group.forget_history(10, group.held_by_all()).await.unwrap();
        }
        cluster.wires.cut.lock().clear();
        cluster.agree_on(&all).await;
        assert_eq!(cluster.nodes[&away].ledger.0.lock().begun, 0);
    }
}

/// It is forgotten as far as that is asked for, and no further by itself.
#[tokio::test]
async fn who_joins_while_all_history_is_kept_is_given_it() {
    let all = entries(0, 1200);
    let kept = all.len() as u64 + 100;
    let (mut cluster, first) = one_with(&all, kept).await;
    first.forget_history(kept, None).await.unwrap();
    join(&mut cluster, &first, 2).await;
    cluster.agree_on(&all).await;
    assert_eq!(cluster.nodes[&2].ledger.0.lock().installed, 0);
}
