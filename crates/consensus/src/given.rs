//! How far the views are that members are given: what they lack then is to be there when they have
//! become them.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::machine::Mark;

/// The last entry in the view that each member is being given, or was given last.
#[derive(Debug, Default)]
pub(crate) struct Given(Mutex<BTreeMap<u64, u64>>);

/// A view on its way. One that does not arrive is as if it had never been sent.
pub(crate) struct Giving<'a> {
    given: &'a Given,
    node: u64,
    arrived: bool,
}

impl Given {
    pub(crate) fn begin(&self, node: u64, mark: &Mark) -> Giving<'_> {
        let last = mark.applied.map_or(0, |applied| applied.index);
        self.0.lock().insert(node, last);
        Giving { given: self, node, arrived: false }
    }

    /// The last entry that each of these members has, by what is known of each or by the view that it is
    /// given, of those that can go on from there because no later entry is forgotten.
    pub(crate) fn held_by_all(
        &self,
        matched: impl Iterator<Item = (u64, u64)>,
        forgotten: u64,
    ) -> Option<u64> {
        let given = self.0.lock();
        let held = matched
            .map(|(node, matched)| given.get(&node).map_or(matched, |last| matched.max(*last)));
        held.filter(|last| *last > 0 && *last >= forgotten).min()
    }
}

impl Giving<'_> {
    /// The member has become it. That it has these entries openraft says a moment later.
    pub(crate) fn succeeded(mut self) {
        self.arrived = true;
    }
}

impl Drop for Giving<'_> {
    fn drop(&mut self) {
        if !self.arrived {
            self.given.0.lock().remove(&self.node);
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft::impls::leader_id_adv::LeaderId;

    use super::*;
    use crate::types::LogId;

    #[test]
    fn what_a_member_is_being_given_counts_as_had_until_that_fails() {
        let given = Given::default();
        let held =
            |known: &[(u64, u64)], forgotten| given.held_by_all(known.iter().copied(), forgotten);
        assert_eq!(held(&[], 0), None);
        // Who has nothing is given all there is by then.
        assert_eq!(held(&[(2, 0)], 0), None);
        assert_eq!(held(&[(2, 70), (3, 80)], 0), Some(70));
        // Who lacks what is forgotten cannot go on.
        assert_eq!(held(&[(2, 70), (3, 80)], 70), Some(70));
        assert_eq!(held(&[(2, 70), (3, 80)], 71), Some(80));
        let leader_id = LeaderId { term: 1, node_id: 1 };
        let at = |index| Mark { applied: Some(LogId { leader_id, index }), ..Mark::default() };
        let giving = given.begin(2, &at(75));
        assert_eq!(held(&[(2, 0), (3, 80)], 71), Some(75));
        assert_eq!(held(&[(2, 76), (3, 80)], 71), Some(76));
        giving.succeeded();
        assert_eq!(held(&[(2, 0), (3, 80)], 71), Some(75));
        drop(given.begin(2, &at(79)));
        assert_eq!(held(&[(2, 0), (3, 80)], 71), Some(80));
    }
}
