//! Whom a request is sent to, and whom next if that one fails.

use std::sync::Arc;
use std::time::SystemTime;

use larder_protocol::{Mode, Op, Store};
use larder_ring::MAX_CANDIDATES;
use tokio::time::Instant;

use crate::connection::Request;
use crate::error::Error;
use crate::expiry;
use crate::nodes::Nodes;
use crate::pool::Pool;

/// The way of one request, from the key's owner to those that stand in for it.
#[derive(Debug)]
pub(crate) struct Route<'n> {
    nodes: &'n Nodes,
    /// Indices of nodes, the owner first.
    candidates: [usize; MAX_CANDIDATES],
    len: usize,
    at: usize,
    /// Whether it was sent to the node it is at before.
    repeated: bool,
    failover: Failover,
}

/// What nodes do for one that is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failover {
    /// Nothing.
    None,
    /// The next keeps what it is given for so many seconds at most.
    Brief { secs: u32 },
    /// Any of them has all items, and keeps them.
    Lasting,
}

impl<'n> Route<'n> {
    /// The way of a request for `key`. If no node that may have it seems to be up, its owner is
    /// asked.
    pub(crate) fn new(nodes: &'n Nodes, key: &[u8], failover: Failover) -> Result<Self, Error> {
        let mut candidates = [0; MAX_CANDIDATES];
        let mut len = 0;
        let most = if failover == Failover::None { 1 } else { MAX_CANDIDATES };
        for (place, index) in candidates.iter_mut().zip(nodes.candidates(key).take(most)) {
            *place = index;
            len += 1;
        }
        if len == 0 {
            return Err(Error::NoNode);
        }
        let mut route = Self { nodes, candidates, len, at: 0, repeated: false, failover };
        if len > 1 && !route.advance_to(0) {
            route.at = 0;
        }
        Ok(route)
    }

    /// The way of a request that was sent to the node at this place before.
    pub(crate) fn from(
        nodes: &'n Nodes,
        key: &[u8],
        failover: Failover,
        at: usize,
    ) -> Result<Self, Error> {
        Self::new(nodes, key, failover).map(|route| Self { at, ..route })
    }

    /// How far it is from the owner.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The index of the node to send to.
    pub(crate) fn index(&self) -> usize {
        self.candidates.get(self.at).copied().unwrap_or_default()
    }

    /// The node to send to.
    pub(crate) fn pool(&self) -> Result<&'n Arc<Pool>, Error> {
        self.nodes.pool(self.index()).ok_or(Error::NoNode)
    }

    /// Another node to ask for `key`: the next one on the ring that seems to be up.
    pub(crate) fn second(&self, key: &[u8]) -> Option<&'n Arc<Pool>> {
        let now = Instant::now();
        let others = self.nodes.candidates(key).filter(|index| *index != self.index());
        let mut pools = others.filter_map(|index| self.nodes.pool(index));
        pools.find(|pool| pool.may_be_asked(now))
    }

    /// The request as this node is to be sent it: what a stand-in keeps, it keeps briefly,
    /// so that the owner is not contradicted for longer when it is back.
    pub(crate) fn bounded<'r>(&self, request: Request<'r>) -> Request<'r> {
        Request { op: self.bounded_op(request.op), ..request }
    }

    /// The same, of the operation alone.
    pub(crate) fn bounded_op<'r>(&self, mut op: Op<'r>) -> Op<'r> {
        if let Failover::Brief { secs } = self.failover
            && self.at > 0
        {
            let bounded = |exptime| expiry::bounded(exptime, secs, SystemTime::now());
            match &mut op {
                Op::Store(op) => {
                    op.exptime = bounded(op.exptime);
                    op.vivify = op.vivify.map(bounded);
                }
                Op::Fetch(op) => {
                    op.ttl = op.ttl.map(bounded);
                    op.vivify = op.vivify.map(bounded);
                    // All it has will expire soon.
                    op.recache = None;
                }
                Op::Delete(op) => op.ttl = op.ttl.map(bounded),
                Op::Arithmetic(op) => {
                    op.ttl = op.ttl.map(bounded);
                    op.vivify = op.vivify.map(bounded);
                }
            }
        }
        op
    }

    /// After `error`: moves on to the node to send the request to now, if it may be sent again.
    pub(crate) fn goes_on(&mut self, error: &Error, op: &Op<'_>) -> bool {
        let may_be_repeated = self.len > 1
            && is_idempotent(op)
            // What is there for good is not to be brought back by a second try.
            && (self.failover != Failover::Lasting || op.reads_only());
        match error {
            // Nothing was sent.
            Error::Unreachable { .. } => self.advance_to(self.at + 1),
            // The node may have been started again; if not, there will be no connection.
            Error::Disconnected { .. } if may_be_repeated => {
                !std::mem::replace(&mut self.repeated, true) || self.advance_to(self.at + 1)
            }
            _ => false,
        }
    }

    /// Moves to the first node from this place on that seems to be up.
    fn advance_to(&mut self, place: usize) -> bool {
        let now = Instant::now();
        let is_up = |place: &usize| {
            let index = self.candidates.get(*place).copied().unwrap_or_default();
            self.nodes.pool(index).is_some_and(|pool| pool.may_be_asked(now))
        };
        let Some(at) = (place..self.len).find(is_up) else { return false };
        (self.at, self.repeated) = (at, false);
        true
    }
}

/// Whether doing it twice is as good as doing it once.
fn is_idempotent(op: &Op<'_>) -> bool {
    match op {
        Op::Fetch(op) => op.vivify.is_none() && op.recache.is_none(),
        Op::Store(Store { mode, compare, .. }) => *mode == Mode::Set && compare.is_none(),
        Op::Delete(op) => op.compare.is_none() && !op.invalidate,
        Op::Arithmetic(_) => false,
    }
}

#[cfg(test)]
mod tests;
