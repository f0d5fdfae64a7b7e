//! What time nodes believe it is.

use std::thread;
use std::time::{Duration, Instant};

use super::{LOOK_EVERY, Nodes};
use crate::outages::client::unix_seconds;
use crate::outages::failure::Failure;

impl Nodes {
    /// Sets the clock of one so many seconds ahead, or behind if less than 0. What it took from it when
    /// it started stays with it, unless it is killed and started again.
    pub(in crate::outages) fn bend(
        &mut self,
        node: u16,
        seconds: i64,
        again: bool,
    ) -> Result<(), Failure> {
        let Some(clocks) = &self.clocks else { return Ok(()) };
        clocks.bend(node, seconds)?;
        self.bent.insert(node);
        if again {
            self.kill(&[node])?;
            self.open_one(node)?;
            self.ahead.insert(node, seconds);
            // It has looked at its clock when it answers.
            let deadline = Instant::now() + STARTED_WITHIN;
            while self.stat(node, b"time").is_err() {
                if Instant::now() >= deadline {
                    return Err(Failure::new(format_args!(
                        "db{node} was started again, and answers nothing after {STARTED_WITHIN:?}"
                    )));
                }
                self.check()?;
                thread::sleep(LOOK_EVERY);
            }
        }
        Ok(())
    }

    /// That each node has kept the time that it took when it started.
    pub(super) fn check_times(&self) -> Result<(), Failure> {
        for node in self.members.iter().filter(|_| self.clocks.is_some()) {
            let told = self.stat(*node, b"time");
            let told = told.map_err(Failure::io(format_args!("ask db{node} for its time")))?;
            let told = str::from_utf8(&told).ok().and_then(|told| told.parse::<i64>().ok());
            let wanted = unix_seconds() + self.ahead.get(node).copied().unwrap_or(0);
            if told.is_none_or(|told| told.abs_diff(wanted) > TIME_TAKEN) {
                return Err(Failure::new(format_args!(
                    "db{node} says that the time is {told:?}, and by the clock that it started with it \
                     is {wanted}"
                )));
            }
        }
        Ok(())
    }
}

/// How long a node may take to answer at all once it was started.
const STARTED_WITHIN: Duration = Duration::from_secs(30);

/// Seconds between what a node says and our looking at the time.
const TIME_TAKEN: u64 = 5;
