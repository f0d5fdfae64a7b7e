//! Who was there, and when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::HashMap;

use crate::member::Member;
use crate::places::{Before, Places};
use crate::view::View;

/// What is remembered of earlier views.
#[derive(Debug)]
pub(crate) struct Past {
    name: Arc<str>,
    warm_up: Duration,
    view: Arc<View>,
    /// Since when this node is of a cluster that was there before it, until that is long ago.
    came: Option<Instant>,
    /// What the others had then, by name; who is not there came later.
    before: HashMap<Arc<str>, Before>,
    /// Who is not there any more.
    gone: HashMap<Arc<str>, Gone>,
}

#[derive(Debug)]
struct Gone {
    member: Arc<Member>,
    at: Instant,
    /// Who was there then, each in its run: it may know what the one that is gone has to forget.
    witnesses: Vec<Arc<Member>>,
}

/// What a view brings.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// Who has not been there before, or has begun anew: what is its now is to be given up in a while.
    pub(crate) came: bool,
    /// Who is there again as it was. What others have taken over meanwhile is to be given up.
    pub(crate) returned: bool,
    /// Of those who are back, those of whose witnesses some are not there: nobody knows all that they have to
    /// forget.
    pub(crate) unwitnessed: Vec<Unwitnessed>,
}

/// Who is back while some of its witnesses are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unwitnessed {
    pub(crate) name: Arc<str>,
    missing: Vec<Arc<Member>>,
}

impl Past {
    /// Begins with the view in which the node of that name joined.
    pub(crate) fn new(name: Arc<str>, view: Arc<View>, warm_up: Duration, now: Instant) -> Self {
        let came = (view.members.len() > 1).then_some(now);
        let others = view.members.iter().filter(|member| member.name != name);
        // Until they say what they have.
        let before = others.map(|member| (Arc::clone(&member.name), Before::Items)).collect();
        Self { name, warm_up, view, came, before, gone: HashMap::default() }
    }

    /// A member has said that it has nothing.
    pub(crate) fn has_nothing(&mut self, name: &str) {
        if let Some(before) = self.before.get_mut(name) {
            *before = Before::Nothing;
        }
    }

    /// Who is there now.
    pub(crate) fn see(&mut self, view: Arc<View>, now: Instant) -> News {
        let mut news = News::default();
        let was =
            |member: &Arc<Member>| self.view.members.iter().any(|other| is_same(other, member));
        for member in view.members.iter().filter(|member| !was(member)) {
            // Whoever comes back in another run had nothing when it came.
            self.before.remove(&member.name);
            let Some(gone) = self.gone.remove(&member.name) else {
                news.came = true;
                continue;
            };
            let is_missing = |witness: &&Arc<Member>| {
                witness.name != member.name && !view.members.iter().any(|one| is_same(one, witness))
            };
            let missing: Vec<_> = gone.witnesses.iter().filter(is_missing).cloned().collect();
            if !missing.is_empty() {
                let name = Arc::clone(&member.name);
                news.unwitnessed.push(Unwitnessed { name, missing });
            }
            if gone.member.run == member.run { news.returned = true } else { news.came = true }
        }
        let before = std::mem::replace(&mut self.view, view);
        for member in &before.members {
            let is_here = self.view.members.iter().any(|other| other.name == member.name);
            if !is_here && member.name != self.name {
                let witnesses = before.members.clone();
                let gone = Gone { member: Arc::clone(member), at: now, witnesses };
                self.gone.insert(Arc::clone(&member.name), gone);
            }
        }
        news
    }

    /// Whether the witnesses that were missing still are.
    pub(crate) fn is_unwitnessed(&self, of: &Unwitnessed) -> bool {
        let is_there = |name: &Arc<str>| self.view.members.iter().any(|one| one.name == *name);
        let is_missing = |witness: &Arc<Member>| {
            !self.view.members.iter().any(|member| is_same(member, witness))
        };
        is_there(&of.name) && of.missing.iter().any(is_missing)
    }

    /// Forgets what is long ago. Names of those who were gone for so long.
    pub(crate) fn forget(&mut self, now: Instant) -> Vec<Arc<str>> {
        self.came.take_if(|came| now >= *came + self.warm_up + TELL_ON);
        let late = |_: &Arc<str>, gone: &mut Gone| now >= gone.at + REMEMBER;
        self.gone.extract_if(late).map(|(name, _)| name).collect()
    }

    /// When there is next something to forget, or this node asks nobody any more, if `now` that was looked to.
    pub(crate) fn next_due(&self, now: Instant) -> Option<Instant> {
        let came = self.came.map(|came| [came + self.warm_up, came + self.warm_up + TELL_ON]);
        let came = came.into_iter().flatten().filter(|at| *at > now);
        came.chain(self.gone.values().map(|gone| gone.at + REMEMBER)).min()
    }

