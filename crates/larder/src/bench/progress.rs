//! The line shown while a run lasts.

#![expect(clippy::cast_precision_loss, reason = "figures shown rounded")]

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::plan::Limit;

/// What one thread counted so far. Its figures are read without stopping it, so they may be of
/// slightly different moments.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    ops: AtomicU64,
    bytes: AtomicU64,
    latency_us: AtomicU64,
}

impl Gauge {
    pub(super) fn set(&self, ops: u64, bytes: u64, latency_us: u64) {
        self.ops.store(ops, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        self.latency_us.store(latency_us, Ordering::Relaxed);
    }
}

/// All threads' figures at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Reading {
    elapsed: Duration,
    ops: u64,
    bytes: u64,
    latency_us: u64,
}

/// Shows how far a run is, on stderr.
#[derive(Debug)]
pub(super) struct Progress {
    run: u32,
    threads: u32,
    /// Per thread.
    clients: u32,
    limit: Limit,
    /// Requests of all clients, unless time decides.
    requests: Option<u64>,
    gauges: Vec<Arc<Gauge>>,
    last: Reading,
    terminal: bool,
    shown_before: Option<Duration>,
}

/// Where lines are kept, in a log, one a second would bury everything else.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

impl Progress {
    pub(super) fn new(plan: &super::Plan, run: u32, gauges: Vec<Arc<Gauge>>) -> Self {
        let requests = (0..plan.connections())
            .try_fold(0_u64, |sum, client| Some(sum.saturating_add(plan.requests(client)?)));
        Self {
            run,
            threads: plan.threads,
            clients: plan.clients,
            limit: plan.limit,
            requests,
            gauges,
            last: Reading::default(),
            terminal: io::stderr().is_terminal(),
            shown_before: None,
        }
    }

    /// To be called about every second.
    pub(super) fn show(&mut self, elapsed: Duration) {
        let due = match self.shown_before {
            _ if self.terminal => true,
            // A timer's second may be a little short of a second.
            Some(before) => elapsed + Duration::from_millis(100) >= before + LOG_INTERVAL,
            None => elapsed + Duration::from_millis(100) >= LOG_INTERVAL,
        };
        if due {
            self.print(elapsed);
        }
    }

    /// To be called once, at the end.
    pub(super) fn finish(&mut self, elapsed: Duration) {
        self.print(elapsed);
        if self.terminal {
            eprintln!();
        }
    }

    fn print(&mut self, elapsed: Duration) {
        let now = self.read(elapsed);
        let line = self.line(&now);
        self.last = now;
        self.shown_before = Some(elapsed);
        // A closed stderr is no reason to end a measurement.
        let _ = if self.terminal {
            // Back to the start, then clear what a longer line left.
            write!(io::stderr(), "\r{line}\x1b[K")
        } else {
            writeln!(io::stderr(), "{line}")
        };
    }

    fn read(&self, elapsed: Duration) -> Reading {
        let mut reading = Reading { elapsed, ..Reading::default() };
        for gauge in &self.gauges {
            reading.ops += gauge.ops.load(Ordering::Relaxed);
            reading.bytes += gauge.bytes.load(Ordering::Relaxed);
            reading.latency_us += gauge.latency_us.load(Ordering::Relaxed);
        }
        reading
    }

    fn line(&self, now: &Reading) -> String {
        let past = &self.last;
        let recent = Reading {
            elapsed: now.elapsed.saturating_sub(past.elapsed),
            ops: now.ops.saturating_sub(past.ops),
            bytes: now.bytes.saturating_sub(past.bytes),
            latency_us: now.latency_us.saturating_sub(past.latency_us),
        };
        let share = match (self.limit, self.requests) {
            (Limit::Time(time), _) => now.elapsed.as_secs_f64() / time.as_secs_f64(),
            (_, Some(requests)) => now.ops as f64 / requests.max(1) as f64,
            (_, None) => 0.0,
        };
        format!(
            "[RUN #{} {:.0}%, {:3} secs] {:2} threads {:2} conns: {:11} ops, {:7.0} (avg: {:7.0}) \
             ops/sec, {} (avg: {}), {:5.2} (avg: {:5.2}) msec latency",
            self.run,
            (share * 100.0).min(100.0),
            now.elapsed.as_secs(),
            self.threads,
            self.clients,
            now.ops,
            recent.per_second(recent.ops),
            now.per_second(now.ops),
            rate(recent.per_second(recent.bytes)),
            rate(now.per_second(now.bytes)),
            recent.average_ms(),
            now.average_ms(),
        )
    }
}

impl Reading {
    fn per_second(&self, count: u64) -> f64 {
        let secs = self.elapsed.as_secs_f64();
        if secs > 0.0 { count as f64 / secs } else { 0.0 }
    }

    fn average_ms(&self) -> f64 {
        match self.ops {
            0 => 0.0,
            ops => self.latency_us as f64 / ops as f64 / 1_000.0,
        }
    }
}

/// Bytes per second, in the unit that keeps them short.
fn rate(bytes_per_sec: f64) -> String {
    let kib = bytes_per_sec / 1_024.0;
    match kib {
        small if small < 1_024.0 => format!("{small:.2}KB/sec"),
        medium if medium < 1_048_576.0 => format!("{:.2}MB/sec", medium / 1_024.0),
        large => format!("{:.2}GB/sec", large / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(limit: Limit, requests: Option<u64>) -> Progress {
        Progress {
            run: 2,
            threads: 1,
            clients: 50,
            limit,
            requests,
            gauges: vec![Arc::default(), Arc::default()],
            last: Reading {
                elapsed: Duration::from_secs(2),
                ops: 100,
                bytes: 1_024,
                latency_us: 100_000,
            },
            terminal: false,
            shown_before: None,
        }
    }

    #[test]
    fn the_line_has_the_last_second_and_the_average() {
        let progress = progress(Limit::Time(Duration::from_secs(30)), None);
        progress.gauges[0].set(200, 2_048, 300_000);
        progress.gauges[1].set(200, 2_048, 300_000);
        let line = progress.line(&progress.read(Duration::from_secs(3)));
        assert_eq!(
            line,
            "[RUN #2 10%,   3 secs]  1 threads 50 conns:         400 ops,     300 (avg:     133) \
             ops/sec, 3.00KB/sec (avg: 1.33KB/sec),  1.67 (avg:  1.50) msec latency"
        );
    }

    #[test]
    fn a_number_of_requests_is_progress_too() {
        let progress = progress(Limit::Requests(8), Some(400));
        progress.gauges[0].set(100, 0, 0);
        assert!(progress.line(&progress.read(Duration::from_secs(3))).contains(" 25%"));
    }

    #[test]
    fn rates_stay_short() {
        assert_eq!(rate(512.0), "0.50KB/sec");
        assert_eq!(rate(3.0 * 1_048_576.0), "3.00MB/sec");
        assert_eq!(rate(2.5 * 1_073_741_824.0), "2.50GB/sec");
    }
}
