//! The engine on a runtime: its messages on links, its time by a clock.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use larder_peer::{Credentials, Link, PeerId, Refusal, Settings, Stats};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use super::engine::Engine;
use super::message::Malformed;
use super::output::{Notice, Output};
use super::{GOSSIP, KNOCK};
use crate::member::Member;
use crate::view::View;

/// How long gossip may take: what is later is news no more.
const GOSSIP_LIMIT: Duration = Duration::from_millis(500);

/// How long a seed may take to answer, with its name resolved and a connection made.
const KNOCK_LIMIT: Duration = Duration::from_secs(2);

/// How old a link that is not connected must be to be made anew when its other end was heard, first and
/// at most: twice as old each time, for some can be heard and not reached.
const REOPEN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_mins(1));

/// How often the log is told of what others may do as often as they like.
const COMPLAIN: Duration = Duration::from_mins(1);

/// How often links to who is forgotten are closed.
const CLOSE_LINKS: Duration = Duration::from_secs(10);

/// The engine on a runtime.
pub(super) struct Driver {
    engine: Mutex<Engine>,
    started: Instant,
    views: watch::Sender<Arc<View>>,
    settled: watch::Sender<bool>,
    /// The engine may be due earlier than it was.
    wake: Arc<Notify>,
    links: Mutex<Links>,
    credentials: Credentials,
    settings: Settings,
    runtime: Handle,
    /// When the log was told last that others speak nonsense, and what it was not told since.
    complained: Mutex<(Option<Instant>, u64)>,
}

/// By peer address.
#[derive(Default)]
struct Links {
    /// For gossip, and nothing else: no value may stand before a probe.
    members: HashMap<Arc<str>, Line>,
    /// To where this node knocks.
    seeds: HashMap<Arc<str>, Link>,
}

struct Line {
    link: Link,
    opened: Instant,
    /// How old it must be to be made anew.
    patience: Duration,
}

impl Driver {
    pub(super) fn start(
        me: Member,
        credentials: Credentials,
        seeds: &[String],
        settings: Settings,
    ) -> Arc<Self> {
        let engine = Engine::new(me, seeds, rand::random());
        let view = Arc::new(View::new(engine.version(), engine.members().to_vec()));
        let driver = Arc::new(Self {
            started: Instant::now(),
            views: watch::Sender::new(view),
            settled: watch::Sender::new(false),
            wake: Arc::default(),
            links: Mutex::default(),
            engine: Mutex::new(engine),
            credentials,
            settings,
            runtime: Handle::current(),
            complained: Mutex::default(),
        });
        tokio::spawn(keep_time(Arc::downgrade(&driver), Arc::clone(&driver.wake)));
        driver
    }

    pub(super) fn views(&self) -> &watch::Sender<Arc<View>> {
        &self.views
    }

    pub(super) fn settled(&self) -> &watch::Sender<bool> {
        &self.settled
    }

    /// Another node calls.
    pub(super) fn hear(
        self: &Arc<Self>,
        from: &PeerId,
        kind: u8,
        body: &[u8],
    ) -> Result<Bytes, Refusal> {
        let answer = match kind {
            KNOCK => self.engine.lock().knocked(body),
            GOSSIP => self.run(|engine, now| engine.hear(now, body)).map(|()| Some(Bytes::new())),
            _ => return Err(Refusal(format!("a call of kind {kind} says nothing about members"))),
        };
        match answer {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(Refusal("this node is of no cluster itself".to_owned())),
            Err(malformed) => {
                self.complain(from, &malformed);
                Err(Refusal(malformed.to_string()))
            }
        }
    }

    /// Has the engine do something, and does what it wants done.
    pub(super) fn run<R>(self: &Arc<Self>, act: impl FnOnce(&mut Engine, Duration) -> R) -> R {
        self.run_to_wait(act).0
    }

    /// Tells others that this node is gone, and is done when they have been told.
    pub(super) async fn leave(self: &Arc<Self>) {
        let ((), sent) = self.run_to_wait(Engine::leave);
        for call in sent {
            // It ends by its deadline.
            let _ = call.await;
        }
        *self.links.lock() = Links::default();
    }

    /// Is gone without a word.
    pub(super) fn vanish(self: &Arc<Self>) {
        self.run(|engine, _| engine.vanish());
        *self.links.lock() = Links::default();
    }

    /// What the link for gossip to that address has done.
    pub(super) fn link_stats(&self, address: &str) -> Option<Stats> {
        Some(self.links.lock().members.get(address)?.link.stats())
    }

