//! Groups whose leaders hand that on, and what becomes of what was proposed meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::{Cluster, PATIENCE, entries, propose_all};
use crate::group::{Group, Unproposed};

#[tokio::test]
async fn leadership_is_handed_over_and_stays_where_the_other_cannot_take_it() {
    let cluster = Cluster::of(3).await;
    let first = cluster.leader().await;
    let group = &cluster.nodes[&first].group;
    let all = entries(0, 40);
    propose_all(group, &all[..10]).await;
    let next = first % 3 + 1;
    group.hand_over(next, PATIENCE).await.unwrap();
    assert_eq!(cluster.leader().await, next);
    group.hand_over(first, PATIENCE).await.unwrap_err();
    let group = &cluster.nodes[&next].group;
    propose_all(group, &all[10..20]).await;
    // The other is gone: what is proposed after is done, by whoever leads then.
    cluster.cut_off(first);
    group.hand_over(first, Duration::from_millis(300)).await.unwrap_err();
    let leader = cluster.leader().await;
    propose_all(&cluster.nodes[&leader].group, &all[20..]).await;
    cluster.wires.cut.lock().clear();
    cluster.agree_on(&all).await;
}

/// What is not with a majority yet may be undone by whoever leads next.
#[tokio::test]
async fn nobody_is_told_to_lead_while_something_is_on_its_way() {
    let cluster = Cluster::of(3).await;
    let first = cluster.leader().await;
    let group = &cluster.nodes[&first].group;
    let all = entries(0, 20);
    propose_all(group, &all).await;
    cluster.agree_on(&all).await;
    let entry = Bytes::from_static(b"under way");
    *cluster.wires.mute.lock() = Some(first);
    let proposed = group.propose(entry.clone(), group.reign().unwrap()).await.unwrap();
    let proposed = tokio::spawn(proposed);
    group.hand_over(first % 3 + 1, Duration::from_millis(200)).await.unwrap_err();
    assert_eq!(cluster.wires.told.load(Ordering::Relaxed), 0);
    *cluster.wires.mute.lock() = None;
    // Others may have missed it by now.
    match proposed.await.unwrap() {
        Ok(()) => cluster.agree_on(&[all, vec![entry]].concat()).await,
        Err(Unproposed::NotLeader(_)) => cluster.agree_on(&all).await,
        Err(Unproposed::Unknown) => panic!("nobody died"),
    }
}

/// Proposes again and again, and gives what was done, in its order.
async fn go_on_proposing(nodes: Vec<Arc<Group>>, by: u8, stop: Arc<AtomicBool>) -> Vec<Bytes> {
    let mut done = Vec::new();
    for number in 0_u32.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let entry = Bytes::from([&[by][..], &number.to_be_bytes()].concat());
        let leads = |group: &&Arc<Group>| group.leader() == Some(group.node());
        let Some(group) = nodes.iter().find(leads) else {
            tokio::task::yield_now().await;
            continue;
        };
        let Some(reign) = group.reign() else { continue };
        let told = match group.propose(entry.clone(), reign).await {
            Ok(told) => told.await,
            Err(why) => Err(why),
        };
        match told {
            Ok(()) => done.push(entry),
            Err(Unproposed::NotLeader(_)) => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(Unproposed::Unknown) => panic!("nobody died"),
        }
    }
    done
}

#[tokio::test]
async fn all_is_done_or_surely_not_while_leadership_goes_round_and_round() {
    let cluster = Cluster::of(3).await;
    let mut leader = cluster.leader().await;
    let nodes: Vec<_> = cluster.nodes.values().map(|node| Arc::clone(&node.group)).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let propose = |by| tokio::spawn(go_on_proposing(nodes.clone(), by, Arc::clone(&stop)));
    let proposing: Vec<_> = (0..6).map(propose).collect();
    for _ in 0..30 {
        let next = leader % 3 + 1;
        // One that is not elected in time is, or another.
        let _ = cluster.nodes[&leader].group.hand_over(next, PATIENCE).await;
        leader = cluster.leader().await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut done = Vec::new();
    for proposing in proposing {
        done.extend(proposing.await.unwrap());
    }
    assert!(done.len() > 30);
    done.sort_unstable();
    let ledger = &cluster.nodes[&cluster.leader().await].ledger;
    let mut has = ledger.entries();
    has.sort_unstable();
    assert_eq!(has, done);
}

/// It may have done what it had proposed, if that is in what it took over.
#[tokio::test]
async fn who_has_become_a_view_does_not_know_what_became_of_what_it_had_proposed() {
    let cluster = Cluster::of(3).await;
    let first = cluster.leader().await;
    let group = &cluster.nodes[&first].group;
    propose_all(group, &entries(0, 10)).await;
    cluster.cut_off(first);
    let entry = Bytes::from_static(b"lost");
    let lost = group.propose(entry, group.reign().unwrap()).await.unwrap();
    let lost = tokio::spawn(lost);
    let second = cluster.leader_after(first).await;
    let all = entries(0, 200);
    propose_all(&cluster.nodes[&second].group, &all[10..]).await;
    cluster.nodes[&second].group.forget_history(0, None).await.unwrap();
    cluster.wires.cut.lock().clear();
    assert_eq!(lost.await.unwrap(), Err(Unproposed::Unknown));
    cluster.agree_on(&all).await;
    assert_eq!(cluster.nodes[&first].ledger.0.lock().installed, 1);
}
