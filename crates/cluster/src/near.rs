//! Copies of other nodes' hot keys, which this node serves itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ahash::{HashMap, RandomState};
use bytes::Bytes;
use larder_protocol::{
    Change, Fetch, Header, Hit, Item, Marks, Op, Outcome, Seconds, Value, decide,
};
use parking_lot::{Mutex, RwLock};

/// Copies of other nodes' hot keys. Which keys are hot is known from a sample of requests; a copy is an answer
/// that the owner gave to a client.
///
/// A copy is served until a bounded time after it was asked for. A change through this node drops it first,
/// and what is asked for while the change is on its way is not kept: so who writes through a node reads
/// there what it wrote. Locks are taken in the order of the fields.
#[derive(Debug)]
pub(crate) struct Near {
    /// How long a copy is served, from when it was asked for.
    ttl: Duration,
    /// A key is hot of which a worker is asked for so often a second.
    rate: f64,
    hot: Mutex<HashMap<Box<[u8]>, Heat>>,
    /// How many are hot.
    count: AtomicUsize,
    /// When it was last looked which of them are not hot any more.
    swept: AtomicU32,
    hasher: RandomState,
    /// By the keys' hashes; none if no copies are kept at all.
    buckets: Box<[RwLock<Bucket>]>,
}

/// How hot a key is.
#[derive(Clone, Copy, Debug)]
struct Heat {
    /// How often a second one worker is asked for it,
    per_second: f64,
    /// as was known then.
    noted: Seconds,
}

/// The keys of some hashes.
#[derive(Debug, Default)]
struct Bucket {
    /// How many changes of keys of this bucket have begun or ended.
    changes: u64,
    /// How many are on their way.
    changing: usize,
    hot: Vec<Hot>,
}

impl Bucket {
    fn hot(&self, key: &[u8]) -> Option<&Hot> {
        self.hot.iter().find(|hot| *hot.key == *key)
    }

    fn hot_mut(&mut self, key: &[u8]) -> Option<&mut Hot> {
        self.hot.iter_mut().find(|hot| *hot.key == *key)
    }
}

/// A key that is hot.
#[derive(Debug)]
struct Hot {
    key: Box<[u8]>,
    /// Somebody is asking its owner for a new copy.
    asking: AtomicBool,
    copy: Option<Kept>,
}

/// What its owner said of it.
#[derive(Debug)]
struct Kept {
    header: Header,
    value: Bytes,
    asked: Instant,
}

/// What there is for a command on another's key.
#[derive(Debug)]
pub(crate) enum Found {
    /// Its answer.
    Answer(Outcome<'static>),
    /// Nothing, but what its owner answers is to be kept.
    Ask(Asking),
    Nothing,
}

/// A fetch on its way to the owner of a hot key, whose answer is to be kept.
#[derive(Debug)]
pub struct Asking {
    near: Arc<Near>,
    key: Box<[u8]>,
    /// As many as there were when it was sent.
    changes: u64,
    asked: Instant,
    now: Seconds,
}

/// A change on its way to the owner of a key. What is asked for until this is dropped is not kept.
#[derive(Debug)]
pub struct Changing {
    near: Arc<Near>,
    place: usize,
}

impl Near {
    /// Copies are served for `ttl` from when they were asked for; zero: none are kept. A key is hot if a worker is
    /// asked for it at least `rate` times a second.
    pub(crate) fn new(ttl: Duration, rate: f64) -> Self {
        let buckets = if ttl.is_zero() { 0 } else { BUCKETS };
        Self {
            ttl,
            rate,
            hot: Mutex::default(),
            count: AtomicUsize::default(),
            swept: AtomicU32::default(),
            hasher: RandomState::new(),
            buckets: (0..buckets).map(|_| RwLock::default()).collect(),
        }
    }