    /// Likewise, with the messages that are on their way then.
    fn run_to_wait<R>(
        self: &Arc<Self>,
        act: impl FnOnce(&mut Engine, Duration) -> R,
    ) -> (R, Vec<JoinHandle<()>>) {
        let mut engine = self.engine.lock();
        let due = engine.next_due();
        let result = act(&mut engine, self.started.elapsed());
        // Before others have the engine, so that all is done in the order in which it was decided.
        let outputs = engine.take_outputs().into_iter();
        let sent = outputs.filter_map(|output| self.carry_out(output)).collect();
        if engine.next_due() < due {
            self.wake.notify_one();
        }
        (result, sent)
    }

    fn carry_out(self: &Arc<Self>, output: Output) -> Option<JoinHandle<()>> {
        match output {
            Output::Send { to, message } => return Some(self.send(&to, message)),
            Output::Knock { at, message } => self.knock(at, message),
            Output::Heard { from } => self.reopen(&from),
            Output::Publish { version, members } => {
                self.views.send_replace(Arc::new(View::new(version, members)));
            }
            Output::Settled(settled) => {
                self.settled.send_replace(settled);
            }
            Output::Tell(notice) => match notice {
                Notice::Displaced(_) => error!("{notice}"),
                Notice::Taken(_) | Notice::Lost(_) | Notice::Alone => {
                    warn!("{notice}");
                }
                _ => info!("{notice}"),
            },
        }
        None
    }

    fn send(&self, to: &Arc<str>, message: Bytes) -> JoinHandle<()> {
        let deadline = Instant::now() + GOSSIP_LIMIT;
        let mut links = self.links.lock();
        let line = links.members.entry(Arc::clone(to)).or_insert_with(|| self.open_line(to));
        let sent = line.link.call(GOSSIP, message, deadline);
        // Who probes takes note of what is not answered; nobody else has to.
        self.runtime.spawn(async move { drop(sent.await) })
    }

    fn knock(self: &Arc<Self>, at: Arc<str>, message: Bytes) {
        let deadline = Instant::now() + KNOCK_LIMIT;
        let mut links = self.links.lock();
        let link = links.seeds.entry(Arc::clone(&at)).or_insert_with(|| self.open(&at));
        let called = link.call(KNOCK, message, deadline);
        drop(links);
        let driver = Arc::clone(self);
        self.runtime.spawn(async move {
            let answer = called.await.map_err(|error| error.to_string());
            let answer = answer.as_deref().map_err(String::as_str);
            let again = driver.run(|engine, now| {
                engine.answered(now, &at, answer);
                engine.is_seed(&at)
            });
            // A link that cannot connect says so once a minute; a new one would again. One that does is
            // made anew, so that the name is resolved anew.
            if answer.is_ok() || !again {
                driver.links.lock().seeds.remove(&at);
            }
        });
    }

    /// Who is there can probably be reached: there is no point in waiting for the next attempt.
    fn reopen(&self, address: &str) {
        let mut links = self.links.lock();
        let Some(line) = links.members.get_mut(address) else { return };
        if line.link.stats().connected {
            line.patience = REOPEN.0;
        } else if line.opened.elapsed() > line.patience {
            let patience = (line.patience * 2).min(REOPEN.1);
            *line = Line { patience, ..self.open_line(address) };
        }
    }

    fn open_line(&self, address: &str) -> Line {
        Line { link: self.open(address), opened: Instant::now(), patience: REOPEN.0 }
    }

    fn open(&self, address: &str) -> Link {
        let _entered = self.runtime.enter();
        Link::open(address, None, self.credentials.clone(), self.settings.clone())
    }

    /// Closes links to who is forgotten.
    fn close_links(&self) {
        let engine = self.engine.lock();
        let known: HashSet<_> = engine.addresses().cloned().collect();
        drop(engine);
        self.links.lock().members.retain(|address, _| known.contains(address));
    }

    fn complain(&self, from: &PeerId, malformed: &Malformed) {
        let mut complained = self.complained.lock();
        let (last, untold) = &mut *complained;
        if last.is_some_and(|last| last.elapsed() < COMPLAIN) {
            *untold += 1;
            return;
        }
        warn!(untold = *untold, "{from}: {malformed}");
        *complained = (Some(Instant::now()), 0);
    }
}

/// Tells the engine when something is due, as long as there is one.
async fn keep_time(driver: Weak<Driver>, wake: Arc<Notify>) {
    let mut closed = Instant::now();
    while let Some(driver) = driver.upgrade() {
        driver.run(Engine::tick);
        if closed.elapsed() > CLOSE_LINKS {
            closed = Instant::now();
            driver.close_links();
        }
        let Some(due) = driver.engine.lock().next_due() else { return };
        let due = driver.started + due;
        drop(driver);
        tokio::select! {
            () = sleep_until(due) => {}
            () = wake.notified() => {}
        }
    }
}
