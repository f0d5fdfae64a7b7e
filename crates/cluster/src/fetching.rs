//! Items that this node lacks and asks for where they may be.

use std::sync::Arc;

use ahash::HashMap;
use bytes::Bytes;
use larder_protocol::{Fetch, Item, Mode, Op, Outcome, Seconds, Store};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::call::{self, Asked};
use crate::engine::Engine;
use crate::member::Member;
use crate::places::Places;
use crate::shared::Shared;

/// Keys that are being asked for. What is changed here meanwhile is not taken over.
#[derive(Debug, Default)]
pub(crate) struct Fetching(Mutex<HashMap<Box<[u8]>, Asking>>);

#[derive(Debug, Default)]
struct Asking {
    /// How many ask.
    askers: usize,
    changed: bool,
}

/// Keys that this node lacks, by who may have them.
pub(crate) type Lacking<E> = HashMap<Arc<str>, (Arc<Member>, Vec<Wanted<E>>)>;

/// A key that is being asked for, until this is dropped.
#[derive(Debug)]
pub(crate) struct Wanted<E: Engine> {
    pub(crate) key: Box<[u8]>,
    shared: Arc<Shared<E>>,
}

impl<E: Engine> Wanted<E> {
    /// From now on it is noticed if the key is changed here.
    pub(crate) fn begin(shared: &Arc<Shared<E>>, key: &[u8]) -> Self {
        shared.fetching.0.lock().entry(key.into()).or_default().askers += 1;
        Self { key: key.into(), shared: Arc::clone(shared) }
    }

    /// Has `take` keep what was found, unless the key was changed meanwhile. Until this returns it is not.
    pub(crate) fn unless_changed(&self, take: impl FnOnce()) {
        let all = self.shared.fetching.0.lock();
        if all.get(&self.key).is_some_and(|asking| !asking.changed) {
            take();
        }
    }
}

impl<E: Engine> Drop for Wanted<E> {
    fn drop(&mut self) {
        let mut all = self.shared.fetching.0.lock();
        let Some(asking) = all.get_mut(&self.key) else { return };
        asking.askers -= 1;
        if asking.askers == 0 {
            all.remove(&self.key);
        }
    }
}

impl Fetching {
    /// All items are about to be forgotten.
    pub(crate) fn change_all(&self) {
        self.0.lock().values_mut().for_each(|asking| asking.changed = true);
    }

    /// The key is about to be changed.
    pub(crate) fn change(&self, key: &[u8]) {
        if let Some(asking) = self.0.lock().get_mut(key) {
            asking.changed = true;
        }
    }
}

impl<E: Engine> Shared<E> {
    /// A key is about to be changed here: whoever else may have it is to forget it.
    pub(crate) fn will_change(&self, places: &Places, key: &[u8]) {
        for other in places.others(key) {
            self.hints.note(&other.name, key);
        }
        self.fetching.change(key);
    }

    /// Which keys of these commands this node lacks, though another may have them and the commands look.
    pub(crate) fn lacking(self: &Arc<Self>, body: &[u8]) -> Lacking<E> {
        let mut lacking = Lacking::<E>::default();
        if self.is_settled() {
            return lacking;
        }
        let (places, now) = (self.places(), (self.clock)());
        let commands = call::read(body).into_iter().flat_map(|(_, commands)| commands);
        for asked in commands.flatten() {
            if let Some((source, wanted)) = self.lacks(&places, &asked, now) {
                let of_source = lacking
                    .entry(Arc::clone(&source.name))
                    .or_insert_with(|| (Arc::clone(source), Vec::new()));
                of_source.1.push(wanted);
            }
        }
        lacking
    }

    /// Who may have what this command looks at, if this node has not.
    pub(crate) fn lacks<'p>(
        self: &Arc<Self>,
        places: &'p Places,
        asked: &Asked<'_>,
        now: Seconds,
    ) -> Option<(&'p Arc<Member>, Wanted<E>)> {
        if !is_for_the_item(&asked.op) {
            return None;
        }
        let source = places.source(asked.key)?;
        // Before it is looked for: whoever changes it says so first.
        let wanted = Wanted::begin(self, asked.key);
        let counts = !self.hints.has(&source.name, asked.key) && !self.has(asked.key, now);
        counts.then_some((source, wanted))
    }

    fn has(&self, key: &[u8], now: Seconds) -> bool {
        let mut has = false;
        self.engine.execute(key, &PEEK, now, |outcome| has = matches!(outcome, Outcome::Hit(_)));
        has
    }

    /// Asks for what this node lacks, and takes over what is found.
    pub(crate) async fn fetch(&self, lacking: Lacking<E>) {
        let asking = lacking.into_values().map(|(source, keys)| self.fetch_from(source, keys));
        futures_util::future::join_all(asking).await;
    }

    /// Asks a member for some of it.
    pub(crate) async fn fetch_from(&self, source: Arc<Member>, keys: Vec<Wanted<E>>) {
        let body = keys.iter().try_fold(call::begin(None), |body, wanted| {
            call::push(&Asked { key: &wanted.key, op: PEEK }, body)
        });
        // Whoever asked this node waits no longer than that for it.
        let deadline = Instant::now() + self.timeout / 2;
        let link = self.links.to(&source);
        let answer = link.call(call::COMMANDS, body.unwrap_or_default().into(), deadline).await;
        let now = (self.clock)();
        let outcomes =
            answer.ok().and_then(|body: Bytes| call::read_answer(&body, keys.len(), now));
        for (wanted, outcome) in keys.iter().zip(outcomes.into_iter().flatten()) {
            let Outcome::Hit(hit) = outcome else { continue };
            let item = Item { header: hit.before, value: hit.value };
            wanted.unless_changed(|| {
                let taken = self.engine.take_over(&wanted.key, &item, now);
                self.counters.fetched.add(u64::from(taken));
            });
        }
    }
}

/// Whether an operation is about the item that there is. To delete it here is enough where it is deleted
/// elsewhere too, and to set it as well.
fn is_for_the_item(op: &Op<'_>) -> bool {
    !matches!(op, Op::Delete(_) | Op::Store(Store { mode: Mode::Set, compare: None, .. }))
}

/// Looks at an item and leaves no trace.
const PEEK: Op<'static> = Op::Fetch(Fetch { bump: false, ..Fetch::GET });
