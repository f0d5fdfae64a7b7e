//! Who leads groups that this node has no replica of, or one that does not know.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use larder_consensus::{Peers, Reign};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::forward;
use crate::placement::GroupId;

/// Who leads groups that this node has no replica of, or one that does not know, as another told last: true until who was
/// asked to do something as the leader says otherwise.
pub(crate) struct Guide {
    /// This node.
    node: u64,
    peers: Arc<Peers>,
    runtime: Handle,
    groups: Mutex<BTreeMap<GroupId, Known>>,
}

/// What is known of a group.
#[derive(Default)]
struct Known {
    /// The nodes that have a replica, and where they are reached.
    seats: Vec<(u64, String)>,
    /// Who leads it, and where that is reached.
    leader: Option<(Reign, String)>,
    /// The last that was not true any more when it was acted upon.
    refuted: Option<Reign>,
    is_asking: bool,
}

impl Guide {
    /// One that knows of no replicas yet.
    pub(crate) fn new(node: u64, peers: Arc<Peers>, runtime: Handle) -> Self {
        Self { node, peers, runtime, groups: Mutex::default() }
    }

    /// From now on these nodes have the replicas. Who is known to lead may be none of them any more, and
    /// then says so.
    pub(crate) fn place(&self, seats: impl Iterator<Item = (GroupId, Vec<(u64, String)>)>) {
        let mut groups = self.groups.lock();
        for known in groups.values_mut() {
            known.seats.clear();
        }
        for (group, seats) in seats {
            let others = seats.into_iter().filter(|(node, _)| *node != self.node);
            groups.entry(group).or_default().seats = others.collect();
        }
    }

    /// Who leads a group and since when. If that is not known, it is being found out when this returns.
    pub(crate) fn reign(self: &Arc<Self>, group: GroupId) -> Option<Reign> {
        let mut groups = self.groups.lock();
        let known = groups.get_mut(&group)?;
        if let Some((reign, _)) = known.leader {
            return Some(reign);
        }
        if !known.is_asking {
            known.is_asking = true;
            // Not always the same first.
            if let Some(last) = known.seats.pop() {
                known.seats.insert(0, last);
            }
            let guide = Arc::clone(self);
            drop(self.runtime.spawn(guide.ask(group, known.seats.clone())));
        }
        None
    }

    /// Where who leads in that reign is reached.
    pub(crate) fn address(&self, group: GroupId, reign: Reign) -> Option<String> {
        let groups = self.groups.lock();
        let (known, address) = groups.get(&group)?.leader.as_ref()?;
        (*known == reign).then(|| address.clone())
    }

    /// Whoever was thought to lead in that reign, by this or by a replica here, does not.
    pub(crate) fn refute(&self, group: GroupId, reign: Reign) {
        let mut groups = self.groups.lock();
        let known = groups.entry(group).or_default();
        known.refuted = Some(reign);
        if known.leader.as_ref().is_some_and(|(known, _)| *known == reign) {
            known.leader = None;
        }
    }

    /// Whether who was thought to lead in that reign did not when it was asked last.
    pub(crate) fn is_refuted(&self, group: GroupId, reign: Reign) -> bool {
        self.groups.lock().get(&group).is_some_and(|known| known.refuted == Some(reign))
    }

    /// Asks one seat after the other until one knows.
    async fn ask(self: Arc<Self>, group: GroupId, seats: Vec<(u64, String)>) {
        let mut leader = None;
        for (node, address) in seats {
            let body = forward::encode_group(group);
            let answer = self.peers.ask(node, &address, forward::LEADER, body, LIMIT);
            leader = answer.await.ok().and_then(|answer| decode(&answer));
            if leader.is_some() {
                break;
            }
        }
        if let Some(known) = self.groups.lock().get_mut(&group) {
            known.is_asking = false;
            if leader.as_ref().map(|(reign, _)| *reign) == known.refuted {
                // It may have been too busy to say so itself.
                known.refuted = None;
            }
            known.leader = leader;
        }
    }
}

/// Who leads, as a node tells it that may know.
pub(crate) fn encode(leader: Option<(Reign, String)>) -> Bytes {
    let mut bytes = vec![VERSION];
    if let Some((reign, address)) = leader {
        bytes.extend_from_slice(&reign.leader.to_le_bytes());
        bytes.extend_from_slice(&reign.term.to_le_bytes());
        bytes.extend_from_slice(address.as_bytes());
    }
    bytes.into()
}

/// `None` if it is not told, or makes no sense to this version.
fn decode(bytes: &[u8]) -> Option<(Reign, String)> {
    let ([VERSION], rest) = bytes.split_first_chunk()? else { return None };
    let (leader, rest) = rest.split_first_chunk()?;
    let (term, address) = rest.split_first_chunk()?;
    let reign = Reign { leader: u64::from_le_bytes(*leader), term: u64::from_le_bytes(*term) };
    Some((reign, str::from_utf8(address).ok()?.to_owned()))
}

const VERSION: u8 = 1;
/// A node that does not say so in this time is no help.
const LIMIT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_these_for_good() {
        let reign = Reign { leader: 2, term: 0x0103 };
        let bytes = encode(Some((reign, "a:1".to_owned())));
        assert_eq!(bytes[..], [1, 2, 0, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0, 0, 0, 0, 0, 97, 58, 49]);
        assert_eq!(decode(&bytes), Some((reign, "a:1".to_owned())));
        assert_eq!((&encode(None)[..], decode(&[1])), (&[1][..], None));
        assert_eq!(decode(&bytes[..16]), None);
    }
}
