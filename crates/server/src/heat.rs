//! What one worker thread knows of the keys that are asked for most.

use std::hash::{BuildHasher, RandomState};
use std::ops::AddAssign;
use std::time::Duration;

use larder_protocol::{Form, Outcome, Seconds, Shape};
use parking_lot::Mutex;

use crate::sampler::{ONE_IN, Sampler};
use crate::sketch::{self, Estimate, Sketch};

/// A sample of one worker's requests, counted by key. All counts are halved every [`PERIOD`] seconds.
#[derive(Debug)]
pub(crate) struct Heat {
    sampler: Sampler,
    /// Secret, so that no client can choose keys that look as one.
    hasher: RandomState,
    /// Others lock it only to tell what is in it.
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    /// When counting began.
    began: Duration,
    /// The period in which all was last halved.
    period: Seconds,
    requests: Sketch,
    bytes: Sketch,
}

/// What is counted of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Requests; each key of a `get` is one.
    Requests,
    /// Bytes of values, sent and received.
    Bytes,
}

/// How much a second of something there was of late.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    /// As the sketch has it, which may be too much.
    pub(crate) at_most: f64,
    /// As was counted for this key alone, which may be too little.
    pub(crate) counted: f64,
    /// The variance of that, as a sample was counted.
    pub(crate) variance: f64,
}

impl Rate {
    /// One of a sketch of which a count of 1 is `scale` a second.
    fn of(estimate: Estimate, scale: f64) -> Self {
        let Estimate { at_most, counted, squares } = estimate;
        Self {
            at_most: f64::from(at_most) * scale,
            counted: f64::from(counted) * scale,
            variance: f64::from(squares) * scale * scale,
        }
    }

    /// Whether at least half of what is told of it was counted for this key and no other, and more than
    /// chance may have made of nearly nothing: at least five requests of the sample. Of keys that are
    /// asked for once none is.
    pub(crate) fn is_sure(&self) -> bool {
        let Self { at_most, counted, variance } = self;
        counted * counted > CHANCE * variance && *counted >= at_most / 2.0
    }
}

impl AddAssign for Rate {
    fn add_assign(&mut self, other: Self) {
        self.at_most += other.at_most;
        self.counted += other.counted;
        self.variance += other.variance;
    }
}

impl Heat {
    /// `seed` makes the samples of several workers different.
    pub(crate) fn new(seed: u64, now: Duration) -> Self {
        let hasher = RandomState::new();
        Self { sampler: Sampler::new(seed), hasher, counts: Mutex::new(Counts::new(now)) }
    }

    /// Whether this request is one of those that are counted.
    #[inline]
    pub(crate) fn samples(&self) -> bool {
        self.sampler.picks()
    }

    /// Counts a request that is sampled, with so many bytes of values. How often a second its key is asked
    /// for at least, of late; 0 if that may be chance.
    #[cold]
    pub(crate) fn count(&self, key: &[u8], bytes: usize, now: Seconds) -> f64 {
        let hash = self.hasher.hash_one(key);
        let mut counts = self.counts.lock();
        counts.halve(now);
        counts.requests.add(hash, key, 1.0);
        counts.add_bytes(hash, key, bytes);
        let rate =
            Rate::of(counts.requests.estimate(hash), counts.scale(Duration::from_secs(now.into())));
        if rate.is_sure() { rate.counted } else { 0.0 }
    }

    /// Counts the bytes of a value that went out later than its request was counted.
    #[cold]
    pub(crate) fn count_late(&self, key: &[u8], bytes: usize, now: Seconds) {
        let hash = self.hasher.hash_one(key);
        let mut counts = self.counts.lock();
        counts.halve(now);
        counts.add_bytes(hash, key, bytes);
    }

    /// What all keys have together, a second, and then each key that is known by name with what it has
    /// at most.
    pub(crate) fn known(
        &self,
        measure: Measure,
        now: Duration,
        mut each: impl FnMut(&[u8], f64),
    ) -> f64 {
        let mut counts = self.counts.lock();
        let (sketch, scale) = counts.look(measure, now);
        for (key, at_most) in sketch.named() {
            each(key, f64::from(at_most) * scale);
        }
        sketch.total() * scale
    }

    /// Adds to each of these what this worker has of its key.
    pub(crate) fn add_to<'a>(
        &self,
        rates: impl Iterator<Item = (&'a [u8], &'a mut Rate)>,
        measure: Measure,
        now: Duration,
    ) {
        let mut counts = self.counts.lock();
        let (sketch, scale) = counts.look(measure, now);
        for (key, rate) in rates {
            *rate += Rate::of(sketch.estimate(self.hasher.hash_one(key)), scale);
        }
    }

    /// Begins anew.
    pub(crate) fn reset(&self, now: Duration) {
        *self.counts.lock() = Counts::new(now);
    }
}

