//! What other nodes are to forget.

use std::sync::Arc;

use ahash::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Keys that were changed here and that other nodes may have: these are to forget them, at once or, if they
/// cannot be reached, as soon as they can be.
///
/// Of a node that is owed more than [`MAX_BYTES`] of them, it is all items.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    owed: Mutex<HashMap<Arc<str>, Owed>>,
    /// There are more of them.
    pub(crate) wake: Notify,
}

/// What one node is to forget.
#[derive(Debug, Default)]
struct Owed {
    keys: HashMap<Box<[u8]>, Change>,
    bytes: usize,
    /// All items, and the number of the last change then.
    everything: Option<u64>,
    changes: u64,
}

/// The last change of a key.
#[derive(Clone, Copy, Debug)]
struct Change {
    number: u64,
    /// The node has been told, and what it has sent before may still come.
    told: bool,
}

/// Some of what a node is to forget.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Keys(Vec<(Box<[u8]>, u64)>),
    Everything(u64),
}

impl Hints {
    /// The node of that name is to forget a key.
    pub(crate) fn note(&self, name: &Arc<str>, key: &[u8]) {
        let mut owed = self.owed.lock();
        let owed = owed.entry(Arc::clone(name)).or_default();
        if owed.note(key) {
            self.wake.notify_one();
        }
    }

    /// The node of that name is to forget all.
    pub(crate) fn note_everything(&self, name: &Arc<str>) {
        self.owed.lock().entry(Arc::clone(name)).or_default().note_everything();
        self.wake.notify_one();
    }

    /// Whether what that node has of a key does not count.
    pub(crate) fn has(&self, name: &str, key: &[u8]) -> bool {
        let owed = self.owed.lock();
        owed.get(name).is_some_and(|owed| owed.everything.is_some() || owed.keys.contains_key(key))
    }

    /// Who is owed something.
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        self.owed.lock().keys().cloned().collect()
    }

    /// Some of what a node is to be told.
    pub(crate) fn due(&self, name: &str) -> Option<Due> {
        let owed = self.owed.lock();
        let owed = owed.get(name)?;
        if let Some(change) = owed.everything {
            return Some(Due::Everything(change));
        }
        let untold = owed.keys.iter().filter(|(_, change)| !change.told);
        let some = untold.take(KEYS_AT_ONCE).map(|(key, change)| (key.clone(), change.number));
        Some(Due::Keys(some.collect())).filter(|due| *due != Due::Keys(Vec::new()))
    }

    /// A node has been told. What has changed since is still to be. With `keep`, keys are remembered
    /// until [all that were told are forgotten](Self::forget_told).
    pub(crate) fn settle(&self, name: &str, due: &Due, keep: bool) {
        let mut all = self.owed.lock();
        let Some(owed) = all.get_mut(name) else { return };
        match due {
            Due::Everything(change) => {
                owed.everything.take_if(|last| last == change);
            }
            Due::Keys(keys) => {
                for (key, change) in keys {
                    let Some(last) = owed.keys.get_mut(key) else { continue };
                    if last.number != *change {
                        continue;
                    }
                    last.told = true;
                    if !keep {
                        owed.keys.remove(key);
                        owed.bytes -= weight(key);
                    }
                }
            }
        }
        if owed.is_nothing() {
            all.remove(name);
        }
    }

    /// Nothing comes from that node any more.
    pub(crate) fn forget_told(&self, name: &str) {
        let mut all = self.owed.lock();
        let Some(owed) = all.get_mut(name) else { return };
        let Owed { keys, bytes, .. } = owed;
        keys.retain(|key, change| {
            *bytes -= if change.told { weight(key) } else { 0 };
            !change.told
        });
        if owed.is_nothing() {
            all.remove(name);
        }
    }

    /// A node is owed nothing any more: it will not come back with what it had.
    pub(crate) fn forgive(&self, name: &str) {
        self.owed.lock().remove(name);
    }

    /// How many keys are owed, and to how many nodes all.
    pub(crate) fn count(&self) -> (usize, usize) {
        let owed = self.owed.lock();
        let untold = |owed: &Owed| owed.keys.values().filter(|change| !change.told).count();
        let keys = owed.values().map(untold).sum();
        (keys, owed.values().filter(|owed| owed.everything.is_some()).count())
    }
}

