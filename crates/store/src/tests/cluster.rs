//! Stores that are the nodes of one cluster, in this process and by real connections.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use larder_consensus::{Log, Members};
use larder_peer::{Credentials, PeerId};
use larder_protocol::{Op, Outcome};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::basics::{NOW, put, small};
use super::block_on;
use super::faulty::{Faults, Held, faults};
use crate::directory::{Locked, Seat};
use crate::place::Place;
use crate::replica::Part;
use crate::{Error, Options, Secret, Session, Store};

/// The nodes of one cluster, from 1 on.
pub(super) struct Cluster {
    place: TempDir,
    addresses: BTreeMap<u64, String>,
    pub(super) stores: BTreeMap<u64, Store>,
    options: Box<dyn Fn(u64) -> Options>,
}

impl Cluster {
    /// With as many groups.
    pub(super) fn of(nodes: u64) -> Self {
        let groups = nodes.try_into().unwrap();
        Self::with(nodes, Options { groups, leader_within: Duration::from_secs(10), ..small() })
    }

    /// With one group, which one of them leads.
    pub(super) fn of_one_group(nodes: u64) -> Self {
        Self::with(nodes, Options { leader_within: Duration::from_secs(10), ..small() })
    }

    pub(super) fn with(nodes: u64, options: Options) -> Self {
        Self::with_each(nodes, move |_| options.clone())
    }

    /// With options for each node, of as many groups.
    pub(super) fn with_each(nodes: u64, options: impl Fn(u64) -> Options + 'static) -> Self {
        let options = Box::new(options);
        let listener = |node| (node, TcpListener::bind("127.0.0.1:0").unwrap());
        let listeners: BTreeMap<_, _> = (1..=nodes).map(listener).collect();
        let address =
            |(node, at): (&u64, &TcpListener)| (*node, at.local_addr().unwrap().to_string());
        let addresses = listeners.iter().map(address).collect();
        let (place, stores) = (TempDir::new().unwrap(), BTreeMap::new());
        let mut cluster = Self { place, addresses, stores, options };
        for (node, listener) in listeners {
            cluster.open_on(node, listener);
        }
        let all: BTreeSet<_> = (1..=nodes).collect();
        for group in 1..=u64::from(cluster.stores[&1].shared().ways.groups()) {
            // Each by another, which leads it then.
            let founder = (group - 1) % nodes + 1;
            for (node, store) in &cluster.stores {
                let seat = if *node == founder { Seat::Founded } else { Seat::Admitted };
                store.groups().host(group, seat).unwrap();
            }
            cluster.change_members(group, &all);
        }
        cluster
    }

    pub(super) fn path(&self, node: u64) -> PathBuf {
        self.place.path().join(node.to_string())
    }

    /// The place of a node in a cluster that is led by its test.
    fn place(
        &self,
        node: u64,
        listener: TcpListener,
    ) -> impl FnOnce(&Locked, &Runtime) -> Result<Option<Place>, Error> + use<> {
        let secret = Secret::new(b"0123456789abcdef").unwrap();
        let peer = PeerId { id: node, name: format!("db{node}").into() };
        let credentials = Credentials::new("tests", peer, secret).unwrap();
        let address = self.address(node);
        move |_, runtime| Place::of_node(credentials, node, address, listener, runtime).map(Some)
    }

    /// What all nodes know of who has replicas, unless told otherwise.
    fn seats(&self) -> impl Iterator<Item = (u64, Vec<(u64, String)>)> {
        let all: Vec<_> = self.addresses.clone().into_iter().collect();
        (1..=u64::from((self.options)(1).groups)).map(move |group| (group, all.clone()))
    }

    pub(super) fn address(&self, node: u64) -> String {
        self.addresses[&node].clone()
    }

