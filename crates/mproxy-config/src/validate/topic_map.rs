//! `type = "topic-map"`.

use super::acl::vendor_forms;
use super::placeholders::{self, Known};
use super::who::literal;
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::file::{Located, MapRuleFile, Setting, TopicMapFile};
use crate::model::{DeniedWill, Dialect, Reauthentication, Template, TopicMap, TopicMapRule};
use crate::scalar::Scalar;
use mproxy_layers::topic_map::{MapProblem, TopicMapError};
use std::ops::Range;

/// Checks a topic map, and that it can be undone.
pub(super) fn topic_map(
    cx: &mut Context,
    keys: &TopicMapFile,
    header: &Range<usize>,
) -> Option<TopicMap> {
    if keys.prefix.given.is_none() && keys.rules.is_empty() {
        let message = "a topic-map without `prefix` and without `rules`";
        let label = "add, for example, `prefix = \"tenants/${username}/\"`";
        cx.push(Diagnostic::error(message).at(header.clone()).label(label));
        return None;
    }
    let mut rules = Vec::new();
    let mut mistaken = false;
    for file in &keys.rules {
        rules.extend(rule(cx, file, &mut mistaken));
    }
    let prefix = template(cx, &keys.prefix, &mut mistaken);
    let complete =
        rules.len() == keys.rules.len() && prefix.is_some() == keys.prefix.given.is_some();
    let map = TopicMap {
        rules,
        prefix,
        will: cx.value(&keys.will, DeniedWill::Refuse),
        super_usernames: literal(cx, &keys.super_clients.usernames, AS_THEY_STAND),
        super_client_ids: literal(cx, &keys.super_clients.client_ids, AS_THEY_STAND),
        vendor: vendor_forms(cx, &keys.vendor),
        group_prefix: cx.value(&keys.group_prefix, true),
        reauthentication: cx.value(&keys.reauthentication, Reauthentication::Refuse),
    };
    // what is missing was reported, and may be what makes the rest right
    if complete && let Err(error) = map.compile(Dialect::Mqtt) {
        report(cx, keys, &error, header);
        return None;
    }
    if complete && !mistaken && !map.keeps_apart() {
        let message =
            "all clients of this topic-map meet: nothing in it differs from one to the other";
        let span = keys.prefix.span().unwrap_or_else(|| header.clone());
        let warning = Diagnostic::warning(message).at(span);
        let label = "add a placeholder, for example `${username}/`";
        let note = "if that is wanted, write a rule with `shared = true`, and `writable = true` if they publish there";
        cx.push(warning.label(label).note(note));
    }
    complete.then_some(map)
}

const AS_THEY_STAND: &str = "names are compared as they stand";

fn rule(
    cx: &mut Context,
    file: &Located<MapRuleFile>,
    mistaken: &mut bool,
) -> Option<TopicMapRule> {
    let keys = &file.value;
    for (key, given) in [("from", &keys.from.given), ("to", &keys.to.given)] {
        if given.is_none() {
            let message = format!("a rule of a topic-map without `{key}`");
            let label =
                "add, for example, `from = \"devices/\"` and `to = \"${username}/devices/\"`";
            let error = Diagnostic::error(message).at(file.span.clone());
            cx.push(error.label(label));
        }
    }
    // What clients write has no placeholders.
    let (from, to) = (cx.given(&keys.from), template(cx, &keys.to, mistaken));
    let shared = cx.value(&keys.shared, false);
    if let (false, Some(span)) = (shared, keys.writable.span()) {
        let own = to.as_ref().is_some_and(|to| to.as_str().contains("${"));
        let message = "`writable` is for rules with `shared = true`";
        let label = match own {
            true => "remove it; clients publish to what is theirs",
            false => "add `shared = true`",
        };
        cx.push(Diagnostic::error(message).at(span).label(label));
        if !own {
            // Otherwise it would be said again that the rule is not shared.
            return None;
        }
    }
    Some(TopicMapRule {
        from: from?,
        to: to?,
        shared,
        writable: cx.value(&keys.writable, false),
    })
}

/// A value with placeholders; whether each can have a value is looked at, and whether there is
/// something that was meant to be one.
fn template<T: Scalar<Value = Template>>(
    cx: &mut Context,
    setting: &Setting<T>,
    mistaken: &mut bool,
) -> Option<Template> {
    let template = cx.given(setting)?;
    if let Some(span) = setting.span() {
        *mistaken |= placeholders::check(cx, &template, &span, Known::All);
    }
    Some(template)
}

/// Says why the rules are no map, and what to write instead.
fn report(cx: &mut Context, keys: &TopicMapFile, error: &TopicMapError, header: &Range<usize>) {
    let from = |number: usize| keys.rules.get(number).and_then(|it| it.value.from.span());
    let to = |number: usize| match keys.rules.get(number) {
        Some(rule) => rule.value.to.span(),
        None => keys.prefix.span(),
    };
    let (place, label) = match error.problem() {
        MapProblem::Ambiguous { .. } => (to, "give each placeholder a level of its own"),
        MapProblem::Repeated { .. } => (to, "once is enough"),
        MapProblem::NotShared(_) => (to, "add a placeholder, or `shared = true`"),
        MapProblem::Shared(_) => (to, "leave out `shared`"),
        MapProblem::Collision(_) => (to, "put it somewhere else"),
        MapProblem::TooMany => (to, "at most 64"),
        MapProblem::FromPlaceholder(_) => {
            let span = from(error.rule()).unwrap_or_else(|| header.clone());
            let label = "write what clients write";
            let error = Diagnostic::error(error.to_string()).at(span);
            return cx.push(error.label(label));
        }
        MapProblem::Unreachable { .. } => {
            let place = |number| from(number).or_else(|| keys.prefix.span());
            let span = place(error.rule()).unwrap_or_else(|| header.clone());
            let report = Diagnostic::error(error.to_string()).at(span);
            let report = report.label("put it before the other one, or leave it out");
            let other = error.other().and_then(place);
            return cx.push(match other {
                Some(other) => report.related(other, "the first match wins"),
                None => report,
            });
        }
        // what is wrong with one value alone was reported before
        _ => (to, "not a map of topics"),
    };
    let span = place(error.rule()).unwrap_or_else(|| header.clone());
    let report = Diagnostic::error(error.to_string()).at(span).label(label);
    cx.push(match error.other().and_then(to) {
        Some(other) => report.related(other, "the other rule"),
        None => report,
    });
}
