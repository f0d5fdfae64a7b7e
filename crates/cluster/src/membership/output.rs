//! What the engine wants done.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use foca::{Notification, Runtime, Timer};

use super::identity::Identity;
use super::message::VERSION;
use super::timers::{Task, Timers};
use crate::member::Member;

/// Something to do.
#[derive(Debug)]
pub(super) enum Output {
    /// Send gossip to a peer address. Nobody waits for an answer.
    Send { to: Arc<str>, message: Bytes },
    /// Knock at a peer address, and tell the engine the answer.
    Knock { at: Arc<str>, message: Bytes },
    /// Who is at that peer address has just spoken, so it can be reached.
    Heard { from: Arc<str> },
    /// These are the members now.
    Publish { version: u32, members: Vec<Arc<Member>> },
    /// This node is of the cluster as far as it can be, or no longer.
    Settled(bool),
    /// Say so in the log.
    Tell(Notice),
}

/// Something to say in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    Came(Arc<Member>),
    /// Another run of it.
    Anew(Arc<Member>),
    Serves(Arc<Member>),
    Leaves(Arc<Member>),
    Left(Arc<Member>),
    Lost(Arc<Member>),
    /// No seed answers.
    Alone,
    /// This node is not let in: another has its name.
    Taken(Arc<Member>),
    /// This node was a member, and another came later that has its name.
    Displaced(Arc<Member>),
    /// The name that was taken is not any more.
    LetIn,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Came(member) => {
                let Member { name, peer_address, weight, .. } = &**member;
                write!(f, "{name} has joined the cluster, at {peer_address}, with weight {weight}")
            }
            Self::Anew(member) => {
                write!(f, "{} was started anew, at {}", member.name, member.peer_address)
            }
            Self::Serves(member) => write!(f, "{} owns its part of the keys now", member.name),
            Self::Leaves(member) => {
                write!(f, "{} is about to leave the cluster: it owns no key any more", member.name)
            }
            Self::Left(member) => write!(f, "{} has left the cluster", member.name),
            Self::Lost(member) => {
                let Member { name, peer_address, .. } = &**member;
                write!(f, "{name} is lost: nobody has had an answer from {peer_address}")
            }
            Self::Alone => f.write_str(
                "no seed answers: this node serves alone until one does, and goes on trying",
            ),
            Self::Taken(by) => write!(
                f,
                "the name {} is taken by {}, which is alive: give this node another --node-name",
                by.name, by.peer_address
            ),
            Self::Displaced(by) => write!(
                f,
                "another node that is called {} was started at {} and takes the place of this one: \
                 give one of the two another --node-name",
                by.name, by.peer_address
            ),
            Self::LetIn => f.write_str("the name of this node is not taken any more"),
        }
    }
}

/// What foca wants done, and what has come of it.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) now: Duration,
    pub(super) outputs: Vec<Output>,
    pub(super) timers: Timers,
    /// Members may be others than they were.
    pub(super) touched: bool,
    /// Since when members are lost, by name. It may have more than are remembered.
    pub(super) lost: HashMap<Arc<str>, Duration>,
}

impl Effects {
    pub(super) fn tell(&mut self, notice: Notice) {
        self.outputs.push(Output::Tell(notice));
    }
}

impl Runtime<Identity> for Effects {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        match notification {
            Notification::MemberUp(id) => {
                self.lost.remove(id.name());
            }
            Notification::MemberDown(id) => {
                self.lost.insert(Arc::clone(id.name()), self.now);
            }
            Notification::Rename(..) => {}
            _ => return,
        }
        self.touched = true;
    }

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        let mut message = Vec::with_capacity(1 + data.len());
        message.push(VERSION);
        message.extend_from_slice(data);
        let to = Arc::clone(&to.member.peer_address);
        self.outputs.push(Output::Send { to, message: message.into() });
    }

    fn submit_after(&mut self, event: Timer<Identity>, after: Duration) {
        if let Timer::ChangeSuspectToDown { member_id, incarnation, .. } = &event {
            self.timers.set(Task::AskSuspect(member_id.clone(), *incarnation), self.now);
        }
        self.timers.set(Task::Foca(event), self.now + after);
    }
}
