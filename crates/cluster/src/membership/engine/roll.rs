//! Who is there.

use std::sync::Arc;
use std::time::Duration;

use foca::State;

use super::{Engine, Standing};
use crate::member::{Member, Stage};
use crate::membership::identity::Identity;
use crate::membership::output::{Notice, Output};
use crate::membership::report::PeerState;
use crate::membership::timing::{TAKEN, config};

impl Engine {
    pub(in crate::membership) fn version(&self) -> u32 {
        self.version
    }

    /// In the order of their names, with this node.
    pub(in crate::membership) fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// Members and those who are lost, in the order of their names.
    pub(in crate::membership) fn peers(&self, now: Duration) -> Vec<(Arc<Member>, PeerState)> {
        let mut peers = vec![(Arc::clone(&self.me.member), PeerState::Here)];
        for other in self.others() {
            let member = &other.id().member;
            let state = match other.state() {
                State::Suspect => PeerState::Suspect,
                State::Alive if member.stage == Stage::Coming => PeerState::Coming,
                State::Alive if member.stage == Stage::Leaving => PeerState::Leaving,
                State::Alive => PeerState::Serving,
                State::Down if member.stage == Stage::Leaving => continue,
                State::Down => match self.effects.lost.get(&member.name) {
                    Some(at) => PeerState::Lost { since: now.saturating_sub(*at) },
                    // It was so before this node came.
                    None => continue,
                },
            };
            peers.push((Arc::clone(member), state));
        }
        peers.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        peers
    }

    /// Peer addresses of all to whom this node speaks, or would.
    pub(in crate::membership) fn addresses(&self) -> impl Iterator<Item = &Arc<str>> {
        let gone = |other: &foca::Member<Identity>| {
            other.state() == State::Down && other.id().member.stage == Stage::Leaving
        };
        self.others().filter(move |other| !gone(other)).map(|other| &other.id().member.peer_address)
    }

    /// All that foca remembers, but for who had the name of this node.
    pub(super) fn others(&self) -> impl Iterator<Item = &foca::Member<Identity>> {
        let swim = match &self.standing {
            Standing::Inside(swim) => Some(swim),
            Standing::Outside { .. } | Standing::Gone => None,
        };
        let all = swim.into_iter().flat_map(|swim| swim.iter_membership_state());
        all.filter(|other| !other.id().is_called(self.me.name()))
    }

    /// Publishes who is there, if that is not who was.
    pub(super) fn publish(&mut self) {
        if !std::mem::take(&mut self.effects.touched) {
            return;
        }
        let mut members = vec![Arc::clone(&self.me.member)];
        let active = self.others().filter(|other| other.state() != State::Down);
        members.extend(active.map(|other| Arc::clone(&other.id().member)));
        members.sort_by(|a, b| a.name.cmp(&b.name));
        if members == self.members || self.is_gone() {
            return;
        }
        let before = std::mem::replace(&mut self.members, members);
        self.tell_of_changes(&before);
        self.version = self.second().max(self.version.saturating_add(1));
        let (version, members) = (self.version, self.members.clone());
        self.effects.outputs.push(Output::Publish { version, members });
        let count = self.members.len();
        self.swim(|swim, _| swim.set_config(config(count)));
        let is_member = |name: &str| self.members.iter().any(|member| *member.name == *name);
        if before.iter().any(|former| !is_member(&former.name)) {
            // What led there may lead elsewhere now, or to who comes back.
            self.seeds.again(None, self.effects.now, TAKEN, &mut self.chance);
        }
    }

    fn tell_of_changes(&mut self, before: &[Arc<Member>]) {
        if !matches!(self.standing, Standing::Inside(_)) {
            return;
        }
        let mut notices = Vec::new();
        for former in before {
            if self.members.iter().any(|member| member.name == former.name) {
                continue;
            }
            let left = |other: &foca::Member<Identity>| {
                other.id().is_called(&former.name) && other.id().member.stage == Stage::Leaving
            };
            let notice = if self.others().any(left) { Notice::Left } else { Notice::Lost };
            notices.push(notice(Arc::clone(former)));
        }
        for member in &self.members {
            let notice = match before.iter().find(|former| former.name == member.name) {
                _ if *member == self.me.member => continue,
                None => Notice::Came,
                Some(former) if former == member => continue,
                Some(former) if former.run != member.run => Notice::Anew,
                Some(_) if member.stage == Stage::Leaving => Notice::Leaves,
                Some(_) => Notice::Serves,
            };
            notices.push(notice(Arc::clone(member)));
        }
        self.effects.outputs.extend(notices.into_iter().map(Output::Tell));
    }

    /// The second in which this is, counted from this run's start, so that no clock that is set has it
    /// go back.
    pub(super) fn second(&self) -> u32 {
        let second = self.me.member.run / 1_000_000 + self.effects.now.as_secs();
        u32::try_from(second).unwrap_or(u32::MAX)
    }
}
