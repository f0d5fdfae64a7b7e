//! What a worker counts. Each worker has its own, so counting shares no cache line.

use std::sync::atomic::{AtomicU64, Ordering};

use larder_protocol::{Arithmetic, Op, Outcome, Shape, Store};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident)*) => {
        /// Counters of one worker thread, which alone adds to them.
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $($(#[$doc])* pub(crate) $name: Counter),* }

        /// The sum over all workers.
        #[derive(Clone, Copy, Debug, Default)]
        pub(crate) struct Totals { $(pub(crate) $name: u64),* }

        impl Totals {
            pub(crate) fn add(&mut self, worker: &Counters) {
                $(self.$name += worker.$name.get();)*
            }
        }

        impl Counters {
            /// Counters begin again at 0.
            pub(crate) fn reset(&self) {
                $(self.$name.0.store(0, Ordering::Relaxed);)*
            }
        }
    };
}

counters! {
    cmd_get cmd_set cmd_flush cmd_touch cmd_meta
    get_hits get_misses
    delete_hits delete_misses
    incr_hits incr_misses decr_hits decr_misses
    cas_hits cas_misses cas_badval
    touch_hits touch_misses
    store_too_large store_no_memory
    bytes_read bytes_written
    conn_yields
}

/// A number that one thread adds to and others read.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds without a locked instruction: only the worker itself adds. A reset between the two
    /// halves may be lost, which costs a count nobody can tell from one a moment later.
    #[inline]
    pub(crate) fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// As what a command is counted, once its answer is known.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tally {
    Get,
    Touch,
    Set,
    Cas,
    Delete,
    Incr,
    Decr,
    /// `flush_all` is counted when asked, `me` not as a fetch.
    Nothing,
}

impl Tally {
    #[inline]
    pub(crate) fn of(op: &Op<'_>, shape: Shape) -> Self {
        match op {
            _ if shape == Shape::MetaDebug => Self::Nothing,
            Op::Fetch(fetch) if fetch.ttl.is_some() => Self::Touch,
            Op::Fetch(_) => Self::Get,
            Op::Store(Store { compare: Some(_), .. }) => Self::Cas,
            Op::Store(_) => Self::Set,
            Op::Delete(_) => Self::Delete,
            Op::Arithmetic(Arithmetic { decrement: true, .. }) => Self::Decr,
            Op::Arithmetic(_) => Self::Incr,
        }
    }
}

impl Counters {
    /// Counts a command by its answer.
    #[inline]
    pub(crate) fn count(&self, tally: Tally, outcome: &Outcome<'_>) {
        match tally {
            Tally::Get => {
                self.cmd_get.add(1);
                pick(outcome, &self.get_hits, &self.get_misses);
            }
            Tally::Touch => {
                self.cmd_touch.add(1);
                pick(outcome, &self.touch_hits, &self.touch_misses);
            }
            Tally::Set => self.cmd_set.add(1),
            Tally::Cas => {
                self.cmd_set.add(1);
                match outcome {
                    Outcome::Exists => self.cas_badval.add(1),
                    _ => pick(outcome, &self.cas_hits, &self.cas_misses),
                }
            }
            Tally::Delete => pick(outcome, &self.delete_hits, &self.delete_misses),
            Tally::Incr => pick(outcome, &self.incr_hits, &self.incr_misses),
            Tally::Decr => pick(outcome, &self.decr_hits, &self.decr_misses),
            Tally::Nothing => {}
        }
        match outcome {
            Outcome::TooLarge => self.store_too_large.add(1),
            Outcome::NoMemory => self.store_no_memory.add(1),
            _ => {}
        }
    }
}

#[inline]
fn pick(outcome: &Outcome<'_>, hits: &Counter, misses: &Counter) {
    match outcome {
        Outcome::Hit(_) | Outcome::Stored { .. } | Outcome::Deleted | Outcome::Counted(_) => {
            hits.add(1);
        }
        Outcome::Miss | Outcome::NotFound | Outcome::Exists => misses.add(1),
        _ => {}
    }
}
