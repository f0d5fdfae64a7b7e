//! Whoever runs the server: now and then it is flushed, or given less memory or more.

use std::thread;
use std::time::{Duration, Instant};

use larder_protocol::response::Response;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::books::Stats;
use super::moment::Flushes;
use super::violation::Violation;
use crate::connection::Connection;

/// A connection that disturbs all others.
#[derive(Debug)]
pub(super) struct Attendant {
    pub(super) connection: Connection,
    rng: StdRng,
    /// The limit in the beginning, in megabytes.
    limit: u64,
    /// What was made of it, if it is lowered, and when.
    lowered: Option<(u64, Instant)>,
    /// A flush that is to come, and when it surely has.
    coming: Option<(u64, Instant)>,
    pub(super) flushes: u64,
}

impl Attendant {
    pub(super) fn new(mut connection: Connection, rng: StdRng) -> Result<Self, Violation> {
        let limit = Stats::ask(&mut connection, "")?.number("limit_maxbytes")? >> 20;
        Ok(Self { connection, rng, limit, lowered: None, coming: None, flushes: 0 })
    }

    /// The server's limit as it was found.
    pub(super) fn limit_bytes(&self) -> u64 {
        self.limit << 20
    }

    /// The limit that the server must be within by now.
    pub(super) fn limit_held_bytes(&self) -> u64 {
        let held = self.lowered.filter(|(_, since)| since.elapsed() > SHRINKS_WITHIN);
        held.map_or(self.limit, |(limit, _)| limit) << 20
    }

    /// Does one thing or nothing, within `time`.
    pub(super) fn disturb(&mut self, time: Duration, flushes: &Flushes) -> Result<(), Violation> {
        thread::sleep(time.mul_f64(self.rng.random()));
        if let Some((number, _)) = self.coming.take_if(|(_, at)| *at <= Instant::now()) {
            flushes.finish(number);
        }
        match self.rng.random_range(0..100) {
            0..3 if self.coming.is_none() => self.flush(0, flushes),
            3..5 if self.coming.is_none() => {
                let delay_secs = self.rng.random_range(1..4);
                self.flush(delay_secs, flushes)
            }
            5..20 => self.change_limit(),
            _ => Ok(()),
        }
    }

    fn flush(&mut self, delay_secs: u64, flushes: &Flushes) -> Result<(), Violation> {
        let number = flushes.begin();
        self.flushes += 1;
        if delay_secs == 0 {
            self.ask("flush_all")?;
            flushes.finish(number);
        } else {
            self.ask(&format!("flush_all {delay_secs}"))?;
            // As with expiry, there is a second of slack.
            let surely = Instant::now() + Duration::from_secs(delay_secs + 1);
            self.coming = Some((number, surely));
        }
        Ok(())
    }

    /// Takes memory away, or gives it back.
    fn change_limit(&mut self) -> Result<(), Violation> {
        let quarters = *[2, 3].choose(&mut self.rng).unwrap_or(&2);
        self.lowered = match self.lowered {
            None => Some((self.limit * quarters / 4, Instant::now())),
            Some(_) => None,
        };
        let limit = self.lowered.map_or(self.limit, |(limit, _)| limit);
        self.ask(&format!("cache_memlimit {limit}"))
    }

    fn ask(&mut self, line: &str) -> Result<(), Violation> {
        self.connection.send(format!("{line}\r\n").as_bytes())?;
        self.connection.next(|response| match response {
            Response::Ok => Ok(()),
            _ => Err(Violation::new(format_args!("{line} was answered {response:?}"))),
        })?
    }
}

/// How long it may take until memory is given back: it is done beside everything else.
const SHRINKS_WITHIN: Duration = Duration::from_secs(5);
