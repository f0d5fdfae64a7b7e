//! What other nodes ask of this one.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use larder_peer::{Handler, PeerId, Refusal};
use larder_protocol::{Exptime, Outcome, Seconds, told};
use parking_lot::Mutex;

use crate::backup::{BACKUP, Snapshots};
use crate::cluster::{CLUSTER, Cluster};
use crate::command::{Asked, Command, Request};
use crate::entry::Commands;
use crate::failure;
use crate::forward::{Forward, INDEX, LEADER, Lines, RANGE, READS, WRITES, decode_reads};
use crate::groups::Groups;
use crate::guide;
use crate::pending::{Pending, Ticket};
use crate::placement::{GroupId, PLACEMENT};
use crate::renewal;
use crate::replica::{Part, Replica};
use crate::shared::{Clock, Shared};
use crate::ways::Ways;

/// Answers the calls of other nodes: commands go the ways that those of sessions here go.
pub(crate) struct Service {
    groups: Arc<Groups>,
    ways: Arc<Ways>,
    clock: Arc<Clock>,
    lines: Mutex<Lines>,
    /// What it keeps for backups.
    snapshots: Arc<Snapshots>,
    /// This node's part in the cluster, once it has one.
    cluster: OnceLock<Arc<Cluster>>,
}

/// A call that was taken.
enum Taken<R, C> {
    /// It is about replication.
    Replication(R),
    /// It is about a backup.
    Backup(Bytes),
    /// It is about the cluster.
    Cluster(C),
    /// Its commands are on their way. They fill no more of an answer than so many bytes.
    Commands(Vec<Pending>, usize),
    /// It is answered at once.
    Answered(Bytes),
    /// It asks how far a group is that this may lead.
    Index(Arc<Replica>),
    NotYet,
    Senseless,
}

impl Service {
    pub(crate) fn new(groups: Arc<Groups>, shared: &Arc<Shared>) -> Self {
        let (ways, clock) = (Arc::clone(&shared.ways), Arc::clone(&shared.clock));
        let snapshots = Arc::new(Snapshots::new(Arc::clone(&groups), Arc::clone(shared)));
        Self { groups, ways, clock, lines: Mutex::default(), snapshots, cluster: OnceLock::new() }
    }

    /// From now on calls about the cluster are answered.
    pub(crate) fn take_part(&self, cluster: &Arc<Cluster>) {
        self.groups.reception().add(PLACEMENT, cluster.group());
        // Once.
        let _ = self.cluster.set(Arc::clone(cluster));
    }

    /// Sends on commands to be proposed, in their order.
    fn write(&self, node: u64, body: &[u8]) -> Option<Vec<Pending>> {
        let Forward { group, term, place, commands } = Forward::decode(body)?;
        let commands = self.commands(group, commands, term)?;
        if commands.iter().any(|(command, _)| command.is_range()) {
            return None;
        }
        // From when it has its place on nothing may come between its commands and those before.
        let mut lines = self.lines.lock();
        // What is not taken has no place: what was sent behind it is not in line.
        let in_line = self.ways.takes(group, term) && lines.admit(node, group, place);
        if !in_line {
            self.pass_on(group);
        }
        let send = |(command, pending)| {
            bounce(if in_line { self.ways.write(command) } else { Some(command) });
            pending
        };
        Some(commands.into_iter().map(send).collect())
    }

    /// Sends on reads of a kind.
    fn read(&self, body: &[u8], is_such: impl Fn(&Command) -> bool) -> Option<Vec<Pending>> {
        let (group, commands) = decode_reads(body)?;
        // In which term this node leads matters to no fetch.
        let commands = self.commands(group, commands, 0)?;
        if !commands.iter().all(|(command, _)| is_such(command)) {
            return None;
        }
        // Reads of a node that leads no longer may wait for what it has asked who asks this.
        let leads = matches!(self.groups.part(group), Part::Leads(_));
        if !leads {
            self.pass_on(group);
        }
        let send = |(command, pending)| {
            bounce(if leads { self.ways.read(command) } else { Some(command) });
            pending
        };
        Some(commands.into_iter().map(send).collect())
    }

    /// Has another lead a group that this node is to lead no longer: whoever asks is told that it does not.
    fn pass_on(&self, group: GroupId) {
        if self.groups.leaves(group) {
            self.groups.pass_on(group);
        }
    }

    /// Who leads a group, as far as this node knows by its replica.
    fn leader(&self, body: &[u8]) -> Option<Bytes> {
        let (group, _) = decode_reads(body)?;
        let leader = self.groups.replica(group).and_then(|replica| {
            let reign = replica.reign()?;
            Some((reign, replica.address(reign.leader)?))
        });
        Some(guide::encode(leader))
    }

    /// The replica that a question about a group is for.
    fn replica(&self, body: &[u8]) -> Option<Arc<Replica>> {
        let (group, _) = decode_reads(body)?;
        self.groups.replica(group)
    }

