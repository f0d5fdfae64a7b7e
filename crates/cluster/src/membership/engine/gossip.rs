//! What is heard in passing.

use std::time::Duration;

use foca::{Message, State};

use super::{Engine, Standing};
use crate::member::Member;
use crate::membership::identity::Identity;
use crate::membership::message::{Gossip, Malformed, dissect};
use crate::membership::output::{Notice, Output};
use crate::membership::timing::RENEW;

impl Engine {
    /// Another says something.
    pub(in crate::membership) fn hear(
        &mut self,
        now: Duration,
        body: &[u8],
    ) -> Result<(), Malformed> {
        self.effects.now = now;
        let gossip = dissect(body)?;
        if matches!(self.standing, Standing::Inside(_)) {
            self.listen(gossip);
            self.review();
        }
        Ok(())
    }

    fn listen(&mut self, gossip: Gossip<'_>) {
        let Gossip { header, updates, packet } = gossip;
        if header.src.is_called(self.me.name()) {
            if !header.src.is_run_of(&self.me) {
                self.meet(&header.src, true);
            }
            return;
        }
        if !header.dst.is_called(self.me.name()) {
            // For who was here before.
            return;
        }
        self.effects.outputs.push(Output::Heard { from: header.src.member.peer_address.clone() });
        // Foca would tell all others that they are gone, whoever came first.
        for update in &updates {
            if update.id().is_called(self.me.name()) && !update.id().is_run_of(&self.me) {
                self.meet(update.id(), update.state() != State::Down);
            }
        }
        if header.dst != self.me && header.message != Message::Announce {
            if header.dst.outranks(&self.me) {
                self.ask_why(&header.src.member.peer_address);
            } else if header.message != Message::TurnUndead {
                // It has not heard yet what has become of this node.
                self.swim(|swim, effects| swim.announce(header.src, effects));
            }
            return;
        }
        if header.message == Message::TurnUndead {
            let now = self.effects.now;
            if self.renewed.is_some_and(|before| now < before + RENEW) {
                return;
            }
            self.renewed = Some(now);
            self.ask_why(&header.src.member.peer_address);
        }
        self.swim(|swim, effects| swim.handle_data(packet, effects));
    }

    /// Hears of another that has the name of this node.
    fn meet(&mut self, other: &Identity, alive: bool) {
        if !other.outranks(&self.me) {
            if alive && other.member.peer_address != self.me.member.peer_address {
                self.effects.tell(Notice::Namesake(other.member.clone()));
            }
        } else if alive && other.member.peer_address != self.me.member.peer_address {
            self.step_back(other.clone(), Notice::Displaced);
        } else {
            self.outrun(other);
        }
    }

    /// Is later than that one was, whatever the clocks said.
    pub(super) fn outrun(&mut self, other: &Identity) {
        let mut me = self.me.clone();
        if other.is_run_of(&me) {
            me.bump = other.bump.saturating_add(1);
        } else {
            let run = other.member.run.saturating_add(1);
            me = Identity { member: Member { run, ..Member::clone(&me.member) }.into(), bump: 0 };
        }
        self.change(me);
    }
}
