//! This node's part in the cluster.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use larder_peer::{BadCredentials, Credentials, PeerId, Secret};
use larder_protocol::Seconds;
use larder_ring::Server;
use larder_server::{Discovery, Endpoint};
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::counters::Counters;
use crate::courier::MAX_BYTES;
use crate::engine::Engine;
use crate::fetching::Fetching;
use crate::hints::Hints;
use crate::keeper;
use crate::links::Links;
use crate::member::{Member, Stage};
use crate::membership::{Membership, MembershipSettings};
use crate::near::Near;
use crate::places::Places;
use crate::report;
use crate::resolved::Resolved;
use crate::service::{ANSWER_BYTES, Service};
use crate::shared::Shared;
use crate::worker::Worker;

/// What a node is told of its cluster.
#[derive(Debug)]
pub struct Settings {
    /// The name that all its nodes give it.
    pub cluster: String,
    /// What all its nodes know and nobody else does.
    pub secret: Secret,
    /// Where it may be found, `host:port` of other nodes' peer addresses.
    pub seeds: Vec<String>,
    /// How long another node may take to answer before another stands in for it.
    pub timeout: Duration,
    /// For how many seconds what is stored at a stand-in lives: 1 to 2,592,000.
    pub gutter: Seconds,
    /// How long it asks others, once it has come, for items that were theirs and are its now.
    pub warm_up: Duration,
    /// How long copies of others' hot keys are served here, from when they were asked for; zero: there are none.
    pub hot_ttl: Duration,
    /// How often a second a worker is asked for a key that is hot.
    pub hot_rate: f64,
    /// The longest value, in bytes.
    pub max_value: usize,
    /// Threads that answer other nodes.
    pub threads: usize,
    /// Tells the time.
    pub clock: fn() -> Seconds,
}

/// This node's part in the cluster: it answers the others, and knows who they are.
#[derive(Debug)]
pub struct Cluster<E> {
    shared: Arc<Shared<E>>,
    membership: Arc<Membership>,
    stop: watch::Sender<bool>,
    /// Until it is stopped.
    runtime: Mutex<Option<Runtime>>,
}

