//! Who may have a key besides the node that it belongs to.

use std::sync::Arc;

use crate::member::{Member, Stage};
use crate::view::View;

/// Who may have a key besides the node that it belongs to, as far as this node knows.
#[derive(Debug)]
pub(crate) struct Places {
    name: Arc<str>,
    pub(crate) view: Arc<View>,
    /// As if nobody who has gone of late had gone, or was about to.
    whole: Option<View>,
    /// As if who is about to come had come.
    next: Option<View>,
    /// What the others had when this node came, by their places in the view; nothing once that is long ago.
    before: Option<Vec<Before>>,
    /// Whether there is anybody to be asked for what this node lacks: not those who are gone.
    asks: bool,
}

/// What a member had when this node came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// Items, some of which are this node's now.
    Items,
    Nothing,
    /// It came later.
    Later,
}

impl Places {
    /// Those of a node of that name that knows of no other.
    pub(crate) fn alone(name: &Arc<str>) -> Self {
        Self {
            name: Arc::clone(name),
            view: Arc::default(),
            whole: None,
            next: None,
            before: None,
            asks: false,
        }
    }

    /// Those of the node of that name. `gone` are those who have gone of late; it `asks` those who were there
    /// `before`, or only tells them.
    pub(crate) fn new(
        name: Arc<str>,
        view: Arc<View>,
        gone: &[Arc<Member>],
        before: Option<Vec<Before>>,
        asks: bool,
    ) -> Self {
        let with = |stage, gone: &[Arc<Member>]| {
            let is_such = |member: &Arc<Member>| member.stage == stage && member.name != name;
            let any = !gone.is_empty() || view.members.iter().any(is_such);
            any.then(|| view.as_if_serving(|member| member.stage == stage, gone))
        };
        let leaves = view.members.iter().any(|member| member.stage == Stage::Leaving);
        let (whole, next) = (with(Stage::Leaving, gone), with(Stage::Coming, &[]));
        let before = before.filter(|before| before.contains(&Before::Items));
        let asks = leaves || asks;
        Self { name, view, whole, next, before, asks }
    }

    /// Whether there is never anybody but the owner.
    pub(crate) fn is_settled(&self) -> bool {
        self.whole.is_none() && self.next.is_none() && self.before.is_none()
    }

    /// Whether a key belongs to this node, or to nobody.
    pub(crate) fn is_mine(&self, key: &[u8]) -> bool {
        self.view.owning(key).is_none_or(|owner| owner.name == self.name)
    }

    /// Who is to forget a key when this node changes it.
    pub(crate) fn others(&self, key: &[u8]) -> Vec<&Arc<Member>> {
        let now = self.view.owning(key);
        let is_mine = now.is_some_and(|owner| owner.name == self.name);
        let [whole, next] =
            [&self.whole, &self.next].map(|view| view.as_ref().and_then(|view| view.owning(key)));
        let before = if is_mine { self.before(key) } else { None };
        let mut others: Vec<&Arc<Member>> = Vec::new();
        for member in [now, whole, next, before].into_iter().flatten() {
            if member.name != self.name && others.iter().all(|other| other.name != member.name) {
                others.push(member);
            }
        }
        others
    }

    /// Which others are about to go.
    pub(crate) fn leaving(&self) -> impl Iterator<Item = &Arc<Member>> {
        let is_such =
            |member: &&Arc<Member>| member.stage == Stage::Leaving && member.name != self.name;
        self.view.members.iter().filter(is_such)
    }

    /// Who has gone of late.
    pub(crate) fn gone(&self) -> impl Iterator<Item = &Arc<Member>> {
        let whole = self.whole.iter().flat_map(|whole| &whole.members);
        whole.filter(|member| !self.view.members.iter().any(|other| other.name == member.name))
    }

    /// Who may have what this node lacks though the key belongs to it.
    pub(crate) fn source(&self, key: &[u8]) -> Option<&Arc<Member>> {
        if !self.asks || self.view.owning(key)?.name != self.name {
            return None;
        }
        let leaving = self.whole.as_ref().and_then(|whole| {
            let member = whole.owning(key)?;
            let is_such =
                |other: &&Arc<Member>| other.stage == Stage::Leaving && other.name == member.name;
            self.view.members.iter().find(is_such)
        });
        leaving.or_else(|| self.before(key))
    }