    /// Gives these nodes a vote each in a group, and the others none.
    pub(super) fn change_members(&self, group: u64, voters: &BTreeSet<u64>) {
        eventually("the members are changed", || {
            let leader = &self.stores[&self.leader_of(group)];
            let replica = leader.groups().replica(group)?;
            leader.groups().runtime().block_on(async {
                let group = replica.group();
                let change = async |members| {
                    group.change_members(members, group.standing().members_as_of).await.ok()
                };
                for node in voters {
                    if replica.address(*node).is_none() {
                        change(Members::Admit(*node, self.address(*node))).await?;
                    }
                }
                change(Members::Voters(voters.clone())).await?;
                let dismissed = group.standing().learners;
                if dismissed.is_empty() {
                    Some(())
                } else {
                    change(Members::Dismiss(dismissed)).await
                }
            })
        });
    }

    fn open_on(&mut self, node: u64, listener: TcpListener) {
        let (place, options) = (self.place(node, listener), (self.options)(node));
        let opened =
            Store::open_on(&self.path(node), options, place, |lsm| Box::new(lsm), Log::open);
        self.take(node, opened.unwrap());
    }

    fn take(&mut self, node: u64, store: Store) {
        store.groups().guide().unwrap().place(self.seats());
        self.stores.insert(node, store);
    }

    fn bind(&self, node: u64) -> TcpListener {
        let address = &self.addresses[&node];
        eventually("its port is free", || TcpListener::bind(address).ok())
    }

    /// Opens a node again, where it was.
    pub(super) fn open(&mut self, node: u64) {
        self.open_on(node, self.bind(node));
    }

    /// Opens a node again, on an engine that does what it is told to do wrong.
    pub(super) fn open_faulty(&mut self, node: u64) -> Held {
        self.open_faulty_with(node, |_| {})
    }

    /// As that, of which something is told before it begins.
    pub(super) fn open_faulty_with(&mut self, node: u64, tell: impl FnOnce(&Faults)) -> Held {
        let (held, wrap) = faults();
        tell(&held);
        let (place, options) = (self.place(node, self.bind(node)), (self.options)(node));
        let opened = Store::open_on(&self.path(node), options, place, wrap, Log::open);
        self.take(node, opened.unwrap());
        held
    }

    /// Opens what is a node as if it were alone.
    pub(super) fn open_alone(&self, node: u64) -> Result<Store, Error> {
        Store::open(self.path(node), (self.options)(node))
    }

    /// Ends a node as others see one that was killed.
    pub(super) fn kill(&mut self, node: u64) {
        let mut store = self.stores.remove(&node).unwrap();
        store.cut_off();
    }

    pub(super) fn session(&self, node: u64) -> Session {
        self.stores[&node].session()
    }

    /// From now on nothing comes through between these nodes and the others.
    pub(super) fn cut(&self, apart: &[u64]) {
        for (node, store) in &self.stores {
            let others = self.addresses.keys();
            let there = others.filter(|other| apart.contains(other) != apart.contains(node));
            let nowhere = there.map(|other| (*other, "127.0.0.1:1".to_owned()));
            store.groups().peers().unwrap().locate(nowhere);
        }
    }

    /// From now on everything does.
    pub(super) fn mend(&self) {
        for store in self.stores.values() {
            store.groups().peers().unwrap().locate(self.addresses.clone());
        }
    }

    /// The node that leads the first group, once there is one.
    pub(super) fn leader(&self) -> u64 {
        self.leader_of(1)
    }

    /// The node that leads a group, once there is one.
    pub(super) fn leader_of(&self, group: u64) -> u64 {
        let leads = |store: &Store| matches!(store.groups().part(group), Part::Leads(_));
        eventually("one leads", || {
            let mut stores = self.stores.iter();
            stores.find(|(_, store)| leads(store)).map(|(node, _)| *node)
        })
    }
}

/// What `look` finds as soon as it does.
pub(super) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < PATIENCE, "not yet: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sets until that is acknowledged.
pub(super) fn set_at_last(session: &mut Session, key: &str, value: &str) {
    eventually("it is taken", || {
        let op = Op::Store(put(value.as_bytes()));
        match block_on(session.execute(key.as_bytes(), &op, NOW)) {
            Outcome::Stored { .. } => Some(()),
            Outcome::Failed(_) => None,
            other => panic!("{other:?}"),
        }
    });
}

/// For machines that do much else.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);
