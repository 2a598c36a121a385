//! Topic aliases of MQTT 5.0 in one direction (section 3.3.2.3.4).

use std::collections::BTreeMap;
use std::sync::Arc;

use mproxy_codec::{Direction, Kind, PublishLayout};

use crate::cause::{Cause, Change, End};
use crate::error::Violation;

/// The aliases that the sender bound, and those that the receiver was told.
///
/// The two differ when a hook refuses or rewrites: the sender counts an alias as bound by a PUBLISH
/// that the receiver never saw. An alias-only PUBLISH is judged by the sender's binding and is forwarded
/// unchanged only if the receiver has the same binding.
#[derive(Debug)]
pub(crate) struct AliasTable {
    direction: Direction,
    /// The receiver's maximum; larger aliases are an error.
    maximum: u16,
    /// The names of aliases, if hooks look at topics. If none does, only the names of aliases that were
    /// bound by a PUBLISH that was not forwarded.
    entries: BTreeMap<u16, Entry>,
    /// Bytes of all topic names that the sender bound, however they are shared, and of their entries.
    bytes: usize,
    /// Bytes of the names that the receiver was told but the sender did not bind.
    told: usize,
    /// If no hook looks at topics: which aliases are bound, one bit each. Grows as aliases are used,
    /// never because one was announced.
    bound: Vec<u64>,
}

/// Maximum bytes of topic names for the aliases of one direction, on each side: devices alias
/// a few short names.
const MAX_BYTES: usize = 64 * 1024;

/// Bytes of an entry in addition to its name.
const ENTRY_BYTES: usize = 64;

/// The longest name chosen by a hook that is remembered as told.
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
            entries: BTreeMap::new(),
            bytes: 0,
            told: 0,
            bound: Vec::new(),
        }
    }

    /// Bytes of memory that it takes.
    pub(crate) fn size(&self) -> usize {
        self.bytes + self.told + self.bound.capacity() * size_of::<u64>()
    }

    /// Changes an existing entry.
    fn change(&mut self, alias: u16, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries.get_mut(&alias) {
            self.told -= entry.own_told();
            change(entry);
            self.told += entry.own_told();
        }
    }

    /// Applies a PUBLISH from its sender: binds or resolves its alias.
    ///
    /// Returns the topic name for an empty one, if the receiver may not know it. With
    /// `remember` false (no hook looks at topics in this direction) only the fact of the binding is
    /// kept.
    ///
    /// # Errors
    /// An alias above the announced maximum, one that is not bound, or names that are together too
    /// long.
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
            return Err(self.violation(Violation::TopicAliasTooLarge));
        }
        let topic = layout.topic(bytes);
        if topic.is_empty() {
            let entry = self.entries.get(&alias);
            return match entry.and_then(|entry| entry.bound.clone()) {
                Some(topic) => Ok(Some(topic)),
                // bound before the hooks looked at topics
                None if self.is_bound(alias) && remember => {
                    Err(Box::new(Cause::RulesChanged(Change::Alias)))
                }
                None if self.is_bound(alias) => Ok(None),
                None => Err(self.violation(Violation::TopicAliasUnknown)),
            };
        }
        if remember {
            if !self.bind(alias, topic) {
                return Err(self.violation(Violation::TopicAliasMemory));
            }
        } else {
            self.forget(alias);
            self.set_bound(alias, true);
        }
        Ok(None)
    }

    fn violation(&self, violation: Violation) -> End {
        Cause::violation(self.direction, Kind::Publish, violation)
    }

    /// A PUBLISH with an alias, and `topic` if it has one, is not forwarded after all. The
    /// receiver does not know the alias now. A direction without hooks stores no names: from here on it
    /// stores this one, or drops the alias if there is no room.
    pub(crate) fn take_back(&mut self, alias: u16, topic: &[u8]) {
        self.change(alias, |entry| entry.told = None);
        if !topic.is_empty() && self.is_bound(alias) {
            self.set_bound(alias, false);
            // without room, the alias becomes unknown rather than another topic
            let _ = self.bind(alias, topic);
        }
    }

    /// True if there is room to remember the topic of an alias.
    pub(crate) fn has_room(&self, alias: u16, topic: &[u8]) -> bool {
        self.bytes_with(alias, topic) <= MAX_BYTES
    }

    /// Bytes of all topic names if this one is remembered, in place of an earlier one of this alias.
    fn bytes_with(&self, alias: u16, topic: &[u8]) -> usize {
        let entry = self.entries.get(&alias);
        let replaced = entry.and_then(|entry| entry.bound.as_deref());
        let replaced = replaced.map_or(0, |name| name.len() + ENTRY_BYTES);
        self.bytes - replaced + topic.len() + ENTRY_BYTES
    }

    /// Remembers the topic of an alias; `false` if there is no room.
    fn bind(&mut self, alias: u16, topic: &[u8]) -> bool {
        let entry = self.entries.get(&alias);
        let bound = entry.and_then(|entry| entry.bound.as_deref());
        if bound == Some(topic) {
            return true;
        }
        let bytes = self.bytes_with(alias, topic);
        if bytes > MAX_BYTES {
            return false;
        }
        self.bytes = bytes;
        self.entries.entry(alias).or_default();
        self.change(alias, |entry| entry.bound = Some(Arc::from(topic)));
        true
    }

    fn forget(&mut self, alias: u16) {
        if let Some(entry) = self.entries.remove(&alias) {
            self.told -= entry.own_told();
            self.bytes -= entry.bound.map_or(0, |name| name.len() + ENTRY_BYTES);
        }
    }

    fn is_bound(&self, alias: u16) -> bool {
        let (word, bit) = place(alias);
        self.bound.get(word).is_some_and(|bits| bits & bit != 0)
    }

    fn set_bound(&mut self, alias: u16, is_bound: bool) {
        let (word, bit) = place(alias);
        if self.bound.len() <= word {
            self.bound.resize(word + 1, 0);
        }
        if is_bound {
            self.bound[word] |= bit;
        } else {
            self.bound[word] &= !bit;
        }
    }

    /// True if the receiver understands an alias-only PUBLISH as `topic`.
    pub(crate) fn is_told(&self, alias: u16, topic: &[u8]) -> bool {
        self.entries
            .get(&alias)
            .is_some_and(|entry| entry.told.as_deref() == Some(topic))
    }

    /// A PUBLISH that binds `alias` to `topic` is forwarded.
    pub(crate) fn tell(&mut self, alias: u16, topic: &[u8]) {
        self.change(alias, |entry| {
            if entry.told.as_deref() == Some(topic) {
                return;
            }
            // the usual case shares the memory of the sender's binding
            entry.told = match &entry.bound {
                Some(bound) if **bound == *topic => Some(bound.clone()),
                // not remembered, so it is written out each time
                _ if topic.len() > MAX_TOLD => None,
                _ => Some(Arc::from(topic)),
            };
        });
    }
}

