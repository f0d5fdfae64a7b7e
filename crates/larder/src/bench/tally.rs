//! What was counted.

#![expect(clippy::cast_precision_loss, reason = "sums of microseconds and bytes, shown rounded")]

use hdrhistogram::Histogram;

/// One command's operations, over a run or a second of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) ops: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    /// The sum over all operations.
    pub(super) latency_us: u64,
    pub(super) max_us: u64,
    /// Meaningless without operations.
    pub(super) min_us: u64,
}

/// One command's operations over a run.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) count: Count,
    /// Of latencies, in microseconds.
    pub(super) histogram: Histogram<u64>,
}

/// Sets and gets of one second of the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Second {
    pub(super) sets: Count,
    pub(super) gets: Count,
}

/// All that clients counted.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    pub(super) sets: Command,
    pub(super) gets: Command,
    /// Keys gets found and did not find.
    pub(super) hits: u64,
    pub(super) misses: u64,
    /// Requests the server refused; they are in no other count.
    pub(super) errors: Noted,
    /// Connections that ended before their client was done.
    pub(super) lost: Noted,
    /// Requests sent that got no reply.
    pub(super) unanswered: u64,
    /// Requests that were due, by `--rate-limiting`, but not sent when the run ended.
    pub(super) unsent: u64,
    /// By whole second since the start of the run.
    pub(super) seconds: Vec<Second>,
}

/// How often something went wrong, and how it did first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) count: u64,
    pub(super) first: Option<String>,
}

/// One operation, done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Done {
    /// When, in microseconds after the start of the run.
    pub(super) at_us: u64,
    pub(super) latency_us: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

/// An hour: longer latencies count as that.
const LONGEST_US: u64 = 3_600_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

impl Tally {
    pub(super) fn new() -> Result<Self, String> {
        Ok(Self {
            sets: Command::new()?,
            gets: Command::new()?,
            hits: 0,
            misses: 0,
            errors: Noted::default(),
            lost: Noted::default(),
            unanswered: 0,
            unsent: 0,
            seconds: Vec::new(),
        })
    }

    pub(super) fn set(&mut self, done: Done) {
        self.sets.add(done);
        if let Some(second) = self.second(done.at_us) {
            second.sets.add(done);
        }
    }

    pub(super) fn get(&mut self, done: Done, hits: u32, misses: u32) {
        self.gets.add(done);
        self.hits += u64::from(hits);
        self.misses += u64::from(misses);
        if let Some(second) = self.second(done.at_us) {
            second.gets.add(done);
        }
    }

    fn second(&mut self, at_us: u64) -> Option<&mut Second> {
        let index = usize::try_from(at_us / 1_000_000).ok()?;
        if index >= self.seconds.len() {
            self.seconds.resize(index + 1, Second::default());
        }
        self.seconds.get_mut(index)
    }

    /// Sets and gets together.
    pub(super) fn totals(&self) -> Command {
        let mut totals = self.sets.clone();
        totals.merge(&self.gets);
        totals
    }

    pub(super) fn ops(&self) -> u64 {
        self.sets.count.ops + self.gets.count.ops
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.sets.merge(&other.sets);
        self.gets.merge(&other.gets);
        self.hits += other.hits;
        self.misses += other.misses;
        self.errors.merge(&other.errors);
        self.lost.merge(&other.lost);
        self.unanswered += other.unanswered;
        self.unsent += other.unsent;
        if self.seconds.len() < other.seconds.len() {
            self.seconds.resize(other.seconds.len(), Second::default());
        }
        for (mine, theirs) in self.seconds.iter_mut().zip(&other.seconds) {
            mine.sets.merge(&theirs.sets);
            mine.gets.merge(&theirs.gets);
        }
    }
}

impl Command {
    fn new() -> Result<Self, String> {
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, SIGNIFICANT_DIGITS)
            .map_err(|error| format!("cannot make a histogram: {error}"))?;
        Ok(Self { count: Count::default(), histogram })
    }

    fn add(&mut self, done: Done) {
        self.count.add(done);
        self.histogram.saturating_record(done.latency_us);
    }

    fn merge(&mut self, other: &Self) {
        self.count.merge(&other.count);
        // Cannot fail: all histograms have the same bounds.
        let added = self.histogram.add(&other.histogram);
        debug_assert!(added.is_ok(), "{added:?}");
    }

    /// The latency that `percentile` percent of operations did not exceed, in milliseconds.
    pub(super) fn percentile_ms(&self, percentile: f64) -> f64 {
        // The histogram answers with the end of a range of values it does not tell apart.
        self.histogram.value_at_percentile(percentile).min(self.count.max_us) as f64 / 1_000.0
    }
}

