//! `type = "property-edit"`.

use super::placeholders::{self, Known};
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::file::{Listing, PropertyEditFile, Setting};
use crate::model::{PropertyEdit, PropertyEdits, Reauthentication, Template};
use crate::scalar::{Problem, Text, TextTemplate};
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;

/// Checks what is done to User Properties.
pub(super) fn property_edit(
    cx: &mut Context,
    keys: &PropertyEditFile,
    header: &Range<usize>,
) -> PropertyEdit {
    let down = &keys.to_client;
    let errors = cx.report.errors();
    let edits = PropertyEdit {
        to_server: edits(cx, &keys.strip, &keys.set, &keys.add),
        to_client: edits(cx, &down.strip, &down.set, &down.add),
        reauthentication: cx.value(&keys.reauthentication, Reauthentication::Refuse),
    };
    let idle = edits.to_server.is_empty() && edits.to_client.is_empty();
    if idle && cx.report.errors() == errors {
        let message = "a property-edit layer that does nothing";
        let label = "add `strip`, `set` or `add`";
        cx.push(Diagnostic::warning(message).at(header.clone()).label(label));
    }
    edits
}

fn edits(
    cx: &mut Context,
    strip: &Listing<Text>,
    set: &BTreeMap<String, Setting<TextTemplate>>,
    add: &BTreeMap<String, Setting<TextTemplate>>,
) -> PropertyEdits {
    let strip = cx.list(strip).unwrap_or_default();
    PropertyEdits {
        strip: strip.into_iter().map(Spanned::into_inner).collect(),
        set: properties(cx, set),
        add: properties(cx, add),
    }
}

fn properties(
    cx: &mut Context,
    given: &BTreeMap<String, Setting<TextTemplate>>,
) -> Vec<(String, Template)> {
    let mut properties = Vec::new();
    for (name, setting) in given {
        let (Some(value), Some(span)) = (cx.given(setting), setting.span()) else {
            continue;
        };
        if name.is_empty() || name.contains(char::is_control) {
            let message = format!("{name:?} is no name of a property");
            cx.problem(span, Problem::new(message, "name it in one line"));
            continue;
        }
        placeholders::check(cx, &value, &span, Known::All);
        properties.push((name.clone(), value));
    }
    properties
}
