//! A store: its directory, its threads, and the handle to them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use larder_consensus::{Error as LogError, Log, Options as LogOptions, coming_mark};
use larder_peer::serve;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task;
use tracing::warn;

use crate::at_hand::AtHand;
use crate::caution::Caution;
use crate::cluster::{Archive, Cluster, Node, Opening, arrive};
use crate::confirmer::Confirmer;
use crate::directory::{Directory, Found, Locked, Seat};
use crate::error::Error;
use crate::groups::Groups;
use crate::hand::Hand;
use crate::health::{self, Health};
use crate::keeper::Keeper;
use crate::membership::{Membership, Peer};
use crate::options::Options;
use crate::place::{Place, alone, settings};
use crate::placement::{GroupId, Member, NodeId, PLACEMENT};
use crate::proposer::Proposer;
use crate::reader;
use crate::replica::Part;
use crate::service::Service;
use crate::session::Session;
use crate::shared::{Clock, Shared};
use crate::slots::SLOTS;
use crate::state::Kept;
use crate::stats::{Counters, GroupStats, Stats};
use crate::stop::Stop;
use crate::storage::{self, Buffered, Lsm, Rows, Storage};
use crate::watchdog::Watchdog;
use crate::ways::Ways;

/// A durable node's items. Dropping it waits until all it was given is durable.
///
/// What it has is let go in the order in which it stands here, once all threads have ended.
pub struct Store {
    shared: Arc<Shared>,
    /// Of a node alone, or one that may answer stale.
    at_hand: Option<Arc<AtHand>>,
    log: Arc<Log>,
    /// Where consensus waits for the log, for other nodes and for the clock.
    _runtime: Runtime,
    /// When these are gone the engine has let go of its files, and the log of its own.
    groups: Arc<Groups>,
    /// This node's part in a cluster, if it has one.
    cluster: Option<Arc<Cluster>>,
    /// How other nodes reach this one, if there are any.
    serving: Option<Serving>,
    stop: Arc<Stop>,
    confirmer: Option<JoinHandle<()>>,
    keeper: Option<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
    proposer: Option<task::JoinHandle<()>>,
    watchdog: Option<JoinHandle<()>>,
    stop_watchdog: Arc<Stop>,
}

/// The task that answers other nodes, and how it is ended.
struct Serving {
    stop: oneshot::Sender<()>,
    task: task::JoinHandle<()>,
}

/// What is open of a directory.
struct Opened<S> {
    storage: S,
    log: Log,
    /// The groups that there are replicas of, and what is kept of each.
    seats: BTreeMap<GroupId, Seat>,
    kept: BTreeMap<GroupId, Kept>,
}

