//! What the layers allow is what the broker's own reading of topics allows: for any rules, names and
//! filters, and every dialect.
//!
//! The model does what the brokers do, and shares no code with the crate: RabbitMQ translates a topic
//! into a routing key and matches it as a topic exchange of AMQP 0-9-1, NATS translates it into a
//! subject. A rule applies to a topic if a subscriber to the rule's pattern would get what is
//! published there.

mod support;

use mproxy_codec::topic::{Dialect, TopicFilter, TopicName};
use mproxy_layers::{
    Names,
    acl::{Acl, Actions, Effect, Rule},
    topic_map::{MapRule, SessionMap, TopicMap},
};
use proptest::{collection::vec, prelude::*, sample::select};
use support::cases;

/// Section 4.7 of the standard.
fn matches_mqtt(filter: &[&str], name: &[&str]) -> bool {
    match (filter, name) {
        ([], []) | (["#"], _) => true,
        (["+", filter @ ..], [_, name @ ..]) => matches_mqtt(filter, name),
        ([one, filter @ ..], [level, name @ ..]) => one == level && matches_mqtt(filter, name),
        _ => false,
    }
}

/// `to_amqp` of `rabbit_mqtt_util.erl`, 3.10 to 4.3.
fn routing_key(topic: &str) -> String {
    topic.replace('/', ".").replace('+', "*")
}

/// `to_mqtt`, with which messages are delivered.
fn topic_of_routing_key(key: &str) -> String {
    key.replace('*', "+").replace('.', "/")
}

/// `trie_match` of `rabbit_exchange_type_topic.erl`: `*` is one word, `#` any number of them.
fn matches_amqp(binding: &[&str], key: &[&str]) -> bool {
    match (binding, key) {
        ([], []) => true,
        (["#", rest @ ..], _) => (0..=key.len()).any(|at| matches_amqp(rest, &key[at..])),
        (["*", binding @ ..], [_, key @ ..]) => matches_amqp(binding, key),
        ([one, binding @ ..], [word, key @ ..]) => one == word && matches_amqp(binding, key),
        _ => false,
    }
}

/// `mqttToNATSSubjectConversion` of `mqtt.go`, 2.15; `None` is an error, which ends the connection.
fn subject(topic: &str) -> Option<String> {
    let bytes = topic.as_bytes();
    let mut subject = String::new();
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'/' if at == 0 || subject.ends_with('.') => subject.push_str("/."),
            b'/' if at + 1 == bytes.len() || bytes[at + 1] == b'/' => subject.push_str("./"),
            b'/' => subject.push('.'),
            b' ' => return None,
            b'.' => subject.push_str("//"),
            b'+' => subject.push('*'),
            b'#' => subject.push('>'),
            _ => subject.push(char::from(byte)),
        }
    }
    if subject.ends_with('.') {
        subject.push('/');
    }
    Some(subject)
}

/// `*` is one token, `>` one or more at the end.
fn matches_nats(filter: &[&str], subject: &[&str]) -> bool {
    match (filter, subject) {
        ([], []) | ([">"], [_, ..]) => true,
        (["*", filter @ ..], [_, subject @ ..]) => matches_nats(filter, subject),
        ([one, filter @ ..], [token, subject @ ..]) => {
            one == token && matches_nats(filter, subject)
        }
        _ => false,
    }
}

/// A broker, as far as it matches topics.
#[derive(Clone, Copy, Debug)]
struct Broker(Dialect);

