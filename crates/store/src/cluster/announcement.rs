//! How others come to know where this node is, and it where they are.

use std::sync::Arc;
use std::time::Duration;

use larder_consensus::Peers;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{info, warn};

use super::call::{Call, No, Request};
use super::local::Local;
use crate::placement::{Member, Placement};

/// Tells whom it concerns of each placement that this node hears of.
pub(super) async fn follow(local: Arc<Local>) {
    let mut placements = local.ledger.watch();
    loop {
        let placement = placements.borrow_and_update().clone();
        if let Some(placement) = placement {
            locate(&local.peers, &placement);
            local.wake.notify_one();
            let hosting = Arc::clone(&local.hosting);
            // A panic of it has been told.
            let _ = spawn_blocking(move || hosting.placed(&placement)).await;
        }
        if placements.changed().await.is_err() {
            return;
        }
    }
}

/// Nodes are reached where the placement says they are.
pub(super) fn locate(peers: &Peers, placement: &Placement) {
    let members = placement.members().iter();
    peers.locate(members.map(|(node, member)| (*node, member.peer_address.clone())));
}

/// Has the others know this node as it is now. What it knows itself may be old, and that it belongs to
/// the cluster still: so it asks until it hears, and now and then after that, as nobody tells a node that
/// it was removed.
pub(super) async fn announce(local: Arc<Local>, member: Member) {
    let here = Call::Here { address: member.peer_address.clone() };
    let request = Request::Move(local.node(), member);
    let mut pause = SHORTEST;
    let mut is_known = false;
    loop {
        // Who does not answer is told the next time, or by the placement.
        for node in local.others().into_iter().filter(|_| !is_known) {
            let _ = local.call(node, &here, SHORTEST).await;
        }
        match announce_once(&local, &request).await {
            Ok(()) => (is_known, pause) = (true, AGAIN),
            Err(No::Refused(why)) => {
                warn!("the cluster does not let this node take part any more: {why}");
                let _ = local.refusal.set(why);
                return;
            }
            Err(_) if is_known => {}
            Err(no) => info!("the cluster does not know yet where this node is: {no}"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(if is_known { AGAIN } else { LONGEST });
    }
}

/// Asks whoever answers: the leader of group 0 may be another than this node believes.
async fn announce_once(local: &Local, request: &Request) -> Result<(), No> {
    let mut told = match local.ask(request.clone(), false).await {
        Ok(_) => return Ok(()),
        Err(no @ No::Refused(_)) => return Err(no),
        Err(no) => no,
    };
    for node in local.others() {
        let call = Call::Ask { request: request.clone(), passed: false };
        match local.call(node, &call, PATIENCE).await {
            Ok(_) => return Ok(()),
            Err(no @ No::Refused(_)) => return Err(no),
            Err(no) => told = no,
        }
    }
    Err(told)
}

/// Who is asked may have to ask another.
const PATIENCE: Duration = Duration::from_secs(10);
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(15);
