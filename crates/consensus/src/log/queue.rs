//! Writes on their way to who does them.

use std::io;
use std::mem;
use std::sync::Arc;

use openraft::storage::IOFlushed;
use parking_lot::{Condvar, Mutex};
use protobuf::well_known_types::BytesValue;
use tokio::sync::oneshot;

use super::group::Group;
use crate::types::Types;

/// One write of one group: all of it or nothing comes to be, in this order.
pub(crate) struct Job {
    pub(crate) group: Arc<Group>,
    /// All that there is of the group goes.
    pub(crate) forget: bool,
    /// Entries before this index go.
    pub(crate) compact: Option<u64>,
    /// Entries that come, and replace what has their indexes or greater ones.
    pub(crate) entries: Vec<BytesValue>,
    pub(crate) values: Vec<(&'static [u8], Vec<u8>)>,
    pub(crate) done: Done,
}

/// Who is told when a write is durable, or has failed.
pub(crate) enum Done {
    Append {
        callback: IOFlushed<Types>,
        /// The index after the last entry.
        next: u64,
        /// The state's, when it was appended.
        epoch: u64,
    },
    Reply(oneshot::Sender<io::Result<()>>),
    Nobody,
}

/// Writes in the order in which they are to be done.
#[derive(Default)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    jobs: Vec<Job>,
    closed: bool,
}

impl Queue {
    /// Does not wait. After [`close`](Self::close) it is refused.
    pub(crate) fn push(&self, job: Job) -> io::Result<()> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(io::Error::other("the log is closed"));
        }
        inner.jobs.push(job);
        drop(inner);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits until there are some, and takes all; none once it is closed and empty.
    pub(crate) fn take(&self) -> Vec<Job> {
        let mut inner = self.inner.lock();
        while inner.jobs.is_empty() && !inner.closed {
            self.changed.wait(&mut inner);
        }
        mem::take(&mut inner.jobs)
    }

    /// Takes all there are.
    pub(crate) fn take_now(&self) -> Vec<Job> {
        mem::take(&mut self.inner.lock().jobs)
    }

    pub(crate) fn close(&self) {
        self.inner.lock().closed = true;
        self.changed.notify_one();
    }
}
