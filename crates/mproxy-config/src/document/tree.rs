//! Parses a text into a tree whose places are offsets in the concatenation of all texts.

use crate::context::Context;
use crate::diagnostics::Diagnostic;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

/// Maximum number of syntax errors shown per text: one causes many others.
const MAX_SYNTAX_ERRORS: usize = 8;

/// Parses a file whose text starts at `base`.
pub(super) fn parse_file<'t>(
    cx: &mut Context,
    text: &'t str,
    base: usize,
) -> Option<Spanned<DeTable<'t>>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let span = shifted(root.span(), base);
        return Some(Spanned::new(span, shift_table(root.into_inner(), base)));
    }
    for (span, message) in worth_telling(text, errors) {
        let span = shifted(span, base);
        cx.push(Diagnostic::error("not valid TOML").at(span).label(message));
    }
    None
}

/// Parses one value that starts at `base`.
pub(super) fn parse_value(text: &str, base: usize) -> Result<Spanned<DeValue<'_>>, Error> {
    DeValue::parse(text).map(|value| shift(value, base))
}

fn shift_table(table: DeTable<'_>, base: usize) -> DeTable<'_> {
    let entries = table.into_iter().map(|(key, value)| {
        let span = shifted(key.span(), base);
        (Spanned::new(span, key.into_inner()), shift(value, base))
    });
    entries.collect()
}

fn shift(value: Spanned<DeValue<'_>>, base: usize) -> Spanned<DeValue<'_>> {
    let span = shifted(value.span(), base);
    let value = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(shift_table(table, base)),
        DeValue::Array(items) => {
            DeValue::Array(items.into_iter().map(|it| shift(it, base)).collect())
        }
        other => other,
    };
    Spanned::new(span, value)
}

/// The useful errors: one per line, and none after an error that makes the
/// parser lose track.
fn worth_telling(text: &str, errors: Vec<Error>) -> Vec<(Range<usize>, String)> {
    let mut errors: Vec<_> = errors
        .iter()
        .map(|it| (it.span().unwrap_or_default(), it.message().to_owned()))
        .collect();
    errors.sort_by_key(|(span, _)| span.start);
    let mut told = Vec::new();
    let mut last_line = None;
    for (span, message) in errors {
        let before = text.get(..span.start).unwrap_or(text);
        let line = before.matches('\n').count();
        if last_line == Some(line) || told.len() == MAX_SYNTAX_ERRORS {
            continue;
        }
        last_line = Some(line);
        let lost = ["array", "inline table", "unclosed", "invalid"];
        let lost = lost.iter().any(|it| message.contains(it));
        told.push((span, message));
        if lost {
            break;
        }
    }
    told
}

fn shifted(span: Range<usize>, base: usize) -> Range<usize> {
    span.start + base..span.end + base
}
