//! What a filter that was granted can read, the rules say may be read: for any rules, filter and
//! topic.
//!
//! The rules are asked topic by topic, by their definition, which shares no code with the crate.

mod support;

use mproxy_layers::acl::{Acl, Actions, Effect, Rule};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use support::cases;

/// A rule, and whether it is about SUBSCRIBE.
#[derive(Clone, Debug)]
struct Written {
    allow: bool,
    actions: Actions,
    patterns: Vec<String>,
}

/// Few levels, so that rules, filters and topics meet.
fn level() -> impl Strategy<Value = &'static str> {
    select(vec!["a", "a", "b", "c", "u", "", "$x"])
}

fn topic() -> impl Strategy<Value = String> {
    vec(level(), 1..5).prop_map(|levels| match levels.join("/") {
        topic if topic.is_empty() => "/".to_owned(), // there is no empty one
        topic => topic,
    })
}

fn pattern(placeholders: bool) -> impl Strategy<Value = String> {
    let mut special = vec!["+", "+", "a"];
    if placeholders {
        special.extend(["${client_id}", "${username}", "x${username}"]);
    }
    let level = prop_oneof![3 => level(), 2 => select(special)];
    (vec(level, 0..4), any::<bool>()).prop_map(|(mut levels, rest)| {
        if rest || levels.iter().all(|level| level.is_empty()) {
            levels.push("#");
        }
        levels.join("/")
    })
}

fn filter() -> impl Strategy<Value = String> {
    (pattern(false), 0..5_u8).prop_map(|(filter, shared)| match shared {
        0 => format!("$share/g/{filter}"),
        _ => filter,
    })
}

fn rule() -> impl Strategy<Value = Written> {
    let actions = select(vec![
        Actions::SUBSCRIBE,
        Actions::SUBSCRIBE,
        Actions::ALL,
        Actions::PUBLISH,
    ]);
    let patterns = vec(pattern(true), 1..3);
    (any::<bool>(), actions, patterns).prop_map(|(allow, actions, patterns)| Written {
        allow,
        actions,
        patterns,
    })
}

/// Section 4.7 of the standard.
fn matches(filter: &str, topic: &str) -> bool {
    fn levels(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            ([], []) | (["#"], _) => true,
            (["+", filter @ ..], [_, topic @ ..]) => levels(filter, topic),
            ([one, filter @ ..], [level, topic @ ..]) => one == level && levels(filter, topic),
            _ => false,
        }
    }
    let hidden = topic.starts_with('$') && filter.starts_with(['+', '#']);
    let filter: Vec<_> = filter.split('/').collect();
    let topic: Vec<_> = topic.split('/').collect();
    // `/#` would match the empty topic, which there is none of
    !hidden && levels(&filter, &topic)
}

fn usable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '+', '#', '\0'])
}

/// What a pattern is for this client; `None` when it has no usable name.
fn filled(pattern: &str, client_id: &str, username: Option<&str>) -> Option<String> {
    let mut filled = pattern.to_owned();
    for (placeholder, value) in [("${client_id}", Some(client_id)), ("${username}", username)] {
        if pattern.contains(placeholder) {
            filled = filled.replace(placeholder, value.filter(|value| usable(value))?);
        }
    }
    // a name that begins with `$` opens nothing of the broker's own
    let opened = pattern.starts_with("${") && filled.starts_with('$');
    (!opened).then_some(filled)
}

/// Whether the client may read the topic: the first rule that applies to it decides.
fn readable(
    rules: &[Written],
    default: bool,
    (client_id, username): (&str, Option<&str>),
    topic: &str,
) -> bool {
    for rule in rules
        .iter()
        .filter(|rule| rule.actions.contains(Actions::SUBSCRIBE))
    {
        for pattern in &rule.patterns {
            match filled(pattern, client_id, username) {
                Some(pattern) if matches(&pattern, topic) => return rule.allow,
                // nobody knows what it protects
                None if !rule.allow => return false,
                _ => {}
            }
        }
    }
    default && !topic.starts_with('$')
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn a_granted_filter_reads_only_what_may_be_read(
        rules in vec(rule(), 0..6),
        default in any::<bool>(),
        client_id in select(vec!["c", "a", "+", "#", "a/b", "", "$x"]),
        username in select(vec![None, Some("u"), Some("#"), Some("+/a"), Some(""), Some("$x")]),
        filter in filter(),
        topics in vec(topic(), 8),
    ) {
        let mut builder = Acl::builder();
        builder.default_effect(if default { Effect::Allow } else { Effect::Deny });
        let mut added = Vec::new();
        for written in rules {
            let rule = if written.allow {
                Rule::allow(written.actions)
            } else {
                Rule::deny(written.actions)
            };
            if builder.rule(rule.topics(written.patterns.iter().map(String::as_str))).is_ok() {
                added.push(written);
            }
        }
        let acl = builder.build();
        let session = acl.for_client(client_id, username);
        let granted = session.decide_subscribe(&filter).allowed();
        let inner = filter.strip_prefix("$share/g/").unwrap_or(&filter);
        for topic in &topics {
            let may = readable(&added, default, (client_id, username), topic);
            // a filter without wildcards asks for one topic, and is granted if that is readable
            if inner == topic && !filter.starts_with("$share") {
                prop_assert_eq!(granted, may, "{} alone", topic);
            }
            if granted && matches(inner, topic) {
                prop_assert!(may, "{filter} was granted and reads {topic}: {added:?}");
            }
        }
    }
}
