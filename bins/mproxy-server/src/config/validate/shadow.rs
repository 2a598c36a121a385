//! Rules that can never decide, because an earlier one always does, and denials that come too late.

use crate::config::context::Context;
use crate::config::model::{AclAction, AclRule, Template};
use crate::config::scalar::opaque;
use crate::diagnostics::Diagnostic;
use mproxy_codec::topic::TopicFilter;
use std::ops::Range;

/// Warns about every rule that is covered by one earlier rule, and about every denial of what one
/// earlier rule allows.
///
/// Rules that only several earlier ones cover together are not found.
pub(super) fn unreachable(cx: &mut Context, rules: &[(Range<usize>, AclRule)]) {
    for (index, (span, rule)) in rules.iter().enumerate() {
        let Some(before) = rules.get(..index) else {
            continue;
        };
        let mut before = before.iter();
        let too_late = before
            .clone()
            .find_map(|(at, it)| Some((at, late(it, rule)?)));
        if let Some((earlier, late)) = too_late {
            let message = format!(
                "rule `{}` comes too late to deny `{}`",
                rule.name, late.pattern
            );
            let warning = Diagnostic::warning(message).at(span.clone());
            let label = format!("put it before `{}`: the first match wins", late.by);
            let allowed = format!("`{}` lets clients {} there", late.by, late.actions());
            cx.push(warning.label(label).related(earlier.clone(), allowed));
        } else if let Some((earlier, by)) = before.find(|(_, it)| shadows(it, rule)) {
            let message = format!("rule `{}` can never decide", rule.name);
            let warning = Diagnostic::warning(message).at(span.clone());
            let label = format!("`{}` matches everything that it matches", by.name);
            cx.push(
                warning
                    .label("the first match wins")
                    .related(earlier.clone(), label),
            );
        }
    }
}

/// True when `earlier` matches everything that `later` matches.
fn shadows(earlier: &AclRule, later: &AclRule) -> bool {
    if earlier.allow && !later.allow {
        // what it denies is looked at one by one
        return false;
    }
    // A denial with a placeholder denies everything to clients that cannot fill it in.
    let guard = !later.allow && later.topics.iter().any(|it| it.as_str().contains("${"));
    let actions = later.actions.iter().all(|it| earlier.actions.contains(it));
    let topics = later.topics.iter().all(|it| covers(&earlier.topics, it));
    let filters = later
        .filters
        .iter()
        .all(|it| earlier.filters.contains(it) || covers(&earlier.topics, it));
    let clients = earlier.who.covers(&later.who);
    let something = !(later.topics.is_empty() && later.filters.is_empty());
    !guard && clients && actions && topics && filters && something
}

/// What is allowed before it is denied.
struct Late<'a> {
    by: &'a str,
    pattern: &'a Template,
    publish: bool,
    subscribe: bool,
}

impl Late<'_> {
    fn actions(&self) -> &'static str {
        match (self.publish, self.subscribe) {
            (true, true) => "publish and subscribe",
            (true, false) => "publish",
            (false, _) => "subscribe",
        }
    }
}

/// The first pattern of a denial that a permission covers for all the clients that it is about.
///
/// A denial of subscriptions still meets those filters that are wider than the permission, but not
/// what it was written for: the topics that it names.
fn late<'a>(earlier: &'a AclRule, later: &'a AclRule) -> Option<Late<'a>> {
    if !earlier.allow || later.allow || !earlier.who.covers(&later.who) {
        return None;
    }
    let both = |action| earlier.actions.contains(&action) && later.actions.contains(&action);
    let (publish, subscribe) = (both(AclAction::Publish), both(AclAction::Subscribe));
    let found = |pattern, publish| Late {
        by: &earlier.name,
        pattern,
        publish,
        subscribe,
    };
    let mut topics = later.topics.iter();
    let mut filters = later.filters.iter();
    let topic = topics.find(|it| (publish || subscribe) && covers(&earlier.topics, it));
    if let Some(pattern) = topic {
        return Some(found(pattern, publish));
    }
    let allowed = |it: &Template| earlier.filters.contains(it) || covers(&earlier.topics, it);
    let filter = filters.find(|it| subscribe && allowed(it));
    filter.map(|pattern| found(pattern, false))
}

fn covers(patterns: &[Template], pattern: &Template) -> bool {
    let Ok(inner) = opaque(pattern.as_str()) else {
        return false;
    };
    let Ok(inner) = TopicFilter::new(&inner) else {
        return false;
    };
    patterns.iter().any(|outer| {
        opaque(outer.as_str())
            .is_ok_and(|outer| TopicFilter::new(&outer).is_ok_and(|outer| outer.covers(inner)))
    })
}
