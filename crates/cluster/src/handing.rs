//! Items that a node hands over before it goes.

use std::sync::Arc;
use std::time::Duration;

use ahash::HashMap;
use bytes::Bytes;
use larder_protocol::{Hit, Item, Outcome};
use tokio::time::Instant;
use tracing::info;

use crate::call::{self, Handed};
use crate::engine::Engine;
use crate::fetching::Wanted;
use crate::member::Member;
use crate::shared::Shared;
use crate::view::View;

impl<E: Engine> Shared<E> {
    /// Hands over items to whom they belong by `view`, the hottest first, until all are or time is up.
    pub(crate) async fn hand_over(&self, view: &View, until: Instant) {
        let (began, mut items) = (Instant::now(), 0);
        let before = view.as_if_serving(|member| member.name == self.name, &[]);
        let mut silent: Vec<usize> = Vec::new();
        let mut walk = self.engine.hand_over((self.clock)());
        let mut batches: HashMap<usize, Handed> = HashMap::default();
        let mut more = true;
        while more && Instant::now() < until {
            let now = (self.clock)();
            more = self.engine.hand_over_a_step(&mut walk, now, |key, item| {
                // What is another's was not told of what changed.
                if before.owning(key).is_none_or(|owner| owner.name != self.name) {
                    return;
                }
                let Some(place) = view.owner(key) else { return };
                let batch = batches.entry(place).or_insert_with(|| Handed::new(now));
                let Item { header, value } = item;
                let exptime = header.exptime;
                let hit = Hit { before: header, exptime, created: false, won: false, value };
                batch.push(key, &Outcome::Hit(hit));
                items += 1;
            });
            let is_due = |_: &usize, batch: &mut Handed| !more || batch.len() > BATCH_BYTES;
            let due: Vec<_> = batches.extract_if(is_due).collect();
            let due = due.into_iter().filter(|(place, _)| !silent.contains(place));
            let sending = due.filter_map(|(place, batch)| {
                let member = view.members.get(place)?;
                Some(async move { (place, self.hand(member, batch.into()).await) })
            });
            let sent = futures_util::future::join_all(sending).await;
            silent.extend(sent.iter().filter(|(_, taken)| !taken).map(|(place, _)| *place));
            // Clients are still served here.
            tokio::task::yield_now().await;
        }
        let seconds = began.elapsed().as_secs_f32();
        info!(
            items,
            all = !more,
            "handed over items to who has them from now on, in {seconds:.1} s"
        );
    }

    /// Whether a member has taken these items. It does without the rest if not.
    async fn hand(&self, member: &Arc<Member>, body: Bytes) -> bool {
        self.links.to(member).call(call::HAND, body, Instant::now() + PATIENCE).await.is_ok()
    }

    /// Takes items that the member of that name hands over. What was changed here meanwhile it does not know of.
    pub(crate) fn take(self: &Arc<Self>, from: &str, body: &Bytes) -> Option<Bytes> {
        let now = (self.clock)();
        let mut taken = 0;
        for (key, outcome) in call::read_handed(body, now)? {
            let Outcome::Hit(hit) = outcome else { continue };
            // Who changes it says so first, to one or the other.
            let wanted = Wanted::begin(self, &key);
            if self.hints.has(from, &key) {
                continue;
            }
            let item = Item { header: hit.before, value: hit.value };
            wanted.unless_changed(|| {
                taken += u64::from(self.engine.take_over(&key, &item, now));
            });
        }
        self.counters.fetched.add(taken);
        Some(Bytes::new())
    }
}

/// Items go so many bytes at a time.
const BATCH_BYTES: usize = 256 << 10;

/// How long a member may take for some items.
const PATIENCE: Duration = Duration::from_secs(1);
