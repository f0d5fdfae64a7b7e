//! The circle of the nodes' points.

use std::hash::{BuildHasher, Hash, Hasher};

use hashring::HashRing;

use crate::ketama;
#[cfg(doc)]
use crate::server::Server;

/// How many nodes [`Ring::candidates`] gives at most.
pub const MAX_CANDIDATES: usize = 8;

/// The nodes' points on a circle of 2^32 positions.
///
/// Nodes are known by their index, in the order given. Changing the nodes means a new ring; it
/// takes some 40 microseconds per node.
#[derive(Clone, Debug)]
pub struct Ring {
    points: HashRing<Point, Ketama>,
    /// For each point, `width` distinct nodes in the order of the circle from there on.
    candidates: Vec<u32>,
    width: usize,
    shares: Vec<f64>,
}

impl Ring {
    /// A ring of nodes, each a name and a weight.
    ///
    /// The name is the host alone at port 11211, else `host:port`:
    /// [`Server::ring_name`]. A node gets about 160 points times its
    /// share of the weight times the number of nodes, hence one with very little weight none.
    pub fn new<'n>(nodes: impl IntoIterator<Item = (&'n str, u32)>) -> Self {
        let nodes: Vec<_> = nodes.into_iter().collect();
        let mut points = ketama::points(&nodes);
        // Sorted by position, then node: where two nodes meet, the first one has the point.
        points.sort_unstable();
        points.dedup_by_key(|(position, _)| *position);

        let owners: Vec<u32> = points.iter().map(|(_, node)| *node).collect();
        let (candidates, width) = candidates(&owners);
        let shares = shares(&points, nodes.len());
        let mut ring = HashRing::with_hasher(Ketama);
        ring.batch_add(
            points
                .iter()
                .zip(0..)
                .map(|((position, _), index)| Point { position: *position, index })
                .collect(),
        );
        Self { points: ring, candidates, width, shares }
    }

    /// The node that owns `key`; `None` only if no node has a point.
    #[inline]
    pub fn owner(&self, key: &[u8]) -> Option<usize> {
        self.candidates(key).next()
    }

    /// Which part of all keys each node owns, from 0 to 1, by index.
    pub fn shares(&self) -> &[f64] {
        &self.shares
    }

    /// The nodes to try for `key`, in order: its owner, then distinct others around the circle,
    /// at most [`MAX_CANDIDATES`].
    #[inline]
    pub fn candidates(&self, key: &[u8]) -> impl Iterator<Item = usize> {
        let start = match self.width {
            // One node alone has all keys, wherever they are.
            0 | 1 => 0,
            width => self.points.get(&Key(key)).map_or(0, |point| point.index as usize * width),
        };
        let list = self.candidates.get(start..start + self.width).unwrap_or_default();
        list.iter().map(|node| *node as usize)
    }
}

/// Where a point is on the circle, and which one it is in the order of the circle.
#[derive(Clone, Copy, Debug)]
struct Point {
    position: u32,
    index: u32,
}

impl Hash for Point {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.position);
    }
}

/// A key to be placed.
struct Key<'k>(&'k [u8]);

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.0);
    }
}

/// Makes the hasher that puts points where ketama has computed them and keys where MD5 says.
#[derive(Clone, Copy, Debug)]
struct Ketama;

impl BuildHasher for Ketama {
    type Hasher = Position;

    fn build_hasher(&self) -> Position {
        Position(0)
    }
}

/// A position on the circle.
struct Position(u32);

impl Hasher for Position {
    fn write(&mut self, key: &[u8]) {
        self.0 = ketama::key_position(key);
    }

    fn write_u32(&mut self, position: u32) {
        self.0 = position;
    }

    fn finish(&self) -> u64 {
        self.0.into()
    }
}

/// Which part of the circle each of so many nodes owns: of each of its points, what lies between that and the
/// point before.
fn shares(points: &[(u32, u32)], nodes: usize) -> Vec<f64> {
    let mut shares = vec![0.0; nodes];
    let positions = points.iter().map(|(position, _)| *position);
    let before = positions.clone().next_back().into_iter().chain(positions);
    for ((position, node), before) in points.iter().zip(before) {
        // One point alone has all of it.
        let part = match position.wrapping_sub(before) {
            0 => 1.0,
            part => f64::from(part) / CIRCLE,
        };
        if let Some(share) = shares.get_mut(*node as usize) {
            *share += part;
        }
    }
    shares
}

/// All positions there are.
const CIRCLE: f64 = 4_294_967_296.0;

/// For each point its owner and the distinct owners that follow it, flat, and how many for each.
fn candidates(owners: &[u32]) -> (Vec<u32>, usize) {
    let mut distinct = owners.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let width = distinct.len().min(MAX_CANDIDATES);
    let mut flat = vec![0; owners.len() * width];
    if width == 0 {
        return (flat, width);
    }
    // Walking backwards, a point's list is its owner and then the next point's list without that
    // owner. The first round only finds what the last points' lists take from the first points.
    let mut list: Vec<u32> = Vec::with_capacity(width + 1);
    for _ in 0..2 {
        for (owner, slots) in owners.iter().zip(flat.chunks_exact_mut(width)).rev() {
            list.retain(|node| node != owner);
            list.insert(0, *owner);
            list.truncate(width);
            for (slot, node) in slots.iter_mut().zip(&list) {
                *slot = *node;
            }
        }
    }
    (flat, width)
}
