//! What a node does of itself: it follows who is there, tells others what to forget, and gives up what is
//! another's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until, timeout};
use tracing::{info, warn};

use crate::call;
use crate::engine::Engine;
use crate::hints::Due;
use crate::member::{Member, Stage};
use crate::past::{News, Past, Unwitnessed};
use crate::shared::Shared;
use crate::view::View;

/// Follows who is there.
pub(crate) async fn follow<E: Engine>(
    shared: Arc<Shared<E>>,
    mut views: watch::Receiver<Arc<View>>,
) {
    let view = Arc::clone(&views.borrow_and_update());
    let mut now = Instant::now();
    let mut past = Past::new(Arc::clone(&shared.name), view, shared.warm_up, now);
    shared.set_places(past.places(now));
    // What is another's in a node that was started with items was put there before that other came.
    let mut sweeps: Vec<_> = (shared.engine.items() > 0).then(Instant::now).into_iter().collect();
    let mut sweeping = None;
    let mut asked: FuturesUnordered<_> = past
        .view()
        .members
        .iter()
        .filter(|member| member.name != shared.name)
        .map(|member| has_nothing(&shared, Arc::clone(member)))
        .collect();
    let mut doubts: Vec<(Instant, Unwitnessed)> = Vec::new();
    loop {
        // One that has to wait until this node owns its part waits for a view.
        let owns = past.view().is_owner(&shared.name);
        let sweeping_at = sweeps.iter().copied().filter(|at| owns || *at > now);
        let due = past.next_due(now).into_iter().chain(sweeping_at);
        let due = due.chain(doubts.iter().map(|(at, _)| *at)).min();
        let due = async {
            match due {
                Some(at) => sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = views.changed() => {
                if changed.is_err() {
                    return;
                }
                let view = Arc::clone(&views.borrow_and_update());
                let now = Instant::now();
                let News { came, returned, unwitnessed } = past.see(view, now);
                doubts.extend(unwitnessed.into_iter().map(|one| (now + DOUBT, one)));
                if came {
                    // Whoever has come asks here meanwhile.
                    sweeps.push(now + shared.warm_up + SLACK);
                }
                if returned {
                    sweeps.push(now);
                }
                if sweeping.as_ref().is_some_and(|sweep: &JoinHandle<()>| !sweep.is_finished()) {
                    // It ends, since it goes by what was.
                    sweeps.push(now);
                }
            }
            Some(name) = asked.next(), if !asked.is_empty() => {
                if let Some(name) = name {
                    past.has_nothing(&name);
                }
            }
            () = due => {}
        }
        now = Instant::now();
        for name in past.forget(now) {
            shared.hints.forgive(&name);
        }
        for (_, doubt) in doubts.extract_if(.., |(at, _)| *at <= now) {
            if past.is_unwitnessed(&doubt) {
                warn!(
                    "{} is back while others are gone that would know what it has to forget: it forgets all",
                    doubt.name
                );
                shared.hints.note_everything(&doubt.name);
            }
        }
        shared.set_places(past.places(now));
        // What follows goes by these.
        shared.links.keep(past.view());
        for name in shared.hints.names() {
            if past.view().members.iter().all(|member| member.name != name) {
                shared.hints.forget_told(&name);
            }
        }
        shared.hints.wake.notify_one();
        let is_due = sweeps.iter().any(|at| *at <= now);
        // A node that does not own its part yet, or not any more, would give up that too.
        if is_due && past.view().is_owner(&shared.name) {
            sweeps.retain(|at| *at > now);
            sweeping = Some(tokio::spawn(give_up(Arc::clone(&shared), Arc::clone(past.view()))));
        }
    }
}

/// The name of a member, if it says that it has no items.
async fn has_nothing<E: Engine>(shared: &Shared<E>, member: Arc<Member>) -> Option<Arc<str>> {
    let deadline = tokio::time::Instant::now() + ASK;
    let answer = shared.links.to(&member).call(call::ITEMS, Bytes::new(), deadline).await;
    (call::read_items(&answer.ok()?) == Some(0)).then(|| Arc::clone(&member.name))
}

/// Gives up items that are not this node's, a step at a time.
async fn give_up<E: Engine>(shared: Arc<Shared<E>>, view: Arc<View>) {
    let mut walk = shared.engine.walk();
    let mut dropped = 0;
    loop {
        let began = Instant::now();
        let keep = |key: &[u8]| {
            let keeps = view.owning(key).is_none_or(|owner| owner.name == shared.name);
            dropped += u64::from(!keeps);
            keeps
        };
        let more = shared.engine.drop_a_step(&mut walk, (shared.clock)(), keep);
        // By a later view it begins anew.
        if !more || !Arc::ptr_eq(&shared.places().view, &view) {
            break;
        }
        // At most a tenth of one processor.
        sleep((began.elapsed() * 9).max(Duration::from_millis(1))).await;
    }
    shared.counters.given_up.add(dropped);
    if dropped > 0 {
        info!(items = dropped, "gave up items that are others' now");
    }
}

/// Knows what the names of members stand for, as they come and now and then.
pub(crate) async fn resolve<E: Engine>(
    shared: Arc<Shared<E>>,
    mut views: watch::Receiver<Arc<View>>,
) {
    loop {
        let view = Arc::clone(&views.borrow_and_update());
        shared.resolved.refresh(&view).await;
        // No view follows once nobody is left to have one.
        if let Ok(Err(_)) = timeout(RESOLVE, views.changed()).await {
            return;
        }
    }
}

/// Tells others what they are to forget: each by itself, so that one that does not answer delays nobody else.
pub(crate) async fn deliver<E: Engine>(shared: Arc<Shared<E>>) {
    let mut telling = FuturesUnordered::new();
    let mut busy: Vec<Arc<str>> = Vec::new();
    loop {
        let view = Arc::clone(&shared.places().view);
        for name in shared.hints.names() {
            let member = view.members.iter().find(|member| member.name == name);
            if let Some(member) = member.filter(|member| !busy.contains(&member.name)) {
                busy.push(name);
                let (shared, member) = (Arc::clone(&shared), Arc::clone(member));
                telling.push(async move {
                    while tell(&shared, &member).await {}
                    // Who was not reached is tried again before long, and so is who has more by then.
                    sleep(AGAIN).await;
                    member
                });
            }
        }
        tokio::select! {
            () = shared.hints.wake.notified() => {}
            Some(member) = telling.next(), if !telling.is_empty() => {
                busy.retain(|name| *name != member.name);
            }
        }
    }
}

/// Tells a member some of what it is to forget; `false` if it was not told anything.
async fn tell<E: Engine>(shared: &Shared<E>, member: &Arc<Member>) -> bool {
    let Some(due) = shared.hints.due(&member.name) else { return false };
    let (kind, body) = match &due {
        Due::Everything(_) => (call::FORGET_ALL, Bytes::new()),
        Due::Keys(keys) => (call::FORGET, call::forget(keys.iter().map(|(key, _)| &**key))),
    };
    let deadline = tokio::time::Instant::now() + TELL;
    let told = shared.links.to(member).call(kind, body, deadline).await.is_ok();
    if told {
        shared.hints.settle(&member.name, &due, member.stage == Stage::Leaving);
        let keys = if let Due::Keys(keys) = &due { keys.len() } else { 0 };
        shared.counters.hinted.add(keys as u64);
    }
    told
}

/// How long what a name stands for is believed.
const RESOLVE: Duration = Duration::from_secs(30);

/// How long others have to say what they have.
const ASK: Duration = Duration::from_secs(10);

/// How long a member has to forget.
const TELL: Duration = Duration::from_secs(2);

/// After so long a member that was not reached is told again.
const AGAIN: Duration = Duration::from_millis(200);

/// How much later than the others think that they have asked for all they want, items are given up.
const SLACK: Duration = Duration::from_secs(10);

/// For so long witnesses may come back one after the other.
const DOUBT: Duration = Duration::from_secs(5);
