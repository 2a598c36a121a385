//! Rules decide as their definition says, and nothing that they grant reads what they deny.
//!
//! The input is lines: client id, user name, topic name, topic filter, then rules. A rule begins
//! with a letter that says its effect and actions; the rest of the line is its pattern.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mproxy_codec::topic::{TopicFilter, TopicName};
use mproxy_layers::acl::{Acl, Actions, Effect, Rule};

/// A rule, as the definition is about it.
struct Written {
    effect: Effect,
    publish: bool,
    subscribe: bool,
    deliver: bool,
    /// `None` when the client has no usable name for it.
    pattern: Option<String>,
}

const PLACEHOLDERS: [&str; 3] = ["${client_id}", "${username}", "${cn}"];

/// The value of a placeholder, if it can stand in a pattern.
fn usable(value: Option<&str>) -> Option<&str> {
    value.filter(|it| !it.is_empty() && !it.contains(['/', '+', '#', '\0']))
}

/// A pattern as this client meets it.
fn filled(pattern: &str, client_id: &str, username: Option<&str>) -> Option<String> {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(at) = rest.find("${") {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (placeholder, value) = if rest.starts_with(PLACEHOLDERS[0]) {
            (PLACEHOLDERS[0], Some(client_id))
        } else if rest.starts_with(PLACEHOLDERS[1]) {
            (PLACEHOLDERS[1], username)
        } else {
            // no client here has a certificate
            (PLACEHOLDERS[2], None)
        };
        out.push_str(usable(value)?);
        rest = &rest[placeholder.len()..];
    }
    out.push_str(rest);
    // what the operator did not write must not open the broker's own topics
    (pattern.starts_with('$') && !pattern.starts_with("${") || !out.starts_with('$')).then_some(out)
}

fn allows(effect: Effect) -> bool {
    effect == Effect::Allow
}

/// The first rule that speaks decides, for a topic.
fn by_definition(
    rules: &[Written],
    default: Effect,
    topic: &str,
    speaks: impl Fn(&Written) -> bool,
) -> bool {
    let name = TopicName::new(topic).expect("checked");
    for rule in rules.iter().filter(|rule| speaks(rule)) {
        match &rule.pattern {
            Some(pattern) if TopicFilter::new(pattern).is_ok_and(|filter| filter.matches(name)) => {
                return allows(rule.effect);
            }
            None if rule.effect == Effect::Deny => return false,
            _ => {}
        }
    }
    allows(default) && !topic.starts_with('$')
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    if text.len() > 600 {
        return;
    }
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (client_id, username, topic, filter) = (next(), next(), next(), next());
    let username = username.strip_prefix('=');
    let default = if filter.len() % 2 == 0 {
        Effect::Allow
    } else {
        Effect::Deny
    };
    let mut builder = Acl::builder();
    builder.default_effect(default);
    let mut written = Vec::new();
    for line in lines {
        let Some((letter, pattern)) = line.split_at_checked(1) else {
            continue;
        };
        let bits = letter.as_bytes()[0];
        let effect = if bits & 8 == 0 {
            Effect::Allow
        } else {
            Effect::Deny
        };
        let mut actions = Actions::NONE;
        for (bit, action) in [
            (1, Actions::PUBLISH),
            (2, Actions::SUBSCRIBE),
            (4, Actions::DELIVER),
        ] {
            if bits & bit != 0 {
                actions = actions | action;
            }
        }
        let rule = match effect {
            Effect::Allow => Rule::allow(actions),
            Effect::Deny => Rule::deny(actions),
        };
        if builder.rule(rule.topic(pattern)).is_ok() {
            written.push(Written {
                effect,
                publish: bits & 1 != 0,
                subscribe: bits & 2 != 0,
                deliver: bits & (2 | 4) != 0,
                pattern: filled(pattern, client_id, username),
            });
        }
    }
    let acl = builder.build();
    let mut session = acl.for_client(client_id, username);
    let granted = session.decide_subscribe(filter).allowed();
    // asked twice: it remembers
    assert_eq!(session.decide_subscribe(filter).allowed(), granted);
    let Ok(name) = TopicName::new(topic) else {
        return;
    };
    let (publish, deliver) = (
        by_definition(&written, default, topic, |rule| rule.publish),
        by_definition(&written, default, topic, |rule| rule.deliver),
    );
    for _ in 0..2 {
        assert_eq!(
            session.decide_publish(topic).allowed(),
            publish,
            "publish {topic:?}"
        );
        assert_eq!(
            session.decide_deliver(topic).allowed(),
            deliver,
            "deliver {topic:?}"
        );
    }
    // containment, in the eyes of the rules about subscribing
    let inner =
        TopicFilter::new(filter).and_then(|it| Ok(it.shared()?.map_or(it, |it| it.filter())));
    if granted && inner.is_ok_and(|inner| inner.matches(name)) {
        let readable = by_definition(&written, default, topic, |rule| rule.subscribe);
        assert!(readable, "{filter:?} was granted and reads {topic:?}");
    }
});
