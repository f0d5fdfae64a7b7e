//! Calls a thread to the groups that it can do something for.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

use crate::placement::GroupId;

/// Calls a thread to the groups that it can do something for, in the order in which it was called. Who
/// rings sees to it that a group is called once until the thread comes: so what comes for a group that
/// the thread is busy with, or that cannot go on, wakes nobody.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    inner: Mutex<Inner>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    groups: VecDeque<GroupId>,
    /// The thread waits, and was not woken yet.
    waits: bool,
}

impl Bell {
    pub(crate) fn ring(&self, group: GroupId) {
        let mut inner = self.inner.lock();
        inner.groups.push_back(group);
        let wake = std::mem::take(&mut inner.waits);
        drop(inner);
        if wake {
            self.rung.notify_one();
        }
    }

    /// Waits until it is rung, for the group whose turn it is.
    pub(crate) fn wait(&self) -> GroupId {
        let mut inner = self.inner.lock();
        loop {
            if let Some(group) = inner.groups.pop_front() {
                return group;
            }
            inner.waits = true;
            self.rung.wait(&mut inner);
        }
    }
}
