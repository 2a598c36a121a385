//! The rules for some clients only.

use std::collections::HashMap;

use mproxy_codec::topic::Dialect;

use super::{rule_set::RuleSet, who::Who};
use crate::Names;

/// Rules grouped by their clients, looked up at CONNECT without checking each.
#[derive(Debug, Default)]
pub(super) struct Groups {
    all: Vec<Group>,
    places: HashMap<Who, usize>,
    by_username: HashMap<String, Vec<u32>>,
    by_client_id: HashMap<String, Vec<u32>>,
    /// Groups with neither user names nor client ids.
    others: Vec<u32>,
}

/// The rules for the same clients.
#[derive(Debug)]
struct Group {
    who: Who,
    rules: RuleSet,
}

impl Groups {
    /// Returns the rules for these clients.
    pub(super) fn set_of(&mut self, who: &Who, dialect: Dialect) -> &mut RuleSet {
        let place = match self.places.get(who) {
            Some(place) => *place,
            None => self.begin(who, dialect),
        };
        &mut self.all[place].rules
    }

    fn begin(&mut self, who: &Who, dialect: Dialect) -> usize {
        let place = self.all.len();
        self.all.push(Group {
            who: who.clone(),
            rules: RuleSet::new(dialect),
        });
        self.places.insert(who.clone(), place);
        // there is not memory for more
        let number = u32::try_from(place).unwrap_or(u32::MAX);
        let (index, names) = if let Some(names) = &who.usernames {
            (&mut self.by_username, names)
        } else if let Some(ids) = &who.client_ids {
            (&mut self.by_client_id, ids)
        } else {
            self.others.push(number);
            return place;
        };
        for name in names {
            index.entry(name.clone()).or_default().push(number);
        }
        place
    }

    /// Returns the numbers of the groups that a client is in.
    pub(super) fn of(&self, names: Names<'_>) -> Box<[u32]> {
        let by_username = names.username.and_then(|name| self.by_username.get(name));
        let by_client_id = self.by_client_id.get(names.client_id);
        let indexed = by_username.into_iter().chain(by_client_id).flatten();
        let candidates = self.others.iter().chain(indexed).copied();
        let has = |number: &u32| {
            let group = self.all.get(*number as usize);
            group.is_some_and(|group| group.who.has(names))
        };
        candidates.filter(has).collect()
    }

    /// Returns the rules of a group.
    pub(super) fn get(&self, number: u32) -> Option<&RuleSet> {
        self.all.get(number as usize).map(|group| &group.rules)
    }

    /// Whether groups depend on names of clients.
    pub(super) fn go_by_names(&self) -> bool {
        self.all.iter().any(|group| group.who.goes_by_names())
    }

    pub(super) fn rules(&self) -> impl Iterator<Item = &RuleSet> {
        self.all.iter().map(|group| &group.rules)
    }
}
