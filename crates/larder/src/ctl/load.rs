//! `larder ctl store load`: a dump into a cluster.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use larder_protocol::{Delete, Limits, MAX_KEY_LEN, Mode, Op, Parsed, Request, Store, parse};
use larder_store::Admin;

use super::progress::Progress;
use super::sender::{Command, Sender};
use super::{clients, on_a_thread, say};
use crate::failure::Failure;

/// A dump, as far as it is read.
struct Dump {
    source: Box<dyn Read + Send>,
    /// What it is called, for who reads of it.
    name: String,
    input: Vec<u8>,
    /// So much of the input was taken.
    taken: usize,
    /// The line that is next, from 1 on.
    line: u64,
    /// The last item and its key, until it is known whether more is said of it.
    last: Option<(Vec<u8>, Command)>,
    ended: bool,
}

/// What stands in a dump.
enum Line {
    /// The item of this key, as it stands there, is stored.
    Store(Vec<u8>),
    /// It is marked as stale.
    Stale(Vec<u8>),
    End,
}

/// Has a cluster have the items of a dump, from a file or from standard input if its name is `-`, over
/// those of the same keys.
pub(super) async fn load(admin: &Admin, path: &Path) -> Result<(), Failure> {
    let mut dump = Dump::open(path)?;
    let progress = Progress::new("loaded", None);
    let mut sender = Sender::new(clients(admin).await?, progress.clone());
    loop {
        let (back, commands) = on_a_thread(move || dump.next()).await?;
        if commands.is_empty() {
            break;
        }
        dump = back;
        for command in commands {
            sender.send(command).await?;
        }
    }
    sender.finish().await?;
    progress.end();
    say(&format!("done: {} items loaded\n", progress.items()));
    Ok(())
}

impl Dump {
    fn open(path: &Path) -> Result<Self, Failure> {
        if path.as_os_str() == "-" {
            return Ok(Self::new("-", Box::new(io::stdin())));
        }
        let name = path.display().to_string();
        let file = File::open(path)
            .map_err(|error| Failure::system(format!("cannot read {name}: {error}")))?;
        Ok(Self::new(&name, Box::new(file)))
    }

    fn new(name: &str, source: Box<dyn Read + Send>) -> Self {
        let name = name.to_owned();
        Self { source, name, input: Vec::new(), taken: 0, line: 1, last: None, ended: false }
    }

    /// Some more commands, each of one item; none behind the last.
    fn next(mut self) -> Result<(Self, Vec<Command>), Failure> {
        let mut commands = Vec::new();
        while commands.len() < AT_ONCE && !self.ended {
            let rest = self.input.get(self.taken..).unwrap_or_default();
            match parse(rest, &LIMITS) {
                Parsed::Done { request, consumed } => {
                    let line = read(&request).map_err(|why| self.wrong(&why))?;
                    let text = rest.get(..consumed).unwrap_or_default().to_vec();
                    let lines = text.split(|byte| *byte == b'\n').count() as u64 - 1;
                    match line {
                        Line::Store(key) => {
                            let origin = format!("{} line {}", self.name, self.line);
                            let last =
                                self.last.replace((key, Command { text, answers: 1, origin }));
                            commands.extend(last.map(|(_, command)| command));
                        }
                        Line::Stale(key) => {
                            let last = self.last.as_mut().filter(|(last, _)| *last == key);
                            let Some((_, last)) = last else {
                                return Err(self.wrong("md is to stand behind the ms of its key"));
                            };
                            last.text.extend_from_slice(&text);
                            last.answers += 1;
                        }
                        Line::End => {
                            self.ended = true;
                            commands.extend(self.last.take().map(|(_, command)| command));
                        }
                    }
                    self.line += lines;
                    self.taken += consumed;
                }
                Parsed::Incomplete { .. } => self.read_on()?,
            }
        }
        Ok((self, commands))
    }

    fn read_on(&mut self) -> Result<(), Failure> {
        self.input.drain(..self.taken);
        self.taken = 0;
        let more = self.source.by_ref().take(READ).read_to_end(&mut self.input);
        match more {
            Ok(0) => Err(self.wrong(
                "it breaks off there: a dump ends with the line mn; what stands before may be loaded",
            )),
            Ok(_) => Ok(()),
            Err(error) => Err(self.wrong(&error.to_string())),
        }
    }

    fn wrong(&self, why: &str) -> Failure {
        Failure::system(format!("{} line {}: {why}", self.name, self.line))
    }
}

