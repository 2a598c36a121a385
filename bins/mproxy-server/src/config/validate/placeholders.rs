//! Placeholders that have no value for anybody.

use crate::config::context::Context;
use crate::config::model::Template;
use crate::diagnostics::Diagnostic;
use std::ops::Range;

/// Warns about `${cn}`: nothing verifies certificates, so that no client has a common name, and
/// whoever needs one is refused.
pub(super) fn check(cx: &mut Context, template: &Template, span: &Range<usize>) {
    if template.as_str().contains("${cn}") {
        let message = "`${cn}` has no value: no listener verifies client certificates";
        let label = "use `${username}` or `${client_id}`";
        cx.push(Diagnostic::warning(message).at(span.clone()).label(label));
    }
}