    fn commands(
        &self,
        group: GroupId,
        commands: Commands<'_>,
        term: u64,
    ) -> Option<Vec<(Command, Pending)>> {
        let own = self.clock.own();
        let command = |asked: Result<Asked<'_>, _>| {
            let Asked { key, now: asked_at, request } = asked.ok()?;
            let now = own.unwrap_or(asked_at);
            let is_range = matches!(request, Request::Range(_));
            if !is_range && !key.is_empty() && self.ways.group_of(key) != group {
                // Who asks counts other groups.
                return None;
            }
            let (ticket, pending) = Ticket::new();
            let mut command = match request {
                Request::Op(op) => Command::op(key, 0, &op, now, ticket),
                Request::FlushAll(at) => {
                    Command::flush_all(counted_anew(at, asked_at, now), now, ticket)
                }
                Request::Range(span) => Command::range(key, span, now, ticket),
                Request::Reclaim(_) => return None,
            };
            command = command.of_group(group);
            command.forwarded = Some(term);
            self.clock.tell(now);
            Some((command, pending))
        };
        commands.map(command).collect()
    }
}

/// The moment of a flush that was asked for at `asked_at`, by the time that is `now`. Who was asked has
/// counted a delay from its own time; what is further away than any delay a client may give is no delay.
/// What has passed is now, whatever this clock says.
fn counted_anew(at: Seconds, asked_at: Seconds, now: Seconds) -> Seconds {
    match at.checked_sub(asked_at) {
        None | Some(0) => 0,
        Some(delay @ ..=Exptime::LONGEST) => now.saturating_add(delay),
        Some(_) => at,
    }
}

impl Handler for Service {
    fn handle(
        self: Arc<Self>,
        peer: PeerId,
        kind: u8,
        body: Bytes,
    ) -> impl Future<Output = Result<Bytes, Refusal>> + Send + 'static {
        let commands = |commands: Option<_>, limit| {
            commands.map_or(Taken::Senseless, |commands| Taken::Commands(commands, limit))
        };
        let taken = match kind {
            WRITES => commands(self.write(peer.id, &body), usize::MAX),
            READS => commands(self.read(&body, Command::reads_only), READ_BYTES),
            RANGE => commands(self.read(&body, Command::is_range), READ_BYTES),
            LEADER => self.leader(&body).map_or(Taken::Senseless, Taken::Answered),
            INDEX => self.replica(&body).map_or(Taken::Senseless, Taken::Index),
            BACKUP => Taken::Backup(body),
            CLUSTER => {
                let cluster = self.cluster.get();
                cluster
                    .map_or(Taken::NotYet, |cluster| Taken::Cluster(cluster.answer(&peer, &body)))
            }
            _ => {
                let reception = Arc::clone(self.groups.reception());
                Taken::Replication(reception.handle(peer, kind, body))
            }
        };
        let snapshots = Arc::clone(&self.snapshots);
        async move {
            match taken {
                Taken::Replication(answer) => answer.await,
                Taken::Commands(commands, limit) => answer(commands, limit).await,
                Taken::Answered(answer) => Ok(answer),
                Taken::Index(replica) => renewal::answer(replica).await,
                Taken::Backup(body) => snapshots.answer(body).await,
                Taken::Cluster(answer) => answer.await,
                Taken::NotYet => {
                    Err(Refusal("it does not take part in the cluster yet".to_owned()))
                }
                Taken::Senseless => Err(Refusal("this version knows no such commands".to_owned())),
            }
        }
    }
}

/// What commands come to. Those for whose answers there is no room are to be asked again.
async fn answer(commands: Vec<Pending>, limit: usize) -> Result<Bytes, Refusal> {
    let mut bytes = Vec::new();
    for pending in commands {
        let mut outcome = pending.await;
        if bytes.len() > limit {
            outcome = Outcome::Failed(failure::BOUNCED);
        }
        bytes = told::write(&outcome, bytes, failure::number)
            .ok_or_else(|| Refusal("an outcome could not be written".to_owned()))?;
    }
    Ok(bytes.into())
}

fn bounce(command: Option<Command>) {
    let bounced = Outcome::Failed(failure::BOUNCED);
    if let Some(waker) = command.and_then(|command| command.answer(bounced)) {
        waker.wake();
    }
}

/// Bytes of answers after which fetches are to be asked again.
const READ_BYTES: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_counted_by_the_clock_of_who_leads_and_a_moment_is_what_it_is() {
        let (asked_at, ahead, behind) = (10_000_000, 10_000_600, 9_999_400);
        for (at, by_one_ahead, by_one_behind) in [
            (0, 0, 0),
            (asked_at - 5, 0, 0),
            (asked_at, 0, 0),
            (asked_at + 60, ahead + 60, behind + 60),
            (asked_at + Exptime::LONGEST, ahead + Exptime::LONGEST, behind + Exptime::LONGEST),
            (
                asked_at + Exptime::LONGEST + 1,
                asked_at + Exptime::LONGEST + 1,
                asked_at + Exptime::LONGEST + 1,
            ),
        ] {
            assert_eq!(counted_anew(at, asked_at, ahead), by_one_ahead, "{at}");
            assert_eq!(counted_anew(at, asked_at, behind), by_one_behind, "{at}");
        }
    }
}
