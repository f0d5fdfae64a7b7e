//! Nodes of a cluster in one process, each with a directory and real links.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use larder_consensus::{
    Committed, Group, Log, Machine, Options, Peers, Place, Reception, Transport, View,
};
use larder_peer::{Credentials, Handler, PeerId, Refusal, Secret, Settings, serve};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, block_in_place};
use tokio::time::{sleep, timeout};

use crate::cluster::{
    Admin, CLUSTER, Cluster, ClusterStatus, Entrance, Hosted, Hosting, LogSize, Node, Opening,
    Trouble, arrive,
};
use crate::error::Error;
use crate::placement::{GroupId, NodeId, PLACEMENT, Placement};

/// Nodes of a cluster, by name.
pub(super) struct Rig {
    place: TempDir,
    pub(super) secret: Secret,
    pub(super) nodes: BTreeMap<String, Running>,
}

/// A node that runs.
pub(super) struct Running {
    pub(super) cluster: Arc<Cluster>,
    pub(super) shelf: Arc<Shelf>,
    pub(super) address: String,
    log: Log,
    serving: JoinHandle<()>,
}

/// The groups of a node, each with a log of its own, which keep lists in memory.
pub(super) struct Shelf {
    node: NodeId,
    address: String,
    directory: PathBuf,
    peers: Arc<Peers>,
    reception: Arc<Reception>,
    runtime: Handle,
    groups: Mutex<BTreeMap<GroupId, Held>>,
    placed: Mutex<Option<Placement>>,
    /// What it says is wrong with its disk.
    pub(super) trouble: Mutex<Option<Trouble>>,
}

struct Held {
    group: Arc<Group>,
    list: List,
    log: Log,
}

/// All entries that are not empty.
#[derive(Clone, Default)]
struct List(Arc<Mutex<(Option<Bytes>, Vec<Bytes>)>>);

struct Listing(Bytes, std::vec::IntoIter<Bytes>);

struct Front {
    reception: Arc<Reception>,
    cluster: OnceLock<Arc<Cluster>>,
}

impl Rig {
    /// A cluster of one node, "db1", and so many groups beside group 0.
    pub(super) async fn founded(groups: usize) -> Self {
        let secret = Secret::new(b"known to these nodes").unwrap();
        let mut rig = Self { place: TempDir::new().unwrap(), secret, nodes: BTreeMap::new() };
        let found = Entrance::Found { groups, replicas: 3, unless: Vec::new() };
        rig.start("db1", found).await.unwrap();
        rig.wait(0).await;
        rig
    }

    /// One of several nodes.
    pub(super) async fn of(nodes: usize, groups: usize) -> Self {
        let mut rig = Self::founded(groups).await;
        for node in 2..=nodes {
            rig.join(&format!("db{node}")).await;
        }
        let all = |status: &ClusterStatus| {
            status.holds && status.groups.iter().all(|group| group.voters.len() == nodes.min(3))
        };
        rig.until(all).await;
        rig
    }

    pub(super) async fn join(&mut self, name: &str) {
        self.start(name, self.to_join()).await.unwrap();
        let name = name.to_owned();
        self.until(|status| status.nodes.iter().any(|node| node.name == name && node.answers))
            .await;
    }

    pub(super) fn to_join(&self) -> Entrance {
        Entrance::Join(self.addresses())
    }

    pub(super) async fn restart(&mut self, name: &str) {
        // How it comes in does not matter any more.
        self.start(name, Entrance::Join(Vec::new())).await.unwrap();
    }

