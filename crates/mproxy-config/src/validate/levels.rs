//! Two placeholders in one topic level.

use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::scalar::Template;
use mproxy_layers::template::{Placeholder, Token, tokens};
use std::ops::Range;

/// Warns about two placeholders in one level of a pattern. It is unclear where the value of one ends and
/// the other begins, so two clients may have the same topics. In a topic map, this is
/// an error.
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
fn shared(level: &str) -> Option<(&str, Placeholder, Placeholder)> {
    let mut found = placeholders(level);
    let first = found.next()?;
    let second = found.find(|it| *it != first)?;
    Some((level, first, second))
}

/// The placeholders of a level.
fn placeholders(level: &str) -> impl Iterator<Item = Placeholder> {
    tokens(level).filter_map(|token| match token {
        Ok(Token::Name(name)) => Placeholder::from_word(name),
        _ => None,
    })
}

/// Two clients with the same level; `None` if they are harder to find.
fn example(level: &str, first: Placeholder, second: Placeholder) -> Option<String> {
    let (_, rest) = level.split_once(first.name())?;
    let (between, _) = rest.split_once(second.name())?;
    let (short, long) = ("a", format!("a{between}a"));
    let filled = |one, other| {
        level
            .replace(first.name(), one)
            .replace(second.name(), other)
    };
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

const fn what(placeholder: Placeholder) -> Option<&'static str> {
    match placeholder {
        Placeholder::ClientId => Some("client id"),
        Placeholder::Username => Some("username"),
        Placeholder::CommonName => Some("common name"),
        _ => None,
    }
}
