//! Calls who serves all groups to those that it can do something for.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::placement::GroupId;

/// Calls who serves all groups to those that it can do something for, in the order in which it was
/// called. Who rings sees to it that a group is called once until that one comes: so what comes for a
/// group that it is busy with, or that cannot go on, wakes nobody.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    groups: Mutex<VecDeque<GroupId>>,
    rung: Notify,
}

impl Bell {
    pub(crate) fn ring(&self, group: GroupId) {
        self.groups.lock().push_back(group);
        self.rung.notify_one();
    }

    /// Waits until it is rung, for the group whose turn it is. One at a time waits.
    pub(crate) async fn wait(&self) -> GroupId {
        loop {
            let next = self.groups.lock().pop_front();
            match next {
                Some(group) => return group,
                None => self.rung.notified().await,
            }
        }
    }
}
