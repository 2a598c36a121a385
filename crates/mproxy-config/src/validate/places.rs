//! Rules with topics of one side of a topic map, in a layer on the other side.

use crate::chain::Chain;
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::layer::{AclRule, AclWho, Layer, LayerKind, TopicMap};
use crate::scalar::Template;
use mproxy_codec::topic::TopicFilter;
use std::ops::Range;

/// Warns about rules of an acl that match no topic because of a topic map in the chain: before the
/// map, topics are those of the client, after it those of the broker.
///
/// A rule is reported only if all its patterns are wrong, so that one list can serve two chains. A rule for
/// super clients only is right on both sides.
pub(crate) fn check(cx: &mut Context, chain: &Chain, span: &Range<usize>) {
    let layers = &chain.layers;
    for (place, layer) in layers.iter().enumerate() {
        let LayerKind::Acl(acl) = &layer.kind else {
            continue;
        };
        let before = layers.iter().take(place).rev().find_map(|it| map(it));
        let behind = layers.iter().skip(place).find_map(|it| map(it));
        for rule in &acl.rules {
            let inside = before.filter(|(_, map)| broker_never_sees(map, rule));
            let outside = behind.filter(|(_, map)| clients_never_say(map, rule));
            let (map, now, whose, then) = match (inside, outside) {
                (Some((map, _)), _) => (map, "after", "the broker", "before"),
                (None, Some((map, _))) => (map, "before", "a client", "after"),
                (None, None) => continue,
            };
            let acl = &layer.name;
            let message = format!("rule `{}` matches no topic of {whose}", rule.name);
            let label = format!("`{acl}` comes {now} `{map}` and sees the topics of {whose}");
            let warning = Diagnostic::warning(message).at(span.clone()).label(label);
            let note = format!(
                "write `{}` ({}) as it is there, or put `{acl}` {then} `{map}`",
                first_pattern(rule),
                rule.at
            );
            cx.push(warning.note(note));
        }
    }
}

fn first_pattern(rule: &AclRule) -> &str {
    let mut patterns = rule.topics.iter().chain(&rule.filters);
    patterns.next().map_or("", Template::as_str)
}

fn map(layer: &Layer) -> Option<(&str, &TopicMap)> {
    match &layer.kind {
        LayerKind::TopicMap(map) => Some((&layer.name, map)),
        _ => None,
    }
}

/// True if the map never produces a topic of any pattern.
fn broker_never_sees(map: &TopicMap, rule: &AclRule) -> bool {
    let places = || map.rules.iter().map(|it| &it.to).chain(&map.prefix);
    all(map, rule, |pattern| {
        !places().any(|it| overlaps(it, pattern))
    })
}

/// True if all patterns are for topics that are not mapped, or that are written as they are at
/// the broker, with the name of the client in them.
fn clients_never_say(map: &TopicMap, rule: &AclRule) -> bool {
    let mapped = |pattern: &Template| {
        let mut rules = map.rules.iter();
        map.prefix.is_some() || rules.any(|it| overlaps(&it.from, pattern))
    };
    let mapped_already = |pattern: &Template| {
        let mut places = map.rules.iter().map(|it| &it.to).chain(&map.prefix);
        places.any(|it| it.as_str().contains("${") && pattern.as_str().starts_with(it.as_str()))
    };
    all(map, rule, |it| !mapped(it) || mapped_already(it))
}

/// True when this holds for all patterns of a rule about clients that are mapped.
fn all(map: &TopicMap, rule: &AclRule, wrong: impl Fn(&Template) -> bool) -> bool {
    let mut patterns = rule.topics.iter().chain(&rule.filters);
    // topics that begin with `$` are the broker's own on both sides
    let own = |it: &Template| it.as_str().starts_with('$') && !it.as_str().starts_with("${");
    !names_super(map, &rule.who) && patterns.all(|it| !own(it) && wrong(it))
}

fn names_super(map: &TopicMap, who: &AclWho) -> bool {
    let mut names = who.usernames.iter();
    let mut ids = who.client_ids.iter();
    names.any(|it| map.super_clients.usernames.contains(it))
        || ids.any(|it| map.super_clients.client_ids.contains(it))
}

/// True when a topic may begin with this and match the pattern, for some names of clients.
fn overlaps(start: &Template, pattern: &Template) -> bool {
    let (start, pattern) = (
        // `a/#` would match `a`, too
        format!("{}+/#", any_name(start.as_str())),
        any_name(pattern.as_str()),
    );
    // a pattern that cannot be compared is not reported
    let (Ok(start), Ok(pattern)) = (TopicFilter::new(&start), TopicFilter::new(&pattern)) else {
        return true;
    };
    start.overlaps(pattern)
}

/// Replaces every level that contains a placeholder by `+`.
fn any_name(text: &str) -> String {
    let levels = text.split('/').map(|it| match it.contains("${") {
        true => "+",
        false => it,
    });
    levels.collect::<Vec<_>>().join("/")
}
