//! What is heard in passing.

use std::sync::Arc;
use std::time::Duration;

use foca::Message;

use super::{Engine, Standing};
use crate::membership::message::{Gossip, Malformed, dissect};
use crate::membership::output::Output;
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
        let me = Arc::clone(self.me.name());
        if header.src.is_called(&me) || !header.dst.is_called(&me) {
            // Of another that has this name, or for who was here before.
            return;
        }
        let from = Arc::clone(&header.src.member.peer_address);
        self.effects.outputs.push(Output::Heard { from: Arc::clone(&from) });
        // Of two that have one name foca would have each tell all others that the other is gone.
        let updates = updates.iter().map(foca::Member::id).filter(|id| id.is_called(&me));
        if updates.chain([&header.dst]).any(|id| id.outranks(&self.me)) {
            self.ask_why(&from);
            return;
        }
        if header.dst != self.me && header.message != Message::Announce {
            if header.message != Message::TurnUndead {
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
            self.ask_why(&from);
        }
        self.swim(|swim, effects| swim.handle_data(packet, effects));
    }
}
