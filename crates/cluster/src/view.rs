//! Who is there, at one moment.

use std::sync::Arc;

use larder_ring::Ring;

use crate::member::{Member, Stage};

/// Who is there, at one moment, and the ring that they make. Members are known by their index.
#[derive(Debug)]
pub struct View {
    /// Greater than that of any view this node had before: the second in which it came about, or one more
    /// than the last.
    pub version: u32,
    /// In the order of their names, those behind that own nothing. This node is among them.
    pub members: Vec<Arc<Member>>,
    /// How many of the members own keys, or would if they had weight.
    owners: usize,
    ring: Ring,
}

impl View {
    /// The view of these members.
    pub fn new(version: u32, mut members: Vec<Arc<Member>>) -> Self {
        let are_any = |stage| members.iter().any(|member: &Arc<Member>| member.stage == stage);
        // Somebody has to: where all have come just now, these do.
        let owning = if are_any(Stage::Serving) { Stage::Serving } else { Stage::Coming };
        members.sort_by_cached_key(|member| (member.stage != owning, Arc::clone(&member.name)));
        let owners = members.partition_point(|member| member.stage == owning);
        let serving = members.iter().take(owners);
        let ring = Ring::new(serving.map(|member| (&*member.name, member.weight)));
        Self { version, members, owners, ring }
    }

    /// The members that clients are to ask: those that own keys; all if none does.
    pub(crate) fn to_be_asked(&self) -> impl Iterator<Item = &Arc<Member>> {
        let count = if self.owners == 0 { self.members.len() } else { self.owners };
        self.members.iter().take(count)
    }

    /// The member that owns `key`; `None` only if nobody takes any.
    #[inline]
    pub fn owner(&self, key: &[u8]) -> Option<usize> {
        self.ring.owner(key)
    }

    /// The member that owns `key`.
    #[inline]
    pub(crate) fn owning(&self, key: &[u8]) -> Option<&Arc<Member>> {
        self.members.get(self.owner(key)?)
    }

    /// The same members, with those that are such and `gone` ones besides as if they served.
    pub(crate) fn as_if_serving(
        &self,
        is_such: impl Fn(&Member) -> bool,
        gone: &[Arc<Member>],
    ) -> Self {
        let stays = |member: &Arc<Member>| {
            let mut member = Arc::clone(member);
            if is_such(&member) {
                Arc::make_mut(&mut member).stage = Stage::Serving;
            }
            member
        };
        let gone = gone
            .iter()
            .map(|member| Arc::new(Member { stage: Stage::Serving, ..Member::clone(member) }));
        Self::new(self.version, self.members.iter().map(stays).chain(gone).collect())
    }

    /// Whether the member of that name owns a part of the keys.
    pub(crate) fn is_owner(&self, name: &str) -> bool {
        let place = self.members.iter().position(|member| *member.name == *name);
        place.is_some_and(|place| self.share(place) > 0.0)
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

    fn member(name: &str, stage: Stage) -> Arc<Member> {
        Arc::new(Member { stage, ..Member::called(name) })
    }

    #[test]
    fn who_leaves_or_comes_owns_nothing_and_the_others_places_are_as_without_it() {
        let [a, c] = ["a", "c"].map(|name| member(name, Stage::Serving));
        let (b, d) = (member("b", Stage::Leaving), member("d", Stage::Coming));
        let with = View::new(1, vec![b.clone(), c.clone(), a.clone(), d.clone()]);
        let without = View::new(2, vec![a, c]);
        let asked = |view: &View| {
            view.to_be_asked().map(|member| member.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!([asked(&with), asked(&without)], [["a", "c"], ["a", "c"]]);
        // While all have come just now these are asked, and so are those who leave if nobody stays.
        assert_eq!(asked(&View::new(3, vec![d.clone(), b.clone()])), ["d"]);
        assert_eq!(asked(&View::new(3, vec![b.clone()])), ["b"]);
        let owner =
            |view: &View, key: &str| view.members[view.owner(key.as_bytes()).unwrap()].name.clone();
        for key in 0..1000 {
            let key = format!("key:{key}");
            assert_eq!(owner(&with, &key), owner(&without, &key));
        }
        assert_eq!(View::new(3, vec![b.clone()]).owner(b"key"), None);
        assert_eq!(owner(&View::new(3, vec![b, d]), "key"), "d".into());
    }
}
