//! Rules that never apply, because an earlier one always does, and denials that come too late.

use super::cover::{Found, Index, Kind};
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::layer::AclRule;
use crate::scalar::{Template, opaque};
use mproxy_codec::topic::TopicFilter;
use mproxy_layers::acl::Actions;
use std::ops::Range;

/// How many steps the check takes per rule, and at least. Realistic rules need a
/// few dozen steps each; without a limit, rules that overlap in every possible way would
/// delay the start without end.
const STEPS: u64 = 500;
const STEPS_MIN: u64 = 5_000_000;

/// Warns about every rule that one earlier rule covers, and about every denial of what one
/// earlier rule allows. Returns the index of the rules.
///
/// It does not find rules that only several earlier ones cover together.
pub(crate) fn unreachable<'a>(cx: &mut Context, rules: &'a [(Range<usize>, AclRule)]) -> Index<'a> {
    let count = u64::try_from(rules.len()).unwrap_or(u64::MAX);
    within(cx, rules, count.saturating_mul(STEPS).max(STEPS_MIN))
}

/// The same in so many steps, and what began with the last of them.
fn within<'a>(cx: &mut Context, rules: &'a [(Range<usize>, AclRule)], limit: u64) -> Index<'a> {
    let (mut index, mut steps) = (Index::default(), 0);
    for (number, (span, rule)) in rules.iter().enumerate() {
        if steps <= limit {
            let first = first(&index, rule, &mut steps);
            if let Some((place, earlier)) = first.and_then(|it| rules.get(it as usize)) {
                let (message, label, related) = reason(earlier, rule);
                let warning = Diagnostic::warning(message).at(span.clone()).label(label);
                cx.push(warning.related(place.clone(), related));
            }
            if steps > limit && number + 1 < rules.len() {
                cx.push(given_up(number + 1, rules));
            }
        }
        index.add(rule);
    }
    index
}

fn given_up(checked: usize, rules: &[(Range<usize>, AclRule)]) -> Diagnostic {
    let message = format!(
        "only the first {checked} of {} rules were compared with each other",
        rules.len()
    );
    let place = rules.get(checked).map_or(0..0, |(span, _)| span.clone());
    let warning = Diagnostic::warning(message).at(place);
    warning
        .label("mproxy did not check whether this rule and the later ones can ever match")
        .note("too many rules match the same topics for the same clients; merge some of them")
}

/// The first rule of the index that takes something from `later`: the one with a
/// [`reason`].
fn first(index: &Index<'_>, later: &AclRule, steps: &mut u64) -> Option<u32> {
    let shadowing = first_shadowing(index, later, steps);
    let late = (!later.allows()).then(|| first_permission(index, later, steps));
    shadowing.into_iter().chain(late.flatten()).min()
}

/// As [`late`] has it: any pattern is enough.
fn first_permission(index: &Index<'_>, later: &AclRule, steps: &mut u64) -> Option<u32> {
    let kind = Kind::of(later);
    let subscribe = |it: Kind| it.allow && it.subscribe && kind.subscribe;
    let either = |it: Kind| it.allow && (it.publish && kind.publish || subscribe(it));
    let mut best = None;
    let mut note = |found: Vec<&Found>, wanted: &dyn Fn(Kind) -> bool| {
        let first = found.iter().filter_map(|it| it.first(wanted));
        best = best.into_iter().chain(first).min();
    };
    for topic in &later.topics {
        note(index.covering(&later.who, topic, steps), &either);
    }
    for filter in &later.filters {
        note(index.with_filter(&later.who, filter, steps), &subscribe);
    }
    best
}

/// As [`shadows`] has it: one rule for all patterns.
fn first_shadowing(index: &Index<'_>, later: &AclRule, steps: &mut u64) -> Option<u32> {
    if is_guard(later) {
        return None;
    }
    let kind = Kind::of(later);
    let wanted = |it: Kind| {
        let actions = (it.publish || !kind.publish) && (it.subscribe || !kind.subscribe);
        (later.allows() || !it.allow) && actions
    };
    let mut patterns = Vec::new();
    for topic in &later.topics {
        patterns.push(index.covering(&later.who, topic, steps));
    }
    for filter in &later.filters {
        patterns.push(index.with_filter(&later.who, filter, steps));
    }
    // those of the pattern that has the fewest are asked for the others
    let count = |found: &Vec<&Found>| found.iter().map(|it| it.rules().len()).sum::<usize>();
    let (rarest, _) = patterns
        .iter()
        .enumerate()
        .min_by_key(|(_, found)| count(found))?;
    let candidates = patterns.swap_remove(rarest);
    if patterns.is_empty() {
        return candidates.iter().filter_map(|it| it.first(wanted)).min();
    }
    let mut first = None;
    for number in candidates.iter().flat_map(|it| it.rules()) {
        *steps += 1;
        let earlier = first.is_none_or(|first| number < first);
        if earlier && index.kind(*number).is_some_and(wanted) {
            let covers = |found: &Vec<&Found>| {
                *steps += 1;
                found.iter().any(|it| it.has(*number))
            };
            if patterns.iter().all(covers) {
                first = Some(number);
            }
        }
    }
    first.copied()
}

/// What `earlier` takes from `later`: a message, what to do, and what `earlier` does.
fn reason(earlier: &AclRule, later: &AclRule) -> (String, String, String) {
    let (first, name) = (&earlier.name, &later.name);
    match late(earlier, later) {
        Some(late) => (
            format!("rule `{name}` comes too late to deny `{}`", late.pattern),
            format!("put it before `{first}`: the first match wins"),
            format!("`{first}` lets clients {} there", late.actions()),
        ),
        None => (
            format!("rule `{name}` never applies"),
            "the first match wins".to_owned(),
            format!("`{first}` already matches everything that it matches"),
        ),
    }
}

/// A denial with a placeholder denies everything to clients without a value for it.
fn is_guard(rule: &AclRule) -> bool {
    !rule.allows() && rule.topics.iter().any(|it| it.as_str().contains("${"))
}

/// A topic that is allowed before it is denied.
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

/// The first pattern of a denial that a permission covers for all its clients.
///
/// A denial of subscriptions still matches filters that are wider than the permission, but not
/// the topics that it names, for which it was written.
fn late<'a>(earlier: &AclRule, later: &'a AclRule) -> Option<Late<'a>> {
    if !earlier.allows() || later.allows() || !earlier.who.covers(&later.who) {
        return None;
    }
    let both = |action| earlier.actions.contains(action) && later.actions.contains(action);
    let (publish, subscribe) = (both(Actions::PUBLISH), both(Actions::SUBSCRIBE));
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

#[cfg(test)]
mod tests;
