//! Clusters on loopback, whose groups keep lists.

mod rig;

use std::collections::BTreeSet;

use rig::{PATIENCE, Rig, eventually, settings};

use super::call::{Reply, Request};
use super::stranger::Stranger;
use super::{AdminError, Entrance, Trouble};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_grows_from_one_to_five_and_shrinks_to_three_and_loses_nothing() {
    let mut rig = Rig::founded(3).await;
    rig.write_all("alone").await;
    rig.join("db2").await;
    rig.join("db3").await;
    let status = rig.wait(0).await;
    for group in &status.groups {
        assert_eq!(group.voters, [1, 2, 3].into(), "{group:?}");
    }
    rig.write_all("three").await;
    // Nobody has a seat for them, and they know all the same who has which.
    rig.join("db4").await;
    rig.join("db5").await;
    let status = rig.wait(0).await;
    assert_eq!(status.nodes.iter().map(|node| node.seats).collect::<Vec<_>>(), [4, 4, 4, 0, 0]);
    eventually("db5 knows the placement", || {
        let placed = rig.nodes["db5"].shelf.placed();
        placed.is_some_and(|placement| placement.members().len() == 5)
    })
    .await;
    let status = rig.wait(rig.admin().rebalance().await.unwrap()).await;
    let seats: Vec<_> = status.nodes.iter().map(|node| node.seats).collect();
    assert!(seats.iter().all(|seats| (2..=3).contains(seats)), "{seats:?}");
    assert!(status.nodes.iter().all(|node| node.seats == node.replicas || node.replicas <= 4));
    rig.write_all("five").await;
    for name in ["db1", "db2"] {
        let refused = rig.admin().remove(name, false).await.unwrap_err();
        assert!(matches!(&refused, AdminError::Refused(why) if why.contains("drain")), "{refused}");
        rig.wait(rig.admin().drain(name, true).await.unwrap()).await;
        rig.write_all(name).await;
        rig.wait(rig.admin().remove(name, false).await.unwrap()).await;
        assert_eq!(rig.nodes[name].shelf.hosted(), BTreeSet::new(), "it was told to erase it");
        rig.stop(name).await;
    }
    let status = rig.wait(0).await;
    assert_eq!(status.nodes.len(), 3);
    for group in &status.groups {
        assert_eq!((&group.voters, group.learners.len()), (&[3, 4, 5].into(), 0), "{group:?}");
    }
    rig.assert_all_have(&["alone", "three", "five", "db1", "db2"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_disk_that_fails_is_told_of_and_the_cluster_does_not_hold() {
    let rig = Rig::of(3, 2).await;
    for poisoned in [false, true] {
        let trouble = Trouble { poisoned, why: format!("/srv/{poisoned} is damaged") };
        *rig.nodes["db2"].shelf.trouble.lock() = Some(trouble.clone());
        let told = |status: &super::ClusterStatus| {
            let troubles: Vec<_> = status.nodes.iter().map(|node| node.trouble.clone()).collect();
            troubles == [None, Some(trouble.clone()), None] && status.holds != poisoned
        };
        let status = rig.until(told).await;
        if poisoned {
            let doing = status.groups[1].doing.as_deref();
            assert_eq!(doing, Some("the disk of node 2 has failed: replace it"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn leaders_are_spread_and_a_node_that_stops_leads_nothing() {
    let mut rig = Rig::of(3, 5).await;
    let spread = |leads: &[usize]| leads.iter().all(|leads| *leads == 2);
    let leads = |status: &super::ClusterStatus| {
        status.nodes.iter().map(|node| node.leads).collect::<Vec<_>>()
    };
    rig.until(|status| spread(&leads(status))).await;
    rig.write_all("before").await;
    assert!(rig.nodes["db2"].cluster.leave(PATIENCE).await);
    // It is not given anything back.
    let others = |leads: &[usize]| leads[1] == 0 && leads.iter().sum::<usize>() == 6;
    let status = rig.until(|status| others(&leads(status)) && status.nodes[1].leaves).await;
    assert!(status.holds);
    rig.write_all("after").await;
    let status = rig.admin().status().await.unwrap();
    assert!(others(&leads(&status)), "{status:?}");
    rig.stop("db2").await;
    rig.restart("db2").await;
    rig.until(|status| spread(&leads(status))).await;
    rig.assert_all_have(&["before", "after"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_change_comes_to_its_end_though_who_leads_it_dies() {
    let mut rig = Rig::of(3, 3).await;
    rig.write_all("before").await;
    rig.join("db4").await;
    for round in 0..3 {
        let drained = ["db3", "db4", "db3"][round];
        let version = rig.admin().drain(drained, true).await.unwrap();
        let leader = rig.leader_of_placement().await;
        rig.stop(&leader).await;
        if leader == drained {
            // Its replicas are moved without it.
            rig.wait(version).await;
            rig.restart(&leader).await;
        } else {
            rig.restart(&leader).await;
            rig.wait(version).await;
        }
        let status = rig.wait(rig.admin().drain(drained, false).await.unwrap()).await;
        assert!(status.groups.iter().all(|group| group.voters.len() == 3), "{status:?}");
    }
    rig.assert_all_have(&["before"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn another_takes_the_place_of_a_dead_node_which_does_not_come_back() {
    let mut rig = Rig::of(3, 2).await;
    rig.write_all("before").await;
    rig.stop("db3").await;
    rig.join("db4").await;
    let status = rig.wait(rig.admin().replace("db3", "db4").await.unwrap()).await;
    for group in &status.groups {
        assert_eq!((&group.voters, group.learners.len()), (&[1, 2, 4].into(), 0), "{group:?}");
    }
    rig.write_all("after").await;
    rig.assert_all_have(&["before", "after"]).await;
    // It finds out, and has no vote that anybody counts.
    rig.restart("db3").await;
    eventually("db3 was told", || rig.nodes["db3"].cluster.refusal().is_some()).await;
    let refusal = rig.nodes["db3"].cluster.refusal().unwrap();
    assert!(refusal.contains("removed"), "{refusal}");
    assert_eq!(rig.wait(0).await.nodes.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_has_lost_what_it_had_is_not_who_it_was() {
    let mut rig = Rig::of(3, 2).await;
    rig.write_all("before").await;
    rig.stop("db2").await;
    rig.erase("db2");
    let error = rig.start("db2", rig.to_join()).await.unwrap_err().to_string();
    assert!(error.contains("replace or remove node 2"), "{error}");
    // Nor is another of the name of one that lives.
    let elsewhere = rig.directory("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let other = rig.node("db3", "127.0.0.1:1", rig.to_join());
    let error = super::arrive(&elsewhere, &other, &settings()).await.unwrap_err().to_string();
    assert!(error.contains("the name is that of node 3"), "{error}");
    // As a new one it takes the place of what it was.
    rig.join("db2b").await;
    let status = rig.wait(rig.admin().replace("db2", "db2b").await.unwrap()).await;
    assert_eq!(status.groups[1].voters, [1, 3, 4].into());
    rig.assert_all_have(&["before"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_is_let_in_once_however_often_it_asks() {
    let rig = Rig::founded(1).await;
    let stranger =
        Stranger::new("test", "db2", &rig.secret, &rig.addresses(), &settings()).unwrap();
    let member = |identity| rig.node("db2", "127.0.0.1:1", rig.to_join()).member(identity);
    for _ in 0..2 {
        let reply = stranger.ask(&Request::Join(member(7)), true, PATIENCE).await.unwrap();
        assert!(matches!(reply, Reply::Admitted(admission) if admission.node == 2), "{reply:?}");
    }
    stranger.ask(&Request::Join(member(8)), true, PATIENCE).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_is_founded_once() {
    let mut rig = Rig::founded(1).await;
    let found = |groups, replicas, unless| Entrance::Found { groups, replicas, unless };
    let error = rig.start("db2", found(1, 3, rig.addresses())).await.unwrap_err().to_string();
    assert!(error.contains("founded already: node 1") && error.contains("join it"), "{error}");
    for (groups, replicas) in [(0, 3), (1025, 3), (1, 0), (1, 8)] {
        rig.start("db2", found(groups, replicas, Vec::new())).await.unwrap_err();
    }
    // Who has founded it is who it was, whatever its configuration says now.
    rig.write_all("before").await;
    rig.stop("db1").await;
    rig.start("db1", found(7, 1, Vec::new())).await.unwrap();
    let status = rig.wait(0).await;
    assert_eq!((status.groups.len(), status.replicas), (2, 3));
    rig.assert_all_have(&["before"]).await;
    let stolen = rig.node("db9", "127.0.0.1:1", rig.to_join());
    let error = super::arrive(&rig.directory("db1"), &stolen, &settings()).await.unwrap_err();
    assert!(error.to_string().contains("is that of node \"db1\""), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_has_founded_a_cluster_and_lost_it_founds_no_other() {
    let mut rig = Rig::founded(1).await;
    rig.stop("db1").await;
    std::fs::remove_dir_all(rig.directory("db1").join("log")).unwrap();
    std::fs::remove_file(rig.directory("db1").join("PLACEMENT")).unwrap();
    let found = Entrance::Found { groups: 1, replicas: 3, unless: Vec::new() };
    rig.start("db1", found).await.unwrap();
    let cluster = &rig.nodes["db1"].cluster;
    assert_eq!(cluster.placement(), None);
    assert!(cluster.group().standing().voters.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_is_elsewhere_is_found_there() {
    let mut rig = Rig::of(3, 2).await;
    rig.write_all("before").await;
    for name in ["db2", "db1"] {
        let before = rig.nodes[name].address.clone();
        rig.stop(name).await;
        rig.write_all(&format!("without {name}")).await;
        rig.restart(name).await;
        let now = rig.nodes[name].address.clone();
        assert_ne!(before, now);
        rig.until(|status| {
            status.nodes.iter().any(|node| node.peer_address == now && node.answers) && status.holds
        })
        .await;
        rig.write_all(&format!("with {name}")).await;
    }
    let written = ["before", "without db2", "with db2", "without db1", "with db1"];
    rig.assert_all_have(&written).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_minority_changes_nothing_and_says_so() {
    let mut rig = Rig::of(3, 1).await;
    rig.stop("db2").await;
    rig.stop("db3").await;
    let admin = rig.admin();
    let refused = admin.set_replicas(2).await.unwrap_err();
    assert!(
        matches!(&refused, AdminError::Unavailable(why) if why.contains("majority")),
        "{refused}"
    );
    rig.restart("db2").await;
    let status = rig.until(|status| status.nodes[1].answers).await;
    assert_eq!(status.replicas, 3);
    assert!(!status.nodes[2].answers, "it is told who is missing");
    // No group is left with a dead half of its votes: who is to lose its vote waits for that.
    let version = rig.admin().set_replicas(2).await.unwrap();
    rig.restart("db3").await;
    let status = rig.wait(version).await;
    assert_eq!(status.replicas, 2);
    assert!(status.groups.iter().all(|group| group.voters.len() == 2), "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_asks_for_what_cannot_be_is_told() {
    let rig = Rig::of(2, 1).await;
    let admin = rig.admin();
    for (asked, why) in [
        (admin.drain("db9", true).await, "no node is known as \"db9\""),
        (admin.replace("db1", "db2").await, "has replicas of the same groups"),
        (admin.set_replicas(9).await, "must be 1 to 7"),
        (admin.remove("db2", false).await, "drain it first"),
    ] {
        let refused = asked.unwrap_err();
        assert!(matches!(&refused, AdminError::Refused(told) if told.contains(why)), "{refused}");
    }
    rig.wait(admin.drain("db2", true).await.unwrap()).await;
    let refused = admin.drain("db1", true).await.unwrap_err();
    assert!(refused.to_string().contains("no node would be left"), "{refused}");
    let other = super::Admin::connect("stage", &rig.secret, &rig.addresses()).unwrap();
    let told = tokio::time::timeout(PATIENCE, other.status()).await.unwrap();
    assert!(told.unwrap_err().to_string().contains("it belongs to the cluster \"test\""));
}
