//! From a parsed request to the backend, and from its answer to the outbox.

use std::sync::atomic::Ordering;

use larder_protocol::{
    Command, Exptime, Fault, Fetch, Form, Get, Interval, Key, Keys, Landing, MAX_KEY_LEN, Op,
    Output, Refusal, Request, Seconds, Shape, Then, write_reply,
};
use tracing::{info, trace};

use crate::backend::{Backend, Session};
use crate::clock;
use crate::counters::{Counters, Tally};
use crate::heat::{Heat, value_sent};
use crate::outbox::Outbox;
use crate::report;
use crate::shared::{Shared, Worker};

/// Where one connection's requests are carried out.
pub(crate) struct Desk<'a, B: Backend> {
    pub(crate) shared: &'a Shared<B>,
    pub(crate) counters: &'a Counters,
    pub(crate) heat: &'a Heat,
    pub(crate) outbox: Outbox<<B::Session as Session>::Pending>,
    session: B::Session,
    /// The front of the value of the next request, if it is not in the input.
    pub(crate) landing: Option<<B::Session as Session>::Landing>,
}

/// What follows a request.
pub(crate) enum Next {
    /// Another request.
    Request,
    /// Another request, so many bytes behind this one.
    Skip(usize),
    /// More of this one, once its first replies are written.
    Rest(Rest),
    /// The end.
    Close,
}

/// The keys of a `get` that are still to be fetched. Positions count from its first byte.
#[derive(Clone, Copy)]
pub(crate) struct Rest {
    cas: bool,
    ttl: Option<Exptime>,
    start: usize,
    end: usize,
    /// The length of the whole request.
    pub(crate) consumed: usize,
}

impl<'a, B: Backend> Desk<'a, B> {
    pub(crate) fn new(shared: &'a Shared<B>, worker: &'a Worker, part: &B::Worker) -> Self {
        Self {
            shared,
            counters: &worker.counters,
            heat: &worker.heat,
            outbox: Outbox::default(),
            session: shared.backend.session(part),
            landing: None,
        }
    }

    /// Has the backend make room for the front of a value of `len` bytes. How many bytes that is, or
    /// 0 if it does not.
    pub(crate) fn land(&mut self, len: usize, now: Seconds) -> usize {
        self.landing = self.session.land(len, now);
        self.landed()
    }

    /// Has the backend make more room for that value, if there is too little. `true` if others should
    /// have their turn.
    #[inline]
    pub(crate) fn lengthen(&mut self) -> bool {
        let short = self.landing.as_mut().filter(|landing| landing.is_short());
        short.is_some_and(|landing| self.session.lengthen(landing, clock::now()))
    }

    /// How many bytes of the next request's value are not in the input, or will not be.
    pub(crate) fn landed(&self) -> usize {
        self.landing.as_ref().map_or(0, Landing::len)
    }

    /// Carries out `request`, which is the first `consumed` bytes of `input`.
    #[inline]
    pub(crate) fn carry_out(
        &mut self,
        request: Request<'_>,
        input: &[u8],
        consumed: usize,
        now: Seconds,
    ) -> Next {
        trace!(request = %input.get(..consumed).unwrap_or_default().escape_ascii());
        match request {
            Request::Get(get) => return self.get(&get, input, consumed, now),
            Request::Item(command) => self.item(&command, now),
            Request::Noop => self.outbox.end().put(b"MN\r\n"),
            Request::Quit => return Next::Close,
            Request::Refused(refusal) => return self.refuse(&refusal, now),
            Request::Shutdown => return self.shutdown(),
            Request::FlushAll { delay, quiet } => self.flush_all(delay, quiet, now),
            Request::Range(interval) => self.range(interval.as_ref(), now),
            Request::Checkpoint => {
                let pending = self.session.checkpoint();
                self.await_whole(pending, Shape::Checkpoint, false);
            }
            Request::Discover => match self.shared.backend.discovery() {
                Some(discovery) => discovery.write(self.outbox.end()),
                None => self.say(false, "ERROR"),
            },
            Request::Version => self.say(false, concat!("VERSION ", report::version!())),
            Request::Verbosity { level, quiet } => self.set_verbosity(level, quiet),
            Request::Stats(words) => {
                report::stats(self.shared, words, now, self.outbox.end());
            }
            Request::CacheMemlimit { megabytes, quiet } => {
                self.set_memory_limit(megabytes, quiet, now);
            }
        }
        Next::Request
    }

