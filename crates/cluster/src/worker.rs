//! What one worker thread has of the cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use larder_peer::Link;
use larder_protocol::Outcome;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::answers::Ticket;
use crate::call::Asked;
use crate::courier::{Courier, Done, drive};
use crate::engine::Engine;
use crate::failure;
use crate::member::Member;
use crate::shared::Shared;
use crate::stand_in::{bounded, is_repeatable};
use crate::table::{Destination, Route, Table};
use crate::view::View;

/// What one worker thread has of the cluster: a connection to each other node, made by tasks of its own
/// runtime, so that nothing that its clients ask goes over another thread of this node.
#[derive(Debug)]
pub struct Worker<E> {
    shared: Arc<Shared<E>>,
    table: Mutex<Arc<Table>>,
    /// How many tables there were: whoever has another number has an older one.
    version: AtomicU64,
}

impl<E: Engine> Worker<E> {
    /// Begins on the thread that calls this, in its runtime.
    pub(crate) fn start(
        shared: Arc<Shared<E>>,
        mut views: watch::Receiver<Arc<View>>,
    ) -> Arc<Self> {
        let view = Arc::clone(&views.borrow_and_update());
        let table = Arc::new(Table::new(Arc::default(), Vec::new(), shared.gutter));
        let worker =
            Arc::new(Self { shared, table: Mutex::new(table), version: AtomicU64::new(0) });
        worker.take_up(view);
        let following = Arc::clone(&worker);
        tokio::spawn(async move {
            // Until there is nobody left to have a view.
            while views.changed().await.is_ok() {
                let view = Arc::clone(&views.borrow_and_update());
                following.take_up(view);
            }
        });
        worker
    }

    pub(crate) fn shared(&self) -> &Arc<Shared<E>> {
        &self.shared
    }

    /// How many tables there were.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    pub(crate) fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.lock())
    }

    /// Goes by `view` from now on.
    fn take_up(self: &Arc<Self>, view: Arc<View>) {
        let before = self.table();
        let destination = |member: &Arc<Member>| {
            if member.name == self.shared.name {
                return Destination::Here;
            }
            let same = |courier: &&Arc<Courier>| {
                let known = &courier.member;
                (&known.name, known.run, &known.peer_address)
                    == (&member.name, member.run, &member.peer_address)
            };
            let known = before.couriers().find(same).map(Arc::clone);
            Destination::Away(known.unwrap_or_else(|| self.hire(member)))
        };
        let destinations = view.members.iter().map(destination).collect();
        let table = Arc::new(Table::new(view, destinations, self.shared.gutter));
        *self.table.lock() = Arc::clone(&table);
        self.version.fetch_add(1, Ordering::Relaxed);
        // They may be this node's now. Once each worker has been here, none was asked for before.
        self.shared.near.clear();
        let is_gone =
            |courier: &&Arc<Courier>| !table.couriers().any(|kept| Arc::ptr_eq(kept, courier));
        before.couriers().filter(is_gone).for_each(|courier| courier.close());
    }

    fn hire(self: &Arc<Self>, member: &Arc<Member>) -> Arc<Courier> {
        let Shared { credentials, link, .. } = &*self.shared;
        let courier = Arc::new(Courier::new(Arc::clone(member)));
        let link =
            Link::open(&member.peer_address, Some(member.run), credentials.clone(), link.clone());
        tokio::spawn(drive(Arc::clone(&courier), Arc::clone(self), link));
        courier
    }

    /// Has whoever is to do it by now do what could not be done where it was sent before.
    pub(crate) fn again(&self, asked: &Asked<'_>, ticket: Ticket, done: Done) {
        if done == Done::Perhaps && !is_repeatable(&asked.op) {
            return ticket.answer(Outcome::Failed(failure::UNKNOWN));
        }
        match self.table().route(asked.key) {
            Route::Nowhere => ticket.answer(Outcome::Failed(failure::NO_NODE)),
            Route::Away(courier, lives) => {
                // That it was not done is known only of what was not sent before, or changes nothing.
                let may_be = done == Done::Perhaps && !asked.op.reads_only();
                let busy = if may_be { failure::UNKNOWN } else { failure::BUSY };
                courier.send_for(asked, lives, ticket, busy);
            }
            Route::Here(lives) => {
                let now = (self.shared.clock)();
                let op = lives.map_or(asked.op, |lives| bounded(&asked.op, lives, now));
                if !op.reads_only() {
                    self.shared.will_change(&self.shared.places(), asked.key);
                }
                let mut answer = None;
                self.shared.engine.execute(asked.key, &op, now, |outcome| {
                    answer = Some(outcome.into_owned());
                });
                // Not before the engine has let go: it wakes.
                ticket.answer(answer.unwrap_or(Outcome::Failed(failure::UNKNOWN)));
            }
        }
    }
}

#[cfg(test)]
mod tests;
