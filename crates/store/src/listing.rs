//! Items of all groups in the order of their keys.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use larder_protocol::{Interval, Listed, Outcome, Page, Seconds};

use crate::command::Command;
use crate::failure;
use crate::pending::{Pending, Ticket};
use crate::placement::GroupId;
use crate::span::Span;
use crate::turn::Turn;
use crate::ways::Ways;

/// Items of all groups in the order of their keys, page by page.
///
/// Of each group it has the next few, and asks for more when there are none left: so what it holds does
/// not grow with what is asked for. Each look is a read like any other, of one group, at a moment after
/// the range was asked for.
#[derive(Debug)]
pub(crate) struct Listing {
    ways: Arc<Ways>,
    now: Seconds,
    end: Bytes,
    right_open: bool,
    /// How many items are still wanted.
    left: usize,
    sources: Vec<Source>,
    /// None once it has come to its end.
    turn: Option<Turn>,
}

/// What is known of one group's items.
#[derive(Debug)]
struct Source {
    group: GroupId,
    /// Those that come next.
    items: VecDeque<Listed>,
    /// Where there may be more, and whether without that key itself.
    rest: Option<(Bytes, bool)>,
    asked: Option<Pending>,
}

impl Listing {
    pub(crate) fn new(interval: &Interval<'_>, now: Seconds, ways: Arc<Ways>, turn: Turn) -> Self {
        let start = Bytes::copy_from_slice(interval.start);
        let source = |group| {
            let rest = Some((start.clone(), interval.left_open));
            Source { group, items: VecDeque::new(), rest, asked: None }
        };
        Self {
            sources: (1..=GroupId::from(ways.groups())).map(source).collect(),
            ways,
            now,
            end: Bytes::copy_from_slice(interval.end),
            right_open: interval.right_open,
            left: interval.most,
            turn: Some(turn),
        }
    }

    /// The next page, or why there is none. Once it has given the last it must not be polled again.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Outcome<'static>> {
        let outcome = match &self.turn {
            None => return Poll::Pending,
            Some(turn) if ready!(turn.poll(context)) => ready!(self.poll_page(context)),
            Some(_) => Err(failure::NOT_BEGUN),
        };
        if !matches!(outcome, Ok(Page { after: Some(_), .. })) {
            self.turn = None;
        }
        Poll::Ready(outcome.map_or_else(Outcome::Failed, Outcome::Listed))
    }

    /// A page that has an item, or is the last.
    fn poll_page(&mut self, context: &mut Context<'_>) -> Poll<Result<Page, &'static str>> {
        loop {
            self.ask();
            let mut waits = false;
            for source in &mut self.sources {
                waits |= source.poll(context)?.is_pending();
            }
            if waits {
                return Poll::Pending;
            }
            let items = self.take();
            let ended = self.left == 0 || self.sources.iter().all(Source::is_done);
            let after = items.last().map(|item| item.key.clone()).filter(|_| !ended);
            if ended || after.is_some() {
                return Poll::Ready(Ok(Page { items, after }));
            }
        }
    }

    /// Has groups looked at of which no item is known.
    fn ask(&mut self) {
        let bytes = PAGE_BYTES / u32::from(self.ways.groups().max(1));
        let most = u32::try_from(self.left).unwrap_or(u32::MAX);
        for source in &mut self.sources {
            let Some((start, left_open)) = &source.rest else { continue };
            if !source.items.is_empty() || source.asked.is_some() {
                continue;
            }
            let (left_open, right_open, end) = (*left_open, self.right_open, &self.end[..]);
            let span = Span { end, left_open, right_open, most, bytes };
            let (ticket, pending) = Ticket::new();
            let command = Command::range(start, span, self.now, ticket).of_group(source.group);
            source.asked = Some(pending);
            if let Some(command) = self.ways.read(command) {
                // Nobody waits for it yet.
                let _ = command.answer(Outcome::Failed(failure::CLOSED));
            }
        }
    }

    /// The items that come next, as far as that is known: until there may be one of a group between that
    /// is not known.
    fn take(&mut self) -> Vec<Listed> {
        let mut items = Vec::new();
        while self.left > 0 && self.sources.iter().all(Source::is_known) {
            let least = self
                .sources
                .iter_mut()
                .filter(|source| !source.items.is_empty())
                .min_by(|one, other| one.first().cmp(&other.first()));
            let Some(item) = least.and_then(|source| source.items.pop_front()) else { break };
            items.push(item);
            self.left -= 1;
        }
        items
    }
}

impl Source {
    /// Takes the answer, if one was asked for.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        let Some(asked) = &mut self.asked else { return Poll::Ready(Ok(())) };
        let outcome = ready!(Pin::new(asked).poll(context));
        self.asked = None;
        match outcome {
            Outcome::Listed(Page { items, after }) => {
                self.items = items.into();
                self.rest = after.map(|key| (key, true));
                Poll::Ready(Ok(()))
            }
            Outcome::Failed(why) => Poll::Ready(Err(why)),
            _ => Poll::Ready(Err(failure::SENSELESS)),
        }
    }

    fn first(&self) -> Option<&Bytes> {
        self.items.front().map(|item| &item.key)
    }

    /// Whether it is known which of its items comes next.
    fn is_known(&self) -> bool {
        !self.items.is_empty() || self.rest.is_none()
    }

    /// Whether no item of it is left.
    fn is_done(&self) -> bool {
        self.items.is_empty() && self.rest.is_none()
    }
}

/// Bytes of keys and values that one look at all groups brings, but for the last item of each.
const PAGE_BYTES: u32 = 1 << 20;
