//! What other nodes ask of this one.

use std::sync::Arc;

use bytes::Bytes;
use larder_peer::{Handler, PeerId, Refusal};
use larder_protocol::{MAX_KEY_LEN, Op, Outcome, Seconds, Value, told};

use crate::call::{self, Asked, COMMANDS, FLUSH, FORGET, FORGET_ALL, HAND, ITEMS, PING};
use crate::engine::Engine;
use crate::failure;
use crate::fetching::Lacking;
use crate::membership::Membership;
use crate::places::Places;
use crate::shared::Shared;
use crate::stand_in::bounded;

/// Answers the calls of other nodes. What it is sent it does itself, whoever owns the keys: that takes one
/// hop, also while nodes disagree.
#[derive(Debug)]
pub(crate) struct Service<E> {
    shared: Arc<Shared<E>>,
    membership: Arc<Membership>,
}

impl<E: Engine> Service<E> {
    pub(crate) fn new(shared: Arc<Shared<E>>, membership: Arc<Membership>) -> Self {
        Self { shared, membership }
    }
}

impl<E: Engine> Handler for Service<E> {
    fn handle(
        self: Arc<Self>,
        peer: PeerId,
        kind: u8,
        body: Bytes,
    ) -> impl Future<Output = Result<Bytes, Refusal>> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        let lacking =
            if kind == COMMANDS { shared.lacking(&body) } else { Lacking::<E>::default() };
        let at_hand = lacking.is_empty().then(|| {
            let answer = shared.answer(&peer.name, kind, &body);
            answer.unwrap_or_else(|| self.membership.hear(&peer, kind, &body))
        });
        async move {
            if let Some(answer) = at_hand {
                return answer;
            }
            shared.fetch(lacking).await;
            shared.carry_out(&body).ok_or_else(senseless)
        }
    }
}

impl<E: Engine> Shared<E> {
    /// Answers a call of the node of that name about items; nothing if it is about something else.
    pub(crate) fn answer(
        self: &Arc<Self>,
        from: &str,
        kind: u8,
        body: &Bytes,
    ) -> Option<Result<Bytes, Refusal>> {
        let answer = match kind {
            COMMANDS => self.carry_out(body),
            FLUSH => call::read_flush(body).map(|delay| {
                let now = (self.clock)();
                let at = if delay == 0 { 0 } else { now.saturating_add(delay) };
                self.owe_flush();
                self.engine.flush_all(at, now);
                Bytes::new()
            }),
            PING => Some(Bytes::new()),
            FORGET => call::read_forget(body).map(|keys| {
                let now = (self.clock)();
                let places = self.places();
                for key in keys {
                    places.leaving().for_each(|member| self.hints.note(&member.name, key));
                    self.fetching.change(key);
                    self.engine.forget(key, now);
                }
                Bytes::new()
            }),
            FORGET_ALL => {
                self.fetching.change_all();
                self.engine.flush_all(0, (self.clock)());
                Some(Bytes::new())
            }
            HAND => self.take(from, body),
            ITEMS => Some(call::items(self.engine.items())),
            _ => return None,
        };
        Some(answer.ok_or_else(senseless))
    }

    /// All is forgotten: also by who is not there to hear it.
    pub(crate) fn owe_flush(&self) {
        self.fetching.change_all();
        self.near.clear();
        for gone in self.places().gone() {
            self.hints.note_everything(&gone.name);
        }
    }

    /// Does commands, in their order. What makes no sense is not answered, nor is what follows it.
    pub(crate) fn carry_out(&self, body: &[u8]) -> Option<Bytes> {
        let (lives, commands) = call::read(body)?;
        let (settled, places) = (self.is_settled(), self.places());
        let now = (self.clock)();
        let mut commands = commands.map_while(|asked| asked);
        let mut answer = call::begin_answer(now);
        let mut done = 0;
        let (mut some, mut keys) = (Vec::with_capacity(AHEAD), Vec::with_capacity(AHEAD));
        loop {
            some.clear();
            some.extend(commands.by_ref().take(AHEAD));
            if some.is_empty() {
                break;
            }
            keys.clear();
            keys.extend(some.iter().map(|asked| asked.key));
            self.engine.expect(&keys);
            done += some.len() as u64;
            for asked in &some {
                answer = self.carry_out_one(asked, lives, now, (settled, &places), answer)?;
            }
        }
        self.counters.calls.add(1);
        self.counters.answered.add(done);
        Some(answer.into())
    }

    /// Does a command, and appends what comes of it to `answer`.
    #[inline]
    fn carry_out_one(
        &self,
        asked: &Asked<'_>,
        lives: Option<Seconds>,
        now: Seconds,
        (settled, places): (bool, &Places),
        answer: Vec<u8>,
    ) -> Option<Vec<u8>> {
        let Asked { key, op } = *asked;
        if !(1..=MAX_KEY_LEN).contains(&key.len()) {
            return told::write(&Outcome::Failed(failure::SENSELESS), answer, failure::number);
        }
        if answer.len() > ANSWER_BYTES && op.reads_only() {
            return told::write(&Outcome::Failed(failure::AGAIN), answer, failure::number);
        }
        if op.reads_only() {
            return self.execute_into(key, &op, now, answer);
        }
        let is_mine = places.is_mine(key);
        if !settled || !is_mine {
            self.will_change(places, key);
        }
        // To who has another view it may be this node's. By its own it only stands in for another, which has
        // to forget what it has, and must not be contradicted for long.
        let lives = lives.or((!is_mine).then_some(self.gutter));
        let op = lives.map_or(op, |lives| bounded(&op, lives, now));
        self.execute_into(key, &op, now, answer)
    }

    /// Does `op` to `key`, and appends what comes of it to `answer`.
    fn execute_into(
        &self,
        key: &[u8],
        op: &Op<'_>,
        now: Seconds,
        answer: Vec<u8>,
    ) -> Option<Vec<u8>> {
        let (mut written, mut long) = (None, None);
        self.engine.execute(key, op, now, |outcome| match outcome {
            // It is copied when the engine has let go.
            Outcome::Hit(hit) if matches!(hit.value, Value::Long(..)) => {
                long = Some((Outcome::Hit(hit).into_owned(), answer));
            }
            outcome => written = told::write(&outcome, answer, failure::number),
        });
        match long {
            Some((outcome, answer)) => told::write(&outcome, answer, failure::number),
            None => written,
        }
    }
}

fn senseless() -> Refusal {
    Refusal("this version knows no such call".to_owned())
}

/// How many keys an engine is told at once: about as many accesses as a processor has under way.
const AHEAD: usize = 16;

/// Bytes of answers after which fetches are to be asked again.
pub(crate) const ANSWER_BYTES: usize = 8 << 20;