impl Broker {
    /// Whether a subscriber to the filter gets what is published to the name now, or also what was
    /// `kept` from before.
    fn matches(self, filter: &str, name: &str, kept: bool) -> bool {
        fn split(text: &str, by: char) -> Vec<&str> {
            text.split(by).collect()
        }
        match self.0 {
            Dialect::Amqp => {
                let (binding, key) = (routing_key(filter), routing_key(name));
                matches_amqp(&split(&binding, '.'), &split(&key, '.'))
            }
            Dialect::Nats => {
                let (Some(filter), Some(subject)) = (subject(filter), subject(name)) else {
                    return false;
                };
                let reserved = matches!(&*filter, ">" | "*") || filter.starts_with("*.");
                if reserved && name.starts_with('$') && !kept {
                    return false;
                }
                // `a/#` matches `a`, for which there is a subscription of its own
                let up = filter.strip_suffix(".>").is_some_and(|up| {
                    filter.len() > 2 && matches_nats(&split(up, '.'), &split(&subject, '.'))
                });
                up || matches_nats(&split(&filter, '.'), &split(&subject, '.'))
            }
            _ => {
                let shared = filter
                    .strip_prefix("$share/")
                    .and_then(|it| it.split_once('/'));
                let filter = shared.map_or(filter, |(_, filter)| filter);
                let hidden = name.starts_with('$') && filter.starts_with(['+', '#']);
                !hidden && matches_mqtt(&split(filter, '/'), &split(name, '/'))
            }
        }
    }

    /// What a subscriber sees of a name; `None` if it is not delivered, or is no name of MQTT.
    fn delivers(self, name: &str) -> Option<String> {
        let delivered = match self.0 {
            Dialect::Amqp => topic_of_routing_key(&routing_key(name)),
            _ => name.to_owned(),
        };
        let wildcard = |level| matches!(level, "*" | ">");
        let subject = matches!(self.0, Dialect::Nats);
        let lost = subject && (name.contains(' ') || name.split('/').any(wildcard));
        (!lost && TopicName::new(&delivered).is_ok()).then_some(delivered)
    }

    /// Whether a name is a piece of one level, and nothing else.
    fn is_piece(self, name: &str) -> bool {
        let read = match self.0 {
            Dialect::Amqp => &['.', '*'][..],
            Dialect::Nats => &['*', '>', ' '],
            _ => &[],
        };
        !name.is_empty() && !name.contains(['/', '+', '#', '\0']) && !name.contains(read)
    }

    /// A pattern for this client; `None` if it has no usable name.
    fn filled(self, pattern: &str, client_id: &str) -> Option<String> {
        if !pattern.contains("${client_id}") {
            return Some(pattern.to_owned());
        }
        let opened = pattern.starts_with("${") && client_id.starts_with('$');
        let filled = pattern.replace("${client_id}", client_id);
        (self.is_piece(client_id) && !opened).then_some(filled)
    }

    /// What the first rule that applies to a name says: `None` if none does.
    fn first(self, rules: &[Written], action: Actions, id: &str, name: &str) -> Option<bool> {
        let about = rules.iter().filter(|rule| rule.actions.contains(action));
        for rule in about {
            for pattern in &rule.patterns {
                match self.filled(pattern, id) {
                    Some(pattern) if self.matches(&pattern, name, false) => {
                        return Some(rule.allow);
                    }
                    None if !rule.allow => return Some(false),
                    _ => {}
                }
            }
        }
        None
    }

    /// Whether the first rule with a pattern that matches a name denies that it is read.
    fn denies(self, rules: &[Written], id: &str, name: &str) -> bool {
        let matches = |pattern: &String| {
            let filled = self.filled(pattern, id);
            filled.is_some_and(|pattern| self.matches(&pattern, name, false))
        };
        let first = rules.iter().find(|rule| {
            rule.actions.contains(Actions::SUBSCRIBE) && rule.patterns.iter().any(matches)
        });
        first.is_some_and(|rule| !rule.allow)
    }

    fn allows(
        self,
        (rules, default): (&[Written], bool),
        action: Actions,
        id: &str,
        name: &str,
    ) -> bool {
        let dollar = name.starts_with('$') && !matches!(self.0, Dialect::Amqp);
        let first = self.first(rules, action, id, name);
        first.unwrap_or(default && !dollar)
    }
}

/// A rule.
#[derive(Clone, Debug)]
struct Written {
    allow: bool,
    actions: Actions,
    patterns: Vec<String>,
}

fn dialect() -> impl Strategy<Value = Dialect> {
    select(vec![Dialect::MQTT, Dialect::Amqp, Dialect::Nats])
}

