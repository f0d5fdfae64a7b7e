//! Larder's durable engine: nothing is evicted, and what was acknowledged survives a crash of the
//! process, the system or the power.
//!
//! Keys are divided among groups, for good. Every change goes through the log of the key's Raft group,
//! which agrees on an order, and is done by a machine that does to the same items the same things in the
//! same order wherever it runs. One node alone is a group of one in each, on the same path. Of several
//! each answers for all, whether it has a replica of the group or not: what only the one that leads may
//! do the others forward to it. Many sessions' commands are one entry of a group's log, many entries of
//! all groups one sync, and no answer leaves before a majority has it. Reads see only what the log has
//! durably. Results are linearizable, through whichever node, and one session's commands on a key keep
//! their order even when it does not wait for answers. What was surely not done is tried again while
//! the group has no leader; of what may have been done the client is told that its outcome is unknown,
//! and nothing is done twice. A group that has no leader, or a machine that fails, holds up no other
//! group. Time is told by the caller with each command.
//!
//! A cas unique is the item's place in the order of its group's writes: it never comes twice for one key,
//! and may for keys of two groups. A flush is one of each group: it is done in each at a moment of its
//! own, in order with all that its session has asked.
//!
//! It is not a cache (nothing is dropped to make room: writes are refused), and not a server. A fetch
//! does not write, so `h` and `l` of the meta commands tell about the last write of an item, not its
//! last use.
//!
//! - `store`, `place`: the directory, the log, the threads, the handle to them; and where a node stands
//!   among others
//! - `session`, `flight`, `turn`, `pending`: a connection's commands, their order, their answers
//! - `listing`, `span`: items in the order of their keys, of all groups and of one
//! - `ways`, `queue`, `bell`: how commands reach threads, and these the groups that they can go on with
//! - `command`, `hand`: what is asked, and who knows what a thread has in hand
//! - `partition`, `proposals`, `asked`: what is asked of one group, and what readers know of its items
//! - `freshness`, `renewal`: up to when a replica has all that was acknowledged, and how that is known
//! - `groups`, `replica`, `guide`: the groups that this node takes part in, and who leads the others
//! - `proposer`, `entry`: how commands become entries of their groups' logs
//! - `applier`, `apply`, `answers`: how entries come back, what they do, who is told
//! - `state`, `record`, `published`: what is kept, and what readers know of it
//! - `view`: all of a partition, for a replica that lacks too much
//! - `backup`: all items of a cluster, as they were at one moment
//! - `cluster`: who belongs to a cluster, who has a replica of which group, and how that changes
//! - `placement`, `slots`: what group 0 agrees on, and which group a key belongs to
//! - `forward`, `service`: what nodes ask each other to do, who answers
//! - `at_hand`, `confirmer`, `reader`: who may answer a read, and who does
//! - `keeper`, `watchdog`, `stop`: the other threads
//! - `sweep`, `caution`: how dead records are taken back, and when the clock is believed
//! - `storage`: the seam to the engine on disk, which is fjall, and rows in memory before it, some of which
//!   it is still to be given
//! - `directory`: whose the directory is, who has it open
//! - `options`, `stats`, `membership`, `health`, `error`, `failure`: what goes in and what comes out
//!
//! # What is on disk
//!
//! `directory` has the names. The log of all groups, with its own format, is `larder-consensus`'s. It is
//! synced before anything is done; the engine is given what is done a few milliseconds later, and syncs it
//! some seconds later, when the log forgets it. The engine loses nothing before what it has: so each group's state tells from
//! where its log is to be done again.
//!
//! The engine keeps keys in order: `0x00` and a group's number hold its state; `0x01`, the number and an
//! item's key hold its record, so that a group's items follow each other. The number is two bytes there,
//! big-endian. Other integers are little-endian. An unknown version is refused. The engine checksums the items of each
//! batch in its journal and each block of its files, so a record has no checksum of its own. That its
//! last journal lost what was synced shows by the watermark, and that an older one was cut short by
//! the writes after it.
//!
//! | record | bytes | |
//! |---|---|---|
//! | version | 1 | 1 |
//! | shape | 1 | bits 0-3 the marks; 4, 5, 6: client flags, exptime, cas are there; 7 is 0 |
//! | sequence | 8 | place in the order of writes: what a flush compares |
//! | last write | 4 | seconds since 1970 |
//! | client flags | 0 or 4 | absent if 0 |
//! | exptime | 0 or 4 | absolute, seconds since 1970; absent if never |
//! | cas | 0 or 8 | absent if it is the sequence, which it is unless a client chose it |
//! | value | rest | |
//!
//! | state | bytes | |
//! |---|---|---|
//! | version | 1 | 2 |
//! | sequence | 8 | the last place given out, in the same batch as what has it |
//! | flushed | 8 | records up to this place are gone |
//! | flush at | 4 | from this second on all records before it are gone; 0 for none |
//! | done | 4 | commands that are done of the entry after the mark: a large one is kept in slices |
//! | mark | rest | how far the group's history is done, and who belonged to it then |
//!
//! | entry of the log | bytes | |
//! |---|---|---|
//! | version | 1 | 1 |
//! | proposer | 8 | a number that an opening of a node drew at random |
//! | number | 8 | of the entry, among those of its proposer |
//! | admitted | 1 | 0: all; 1: what makes room, decided by who proposed it |
//! | commands | rest | one after the other, in postcard: key, seconds since 1970, request |
//!
//! # What is on the wire
//!
//! Between nodes go calls of `larder-peer`, which has the frames. Kinds 1 to 7 are `larder-consensus`'s.
//!
//! | call 32: to be proposed | bytes | |
//! |---|---|---|
//! | version | 1 | 2 |
//! | group | 8 | to which the keys of all its commands belong |
//! | term | 8 | in which the node that is asked leads, or it takes nothing of this |
//! | proposer | 8 | as in an entry |
//! | number | 8 | greater than that of all calls of this proposer to this group before |
//! | follows | 8 | the number of the call before, which was taken, or nothing of this is; 0: none is out |
//! | commands | rest | as in an entry |
//!
//! | call 33: to be read | bytes | |
//! |---|---|---|
//! | version | 1 | 2 |
//! | group | 8 | as above |
//! | commands | rest | as in an entry, fetches only |
//!
//! | call 35: to be listed | bytes | |
//! |---|---|---|
//! | version | 1 | 2 |
//! | group | 8 | as above |
//! | command | rest | as in an entry, one range only |
//!
//! | call 34: who leads | bytes | |
//! |---|---|---|
//! | version | 1 | 2 |
//! | group | 8 | of which who is asked should have a replica |
//!
//! | its answer | bytes | |
//! |---|---|---|
//! | version | 1 | 1 |
//! | leader | 0 or 8 | nothing from here on if it does not know |
//! | term | 0 or 8 | in which that one leads |
//! | address | rest | where it is reached |
//!
//! | call 36: how far a group is | bytes | |
//! |---|---|---|
//! | version | 1 | 2 |
//! | group | 8 | which who is asked is to lead |
//!
//! | its answer | bytes | |
//! |---|---|---|
//! | version | 1 | 1 |
//! | index | 8 | of its log: what a replica has done up to there lacks nothing that was acknowledged before the call |
//!
//! Who does not lead, or has no majority that says so, refuses it, as does a version that does not know it.
//!
//! The answer of the first three is the outcomes of the commands, in their order, in postcard ([`larder_protocol::told`]). A
//! node that does not lead says of each that another does, and forwards nothing. Call 48 is about the
//! cluster, and 49 about a backup: `cluster/call` and `backup/call` have them. `backup/item` has what an
//! item is in a backup.
//!
//! # What always holds
//!
//! Of each group: flushed <= sequence; sequence of any record <= sequence; watermark <= sequence.