impl Counts {
    fn new(now: Duration) -> Self {
        let (requests, bytes) = (Sketch::default(), Sketch::default());
        Self { began: now, period: period(now), requests, bytes }
    }

    fn add_bytes(&mut self, hash: u64, key: &[u8], bytes: usize) {
        if bytes > 0 {
            #[expect(
                clippy::cast_precision_loss,
                reason = "values have less than 2^24 bytes, or about as many"
            )]
            self.bytes.add(hash, key, bytes as f32);
        }
    }

    /// Halves all counts once for each period that has begun since.
    fn halve(&mut self, now: Seconds) {
        let times = (now / PERIOD).saturating_sub(self.period);
        if times > 0 {
            self.period += times;
            self.requests.halve(times);
            self.bytes.halve(times);
        }
    }

    /// What is counted, and how much a second a count of 1 is.
    fn look(&mut self, measure: Measure, now: Duration) -> (&Sketch, f64) {
        self.halve(period(now) * PERIOD);
        let sketch = match measure {
            Measure::Requests => &self.requests,
            Measure::Bytes => &self.bytes,
        };
        (sketch, self.scale(now))
    }

    /// How much a second a count of 1 is.
    fn scale(&self, now: Duration) -> f64 {
        f64::from(ONE_IN) / seconds(self.began, now).max(LEAST_SECONDS)
    }
}

/// The number of the period that this is in.
fn period(now: Duration) -> Seconds {
    Seconds::try_from(now.as_secs() / u64::from(PERIOD)).unwrap_or(Seconds::MAX)
}

/// How many seconds there were from `began` to `now`, each counting as much as what was counted in it:
/// those of this period whole, those of the one before half, and so on.
fn seconds(began: Duration, now: Duration) -> f64 {
    let period = f64::from(PERIOD);
    let mut left = now.saturating_sub(began).as_secs_f64();
    let (mut seconds, mut worth) = (0.0, 1.0);
    let mut len = now.as_secs_f64() % period;
    while left > 0.0 && worth > f64::EPSILON {
        seconds += worth * len.min(left);
        left -= len;
        (len, worth) = (period, worth / 2.0);
    }
    seconds
}

/// How many bytes of a value the answer brings.
#[inline]
pub(crate) fn value_sent(form: &Form<'_>, outcome: &Outcome<'_>) -> usize {
    match (form.shape, outcome) {
        (Shape::Value { .. }, Outcome::Hit(hit)) => hit.value.len(),
        (Shape::MetaGet { value: true, unless_cas }, Outcome::Hit(hit))
            if unless_cas != Some(hit.before.cas) =>
        {
            hit.value.len()
        }
        _ => 0,
    }
}

/// After how many seconds counts are halved. A count is of the last 10 to 20 seconds then: long enough
/// for the sample of a key that matters, short enough to follow what changes.
const PERIOD: Seconds = 10;

/// What has been counted for less is told as if it had been for so long, lest one request look as many.
const LEAST_SECONDS: f64 = 1.0;

/// So many requests of the sample may be chance: the square of a count by its variance is how many there
/// were, if all weighed the same. Between four and five, so that rounding decides nothing.
const CHANCE: f64 = 4.5;

/// What a worker may take for all this, in bytes.
const MOST_MEMORY: usize = 64 << 10;

const _: () = assert!(2 * sketch::MOST_MEMORY + size_of::<Heat>() <= MOST_MEMORY);

#[cfg(test)]
mod tests {
    use larder_protocol::{Header, Hit, Key, Marks, Value};

    use super::*;

    #[test]
    fn a_value_is_sent_where_it_was_asked_for() {
        let key = Key { text: b"k", base64: false };
        let before =
            Header { cas: 7, client_flags: 0, exptime: 0, last_access: 0, marks: Marks::default() };
        let value = Value::Slice(b"value");
        let hit = Hit { before, exptime: 0, created: false, won: false, value };
        let sent =
            |shape, outcome| value_sent(&Form { shape, quiet: false, key, flags: &[] }, &outcome);
        let meta = |value, unless_cas| Shape::MetaGet { value, unless_cas };
        for (shape, bytes) in [
            (Shape::Value { cas: false }, 5),
            (meta(true, None), 5),
            (meta(true, Some(8)), 5),
            (meta(true, Some(7)), 0),
            (meta(false, None), 0),
            (Shape::Touched, 0),
            (Shape::MetaDebug, 0),
        ] {
            assert_eq!(sent(shape, Outcome::Hit(hit.clone())), bytes, "{shape:?}");
            assert_eq!(sent(shape, Outcome::Miss), 0);
        }
    }
}