impl Store {
    /// Opens the store in the directory `path`, or makes one if it is empty or not there. Waits for
    /// the disk: not for an async worker, which must not drop it either.
    ///
    /// # Errors
    ///
    /// The directory cannot be used, holds something else, is in use by another process, was
    /// written by another version, is damaged, holds less than is known to have been durable, has
    /// a log that is not its own, or has a copy beside it from an opening that did not end, which is
    /// not its own. A directory that is not a store is not changed, and the items of a store that is
    /// refused are afterwards what they were before, byte for byte, unless the log says that there
    /// was no room for a copy.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, Error> {
        Self::open_on(path.as_ref(), options, alone, |lsm| Box::new(lsm), Log::open)
    }

    /// As [`open`](Self::open), as a node of a cluster, which others reach by `listener`: each of its
    /// nodes answers for all. Returns when the node belongs to the cluster, so it may wait for others; who
    /// wants no longer to wait may let the process end. Waits for nobody if it belongs to it already.
    ///
    /// # Errors
    ///
    /// Besides those, the store is not that of this node, the cluster does not let it in, or it is there
    /// already and was to be founded.
    pub fn open_among(
        path: impl AsRef<Path>,
        options: Options,
        listener: std::net::TcpListener,
        node: Node,
    ) -> Result<Self, Error> {
        let among = |locked: &Locked, runtime: &Runtime| {
            if locked.is_store()? && Archive::new(locked.path()).read()?.is_none() {
                let detail = "the directory has a store that was opened alone: a node of a cluster \
                              begins with an empty one";
                return Err(Error::Member { detail: detail.to_owned() });
            }
            let charter = runtime.block_on(arrive(locked.path(), &node, &settings()))?;
            Place::of_charter(node, charter, listener, runtime).map(Some)
        };
        Self::open_on(path.as_ref(), options, among, |lsm| Box::new(lsm), Log::open)
    }

    /// As [`open`](Self::open) or [`open_among`](Self::open_among), with something between the threads
    /// and the storage, and another log.
    pub(crate) fn open_on(
        path: &Path,
        options: Options,
        place: impl FnOnce(&Locked, &Runtime) -> Result<Option<Place>, Error>,
        wrap: impl FnOnce(Buffered) -> Box<dyn Storage>,
        open_log: impl FnOnce(&Path, LogOptions) -> Result<Log, LogError>,
    ) -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("store-raft")
            .enable_all()
            .build()
            .map_err(Error::io("start the threads of", path))?;
        let locked = Locked::lock(path)?;
        let place = place(&locked, &runtime)?;
        let wanted = place.as_ref().and_then(Place::groups).unwrap_or(options.groups);
        let (directory, found) = locked.open(wanted.clamp(1, SLOTS))?;
        // Of several groups it is one sync for all of them that a thread of its own makes.
        let one_thread = place.is_none() && directory.groups() == 1;
        let open_log =
            |path: &Path, of: LogOptions| open_log(path, LogOptions { one_thread, ..of });
        let opened = match &found {
            Found::Store { seats, watermarks, .. } => {
                Self::open_found(&directory, seats, watermarks, &options, open_log)?
            }
            Found::Nothing => {
                drop(Lsm::open(&directory.data_new(), &options)?);
                // Who has others is told which groups it is to have.
                let groups = 1..=GroupId::from(directory.groups());
                let groups = groups.filter(|_| place.is_none());
                let seats = groups.map(|group| (group, Seat::Founded)).collect();
                directory.adopt(&seats)?;
                Self::open_files(&directory, &seats, &BTreeMap::new(), &options, open_log)?
            }
        };
        let Opened { storage, log, seats, kept } = opened;
        let rows = Arc::new(Rows::new(directory.groups(), options.row_bytes()));
        let (data, limit) = (directory.data(), options.backlog_bytes);
        let storage = Buffered::new(storage, Arc::clone(&rows), &data, limit)
            .map_err(Error::io("start the threads of", path))?;
        let opened = Opened { storage: wrap(storage), log, seats, kept };
        Self::start(directory, &found, opened, rows, options, place, runtime)
    }

    /// Opens what was in use before, and leaves it as it was if that fails.
    fn open_found(
        directory: &Directory,
        seats: &BTreeMap<GroupId, Seat>,
        watermarks: &BTreeMap<GroupId, u64>,
        options: &Options,
        open_log: impl FnOnce(&Path, LogOptions) -> Result<Log, LogError>,
    ) -> Result<Opened<Lsm>, Error> {
        let data = directory.data();
        let kept = directory.keep(|sorted| spare(&data, sorted, options));
        if let Err(error) = &kept {
            // A full disk above all, and then it is from here that it can be emptied.
            warn!("opened without a copy, what is damaged in it may be cut off: {error}");
            // Half a copy takes the room that the engine may need, and one that there is after all
            // would undo what is about to be acknowledged.
            directory.let_go()?;
        }
        let opened = Self::open_files(directory, seats, watermarks, options, open_log);
        if kept.is_ok() {
            match &opened {
                // Who has the engine's files open without our lock must not lose them.
                Ok(_) | Err(Error::InUse { .. }) => directory.let_go()?,
                Err(_) => {
                    if let Err(error) = directory.put_back() {
                        warn!("the next opening will put back the files as they were: {error}");
                    }
                }
            }
        }
        opened
    }

    /// Opens the engine, and the log only if nothing is missing of that.
    fn open_files(
        directory: &Directory,
        seats: &BTreeMap<GroupId, Seat>,
        watermarks: &BTreeMap<GroupId, u64>,
        options: &Options,
        open_log: impl FnOnce(&Path, LogOptions) -> Result<Log, LogError>,
    ) -> Result<Opened<Lsm>, Error> {
        let data = directory.data();
        let storage = Lsm::open(&data, options)?;
        let mut kept = BTreeMap::new();
        for group in seats.keys() {
            let of_group = storage.kept(*group)?;
            let sequence = of_group.state.sequence;
            // The engine takes the first senseless bytes of its journal for the end of it.
            if let Some(watermark) = watermarks.get(group).filter(|mark| sequence < **mark) {
                let detail = format!(
                    "group {group} ends at write {sequence}, but write {watermark} was durable"
                );
                return Err(Error::corrupt(&data, detail));
            }
            kept.insert(*group, of_group);
        }
        let path = directory.log();
        if kept.values().any(|kept| !kept.mark.is_empty()) && !path.exists() {
            // One that was made anew would be in the way of who wants to put it back.
            return Err(Error::corrupt(&path, "it is missing, but the store was in use"));
        }
        // They are half as much again, and are not to take what keeps the engine going.
        let needed = options.log_ready_bytes.saturating_mul(2);
        let spare = spare(&data, storage.usage().sorted_bytes(), options);
        let has_room = spare.is_some_and(|spare| spare > needed);
        let log_options = LogOptions {
            file_bytes: options.log_file_bytes,
            disk_bytes: options.log_bytes,
            ready_bytes: if has_room { options.log_ready_bytes } else { 0 },
            ..LogOptions::default()
        };
        let log = open_log(&path, log_options).map_err(Error::Log)?;
        for (group, Kept { mark, .. }) in &kept {
            let views = directory.views(*group)?;
            let mark = Some(&mark[..]).filter(|mark| !mark.is_empty());
            let coming = coming_mark(&views, mark);
            let coming = coming.map_err(Error::io("read the view in", &views))?;
            let mark = coming.as_deref().or(mark);
            log.group(*group).and_then(|log| log.fits(mark)).map_err(Error::Log)?;
        }
        Ok(Opened { storage, log, seats: seats.clone(), kept })
    }

    /// A session for a new connection.
    pub fn session(&self) -> Session {
        let Shared { ways, clock, .. } = &*self.shared;
        Session::new(Arc::clone(ways), Arc::clone(clock), self.at_hand.clone())
    }

    /// What it counts. Sizes are those of a moment ago: it does not ask the engine, and waits for
    /// nothing.
    pub fn stats(&self) -> Stats {
        let Shared { counters, ways, health, usage, .. } = &*self.shared;
        let groups: Vec<_> = self.group_stats().collect();
        let usage = *usage.lock();
        let (room, reserve) = health.space();
        let swept = counters.sweeps.value() > 0;
        let at_hand = self.at_hand.as_ref().map_or(0, |at_hand| at_hand.answers.value());
        Stats {
            condition: health.condition(),
            items: swept.then(|| counters.items.value()),
            item_bytes: swept.then(|| counters.item_bytes.value()),
            records: usage.records,
            disk_bytes: usage.disk_bytes,
            journal_bytes: usage.journal_bytes,
            reads: counters.reads.value() + at_hand,
            stale_reads: counters.stale_reads.value()
                + if ways.is_among_others() { at_hand } else { 0 },
            writes: counters.writes.value(),
            changes: counters.changes.value(),
            commits: counters.commits.value(),
            largest_batch: counters.largest_batch.value(),
            commit_micros: counters.commit_micros.value(),
            longest_commit_micros: counters.longest_commit_micros.value(),
            decide_micros: counters.decide_micros.value(),
            log: self.log.stats(),
            failures: counters.failures.value(),
            reclaimed: counters.reclaimed.value(),
            waiting_writes: ways.waiting_writes() as u64,
            waiting_reads: ways.reads.len() as u64,
            sequence: groups.iter().map(|group| group.sequence).sum(),
            groups,
            room,
            reserve,
        }
    }

    fn group_stats(&self) -> impl Iterator<Item = GroupStats> {
        self.shared.ways.partitions().iter().map(|partition| {
            let group = partition.group;
            let (reign, leads) = match self.groups.part(group) {
                Part::Leads(reign) => (Some(reign), true),
                Part::Follows(reign) => (Some(reign), false),
                Part::Waits | Part::Gone => (None, false),
            };
            GroupStats {
                group,
                leader: reign.map(|reign| reign.leader),
                term: reign.map(|reign| reign.term),
                leads,
                applied: self.groups.replica(group).and_then(|replica| replica.applied()),
                sequence: partition.published.state().sequence,
                staleness: partition.freshness.age(Instant::now()),
            }
        })
    }

    /// The cluster that this node belongs to; `None` if it is alone, or knows nothing of it yet. Waits for
    /// nothing.
    pub fn membership(&self) -> Option<Membership> {
        let cluster = self.cluster.as_ref()?;
        let placement = cluster.placement()?;
        let leaders: Vec<_> = self.group_stats().filter_map(|group| group.leader).collect();
        let peer = |(node, member): (&NodeId, &Member)| Peer {
            node: *node,
            address: member.peer_address.clone(),
            leads: leaders.iter().filter(|leader| *leader == node).count(),
            connected: cluster.is_connected(*node),
        };
        let nodes = placement.members().iter().map(peer).collect();
        let majority_within = self.shared.options.leader_within;
        Some(Membership { node: cluster.node(), nodes, majority_within })
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.groups.directory().path()
    }

    /// The directory of its log, which is in that.
    pub fn log_path(&self) -> PathBuf {
        self.groups.directory().log()
    }

    /// How it was opened.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// What poisoned it, or else what failed or hung last, for a log. It may be long ago.
    pub fn failure(&self) -> Option<Arc<Error>> {
        self.shared.health.failure()
    }

    /// Does what it was given, makes it durable, lets go of the directory. Sessions that are left
    /// answer that the store is closing.
    ///
    /// # Errors
    ///
    /// What poisoned it, if something did: some answers were then failures.
    pub fn close(mut self) -> Result<(), Arc<Error>> {
        self.end();
        match self.failure() {
            Some(error) if self.shared.health.is_poisoned() => Err(error),
            _ => Ok(()),
        }
    }

    /// Ends all ties to other nodes, as if this one were killed.
    #[cfg(test)]
    pub(crate) fn cut_off(&mut self) {
        self.serving.take().into_iter().for_each(|serving| serving.task.abort());
        if let Some(cluster) = self.cluster.take() {
            self.groups.runtime().block_on(cluster.stop());
        }
        self.groups.stop();
    }

    #[cfg(test)]
    pub(crate) fn groups(&self) -> &Arc<Groups> {
        &self.groups
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn start(
        directory: Directory,
        found: &Found,
        opened: Opened<Box<dyn Storage>>,
        rows: Arc<Rows>,
        options: Options,
        place: Option<Place>,
        runtime: Runtime,
    ) -> Result<Self, Error> {
        let path = directory.data();
        let directory = Arc::new(directory);
        let Opened { storage, log, seats, kept } = opened;
        let caution = match found {
            Found::Store { clock, doubt, .. } => Caution::new(*clock, *doubt),
            Found::Nothing => Caution::none(),
        };
        // A node alone has nothing older to answer.
        let stale_within = options.stale_reads.filter(|_| place.is_some());
        let ways = Arc::new(Ways::new(directory.groups(), place.is_some(), stale_within));
        if let Found::Store { watermarks, .. } = found {
            // What is noted next of one must not lose what was of another.
            for (group, sequence) in watermarks {
                if let Some(partition) = ways.partition(*group)
                    && seats.contains_key(group)
                {
                    partition.durable.store(*sequence, Ordering::Release);
                }
            }
        }
        let at_hand = place.is_none() || stale_within.is_some();
        let at_hand = at_hand.then(|| Arc::new(AtHand::new(rows, Arc::clone(&ways))));
        let shared = Arc::new(Shared {
            path: path.clone(),
            storage,
            ways,
            reading: (0..options.read_threads.max(1)).map(|_| Hand::new()).collect(),
            clock: Arc::new(Clock::new(options.clock)),
            health: Health::default(),
            counters: Counters::default(),
            usage: Mutex::default(),
            options,
        });
        let log = Arc::new(log);
        let (others, membership) = match place {
            None => (None, None),
            Some(Place { others, credentials, listener, node }) => {
                (Some(others), Some((credentials, listener, node)))
            }
        };
        let peers = others.as_ref().map(|others| Arc::clone(&others.peers));
        let (at, of) = (runtime.handle().clone(), Arc::clone(&directory));
        let groups = Groups::new(Arc::clone(&shared), Arc::clone(&log), of, others, at);
        let groups = Arc::new(groups);
        groups.open(&seats, kept)?;
        let mut cluster = None;
        let serving = match membership.zip(peers) {
            None => None,
            Some(((credentials, listener, node), peers)) => {
                let service = Arc::new(Service::new(Arc::clone(&groups), &shared));
                if let Some((node, charter)) = node {
                    let views = directory.views(PLACEMENT)?;
                    let opening = Opening {
                        directory: directory.path(),
                        views: &views,
                        node: &node,
                        charter,
                        log: log.group(PLACEMENT).map_err(Error::Log)?,
                        peers,
                        hosting: Arc::<Groups>::clone(&groups),
                    };
                    let opened = Arc::new(runtime.block_on(Cluster::open(opening))?);
                    service.take_part(&opened);
                    cluster = Some(opened);
                }
                let (stop, stopped) = oneshot::channel();
                // Told or gone.
                let stopped = async { drop(stopped.await) };
                let task = serve(listener, credentials, service, settings(), stopped);
                Some(Serving { stop, task: runtime.spawn(task) })
            }
        };
        let mut keeper = Keeper::new(
            Arc::clone(&shared),
            Arc::clone(&groups),
            directory,
            caution,
            cluster.clone(),
        );
        keeper.look();
        let mut store = Self {
            shared,
            at_hand,
            log,
            _runtime: runtime,
            groups,
            cluster,
            serving,
            stop: Arc::default(),
            confirmer: None,
            keeper: None,
            readers: Vec::new(),
            proposer: None,
            watchdog: None,
            stop_watchdog: Arc::default(),
        };
        store.spawn_all(keeper).map_err(Error::io("start the threads of", &path))?;
        Ok(store)
    }

    fn spawn_all(&mut self, keeper: Keeper) -> std::io::Result<()> {
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.to_owned()).spawn(run)
        };
        let shared = &self.shared;
        let limit = shared.options.hang_after;
        if !limit.is_zero() {
            let watchdog = Watchdog::new(Arc::clone(shared), limit);
            let stop = Arc::clone(&self.stop_watchdog);
            let run = move || watchdog.run(&stop);
            self.watchdog = Some(spawn("store-watchdog", Box::new(run))?);
        }
        for at in 0..shared.reading.len() {
            let shared = Arc::clone(shared);
            let run = move || {
                if let Some(hand) = shared.reading.get(at) {
                    reader::run(&shared, hand);
                }
            };
            self.readers.push(spawn("store-reader", Box::new(run))?);
        }
        if shared.is_among_others() {
            let confirmer = Confirmer::new(Arc::clone(shared), Arc::clone(&self.groups));
            self.confirmer = Some(spawn("store-confirmer", Box::new(move || confirmer.run()))?);
        }
        let proposer = Proposer::new(Arc::clone(shared), Arc::clone(&self.groups)).run();
        let runtime = self.groups.runtime().clone();
        self.proposer = Some(if shared.is_among_others() {
            // It may wait for the disk, and consensus for nothing.
            let waiting = runtime.clone();
            runtime.spawn_blocking(move || waiting.block_on(proposer))
        } else {
            runtime.spawn(proposer)
        });
        let stop = Arc::clone(&self.stop);
        self.keeper = Some(spawn("store-keeper", Box::new(move || keeper.run(&stop)))?);
        Ok(())
    }

    /// Readers first: what waits behind a read is still proposed. Other nodes are told what became of
    /// what they forwarded. Then the keeper: it has all made durable and notes so, and holds the lock.
    /// The watchdog last: any of them may hang.
    fn end(&mut self) {
        let runtime = self.groups.runtime().clone();
        if let Some(cluster) = &self.cluster
            && self.proposer.is_some()
        {
            // Whoever takes over is found sooner than by missing this one.
            runtime.block_on(cluster.leave(LEAVE));
        }
        // Those who gave it wait for this node.
        self.groups.replicas().iter().for_each(|replica| replica.group().abandon_view());
        self.at_hand.iter().for_each(|at_hand| at_hand.close());
        let partitions = self.shared.ways.partitions();
        for partition in partitions {
            partition.asked.close();
        }
        self.confirmer.take().into_iter().for_each(join);
        self.shared.ways.reads.close();
        self.readers.drain(..).for_each(join);
        for partition in partitions {
            partition.proposals.close();
        }
        if let Some(proposer) = self.proposer.take() {
            // It has panicked, if anything.
            let _ = runtime.block_on(proposer);
        }
        if let Some(Serving { stop, task }) = self.serving.take() {
            drop(stop);
            // It has panicked, if anything.
            let _ = self.groups.runtime().block_on(task);
        }
        self.stop.stop();
        self.keeper.take().into_iter().for_each(join);
        if let Some(cluster) = self.cluster.take() {
            self.groups.runtime().block_on(cluster.stop());
        }
        self.groups.stop();
        self.stop_watchdog.stop();
        self.watchdog.take().into_iter().for_each(join);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("condition", &self.shared.health.condition())
            .finish_non_exhaustive()
    }
}

/// Bytes that are free beyond what must stay so, with sorted files of so many, if the volume tells.
fn spare(data: &Path, sorted_bytes: u64, options: &Options) -> Option<u64> {
    let reserve = health::reserve(sorted_bytes, options);
    storage::room(data).ok().map(|room| room.saturating_sub(reserve))
}

/// How long a node that stops may take until others lead what it leads.
const LEAVE: Duration = Duration::from_secs(3);

/// A thread that panicked has dropped its tickets, which tells those who wait.
fn join(thread: JoinHandle<()>) {
    let _ = thread.join();
}