/// Few pieces, so that rules, filters and names meet; put together by what is between levels here
/// or there. The first ones are the likely ones.
fn text(special: &'static [&'static str]) -> impl Strategy<Value = String> {
    let common = select(vec!["a", "a", "a", "b", "$x", "$x", ""]);
    let strange = select(vec!["$share", "g", "*", ">", "a*", "b>", " "]);
    let piece = prop_oneof![4 => common, 1 => strange, 4 => select(special)];
    let between = select(vec!["/", "/", "."]);
    vec((piece, between), 1..5).prop_map(|pieces| {
        let mut text = String::new();
        for (at, (piece, between)) in pieces.into_iter().enumerate() {
            if at > 0 {
                text.push_str(between);
            }
            text.push_str(piece);
        }
        text
    })
}

fn name() -> impl Strategy<Value = String> {
    text(&["a", "b"]).prop_filter("a name", |name| TopicName::new(name).is_ok())
}

fn filter() -> impl Strategy<Value = String> {
    let start = select(vec!["", "", "", "", "", "", "", "$share/g/"]);
    let end = select(vec!["", "", "", "/#", "/>", ".*"]);
    (start, text(&["+", "*", ">", "a"]), end).prop_map(|(start, filter, end)| {
        let filter = match &*[&*filter, end].concat() {
            "/#" => "#".to_owned(),
            filter => filter.to_owned(),
        };
        [start, &filter].concat()
    })
}

fn pattern() -> impl Strategy<Value = String> {
    // what the broker reads otherwise is rarely in a rule, as it is an error
    let level = prop_oneof![
        12 => select(vec!["a", "a", "b", "", "$x", "$x", "+", "${client_id}", "a${client_id}"]),
        1 => select(vec!["*", ">", "a.b", "b*"]),
    ];
    (vec(level, 0..4), any::<bool>()).prop_map(|(mut levels, rest)| {
        if rest || levels.iter().all(|level| level.is_empty()) {
            levels.push("#");
        }
        levels.join("/")
    })
}

fn rule() -> impl Strategy<Value = Written> {
    let actions = select(vec![Actions::ALL, Actions::SUBSCRIBE, Actions::PUBLISH]);
    (any::<bool>(), actions, vec(pattern(), 1..3)).prop_map(|(allow, actions, patterns)| Written {
        allow,
        actions,
        patterns,
    })
}

fn client_id() -> impl Strategy<Value = &'static str> {
    select(vec!["a", "b", "*", ">", "a.b", "a*", "+", "a/b", "$x", ""])
}

/// The rules that the dialect takes, and the list that they make.
fn acl(written: Vec<Written>, default: bool, dialect: Dialect) -> (Vec<Written>, Acl) {
    let mut acl = Acl::builder();
    acl.default_effect(if default { Effect::Allow } else { Effect::Deny });
    acl.dialect(dialect);
    let mut added = Vec::new();
    for written in written {
        let effect = if written.allow {
            Effect::Allow
        } else {
            Effect::Deny
        };
        let rule = Rule::new(effect, written.actions);
        if acl.rule(rule.topics(&written.patterns)).is_ok() {
            added.push(written);
        }
    }
    (added, acl.build())
}