mod answers;
mod applier;
mod apply;
mod asked;
mod at_hand;
mod backup;
mod bell;
mod caution;
mod cluster;
mod command;
mod confirmer;
mod directory;
mod entry;
mod error;
mod failure;
mod flight;
mod forward;
mod freshness;
mod groups;
mod guide;
mod hand;
mod health;
mod keeper;
mod listing;
mod membership;
mod options;
mod partition;
mod pending;
mod place;
mod placement;
mod proposals;
mod proposer;
mod published;
mod queue;
mod reader;
mod record;
mod renewal;
mod replica;
mod service;
mod session;
mod shared;
mod slots;
mod span;
mod state;
mod stats;
mod stop;
mod storage;
mod store;
mod sweep;
mod turn;
mod view;
mod watchdog;
mod ways;

pub use backup::{Cut, Item, Part, Senseless};
pub use cluster::{
    Admin, AdminError, ClusterStatus, Entrance, GroupStatus, LogSize, Node, NodeStatus, Trouble,
};
pub use error::Error;
pub use larder_peer::Secret;
pub use membership::{Membership, Peer};
pub use options::Options;
pub use pending::Pending;
pub use session::Session;
pub use stats::{Condition, GroupStats, Stats};
pub use store::Store;

#[cfg(test)]
mod tests;