impl<E: Engine> Cluster<E> {
    /// Takes part, as `me`, and answers on `listener`. Returns once this node is of the cluster, or knows
    /// that nobody is there yet.
    ///
    /// # Errors
    ///
    /// A name is empty or too long, or no thread or event queue could be had from the system.
    pub fn start(
        listener: TcpListener,
        me: Member,
        engine: Arc<E>,
        settings: Settings,
    ) -> Result<Arc<Self>, StartError> {
        let id = PeerId { id: me.run, name: Arc::clone(&me.name) };
        // A store of a cluster of the same name and secret must not take it for one of its own.
        let cluster = format!("{} (caches)", settings.cluster);
        let credentials = Credentials::new(&cluster, id, settings.secret)?;
        let longest = settings.max_value.saturating_add(ROOM_BYTES);
        let defaults = larder_peer::Settings::default();
        let link = larder_peer::Settings {
            max_body: longest.max(defaults.max_body),
            // What a courier has taken is not refused after all.
            max_bytes: MAX_BYTES.saturating_add(longest),
            ..defaults.clone()
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(settings.threads.max(1))
            .thread_name("peers")
            .enable_all()
            .build()?;
        listener.set_nonblocking(true)?;
        let (stop, mut stopped) = watch::channel(false);
        let entered = runtime.enter();
        let shared = Arc::new(Shared {
            engine,
            name: Arc::clone(&me.name),
            credentials: credentials.clone(),
            link: link.clone(),
            timeout: settings.timeout,
            gutter: settings.gutter,
            clock: settings.clock,
            counters: Counters::default(),
            places: Mutex::new(Arc::new(Places::alone(&me.name))),
            settled: AtomicU64::default(),
            warm_up: settings.warm_up,
            hints: Hints::default(),
            fetching: Fetching::default(),
            near: Arc::new(Near::new(settings.hot_ttl, settings.hot_rate)),
            resolved: Resolved::default(),
            links: Links::new(credentials.clone(), link.clone()),
            told: Mutex::default(),
        });
        let seeds = MembershipSettings { seeds: settings.seeds, links: defaults.clone() };
        let membership = Membership::start(me, credentials.clone(), seeds);
        let service = Arc::new(Service::new(Arc::clone(&shared), Arc::clone(&membership)));
        let listener = tokio::net::TcpListener::from_std(listener)?;
        runtime.spawn(larder_peer::serve(listener, credentials, service, link, async move {
            // Who would stop it is gone: that is as good.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }));
        runtime.block_on(membership.joined());
        let coming = Arc::clone(&membership);
        runtime.spawn(async move {
            if coming.view().members.len() > 1 {
                sleep(SPREAD).await;
            }
            coming.begin_serving();
        });
        runtime.spawn(keeper::follow(Arc::clone(&shared), membership.views()));
        runtime.spawn(keeper::deliver(Arc::clone(&shared)));
        runtime.spawn(keeper::resolve(Arc::clone(&shared), membership.views()));
        drop(entered);
        Ok(Arc::new(Self { shared, membership, stop, runtime: Mutex::new(Some(runtime)) }))
    }

    /// What carries out commands on keys of this node.
    pub fn engine(&self) -> &E {
        &self.shared.engine
    }

    /// `stats cluster`.
    pub(crate) fn report(&self, emit: &mut dyn FnMut(&str, &str)) {
        let Shared { counters, hints, near, .. } = &*self.shared;
        report::tell(&self.membership, counters, hints, near, emit);
    }

    /// The nodes that clients may ask.
    pub(crate) fn discovery(&self) -> Discovery {
        let view = self.membership.view();
        let endpoint = |member: &Arc<Member>| {
            // Nobody is a member with another kind of address.
            let Server { host, port, .. } = member.client_address.parse().ok()?;
            let ip = self.shared.resolved.get(&member.client_address);
            Some(Endpoint { host, ip, port })
        };
        let nodes = view.to_be_asked().filter_map(endpoint).collect();
        Discovery { version: view.version, nodes }
    }

    /// Counters begin again at 0.
    pub(crate) fn reset_stats(&self) {
        self.shared.counters.reset();
    }

    /// What the thread that calls this has of the cluster.
    pub(crate) fn worker(&self) -> Arc<Worker<E>> {
        Worker::start(Arc::clone(&self.shared), self.membership.views())
    }

    /// Tells the others that this node is about to go, waits until they go to its successors with its keys, and
    /// hands over its items to these, for some seconds at most.
    pub async fn retire(&self) {
        self.membership.begin_leaving();
        let view = self.membership.view();
        let is_other = |member: &&Arc<Member>| {
            member.name != self.shared.name && member.stage == Stage::Serving
        };
        if view.members.iter().any(|member| is_other(&member)) {
            sleep(SPREAD).await;
            let until = tokio::time::Instant::now() + HAND_OVER;
            self.shared.hand_over(&self.membership.view(), until).await;
        }
    }

    /// Tells the others that this node goes, and ends.
    pub fn stop(&self) {
        let Some(runtime) = self.runtime.lock().take() else { return };
        runtime.block_on(self.membership.leave());
        // It fails if nobody listens any more.
        let _ = self.stop.send(true);
        runtime.shutdown_timeout(Duration::from_secs(1));
    }
}

/// Why a node cannot take part.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// It cannot say who it is.
    Credentials(BadCredentials),
    /// The system has not what it takes.
    System(io::Error),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Credentials(error) => error.fmt(f),
            Self::System(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

impl From<BadCredentials> for StartError {
    fn from(error: BadCredentials) -> Self {
        Self::Credentials(error)
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// How long it takes at most until all members know what is new: a few rounds of gossip.
const SPREAD: Duration = Duration::from_secs(1);

/// For so long a node that goes hands over items: who waits for it to stop has patience for a while.
const HAND_OVER: Duration = Duration::from_secs(5);

/// Of a call, besides the longest value: the answers before it, and what belongs to them.
const ROOM_BYTES: usize = ANSWER_BYTES + (1 << 20);
