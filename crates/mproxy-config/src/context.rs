//! State shared by reading and checking: the report, and where each value came from.

use super::document::{Content, Contents};
use super::scalar::Raw;
use super::scalar::{Problem, Scalar};
use super::section::{Listing, Setting};
use crate::diagnostics::{Diagnostic, Report};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use toml::Spanned;

/// Collects problems while a configuration is read.
#[derive(Debug, Default)]
pub(crate) struct Context {
    /// The problems found so far, and the texts.
    pub report: Report,
    /// True if the files are empty.
    pub(super) is_empty: bool,
    /// Files and directories that were read, with their state just before.
    pub(super) read_from: Contents,
    /// Values with inserted text, by where they start.
    pub(super) filled: BTreeMap<usize, Filled>,
    /// Keys whose values came from a secret file: `upstreams.broker.address`.
    pub(super) secrets: BTreeSet<String>,
    /// Layers whose type is wrong: reported once, not again where they are referred to.
    pub(super) untyped: BTreeSet<String>,
}

/// Text that was inserted into a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// The text.
    Known,
    /// Text that must not be shown.
    Secret,
    /// Nothing: the source is missing. The value cannot be checked.
    Unknown,
}

impl Context {
    /// Records that a file or directory is about to be read. If it changes meanwhile, it seems to have
    /// changed later, and is read once more.
    pub(super) fn reads(&mut self, path: &Path) {
        self.read_from.insert(path.to_owned(), Content::of(path));
    }

    /// Reports a problem.
    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        self.report.push(diagnostic);
    }

    /// Warns of a layer that does nothing, unless something is wrong: that may be what it would do.
    pub(super) fn idle(
        &mut self,
        header: &Range<usize>,
        message: impl Into<String>,
        label: impl Into<String>,
    ) {
        if self.report.errors() == 0 {
            self.push(Diagnostic::warning(message).at(header.clone()).label(label));
        }
    }

    /// The value of a setting, if it was given and is valid.
    pub(super) fn given<T: Scalar>(&mut self, setting: &Setting<T>) -> Option<T::Value> {
        self.scalar::<T>(setting.given.as_ref()?)
    }

    /// The values of an array, each with its place, if it was given. Wrong ones are reported
    /// and left out.
    pub(super) fn list<T: Scalar>(
        &mut self,
        listing: &Listing<T>,
    ) -> Option<Vec<Spanned<T::Value>>> {
        let given = listing.given.as_ref()?;
        let span = given.span();
        let split;
        let items = match given.get_ref() {
            Raw::Array(items) => items,
            // In the environment, `a,b` is easier to write than `["a","b"]`.
            Raw::String(text) if self.is_loose(&span) => {
                let words = text.split(',').map(str::trim).filter(|it| !it.is_empty());
                let raw = words.map(|it| Raw::String(it.to_owned()));
                split = raw.map(|it| Spanned::new(span.clone(), it)).collect();
                &split
            }
            _ if self.is_unknown(&span) => return None,
            _ => {
                let message = "wrong type: found a single value";
                let label = format!("expected an array, each element {}", T::expected());
                self.problem(span, Problem::new(message, label));
                return None;
            }
        };
        let values = items.iter().filter_map(|item| {
            let value = self.scalar::<T>(item)?;
            Some(Spanned::new(item.span(), value))
        });
        Some(values.collect())
    }

    /// Where an array stands that was given with nothing in it.
    pub(super) fn nothing_in<T>(&self, listing: &Listing<T>) -> Option<Range<usize>> {
        let span = listing.span()?;
        let empty = match listing.given.as_ref()?.get_ref() {
            Raw::Array(items) => items.is_empty(),
            Raw::String(text) if self.is_loose(&span) && !self.is_unknown(&span) => {
                text.split(',').all(|word| word.trim().is_empty())
            }
            _ => false,
        };
        empty.then_some(span)
    }

    /// Reports what is wrong with the value at `span`.
    pub(super) fn problem(&mut self, span: Range<usize>, problem: Problem) {
        let mut diagnostic = Diagnostic::error(problem.message)
            .at(span)
            .label(problem.label);
        diagnostic.notes.extend(problem.note);
        self.push(diagnostic);
    }

    fn scalar<T: Scalar>(&mut self, raw: &Spanned<Raw>) -> Option<T::Value> {
        let span = raw.span();
        if self.is_unknown(&span) {
            return None;
        }
        match T::read(raw.get_ref(), self.is_loose(&span)) {
            Ok(value) => Some(value),
            Err(_) if self.filled.get(&span.start) == Some(&Filled::Secret) => {
                // A message about a value quotes it.
                let label = format!("expected {}", T::expected());
                self.problem(span, Problem::new("the inserted text is not valid", label));
                None
            }
            Err(problem) => {
                self.problem(span, problem);
                None
            }
        }
    }

    /// True for a value that came from a place without types.
    fn is_loose(&self, span: &Range<usize>) -> bool {
        self.filled.contains_key(&span.start) || self.report.sources.is_override(span)
    }

    fn is_unknown(&self, span: &Range<usize>) -> bool {
        self.filled.get(&span.start) == Some(&Filled::Unknown)
    }
}
