//! Which rules match all that another one matches, found without comparing every two of them: 8,000
//! rules took seconds, and 100,000 a quarter of an hour.
//!
//! ```text
//! clients of a rule --> groups of rules about these clients and more, by one of their names
//!      group: topics, as a tree of levels --> rules with a pattern that covers a pattern
//!             filters, as they stand      --> rules with that filter
//! ```
//! At each place are the rules in their order, and the first one of each kind: what decides about a
//! rule with one pattern is the first, whatever else is there.

use crate::layer::{AclRule, AclWho};
use crate::scalar::{Template, opaque};
use mproxy_codec::topic::TopicFilter;
use mproxy_layers::acl::{Actions, written_out};
use std::collections::HashMap;

/// What a rule does: whether it allows, and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) allow: bool,
    pub(crate) publish: bool,
    pub(crate) subscribe: bool,
}

/// How many kinds there are.
const KINDS: usize = 8;

/// Rules, in the order in which they are asked.
#[derive(Debug, Default)]
pub(crate) struct Index<'a> {
    groups: Vec<Group<'a>>,
    places: HashMap<&'a AclWho, usize>,
    /// Where groups are found: each by the first of these that it has, and under all its names.
    by_username: HashMap<&'a str, Vec<usize>>,
    by_client_id: HashMap<&'a str, Vec<usize>>,
    by_network: HashMap<String, Vec<usize>>,
    by_listener: HashMap<&'a str, Vec<usize>>,
    others: Vec<usize>,
    kinds: Vec<Kind>,
}

/// The rules that are about the same clients.
#[derive(Debug)]
struct Group<'a> {
    who: &'a AclWho,
    topics: Node,
    filters: HashMap<&'a str, Found>,
}

/// A level of patterns.
#[derive(Debug, Default)]
struct Node {
    texts: HashMap<Box<str>, Self>,
    single: Option<Box<Self>>,
    /// Rules with a pattern that ends here.
    here: Found,
    /// Rules with a pattern that ends in `#` below.
    open: Found,
}

/// The rules at a place.
#[derive(Debug, Default)]
pub(crate) struct Found {
    rules: Vec<u32>,
    first: [Option<u32>; KINDS],
}

// ===== impl Kind =====

impl Kind {
    pub(crate) fn of(rule: &AclRule) -> Self {
        Self {
            allow: rule.allows(),
            publish: rule.actions.contains(Actions::PUBLISH),
            subscribe: rule.actions.contains(Actions::SUBSCRIBE),
        }
    }

    const ALL: [Self; KINDS] = {
        let mut all = [Self {
            allow: false,
            publish: false,
            subscribe: false,
        }; KINDS];
        let mut place = 0;
        while place < KINDS {
            all[place] = Self {
                allow: place & 1 != 0,
                publish: place & 2 != 0,
                subscribe: place & 4 != 0,
            };
            place += 1;
        }
        all
    };

    const fn place(self) -> usize {
        self.allow as usize | (self.publish as usize) << 1 | (self.subscribe as usize) << 2
    }
}

// ===== impl Found =====

impl Found {
    fn add(&mut self, number: u32, kind: Kind) {
        if self.rules.last() != Some(&number) {
            self.rules.push(number);
        }
        self.first[kind.place()].get_or_insert(number);
    }

    /// The first rule of a kind that is wanted.
    pub(crate) fn first(&self, wanted: impl Fn(Kind) -> bool) -> Option<u32> {
        let kinds = Kind::ALL.into_iter().filter(|kind| wanted(*kind));
        kinds.filter_map(|kind| self.first[kind.place()]).min()
    }

    /// All of them, in their order.
    pub(crate) fn rules(&self) -> &[u32] {
        &self.rules
    }

    pub(crate) fn has(&self, number: u32) -> bool {
        self.rules.binary_search(&number).is_ok()
    }

    fn some(&self) -> Option<&Self> {
        (!self.rules.is_empty()).then_some(self)
    }
}

// ===== impl Index =====

impl<'a> Index<'a> {
    /// Adds the rule after all others.
    pub(crate) fn add(&mut self, rule: &'a AclRule) {
        // a configuration has at most 64 MiB
        let number = u32::try_from(self.kinds.len()).unwrap_or(u32::MAX);
        let kind = Kind::of(rule);
        self.kinds.push(kind);
        let place = self.group(&rule.who);
        let Some(group) = self.groups.get_mut(place) else {
            return;
        };
        for topic in &rule.topics {
            if let Some(topic) = readable(topic) {
                group.topics.add(&topic, number, kind);
            }
        }
        for filter in &rule.filters {
            let found = group.filters.entry(filter.as_str()).or_default();
            found.add(number, kind);
        }
    }

    /// What a rule of this number does.
    pub(crate) fn kind(&self, number: u32) -> Option<Kind> {
        self.kinds.get(number as usize).copied()
    }