    /// Another's key was in the sample, and a worker is asked for it at least so often a second.
    pub(crate) fn note(&self, key: &[u8], per_second: f64, now: Seconds) {
        if self.buckets.is_empty() {
            return;
        }
        let sweeps = self.count.load(Ordering::Relaxed) > 0
            && self.swept.swap(now, Ordering::Relaxed) != now;
        if !sweeps && per_second < self.rate {
            return;
        }
        let mut hot = self.hot.lock();
        if sweeps {
            let cold = hot.extract_if(|_, heat| now.saturating_sub(heat.noted) > FADE_SECS);
            cold.for_each(|(key, _)| self.remove(&key));
        }
        if per_second >= self.rate {
            self.heat(&mut hot, key, Heat { per_second, noted: now });
        }
        self.count.store(hot.len(), Ordering::Relaxed);
    }

    /// A key is hot. If too many are, the least hot of them is not any more.
    fn heat(&self, hot: &mut HashMap<Box<[u8]>, Heat>, key: &[u8], heat: Heat) {
        if let Some(known) = hot.get_mut(key) {
            *known = heat;
            return;
        }
        if hot.len() >= MOST_KEYS {
            let least = hot
                .iter()
                .min_by(|(_, one), (_, other)| one.per_second.total_cmp(&other.per_second));
            let Some((least, _)) = least.filter(|(_, least)| least.per_second < heat.per_second)
            else {
                return;
            };
            let least = least.clone();
            hot.remove(&least);
            self.remove(&least);
        }
        if let Some(bucket) = self.bucket(key) {
            hot.insert(key.into(), heat);
            bucket.write().hot.push(Hot {
                key: key.into(),
                asking: AtomicBool::default(),
                copy: None,
            });
        }
    }

    fn remove(&self, key: &[u8]) {
        if let Some(bucket) = self.bucket(key) {
            bucket.write().hot.retain(|hot| *hot.key != *key);
        }
    }

    /// What there is for `op`, which is about to be sent to the owner of `key`. `clock` tells the time, and is
    /// asked only if the key is hot.
    #[inline]
    pub(crate) fn find(
        self: &Arc<Self>,
        key: &[u8],
        op: &Op<'_>,
        now: Seconds,
        clock: impl FnOnce() -> Instant,
    ) -> Found {
        if self.count.load(Ordering::Relaxed) == 0 {
            Found::Nothing
        } else {
            self.look(key, op, now, clock)
        }
    }

    fn look(
        self: &Arc<Self>,
        key: &[u8],
        op: &Op<'_>,
        now: Seconds,
        clock: impl FnOnce() -> Instant,
    ) -> Found {
        // One that leaves no trace of use may be asking for the traces of others.
        let Op::Fetch(Fetch { ttl: None, bump: true, .. }) = op else { return Found::Nothing };
        let Some(bucket) = self.bucket(key) else { return Found::Nothing };
        let bucket = bucket.read();
        let Some(hot) = bucket.hot(key) else { return Found::Nothing };
        let asked = clock();
        let age = |copy: &Kept| asked.saturating_duration_since(copy.asked);
        let copy = hot.copy.as_ref().filter(|copy| age(copy) < self.ttl);
        let answer = copy.and_then(|copy| copy.answer(op, now));
        // Somebody asks in time, so that the others need not.
        let is_due = answer.is_none() || copy.is_none_or(|copy| age(copy) >= self.ttl / 4 * 3);
        if is_due && bucket.changing == 0 && !hot.asking.swap(true, Ordering::Relaxed) {
            let (near, changes) = (Arc::clone(self), bucket.changes);
            return Found::Ask(Asking { near, key: key.into(), changes, asked, now });
        }
        answer.map_or(Found::Nothing, Found::Answer)
    }

    /// `op` is about to be sent to the owner of `key`, or done here for it: if it changes the item, there is no
    /// copy from now on, and none is kept until what this returns is dropped.
    #[inline]
    pub(crate) fn change(self: &Arc<Self>, key: &[u8], op: &Op<'_>) -> Option<Changing> {
        let reads = matches!(op, Op::Fetch(Fetch { ttl: None, .. }));
        if reads || self.buckets.is_empty() { None } else { self.begin_change(key) }
    }

