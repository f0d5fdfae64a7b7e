//! Who writes and syncs, for all groups.

use std::io;
use std::mem;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use raft_engine::{Command, LogBatch};

use super::engine::Disk;
use super::group::Group;
use super::queue::{Done, Job};
use super::record::{self, NUMBER, Record};
use super::shared::Shared;
use crate::error::Error;

/// Who writes and syncs: a thread, or who queues something.
///
/// There is one, as there is one file: more would only make more syncs of less. The first failure is
/// the last write: its batch, what is queued and what comes later is answered with an error.
pub(crate) struct Writer<S> {
    shared: S,
    disk: Arc<Disk>,
}

impl<S: Deref<Target = Shared>> Writer<S> {
    pub(crate) fn new(shared: S) -> Result<Self, Error> {
        Ok(Self { disk: shared.disk()?, shared })
    }

    /// Writes until the queue is closed and empty.
    pub(crate) fn run(&self) {
        loop {
            let jobs = self.shared.queue.take();
            if jobs.is_empty() {
                return;
            }
            self.write(jobs);
        }
    }

    /// Writes what is queued, unless another does so.
    pub(crate) fn run_now(&self) {
        let _alone = self.shared.writing.lock();
        self.write(self.shared.queue.take_now());
    }

    /// One batch for all of it, or a few if it is much: the first need not wait for the last.
    fn write(&self, jobs: Vec<Job>) {
        let mut batch = Batch::default();
        for job in jobs {
            if let Err(error) = batch.add(job) {
                self.shared.fail(&format!("a write cannot be put together: {error}"));
            }
            if batch.log.approximate_size() >= BATCH_BYTES {
                self.commit(mem::take(&mut batch));
            }
        }
        if !batch.waiting.is_empty() {
            self.commit(batch);
        }
    }

    fn commit(&self, mut batch: Batch) {
        if self.shared.failure().is_none()
            && let Err(error) = self.sync(&mut batch)
        {
            self.shared.fail(&format!("a write failed: {error}"));
        }
        for (group, done) in batch.waiting {
            let result = self.shared.check();
            match done {
                Done::Append { callback, next, epoch } => {
                    if result.is_ok() {
                        group.state.lock().sync(next, epoch, self.shared.options.tail_bytes);
                    }
                    callback.io_completed(result);
                }
                // Who asked may have gone.
                Done::Reply(reply) => drop(reply.send(result)),
                Done::Nobody => {}
            }
        }
    }

    fn sync(&self, batch: &mut Batch) -> io::Result<()> {
        let Some(group) = batch.number_of else { return Ok(()) };
        let number = self.shared.synced().saturating_add(1);
        put(&mut batch.log, group, NUMBER, record::encode_value(&number)?)?;
        let begun = Instant::now();
        self.disk.write(&mut batch.log)?;
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let counters = &self.shared.counters;
        counters.writes.fetch_add(1, Ordering::Relaxed);
        counters.entries.fetch_add(batch.entries, Ordering::Relaxed);
        counters.write_micros.fetch_add(micros, Ordering::Relaxed);
        counters.longest_write_micros.fetch_max(micros, Ordering::Relaxed);
        self.shared.synced.store(number, Ordering::Release);
        Ok(())
    }
}

/// What is written together, and who waits for it.
#[derive(Default)]
struct Batch {
    log: LogBatch,
    /// With which group the batch's number is kept: behind all else, so that it is there even if the
    /// group is forgotten by the batch.
    number_of: Option<u64>,
    entries: u64,
    waiting: Vec<(Arc<Group>, Done)>,
}

impl Batch {
    fn add(&mut self, job: Job) -> io::Result<()> {
        let Job { group, forget, compact, entries, values, done } = job;
        let id = group.id;
        self.waiting.push((group, done));
        self.number_of.get_or_insert(id);
        if forget {
            self.log.add_command(id, Command::Clean);
        }
        if let Some(index) = compact {
            self.log.add_command(id, Command::Compact { index });
        }
        self.log.add_entries::<Record>(id, &entries).map_err(|error| refused(&error))?;
        self.entries = self.entries.saturating_add(entries.len() as u64);
        values.into_iter().try_for_each(|(key, value)| put(&mut self.log, id, key, value))
    }
}

fn put(batch: &mut LogBatch, group: u64, key: &[u8], value: Vec<u8>) -> io::Result<()> {
    batch.put(group, key.to_vec(), value).map_err(|error| refused(&error))
}

fn refused(error: &raft_engine::Error) -> io::Error {
    io::Error::other(error.to_string())
}

/// A larger one would keep the first in it waiting for the last.
const BATCH_BYTES: usize = 16 << 20;
