//! Compiled rules for the same clients.

use mproxy_codec::topic::Dialect;

use super::{
    Actions, Effect, Rule,
    index::Index,
    trie::{Level, Purpose, Trie},
};
use crate::template::Template;

/// See the [module documentation](self).
#[derive(Debug)]
pub(super) struct RuleSet {
    pub(super) trie: Trie,
    /// The first rule that names a filter: the filter itself.
    pub(super) filters: Index<u32>,
    pub(super) guards: Vec<Guard>,
    /// Allow rules that need a usable name of the client, to explain why they do not apply.
    pub(super) hopes: Vec<Guard>,
    /// Whether a client's names are needed at all.
    pub(super) placeholders: bool,
    pub(super) judges_deliveries: bool,
}

/// A pattern that needs a usable name of the client.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) rule: u32,
    pub(super) actions: Actions,
    pub(super) pattern: Template,
}

/// The patterns of one rule.
pub(super) struct Patterns {
    pub(super) topics: Vec<Pattern>,
    pub(super) filters: Vec<Pattern>,
}

pub(super) struct Pattern {
    pub(super) whole: Template,
    pub(super) levels: Vec<Level>,
    pub(super) dollar: bool,
}

impl RuleSet {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            trie: Trie::new(dialect),
            filters: Index::new(),
            guards: Vec::new(),
            hopes: Vec::new(),
            placeholders: false,
            judges_deliveries: false,
        }
    }

    pub(super) fn add(&mut self, number: u32, rule: &Rule, patterns: Patterns) {
        let effect = rule.info.effect();
        let reads = rule.actions.contains(Actions::SUBSCRIBE);

        let mut purposes = Vec::new();
        if rule.actions.contains(Actions::PUBLISH) {
            purposes.push(Purpose::Publish);
        }
        if reads {
            purposes.push(match effect {
                Effect::Allow => Purpose::Grant,
                Effect::Deny => Purpose::Refuse,
            });
        }
        if reads || rule.actions.contains(Actions::DELIVER) {
            purposes.push(Purpose::Deliver);
        }
        let judged = if reads {
            rule.actions | Actions::DELIVER
        } else {
            rule.actions
        };

        for Pattern {
            whole,
            levels,
            dollar,
        } in patterns.topics
        {
            self.trie.insert(dollar, &levels, &purposes, number);
            self.guard(number, effect, judged, whole);
        }
        for Pattern {
            whole,
            levels,
            dollar,
        } in patterns.filters
        {
            // A client that may subscribe to it may receive what it matches; one that may not may
            // still receive it through another filter.
            if effect == Effect::Allow {
                self.trie
                    .insert(dollar, &levels, &[Purpose::Deliver], number);
            }
            // the lower number is there already
            self.filters.entry(&whole, || number);
            self.guard(number, effect, Actions::SUBSCRIBE, whole);
        }
        self.judges_deliveries |= rule.actions.contains(Actions::DELIVER);
    }

    fn guard(&mut self, rule: u32, effect: Effect, actions: Actions, pattern: Template) {
        self.placeholders |= !pattern.is_literal();
        if pattern.is_literal() {
            return;
        }
        let patterns = match effect {
            Effect::Deny => &mut self.guards,
            Effect::Allow => &mut self.hopes,
        };
        patterns.push(Guard {
            rule,
            actions,
            pattern,
        });
    }
}
