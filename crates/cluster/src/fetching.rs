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
pub(crate) type Lacking = HashMap<Arc<str>, (Arc<Member>, Vec<Box<[u8]>>)>;

impl Fetching {
    pub(crate) fn begin(&self, key: &[u8]) {
        self.0.lock().entry(key.into()).or_default().askers += 1;
    }

    /// The key is about to be changed.
    fn change(&self, key: &[u8]) {
        if let Some(asking) = self.0.lock().get_mut(key) {
            asking.changed = true;
        }
    }

    /// An asker has an answer, which counts only if nothing has changed. Until this returns nothing does.
    pub(crate) fn end(&self, key: &[u8], take: impl FnOnce()) {
        let mut all = self.0.lock();
        let Some(asking) = all.get_mut(key) else { return };
        asking.askers -= 1;
        let (last, changed) = (asking.askers == 0, asking.changed);
        if last {
            all.remove(key);
        }
        if !changed {
            take();
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
    pub(crate) fn lacking(&self, body: &[u8]) -> Lacking {
        let mut lacking = Lacking::default();
        if self.is_settled() {
            return lacking;
        }
        let (places, now) = (self.places(), (self.clock)());
        let commands = call::read(body).into_iter().flat_map(|(_, commands)| commands);
        for asked in commands.flatten() {
            if let Some(source) = self.lacks(&places, &asked, now) {
                let of_source = lacking
                    .entry(Arc::clone(&source.name))
                    .or_insert_with(|| (Arc::clone(source), Vec::new()));
                of_source.1.push(asked.key.into());
            }
        }
        lacking
    }

    /// Who may have what this command looks at, if this node has not.
    pub(crate) fn lacks<'p>(
        &self,
        places: &'p Places,
        asked: &Asked<'_>,
        now: Seconds,
    ) -> Option<&'p Arc<Member>> {
        if !is_for_the_item(&asked.op) {
            return None;
        }
        let source = places.source(asked.key)?;
        let counts = !self.hints.has(&source.name, asked.key) && !self.has(asked.key, now);
        counts.then_some(source)
    }

    fn has(&self, key: &[u8], now: Seconds) -> bool {
        let mut has = false;
        self.engine.execute(key, &PEEK, now, |outcome| has = matches!(outcome, Outcome::Hit(_)));
        has
    }

    /// Asks for what this node lacks, and takes over what is found.
    pub(crate) async fn fetch(&self, lacking: Lacking) {
        let asking = lacking.into_values().map(|(source, keys)| self.fetch_from(source, keys));
        futures_util::future::join_all(asking).await;
    }

    /// Asks a member for some of it.
    pub(crate) async fn fetch_from(&self, source: Arc<Member>, keys: Vec<Box<[u8]>>) {
        let body = keys
            .iter()
            .try_fold(call::begin(None), |body, key| call::push(&Asked { key, op: PEEK }, body));
        for key in &keys {
            self.fetching.begin(key);
        }
        let deadline = Instant::now() + self.timeout;
        let link = self.links.to(&source);
        let answer = link.call(call::COMMANDS, body.unwrap_or_default().into(), deadline).await;
        let now = (self.clock)();
        let outcomes =
            answer.ok().and_then(|body: Bytes| call::read_answer(&body, keys.len(), now));
        let mut outcomes = outcomes.into_iter().flatten();
        for key in &keys {
            let outcome = outcomes.next();
            self.fetching.end(key, || {
                if let Some(Outcome::Hit(hit)) = outcome {
                    let item = Item { header: hit.before, value: hit.value };
                    self.counters.fetched.add(u64::from(self.engine.take_over(key, &item, now)));
                }
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
