//! Requests, asked in order and many at a time.

use std::collections::VecDeque;
use std::io;

use larder_protocol::encode::{Wishes, classic};
use larder_protocol::response::Response;
use larder_protocol::{Delete, Exptime, Fetch, Op, Store};
use larder_tests::connection::Connection;
use larder_tests::filler::Filler;

use crate::trace::{Kind, Request};

/// Asks requests in batches. One ends before a key would come twice, and begins with the values
/// that the one before it missed, so everything is answered as if it were asked one by one.
pub(crate) struct Player {
    connection: Connection,
    filler: Filler,
    /// What is to be sent, and what answers will be to: first values that were missed, then a batch.
    output: Vec<u8>,
    asked: VecDeque<Request>,
    missed: usize,
    /// Bytes of values that the batch may move.
    weight: usize,
    key: Vec<u8>,
    value: Vec<u8>,
    tally: Tally,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) gets: u64,
    pub(crate) misses: u64,
    /// Bytes of keys and values of what was asked for.
    pub(crate) get_bytes: u64,
    pub(crate) miss_bytes: u64,
    /// Values sent: those of the trace, and one for each miss.
    pub(crate) sets: u64,
    /// Values that the server did not take.
    pub(crate) refused: u64,
}

impl Player {
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            connection,
            filler: Filler::default(),
            output: Vec::new(),
            asked: VecDeque::new(),
            missed: 0,
            weight: 0,
            key: Vec::new(),
            value: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// Asks a request, once there is a batch of them.
    pub(crate) fn play(&mut self, request: Request) -> io::Result<()> {
        let mut batch = self.asked.iter().skip(self.missed);
        if batch.len() == BATCH
            || self.weight + request.value_len > BATCH_BYTES
            || batch.any(|earlier| earlier.key == request.key)
        {
            self.exchange()?;
        }
        self.weight += request.value_len;
        self.ask(request)
    }

    /// Asks what is left, and gives the result.
    pub(crate) fn finish(mut self) -> io::Result<Tally> {
        self.settle()?;
        Ok(self.tally)
    }

    /// Waits until everything is answered and every miss is made good.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        while !self.asked.is_empty() {
            self.exchange()?;
        }
        Ok(())
    }

    /// Sends what there is, takes the answers, and begins the next batch with what was missed.
    fn exchange(&mut self) -> io::Result<()> {
        self.connection.send(&self.output)?;
        self.output.clear();
        self.missed = 0;
        self.weight = 0;
        for _ in 0..self.asked.len() {
            let Some(request) = self.asked.pop_front() else { break };
            if !self.answered(&request)? {
                self.missed += 1;
                self.ask(Request { kind: Kind::Set, ..request })?;
            }
        }
        Ok(())
    }

    /// Puts a request behind those that are to be sent.
    fn ask(&mut self, request: Request) -> io::Result<()> {
        self.write_key(&request);
        let op = match request.kind {
            Kind::Get => Op::Fetch(Fetch::GET),
            Kind::Delete => Op::Delete(Delete::default()),
            Kind::Set => {
                self.value.clear();
                self.filler.put(request.key, request.value_len, &mut self.value);
                let exptime = Exptime(i64::try_from(request.ttl_secs).unwrap_or(0));
                Op::Store(Store { value: &self.value, exptime, ..Store::SET })
            }
        };
        let written = classic(&mut self.output, &self.key, &op, Wishes::VALUE);
        written.map_err(io::Error::other)?;
        self.asked.push_back(request);
        Ok(())
    }

    /// A key is its number, with zeroes before it, as long as the trace says or longer.
    fn write_key(&mut self, request: &Request) {
        let Self { key, .. } = self;
        key.clear();
        let mut rest = request.key;
        while rest > 0 || key.is_empty() {
            key.extend(u8::try_from(rest % 10).map(|digit| b'0' + digit));
            rest /= 10;
        }
        key.resize(request.key_len.clamp(key.len(), MAX_KEY_LEN), b'0');
        key.reverse();
    }

    /// Takes the answer to a request. `false` for a miss.
    fn answered(&mut self, request: &Request) -> io::Result<bool> {
        let tally = &mut self.tally;
        match request.kind {
            Kind::Get => {
                let bytes = (request.key_len + request.value_len) as u64;
                tally.gets += 1;
                tally.get_bytes += bytes;
                let filler = &self.filler;
                let found = self.connection.next(|response| match response {
                    Response::Value { data, .. } => {
                        let right = data.len() == request.value_len && filler.is(request.key, data);
                        right.then_some(true).ok_or_else(|| unexpected(request, response))
                    }
                    Response::End => Ok(false),
                    _ => Err(unexpected(request, response)),
                })??;
                if found {
                    self.connection.next(|response| match response {
                        Response::End => Ok(()),
                        _ => Err(unexpected(request, response)),
                    })??;
                } else {
                    tally.misses += 1;
                    tally.miss_bytes += bytes;
                }
                Ok(found)
            }
            Kind::Set => {
                tally.sets += 1;
                self.connection.next(|response| match response {
                    Response::Stored => Ok(true),
                    Response::ServerError(_) => {
                        tally.refused += 1;
                        Ok(true)
                    }
                    _ => Err(unexpected(request, response)),
                })?
            }
            Kind::Delete => self.connection.next(|response| match response {
                Response::Deleted | Response::NotFound => Ok(true),
                _ => Err(unexpected(request, response)),
            })?,
        }
    }
}

fn unexpected(request: &Request, response: &Response<'_>) -> io::Error {
    let mut shown = format!("{response:?}");
    shown.truncate(200);
    io::Error::new(io::ErrorKind::InvalidData, format!("{request:?} was answered {shown}"))
}

/// Requests of a batch.
const BATCH: usize = 64;

/// Bytes of values of a batch: a server has to hold what it answers until it is taken.
const BATCH_BYTES: usize = 1 << 20;

const MAX_KEY_LEN: usize = 250;
