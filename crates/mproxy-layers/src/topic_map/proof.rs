//! The proof that a map can be reversed: no two topics become one.
//!
//! Let rule *i* take topics `from_i + r` to `to_i + r`, where `r` are the levels that follow, and
//! let a topic belong to the first rule that it begins with. Values of placeholders are pieces of
//! one level, and each rule has at most one in a level and none twice. So a rule alone is injective,
//! in the values and in the topic: the number of its levels is fixed, and each level has one value.
//!
//! Two rules *i* and *j*, for the same client or for two, collide if `to_i + r = to_j + s` for some
//! values and `r`, `s`. Let `to_i` be the one with fewer levels. Then its levels can be made equal to
//! the first ones of `to_j` (which is decided level by level, because no placeholder stands in two of
//! them), and `r = c + s`, where `c` are the other levels of `to_j`. What is left to choose, the
//! values in `c` and `s`, is chosen to be like nothing that any rule replaces. If `from_i + c + s`
//! then belongs to rule *i*, it is a counter-example. If it does not, an earlier rule replaces
//! `from_i` and the first levels of `c` as they are written; so that happens whatever the values are
//! and whatever `s` is, and nothing collides.
//!
//! For filters the same holds: see [`SessionMap::map_filter`](super::SessionMap::map_filter).

use std::collections::BTreeSet;

use super::{
    error::{Collision, Named},
    rule::{Level, Rule, described, strip},
};
use crate::identity::Placeholder;

/// The values that one side of a counter-example has.
type Assigned = Vec<(Placeholder, String)>;

/// Returns the rule that a topic belongs to.
pub(super) fn owner<'a>(rules: impl IntoIterator<Item = &'a Rule>, topic: &str) -> Option<usize> {
    let mut rules = rules.into_iter();
    rules.position(|rule| strip(topic, &rule.from).is_some())
}

/// Returns topics that two rules take to the same place.
pub(super) fn collision(rules: &[Rule], i: usize, j: usize) -> Option<Collision> {
    let (one, other) = (rules.get(i)?, rules.get(j)?);
    let (short, long, short_number) = if one.levels.len() <= other.levels.len() {
        (one, other, i)
    } else {
        (other, one, j)
    };
    let mut at_broker = String::new();
    let (mut short_values, mut long_values) = (Assigned::new(), Assigned::new());
    for (short, long) in short.levels.iter().zip(&long.levels) {
        let level = unify(short, long)?;
        assign(short, &level, &mut short_values);
        assign(long, &level, &mut long_values);
        at_broker.push_str(&level);
        at_broker.push('/');
    }
    let known: BTreeSet<&str> = rules
        .iter()
        .flat_map(|rule| rule.from.split_terminator('/'))
        .collect();
    let mut rest = String::new();
    for level in long.levels.iter().skip(short.levels.len()) {
        let text = match level.placeholder {
            None => level.before.to_string(),
            Some(_) => unknown(&known, &level.before, &level.after),
        };
        assign(level, &text, &mut long_values);
        rest.push_str(&text);
        rest.push('/');
    }
    let end = unknown(&known, "", "");
    let short_topic = [&*short.from, &rest, &end].concat();
    if owner(rules, &short_topic) != Some(short_number) {
        return None;
    }
    let named = |values: &Assigned, topic| Named {
        client: described(values),
        topic,
    };
    Some(Collision {
        one: named(&short_values, short_topic),
        other: named(&long_values, [&*long.from, &end].concat()),
        topic: [at_broker, rest, end].concat(),
    })
}

/// Returns a level that both can be, if there is one.
fn unify(one: &Level, other: &Level) -> Option<String> {
    match (one.placeholder, other.placeholder) {
        (None, None) => (one.before == other.before).then(|| one.before.to_string()),
        (Some(_), None) => value(one, &other.before).map(|_| other.before.to_string()),
        (None, Some(_)) => value(other, &one.before).map(|_| one.before.to_string()),
        (Some(_), Some(_)) => {
            let before = longer(&one.before, &other.before, |long, short| {
                long.starts_with(short)
            })?;
            let after = longer(&one.after, &other.after, |long, short| {
                long.ends_with(short)
            })?;
            Some([before, "a", after].concat())
        }
    }
}

fn longer<'a>(one: &'a str, other: &'a str, fits: fn(&str, &str) -> bool) -> Option<&'a str> {
    let (long, short) = if one.len() < other.len() {
        (other, one)
    } else {
        (one, other)
    };
    fits(long, short).then_some(long)
}

/// Returns what the placeholder of a level stands for when the level is `text`.
fn value<'a>(level: &Level, text: &'a str) -> Option<&'a str> {
    let value = text
        .strip_prefix(&*level.before)?
        .strip_suffix(&*level.after)?;
    (!value.is_empty()).then_some(value)
}

fn assign(level: &Level, text: &str, values: &mut Assigned) {
    if let (Some(placeholder), Some(value)) = (level.placeholder, value(level, text)) {
        values.push((placeholder, value.to_owned()));
    }
}

/// A level of this shape that no rule replaces.
fn unknown(known: &BTreeSet<&str>, before: &str, after: &str) -> String {
    let mut level = [before, "x", after].concat();
    while known.contains(level.as_str()) {
        level.insert(before.len(), 'x');
    }
    level
}
