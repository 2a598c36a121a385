//! `type = "client-id"`.

use super::placeholders::{self, Known};
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::file::{ClientIdFile, Setting};
use crate::model::{ClientId, ClientIdRequire, Template};
use crate::scalar::TextTemplate;
use mproxy_layers::client_id::PatternError;
use std::ops::Range;

/// Checks the rules about client ids, and that an id tells whose it is.
pub(super) fn client_id(
    cx: &mut Context,
    keys: &ClientIdFile,
    header: &Range<usize>,
) -> Option<ClientId> {
    let errors = cx.report.errors();
    let require = cx.value(&keys.require, ClientIdRequire::Any);
    let ids = ClientId {
        require,
        any_is_wanted: require == ClientIdRequire::Any && keys.require.given.is_some(),
        separator: cx.value(&keys.separator, "-".to_owned()),
        template: template(cx, &keys.template),
        prefix: template(cx, &keys.prefix),
        generate: cx.value(&keys.generate, false),
    };
    let mut misplaced = false;
    for (span, wanted, key) in [
        (keys.template.span(), ClientIdRequire::Template, "template"),
        (
            keys.separator.span(),
            ClientIdRequire::PrefixUsername,
            "separator",
        ),
    ] {
        if let Some(span) = span
            && require != wanted
        {
            misplaced = true;
            let message = format!("`{key}` decides nothing here");
            let label = match wanted {
                ClientIdRequire::Template => "add `require = \"template\"`, or leave it out",
                _ => "add `require = \"prefix-username\"`, or leave it out",
            };
            cx.push(Diagnostic::error(message).at(span).label(label));
        }
    }
    if misplaced {
        // What else is wrong with the layer may be right with what is missing.
        return None;
    }
    if require == ClientIdRequire::Template && keys.template.given.is_none() {
        let message = "`require = \"template\"` without `template`";
        let span = keys.require.span().unwrap_or_else(|| header.clone());
        let label = "add, for example, `template = \"${username}-*\"`";
        cx.push(Diagnostic::error(message).at(span).label(label));
        return None;
    }
    if ids.template.is_some() != keys.template.given.is_some()
        || ids.prefix.is_some() != keys.prefix.given.is_some()
    {
        return None;
    }
    let required = ids.required();
    let wrong = match &required {
        Err(error) => Some((error.clone(), keys.template.span())),
        Ok(_) => ids.compile().err().map(|error| (error, keys.prefix.span())),
    };
    if let Some((error, span)) = wrong {
        let span = span.unwrap_or_else(|| header.clone());
        let label = remedy(&error);
        cx.push(Diagnostic::error(error.to_string()).at(span).label(label));
        return None;
    }
    let nobody = required.is_ok_and(|required| required.names_nobody());
    if let (true, Some(span)) = (nobody, keys.template.span()) {
        let message = "`template` is the same for every client: an id is nobody's";
        let label = "add `${username}` or `${cn}`";
        cx.push(Diagnostic::warning(message).at(span).label(label));
    } else if nobody
        && !ids.any_is_wanted
        && ids.prefix.is_none()
        && !ids.generate
        && cx.report.errors() == errors
    {
        let message = "a client-id layer that does nothing";
        let label = "add `require`, `prefix` or `generate`";
        cx.push(Diagnostic::warning(message).at(header.clone()).label(label));
    }
    Some(ids)
}

fn template(cx: &mut Context, setting: &Setting<TextTemplate>) -> Option<Template> {
    let template = cx.given(setting)?;
    if let Some(span) = setting.span() {
        placeholders::check(cx, &template, &span, Known::Owner);
    }
    Some(template)
}

fn remedy(error: &PatternError) -> &'static str {
    match error {
        PatternError::Ambiguous { .. } => "put a separator behind it, such as `-` or `:`",
        PatternError::Wildcard => "leave out `*`",
        PatternError::ClientId => "use `${username}` or `${cn}`",
        PatternError::Empty => "leave out the key",
        PatternError::Repeated(_) => "once is enough",
        _ => "not a pattern of client ids",
    }
}
