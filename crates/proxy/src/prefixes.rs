//! The longest of many prefixes that a key begins with.

/// Prefixes, and what each stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prefixes {
    /// In their order.
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    prefix: Box<[u8]>,
    meaning: usize,
    /// The longest other one that this begins with.
    outer: Option<usize>,
}

impl Prefixes {
    /// Of these, of which no two are the same.
    pub(crate) fn new<'p>(prefixes: impl IntoIterator<Item = (&'p [u8], usize)>) -> Self {
        let mut all: Vec<_> = prefixes.into_iter().collect();
        all.sort_unstable();
        let mut new = Self::default();
        for (prefix, meaning) in all {
            let outer = new.longest(new.entries.len().checked_sub(1), prefix);
            new.entries.push(Entry { prefix: prefix.into(), meaning, outer });
        }
        new
    }

    /// What the longest prefix of `key` stands for.
    pub(crate) fn find(&self, key: &[u8]) -> Option<usize> {
        // Whatever it begins with stands before it, and all between the two begin with that too.
        let behind = self.entries.partition_point(|entry| *entry.prefix <= *key);
        let found = self.longest(behind.checked_sub(1), key)?;
        self.entries.get(found).map(|entry| entry.meaning)
    }

    /// The longest prefix of `text` among this entry and those that it begins with.
    fn longest(&self, mut from: Option<usize>, text: &[u8]) -> Option<usize> {
        while let Some(entry) = self.entries.get(from?) {
            if text.starts_with(&entry.prefix) {
                return from;
            }
            from = entry.outer;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_counts() {
        let texts = ["", "a", "ab", "abc", "abd", "b", "session:", "session:x"];
        // Each set of them, for each key.
        for set in 0..1_usize << texts.len() {
            let chosen = texts.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1);
            let chosen: Vec<_> = chosen.map(|(at, text)| (text.as_bytes(), at)).collect();
            let prefixes = Prefixes::new(chosen.iter().copied());
            for key in ["x", "a", "aa", "ab", "abb", "abcd", "abz", "b", "ba", "session:xy", "sess"]
            {
                let fitting = chosen.iter().filter(|(text, _)| key.as_bytes().starts_with(text));
                let longest = fitting.max_by_key(|(text, _)| text.len()).map(|(_, at)| *at);
                assert_eq!(prefixes.find(key.as_bytes()), longest, "{key} among {chosen:?}");
            }
        }
    }
}
