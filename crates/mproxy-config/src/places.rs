//! Where values were written, for what is found out about them after the configuration was checked.

use std::collections::BTreeMap;
use std::ops::Range;

/// Where values were written, each with its name. All places are equal: a value that has moved has not
/// changed.
#[derive(Clone, Debug)]
pub struct Places<K>(BTreeMap<K, Range<usize>>);

impl<K> Default for Places<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> Places<K> {
    /// Where this value was written; `None` = it is a default.
    pub fn of(&self, name: &K) -> Option<Range<usize>> {
        self.0.get(name).cloned()
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = Range<usize>> {
        self.0.values().cloned()
    }

    pub(crate) fn insert(&mut self, name: K, span: Option<Range<usize>>) {
        if let Some(span) = span {
            self.0.insert(name, span);
        }
    }
}

impl<K> PartialEq for Places<K> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