impl Entry {
    /// Bytes of the name that the receiver was told, unless it shares the memory of the sender's binding.
    fn own_told(&self) -> usize {
        match (&self.bound, &self.told) {
            (Some(bound), Some(told)) if Arc::ptr_eq(bound, told) => 0,
            (_, told) => told.as_ref().map_or(0, |told| told.len()),
        }
    }
}

/// The word and the bit of an alias.
const fn place(alias: u16) -> (usize, u64) {
    (alias as usize / 64, 1 << (alias % 64))
}

#[cfg(test)]
mod tests {
    use mproxy_codec::{Head, Version};

    use super::*;

    fn receive(table: &mut AliasTable, alias: u16, topic: &str) -> Result<Option<String>, End> {
        let [high, low] = alias.to_be_bytes();
        let mut packet = vec![0x30, 0, 0, topic.len() as u8];
        packet.extend(topic.as_bytes());
        packet.extend([3, 0x23, high, low]);
        packet[1] = packet.len() as u8 - 2;
        let head = Head::parse(&packet).unwrap().unwrap();
        let layout = PublishLayout::parse(head, Version::V5, Direction::ToServer, &packet);
        let layout = layout.unwrap().unwrap();
        let name = table.receive(&layout, &packet, false)?;
        Ok(name.map(|name| String::from_utf8_lossy(&name).into_owned()))
    }

    /// Where nobody looks at topics, all 65,535 aliases cost a bit each: a client that uses them
    /// must see what it would see from the broker.
    #[test]
    fn without_hooks_an_alias_is_a_bit() {
        let mut table = AliasTable::new(Direction::ToServer, u16::MAX);
        for alias in 1..=u16::MAX {
            assert!(
                receive(&mut table, alias, "").is_err(),
                "{alias} is not bound"
            );
            assert_eq!(receive(&mut table, alias, "t").unwrap(), None);
            assert_eq!(receive(&mut table, alias, "").unwrap(), None);
        }
        assert!(table.entries.is_empty());
        assert_eq!(table.bound.len() * 8, 8192);
        let mut table = AliasTable::new(Direction::ToServer, 10);
        assert!(receive(&mut table, 11, "t").is_err(), "above the maximum");
    }

    /// The receiver did not learn it, so the name goes along with the next use; if there are too
    /// many of them, the alias is unknown, and never stands for what it stood for before.
    #[test]
    fn an_alias_of_a_dropped_publish_is_remembered_or_unknown() {
        let mut table = AliasTable::new(Direction::ToServer, u16::MAX);
        receive(&mut table, 1, "before").unwrap();
        receive(&mut table, 1, "dropped").unwrap();
        table.take_back(1, b"dropped");
        assert_eq!(
            receive(&mut table, 1, "").unwrap().as_deref(),
            Some("dropped")
        );
        table.tell(1, b"dropped");
        assert!(table.is_told(1, b"dropped"));
        receive(&mut table, 1, "after").unwrap();
        assert_eq!(receive(&mut table, 1, "").unwrap(), None);
        for alias in 2..=3000 {
            receive(&mut table, alias, "t").unwrap();
            table.take_back(alias, b"t");
        }
        assert!(table.bytes <= MAX_BYTES);
        assert!(receive(&mut table, 3000, "").is_err());
        assert!(receive(&mut table, 2, "").is_ok());
    }
}
