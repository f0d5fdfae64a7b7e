//! Groups of replicas in one process, whose wires can be cut.

mod handing;
mod views;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use larder_peer::{Credentials, PeerId, Secret, Settings, serve};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::group::{Group, Members, Place, Reign, Unproposed};
use crate::log::{Log, Options};
use crate::machine::{Committed, Machine, View};
use crate::network::{Answer, Kind, Transport};
use crate::peers::{Peers, Reception};

/// Keeps all entries that are not empty, in memory, and in a file what was persisted.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    mark: Option<Bytes>,
    entries: Vec<Bytes>,
    durable: Option<PathBuf>,
    viewed: usize,
    begun: usize,
    installed: usize,
    /// Whoever has it keeps views from being installed.
    gate: Arc<tokio::sync::Mutex<()>>,
}

impl Ledger {
    /// What is in a file, or nothing.
    fn at(path: &Path) -> Self {
        let read = fs::read(path).ok();
        let kept = read.map(|bytes| postcard::from_bytes::<(Bytes, Vec<Bytes>)>(&bytes).unwrap());
        let (mark, entries) = kept.map_or((None, Vec::new()), |(mark, kept)| (Some(mark), kept));
        let durable = Some(path.to_owned());
        Self(Arc::new(Mutex::new(Kept { mark, entries, durable, ..Kept::default() })))
    }

    fn entries(&self) -> Vec<Bytes> {
        self.0.lock().entries.clone()
    }
}

impl Machine for Ledger {
    fn mark(&mut self) -> io::Result<Option<Bytes>> {
        Ok(self.0.lock().mark.clone())
    }

    fn apply(&mut self, committed: Vec<Committed>) -> io::Result<()> {
        let mut kept = self.0.lock();
        for Committed { entry, mark } in committed {
            kept.mark = Some(mark);
            kept.entries.extend(Some(entry).filter(|entry| !entry.is_empty()));
        }
        Ok(())
    }

    fn persist(&mut self) -> io::Result<()> {
        let kept = self.0.lock();
        let (Some(path), Some(mark)) = (&kept.durable, &kept.mark) else { return Ok(()) };
        fs::write(path, postcard::to_stdvec(&(mark, &kept.entries)).unwrap())
    }

    fn view(&mut self) -> io::Result<Box<dyn View>> {
        let mut kept = self.0.lock();
        kept.viewed += 1;
        let mark = kept.mark.clone().unwrap();
        Ok(Box::new(Listing { mark, entries: kept.entries.clone().into_iter() }))
    }

    fn install(&mut self, view: &mut dyn View) -> io::Result<()> {
        let gate = {
            let mut kept = self.0.lock();
            kept.begun += 1;
            Arc::clone(&kept.gate)
        };
        while gate.try_lock().is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut entries = Vec::new();
        while let Some(part) = view.next_part()? {
            entries.push(part);
        }
        let mut kept = self.0.lock();
        (kept.mark, kept.entries) = (Some(view.mark()), entries);
        kept.installed += 1;
        drop(kept);
        self.persist()
    }
}

struct Listing {
    mark: Bytes,
    entries: std::vec::IntoIter<Bytes>,
}

impl View for Listing {
    fn mark(&self) -> Bytes {
        self.mark.clone()
    }

    fn next_part(&mut self) -> io::Result<Option<Bytes>> {
        Ok(self.entries.next())
    }
}

/// Wires between the nodes of one process.
#[derive(Default)]
struct Wires {
    groups: Mutex<HashMap<u64, Arc<Group>>>,
    /// From whom to whom nothing comes through.
    cut: Mutex<HashSet<(u64, u64)>>,
    /// How long a part of a view takes.
    slowness: Mutex<Duration>,
    /// Whose entries come through to nobody.
    mute: Mutex<Option<u64>>,
    /// How many times a node was told to take over.
    told: AtomicUsize,
}

/// One node's end of them.
struct End {
    node: u64,
    wires: Arc<Wires>,
}

