//! Problems of a configuration, reported the way a compiler reports them.
//!
//! All problems are collected first and shown at once, each with the place where it was found.
//! A place is a byte range in the concatenation of all [`Sources`]: files, environment
//! variables and `--set` flags alike.

mod json;
mod render;
mod sources;

pub use sources::{Place, Sources};

use std::ops::Range;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is accepted, but probably not what was meant.
    Warning,
}

/// What kind of problem it is; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The configuration itself.
    Config,
    /// The system does not permit what the configuration asks for.
    Permission,
    /// A broker that the configuration names does not answer.
    Unavailable,
}

/// One problem.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of problem it is.
    pub class: Class,
    /// What is wrong; lower case, no full stop.
    pub message: String,
    /// Where; `None` if it is in no text.
    pub span: Option<Range<usize>>,
    /// The text at the caret.
    pub label: Option<String>,
    /// A related place, and how it is related.
    pub related: Option<(Range<usize>, String)>,
    /// Lines below the source text.
    pub notes: Vec<String>,
}

impl Diagnostic {
    /// A problem that makes the configuration invalid.
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, message.into())
    }

    /// A problem with which the configuration is still valid.
    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, message.into())
    }

    fn new(severity: Severity, message: String) -> Self {
        Self {
            severity,
            class: Class::Config,
            message,
            span: None,
            label: None,
            related: None,
            notes: Vec::new(),
        }
    }

    /// Sets the place.
    pub fn at(mut self, span: Range<usize>) -> Self {
        self.span = Some(span);
        self
    }

    /// Sets the text at the caret.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Points to another place, if there is one.
    pub fn related(
        mut self,
        span: impl Into<Option<Range<usize>>>,
        label: impl Into<String>,
    ) -> Self {
        self.related = span.into().map(|span| (span, label.into()));
        self
    }

    /// Adds a line below the source text.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Where it starts in the concatenation of all texts.
    fn start(&self) -> Option<usize> {
        self.span.as_ref().map(|span| span.start)
    }

    /// Sets the kind of problem.
    pub fn class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }
}

/// Maximum number of problems shown to people: the fix of one often solves many others, and nobody
/// reads 100,000. Programs get all of them as JSON.
pub const MAX_SHOWN: usize = 100;

/// The problems that are shown.
#[derive(Debug)]
pub struct Shown<'a> {
    /// In the order of the text.
    pub list: Vec<&'a Diagnostic>,
    /// How many are not shown.
    pub more: usize,
}

/// All problems of one configuration, with the texts they point into.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The texts that the places are in.
    pub sources: Sources,
    diagnostics: Vec<Diagnostic>,
    errors: usize,
}

impl Report {
    /// Adds a problem.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.errors += usize::from(diagnostic.severity == Severity::Error);
        self.diagnostics.push(diagnostic);
    }

    /// Adds problems.
    pub fn extend(&mut self, diagnostics: impl IntoIterator<Item = Diagnostic>) {
        diagnostics.into_iter().for_each(|it| self.push(it));
    }

    /// The problems in the order of the text they point to.
    pub fn sorted(&self) -> Vec<&Diagnostic> {
        let mut all: Vec<_> = self.diagnostics.iter().collect();
        // Stable, so that problems without a place keep their order and come first.
        all.sort_by_key(|diagnostic| diagnostic.start());
        all
    }

    /// The problems that are shown to people, in the order of the text: all of them, or the first
    /// [`MAX_SHOWN`], errors before warnings.
    pub fn shown(&self) -> Shown<'_> {
        let mut list = self.sorted();
        let more = list.len().saturating_sub(MAX_SHOWN);
        if more > 0 {
            // an operator should not have to search a thousand warnings for the one error
            list.sort_by_key(|it| it.severity == Severity::Warning);
            list.truncate(MAX_SHOWN);
            list.sort_by_key(|it| it.start());
        }
        Shown { list, more }
    }

    /// Where a problem is: `file:line:column`, or the name of the text if it is not a file.
    pub fn place(&self, diagnostic: &Diagnostic) -> Option<String> {
        let place = self.sources.find(diagnostic.span.as_ref()?)?;
        Some(format!("{}:{}:{}", place.name, place.line, place.column))
    }

    /// Number of errors.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// Number of warnings.
    pub fn warnings(&self) -> usize {
        self.diagnostics.len() - self.errors
    }

    /// The classes of the problems that refuse the configuration.
    pub fn refusals(&self, deny_warnings: bool) -> impl Iterator<Item = Class> + '_ {
        self.diagnostics
            .iter()
            .filter(move |it| deny_warnings || it.severity == Severity::Error)
            .map(|it| it.class)
    }
}
