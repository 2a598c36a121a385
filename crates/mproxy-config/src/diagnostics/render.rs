//! Problems as text with source lines and carets.

use super::{Diagnostic, Report, Severity};
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use std::fmt::Write;

/// Wide enough that a label is never cut; terminals wrap.
const WIDTH: usize = 300;

impl Report {
    /// The problems that are [shown](Self::shown), one below the other, without a summary.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        }
        .term_width(WIDTH);
        let mut out = String::new();
        let shown = self.shown();
        for diagnostic in shown.list {
            out.push_str(&self.render_one(diagnostic, &renderer));
            out.push('\n');
        }
        if shown.more > 0 {
            let _ = writeln!(
                out,
                "and {} more, which are not shown; `check --format json` has all",
                shown.more
            );
        }
        out
    }

    /// `2 errors, 1 warning`.
    pub fn tally(&self) -> String {
        let mut out = String::new();
        for (count, word) in [(self.errors(), "error"), (self.warnings(), "warning")] {
            if count == 0 {
                continue;
            }
            let comma = if out.is_empty() { "" } else { ", " };
            let plural = if count == 1 { "" } else { "s" };
            let _ = write!(out, "{comma}{count} {word}{plural}");
        }
        out
    }

    fn render_one(&self, diagnostic: &Diagnostic, renderer: &Renderer) -> String {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(&*diagnostic.message);
        let snippets = self.snippets(diagnostic);
        if snippets.is_empty() {
            // Without a place, there is no source text to show.
            let notes = diagnostic.notes.iter().map(|note| format!("\n  = {note}"));
            let title = renderer.render(&[Group::with_title(title)]);
            return title + &notes.collect::<String>();
        }
        let mut group = title.elements(snippets);
        for note in &diagnostic.notes {
            group = group.element(Level::NOTE.no_name().message(&**note));
        }
        renderer.render(&[group])
    }

    fn snippets<'a>(
        &'a self,
        diagnostic: &'a Diagnostic,
    ) -> Vec<Snippet<'a, annotate_snippets::Annotation<'a>>> {
        let Some(place) = diagnostic
            .span
            .as_ref()
            .and_then(|it| self.sources.find(it))
        else {
            return Vec::new();
        };
        let primary = AnnotationKind::Primary
            .span(place.range)
            .label(diagnostic.label.as_deref());
        let mut first = Snippet::source(place.text)
            .path(place.name)
            .annotation(primary);
        let mut others = Vec::new();
        if let Some((span, label)) = &diagnostic.related
            && let Some(other) = self.sources.find(span)
        {
            let context = AnnotationKind::Context.span(other.range).label(&**label);
            if std::ptr::eq(other.text, place.text) {
                first = first.annotation(context);
            } else {
                let snippet = Snippet::source(other.text).path(other.name);
                others.push(snippet.annotation(context));
            }
        }
        others.insert(0, first);
        others
    }
}
