//! All patterns of all rules in one tree, level by level.
//!
//! Every pattern is a path from the root; where it ends, the tree stores the rule. A lookup
//! walks down all matching paths and keeps the lowest rule number, because the first rule
//! decides. The tree is shared by all sessions: an edge may be a template, which the
//! [index](super::index) finds with the values of the session at hand.
//!
//! ```text
//!   devices/${client_id}/#  (0)      root ── devices ──┬─ ${client_id} ── # (0)
//!   devices/+/key           (1)                        └─ + ── key (1)
//! ```
//!
//! A walk visits each node at most once and is as deep as the deepest pattern, which [`MAX_LEVELS`]
//! bounds; nothing that a peer sends makes it deeper.
//!
//! `#` and `/#` are stored as `+/#` and `/+/#`, which mean the same (a topic has a first level), so
//! that a `#` never has to be asked whether it would match the empty name. Patterns that begin with
//! `$` live in a tree of their own, if the broker reserves these topics: a wildcard in the first level
//! has nothing to do with them. `[MQTT-4.7.2-1]`
//!
//! The tree is asked about what the broker reads, [`ReadName`] and [`ReadFilter`], and about nothing
//! else.

use mproxy_codec::topic::Dialect;

use super::{
    index::Index,
    read::{ReadFilter, ReadName},
};
use crate::{identity::Values, template::Template};

/// Maximum levels of a pattern. Deeper ones are refused when the rules are built.
pub const MAX_LEVELS: usize = 128;

/// The purpose of a lookup. One pattern may serve several.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Publish,
    Deliver,
    /// For an allow rule about SUBSCRIBE: does the pattern cover the filter?
    Grant,
    /// For a deny rule about SUBSCRIBE: does the pattern overlap the filter?
    Refuse,
}

const PURPOSES: usize = 4;

/// The number of the lowest rule for each purpose.
#[derive(Debug, Clone, Copy)]
struct Lowest([u32; PURPOSES]);

/// No rule; higher than every rule.
pub(super) const NO_RULE: u32 = u32::MAX;

impl Lowest {
    const NONE: Self = Self([NO_RULE; PURPOSES]);

    const fn of(&self, purpose: Purpose) -> u32 {
        self.0[purpose as usize]
    }

    fn lower(&mut self, purposes: &[Purpose], rule: u32) {
        for &purpose in purposes {
            let lowest = &mut self.0[purpose as usize];
            *lowest = rule.min(*lowest);
        }
    }
}

#[derive(Debug)]
struct Node {
    texts: Index<Self>,
    single: Option<Box<Self>>,
    /// Rules with a pattern that ends here.
    here: Lowest,
    /// Rules with a pattern that ends in `#` below this level, and so matches this level too.
    open: Lowest,
    /// All rules in this node and the ones below it.
    subtree: Lowest,
}

/// The tree.
#[derive(Debug)]
pub(super) struct Trie {
    dialect: Dialect,
    plain: Node,
    dollar: Node,
}

/// Writes out the filters whose `#` stands where there may be no level.
pub fn written_out(filter: &str) -> &str {
    match filter {
        "#" => "+/#",
        "/#" => "/+/#",
        _ => filter,
    }
}

impl Trie {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            plain: Node::new(),
            dollar: Node::new(),
        }
    }

    /// How the broker reads topics.
    pub(super) const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Adds a pattern, given as its levels. A level that is not a wildcard is a template.
    pub(super) fn insert(
        &mut self,
        dollar: bool,
        levels: &[Level],
        purposes: &[Purpose],
        rule: u32,
    ) {
        let mut node = if dollar {
            &mut self.dollar
        } else {
            &mut self.plain
        };
        for level in levels {
            node.subtree.lower(purposes, rule);
            node = match level {
                Level::Rest => return node.open.lower(purposes, rule),
                Level::Any => node.single.get_or_insert_with(|| Box::new(Node::new())),
                Level::Text(template) => node.texts.entry(template, Node::new),
            };
        }
        node.subtree.lower(purposes, rule);
        node.here.lower(purposes, rule);
    }

    /// Returns the lowest rule with a pattern that matches the topic name.
    pub(super) fn matching(&self, purpose: Purpose, name: &ReadName<'_>, values: &Values) -> u32 {
        let name = name.as_bytes();
        Walk::best(purpose, values, |walk| {
            walk.matching(self.root(name), Some(name))
        })
    }

    /// Returns the lowest rule that grants the filter: one of its patterns covers it.
    pub(super) fn covering(&self, filter: &ReadFilter<'_>, values: &Values) -> u32 {
        let filter = filter.as_bytes();
        Walk::best(Purpose::Grant, values, |walk| {
            walk.covering(self.root(filter), Some(filter))
        })
    }

    /// Returns the lowest rule that refuses the filter: one of its patterns overlaps it.
    pub(super) fn overlapping(&self, filter: &ReadFilter<'_>, values: &Values) -> u32 {
        let filter = filter.as_bytes();
        Walk::best(Purpose::Refuse, values, |walk| {
            walk.overlapping(self.root(filter), Some(filter))
        })
    }

    /// Returns the lowest rule that refuses reserved topics that the filter reads all the same,
    /// because the broker [leaks](Dialect::leaks_dollar) them.
    pub(super) fn leaking(&self, filter: &ReadFilter<'_>, values: &Values) -> u32 {
        let filter = filter.as_bytes();
        if !self.dialect.leaks_dollar() || !matches!(filter.first(), Some(b'+' | b'#')) {
            return NO_RULE;
        }
        Walk::best(Purpose::Refuse, values, |walk| {
            walk.overlapping(&self.dollar, Some(filter))
        })
    }

    fn root(&self, topic: &[u8]) -> &Node {
        if topic.first() == Some(&b'$') && self.dialect.reserves_dollar() {
            &self.dollar
        } else {
            &self.plain
        }
    }
}