impl Count {
    fn add(&mut self, done: Done) {
        self.merge(&Self {
            ops: 1,
            bytes_in: done.bytes_in,
            bytes_out: done.bytes_out,
            latency_us: done.latency_us,
            max_us: done.latency_us,
            min_us: done.latency_us,
        });
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.min_us = match (self.ops, other.ops) {
            (_, 0) => self.min_us,
            (0, _) => other.min_us,
            _ => self.min_us.min(other.min_us),
        };
        self.max_us = self.max_us.max(other.max_us);
        self.ops += other.ops;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.latency_us += other.latency_us;
    }

    pub(super) fn average_ms(&self) -> f64 {
        match self.ops {
            0 => 0.0,
            ops => self.latency_us as f64 / ops as f64 / 1_000.0,
        }
    }
}

impl Second {
    pub(super) fn totals(&self) -> Count {
        let mut totals = self.sets;
        totals.merge(&self.gets);
        totals
    }
}

impl Noted {
    pub(super) fn note(&mut self, what: String) {
        self.count += 1;
        self.first.get_or_insert(what);
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        if self.first.is_none() {
            self.first.clone_from(&other.first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(at_us: u64, latency_us: u64) -> Done {
        Done { at_us, latency_us, bytes_in: 10, bytes_out: 100 }
    }

    #[test]
    fn operations_add_up_per_command_and_second() {
        let mut tally = Tally::new().unwrap();
        tally.set(done(10, 200));
        tally.get(done(1_999_999, 400), 1, 2);
        tally.get(done(2_000_000, 600), 0, 3);
        assert_eq!(tally.ops(), 3);
        assert_eq!((tally.hits, tally.misses), (1, 5));
        let totals = tally.totals();
        assert_eq!(totals.count.latency_us, 1_200);
        assert_eq!((totals.count.min_us, totals.count.max_us), (200, 600));
        assert_eq!((totals.count.bytes_in, totals.count.bytes_out), (30, 300));
        assert!((totals.count.average_ms() - 0.4).abs() < 1e-9);
        let ops: Vec<[u64; 2]> =
            tally.seconds.iter().map(|second| [second.sets.ops, second.gets.ops]).collect();
        assert_eq!(ops, [[1, 0], [0, 1], [0, 1]]);
    }

    #[test]
    fn percentiles_are_of_the_latencies() {
        let mut tally = Tally::new().unwrap();
        for latency_us in 1..=1_000 {
            tally.get(done(0, latency_us), 1, 0);
        }
        assert!((tally.gets.percentile_ms(50.0) - 0.5).abs() < 0.001);
        assert!((tally.gets.percentile_ms(99.0) - 0.99).abs() < 0.001);
        assert!((tally.gets.percentile_ms(100.0) - 1.0).abs() < 0.001);
    }

    #[test]
    fn merging_is_counting_together() {
        let (mut one, mut two, mut both) =
            (Tally::new().unwrap(), Tally::new().unwrap(), Tally::new().unwrap());
        for (at_us, latency_us) in [(5, 900), (3_000_000, 50)] {
            one.set(done(at_us, latency_us));
            both.set(done(at_us, latency_us));
        }
        two.get(done(1_000_000, 70), 1, 0);
        both.get(done(1_000_000, 70), 1, 0);
        two.lost.note("first".to_owned());
        two.lost.note("second".to_owned());
        one.merge(&two);
        assert_eq!(one.seconds, both.seconds);
        assert_eq!(one.totals().count, both.totals().count);
        assert_eq!(one.totals().histogram, both.totals().histogram);
        assert_eq!(one.lost, Noted { count: 2, first: Some("first".to_owned()) });
    }

    #[test]
    fn no_operations_have_no_latency() {
        let tally = Tally::new().unwrap();
        assert!(tally.totals().count.average_ms().abs() < f64::EPSILON);
        assert_eq!(tally.totals().count.min_us, 0);
    }
}