    /// Who may have keys besides those whose they are.
    pub(crate) fn places(&self, now: Instant) -> Places {
        let gone: Vec<_> = self.gone.values().map(|gone| Arc::clone(&gone.member)).collect();
        let of =
            |member: &Arc<Member>| self.before.get(&member.name).copied().unwrap_or(Before::Later);
        let before = self.came.map(|_| self.view.members.iter().map(of).collect());
        let asks = self.came.is_some_and(|came| now < came + self.warm_up);
        Places::new(Arc::clone(&self.name), Arc::clone(&self.view), &gone, before, asks)
    }

    pub(crate) fn view(&self) -> &Arc<View> {
        &self.view
    }
}

/// Whether both are one run of one node.
fn is_same(one: &Member, other: &Member) -> bool {
    (&one.name, one.run) == (&other.name, other.run)
}

/// For so much longer than a node asks others it tells them what changes: they give up what is its own some
/// seconds after it has done with asking, and take a while.
const TELL_ON: Duration = Duration::from_mins(5);

/// For so long who is gone is remembered, as membership does: who comes back later is not told what it has
/// to forget.
pub(crate) const REMEMBER: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, run: u64) -> Arc<Member> {
        Arc::new(Member { run, ..Member::called(name) })
    }

    fn view(members: &[(&str, u64)]) -> Arc<View> {
        Arc::new(View::new(1, members.iter().map(|(name, run)| member(name, *run)).collect()))
    }

    const WARM_UP: Duration = Duration::from_mins(10);

    #[test]
    fn who_comes_and_who_returns_are_told_apart() {
        let now = Instant::now();
        let mut past = Past::new("a".into(), view(&[("a", 1)]), WARM_UP, now);
        let mut see = |members: &[(&str, u64)]| {
            let News { came, returned, unwitnessed } = past.see(view(members), now);
            (came, returned, unwitnessed.len())
        };
        assert_eq!(see(&[("a", 1), ("b", 2)]), (true, false, 0));
        assert_eq!(see(&[("a", 1), ("b", 2)]), (false, false, 0));
        assert_eq!(see(&[("a", 1)]), (false, false, 0));
        assert_eq!(see(&[("a", 1), ("b", 2)]), (false, true, 0));
        // Another run, without having been missed.
        assert_eq!(see(&[("a", 1), ("b", 3)]), (true, false, 0));
        assert_eq!(see(&[("a", 1)]), (false, false, 0));
        assert_eq!(see(&[("a", 1), ("b", 4), ("c", 1)]), (true, false, 0));
        // It has nobody's keys: it was there first.
        assert!(past.places(now).is_settled());
    }

    #[test]
    fn who_joins_asks_until_it_is_long_ago_or_they_have_nothing() {
        let now = Instant::now();
        let joined = view(&[("a", 1), ("b", 2)]);
        let mut past = Past::new("b".into(), Arc::clone(&joined), WARM_UP, now);
        assert!(!past.places(now).is_settled());
        assert_eq!(past.next_due(now), Some(now + WARM_UP));
        past.forget(now + WARM_UP);
        assert!(!past.places(now + WARM_UP).is_settled());
        assert_eq!(past.next_due(now + WARM_UP), Some(now + WARM_UP + TELL_ON));
        past.forget(now + WARM_UP + TELL_ON);
        assert!(past.places(now).is_settled() && past.next_due(now + WARM_UP + TELL_ON).is_none());
        let mut past = Past::new("b".into(), joined, WARM_UP, now);
        past.has_nothing("a");
        assert!(past.places(now).is_settled());
    }

    #[test]
    fn who_is_gone_is_remembered_for_an_hour() {
        let now = Instant::now();
        let mut past = Past::new("a".into(), view(&[("a", 1)]), WARM_UP, now);
        past.see(view(&[("a", 1), ("b", 2)]), now);
        past.see(view(&[("a", 1)]), now);
        assert!(!past.places(now).is_settled());
        assert!(past.forget(now).is_empty());
        assert_eq!(past.forget(now + REMEMBER), [Arc::from("b")]);
        assert!(past.places(now).is_settled());
    }

    #[test]
    fn who_returns_without_its_witnesses_has_to_forget_all_unless_they_return_too() {
        let now = Instant::now();
        let all = [("a", 1), ("b", 2), ("c", 3)];
        let mut past = Past::new("a".into(), view(&[("a", 1)]), WARM_UP, now);
        past.see(view(&all), now);
        past.see(view(&[("a", 1)]), now);
        let news = past.see(view(&all[..2]), now);
        assert_eq!(news.unwitnessed.len(), 1);
        assert!(past.is_unwitnessed(&news.unwitnessed[0]));
        // Of this one all that were there when it went are.
        assert!(past.see(view(&all), now).unwitnessed.is_empty());
        assert!(!past.is_unwitnessed(&news.unwitnessed[0]));
        past.see(view(&all[..2]), now);
        past.see(view(&all[..1]), now);
        // c had gone before b went.
        assert!(past.see(view(&all[..2]), now).unwitnessed.is_empty());
        let late = past.see(view(&[("a", 1), ("b", 2), ("c", 4)]), now);
        assert!(late.unwitnessed.is_empty() && late.came);
    }
}
