//! Rules that can never decide, because an earlier one always does.

use crate::config::context::Context;
use crate::config::model::{AclAction, AclRule, Template};
use crate::config::scalar::opaque;
use crate::diagnostics::Diagnostic;
use mproxy_codec::topic::TopicFilter;
use std::ops::Range;

/// Warns about every rule that is covered by one earlier rule.
///
/// Rules that only several earlier ones cover together are not found.
pub(super) fn unreachable(cx: &mut Context, rules: &[(Range<usize>, AclRule)]) {
    for (index, (span, rule)) in rules.iter().enumerate() {
        let Some(before) = rules.get(..index) else {
            continue;
        };
        if let Some((earlier, by)) = before.iter().find(|(_, it)| shadows(it, rule)) {
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
    // A denial of subscriptions meets every filter that overlaps with it, a permission only
    // those inside of it: then an earlier permission leaves something to a later denial.
    let partial = earlier.allow && !later.allow && later.actions.contains(&AclAction::Subscribe);
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
    !partial && !guard && clients && actions && topics && filters && something
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
