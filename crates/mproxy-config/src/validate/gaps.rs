//! Clients and filters that a rule seems to match, but does not.

use super::cover::{Index, Kind};
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::layer::AclRule;
use crate::layer::RuleKeys;
use crate::scalar::Template;
use crate::section::Located;
use mproxy_layers::acl::Effect;
use std::ops::Range;

/// Warns about the gaps of each rule.
pub(crate) fn check(
    cx: &mut Context,
    default: Effect,
    files: &[Located<RuleKeys>],
    rules: &[(Range<usize>, AclRule)],
    index: &Index<'_>,
) {
    // invalid rules are in the files only; the order is the same
    let mut files = files.iter();
    for (place, rule) in rules {
        let Some(file) = files.find(|it| it.span == *place) else {
            return;
        };
        networks(cx, &file.value, rule);
        if default == Effect::Allow {
            filters(cx, &file.value, rule, index);
        }
    }
}

/// `::/0` matches all clients with an IPv6 address, and no others.
fn networks(cx: &mut Context, keys: &RuleKeys, rule: &AclRule) {
    let networks = || rule.who.networks.iter().map(ToString::to_string);
    let all_of_ipv6 = networks().any(|it| it == "::/0");
    let some_of_ipv4 = networks().any(|it| !it.contains(':'));
    if let (true, false, Some(span)) = (all_of_ipv6, some_of_ipv4, keys.networks.span()) {
        let message = format!(
            "rule `{}` matches no client with an IPv4 address",
            rule.name
        );
        let label = "`::/0` does not include them; add \"0.0.0.0/0\"";
        cx.push(Diagnostic::warning(message).at(span).label(label));
    }
}

/// A denial of one exact filter, while another one for the same topics is allowed by default.
fn filters(cx: &mut Context, keys: &RuleKeys, rule: &AclRule, index: &Index<'_>) {
    if rule.allows() || !rule.topics.is_empty() {
        return;
    }
    let passing = rule.filters.iter().find_map(|filter| {
        let other = Template::new(other(filter.as_str())?);
        (!is_denied(index, rule, &other)).then_some((filter, other))
    });
    if let (Some((filter, other)), Some(span)) = (passing, keys.filters.span()) {
        let message = format!("rule `{}` denies only the filter `{filter}`", rule.name);
        let label = match filter.as_str() {
            "#" => format!("`{other}` passes; add it"),
            _ => format!("`{other}` passes; `topics` denies all filters for such topics"),
        };
        cx.push(Diagnostic::warning(message).at(span).label(label));
    }
}

/// True if a rule denies a filter to all the clients of `gap`.
fn is_denied(index: &Index<'_>, gap: &AclRule, filter: &Template) -> bool {
    let denies = |kind: Kind| !kind.allow && kind.subscribe;
    let found = index.with_filter(&gap.who, filter, &mut 0);
    found.iter().any(|it| it.first(denies).is_some())
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
