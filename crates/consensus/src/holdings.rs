//! What members have of a history, as far as who leads goes by it: what they lack is to be there when they
//! ask for it.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::machine::Mark;

/// What members have of a history.
#[derive(Debug, Default)]
pub(crate) struct Holdings(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The last entry in the view that each member is being given, or was given last, and which it is.
    views: BTreeMap<u64, (u64, u64)>,
    /// How many were given.
    given: u64,
    /// The last entry that was forgotten when this node began to lead, and in which term that was.
    begun: (u64, u64),
}

/// A view on its way. One that does not arrive is as if it had never been sent.
pub(crate) struct Giving<'a> {
    holdings: &'a Holdings,
    node: u64,
    number: u64,
    arrived: bool,
}

impl Holdings {
    pub(crate) fn give(&self, node: u64, mark: &Mark) -> Giving<'_> {
        let last = mark.applied.map_or(0, |applied| applied.index);
        let mut known = self.0.lock();
        known.given += 1;
        let number = known.given;
        known.views.insert(node, (last, number));
        Giving { holdings: self, node, number, arrived: false }
    }

    /// The last entry that each of these members has, of those that can go on from there because no later
    /// one is forgotten; 0 is the last of one that has said nothing since this node leads. Asked in each
    /// term before anything is forgotten in it.
    pub(crate) fn held_by_all(
        &self,
        term: u64,
        said: impl Iterator<Item = (u64, u64)>,
        forgotten: u64,
    ) -> Option<u64> {
        let mut known = self.0.lock();
        if known.begun.0 != term {
            known.begun = (term, forgotten);
        }
        let begun = known.begun.1;
        let held = said.map(|(node, said)| {
            // It may have led before this node did, and lack but little.
            let said = if said == 0 { begun } else { said };
            known.views.get(&node).map_or(said, |(last, _)| said.max(*last))
        });
        held.filter(|last| *last >= forgotten).min()
    }
}

impl Giving<'_> {
    /// No other of this process has this number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The member has become it. That it has these entries it says itself a moment later.
    pub(crate) fn succeeded(mut self) {
        self.arrived = true;
    }
}

impl Drop for Giving<'_> {
    fn drop(&mut self) {
        let mut known = self.holdings.0.lock();
        let is_last = known.views.get(&self.node).is_some_and(|view| view.1 == self.number);
        // Another may be on its way by now.
        if !self.arrived && is_last {
            known.views.remove(&self.node);
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft::impls::leader_id_adv::LeaderId;

    use super::*;
    use crate::types::LogId;

    #[test]
    fn who_can_go_on_counts_and_who_is_given_a_view_has_it_until_that_fails() {
        let holdings = Holdings::default();
        let held = |said: &[(u64, u64)], forgotten| {
            holdings.held_by_all(1, said.iter().copied(), forgotten)
        };
        assert_eq!(held(&[], 0), None);
        assert_eq!(held(&[(2, 70), (3, 80)], 0), Some(70));
        assert_eq!(held(&[(2, 70), (3, 80)], 70), Some(70));
        assert_eq!(held(&[(2, 70), (3, 80)], 71), Some(80));
        let leader_id = LeaderId { term: 1, node_id: 1 };
        let at = |index| Mark { applied: Some(LogId { leader_id, index }), ..Mark::default() };
        let giving = holdings.give(2, &at(75));
        assert_eq!(held(&[(2, 0), (3, 80)], 71), Some(75));
        assert_eq!(held(&[(2, 76), (3, 80)], 71), Some(76));
        giving.succeeded();
        assert_eq!(held(&[(2, 0), (3, 80)], 71), Some(75));
        let (cancelled, next) = (holdings.give(2, &at(77)), holdings.give(2, &at(79)));
        drop(cancelled);
        assert_eq!(held(&[(2, 0), (3, 80)], 71), Some(79));
        drop(next);
        assert_eq!(held(&[(2, 0), (3, 80)], 71), Some(80));
        // What it was given once counts no more when more is forgotten.
        holdings.give(2, &at(75)).succeeded();
        let next_term = holdings.held_by_all(2, [(2, 0), (3, 90)].into_iter(), 85);
        assert_eq!(next_term, Some(85));
    }

    #[test]
    fn who_has_said_nothing_in_a_reign_may_lack_no_more_than_its_beginning() {
        let holdings = Holdings::default();
        let held =
            |term, forgotten| holdings.held_by_all(term, [(2, 0), (3, 80)].into_iter(), forgotten);
        assert_eq!(held(1, 30), Some(30));
        // It is forgotten nevertheless, as the log was too long.
        assert_eq!(held(1, 60), Some(80));
        assert_eq!(held(1, 70), Some(80));
        assert_eq!(held(2, 70), Some(70));
    }
}
