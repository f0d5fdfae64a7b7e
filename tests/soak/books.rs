//! Whether what a server says of itself, and the memory it holds, agree with what was done.

use std::collections::HashMap;
use std::{fmt, io};

use larder_protocol::response::Response;

use super::tally::Tally;
use super::violation::Violation;
use crate::connection::Connection;
use crate::resident::resident_bytes;

/// The server's books, looked at while nobody asks for anything else.
#[derive(Debug)]
pub(super) struct Books {
    process: Option<u32>,
    first: Stats,
    /// What the process holds beside its items: what it held before there were any, and buffers.
    beside: u64,
    /// What it held at each look.
    resident: Vec<u64>,
}

/// What should be in the books.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) tally: Tally,
    pub(super) flushes: u64,
    /// The limit that the server must be within.
    pub(super) limit: u64,
    /// Items that were gone without a reason but eviction.
    pub(super) lost: u64,
    pub(super) most_items: u64,
    /// Items there must be, but for those that were evicted.
    pub(super) least_items: u64,
}

/// What one look at the books has shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    pub(super) items: u64,
    pub(super) bytes: u64,
    pub(super) limit: u64,
    pub(super) evictions: u64,
    pub(super) resident: Option<u64>,
}

/// Names and values of `stats`.
#[derive(Clone, Debug)]
pub(super) struct Stats(HashMap<String, String>);

impl Stats {
    /// Asks for a group of them; `""` for the general ones.
    pub(super) fn ask(connection: &mut Connection, group: &str) -> io::Result<Self> {
        connection.send(format!("stats {group}\r\n").as_bytes())?;
        let mut stats = HashMap::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        loop {
            let stat = connection.next(|response| match response {
                Response::Stat { name, value } => Some((text(name), text(value))),
                _ => None,
            })?;
            let Some((name, value)) = stat else { return Ok(Self(stats)) };
            stats.insert(name, value);
        }
    }

    pub(super) fn number(&self, name: &str) -> Result<u64, Violation> {
        let value = self.0.get(name).and_then(|value| value.parse().ok());
        value.ok_or_else(|| Violation::new(format_args!("stats say no {name}")))
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in TELLING {
            write!(f, "{name} {}  ", self.0.get(name).map_or("?", String::as_str))?;
        }
        Ok(())
    }
}

impl Books {
    /// Opens the books of a server that holds nothing yet.
    pub(super) fn open(
        connection: &mut Connection,
        process: Option<u32>,
        connections: usize,
    ) -> Result<Self, Violation> {
        let first = Stats::ask(connection, "")?;
        let bare = process.map(resident_bytes).transpose()?.unwrap_or(0);
        let buffers = connections as u64 * NOT_COUNTED + first.number("threads")? * KEPT_OF_BUFFERS;
        Ok(Self { process, first, beside: bare + buffers, resident: Vec::new() })
    }

    /// Looks whether they are in order.
    pub(super) fn check(
        &mut self,
        connection: &mut Connection,
        expected: &Expected,
    ) -> Result<Page, Violation> {
        let stats = Stats::ask(connection, "")?;
        self.check_counters(&stats, expected)?;
        let page = Page {
            items: stats.number("curr_items")?,
            bytes: stats.number("bytes")?,
            limit: stats.number("limit_maxbytes")?,
            evictions: stats.number("evictions")? - self.first.number("evictions")?,
            resident: self.process.map(resident_bytes).transpose()?,
        };
        let Expected { lost, most_items, least_items, .. } = *expected;
        if lost > page.evictions {
            let evictions = page.evictions;
            return Err(Violation::new(format_args!(
                "{lost} items are gone that neither expired nor were flushed, for {evictions} evictions"
            )));
        }
        let unseen = page.evictions - lost;
        if page.items > most_items || page.items + unseen < least_items {
            let items = page.items;
            return Err(Violation::new(format_args!(
                "curr_items is {items}, and should be {most_items} at most and, with {unseen} \
                 evictions that were not noticed, {least_items} at least"
            )));
        }
        self.check_memory(&page, expected.limit)?;
        Ok(page)
    }

    fn check_counters(&self, stats: &Stats, expected: &Expected) -> Result<(), Violation> {
        let Expected { tally, flushes, .. } = expected;
        let rows: [(&[&str], u64); 13] = [
            (&["cmd_get"], tally.gets),
            (&["get_hits"], tally.get_hits),
            (&["get_misses"], tally.get_misses),
            (&["cmd_set"], tally.sets),
            (&["cas_hits", "cas_misses", "cas_badval"], tally.compares),
            (&["cmd_touch"], tally.touches),
            (&["touch_hits", "touch_misses"], tally.touched),
            (&["delete_hits", "delete_misses"], tally.deletes),
            (&["incr_hits", "incr_misses", "decr_hits", "decr_misses"], tally.counts),
            (&["cmd_meta"], tally.meta),
            (&["cmd_flush"], *flushes),
            (&["store_too_large"], tally.too_large),
            (&["store_no_memory"], tally.no_memory),
        ];
        for (names, sent) in rows {
            let mut counted = 0;
            for name in names {
                counted += stats.number(name)? - self.first.number(name)?;
            }
            if counted != sent {
                let names = names.join(" + ");
                let what = format_args!("{names} is {counted}, and should be {sent}");
                return Err(Violation::new(what));
            }
        }
        Ok(())
    }

    fn check_memory(&mut self, page: &Page, limit: u64) -> Result<(), Violation> {
        if page.bytes > limit {
            let bytes = page.bytes;
            return Err(Violation::new(format_args!("bytes is {bytes}, and the limit {limit}")));
        }
        let Some(resident) = page.resident else { return Ok(()) };
        self.resident.push(resident);
        let most = limit + limit / 20 + self.beside;
        if resident > most {
            return Err(Violation::new(format_args!(
                "the process holds {resident} bytes, and should hold {most} at most: {limit} and a \
                 twentieth for its items, {} for itself and buffers",
                self.beside,
            )));
        }
        Ok(())
    }

    /// Whether the process holds no more in the last third of the time than in the second.
    pub(super) fn check_growth(&self) -> Result<(), Violation> {
        let third = self.resident.len() / 3;
        if third < MIN_LOOKS {
            return Ok(());
        }
        let peak = |skip| self.resident.iter().skip(skip).take(third).max().copied().unwrap_or(0);
        let (before, after) = (peak(third), peak(self.resident.len() - third));
        if after > before + before / 50 {
            return Err(Violation::new(format_args!(
                "the process grows: it held up to {before} bytes in the second third of the time, \
                 {after} in the last"
            )));
        }
        Ok(())
    }
}

/// What helps to find out why.
const TELLING: [&str; 7] = [
    "limit_maxbytes",
    "bytes",
    "curr_items",
    "evictions",
    "store_no_memory",
    "read_buf_bytes",
    "read_buf_oom",
];

/// What each connection's buffers hold beside the limit: 18 KiB of input and 18 KiB of replies.
const NOT_COUNTED: u64 = 36 << 10;

/// What each worker keeps of the buffers that connections gave back.
const KEPT_OF_BUFFERS: u64 = 1 << 20;

/// Of fewer looks, one may hit upon something by chance.
const MIN_LOOKS: usize = 20;
