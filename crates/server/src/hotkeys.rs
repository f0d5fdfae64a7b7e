//! `stats hotkeys`: the keys that clients of this node ask for most, and what they take.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::heat::{Heat, Measure, Rate};

/// Names and values, in the order an operator reads them.
pub(crate) fn tell<'a>(
    workers: impl Iterator<Item = &'a Heat> + Clone,
    now: Duration,
    emit: &mut dyn FnMut(&str, &str),
) {
    let by_requests = Hottest::of(workers.clone(), Measure::Requests, now);
    let by_bytes = Hottest::of(workers, Measure::Bytes, now);
    let both = [("requests", by_requests), ("bytes", by_bytes)];
    for (name, hottest) in &both {
        emit(&format!("{name}_per_second"), &format!("{:.0}", hottest.all));
    }
    for (name, hottest) in &both {
        for (rank, hot) in (1..).zip(&hottest.keys) {
            emit(&format!("{name}:{rank}"), &hot.line(hottest.all));
        }
    }
}

/// The hottest keys by one measure, the hottest first.
struct Hottest {
    /// How much a second all keys have together.
    all: f64,
    keys: Vec<HotKey>,
}

struct HotKey {
    key: Box<[u8]>,
    rate: Rate,
}

impl Hottest {
    fn of<'a>(
        workers: impl Iterator<Item = &'a Heat> + Clone,
        measure: Measure,
        now: Duration,
    ) -> Self {
        let mut known: HashMap<Box<[u8]>, f64> = HashMap::new();
        let mut all = 0.0;
        for worker in workers.clone() {
            all += worker.known(measure, now, |key, at_most| {
                *known.entry(key.into()).or_default() += at_most;
            });
        }
        let mut known: Vec<_> = known.into_iter().collect();
        known.sort_unstable_by(|(_, one), (_, other)| other.total_cmp(one));
        // Each is looked up at all workers, which may have to wait meanwhile.
        known.truncate(2 * MOST_TOLD);
        let hot = |(key, _)| HotKey { key, rate: Rate::default() };
        let mut keys: Vec<_> = known.into_iter().map(hot).collect();
        for worker in workers {
            worker.add_to(keys.iter_mut().map(|hot| (&*hot.key, &mut hot.rate)), measure, now);
        }
        keys.retain(|hot| hot.rate.is_sure());
        keys.sort_unstable_by(|one, other| other.rate.at_most.total_cmp(&one.rate.at_most));
        keys.truncate(MOST_TOLD);
        Self { all, keys }
    }
}

impl HotKey {
    /// Two standard deviations of what was counted.
    fn deviations(&self) -> f64 {
        2.0 * self.rate.variance.sqrt()
    }

    /// No space is in it, so that clients which take words for values have all of it; the key is last,
    /// so that it may have commas.
    fn line(&self, all: f64) -> String {
        let Rate { at_most, counted, .. } = self.rate;
        let mut line = format!(
            "per_second={at_most:.1},error={:.1},percent={:.2},key=",
            at_most - counted + self.deviations(),
            100.0 * at_most / all,
        );
        push_escaped(&mut line, &self.key);
        line
    }
}

/// A key as memcached's `lru_crawler metadump` has it, but that only what is no visible ASCII is
/// `%` and two digits, and the percent sign itself.
fn push_escaped(line: &mut String, key: &[u8]) {
    for byte in key {
        match byte {
            b'%' => line.push_str("%25"),
            b'!'..=b'~' => line.push(char::from(*byte)),
            _ => {
                // A string takes all there is.
                let _ = write!(line, "%{byte:02X}");
            }
        }
    }
}

/// How many keys are told by each measure.
const MOST_TOLD: usize = 20;

#[cfg(test)]
mod tests;
