//! Commands on their way to one other node, from one worker thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use larder_protocol::{Outcome, Seconds};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::answers::{Answers, Awaited, Ticket};
use crate::call::{self, Asked};
use crate::failure;
use crate::member::Member;

mod drive;

pub(crate) use drive::{Done, drive};

/// Takes commands to one other node. What is given to it while others have their turn on the worker goes
/// there in one call; all that it is given keeps its order.
#[derive(Debug)]
pub(crate) struct Courier {
    pub(crate) member: Arc<Member>,
    queue: Mutex<Queue>,
    wake: Notify,
    /// The node does not answer: its keys go to others.
    out: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    /// What takes no more.
    full: VecDeque<Batch>,
    filling: Option<Batch>,
    /// Commands that have no answer yet,
    outstanding: usize,
    /// and the bytes of their calls.
    bytes: usize,
    closed: bool,
}

/// What goes in one call.
#[derive(Debug)]
struct Batch {
    body: Vec<u8>,
    kind: u8,
    /// For how many seconds what is stored lives at most, since the node only stands in.
    lives: Option<Seconds>,
    tickets: Vec<Ticket>,
    answers: Arc<Answers>,
}

/// A call, and whom its answer is for.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) kind: u8,
    pub(crate) body: Bytes,
    tickets: Vec<Ticket>,
}

impl Courier {
    pub(crate) fn new(member: Arc<Member>) -> Self {
        let (queue, wake, out) = (Mutex::default(), Notify::new(), AtomicBool::new(false));
        Self { member, queue, wake, out }
    }

    /// Whether its node does not answer, so that others have to do.
    pub(crate) fn is_out(&self) -> bool {
        self.out.load(Ordering::Relaxed)
    }

    /// Takes a command.
    ///
    /// # Errors
    ///
    /// Too many wait already.
    pub(crate) fn send(
        &self,
        asked: &Asked<'_>,
        lives: Option<Seconds>,
    ) -> Result<Awaited, &'static str> {
        let mut queue = self.queue.lock();
        if queue.is_full() {
            return Err(failure::BUSY);
        }
        let batch = queue.batch(lives);
        let (ticket, awaited) = batch.answers.expect();
        let bytes = batch.push(asked, ticket);
        self.has_taken(queue, bytes);
        Ok(awaited)
    }

    /// Takes a command that could not be done where it was sent before. If too many wait already, its answer
    /// is `busy`.
    pub(crate) fn send_for(
        &self,
        asked: &Asked<'_>,
        lives: Option<Seconds>,
        ticket: Ticket,
        busy: &'static str,
    ) {
        let mut queue = self.queue.lock();
        if queue.is_full() {
            drop(queue);
            return ticket.answer(Outcome::Failed(busy));
        }
        let bytes = queue.batch(lives).push(asked, ticket);
        self.has_taken(queue, bytes);
    }

    /// Takes the command to forget all items, so many seconds from now.
    ///
    /// # Errors
    ///
    /// Too many wait already.
    pub(crate) fn flush(&self, delay: Seconds) -> Result<Awaited, &'static str> {
        let mut queue = self.queue.lock();
        if queue.is_full() {
            return Err(failure::BUSY);
        }
        let answers = Arc::<Answers>::default();
        let (ticket, awaited) = answers.expect();
        let (kind, body) = (call::FLUSH, call::flush(delay).to_vec());
        let bytes = body.len();
        let before = queue.filling.take();
        queue.full.extend(before);
        queue.full.push_back(Batch { body, kind, lives: None, tickets: vec![ticket], answers });
        self.has_taken(queue, bytes);
        Ok(awaited)
    }

    fn has_taken(&self, mut queue: parking_lot::MutexGuard<'_, Queue>, bytes: usize) {
        queue.outstanding += 1;
        queue.bytes += bytes;
        drop(queue);
        self.wake.notify_one();
    }

    /// It will be given no more. What it has been given goes where keys are now.
    pub(crate) fn close(&self) {
        self.queue.lock().closed = true;
        self.wake.notify_one();
    }

    /// What goes next.
    fn next(&self) -> Option<Call> {
        let mut queue = self.queue.lock();
        let batch = queue.full.pop_front().or_else(|| queue.filling.take());
        drop(queue);
        let Batch { kind, body, tickets, .. } = batch?;
        Some(Call { kind, body: body.into(), tickets })
    }

    fn is_closed(&self) -> bool {
        self.queue.lock().closed
    }

    /// The commands of a call have an answer, or are another's.
    fn is_rid_of(&self, call: &Call) {
        let mut queue = self.queue.lock();
        queue.outstanding -= call.tickets.len();
        queue.bytes -= call.body.len();
    }
}

