//! All rules, compiled.

use mproxy_codec::topic::Dialect;

use super::{
    Effect, Rule, RuleInfo,
    groups::Groups,
    rule_set::{Patterns, RuleSet},
    trie::NO_RULE,
};

/// The state that all sessions share.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) default: Effect,
    pub(super) rules: Vec<RuleInfo>,
    /// The rules for all clients.
    pub(super) everybody: RuleSet,
    /// The rules for some clients.
    pub(super) groups: Groups,
}

impl Compiled {
    /// How the broker reads topics.
    pub(super) const fn dialect(&self) -> Dialect {
        self.everybody.trie.dialect()
    }

    pub(super) fn add(&mut self, rule: Rule, patterns: Patterns) {
        // More rules than that do not fit into memory; were there one, it would share the last
        // number.
        let number = u32::try_from(self.rules.len())
            .unwrap_or(NO_RULE)
            .min(NO_RULE - 1);
        let rules = if rule.who.is_everybody() {
            &mut self.everybody
        } else {
            let dialect = self.everybody.trie.dialect();
            self.groups.set_of(&rule.who, dialect)
        };
        rules.add(number, &rule, patterns);
        self.rules.push(rule.info);
    }
}
