//! Addresses that have had turns before others, and have no client in the queue now.

use std::collections::{BTreeMap, HashMap};

use super::queue::{Holder, Number};

/// Addresses at most; then the oldest is forgotten. Each has cost a turn at the broker.
const MOST: usize = 65_536;

/// Who owes the others a turn, and since when.
#[derive(Debug, Default)]
pub(super) struct Debts {
    since: HashMap<Holder, Number>,
    /// The same, in order.
    holders: BTreeMap<Number, Holder>,
}

impl Debts {
    /// Remembers the debt of an address that has none here. No two began with the same number.
    pub(super) fn add(&mut self, holder: Holder, since: Number) {
        if self.holders.len() == MOST {
            self.forget_oldest();
        }
        self.since.insert(holder, since);
        self.holders.insert(since, holder);
    }

    /// Since when an address is in debt, if it is: it waits again.
    pub(super) fn take(&mut self, holder: Holder) -> Option<Number> {
        let since = self.since.remove(&holder)?;
        self.holders.remove(&since);
        Some(since)
    }

    /// Forgets the debts towards those that wait no more: `oldest` is when the first came that does, if any
    /// does.
    pub(super) fn forget_before(&mut self, oldest: Option<Number>) {
        while let Some((since, _)) = self.holders.first_key_value()
            && oldest.is_none_or(|oldest| *since <= oldest)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, holder)) = self.holders.pop_first() {
            self.since.remove(&holder);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.holders.len()
    }
}
