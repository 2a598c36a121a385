//! References by name.

use super::Named;
use crate::config::context::Context;
use crate::config::scalar::{closest, quoted};
use crate::diagnostics::Diagnostic;
use std::ops::Range;

/// Reports a reference to something that does not exist.
pub(super) fn missing<T>(
    cx: &mut Context,
    what: &str,
    name: &str,
    span: Range<usize>,
    all: &Named<T>,
) {
    let names = || all.keys().map(String::as_str);
    let message = format!("{what} `{name}` does not exist");
    let mut diagnostic = Diagnostic::error(message).at(span);
    if let Some(near) = closest(name, names()) {
        let place = all.get(near).and_then(|(_, place)| place.clone());
        diagnostic = diagnostic.label(format!("did you mean `{near}`?"));
        if let Some(place) = place {
            diagnostic = diagnostic.related(place, "this one is similar");
        }
    } else if all.is_empty() {
        diagnostic = diagnostic.label(format!("there is no {what} at all"));
    } else {
        diagnostic = diagnostic.label(format!("there are {}", quoted(names())));
    }
    cx.push(diagnostic);
}