fn tenant(map: &TopicMap, username: &str) -> Option<SessionMap> {
    map.for_client(Names::new("c", Some(username))).ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn the_acl_allows_what_the_broker_reads_as_allowed(
        dialect in dialect(),
        rules in vec(rule(), 0..5),
        default in any::<bool>(),
        client_id in client_id(),
        filter in filter(),
        names in vec(name(), 12),
    ) {
        let broker = Broker(dialect);
        let (rules, acl) = acl(rules, default, dialect);
        let mut client = acl.for_client(client_id, None);
        let granted = client.decide_subscribe(&filter).allowed();
        for name in &names {
            let may = |action| broker.allows((&rules, default), action, client_id, name);
            let published = client.decide_publish(name).allowed();
            match broker.delivers(name) {
                Some(delivered) => {
                    let may = may(Actions::PUBLISH);
                    prop_assert_eq!(published, may, "{:?} publishes {}: {:?}", dialect, name, rules);
                    let received = client.decide_deliver(&delivered).allowed();
                    prop_assert_eq!(received, broker.allows(
                        (&rules, default), Actions::SUBSCRIBE, client_id, name
                    ), "{:?} delivers {}: {:?}", dialect, name, rules);
                }
                // to another client, or as something that is no topic
                None => prop_assert!(!published, "{dialect:?} publishes {name}"),
            }
            if granted && broker.matches(&filter, name, true) {
                // NATS sends what it kept of topics with `$`, unless a rule names and denies them
                let kept = matches!(dialect, Dialect::Nats)
                    && name.starts_with('$')
                    && !broker.matches(&filter, name, false);
                let unsaid = kept && !broker.denies(&rules, client_id, name);
                prop_assert!(
                    unsaid || may(Actions::SUBSCRIBE),
                    "{dialect:?}: {filter} was granted and reads {name}: {rules:?}"
                );
            }
        }
    }

    /// Clients that own what is below their names meet nowhere.
    #[test]
    fn what_a_client_owns_is_nobody_elses(
        dialect in dialect(),
        one in client_id(),
        other in client_id(),
        filters in vec(filter(), 4),
        names in vec(name(), 8),
        dev in select(vec!["a/", ""]),
    ) {
        if one == other {
            return Ok(());
        }
        let own = Rule::allow(Actions::ALL).topic(format!("{dev}${{client_id}}/#"));
        let mut acl = Acl::builder();
        acl.dialect(dialect).rule(own).expect("a rule");
        let acl = acl.build();
        let (mut one, other) = (acl.for_client(one, None), acl.for_client(other, None));
        for name in names.iter().filter(|name| one.decide_publish(name).allowed()) {
            for filter in filters.iter().filter(|it| other.decide_subscribe(it).allowed()) {
                prop_assert!(!Broker(dialect).matches(filter, name, true), "{filter} reads {name}");
            }
        }
    }

    /// A tenant reads what it publishes, by the names that it would have at the broker without a
    /// map, and nothing of another one.
    #[test]
    fn tenants_meet_nowhere_and_see_what_they_would_see_alone(
        dialect in dialect(),
        one in client_id(),
        other in client_id(),
        filter in filter(),
        names in vec(name(), 8),
        to in select(vec!["t/${username}/", "u${username}/", "t/a${username}/b/"]),
        own_place in any::<bool>(),
    ) {
        let broker = Broker(dialect);
        let mut map = TopicMap::builder().dialect(dialect);
        if own_place {
            map = map.rule(MapRule::new("a/", "x/${username}/"));
        }
        let map = map.rule(MapRule::new("", to)).build().expect("a map");
        let (Some(mine), Some(others)) = (tenant(&map, one), tenant(&map, other)) else {
            return Ok(());
        };
        let mapped_filter = mine.map_filter(&filter);
        for name in &names {
            let Ok(published) = others.map_name(name) else {
                continue;
            };
            let delivered = broker.delivers(&published);
            let delivered = delivered.expect("what is published is delivered");
            let seen = mine.unmap_name(&delivered);
            if one != other {
                prop_assert_eq!(seen, None, "{} of {}", name, other);
                continue;
            }
            let seen = seen.expect("what is one's own comes back");
            prop_assert_eq!(Some(seen.into_owned()), broker.delivers(name));
            if let Ok(mapped) = &mapped_filter {
                prop_assert_eq!(
                    broker.matches(mapped, &published, false),
                    broker.matches(&filter, name, false),
                    "{} as {}, {} as {}", filter, mapped, name, published
                );
            }
        }
        // what others publish at the broker is seen below the prefix only, by what the filter says
        if let Ok(mapped) = &mapped_filter {
            prop_assert!(TopicFilter::new(mapped).is_ok());
            for name in &names {
                let published = to.replace("${username}", one) + name;
                let Some(delivered) = broker.delivers(&published) else {
                    continue;
                };
                if let (true, Some(seen)) = (
                    broker.matches(mapped, &published, true),
                    mine.unmap_name(&delivered),
                ) {
                    prop_assert!(
                        broker.matches(&filter, &seen, false),
                        "{filter} as {mapped} reads {published} as {seen}"
                    );
                }
            }
        }
    }
}