impl Owed {
    fn is_nothing(&self) -> bool {
        self.keys.is_empty() && self.everything.is_none()
    }

    /// Whether that is more than it was.
    fn note(&mut self, key: &[u8]) -> bool {
        self.changes += 1;
        if let Some(change) = &mut self.everything {
            *change = self.changes;
            return false;
        }
        if let Some(change) = self.keys.get_mut(key) {
            let was_told = change.told;
            *change = Change { number: self.changes, told: false };
            return was_told;
        }
        self.bytes += weight(key);
        if self.bytes > MAX_BYTES {
            self.note_everything();
        } else {
            self.keys.insert(key.into(), Change { number: self.changes, told: false });
        }
        true
    }

    fn note_everything(&mut self) {
        self.changes += 1;
        self.everything = Some(self.changes);
        (self.keys, self.bytes) = (HashMap::default(), 0);
    }
}

/// What a key takes here, about, in bytes.
fn weight(key: &[u8]) -> usize {
    key.len() + 48
}

/// What may be owed to one node, in bytes: about a hundred thousand keys.
pub(crate) const MAX_BYTES: usize = 8 << 20;

/// How many keys go in one call.
const KEYS_AT_ONCE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_while_a_node_is_told_is_still_owed() {
        let (hints, name) = (Hints::default(), Arc::from("other"));
        for key in [b"a", b"b"] {
            hints.note(&name, key);
        }
        let due = hints.due(&name).unwrap();
        hints.note(&name, b"b");
        hints.settle(&name, &due, false);
        assert!(!hints.has(&name, b"a") && hints.has(&name, b"b") && !hints.has("third", b"b"));
        let due = hints.due(&name).unwrap();
        assert_eq!(due, Due::Keys(vec![(b"b"[..].into(), 3)]));
        hints.settle(&name, &due, false);
        assert!(hints.due(&name).is_none() && hints.names().is_empty());
    }

    #[test]
    fn what_was_told_may_be_remembered_and_is_told_again_when_it_changes() {
        let (hints, name) = (Hints::default(), Arc::from("other"));
        hints.note(&name, b"a");
        hints.settle(&name, &hints.due(&name).unwrap(), true);
        assert!(hints.has(&name, b"a") && hints.due(&name).is_none());
        assert_eq!(hints.count(), (0, 0));
        hints.note(&name, b"a");
        assert_eq!(hints.due(&name), Some(Due::Keys(vec![(b"a"[..].into(), 2)])));
        hints.forget_told(&name);
        assert!(hints.has(&name, b"a"));
        hints.settle(&name, &hints.due(&name).unwrap(), true);
        hints.forget_told(&name);
        assert!(!hints.has(&name, b"a") && hints.names().is_empty());
    }

    #[test]
    fn too_much_is_everything() {
        let (hints, name) = (Hints::default(), Arc::from("other"));
        let mut keys = 0_u32;
        while !matches!(hints.due(&name), Some(Due::Everything(_))) {
            hints.note(&name, format!("key {keys}").as_bytes());
            keys += 1;
        }
        assert!(keys > 50_000 && hints.has(&name, b"any"));
        assert_eq!(hints.count(), (0, 1));
        let due = hints.due(&name).unwrap();
        hints.note(&name, b"one more");
        hints.settle(&name, &due, false);
        assert!(hints.has(&name, b"one more"));
        hints.settle(&name, &hints.due(&name).unwrap(), false);
        assert!(hints.due(&name).is_none());
        hints.note(&name, b"a");
        assert!(matches!(hints.due(&name), Some(Due::Keys(_))));
        hints.note_everything(&name);
        assert!(matches!(hints.due(&name), Some(Due::Everything(_))));
        hints.forgive(&name);
        assert!(hints.due(&name).is_none());
    }
}