/// One level of a pattern.
#[derive(Debug, Clone)]
pub(super) enum Level {
    /// `+`
    Any,
    /// `#`
    Rest,
    /// Anything else.
    Text(Template),
}

impl Node {
    fn new() -> Self {
        Self {
            texts: Index::new(),
            single: None,
            here: Lowest::NONE,
            open: Lowest::NONE,
            subtree: Lowest::NONE,
        }
    }
}

struct Walk<'a> {
    purpose: Purpose,
    values: &'a Values,
    best: u32,
}

impl<'a> Walk<'a> {
    /// Returns the lowest rule that a walk finds.
    #[inline]
    fn best(purpose: Purpose, values: &'a Values, walk: impl FnOnce(&mut Self)) -> u32 {
        let mut this = Self {
            purpose,
            values,
            best: NO_RULE,
        };
        walk(&mut this);
        this.best
    }

    fn matching(&mut self, node: &Node, rest: Option<&[u8]>) {
        if node.subtree.of(self.purpose) >= self.best {
            return;
        }
        self.offer(node.open);
        let Some((level, rest)) = rest.map(split_level) else {
            return self.offer(node.here);
        };
        let values = self.values;
        node.texts
            .each(level, values, |child| self.matching(child, rest));
        if let Some(child) = &node.single {
            self.matching(child, rest);
        }
    }

    fn covering(&mut self, node: &Node, rest: Option<&[u8]>) {
        if node.subtree.of(self.purpose) >= self.best {
            return;
        }
        self.offer(node.open);
        match rest.map(split_level) {
            None => self.offer(node.here),
            // Only an open end covers an open end.
            Some((b"#", _)) => {}
            Some((b"+", rest)) => {
                if let Some(child) = &node.single {
                    self.covering(child, rest);
                }
            }
            Some((level, rest)) => {
                self.each_with(node, level, |walk, child| walk.covering(child, rest))
            }
        }
    }

    fn overlapping(&mut self, node: &Node, rest: Option<&[u8]>) {
        if node.subtree.of(self.purpose) >= self.best {
            return;
        }
        self.offer(node.open);
        match rest.map(split_level) {
            None => self.offer(node.here),
            // Everything from here on down. A template further down that this client cannot fill
            // may be among it; its rule is a deny rule, and then denies this client everything
            // anyway.
            Some((b"#", _)) => self.offer(node.subtree),
            Some((b"+", rest)) => {
                let values = self.values;
                node.texts
                    .each_fillable(values, |child| self.overlapping(child, rest));
                if let Some(child) = &node.single {
                    self.overlapping(child, rest);
                }
            }
            Some((level, rest)) => {
                self.each_with(node, level, |walk, child| walk.overlapping(child, rest))
            }
        }
    }

    /// Follows the edges that match a level without wildcards.
    fn each_with(&mut self, node: &Node, level: &[u8], mut follow: impl FnMut(&mut Self, &Node)) {
        let values = self.values;
        node.texts.each(level, values, |child| follow(self, child));
        if let Some(child) = &node.single {
            follow(self, child);
        }
    }

    fn offer(&mut self, rules: Lowest) {
        self.best = self.best.min(rules.of(self.purpose));
    }
}

/// Returns the first level and, if there are more, the rest behind the `/`.
fn split_level(topic: &[u8]) -> (&[u8], Option<&[u8]>) {
    match topic.iter().position(|&byte| byte == b'/') {
        Some(end) => (&topic[..end], Some(&topic[end + 1..])),
        None => (topic, None),
    }
}