    /// Who owned a key of this node before it came, if it had any items then.
    fn before(&self, key: &[u8]) -> Option<&Arc<Member>> {
        let before = self.before.as_ref()?;
        let is_other = |place: &usize| {
            self.view.members.get(*place).is_some_and(|member| member.name != self.name)
        };
        let place = self
            .view
            .candidates(key)
            .filter(is_other)
            .find(|place| before.get(*place).is_some_and(|before| *before != Before::Later))?;
        let had = before.get(place).is_some_and(|before| *before == Before::Items);
        self.view.members.get(place).filter(|_| had)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, stage: Stage) -> Arc<Member> {
        Arc::new(Member { stage, ..Member::called(name) })
    }

    fn view(members: &[&str]) -> View {
        View::new(1, members.iter().map(|name| member(name, Stage::Serving)).collect())
    }

    fn name_of_owner(view: &View, key: &[u8]) -> Arc<str> {
        Arc::clone(&view.owning(key).unwrap().name)
    }

    fn keys() -> impl Iterator<Item = Vec<u8>> {
        (0..500).map(|number| format!("key{number}").into_bytes())
    }

    fn names(members: Vec<&Arc<Member>>) -> Vec<Arc<str>> {
        members.into_iter().map(|member| Arc::clone(&member.name)).collect()
    }

    #[test]
    fn who_has_come_asks_and_tells_who_had_its_keys_and_had_items() {
        let all = Arc::new(view(&["a", "b", "c", "d"]));
        // c came after this node, and d had nothing.
        let before = vec![Before::Items, Before::Later, Before::Later, Before::Nothing];
        let places = Places::new("b".into(), Arc::clone(&all), &[], Some(before), true);
        let earlier = view(&["a", "d"]);
        let (mut asked, mut spared) = (0, 0);
        for key in keys() {
            let others = names(places.others(&key));
            let source = places.source(&key).map(|member| Arc::clone(&member.name));
            if &*name_of_owner(&all, &key) != "b" {
                // It only stands in for the owner, which is to forget what it has.
                assert_eq!((others, source), (vec![name_of_owner(&all, &key)], None));
            } else if &*name_of_owner(&earlier, &key) == "a" {
                asked += 1;
                assert_eq!((others, source), (vec!["a".into()], Some("a".into())));
            } else {
                spared += 1;
                assert_eq!((others, source), (vec![], None));
            }
        }
        assert!(asked > 20 && spared > 20, "{asked} {spared}");
    }

    #[test]
    fn who_is_gone_is_told_and_who_is_leaving_is_asked_too() {
        let present = vec![
            member("a", Stage::Serving),
            member("b", Stage::Serving),
            member("leaving", Stage::Leaving),
        ];
        let present = Arc::new(View::new(1, present));
        let gone = [member("gone", Stage::Serving)];
        let places = Places::new("a".into(), Arc::clone(&present), &gone, None, false);
        let whole = view(&["a", "b", "leaving", "gone"]);
        let mut seen = [0; 3];
        for key in keys().filter(|key| &*name_of_owner(&present, key) == "a") {
            let others = names(places.others(&key));
            let source = places.source(&key).map(|member| Arc::clone(&member.name));
            let (kind, told, asked) = match &*name_of_owner(&whole, &key) {
                "a" => (0, vec![], None),
                "gone" => (1, vec!["gone".into()], None),
                "leaving" => (2, vec!["leaving".into()], Some("leaving".into())),
                other => panic!("{other}"),
            };
            seen[kind] += 1;
            assert_eq!((others, source), (told, asked));
        }
        assert!(seen.iter().all(|seen| *seen > 20), "{seen:?}");
        assert!(!places.is_settled());
        assert_eq!(names(places.leaving().collect()), ["leaving".into()]);
        // It has not to tell itself.
        let itself = Places::new("leaving".into(), Arc::clone(&present), &[], None, false);
        assert_eq!(itself.leaving().count(), 0);
        assert!(Places::new("a".into(), present, &[], None, false).whole.is_some());
        assert!(
            Places::new("a".into(), Arc::new(view(&["a", "b"])), &[], None, false).is_settled()
        );
    }

    #[test]
    fn who_is_about_to_come_is_told() {
        let [a, b] = ["a", "b"].map(|name| member(name, Stage::Serving));
        let view_now = Arc::new(View::new(1, vec![a, b, member("coming", Stage::Coming)]));
        let places = Places::new("a".into(), Arc::clone(&view_now), &[], None, false);
        let next = view(&["a", "b", "coming"]);
        let mut told = 0;
        for key in keys().filter(|key| &*name_of_owner(&view_now, key) == "a") {
            let is_its = &*name_of_owner(&next, &key) == "coming";
            let others = names(places.others(&key));
            assert_eq!(others, if is_its { vec!["coming".into()] } else { vec![] });
            assert!(places.source(&key).is_none());
            told += usize::from(is_its);
        }
        assert!(told > 20, "{told}");
    }
}
