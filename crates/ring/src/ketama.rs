//! libmemcached's ketama: where points and keys are.
//!
//! Source: `update_continuum` in libmemcached's `hosts.cc`, with weighted ketama on; twemproxy's
//! `nc_ketama.c` computes the same.

use md5::{Digest, Md5};

/// Positions of every node's points, each with its node's index, in no order.
pub(crate) fn points(nodes: &[(&str, u32)]) -> Vec<(u32, u32)> {
    let total_weight: u64 = nodes.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let mut points = Vec::with_capacity(nodes.len() * DIGESTS_PER_NODE * 4);
    for ((name, weight), node) in nodes.iter().zip(0..) {
        for digest in 0..digest_count(*weight, total_weight, nodes.len()) {
            let hash = Md5::digest(format!("{name}-{digest}"));
            let (positions, _) = hash.as_chunks::<4>();
            points.extend(positions.iter().map(|bytes| (u32::from_le_bytes(*bytes), node)));
        }
    }
    points
}

/// Where a key is: the first four bytes of its MD5, the lowest first.
#[inline]
pub(crate) fn key_position(key: &[u8]) -> u32 {
    let hash = Md5::digest(key);
    let (positions, _) = hash.as_chunks::<4>();
    positions.first().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// How many digests, of four points each, a node gets: 40 times the number of nodes, shared by
/// weight and rounded down.
///
/// In single precision and in this order, because libmemcached's points depend on how that rounds:
/// with some numbers of equal nodes each has 39.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the result must be what C's float arithmetic gives"
)]
fn digest_count(weight: u32, total_weight: u64, nodes: usize) -> u32 {
    let share = weight as f32 / total_weight as f32;
    (share * (DIGESTS_PER_NODE * 4) as f32 / 4.0 * nodes as f32 + 1e-10).floor() as u32
}

/// Digests of a node that has its equal share: 160 points.
const DIGESTS_PER_NODE: usize = 40;
