//! A trace: requests, one a line.

use std::fmt;
use std::io::{self, BufRead};

/// A request of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// When it was made, in seconds from the start.
    pub(crate) time_secs: u64,
    pub(crate) kind: Kind,
    /// The number of its key.
    pub(crate) key: u64,
    pub(crate) key_len: usize,
    pub(crate) value_len: usize,
    /// How long an item stored for it is to live; 0 for ever.
    pub(crate) ttl_secs: u64,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Get,
    Set,
    Delete,
}

/// The requests of a trace, in order.
pub(crate) struct Trace<R> {
    input: R,
    line: String,
    number: u64,
}

impl<R: BufRead> Trace<R> {
    /// A trace to be read from `input`.
    ///
    /// # Errors
    ///
    /// Those of the input, and that it is compressed.
    pub(crate) fn new(mut input: R) -> io::Result<Self> {
        if input.fill_buf()?.starts_with(ZSTD) {
            return Err(invalid("it is compressed: zstdcat TRACE | replay -"));
        }
        Ok(Self { input, line: String::new(), number: 0 })
    }

    fn request(&mut self) -> io::Result<Option<Request>> {
        loop {
            self.line.clear();
            if self.input.read_line(&mut self.line)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            let is_header = self.number == 1 && self.line.starts_with("time");
            if !is_header {
                let request = parse(self.line.trim_end());
                return request.map(Some).ok_or_else(|| {
                    let line = self.line.trim_end().escape_debug();
                    invalid(format_args!("line {}: want {COLUMNS}, not {line}", self.number))
                });
            }
        }
    }
}

impl<R: BufRead> Iterator for Trace<R> {
    type Item = io::Result<Request>;

    fn next(&mut self) -> Option<Self::Item> {
        self.request().transpose()
    }
}

fn parse(line: &str) -> Option<Request> {
    let mut columns = line.split(',').map(str::trim);
    let time_secs = columns.next()?.parse().ok()?;
    let key = columns.next()?.parse().ok()?;
    let kind = match columns.next()? {
        "get" | "gets" => Kind::Get,
        "set" | "add" | "replace" | "cas" | "append" | "prepend" | "incr" | "decr" => Kind::Set,
        "delete" => Kind::Delete,
        _ => return None,
    };
    let key_len = columns.next()?.parse().ok()?;
    let value_len = columns.next()?.parse().ok()?;
    let ttl_secs = columns.next().map_or(Some(0), |ttl| ttl.parse().ok())?;
    Some(Request { time_secs, kind, key, key_len, value_len, ttl_secs })
}

fn invalid(why: impl fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_string())
}

const COLUMNS: &str = "time,key_id,op,key_size,value_size,ttl";

/// What a zstd file begins with.
const ZSTD: &[u8] = &[0x28, 0xB5, 0x2F, 0xFD];
