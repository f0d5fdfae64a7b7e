//! How it is found out up to when a replica has all that was acknowledged.

use std::sync::Arc;

use bytes::Bytes;
use larder_consensus::Reign;
use larder_peer::{CallError, Refusal};

use crate::forward;
use crate::freshness::Question;
use crate::groups::Groups;
use crate::partition::Partition;
use crate::replica::{Part, Replica};

/// Asks how far a group is, with a question that was begun, and has the partition know it once the
/// replica is there. It returns at once.
pub(crate) fn renew(groups: &Groups, partition: &Arc<Partition>, part: Part, question: Question) {
    let takes_part = |replica: &Arc<Replica>| replica.is_member() && replica.part() != Part::Gone;
    let replica = groups.replica(partition.group).filter(takes_part);
    match (part, replica) {
        (Part::Leads(_), Some(replica)) => confirm(groups, partition, replica, question),
        (Part::Follows(reign), Some(replica)) => ask(groups, partition, replica, reign, question),
        (Part::Waits, Some(_)) => partition.freshness.question_over(),
        (Part::Gone, _) | (_, None) => {
            partition.freshness.forget();
            partition.freshness.question_over();
        }
    }
}

/// Has a majority say that this node leads.
fn confirm(groups: &Groups, partition: &Arc<Partition>, replica: Arc<Replica>, question: Question) {
    let partition = Arc::clone(partition);
    drop(groups.runtime().spawn(async move {
        let Question { moment, tenure, limit } = question;
        if replica.confirm(limit).await {
            partition.freshness.learn(moment, tenure);
        }
        partition.freshness.question_over();
    }));
}

/// Asks who leads.
fn ask(
    groups: &Groups,
    partition: &Arc<Partition>,
    replica: Arc<Replica>,
    reign: Reign,
    question: Question,
) {
    let (group, partition) = (partition.group, Arc::clone(partition));
    let Question { moment, tenure, limit } = question;
    // Longer than that no read waits for a leader either, and another may lead by then.
    let limit = limit.min(groups.patience());
    let done = async move |answer| {
        if let Some(index) = index_of(&answer)
            && replica.reach(index, limit).await
        {
            partition.freshness.learn(moment, tenure);
        }
        partition.freshness.question_over();
    };
    groups.forward(group, reign, forward::INDEX, forward::encode_group(group), limit, done);
}

/// Answers another node that asks how far a group is.
pub(crate) async fn answer(replica: Arc<Replica>) -> Result<Bytes, Refusal> {
    let index = replica.read_index().await;
    index.map(encode).ok_or_else(|| Refusal("a majority does not say that it leads".to_owned()))
}

fn encode(index: u64) -> Bytes {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&index.to_le_bytes());
    bytes.into()
}

/// The index that was answered. A node of a version that knows no such question refuses it.
fn index_of(answer: &Result<Bytes, CallError>) -> Option<u64> {
    let ([VERSION], index) = answer.as_ref().ok()?.split_first_chunk()? else { return None };
    index.try_into().ok().map(u64::from_le_bytes)
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_these_for_good() {
        let bytes = encode(0x0102);
        assert_eq!(bytes[..], [1, 2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(index_of(&Ok(bytes.clone())), Some(0x0102));
        let newer = [&[2], &bytes[1..]].concat().into();
        for senseless in [bytes.slice(..8), [&bytes[..], &[0]].concat().into(), newer, Bytes::new()]
        {
            assert_eq!(index_of(&Ok(senseless)), None);
        }
        assert_eq!(index_of(&Err(CallError::Refused("no such group here".into()))), None);
    }
}