/// What a command of a dump is, or why it is none.
fn read(request: &Request<'_>) -> Result<Line, String> {
    let command = match request {
        Request::Noop => return Ok(Line::End),
        Request::Item(command) if command.form.shape.is_meta() && !command.form.quiet => command,
        Request::Refused(refusal) => return Err(format!("it is no command: {}", refusal.line)),
        _ => return Err(OTHER.to_owned()),
    };
    let key = command.key.bytes(&mut [0; MAX_KEY_LEN]).to_vec();
    match command.op {
        Op::Store(Store { mode: Mode::Set, compare: None, new_cas: None, .. }) => {
            Ok(Line::Store(key))
        }
        Op::Delete(delete) if delete == (Delete { invalidate: true, ..Delete::default() }) => {
            Ok(Line::Stale(key))
        }
        _ => Err(OTHER.to_owned()),
    }
}

const OTHER: &str = "a dump has ms with the flags b, F and T, md with b and I, and mn at its end; \
                     this is something else";
/// What nodes take is for them to say.
const LIMITS: Limits = Limits { item: usize::MAX, line: 2048, keys_line: 2048, buffer: usize::MAX };
/// Items that are read at once.
const AT_ONCE: usize = 500;
/// Bytes that are read at once.
const READ: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// All items as they go to a node, with where they stand, and then what is wrong.
    fn read_all(text: &[u8]) -> (Vec<(String, usize, String)>, Option<String>) {
        let mut dump = Dump::new("dump", Box::new(io::Cursor::new(text.to_vec())));
        let mut all = Vec::new();
        loop {
            match dump.next() {
                Ok((_, commands)) if commands.is_empty() => return (all, None),
                Ok((back, commands)) => {
                    dump = back;
                    all.extend(commands.into_iter().map(|Command { text, answers, origin }| {
                        (String::from_utf8(text).unwrap(), answers, origin)
                    }));
                }
                Err(failure) => return (all, Some(failure.to_string())),
            }
        }
    }

    #[test]
    fn a_dump_is_read_as_it_was_written_and_each_item_knows_its_line() {
        let text = b"ms a 3\r\nx\ny\r\nms YSBi 1 b F5 T2000000000\r\nv\r\nmd YSBi b I\r\nms c 0\r\n\r\nmn\r\n";
        let (all, wrong) = read_all(text);
        assert_eq!(wrong, None);
        let item = |text: &str, answers, line: u64| {
            (text.to_owned(), answers, format!("dump line {line}"))
        };
        assert_eq!(
            all,
            [
                item("ms a 3\r\nx\ny\r\n", 1, 1),
                item("ms YSBi 1 b F5 T2000000000\r\nv\r\nmd YSBi b I\r\n", 2, 4),
                item("ms c 0\r\n\r\n", 1, 7),
            ]
        );
        assert_eq!(read_all(b"mn\r\n"), (Vec::new(), None));
        // A key is the same however it is written.
        let text = b"ms aw== 1 b\r\nv\r\nmd k I\r\nmn\r\n";
        assert_eq!(read_all(text).0, [item("ms aw== 1 b\r\nv\r\nmd k I\r\n", 2, 1)]);
    }

    #[test]
    fn what_is_no_dump_is_said_with_its_line() {
        for (text, wanted) in [
            (&b""[..], "dump line 1: it breaks off"),
            (b"ms a 1\r\nv\r\n", "dump line 3: it breaks off"),
            (b"ms a 1\r\n", "dump line 1: it breaks off"),
            (b"ms a 1\r\nv\r\nms b 2\r\nv\r\nmn\r\n", "dump line 3: it is no command"),
            (b"set a 0 0 1\r\nv\r\nmn\r\n", "dump line 1: a dump has ms"),
            (b"ms a 1 MA\r\nv\r\n", "dump line 1: a dump has ms"),
            (b"ms a 1 q\r\nv\r\n", "dump line 1: a dump has ms"),
            (b"ms a 1\r\nv\r\nmd b I\r\n", "dump line 3: md is to stand"),
            (b"md b I\r\n", "dump line 1: md is to stand"),
            (b"ms a 1\r\nv\r\nmd a\r\n", "dump line 3: a dump has ms"),
        ] {
            let wrong = read_all(text).1.unwrap();
            assert!(wrong.starts_with(wanted), "{}: {wrong}", text.escape_ascii());
        }
    }
}