impl Queue {
    /// Whether no more is taken. How long it would be does not matter, so that any value can go anywhere.
    fn is_full(&self) -> bool {
        self.outstanding >= MAX_COMMANDS || self.bytes >= MAX_BYTES
    }

    /// The batch that takes another command.
    fn batch(&mut self, lives: Option<Seconds>) -> &mut Batch {
        let is_full = |batch: &mut Batch| {
            batch.lives != lives
                || batch.body.len() >= BATCH_BYTES
                || batch.tickets.len() >= BATCH_COMMANDS
        };
        self.full.extend(self.filling.take_if(is_full));
        self.filling.get_or_insert_with(|| Batch {
            body: call::begin(lives),
            kind: call::COMMANDS,
            lives,
            tickets: Vec::new(),
            answers: Arc::default(),
        })
    }
}

impl Batch {
    /// Takes a command, and says by how much that makes the call longer: the first brings all of it.
    fn push(&mut self, asked: &Asked<'_>, ticket: Ticket) -> usize {
        let before = if self.tickets.is_empty() { 0 } else { self.body.len() };
        // Each of ours can be written. What could not be is not understood there, and told so.
        self.body = call::push(asked, std::mem::take(&mut self.body)).unwrap_or_default();
        self.tickets.push(ticket);
        self.body.len().saturating_sub(before)
    }
}

impl Call {
    /// Gives the answers in `body`. Those that are to be asked again are handed out.
    pub(crate) fn answer(
        mut self,
        body: &Bytes,
        now: Seconds,
        mut again: impl FnMut(&Asked<'_>, Option<Seconds>, Ticket),
    ) {
        if self.kind == call::FLUSH {
            return self.answer_all(&Outcome::Deleted);
        }
        let Some(outcomes) = call::read_answer(body, self.tickets.len(), now) else {
            return self.answer_all(&Outcome::Failed(failure::UNKNOWN));
        };
        let mut commands = None;
        for (at, (outcome, ticket)) in outcomes.into_iter().zip(self.tickets.drain(..)).enumerate()
        {
            if !matches!(outcome, Outcome::Failed(failure::AGAIN)) {
                ticket.answer(outcome);
                continue;
            }
            let (lives, asked) = commands.get_or_insert_with(|| {
                let (lives, commands) = call::read(&self.body).unzip();
                (lives.flatten(), commands.into_iter().flatten().collect::<Vec<_>>())
            });
            match asked.get(at) {
                Some(Some(asked)) => again(asked, *lives, ticket),
                _ => ticket.answer(Outcome::Failed(failure::SENSELESS)),
            }
        }
    }

    /// Gives all of them one answer.
    pub(crate) fn answer_all(self, outcome: &Outcome<'static>) {
        self.tickets.into_iter().for_each(|ticket| ticket.answer(outcome.clone()));
    }

    /// The commands, each with whom its answer is for.
    pub(crate) fn commands(&mut self, mut each: impl FnMut(&Asked<'_>, Ticket)) {
        let commands = call::read(&self.body).into_iter().flat_map(|(_, commands)| commands);
        for (asked, ticket) in commands.flatten().zip(self.tickets.drain(..)) {
            each(&asked, ticket);
        }
    }
}

/// Commands that may wait for one node, from one worker. A client has up to 1,024 of them outstanding.
pub(crate) const MAX_COMMANDS: usize = 16 << 10;

/// Bytes of them from which on no more are taken: they are kept until they are answered, since another may
/// have to do them.
pub(crate) const MAX_BYTES: usize = 64 << 20;

/// A batch that has so many bytes or commands takes no more: others must not wait for all of it.
const BATCH_BYTES: usize = 256 << 10;
const BATCH_COMMANDS: usize = 1024;