    fn begin_change(self: &Arc<Self>, key: &[u8]) -> Option<Changing> {
        let place = self.place(key)?;
        let mut bucket = self.buckets.get(place)?.write();
        bucket.changes += 1;
        bucket.changing += 1;
        if let Some(hot) = bucket.hot_mut(key) {
            hot.copy = None;
        }
        drop(bucket);
        Some(Changing { near: Arc::clone(self), place })
    }

    /// Drops all copies; what is being asked for is not kept either.
    pub(crate) fn clear(&self) {
        for bucket in &self.buckets {
            let mut bucket = bucket.write();
            bucket.changes += 1;
            bucket.hot.iter_mut().for_each(|hot| hot.copy = None);
        }
    }

    /// How many copies there are, and how many bytes their keys and values have.
    pub(crate) fn count(&self) -> (usize, usize) {
        let (mut keys, mut bytes) = (0, 0);
        for key in self.hot.lock().keys() {
            let Some(bucket) = self.bucket(key) else { continue };
            let bucket = bucket.read();
            if let Some(copy) = bucket.hot(key).and_then(|hot| hot.copy.as_ref()) {
                keys += 1;
                bytes += key.len() + copy.value.len();
            }
        }
        (keys, bytes)
    }

    fn place(&self, key: &[u8]) -> Option<usize> {
        let place = self.hasher.hash_one(key).checked_rem(self.buckets.len() as u64)?;
        usize::try_from(place).ok()
    }

    fn bucket(&self, key: &[u8]) -> Option<&RwLock<Bucket>> {
        self.buckets.get(self.place(key)?)
    }
}

impl Kept {
    /// Its owner's answer to a fetch, unless that would do more than note that the item was used.
    fn answer(&self, op: &Op<'_>, now: Seconds) -> Option<Outcome<'static>> {
        if self.header.expired(now) {
            return None;
        }
        let item = Item { header: self.header, value: Value::Shared(self.value.clone()) };
        // None is created: there is one.
        let verdict = decide(Some(item), op, now, || 0);
        let answer = verdict.outcome.into_owned();
        matches!(verdict.change, Change::Keep | Change::Use(_)).then_some(answer)
    }
}

impl Asking {
    /// Keeps what its owner answered, unless the key was changed here since it was asked.
    pub(crate) fn keep(&self, outcome: &Outcome<'_>) {
        let Outcome::Hit(Hit { before, created: false, won: false, value, .. }) = outcome else {
            return;
        };
        let has = |mark| before.marks.has(mark);
        if has(Marks::STALE) || has(Marks::WON) || value.len() > MOST_BYTES {
            return;
        }
        // What was asked for has been used.
        let marks = before.marks.with(Marks::FETCHED);
        let header = Header { marks, last_access: self.now, ..*before };
        // The answer is a part of a larger piece of memory.
        let value = Bytes::copy_from_slice(&value.to_bytes());
        let Some(bucket) = self.near.bucket(&self.key) else { return };
        let mut bucket = bucket.write();
        if bucket.changes != self.changes {
            return;
        }
        if let Some(hot) = bucket.hot_mut(&self.key)
            && hot.copy.as_ref().is_none_or(|copy| copy.asked <= self.asked)
        {
            hot.copy = Some(Kept { header, value, asked: self.asked });
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let Some(bucket) = self.near.bucket(&self.key) else { return };
        if let Some(hot) = bucket.read().hot(&self.key) {
            hot.asking.store(false, Ordering::Relaxed);
        }
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        if let Some(bucket) = self.near.buckets.get(self.place) {
            let mut bucket = bucket.write();
            bucket.changes += 1;
            bucket.changing -= 1;
        }
    }
}

/// How many keys may be hot at once: with [`MOST_BYTES`], copies take 16 MiB at most.
const MOST_KEYS: usize = 256;

/// The longest value of a copy, in bytes.
const MOST_BYTES: usize = 64 << 10;

/// A key that was not known to be hot for so long is not: as long as the sample remembers half of what there was.
const FADE_SECS: Seconds = 10;

/// So many that changes of other keys seldom keep an answer from being kept; they take 200 KiB.
const BUCKETS: usize = 4096;

#[cfg(test)]
mod tests;