impl Transport for End {
    fn call(&self, node: u64, _: &str, kind: Kind, body: Bytes, limit: Duration) -> Answer {
        let mute = kind == Kind::Append && *self.wires.mute.lock() == Some(self.node);
        let cut = mute || self.wires.cut.lock().contains(&(self.node, node));
        if kind == Kind::TakeOver {
            self.wires.told.fetch_add(1, Ordering::Relaxed);
        }
        let group = self.wires.groups.lock().get(&node).cloned();
        let Some(group) = group.filter(|_| !cut) else {
            return Box::pin(async { Err(io::ErrorKind::HostUnreachable.into()) });
        };
        let answer = group.receive(self.node, kind, body.slice(8..));
        let (wires, from) = (Arc::clone(&self.wires), self.node);
        let slowness = if kind == Kind::Part { *wires.slowness.lock() } else { Duration::ZERO };
        Box::pin(async move {
            let late = async {
                tokio::time::sleep(slowness).await;
                answer.await
            };
            // The way back may be cut alone.
            let cut = async {
                while !wires.cut.lock().contains(&(node, from)) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::select! {
                biased;
                () = cut => Err(io::ErrorKind::HostUnreachable.into()),
                answer = tokio::time::timeout(limit, late) => answer?,
            }
        })
    }
}

/// Replicas of group 1 on nodes from 1 on.
struct Cluster {
    place: TempDir,
    wires: Arc<Wires>,
    nodes: BTreeMap<u64, Node>,
    options: Options,
}

struct Node {
    group: Arc<Group>,
    ledger: Ledger,
    log: Log,
}

impl Cluster {
    async fn of(nodes: u64) -> Self {
        Self::with(nodes, Options::default()).await
    }

    async fn with(nodes: u64, options: Options) -> Self {
        let place = TempDir::new().unwrap();
        let mut cluster = Self { place, wires: Arc::default(), nodes: BTreeMap::new(), options };
        for node in 1..=nodes {
            cluster.start(node).await;
        }
        let members = (1..=nodes).map(|node| (node, String::new())).collect();
        cluster.nodes[&1].group.found(members).await.unwrap();
        cluster
    }

    async fn start(&mut self, node: u64) {
        let directory = self.place.path().join(node.to_string());
        fs::create_dir_all(directory.join("group")).unwrap();
        let log = Log::open(&directory.join("log"), self.options.clone()).unwrap();
        let ledger = Ledger::at(&directory.join("ledger"));
        let place = Place { group: 1, node, directory: &directory.join("group") };
        let transport = Arc::new(End { node, wires: Arc::clone(&self.wires) });
        let group = log.group(1).unwrap();
        let group = Group::open(place, group, ledger.clone(), transport).await.unwrap();
        let group = Arc::new(group);
        self.wires.groups.lock().insert(node, Arc::clone(&group));
        self.nodes.insert(node, Node { group, ledger, log });
    }

    async fn stop(&mut self, node: u64) {
        self.wires.groups.lock().remove(&node);
        let Node { group, log, .. } = self.nodes.remove(&node).unwrap();
        group.stop().await.unwrap();
        drop(group);
        log.close();
    }

    fn cut_off(&self, node: u64) {
        let mut cut = self.wires.cut.lock();
        cut.extend(self.nodes.keys().flat_map(|other| [(node, *other), (*other, node)]));
    }

