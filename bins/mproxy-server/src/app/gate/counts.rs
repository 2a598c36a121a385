//! How many each client has of something.

use std::collections::HashMap;

use super::client::Client;

/// Never more entries than what is counted.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone, PartialEq))]
pub(super) struct Counts(HashMap<Client, usize>);

impl Counts {
    pub(super) fn of(&self, client: Client) -> usize {
        self.0.get(&client).copied().unwrap_or_default()
    }

    pub(super) fn add(&mut self, client: Client) {
        *self.0.entry(client).or_default() += 1;
    }

    /// Does nothing for a client that has none.
    pub(super) fn remove(&mut self, client: Client) {
        if let Some(count) = self.0.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&client);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
