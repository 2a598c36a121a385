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
        let mut reasons = before.iter().filter_map(|(place, earlier)| {
            let reason = reason(earlier, rule)?;
            Some((place, reason))
        });
        if let Some((place, (message, label, related))) = reasons.next() {
            let warning = Diagnostic::warning(message).at(span.clone()).label(label);
            cx.push(warning.related(place.clone(), related));
        }
    }
}

/// What `earlier` takes from `later`: a message, what to do, and what `earlier` does.
fn reason(earlier: &AclRule, later: &AclRule) -> Option<(String, String, String)> {
    let (first, name) = (&earlier.name, &later.name);
    if let Some(late) = late(earlier, later) {
        return Some((
            format!("rule `{name}` comes too late to deny `{}`", late.pattern),
            format!("put it before `{first}`: the first match wins"),
            format!("`{first}` lets clients {} there", late.actions()),
        ));
    }
    shadows(earlier, later).then(|| {
        (
            format!("rule `{name}` can never decide"),
            "the first match wins".to_owned(),
            format!("`{first}` matches everything that it matches"),
        )
    })
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
fn late<'a>(earlier: &AclRule, later: &'a AclRule) -> Option<Late<'a>> {
    if !earlier.allow || later.allow || !earlier.who.covers(&later.who) {
        return None;
    }
    let both = |action| earlier.actions.contains(&action) && later.actions.contains(&action);
    let (publish, subscribe) = (both(AclAction::Publish), both(AclAction::Subscribe));
    let found = |pattern, publish| Late {
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

pub(super) fn covers(patterns: &[Template], pattern: &Template) -> bool {
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
