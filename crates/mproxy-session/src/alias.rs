//! Topic aliases of MQTT 5.0 in one direction (section 3.3.2.3.4).

use std::sync::Arc;

use mproxy_codec::{Direction, PublishLayout};

use crate::error::{End, Violation};

/// What the sender bound, and what the receiver was told.
///
/// The two differ when a hook refuses or rewrites: the sender counts an alias as bound by a PUBLISH
/// that the receiver never saw. An alias-only PUBLISH is judged by the sender's binding and goes on
/// as it is only if the receiver's binding says the same.
#[derive(Debug)]
pub(crate) struct AliasTable {
    direction: Direction,
    /// What the receiver announced; larger aliases are an error.
    maximum: u16,
    /// Indexed by alias - 1; grows as aliases are used, never because one was announced.
    entries: Vec<Entry>,
    /// Bytes of all topic names, however they are shared.
    bytes: usize,
}

/// Bytes of topic names that the aliases of one direction may stand for, on each side: devices alias
/// a few short names.
const MAX_BYTES: usize = 64 * 1024;

/// The longest name of a hook's choice that is remembered as told.
const MAX_TOLD: usize = 4 * 1024;

#[derive(Debug, Default, Clone)]
struct Entry {
    bound: Option<Arc<[u8]>>,
    told: Option<Arc<[u8]>>,
}

impl AliasTable {
    pub(crate) const fn new(direction: Direction, maximum: u16) -> Self {
        Self {
            direction,
            maximum,
            entries: Vec::new(),
            bytes: 0,
        }
    }

    /// Follows a PUBLISH from its sender: binds what it binds, resolves what it uses.
    ///
    /// Returns the topic name that stands behind an empty one. With `remember` false (nobody looks
    /// at topics in this direction) only the fact of the binding is kept.
    ///
    /// # Errors
    /// An alias above the announced maximum, one that is not bound, or names that are too long
    /// together.
    pub(crate) fn receive(
        &mut self,
        layout: &PublishLayout,
        bytes: &[u8],
        remember: bool,
    ) -> Result<Option<Arc<[u8]>>, End> {
        let Some(alias) = layout.topic_alias() else {
            return Ok(None);
        };
        if alias > self.maximum {
            return Err(End::violation(
                self.direction,
                Violation::TopicAliasTooLarge,
            ));
        }
        let index = usize::from(alias) - 1;
        let topic = layout.topic(bytes);
        if topic.is_empty() {
            let bound = self
                .entries
                .get(index)
                .and_then(|entry| entry.bound.clone());
            return match bound {
                Some(topic) => Ok(Some(topic)),
                None => Err(End::violation(self.direction, Violation::TopicAliasUnknown)),
            };
        }
        if self.entries.len() <= index {
            self.entries.resize(index + 1, Entry::default());
        }
        let entry = &mut self.entries[index];
        let name = if remember { topic } else { &[] };
        if entry.bound.as_deref() != Some(name) {
            let replaced = entry.bound.as_deref().map_or(0, <[u8]>::len);
            self.bytes = self.bytes - replaced + name.len();
            if self.bytes > MAX_BYTES {
                return Err(End::violation(self.direction, Violation::TopicAliasMemory));
            }
            entry.bound = Some(Arc::from(name));
        }
        Ok(None)
    }

    /// A PUBLISH with an alias, and `topic` if it has one, does not go to the receiver after all,
    /// which so does not learn what the alias stands for. Where nobody looks at topics this is the
    /// one that must be remembered, or, when there is no room, cannot be used.
    pub(crate) fn take_back(&mut self, alias: u16, topic: &[u8]) {
        let entry = self.entries.get_mut(usize::from(alias).wrapping_sub(1));
        let Some(entry) = entry.filter(|_| !topic.is_empty()) else {
            return;
        };
        entry.told = None;
        if !entry.bound.as_deref().is_some_and(<[u8]>::is_empty) {
            return;
        }
        if self.bytes + topic.len() > MAX_BYTES {
            entry.bound = None;
        } else {
            self.bytes += topic.len();
            entry.bound = Some(Arc::from(topic));
        }
    }

    /// True when the receiver understands an alias-only PUBLISH as `topic`.
    pub(crate) fn is_told(&self, alias: u16, topic: &[u8]) -> bool {
        self.entries
            .get(usize::from(alias).wrapping_sub(1))
            .is_some_and(|entry| entry.told.as_deref() == Some(topic))
    }

    /// A PUBLISH that binds `alias` to `topic` goes to the receiver.
    pub(crate) fn tell(&mut self, alias: u16, topic: &[u8]) {
        if let Some(entry) = self.entries.get_mut(usize::from(alias).wrapping_sub(1)) {
            if entry.told.as_deref() == Some(topic) {
                return;
            }
            // the usual case shares the memory of the sender's binding
            entry.told = match &entry.bound {
                Some(bound) if **bound == *topic => Some(bound.clone()),
                // not remembered, so written out again each time
                _ if topic.len() > MAX_TOLD => None,
                _ => Some(Arc::from(topic)),
            };
        }
    }
}
