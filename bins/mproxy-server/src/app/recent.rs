//! Points in time by key, in bounded memory: for whom something was counted a short while ago.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::mem;
use std::time::Duration;

/// Nanoseconds since some start.
pub(crate) type Moment = u64;

/// A duration in nanoseconds, as a moment is. 584 years fit.
pub(crate) fn nanos(duration: Duration) -> Moment {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The moments of keys that were used in the last two periods.
///
/// There are two generations: after a period the younger becomes the older, and what was not used since
/// then is dropped. So nothing is searched. The owner chooses a period after which a moment means nothing any
/// more, so that no key gets a fresh start too early.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone, PartialEq))]
pub(crate) struct Recent<K: Hash + Eq> {
    most: usize,
    /// Used since `since`.
    young: HashMap<K, Moment>,
    /// Used in the period before, and not since.
    old: HashMap<K, Moment>,
    since: Moment,
}

impl<K: Hash + Eq> Recent<K> {
    /// Without a key. There are never more than `most`.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            young: HashMap::new(),
            old: HashMap::new(),
            since: 0,
        }
    }

    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<Moment>
    where
        K: Borrow<Q>,
    {
        let moment = self.young.get(key).or_else(|| self.old.get(key));
        moment.copied()
    }

    /// Sets the moment of a key, unless it is new and the room is taken.
    pub(crate) fn set(&mut self, key: K, moment: Moment, now: Moment, period: u64) {
        if now.saturating_sub(self.since) >= period {
            self.old = mem::take(&mut self.young);
            self.since = now;
        }
        let is_known = self.get(&key).is_some();
        if is_known || self.young.len() + self.old.len() < self.most {
            self.old.remove(&key);
            self.young.insert(key, moment);
        }
    }

    /// Forgets a key.
    pub(crate) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<Moment>
    where
        K: Borrow<Q>,
    {
        let young = self.young.remove(key);
        self.old.remove(key).or(young)
    }

    /// All keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, Moment)> {
        let all = self.young.iter().chain(&self.old);
        all.map(|(key, moment)| (key, *moment))
    }

    #[cfg(test)]
    pub(crate) fn with_most(mut self, most: usize) -> Self {
        self.most = most;
        self
    }
}