    pub(super) async fn start(&mut self, name: &str, entrance: Entrance) -> Result<(), Error> {
        let directory = self.directory(name);
        fs::create_dir_all(directory.join("views")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let node = self.node(name, &address, entrance);
        let charter = timeout(PATIENCE, arrive(&directory, &node, &settings())).await.unwrap()?;
        let number = charter.admission.unwrap().node;
        let peer = PeerId { id: number, name: name.into() };
        let credentials = Credentials::new("test", peer, self.secret.clone()).unwrap();
        let peers = Arc::new(Peers::new(credentials.clone(), settings()));
        let reception = Arc::new(Reception::default());
        let groups = Arc::new(Shelf {
            node: number,
            address: address.clone(),
            directory: directory.join("groups"),
            peers: Arc::clone(&peers),
            reception: Arc::clone(&reception),
            runtime: Handle::current(),
            groups: Mutex::default(),
            placed: Mutex::default(),
            trouble: Mutex::default(),
        });
        block_in_place(|| groups.reopen());
        let log = block_in_place(|| Log::open(&directory.join("log"), Options::default())).unwrap();
        let front = Arc::new(Front { reception, cluster: OnceLock::new() });
        let opening = Opening {
            directory: &directory,
            views: &directory.join("views"),
            node: &node,
            charter,
            log: log.group(PLACEMENT).unwrap(),
            peers,
            hosting: Arc::<Shelf>::clone(&groups),
        };
        let cluster = Arc::new(Cluster::open(opening).await?);
        front.reception.add(PLACEMENT, cluster.group());
        let _ = front.cluster.set(Arc::clone(&cluster));
        let never = std::future::pending();
        let serving = tokio::spawn(serve(listener, credentials, front, settings(), never));
        let running = Running { cluster, shelf: groups, address, log, serving };
        self.nodes.insert(name.to_owned(), running);
        Ok(())
    }

    /// Ends a node at once: it tells nobody.
    pub(super) async fn stop(&mut self, name: &str) {
        let Running { cluster, shelf, log, serving, .. } = self.nodes.remove(name).unwrap();
        serving.abort();
        let _ = serving.await;
        cluster.stop().await;
        drop(cluster);
        let groups = std::mem::take(&mut *shelf.groups.lock());
        for held in groups.into_values() {
            held.end().await;
        }
        block_in_place(|| log.close());
    }

    pub(super) fn directory(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub(super) fn erase(&self, name: &str) {
        fs::remove_dir_all(self.directory(name)).unwrap();
    }

    pub(super) fn node(&self, name: &str, address: &str, entrance: Entrance) -> Node {
        Node {
            cluster: "test".to_owned(),
            secret: self.secret.clone(),
            name: name.to_owned(),
            zone: String::new(),
            peer_address: address.to_owned(),
            client_address: "127.0.0.1:11211".to_owned(),
            entrance,
        }
    }

    pub(super) fn addresses(&self) -> Vec<String> {
        self.nodes.values().map(|node| node.address.clone()).collect()
    }

    pub(super) fn admin(&self) -> Admin {
        Admin::connect("test", &self.secret, &self.addresses()).unwrap()
    }

    /// Waits until all is as it is to be.
    pub(super) async fn wait(&self, version: u64) -> ClusterStatus {
        let mut last = String::new();
        let admin = self.admin();
        let waited = timeout(PATIENCE, admin.wait(version, |now| last = format!("{now:#?}"))).await;
        waited.unwrap_or_else(|_| panic!("it does not hold: {last}")).unwrap()
    }

    pub(super) async fn until(&self, is_so: impl Fn(&ClusterStatus) -> bool) -> ClusterStatus {
        let (admin, begun) = (self.admin(), Instant::now());
        loop {
            let status = admin.status().await;
            if let Ok(status) = &status
                && is_so(status)
            {
                return status.clone();
            }
            assert!(begun.elapsed() < PATIENCE, "it is not so: {status:#?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// The node that leads group 0.
    pub(super) async fn leader_of_placement(&self) -> String {
        let status = self.until(|status| status.groups[0].leader.is_some()).await;
        let leader = status.groups[0].leader;
        status.nodes.into_iter().find(|node| Some(node.node) == leader).unwrap().name
    }

    /// Has each group take an entry.
    pub(super) async fn write_all(&self, entry: &str) {
        let groups = self.until(|_| true).await.groups.len() as u64;
        for group in 1..groups {
            let begun = Instant::now();
            while !self.write(group, entry).await {
                assert!(begun.elapsed() < PATIENCE, "group {group} takes nothing");
                sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Whether some node led the group and got a majority.
    async fn write(&self, group: GroupId, entry: &str) -> bool {
        for node in self.nodes.values() {
            let Some(group) = node.shelf.group(group) else { continue };
            let Some(reign) = group.reign().filter(|reign| reign.leader == group.node()) else {
                continue;
            };
            let entry = Bytes::copy_from_slice(entry.as_bytes());
            let Ok(done) = group.propose(entry, reign).await else { continue };
            if matches!(timeout(Duration::from_secs(2), done).await, Ok(Ok(()))) {
                return true;
            }
        }
        false
    }

    /// Waits until each replica of each group has these entries in this order; some may be there twice,
    /// one after the other.
    pub(super) async fn assert_all_have(&self, entries: &[&str]) {
        let has = |list: &List| {
            let mut list: Vec<_> = list.0.lock().1.clone();
            list.dedup();
            list == entries
        };
        eventually("all replicas have all", || {
            self.nodes
                .values()
                .all(|node| node.shelf.groups.lock().values().all(|held| has(&held.list)))
        })
        .await;
        let replicas: usize = self.nodes.values().map(|node| node.shelf.groups.lock().len()).sum();
        assert!(replicas > 0);
    }
}

impl Shelf {
    pub(super) fn hosted(&self) -> BTreeSet<GroupId> {
        self.groups.lock().keys().copied().collect()
    }

    pub(super) fn placed(&self) -> Option<Placement> {
        self.placed.lock().clone()
    }

    fn group(&self, number: GroupId) -> Option<Arc<Group>> {
        self.groups.lock().get(&number).map(|held| Arc::clone(&held.group))
    }

    fn place(&self, group: GroupId) -> PathBuf {
        self.directory.join(group.to_string())
    }

    /// What it had before a restart.
    fn reopen(&self) {
        let Ok(groups) = fs::read_dir(&self.directory) else { return };
        for group in groups {
            let group = group.unwrap().file_name().to_str().unwrap().parse().unwrap();
            self.host(group, Hosted::Admitted).unwrap();
        }
    }
}

impl Hosting for Shelf {
    fn host(&self, group: GroupId, how: Hosted) -> Result<(), Error> {
        let mut groups = self.groups.lock();
        if groups.contains_key(&group) {
            return Ok(());
        }
        let directory = self.place(group);
        fs::create_dir_all(directory.join("views")).unwrap();
        let log = Log::open(&directory.join("log"), Options::default()).unwrap();
        let list = List::default();
        let place = Place { group, node: self.node, directory: &directory.join("views") };
        let transport: Arc<dyn Transport> = Arc::<Peers>::clone(&self.peers);
        let opened = Group::open(place, log.group(group).unwrap(), list.clone(), transport);
        let opened = Arc::new(self.runtime.block_on(opened).unwrap());
        match how {
            Hosted::Founded => {
                let members = BTreeMap::from([(self.node, self.address.clone())]);
                self.runtime.block_on(opened.found(members)).unwrap();
            }
            Hosted::Admitted => opened.abstain_while_empty(),
        }
        self.reception.add(group, Arc::clone(&opened));
        groups.insert(group, Held { group: opened, list, log });
        Ok(())
    }

    fn give_up(&self, group: GroupId) -> Result<(), Error> {
        self.reception.remove(group);
        if let Some(held) = self.groups.lock().remove(&group) {
            self.runtime.block_on(held.end());
            fs::remove_dir_all(self.place(group)).unwrap();
        }
        Ok(())
    }

    fn groups(&self) -> Vec<(GroupId, Arc<Group>)> {
        let groups = self.groups.lock();
        groups.iter().map(|(number, held)| (*number, Arc::clone(&held.group))).collect()
    }

    fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().clone()
    }

    fn log(&self) -> LogSize {
        LogSize::default()
    }

    fn placed(&self, placement: &Placement) {
        *self.placed.lock() = Some(placement.clone());
    }
}

impl Held {
    async fn end(self) {
        let _ = self.group.stop().await;
        drop(self.group);
        block_in_place(|| self.log.close());
    }
}

impl Machine for List {
    fn mark(&mut self) -> io::Result<Option<Bytes>> {
        Ok(self.0.lock().0.clone())
    }

    fn apply(&mut self, committed: Vec<Committed>) -> io::Result<()> {
        let mut list = self.0.lock();
        for Committed { entry, mark } in committed {
            list.0 = Some(mark);
            list.1.extend(Some(entry).filter(|entry| !entry.is_empty()));
        }
        Ok(())
    }

    fn persist(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn view(&mut self) -> io::Result<Box<dyn View>> {
        let (mark, entries) = self.0.lock().clone();
        Ok(Box::new(Listing(mark.unwrap(), entries.into_iter())))
    }

    /// No log here forgets anything, so that nobody has to become a view.
    fn install(&mut self, _: &mut dyn View) -> io::Result<()> {
        Err(io::Error::other("the log has all"))
    }
}

impl View for Listing {
    fn mark(&self) -> Bytes {
        self.0.clone()
    }

    fn next_part(&mut self) -> io::Result<Option<Bytes>> {
        Ok(self.1.next())
    }
}

impl Handler for Front {
    fn handle(
        self: Arc<Self>,
        peer: PeerId,
        kind: u8,
        body: Bytes,
    ) -> impl Future<Output = Result<Bytes, Refusal>> + Send + 'static {
        // What is about replication keeps its order.
        let answer = if kind == CLUSTER {
            Ok(self.cluster.get().unwrap().answer(&peer, &body))
        } else {
            Err(Arc::clone(&self.reception).handle(peer, kind, body))
        };
        async move {
            match answer {
                Ok(answer) => answer.await,
                Err(answer) => answer.await,
            }
        }
    }
}

pub(super) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not in time");
        sleep(Duration::from_millis(20)).await;
    }
}

pub(super) fn settings() -> Settings {
    let backoff = (Duration::from_millis(20), Duration::from_millis(200));
    Settings { backoff, ..Settings::default() }
}

pub(super) const PATIENCE: Duration = Duration::from_mins(1);
