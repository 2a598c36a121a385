//! Clients and filters that a rule leaves out, although it looks as if it did not.

use super::shadow::covers;
use crate::config::context::Context;
use crate::config::file::{Located, RuleFile};
use crate::config::model::{AclAction, AclDefault, AclRule, Template};
use crate::diagnostics::Diagnostic;
use std::ops::Range;

/// Warns about the gaps of each rule.
pub(super) fn check(
    cx: &mut Context,
    default: AclDefault,
    files: &[Located<RuleFile>],
    rules: &[(Range<usize>, AclRule)],
) {
    for (place, rule) in rules {
        let Some(file) = files.iter().find(|it| it.span == *place) else {
            continue;
        };
        networks(cx, &file.value, rule);
        if default == AclDefault::Allow {
            filters(cx, &file.value, rule, rules);
        }
    }
}

/// `::/0` stands for all clients with an IPv6 address, and for no other.
fn networks(cx: &mut Context, keys: &RuleFile, rule: &AclRule) {
    let networks = || rule.who.networks.iter().map(ToString::to_string);
    let all_of_ipv6 = networks().any(|it| it == "::/0");
    let some_of_ipv4 = networks().any(|it| !it.contains(':'));
    if let (true, false, Some(span)) = (all_of_ipv6, some_of_ipv4, keys.networks.span()) {
        let message = format!(
            "rule `{}` is about no client with an IPv4 address",
            rule.name
        );
        let label = "`::/0` does not hold them; add \"0.0.0.0/0\"";
        cx.push(Diagnostic::warning(message).at(span).label(label));
    }
}

/// A denial of a filter as it stands, where another one for the same topics is allowed by default.
fn filters(cx: &mut Context, keys: &RuleFile, rule: &AclRule, all: &[(Range<usize>, AclRule)]) {
    if rule.allow || !rule.topics.is_empty() {
        return;
    }
    let passing = rule.filters.iter().find_map(|filter| {
        let other = Template::new(other(filter.as_str())?);
        let denied = all.iter().any(|(_, it)| denies(it, rule, &other));
        (!denied).then_some((filter, other))
    });
    if let (Some((filter, other)), Some(span)) = (passing, keys.filters.span()) {
        let message = format!("rule `{}` denies the filter `{filter}` alone", rule.name);
        let label = match filter.as_str() {
            "#" => format!("`{other}` passes; add it"),
            _ => format!("`{other}` passes; `topics` denies all filters for such topics"),
        };
        cx.push(Diagnostic::warning(message).at(span).label(label));
    }
}

/// True when `rule` denies a filter to all the clients that `gap` is about.
fn denies(rule: &AclRule, gap: &AclRule, filter: &Template) -> bool {
    let subscribe = rule.actions.contains(&AclAction::Subscribe);
    let named = rule.filters.contains(filter) || covers(&rule.topics, filter);
    !rule.allow && subscribe && named && rule.who.covers(&gap.who)
}

/// Another filter for topics of this one. `None` for those that begin with `+`: they keep clients
/// from reading everything at once, and there is no end to the others.
fn other(filter: &str) -> Option<String> {
    if filter == "#" {
        return Some("+/#".to_owned());
    }
    if filter.starts_with('+') {
        return None;
    }
    Some(match filter.rsplit_once('/') {
        Some((parent, "+")) => format!("{parent}/#"),
        Some((parent, _)) => format!("{parent}/+"),
        None => "+".to_owned(),
    })
}
