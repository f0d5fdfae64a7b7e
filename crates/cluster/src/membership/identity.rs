//! A member, as gossip tells it from who else had its name.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::member::{BadMember, Member};

/// A member, as gossip tells it from who else had its name. What comes from others has been checked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Unchecked")]
pub(super) struct Identity {
    pub(super) member: Arc<Member>,
    /// How often this run has come again under the same name: after it was taken for lost, or with
    /// something changed.
    pub(super) bump: u32,
}

#[derive(Deserialize)]
struct Unchecked {
    member: Arc<Member>,
    bump: u32,
}

impl TryFrom<Unchecked> for Identity {
    type Error = BadMember;

    fn try_from(unchecked: Unchecked) -> Result<Self, BadMember> {
        let Unchecked { member, bump } = unchecked;
        member.check()?;
        Ok(Self { member, bump })
    }
}

impl Identity {
    pub(super) fn name(&self) -> &Arc<str> {
        &self.member.name
    }

    pub(super) fn is_called(&self, name: &str) -> bool {
        *self.member.name == *name
    }

    /// Whether it is the same process.
    pub(super) fn is_run_of(&self, other: &Self) -> bool {
        let of = |id: &Self| (Arc::clone(&id.member.peer_address), id.member.run);
        self.name() == other.name() && of(self) == of(other)
    }

    /// Whether it is the one to keep of two that have one name: the later run. All nodes must come to
    /// the same end, so whatever may differ counts.
    pub(super) fn outranks(&self, other: &Self) -> bool {
        self.rank() > other.rank()
    }

    fn rank(&self) -> impl PartialOrd {
        let Member { run, client_address, peer_address, weight, zone, stage, .. } = &*self.member;
        (*run, peer_address, self.bump, *stage, client_address, *weight, zone)
    }
}

impl foca::Identity for Identity {
    type Addr = Arc<str>;

    fn renew(&self) -> Option<Self> {
        let bump = self.bump.checked_add(1)?;
        Some(Self { member: Arc::clone(&self.member), bump })
    }

    fn addr(&self) -> Arc<str> {
        Arc::clone(self.name())
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.outranks(adversary)
    }
}
