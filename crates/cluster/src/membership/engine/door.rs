//! Knocking, and being knocked at.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use foca::State;

use super::{Engine, Standing};
use crate::member::Member;
use crate::membership::identity::Identity;
use crate::membership::message::{Answer, Malformed, decode, encode};
use crate::membership::output::Notice;
use crate::membership::timing::TAKEN;

impl Engine {
    /// Another knocks. `Ok(None)`: this node is of no cluster that it could let it into.
    pub(in crate::membership) fn knocked(&self, body: &[u8]) -> Result<Option<Bytes>, Malformed> {
        let guest: Identity = decode(body)?;
        Ok(self.receive(&guest).map(|answer| encode(&answer)))
    }

    fn receive(&self, guest: &Identity) -> Option<Answer> {
        let come = |known, members| Answer::Come { by: self.me.clone(), known, members };
        let Standing::Inside(swim) = &self.standing else { return None };
        if guest.is_run_of(&self.me) {
            return Some(come(None, Vec::new()));
        }
        if guest.is_called(self.me.name()) {
            return Some(Answer::Taken { by: self.me.clone(), rival: self.me.clone() });
        }
        let known = self.others().find(|other| other.id().is_called(guest.name()));
        if let Some(known) = known
            && known.state() != State::Down
            && known.id().member.peer_address != guest.member.peer_address
        {
            return Some(Answer::Taken { by: self.me.clone(), rival: known.id().clone() });
        }
        let stands =
            |known: &&foca::Member<Identity>| known.id() != guest || known.state() == State::Down;
        let outranked = known.filter(stands).map(|known| known.id().clone());
        let mut members = vec![foca::Member::alive(self.me.clone())];
        members.extend(swim.iter_members().cloned());
        Some(come(outranked, members))
    }

    /// What came of knocking at an address: the answer, or why there is none.
    pub(in crate::membership) fn answered(
        &mut self,
        now: Duration,
        address: &str,
        answer: Result<&[u8], &str>,
    ) {
        self.effects.now = now;
        let answer = answer
            .map_err(str::to_owned)
            .and_then(|answer| decode(answer).map_err(|malformed| malformed.to_string()));
        match answer {
            _ if self.is_gone() => {}
            Ok(Answer::Come { by, .. }) if by.is_run_of(&self.me) => {
                self.seeds.is_own(address, now);
            }
            Ok(Answer::Come { by, known, members }) => self.come(address, &by, known, members),
            Ok(Answer::Taken { by, rival }) => self.give_way(address, by, rival),
            Err(why) => self.seeds.is_silent(address, &why, now, &mut self.chance),
        }
        if let Standing::Outside { .. } = self.standing {
            self.seeds.again(Some(address), now, TAKEN, &mut self.chance);
        }
        self.settle();
        self.review();
    }

    fn come(
        &mut self,
        address: &str,
        by: &Identity,
        known: Option<Identity>,
        members: Vec<foca::Member<Identity>>,
    ) {
        if let Standing::Outside { told, .. } = self.standing {
            if self.effects.now < told + 2 * TAKEN {
                // Others know better, or will soon.
                return;
            }
            self.effects.tell(Notice::LetIn);
            self.enter();
        }
        if let Some(known) = known
            && (known == self.me || known.outranks(&self.me))
        {
            self.outrun(&known);
        }
        self.seeds.leads(address);
        self.settled = true;
        let host = by.clone();
        let name = Arc::clone(self.me.name());
        let members = members.into_iter().filter(move |member| !member.id().is_called(&name));
        self.swim(|swim, effects| {
            swim.apply_many(members, true, &mut *effects)?;
            swim.announce(host, &mut *effects)?;
            swim.gossip(&mut *effects)
        });
        self.seeds.forget_found();
    }

    /// Is later than that one was, whatever the clocks said.
    fn outrun(&mut self, other: &Identity) {
        let mut me = self.me.clone();
        if other.is_run_of(&me) {
            me.bump = other.bump.saturating_add(1);
        } else {
            let run = other.member.run.saturating_add(1);
            me = Identity { member: Member { run, ..Member::clone(&me.member) }.into(), bump: 0 };
        }
        self.change(me);
    }

    /// The name of this node is that of another, who is alive.
    fn give_way(&mut self, address: &str, by: Identity, rival: Identity) {
        let why = format!("there {} has the name of this node", rival.member.peer_address);
        self.seeds.is_silent(address, &why, self.effects.now, &mut self.chance);
        // Who is alone has nobody to speak for it. Of two halves that have one each, the later stays.
        if self.members.len() == 1 {
            self.step_back(&by, rival, Notice::Taken);
        } else if rival.outranks(&self.me) {
            self.step_back(&by, rival, Notice::Displaced);
        } else {
            self.swim(|swim, effects| swim.announce(by, effects));
        }
    }
}
