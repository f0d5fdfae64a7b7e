//! The snapshots that a node has, each of a group and for a cut.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use larder_consensus::Reign;
use larder_peer::Refusal;
use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::call::{Call, Reply, decode, encode};
use super::item::Item;
use crate::groups::Groups;
use crate::partition::Partition;
use crate::placement::GroupId;
use crate::record::{Record, Unreadable};
use crate::replica::Part;
use crate::shared::Shared;
use crate::state::State;
use crate::storage::Items;

/// What this node has been asked to hold back and to keep, for cuts.
pub(crate) struct Snapshots {
    groups: Arc<Groups>,
    shared: Arc<Shared>,
    cuts: Mutex<HashMap<u64, Kept>>,
}

/// What there is of a cut.
struct Kept {
    /// When somebody asked for something of it.
    asked: Instant,
    /// As whom this node was asked to hold back what it had not proposed.
    held: BTreeMap<GroupId, Reign>,
    snapshots: BTreeMap<GroupId, Arc<Mutex<Snapshot>>>,
}

/// What a group had at one moment, as far as it was not given yet.
struct Snapshot {
    state: State,
    items: Items,
    /// How many parts were made, and the last of them: its answer may have been lost.
    made: u64,
    last: Option<Reply>,
    /// Why it fails from now on: a part behind one that failed would be without what was read for that.
    failed: Option<String>,
}

impl Snapshots {
    /// Of the groups that this node has replicas of.
    pub(crate) fn new(groups: Arc<Groups>, shared: Arc<Shared>) -> Self {
        Self { groups, shared, cuts: Mutex::default() }
    }

    /// Answers a [call for a cut](super::BACKUP).
    pub(crate) async fn answer(self: Arc<Self>, body: Bytes) -> Result<Bytes, Refusal> {
        let reply = match decode(&body)? {
            Call::Keep { cut } => {
                self.touch(cut);
                Reply::Done
            }
            Call::Hold { cut, group } => self.hold(cut, group)?,
            Call::Take { cut, group } => self.take(cut, group).await?,
            Call::GoOn { cut } => {
                self.go_on(cut);
                Reply::Done
            }
            Call::Part { cut, group, number } => self.part(cut, group, number).await?,
            Call::Drop { cut } => {
                self.go_on(cut);
                // Outside of the lock: it lets go of files.
                let kept = self.cuts.lock().remove(&cut);
                drop(kept);
                Reply::Done
            }
        };
        encode(&reply)
    }

    /// Proposes nothing to a group from now on.
    fn hold(self: &Arc<Self>, cut: u64, group: GroupId) -> Result<Reply, Refusal> {
        let (partition, reign) = self.led(group)?;
        let mut cuts = self.cuts.lock();
        if !cuts.contains_key(&cut) && cuts.len() >= MAX_CUTS {
            return Err(Refusal(format!(
                "{MAX_CUTS} backups are being taken of this node already: wait until one has ended"
            )));
        }
        if !partition.proposals.hold(cut, Instant::now() + self.hold_limit()) {
            return Err(Refusal(format!("another backup of group {group} begins just now")));
        }
        let is_first = cuts.is_empty();
        let kept = cuts.entry(cut).or_insert_with(|| Kept {
            asked: Instant::now(),
            held: BTreeMap::new(),
            snapshots: BTreeMap::new(),
        });
        kept.held.insert(group, reign);
        if is_first {
            let snapshots = Arc::downgrade(self);
            drop(self.groups.runtime().spawn(async move {
                loop {
                    sleep(LOOK).await;
                    match snapshots.upgrade() {
                        Some(snapshots) if snapshots.clear(IDLE) => {}
                        _ => return,
                    }
                }
            }));
        }
        Ok(Reply::Done)
    }

    /// Keeps the items of a group as they are.
    async fn take(&self, cut: u64, group: GroupId) -> Result<Reply, Refusal> {
        let held = self.touch(cut).and_then(|held| held.get(&group).copied());
        let held = held.ok_or_else(|| no_such(cut, group))?;
        let replica = self.groups.replica(group).ok_or_else(|| led_by_another(group))?;
        // From when all have held back on nobody else has acknowledged anything.
        if !replica.confirm(self.hold_limit()).await {
            return Err(Refusal(format!("no majority of group {group} says that this node leads")));
        }
        let shared = Arc::clone(&self.shared);
        let (kept, items) = blocking(move || shared.storage.whole(group)).await?;
        let (partition, reign) = self.led(group)?;
        if reign != held {
            return Err(led_by_another(group));
        }
        if !partition.proposals.is_held_by(cut) {
            return Err(Refusal(format!(
                "group {group} could not be held back for long enough: it has gone on"
            )));
        }
        let snapshot = Snapshot { state: kept.state, items, made: 0, last: None, failed: None };
        let mut cuts = self.cuts.lock();
        let kept = cuts.get_mut(&cut).ok_or_else(|| no_such(cut, group))?;
        kept.snapshots.insert(group, Arc::new(Mutex::new(snapshot)));
        Ok(Reply::Done)
    }

    fn go_on(&self, cut: u64) {
        for group in self.touch(cut).into_iter().flat_map(BTreeMap::into_keys) {
            if let Some(partition) = self.shared.ways.partition(group) {
                partition.proposals.let_go(cut);
            }
        }
    }

