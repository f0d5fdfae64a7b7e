//! How far it is, on stderr: a line that changes on a terminal, else a line now and then.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How far it is. Clones count together.
#[derive(Clone)]
pub(super) struct Progress(Arc<Inner>);

struct Inner {
    /// What is done with items.
    done: &'static str,
    /// How many there are in all, if that is known.
    total: Option<u64>,
    items: AtomicU64,
    bytes: AtomicU64,
    began: Instant,
    shown: Mutex<Instant>,
    is_terminal: bool,
    /// Whether a line on the terminal has not ended.
    is_open: AtomicBool,
}

impl Progress {
    /// Of items that are `done`.
    pub(super) fn new(done: &'static str, total: Option<u64>) -> Self {
        let (items, bytes, began) = (AtomicU64::new(0), AtomicU64::new(0), Instant::now());
        let is_terminal = io::stderr().is_terminal();
        let shown = Mutex::new(began);
        let is_open = AtomicBool::new(false);
        Self(Arc::new(Inner { done, total, items, bytes, began, shown, is_terminal, is_open }))
    }

    /// So many more are, of so many bytes.
    pub(super) fn add(&self, items: u64, bytes: u64) {
        self.0.items.fetch_add(items, Ordering::Relaxed);
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut shown = self.0.shown.lock();
        let pause = if self.0.is_terminal { ON_TERMINAL } else { IN_LINES };
        if shown.elapsed() >= pause {
            *shown = Instant::now();
            self.show();
        }
    }

    /// How many are.
    pub(super) fn items(&self) -> u64 {
        self.0.items.load(Ordering::Relaxed)
    }

    /// No more are.
    pub(super) fn end(&self) {
        self.show();
        self.0.end_line();
    }

    fn show(&self) {
        let inner = &self.0;
        let bytes = inner.bytes.load(Ordering::Relaxed);
        let line = line(inner.done, self.items(), inner.total, bytes, inner.began.elapsed());
        let mut stderr = io::stderr().lock();
        // Nobody may be reading any more.
        if inner.is_terminal {
            inner.is_open.store(true, Ordering::Relaxed);
            write!(stderr, "\r\x1b[K{line}").and_then(|()| stderr.flush()).ok();
        } else {
            writeln!(stderr, "{line}").ok();
        }
    }
}

impl Inner {
    fn end_line(&self) {
        if self.is_open.swap(false, Ordering::Relaxed) {
            writeln!(io::stderr()).ok();
        }
    }
}

impl Drop for Inner {
    /// What is said next, if something has failed, has a line of its own.
    fn drop(&mut self) {
        self.end_line();
    }
}

fn line(done: &str, items: u64, total: Option<u64>, bytes: u64, elapsed: Duration) -> String {
    let of = total.map(|total| format!(" of {total}")).unwrap_or_default();
    let kib = bytes >> 10;
    // Of the first moment nothing can be told.
    let a_second = u128::from(kib) * 1000 / elapsed.as_millis().max(1);
    format!("{done} {items}{of} items, {kib} KiB, {a_second} KiB/s")
}

const ON_TERMINAL: Duration = Duration::from_millis(250);
const IN_LINES: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_how_much_of_how_much_and_how_fast() {
        let after = Duration::from_secs(2);
        assert_eq!(line("stored", 5, None, 8192, after), "stored 5 items, 8 KiB, 4 KiB/s");
        let begun = line("stored", 0, Some(9), 0, Duration::ZERO);
        assert_eq!(begun, "stored 0 of 9 items, 0 KiB, 0 KiB/s");
    }
}
