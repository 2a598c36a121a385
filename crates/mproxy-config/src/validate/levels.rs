//! Levels of a topic that two placeholders share.

use crate::choice::Choice;
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::model::{Placeholder, Template};
use std::ops::Range;

/// Warns about two placeholders in one level of a pattern: where the value of one ends and that of
/// the other begins, nobody can tell, so that two clients may have the same topics. A topic map is
/// refused for it.
pub(crate) fn check(cx: &mut Context, pattern: &Template, span: &Range<usize>) {
    let Some((level, first, second)) = pattern.as_str().split('/').find_map(shared) else {
        return;
    };
    let message = format!("`{pattern}` does not keep clients apart");
    let warning = Diagnostic::warning(message).at(span.clone());
    let warning = warning.label("give each placeholder a level of its own");
    cx.push(match example(level, first, second) {
        Some(example) => warning.note(example),
        None => warning,
    });
}

/// A level with two placeholders side by side, and which they are.
fn shared(level: &str) -> Option<(&str, &str, &str)> {
    let mut found = placeholders(level);
    let first = found.next()?;
    let second = found.find(|it| *it != first)?;
    Some((level, first, second))
}

/// The placeholders of a level, `${username}`.
fn placeholders(level: &str) -> impl Iterator<Item = &str> {
    level.match_indices("${").filter_map(move |(start, _)| {
        let (_, rest) = level.split_at_checked(start)?;
        let end = rest.find('}')?;
        rest.get(..=end)
    })
}

/// Two clients with the same level; `None` when these are more difficult to find.
fn example(level: &str, first: &str, second: &str) -> Option<String> {
    let (_, rest) = level.split_once(first)?;
    let (between, _) = rest.split_once(second)?;
    let (short, long) = ("a", format!("a{between}a"));
    let filled = |one, other| level.replace(first, one).replace(second, other);
    let level = filled(short, &long);
    let (first, second) = (what(first)?, what(second)?);
    let same = !level.contains("${") && level == filled(&long, short);
    same.then(|| {
        format!(
            "one client with {first} `{short}` and {second} `{long}`, and another with {first} \
             `{long}` and {second} `{short}`, both have the level `{level}`"
        )
    })
}

fn what(placeholder: &str) -> Option<&'static str> {
    let word = placeholder.strip_prefix("${")?.strip_suffix('}')?;
    Some(match Placeholder::from_word(word)? {
        Placeholder::ClientId => "client id",
        Placeholder::Username => "username",
        Placeholder::CommonName => "common name",
    })
}