    async fn part(&self, cut: u64, group: GroupId, number: u64) -> Result<Reply, Refusal> {
        let snapshot = {
            let mut cuts = self.cuts.lock();
            let kept = cuts.get_mut(&cut).ok_or_else(|| no_such(cut, group))?;
            kept.asked = Instant::now();
            kept.snapshots.get(&group).cloned().ok_or_else(|| no_such(cut, group))?
        };
        blocking(move || snapshot.lock().part(number)).await
    }

    /// Notes that somebody wants something of a cut. Gives what is held back for it.
    fn touch(&self, cut: u64) -> Option<BTreeMap<GroupId, Reign>> {
        let mut cuts = self.cuts.lock();
        let kept = cuts.get_mut(&cut)?;
        kept.asked = Instant::now();
        Some(kept.held.clone())
    }

    /// Lets go of what nobody has asked for in so long. Whether there is something left.
    pub(crate) fn clear(&self, idle: Duration) -> bool {
        let mut cuts = self.cuts.lock();
        let gone: Vec<_> = cuts.extract_if(|_, kept| kept.asked.elapsed() >= idle).collect();
        let left = !cuts.is_empty();
        drop(cuts);
        drop(gone);
        left
    }

    /// For how long nothing is proposed at most: longer than it takes to ask all nodes twice and a majority
    /// once, and half as long as a write waits for a leader, so that it is done in time all the same.
    fn hold_limit(&self) -> Duration {
        self.shared.options.leader_within / 2
    }

    /// A group that this node leads, and since when.
    fn led(&self, group: GroupId) -> Result<(&Partition, Reign), Refusal> {
        let partition = self.shared.ways.partition(group).ok_or_else(|| led_by_another(group))?;
        match self.groups.part(group) {
            Part::Leads(reign) => Ok((partition, reign)),
            _ => Err(led_by_another(group)),
        }
    }
}

impl Snapshot {
    fn part(&mut self, number: u64) -> Result<Reply, String> {
        if let Some(why) = &self.failed {
            return Err(why.clone());
        }
        if let Some(last) = &self.last
            && number.checked_add(1) == Some(self.made)
        {
            return Ok(last.clone());
        }
        if number != self.made {
            return Err(format!("part {number} was asked for behind {} others", self.made));
        }
        let reply = self.next_part().inspect_err(|why| self.failed = Some(why.clone()))?;
        self.made += 1;
        self.last = Some(reply.clone());
        Ok(reply)
    }

    fn next_part(&mut self) -> Result<Reply, String> {
        let mut items = Vec::new();
        while items.len() < PART_LEN {
            let Some(item) = self.items.next() else {
                return Ok(Reply::Part { items, is_last: true });
            };
            let (key, record) = item.map_err(|error| error.to_string())?;
            self.put(&key, record, &mut items)?;
        }
        Ok(Reply::Part { items, is_last: false })
    }

    /// Appends what is not flushed.
    fn put(&self, key: &[u8], record: Bytes, part: &mut Vec<u8>) -> Result<(), String> {
        let named = |why: &dyn fmt::Display| format!("key \"{}\": {why}", key.escape_ascii());
        let Record { sequence, header, value } =
            Record::decode(record).map_err(|why| match why {
                Unreadable::Version(version) => named(&format_args!(
                    "its record is of version {version}, which this node cannot read"
                )),
                Unreadable::Damaged => named(&"its record is damaged"),
            })?;
        if sequence <= self.state.flushed {
            return Ok(());
        }
        // A flush that is to come takes it then, in whichever cluster it is.
        let exptime = match (header.exptime, self.state.flush_at) {
            (exptime, 0) => exptime,
            (0, flush_at) => flush_at,
            (exptime, flush_at) => exptime.min(flush_at),
        };
        let item = Item {
            key,
            value: &value,
            client_flags: header.client_flags,
            exptime,
            cas: header.cas,
            last_write: header.last_access,
            marks: header.marks,
        };
        item.put(part).map_err(|why| named(&why))
    }
}

/// Has a thread that may wait for the disk do something.
async fn blocking<T: Send + 'static, E: fmt::Display + Send + 'static>(
    what: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Refusal> {
    let done = spawn_blocking(what).await;
    let done = done.map_err(|error| Refusal(error.to_string()))?;
    done.map_err(|error| Refusal(error.to_string()))
}

fn no_such(cut: u64, group: GroupId) -> Refusal {
    Refusal(format!(
        "it has nothing of group {group} for the backup {cut:016x}: it was restarted, or not \
         asked for a minute"
    ))
}

fn led_by_another(group: GroupId) -> Refusal {
    Refusal(format!("it does not lead group {group}, or not since the backup began"))
}

impl fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshots").finish_non_exhaustive()
    }
}

/// Cuts of which a node has something at once. Each keeps the engine from taking back room.
const MAX_CUTS: usize = 4;
/// What nobody has asked for in this time is let go.
const IDLE: Duration = Duration::from_mins(1);
/// So often is looked for that.
const LOOK: Duration = Duration::from_secs(10);
/// Bytes after which a part is complete.
const PART_LEN: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::error::Error;

    #[test]
    fn a_part_that_failed_is_not_left_out_the_next_time() {
        let unread = Err(Error::corrupt(Path::new("data"), "a block makes no sense"));
        let (state, items) = (State::default(), Box::new([unread].into_iter()));
        let mut snapshot = Snapshot { state, items, made: 0, last: None, failed: None };
        let why = snapshot.part(0).unwrap_err();
        assert!(why.contains("a block makes no sense"), "{why}");
        assert_eq!(snapshot.part(0), Err(why));
    }
}
