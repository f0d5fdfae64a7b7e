//! The groups that a node has replicas of.

use std::sync::Arc;

use larder_consensus::Group;

use super::status::{LogSize, Trouble};
use crate::error::Error;
use crate::placement::{GroupId, Placement};

/// The groups that a node has replicas of, but for group 0. Its calls may wait for the disk.
pub(crate) trait Hosting: Send + Sync + 'static {
    /// Takes part in a group, from now on and after each restart. Nothing happens if it does already.
    ///
    /// # Errors
    ///
    /// The disk's. It may take part all the same after the next restart.
    fn host(&self, group: GroupId, how: Hosted) -> Result<(), Error>;

    /// Takes part no longer, and erases what it had of the group. Nothing happens if it has nothing.
    ///
    /// # Errors
    ///
    /// The disk's. It may take part still after the next restart.
    fn give_up(&self, group: GroupId) -> Result<(), Error>;

    /// The groups that it takes part in.
    fn groups(&self) -> Vec<(GroupId, Arc<Group>)>;

    /// What is wrong with this node's disk, if something is.
    fn trouble(&self) -> Option<Trouble>;

    /// How long this node's log is.
    fn log(&self) -> LogSize;

    /// The placement is this now. Called with each that this node hears of, in their order.
    fn placed(&self, placement: &Placement);
}

/// How a node comes to take part in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hosted {
    /// It begins the group, alone: only who founds the cluster does, before anybody knows of it.
    Founded,
    /// It is there for the group's leader, who will admit it. Until then it has nothing, and must
    /// [give no vote](Group::abstain_while_empty): it may have had a replica before and erased it.
    Admitted,
}