    fn group(&mut self, who: &'a AclWho) -> usize {
        if let Some(place) = self.places.get(who) {
            return *place;
        }
        let place = self.groups.len();
        self.places.insert(who, place);
        self.groups.push(Group {
            who,
            topics: Node::default(),
            filters: HashMap::new(),
        });
        fn under<'a>(index: &mut HashMap<&'a str, Vec<usize>>, names: &'a [String], place: usize) {
            for name in names {
                index.entry(name).or_default().push(place);
            }
        }
        if !who.usernames.is_empty() {
            under(&mut self.by_username, &who.usernames, place);
        } else if !who.client_ids.is_empty() {
            under(&mut self.by_client_id, &who.client_ids, place);
        } else if !who.networks.is_empty() {
            for network in &who.networks {
                let groups = self.by_network.entry(network.to_string());
                groups.or_default().push(place);
            }
        } else if !who.listeners.is_empty() {
            under(&mut self.by_listener, &who.listeners, place);
        } else {
            self.others.push(place);
        }
        place
    }

    /// The groups about all these clients, and `steps` for each that was looked at.
    fn groups(&self, who: &AclWho, steps: &mut u64) -> Vec<&Group<'a>> {
        // a group with all names of a list is found under each: so under the one with the fewest
        fn fewest<'g>(lists: impl Iterator<Item = Option<&'g Vec<usize>>>) -> &'g [usize] {
            let lists = lists.map(|list| list.map_or(&[][..], Vec::as_slice));
            lists.min_by_key(|list| list.len()).unwrap_or_default()
        }
        let named = [
            fewest(who.usernames.iter().map(|it| self.by_username.get(&**it))),
            fewest(who.client_ids.iter().map(|it| self.by_client_id.get(&**it))),
            fewest(
                who.networks
                    .iter()
                    .map(|it| self.by_network.get(&it.to_string())),
            ),
            fewest(who.listeners.iter().map(|it| self.by_listener.get(&**it))),
        ];
        let places = self.others.iter().chain(named.into_iter().flatten());
        let groups = places.filter_map(|place| self.groups.get(*place));
        groups
            .inspect(|_| *steps += 1)
            .filter(|group| group.who.covers(who))
            .collect()
    }

    /// What is found for a topic pattern of a rule about these clients: the rules about all of them
    /// that have a topic pattern which covers it.
    pub(crate) fn covering(&self, who: &AclWho, topic: &Template, steps: &mut u64) -> Vec<&Found> {
        let mut found = Vec::new();
        if let Some(topic) = readable(topic) {
            let dollar = topic.starts_with('$');
            let levels = written_out(&topic).split('/');
            for group in self.groups(who, steps) {
                let levels = levels.clone();
                group.topics.covering(levels, dollar, steps, &mut found);
            }
        }
        found
    }

    /// The same for a filter: rules that have it as it stands are found too.
    pub(crate) fn with_filter(
        &self,
        who: &AclWho,
        filter: &Template,
        steps: &mut u64,
    ) -> Vec<&Found> {
        let mut found = self.covering(who, filter, steps);
        let groups = self.groups(who, steps).into_iter();
        found.extend(groups.filter_map(|group| group.filters.get(filter.as_str())));
        found
    }
}

// ===== impl Node =====

impl Node {
    fn add(&mut self, pattern: &str, number: u32, kind: Kind) {
        let mut node = self;
        for level in pattern.split('/') {
            node = match level {
                "#" => {
                    node.open.add(number, kind);
                    return;
                }
                "+" => node.single.get_or_insert_default(),
                text => {
                    if !node.texts.contains_key(text) {
                        node.texts.insert(text.into(), Self::default());
                    }
                    match node.texts.get_mut(text) {
                        Some(below) => below,
                        None => return,
                    }
                }
            };
        }
        node.here.add(number, kind);
    }

    /// As `TopicFilter::covers`. What begins with a wildcard does not cover a `dollar` pattern.
    fn covering<'n, 'l>(
        &'n self,
        mut levels: impl Iterator<Item = &'l str> + Clone,
        dollar: bool,
        steps: &mut u64,
        found: &mut Vec<&'n Found>,
    ) {
        *steps += 1;
        if !dollar {
            found.extend(self.open.some());
        }
        let Some(level) = levels.next() else {
            found.extend(self.here.some());
            return;
        };
        if level == "#" {
            return;
        }
        if let (Some(single), false) = (&self.single, dollar) {
            single.covering(levels.clone(), false, steps, found);
        }
        if let Some(below) = self.texts.get(level) {
            below.covering(levels, false, steps, found);
        }
    }
}

/// The pattern as it is compared, if it is one.
fn readable(pattern: &Template) -> Option<String> {
    let text = opaque(pattern.as_str()).ok()?;
    TopicFilter::new(&text).is_ok().then_some(text)
}
