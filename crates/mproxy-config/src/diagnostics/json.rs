//! Problems as JSON, for editors and CI.

use super::{Diagnostic, Report, Severity};
use serde_json::{Value, json};

impl Report {
    /// `{"ok": ..., "errors": ..., "warnings": ..., "diagnostics": [...]}`.
    pub fn to_json(&self, deny_warnings: bool) -> Value {
        let list: Vec<_> = self.sorted().iter().map(|it| self.entry(it)).collect();
        json!({
            "ok": self.refusals(deny_warnings).next().is_none(),
            "errors": self.errors(),
            "warnings": self.warnings(),
            "diagnostics": list,
        })
    }

    fn entry(&self, diagnostic: &Diagnostic) -> Value {
        let place = diagnostic
            .span
            .as_ref()
            .and_then(|it| self.sources.find(it));
        json!({
            "severity": match diagnostic.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            "message": diagnostic.message,
            "file": place.as_ref().map(|it| it.name),
            "line": place.as_ref().map(|it| it.line),
            "column": place.as_ref().map(|it| it.column),
            "label": diagnostic.label,
            "notes": diagnostic.notes,
        })
    }
}
