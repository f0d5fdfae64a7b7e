//! One connection: asks, many commands at a time, and has the answers judged.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use larder_protocol::encode::{Wishes, get_many, noop};
use larder_protocol::response::{Flag, Response};
use rand::RngExt as _;

use super::answer::{Answer, OUT_OF_MEMORY};
use super::command::{Ask, Command, Spelling};
use super::ledger::Ledger;
use super::mix::{Mix, Season};
use super::moment::{Flushes, Moment};
use super::tally::Tally;
use super::violation::Violation;
use crate::connection::Connection;

/// A connection that walks about among keys of its own.
#[derive(Debug)]
pub(super) struct Walker {
    connection: Connection,
    mix: Mix,
    pub(super) ledger: Ledger,
    pub(super) tally: Tally,
    tolerant: bool,
}

impl Walker {
    pub(super) fn new(
        address: SocketAddr,
        mix: Mix,
        ledger: Ledger,
        tolerant: bool,
    ) -> io::Result<Self> {
        let connection = Connection::new(address)?;
        Ok(Self { connection, mix, ledger, tally: Tally::default(), tolerant })
    }

    /// Goes on until `end`.
    pub(super) fn walk(
        &mut self,
        season: Season,
        end: Instant,
        flushes: &Flushes,
    ) -> Result<(), Violation> {
        self.mix.begin(season);
        while Instant::now() < end {
            let most = self.mix.rng.random_range(1..40);
            let batch = self.batch(most);
            self.exchange(&batch, flushes)?;
        }
        Ok(())
    }

    /// Up to `most` commands, and no more once a large value is among them: sender and receiver
    /// must not wait for each other with full hands.
    fn batch(&mut self, most: usize) -> Vec<Command> {
        let mut batch = Vec::new();
        let mut weight = 0;
        while batch.len() < most && weight < MAX_WEIGHT {
            for command in self.mix.next(&mut self.ledger) {
                weight += command.weight(self.ledger.held(command.key));
                batch.push(command);
            }
        }
        batch
    }

    fn exchange(&mut self, batch: &[Command], flushes: &Flushes) -> Result<(), Violation> {
        let mut output = Vec::new();
        let mut joined = Vec::new();
        for (command, opaque) in batch.iter().zip(0..) {
            let key = self.ledger.key(command.key);
            if command.spelling == Spelling::Joined {
                joined.push(key);
            } else if joined.is_empty() {
                command.put(&key, opaque, self.ledger.filler(), &mut output)?;
            } else {
                joined.push(key);
                let keys = joined.iter().map(Vec::as_slice);
                get_many(&mut output, keys, command.wishes.has(Wishes::CAS))
                    .map_err(Violation::new)?;
                joined.clear();
            }
        }
        // What is quiet is known to be so once this is answered.
        noop(&mut output);
        let mut moment = flushes.now();
        self.connection.send(&output)?;
        for (command, opaque) in batch.iter().zip(0..) {
            self.take_answer(command, opaque, &mut moment, flushes)?;
        }
        let ends = self.connection.next(|response| *response == Response::Noop)?;
        if ends { Ok(()) } else { Err(Violation::new("more answers came than were asked for")) }
    }

    fn take_answer(
        &mut self,
        command: &Command,
        opaque: u64,
        moment: &mut Moment,
        flushes: &Flushes,
    ) -> Result<(), Violation> {
        let Self { connection, ledger, tally, tolerant, .. } = self;
        let key = ledger.key(command.key);
        let judged = connection.next_if(|response| {
            if !answers(command, &key, opaque, response) {
                return None;
            }
            moment.extend(flushes);
            let answer = Answer::read(command, response);
            Some(match answer {
                None => Err(unreadable(command, response)),
                Some(Answer::NoMemory) if !*tolerant => Err(unreadable(command, response)),
                Some(answer) => {
                    tally.count(command, &answer);
                    ledger.note(command, &answer, moment).map(|()| answer != Answer::NotFound)
                }
            })
        })?;
        if judged.is_none() {
            // What came is the answer to a later one, so it was carried out by now, and not sooner:
            // a flush may have begun since the last answer.
            moment.extend(flushes);
        }
        let was_value = match judged {
            Some(judged) => judged?,
            None if is_get(command) => {
                // One of several keys that is not there.
                tally.count(command, &Answer::NotFound);
                ledger.note(command, &Answer::NotFound, moment)?;
                true
            }
            None => {
                tally.count(command, &Answer::Silence);
                return ledger.note(command, &Answer::Silence, moment);
            }
        };
        if command.spelling == Spelling::Classic && is_get(command) && was_value {
            let ends = connection.next(|response| *response == Response::End)?;
            if !ends {
                return Err(Violation::new("a get has values that were not asked for"));
            }
        }
        Ok(())
    }
}

/// Whether a response is the answer to `command`, and not to one behind it.
fn answers(command: &Command, key: &[u8], opaque: u64, response: &Response<'_>) -> bool {
    match response {
        Response::Value { key: found, .. } if is_get(command) => *found == key,
        _ if command.spelling == Spelling::Joined => false,
        _ if !command.is_quiet() => true,
        // The only error that a quiet command can have.
        Response::ServerError(text) => text.starts_with(OUT_OF_MEMORY) && is_store(command),
        Response::Meta { flags, .. } if command.is_meta() => {
            let opaque = opaque.to_string();
            flags.clone().any(|flag| flag == Flag::Opaque(opaque.as_bytes()))
        }
        _ => false,
    }
}

/// Whether it is answered by `VALUE` and `END`.
fn is_get(command: &Command) -> bool {
    let Ask::Fetch(fetch) = &command.ask else { return false };
    !command.is_meta() && (fetch.ttl.is_none() || command.wishes.has(Wishes::VALUE))
}

fn is_store(command: &Command) -> bool {
    matches!(command.ask, Ask::Store(..))
}

fn unreadable(command: &Command, response: &Response<'_>) -> Violation {
    let shown = match response {
        Response::Error(text) | Response::ClientError(text) | Response::ServerError(text) => {
            format!("with an error: {}", text.escape_ascii())
        }
        Response::Value { data, .. } => format!("with a value of {} bytes", data.len()),
        other => format!("{other:?}"),
    };
    Violation::new(format_args!("{command:?}\n  was answered {shown}"))
}

/// Bytes of values that end a batch.
const MAX_WEIGHT: usize = 64 << 10;