    /// Goes on with a `get` that begins at `input`.
    pub(crate) fn go_on(&mut self, input: &[u8], mut rest: Rest, now: Seconds) -> Option<Rest> {
        if self.outbox.is_get_broken() {
            self.outbox.end_get(b"");
            return None;
        }
        let mut keys = Keys::in_text(input.get(rest.start..rest.end).unwrap_or_default());
        let form = |key| Form {
            shape: Shape::Value { cas: rest.cas },
            quiet: false,
            key: Key { text: key, base64: false },
            flags: &[],
        };
        let op = Op::Fetch(Fetch { ttl: rest.ttl, ..Fetch::GET });
        for number in 0..KEYS_PER_TURN {
            if !self.outbox.has_room() {
                break;
            }
            if number % KEYS_AHEAD == 0 {
                self.expect(keys.clone());
            }
            let Some(key) = keys.next() else {
                self.outbox.end_get(b"END\r\n");
                return None;
            };
            if self.execute(key, &op, &form(key), now) {
                self.outbox.end_get(b"");
                return None;
            }
        }
        rest.start = rest.end - keys.text().len();
        Some(rest)
    }

    /// Tells the backend some of the keys that come next, so that it can wait for the memory of all
    /// at once instead of each in turn. How many.
    #[inline]
    pub(crate) fn expect<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) -> usize {
        let mut ahead: [&[u8]; KEYS_AHEAD] = [&[]; KEYS_AHEAD];
        let mut known = 0;
        for (place, key) in ahead.iter_mut().zip(keys) {
            *place = key;
            known += 1;
        }
        // One alone has nothing to be waited for along with.
        if known > 1 {
            self.session.expect(ahead.get(..known).unwrap_or_default());
        }
        known
    }

    #[inline]
    fn get(&mut self, get: &Get<'_>, input: &[u8], consumed: usize, now: Seconds) -> Next {
        let line = input.get(..consumed - 1).unwrap_or_default();
        let end = line.strip_suffix(b"\r").unwrap_or(line).len();
        let start = end - get.keys.text().len();
        match self.go_on(input, Rest { cas: get.cas, ttl: get.ttl, start, end, consumed }, now) {
            None => Next::Request,
            Some(rest) => Next::Rest(rest),
        }
    }

    #[inline]
    fn item(&mut self, command: &Command<'_>, now: Seconds) {
        let mut scratch = [0; MAX_KEY_LEN];
        let key = command.key.bytes(&mut scratch);
        if command.form.shape.is_meta() {
            self.counters.cmd_meta.add(1);
        }
        self.execute(key, &command.op, &command.form, now);
    }

    /// Whether it could not be done, and the client was told so.
    #[inline]
    fn execute(&mut self, key: &[u8], op: &Op<'_>, form: &Form<'_>, now: Seconds) -> bool {
        if self.heat.samples() {
            self.execute_sampled(key, op, form, now)
        } else {
            self.execute_as::<false>(key, op, form, now)
        }
    }

    #[cold]
    fn execute_sampled(&mut self, key: &[u8], op: &Op<'_>, form: &Form<'_>, now: Seconds) -> bool {
        self.execute_as::<true>(key, op, form, now)
    }

    /// Compiled twice, since what is done under the lock of an engine has to stay small.
    #[inline]
    fn execute_as<const SAMPLED: bool>(
        &mut self,
        key: &[u8],
        op: &Op<'_>,
        form: &Form<'_>,
        now: Seconds,
    ) -> bool {
        let mut failed = false;
        let mut sent = 0;
        let tally = Tally::of(op, form.shape);
        let (counters, end) = (self.counters, self.outbox.end());
        let landed = self.landing.take();
        let pending = self.session.execute(key, op, form, landed, now, |outcome| {
            counters.count(tally, &outcome);
            failed = outcome.is_failure();
            if SAMPLED {
                sent = value_sent(form, &outcome);
            }
            write_reply(form, &outcome, now, end);
        });
        let received = if let Op::Store(store) = op { store.value_len() } else { 0 };
        if SAMPLED {
            let per_second = self.heat.count(key, received + sent, now);
            self.session.sampled(key, per_second, now);
        }
        if let Some(pending) = pending {
            self.outbox.wait(pending, form, tally, received, SAMPLED);
        }
        failed
    }

    fn refuse(&mut self, refusal: &Refusal<'_>, now: Seconds) -> Next {
        match refusal.fault {
            Fault::Form => {}
            Fault::TooLarge => self.counters.store_too_large.add(1),
            Fault::NoMemory => self.counters.store_no_memory.add(1),
        }
        self.landing = None;
        if let Some(key) = refusal.forget {
            self.session.refused(key.bytes(&mut [0; MAX_KEY_LEN]), now);
        }
        if !refusal.line.is_empty() {
            self.say(refusal.quiet, refusal.line);
        }
        match refusal.then {
            Then::Continue => Next::Request,
            Then::Skip(bytes) => Next::Skip(bytes),
            Then::Close => Next::Close,
        }
    }

    fn flush_all(&mut self, delay: Exptime, quiet: bool, now: Seconds) {
        self.counters.cmd_flush.add(1);
        if !self.shared.settings.flush_command {
            return self.say(quiet, "CLIENT_ERROR flush_all not allowed");
        }
        let at = if delay.0 > 0 { delay.at(now) } else { 0 };
        match self.session.flush_all(at, now) {
            None => self.say(quiet, "OK"),
            pending => self.await_whole(pending, Shape::Flushed, quiet),
        }
    }

    fn range(&mut self, interval: Option<&Interval<'_>>, now: Seconds) {
        match interval {
            None if B::LISTS => self.say(false, "CLIENT_ERROR bad command line format"),
            interval => {
                let pending = interval.and_then(|interval| self.session.range(interval, now));
                self.await_whole(pending, Shape::Range, false);
            }
        }
    }

    /// Keeps a place for the answer to a command that names no item; without one there is no such
    /// command here.
    fn await_whole(
        &mut self,
        pending: Option<<B::Session as Session>::Pending>,
        shape: Shape,
        quiet: bool,
    ) {
        let Some(pending) = pending else { return self.say(quiet, "ERROR") };
        let key = Key { text: &[], base64: false };
        let form = Form { shape, quiet, key, flags: &[] };
        self.outbox.wait(pending, &form, Tally::Nothing, 0, false);
    }

    fn set_verbosity(&mut self, level: u32, quiet: bool) {
        let level = level.min(MAX_VERBOSITY);
        self.shared.verbosity.store(level, Ordering::Relaxed);
        (self.shared.settings.on_verbosity)(level);
        self.say(quiet, "OK");
    }

    fn set_memory_limit(&mut self, megabytes: u32, quiet: bool, now: Seconds) {
        let line = match megabytes {
            0..8 => "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m",
            1_000_000_001.. => "MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes",
            _ => match self.shared.backend.set_memory_limit(u64::from(megabytes) << 20, now) {
                Ok(()) => "OK",
                Err(line) => line,
            },
        };
        self.say(quiet, line);
    }

    fn shutdown(&mut self) -> Next {
        if !self.shared.settings.shutdown_command {
            self.say(false, "SERVER_ERROR: shutdown not enabled");
            return Next::Request;
        }
        info!("a client asks for shutdown");
        self.shared.stop.notify_one();
        Next::Close
    }

    pub(crate) fn say(&mut self, quiet: bool, line: &str) {
        if !quiet {
            let end = self.outbox.end();
            end.put(line.as_bytes());
            end.put(b"\r\n");
        }
    }
}

/// The keys of one `get` that are fetched before others have their turn. A key costs less than a
/// request, so these are more than the default requests of a turn.
const KEYS_PER_TURN: usize = 512;

/// How many keys a backend is told at once: about as many accesses as a processor has under way.
const KEYS_AHEAD: usize = 16;

/// memcached's highest level of `verbosity`.
const MAX_VERBOSITY: u32 = 2;
