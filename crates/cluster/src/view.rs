//! Who is there, at one moment.

use std::sync::Arc;

use larder_ring::Ring;

use crate::member::Member;

/// Who is there, at one moment, and the ring that they make. Members are known by their index.
#[derive(Debug)]
pub struct View {
    /// Greater than that of any view this node had before: the second in which it came about, or one more
    /// than the last.
    pub version: u32,
    /// In the order of their names, those behind that leave. This node is among them.
    pub members: Vec<Arc<Member>>,
    ring: Ring,
}

impl View {
    /// The view of these members.
    pub fn new(version: u32, mut members: Vec<Arc<Member>>) -> Self {
        members.sort_by_cached_key(|member| (member.leaving, Arc::clone(&member.name)));
        let owners = members.iter().take_while(|member| !member.leaving);
        let ring = Ring::new(owners.map(|member| (&*member.name, member.weight)));
        Self { version, members, ring }
    }

    /// The member that owns `key`; `None` only if nobody takes any.
    #[inline]
    pub fn owner(&self, key: &[u8]) -> Option<usize> {
        self.ring.owner(key)
    }

    /// Which part of all keys the member at this place owns, from 0 to 1.
    pub fn share(&self, member: usize) -> f64 {
        self.ring.shares().get(member).copied().unwrap_or(0.0)
    }

    /// The members to try for `key`, in order: its owner, then others.
    #[inline]
    pub fn candidates(&self, key: &[u8]) -> impl Iterator<Item = usize> {
        self.ring.candidates(key)
    }
}

impl Default for View {
    /// That of nobody.
    fn default() -> Self {
        Self::new(0, Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, leaving: bool) -> Arc<Member> {
        Arc::new(Member {
            name: name.into(),
            run: 1,
            client_address: name.into(),
            peer_address: name.into(),
            weight: 1,
            zone: "".into(),
            leaving,
        })
    }

    #[test]
    fn who_leaves_owns_nothing_and_the_others_places_are_as_without_it() {
        let with = View::new(1, vec![member("b", true), member("c", false), member("a", false)]);
        let without = View::new(2, vec![member("a", false), member("c", false)]);
        let owner =
            |view: &View, key: &str| view.members[view.owner(key.as_bytes()).unwrap()].name.clone();
        for key in 0..1000 {
            let key = format!("key:{key}");
            assert_eq!(owner(&with, &key), owner(&without, &key));
        }
        assert_eq!(View::new(3, vec![member("b", true)]).owner(b"key"), None);
    }
}
