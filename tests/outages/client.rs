//! A client that asks at random for what others ask for too, and keeps what it saw.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use larder_protocol::response::Response;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::directory::{Directory, Entry};
use super::failure::Failure;
use super::fault::MOST_BEND;
use super::keys::Keys;
use super::tally::Tally;
use crate::connection::Connection;
use crate::linearizability::{Answered, Asked, Command};

/// What a client asks, and of which key.
pub(super) type Seen = Vec<(String, Command)>;

/// What becomes of a command.
#[derive(Debug)]
pub(super) enum Outcome {
    Answered(Answered),
    /// It surely was not done.
    Refused,
    /// Why, in words.
    Unknown(String),
}

/// Something to ask for.
#[derive(Debug)]
struct Draft {
    slot: usize,
    key: String,
    asked: Asked,
    exptime: u64,
}

/// A connection to a node of the directory.
#[derive(Debug)]
struct Session {
    entry: Arc<Entry>,
    connection: Connection,
}

/// Asks until `stop`. Gives what was asked, but for what was surely not done.
pub(super) fn ask_at_random(
    client: usize,
    directory: &Directory,
    seed: u64,
    keys: &Keys,
    tally: &Tally,
    stop: &AtomicBool,
) -> Result<Seen, Failure> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut saw = Seen::new();
    let mut known = BTreeMap::new();
    let mut session = None;
    let mut refused: Option<Draft> = None;
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        // Now and then through another node.
        if rng.random_ratio(1, 50) {
            session = None;
        }
        let Some(open) = connect(&mut session, directory, &mut rng) else {
            thread::sleep(AGAIN_AFTER);
            continue;
        };
        let draft = refused.take().unwrap_or_else(|| {
            let slot = keys.draw(&mut rng);
            let key = keys.name(slot);
            let asked = draw(client, number, known.get(&key).copied(), &mut rng);
            Draft { slot, key, asked, exptime: draw_exptime(&mut rng) }
        });
        let writes = draft.asked != Asked::Get;
        let sent = Instant::now();
        let outcome = ask(open, &draft.key, &draft.asked, draft.exptime)?;
        let at = Instant::now();
        tally.count(&outcome, writes, at);
        let answered = match outcome {
            Outcome::Answered(answered) => Some((answered, at)),
            // Who is refused asks another for the same.
            Outcome::Refused => {
                session = None;
                refused = Some(draft);
                continue;
            }
            Outcome::Unknown(_) => {
                session = None;
                // Of a read that nobody saw there is nothing to judge.
                if !writes {
                    continue;
                }
                keys.lost(draft.slot);
                None
            }
        };
        if let Some((Answered::Value(_, cas), _)) = &answered {
            known.insert(draft.key.clone(), *cas);
        }
        saw.push((draft.key, Command { client, asked: draft.asked, sent, answered }));
        thread::sleep(Duration::from_micros(rng.random_range(0..LONGEST_PAUSE_MICROS)));
    }
    Ok(saw)
}

fn connect<'a>(
    session: &'a mut Option<Session>,
    directory: &Directory,
    rng: &mut StdRng,
) -> Option<&'a mut Connection> {
    if session.as_ref().is_none_or(|session| !directory.lists(&session.entry)) {
        // What it held is no longer in use while it waits for another.
        *session = None;
        let entry = directory.draw(rng)?;
        let connection = Connection::patient(entry.address, PATIENCE).ok()?;
        *session = Some(Session { entry, connection });
    }
    session.as_mut().map(|session| &mut session.connection)
}

fn draw(client: usize, number: u64, known: Option<u64>, rng: &mut StdRng) -> Asked {
    let value = format!("{client}.{number}").into_bytes();
    match rng.random_range(0..20) {
        0 | 1 => Asked::Set(value),
        2 => Asked::Set(number.to_string().into_bytes()),
        3 | 4 => Asked::Add(rng.random_range(0..1000).to_string().into_bytes()),
        5 | 6 => Asked::Append(format!("+{client}.{number}").into_bytes()),
        7 | 8 => Asked::Cas(known.unwrap_or(u64::MAX), value),
        9..13 => Asked::Incr(rng.random_range(1..4)),
        13 => Asked::Decr(rng.random_range(1..4)),
        14 if rng.random() => Asked::Lapse,
        14 => Asked::Delete,
        _ => Asked::Get,
    }
}