    /// A node that leads and can confirm it.
    async fn leader(&self) -> u64 {
        let patience = Instant::now();
        loop {
            for (number, node) in &self.nodes {
                if node.group.confirm().await.is_ok() {
                    return *number;
                }
            }
            assert!(patience.elapsed() < PATIENCE, "nobody leads");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Another than this one that leads and can confirm it.
    async fn leader_after(&self, led: u64) -> u64 {
        let patience = Instant::now();
        loop {
            let leader = self.leader().await;
            if leader != led {
                return leader;
            }
            assert!(patience.elapsed() < PATIENCE, "no other leads");
        }
    }

    /// Waits until all nodes have these entries.
    async fn agree_on(&self, entries: &[Bytes]) {
        let agree = || self.nodes.values().all(|node| node.ledger.entries() == entries);
        until("they agree", agree).await;
    }
}

fn entries(from: u32, to: u32) -> Vec<Bytes> {
    (from..to).map(|number| Bytes::copy_from_slice(&number.to_le_bytes())).collect()
}

async fn propose_all(group: &Group, entries: &[Bytes]) {
    for entry in entries {
        propose(group, entry.clone()).await.unwrap();
    }
}

async fn propose(group: &Group, entry: Bytes) -> Result<(), Unproposed> {
    let reign = group.reign().ok_or(Unproposed::NotLeader(None))?;
    group.propose(entry, reign).await?.await
}

async fn change(group: &Group, change: Members) -> io::Result<()> {
    group.change_members(change, group.standing().members_as_of).await
}

#[tokio::test]
async fn one_node_alone_repeats_what_its_machine_forgot() {
    for one_thread in [false, true] {
        let mut cluster = Cluster::with(1, Options { one_thread, ..Options::default() }).await;
        let all = entries(0, 60);
        assert_eq!(cluster.leader().await, 1);
        propose_all(&cluster.nodes[&1].group, &all[..50]).await;
        assert_eq!(cluster.nodes[&1].ledger.entries(), all[..50]);
        for persists in [false, true] {
            if persists {
                cluster.nodes[&1].group.forget_history(0, None).await.unwrap();
            }
            cluster.stop(1).await;
            cluster.start(1).await;
            cluster.leader().await;
        }
        propose_all(&cluster.nodes[&1].group, &all[50..]).await;
        cluster.agree_on(&all).await;
    }
}

#[tokio::test]
async fn another_takes_over_and_who_was_cut_off_catches_up() {
    let cluster = Cluster::of(3).await;
    let all = entries(0, 60);
    let first = cluster.leader().await;
    propose_all(&cluster.nodes[&first].group, &all[..30]).await;
    cluster.cut_off(first);
    // It still takes what it cannot get a majority for.
    let reign = cluster.nodes[&first].group.reign().unwrap();
    let lost = Bytes::from_static(b"lost");
    let lost = cluster.nodes[&first].group.propose(lost, reign).await.unwrap();
    let lost = tokio::spawn(lost);
    let second = cluster.leader_after(first).await;
    propose_all(&cluster.nodes[&second].group, &all[30..]).await;
    cluster.wires.cut.lock().clear();
    cluster.agree_on(&all).await;
    assert_eq!(lost.await.unwrap(), Err(Unproposed::NotLeader(Some(second))));
    let told = propose(&cluster.nodes[&first].group, Bytes::from_static(b"no")).await;
    assert_eq!(told, Err(Unproposed::NotLeader(Some(second))));
    // What was meant for another reign of the same node is not taken.
    let group = &cluster.nodes[&second].group;
    let earlier = Reign { term: reign.term, leader: second };
    let told = group.propose(Bytes::from_static(b"no"), earlier).await.unwrap().await;
    assert_eq!(told, Err(Unproposed::NotLeader(Some(second))));
}

#[tokio::test]
async fn who_has_done_the_read_index_lacks_nothing_that_was_acknowledged_before() {
    let cluster = Cluster::of(3).await;
    let all = entries(0, 200);
    let first = cluster.leader().await;
    let group = &cluster.nodes[&first].group;
    let others = cluster.nodes.iter().filter(|(node, _)| **node != first);
    let others: Vec<_> = others.map(|(_, node)| node).collect();
    let mut index = 0;
    for (number, entry) in all.iter().enumerate() {
        propose(group, entry.clone()).await.unwrap();
        index = group.read_index().await.unwrap();
        for other in &others {
            assert!(other.group.reach(index, PATIENCE).await);
            assert_eq!(other.ledger.entries(), all[..=number]);
            assert_eq!(other.group.read_index().await, Err(Unproposed::NotLeader(Some(first))));
        }
    }
    assert!(!others[0].group.reach(index + 1, Duration::ZERO).await, "there is none yet");
    // It leads as far as it knows, and nobody says so.
    cluster.cut_off(first);
    assert_eq!(group.leader(), Some(first));
    group.read_index().await.unwrap_err();
}

#[tokio::test]
async fn who_led_and_is_back_at_once_confirms_nothing_before_it_has_all() {
    let mut cluster = Cluster::of(3).await;
    for round in 0..3 {
        let led = cluster.leader().await;
        let group = &cluster.nodes[&led].group;
        let (term, all) = (group.reign().unwrap().term, entries(0, (round + 1) * 20));
        propose_all(group, &all[all.len() - 20..]).await;
        cluster.stop(led).await;
        cluster.start(led).await;
        let Node { group, ledger, .. } = &cluster.nodes[&led];
        let patience = Instant::now();
        while group.reign().is_none_or(|reign| reign.term == term) {
            if group.confirm().await.is_ok() {
                assert_eq!(ledger.entries(), all);
            }
            assert_ne!(group.reign(), Some(Reign { leader: led, term }), "it leads on");
            assert!(patience.elapsed() < PATIENCE, "nobody leads");
            tokio::task::yield_now().await;
        }
        cluster.agree_on(&all).await;
    }
}

#[tokio::test]
async fn replicas_agree_over_the_network() {
    let place = TempDir::new().unwrap();
    let credentials = |id: u64| {
        let secret = Secret::new(b"known to these three").unwrap();
        let peer = PeerId { id, name: format!("node-{id}").into() };
        Credentials::new("test", peer, secret).unwrap()
    };
    let (mut nodes, mut members) = (Vec::new(), BTreeMap::new());
    for id in 1..=3 {
        let directory = place.path().join(id.to_string());
        fs::create_dir_all(directory.join("group")).unwrap();
        let log = Log::open(&directory.join("log"), Options::default()).unwrap();
        let ledger = Ledger::at(&directory.join("ledger"));
        let place = Place { group: 7, node: id, directory: &directory.join("group") };
        let peers = Arc::new(Peers::new(credentials(id), Settings::default()));
        let group = log.group(7).unwrap();
        let group = Group::open(place, group, ledger.clone(), peers).await.unwrap();
        let group = Arc::new(group);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        members.insert(id, listener.local_addr().unwrap().to_string());
        let reception = Arc::new(Reception::default());
        reception.add(7, Arc::clone(&group));
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async { drop(stopped.await) };
        let serving = serve(listener, credentials(id), reception, Settings::default(), stopped);
        nodes.push((group, ledger, log, stop, tokio::spawn(serving)));
    }
    nodes[0].0.found(members).await.unwrap();
    let patience = Instant::now();
    let leader = loop {
        let leads = nodes.iter().position(|(group, ..)| group.leader() == Some(group.node()));
        if let Some(leader) = leads
            && nodes[leader].0.confirm().await.is_ok()
        {
            break leader;
        }
        assert!(patience.elapsed() < PATIENCE, "nobody leads");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    // All are on their way at once, and keep their order.
    let all = entries(0, 500);
    let mut proposed = Vec::new();
    for entry in &all {
        let reign = nodes[leader].0.reign().unwrap();
        proposed.push(nodes[leader].0.propose(entry.clone(), reign).await.unwrap());
    }
    for proposed in proposed {
        proposed.await.unwrap();
    }
    while nodes.iter().any(|(_, ledger, ..)| ledger.entries() != all) {
        assert!(patience.elapsed() < PATIENCE, "they do not agree");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for (group, _, log, stop, serving) in nodes {
        group.stop().await.unwrap();
        drop(group);
        drop(stop);
        serving.await.unwrap();
        log.close();
    }
}

#[tokio::test]
async fn members_change_only_if_they_are_those_that_were_seen() {
    let mut cluster = Cluster::of(1).await;
    cluster.leader().await;
    let first = Arc::clone(&cluster.nodes[&1].group);
    for joins in [2, 3] {
        cluster.start(joins).await;
        change(&first, Members::Admit(joins, String::new())).await.unwrap();
    }
    let seen = first.standing();
    assert_eq!((seen.voters.as_slice(), seen.is_settled), (&[[1].into()][..], true));
    assert_eq!(seen.learners, [2, 3].into());
    change(&first, Members::Voters([1, 2, 3].into())).await.unwrap();
    let late = Members::Dismiss([2].into());
    first.change_members(late, seen.members_as_of).await.unwrap_err();
    let late = Members::Voters([1].into());
    first.change_members(late, seen.members_as_of).await.unwrap_err();
    let now = first.standing();
    assert_eq!((now.voters.as_slice(), now.learners.len()), (&[[1, 2, 3].into()][..], 0));
    first.hand_over(2, PATIENCE).await.unwrap();
    let second = Arc::clone(&cluster.nodes[&2].group);
    // Who has just come to lead has yet to hear from a majority.
    let patience = Instant::now();
    while let Err(why) = change(&second, Members::Voters([2, 3].into())).await {
        assert!(patience.elapsed() < PATIENCE, "{why}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(second.standing().has(1) && !second.standing().has_vote(1));
    change(&second, Members::Dismiss([1].into())).await.unwrap();
    assert!(!second.standing().has(1));
}

#[tokio::test]
async fn who_has_nothing_of_the_history_gives_no_vote() {
    let mut cluster = Cluster::of(3).await;
    let first = cluster.leader().await;
    let all = entries(0, 10);
    propose_all(&cluster.nodes[&first].group, &all).await;
    cluster.agree_on(&all).await;
    // One is lost with all it had and comes back with nothing, another is gone: there is no majority.
    let [emptied, gone] = [first % 3 + 1, (first + 1) % 3 + 1];
    for node in [emptied, gone, first] {
        cluster.stop(node).await;
    }
    fs::remove_dir_all(cluster.place.path().join(emptied.to_string())).unwrap();
    cluster.start(emptied).await;
    cluster.nodes[&emptied].group.abstain_while_empty();
    let request = ballot(first, &cluster, emptied).await;
    assert!(request.unwrap_err().to_string().contains("gives no vote"));
    // What it is given by a majority it may count on.
    cluster.start(first).await;
    cluster.start(gone).await;
    cluster.agree_on(&all).await;
    ballot(first, &cluster, emptied).await.unwrap();
}

#[tokio::test]
async fn who_has_stopped_says_so_to_whom_asks_and_asks_its_own_for_nothing() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let stopped = (1..=3).find(|node| *node != leader).unwrap();
    let group = &cluster.nodes[&stopped].group;
    group.stop().await.unwrap();
    let why = ballot(9, &cluster, stopped).await.unwrap_err().to_string();
    assert_eq!(why, "it takes part no longer");
    for kind in [Kind::Append, Kind::PreVote] {
        let why = group.receive(leader, kind, Bytes::new()).await.unwrap_err().to_string();
        assert_eq!(why, "it takes part no longer");
    }
    assert_eq!(group.persist().await.unwrap_err().to_string(), "it has stopped here");
    assert_eq!((group.reign(), group.standing().leader), (None, None));
    let group = &cluster.nodes[&cluster.leader().await].group;
    propose_all(group, &entries(0, 5)).await;
}

/// Asks `voter` for a vote in a term long past.
async fn ballot(candidate: u64, cluster: &Cluster, voter: u64) -> io::Result<Bytes> {
    let vote = crate::types::Vote::new(0, candidate);
    let request = openraft::raft::VoteRequest::<crate::types::Types>::new(vote, None);
    let request = postcard::to_stdvec(&request).unwrap();
    cluster.nodes[&voter].group.receive(candidate, Kind::Vote, request.into()).await
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let patience = Instant::now();
    while !is_so() {
        assert!(patience.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
