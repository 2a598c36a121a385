//! References by name.

use super::Named;
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::scalar::{closest, quoted};
use std::ops::Range;

/// How many names an error lists.
const SHOWN: usize = 32;

/// Up to this many problems, mproxy looks for the name that was meant, which compares with all names.
const GUESSED: usize = 1000;

/// Reports a reference to something that does not exist.
pub(crate) fn missing<T>(
    cx: &mut Context,
    what: &str,
    name: &str,
    span: Range<usize>,
    all: &Named<T>,
) {
    let names = || all.keys().map(String::as_str);
    let message = format!("{what} `{name}` does not exist");
    let mut diagnostic = Diagnostic::error(message).at(span);
    let guess = cx.report.errors() < GUESSED;
    let near = guess.then(|| closest(name, names())).flatten();
    if let Some(near) = near {
        let place = all.get(near).and_then(|(_, place)| place.clone());
        diagnostic = diagnostic.label(format!("did you mean `{near}`?"));
        diagnostic = diagnostic.related(place, "this one is similar");
    } else if all.is_empty() {
        diagnostic = diagnostic.label(format!("there is no {what} at all"));
    } else {
        let more = all.len().saturating_sub(SHOWN);
        let more = match more {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let some = quoted(names().take(SHOWN));
        diagnostic = diagnostic.label(format!("there are {some}{more}"));
    }
    cx.push(diagnostic);
}