/// None, or one that no item lives to see, whatever the clocks of nodes say.
fn draw_exptime(rng: &mut StdRng) -> u64 {
    match rng.random_range(0..3) {
        0 => 0,
        1 => FAR,
        _ => unix_seconds().saturating_add_unsigned(FAR).unsigned_abs(),
    }
}

/// What this machine's clock says.
pub(super) fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Asks for one thing and waits for what becomes of it. What is stored is given the exptime.
pub(super) fn ask(
    connection: &mut Connection,
    key: &str,
    asked: &Asked,
    exptime: u64,
) -> Result<Outcome, Failure> {
    let store = |verb: &str, value: &[u8], cas: &str| {
        let line = format!("{verb} {key} 0 {exptime} {}{cas}\r\n", value.len());
        [line.as_bytes(), value, b"\r\n"].concat()
    };
    let bytes = match asked {
        Asked::Get => format!("gets {key}\r\n").into_bytes(),
        Asked::Set(value) => store("set", value, ""),
        Asked::Add(value) => store("add", value, ""),
        Asked::Append(value) => store("append", value, ""),
        Asked::Cas(cas, value) => store("cas", value, &format!(" {cas}")),
        Asked::Incr(delta) => format!("incr {key} {delta}\r\n").into_bytes(),
        Asked::Decr(delta) => format!("decr {key} {delta}\r\n").into_bytes(),
        Asked::Delete => format!("delete {key}\r\n").into_bytes(),
        Asked::Lapse => format!("touch {key} {}\r\n", unix_seconds() - LONG_AGO).into_bytes(),
    };
    let first = match connection.send(&bytes).and_then(|()| connection.next(understand)) {
        Ok(first) => first,
        Err(error) => return Ok(Outcome::Unknown(error.to_string())),
    };
    let outcome = first.map_err(|why| Failure::new(format_args!("{asked:?} of {key}: {why}")))?;
    if let Outcome::Answered(Answered::Value(..)) = outcome
        && !connection.next(|end| *end == Response::End).unwrap_or(false)
    {
        return Ok(Outcome::Unknown("an answer has no end".to_owned()));
    }
    Ok(outcome)
}

/// What an answer says, or that it is one that nothing here may be answered with.
fn understand(response: &Response<'_>) -> Result<Outcome, String> {
    Ok(Outcome::Answered(match response {
        Response::Value { data, cas: Some(cas), .. } => Answered::Value(data.to_vec(), *cas),
        Response::Number(number) => Answered::Number(*number),
        Response::Stored | Response::Deleted | Response::Touched => Answered::Done,
        Response::NotStored => Answered::NotStored,
        Response::Exists => Answered::Exists,
        Response::NotFound | Response::End => Answered::NotFound,
        Response::ClientError(text) if text.ends_with(b"non-numeric value") => Answered::NotANumber,
        Response::ServerError(text) => {
            let text = String::from_utf8_lossy(text);
            if text.starts_with("outcome unknown") {
                return Ok(Outcome::Unknown(text.into_owned()));
            }
            if REFUSALS.iter().any(|refusal| text.contains(refusal)) {
                return Ok(Outcome::Refused);
            }
            return Err(format!("SERVER_ERROR {text}"));
        }
        other => return Err(format!("{other:?}")),
    }))
}

/// Whatever says so is believed, and the judge sees whether it is true.
const REFUSALS: [&str; 4] = ["not written", "not read", "not done", "nothing was done"];

/// Seconds that are more than a round takes, whichever two clocks they are told by.
const FAR: u64 = 3600;

/// Seconds after which it is past by all clocks.
const LONG_AGO: i64 = MOST_BEND + 120;

/// How long a client waits for a connection, and for an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// So that the machine is not busy with clients alone.
const LONGEST_PAUSE_MICROS: u64 = 6000;
