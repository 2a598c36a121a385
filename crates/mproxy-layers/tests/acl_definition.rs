//! The compiled access rules against their definition, and against what a granted filter must mean.

use mproxy_codec::topic::{TopicFilter, TopicName};
use mproxy_layers::{
    Names,
    acl::{Acl, Actions, Effect, Rule},
};
use proptest::prelude::*;

const ALL: Actions = Actions::ALL;

/// A rule as the definition needs it: patterns still as text.
#[derive(Debug, Clone)]
struct Written {
    allow: bool,
    actions: Actions,
    topics: Vec<String>,
    filters: Vec<String>,
    who: Vec<Who>,
}

/// One thing that a client has to have, for a rule to be about it.
#[derive(Debug, Clone, Copy)]
enum Who {
    Username(&'static [&'static str]),
    ClientId(&'static [&'static str]),
    Anonymous(bool),
    Listener(&'static str),
    Network(&'static str),
}

impl Who {
    fn add(self, rule: Rule) -> Rule {
        match self {
            Self::Username(names) => rule.usernames(names.iter().copied()),
            Self::ClientId(ids) => rule.client_ids(ids.iter().copied()),
            Self::Anonymous(anonymous) => rule.anonymous(anonymous),
            Self::Listener(name) => rule.listeners([name]),
            Self::Network(network) => rule.networks([network.parse().expect("a network")]),
        }
    }

    fn has(self, client: &Client) -> bool {
        let username = client.username.filter(|name| !name.is_empty());
        match self {
            Self::Username(names) => username.is_some_and(|name| names.contains(&name)),
            Self::ClientId(ids) => ids.contains(&client.client_id),
            Self::Anonymous(anonymous) => anonymous == username.is_none(),
            Self::Listener(name) => client.listener == name,
            Self::Network(network) => client.address.starts_with(network.trim_end_matches("0/24")),
        }
    }
}

/// The client that is judged.
#[derive(Debug, Clone, Copy)]
struct Client {
    client_id: &'static str,
    username: Option<&'static str>,
    listener: &'static str,
    address: &'static str,
}

impl Client {
    fn names(&self) -> Names<'static> {
        Names::new(self.client_id, self.username)
            .listener(self.listener)
            .address(self.address.parse().expect("an address"))
    }
}

impl Written {
    fn rule(&self) -> Rule {
        let effect = if self.allow {
            Effect::Allow
        } else {
            Effect::Deny
        };
        let rule = Rule::new(effect, self.actions)
            .topics(&self.topics)
            .filters(&self.filters);
        self.who.iter().fold(rule, |rule, who| who.add(rule))
    }

    fn is_about(&self, action: Actions) -> bool {
        self.actions.contains(action)
    }

    fn denies_deliveries_only(&self) -> bool {
        !self.allow && self.is_about(Actions::DELIVER) && !self.is_about(Actions::SUBSCRIBE)
    }
}

/// Fills in a pattern for a client, by the words of the documentation.
fn fill(pattern: &str, client_id: &str, username: Option<&str>) -> Option<String> {
    let mut filled = pattern.to_owned();
    for (placeholder, value) in [("${client_id}", Some(client_id)), ("${username}", username)] {
        if pattern.contains(placeholder) {
            let value = value
                .filter(|value| !value.is_empty() && !value.contains(['/', '+', '#', '\0']))?;
            if pattern.starts_with(placeholder) && value.starts_with('$') {
                return None;
            }
            filled = filled.replace(placeholder, value);
        }
    }
    Some(filled)
}

/// Goes through the rules one by one.
struct Definition<'a> {
    rules: &'a [Written],
    default: Effect,
    client: Client,
}

impl Definition<'_> {
    fn first(&self, topic: &str, speaks: impl Fn(&Written) -> bool) -> bool {
        let mut rules = self.rules.iter();
        let about = |rule: &Written| rule.who.iter().all(|who| who.has(&self.client));
        match rules.find(|rule| about(rule) && speaks(rule)) {
            Some(rule) => rule.allow,
            None => self.default == Effect::Allow && !topic.starts_with('$'),
        }
    }

    /// Whether some pattern of a rule holds; one that cannot be filled in holds for a deny rule.
    fn any(
        &self,
        rule: &Written,
        patterns: &[String],
        holds: impl Fn(TopicFilter<'_>) -> bool,
    ) -> bool {
        patterns.iter().any(|pattern| {
            match fill(pattern, self.client.client_id, self.client.username) {
                Some(pattern) => holds(TopicFilter::new(&pattern).expect("a valid pattern")),
                None => !rule.allow,
            }
        })
    }

    fn publish(&self, topic: &str) -> bool {
        let name = TopicName::new(topic).expect("a valid name");
        self.first(topic, |rule| {
            rule.is_about(Actions::PUBLISH)
                && self.any(rule, &rule.topics, |pattern| pattern.matches(name))
        })
    }

    fn deliver(&self, topic: &str) -> bool {
        let name = TopicName::new(topic).expect("a valid name");
        self.first(topic, |rule| {
            let reads = rule.is_about(Actions::SUBSCRIBE) || rule.is_about(Actions::DELIVER);
            reads && self.any(rule, &rule.topics, |pattern| pattern.matches(name))
                || rule.allow && self.any(rule, &rule.filters, |filter| filter.matches(name))
        })
    }

    fn subscribe(&self, filter: &str) -> bool {
        let filter = TopicFilter::new(filter).expect("a valid filter");
        let asked = filter
            .shared()
            .expect("well-formed")
            .map_or(filter, |shared| shared.filter());
        self.first(asked.as_str(), |rule| {
            let speaks = |pattern: TopicFilter<'_>| {
                if rule.allow {
                    pattern.covers(asked)
                } else {
                    pattern.overlaps(asked)
                }
            };
            let is = |named: TopicFilter<'_>| named.covers(asked) && asked.covers(named);
            rule.is_about(Actions::SUBSCRIBE)
                && (self.any(rule, &rule.topics, speaks) || self.any(rule, &rule.filters, is))
        })
    }
}

fn pattern(levels: &'static [&'static str]) -> impl Strategy<Value = String> {
    (
        prop::collection::vec(prop::sample::select(levels), 0..4),
        prop::bool::weighted(0.3),
    )
        .prop_map(|(mut levels, open)| {
            levels.extend(open.then_some("#"));
            levels.join("/")
        })
        .prop_filter("not empty, not shared", |pattern| {
            !pattern.is_empty() && !pattern.starts_with("$share/")
        })
}

const LEVELS: &[&str] = &[
    "a",
    "b",
    "",
    "+",
    "$x",
    "${client_id}",
    "${username}",
    "a${username}",
    "+",
    "a",
];

/// So many with placeholders that they are not compared one after the other.
const PLACEHOLDERS: &[&str] = &[
    "a",
    "+",
    "${client_id}",
    "${username}",
    "a${username}",
    "b${username}",
    "${username}a",
    "${username}b",
    "${username}ab",
    "${client_id}${username}",
    "a${client_id}b",
    "${client_id}b",
];

fn written(levels: &'static [&'static str]) -> impl Strategy<Value = Written> {
    let actions = prop::sample::select(vec![
        Actions::PUBLISH,
        Actions::SUBSCRIBE,
        Actions::SUBSCRIBE,
        Actions::DELIVER,
        Actions::PUBLISH | Actions::SUBSCRIBE,
        ALL,
    ]);
    let patterns = prop::collection::vec(pattern(levels), 1..3);
    (
        any::<bool>(),
        actions,
        patterns,
        prop::collection::vec(pattern(levels), 0..2),
        who(),
    )
        .prop_map(|(allow, actions, topics, filters, who)| {
            let filters = if actions.contains(Actions::SUBSCRIBE) {
                filters
            } else {
                Vec::new()
            };
            Written {
                allow,
                actions,
                topics,
                filters,
                who,
            }
        })
}

/// Mostly everybody.
fn who() -> impl Strategy<Value = Vec<Who>> {
    let one = prop::sample::select(vec![
        Who::Username(&["a", "b"]),
        Who::Username(&["a"]),
        Who::Username(&["b", "#"]),
        Who::ClientId(&["a", ""]),
        Who::ClientId(&["b"]),
        Who::Anonymous(true),
        Who::Anonymous(false),
        Who::Listener("one"),
        Who::Listener("two"),
        Who::Network("10.0.0.0/24"),
    ]);
    let nobody = |who: &[Who]| {
        let has = |it: fn(&Who) -> bool| who.iter().any(it);
        has(|it| matches!(it, Who::Username(_))) && has(|it| matches!(it, Who::Anonymous(_)))
            // and of each kind one, since a rule has one list of each
            || who.iter().enumerate().any(|(place, one)| {
                let mut before = who.iter().take(place);
                before.any(|other| std::mem::discriminant(one) == std::mem::discriminant(other))
            })
    };
    prop::collection::vec(one, 0..3).prop_filter("somebody", move |who| !nobody(who))
}

fn client() -> impl Strategy<Value = Client> {
    (
        prop::sample::select(vec!["a", "b", "", "+", "$x", "a/b"]),
        prop::option::of(prop::sample::select(vec!["a", "b", "", "#", "$x"])),
        prop::sample::select(vec!["one", "two"]),
        prop::sample::select(vec!["10.0.0.7", "10.0.1.7"]),
    )
        .prop_map(|(client_id, username, listener, address)| Client {
            client_id,
            username,
            listener,
            address,
        })
}

fn name() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop::sample::select(vec![
            "a", "b", "ab", "", "$x", "c", "$", "aa", "bb", "aab", "ba",
        ]),
        1..5,
    )
    .prop_map(|levels| levels.join("/"))
    .prop_filter("not empty", |name| !name.is_empty())
}

fn asked_filter() -> impl Strategy<Value = String> {
    const LEVELS: &[&str] = &["a", "b", "ab", "", "+", "$x", "+", "aa", "aab"];
    (pattern(LEVELS), prop::bool::weighted(0.1)).prop_map(|(filter, shared)| {
        if shared {
            format!("$share/a/{filter}")
        } else {
            filter
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn decisions_follow_the_definition_and_granted_filters_are_readable(
        rules in prop_oneof![
            4 => prop::collection::vec(written(LEVELS), 0..6),
            1 => prop::collection::vec(written(PLACEHOLDERS), 6..24),
        ],
        open in any::<bool>(),
        client in client(),
        names in prop::collection::vec(name(), 1..6),
        filter in asked_filter(),
    ) {
        let default = if open { Effect::Allow } else { Effect::Deny };
        let mut acl = Acl::builder();
        acl.default_effect(default);
        for rule in &rules {
            acl.rule(rule.rule()).unwrap();
        }
        let acl = acl.build();
        let definition = Definition { rules: &rules, default, client };
        let mut session = acl.for_names(client.names());

        let granted = session.decide_subscribe(&filter).allowed();
        prop_assert_eq!(granted, definition.subscribe(&filter), "subscribe {}", filter);

        let asked = TopicFilter::new(&filter).unwrap();
        let asked = asked.shared().unwrap().map_or(asked, |shared| shared.filter());
        for name in &names {
            let publish = session.decide_publish(name).allowed();
            prop_assert_eq!(publish, definition.publish(name), "publish {}", name);
            let readable = session.decide_deliver(name).allowed();
            prop_assert_eq!(readable, definition.deliver(name), "deliver {}", name);
            // The deny rules for deliveries alone are not asked about subscriptions.
            let deliver_only = rules.iter().any(Written::denies_deliveries_only);
            if granted && !deliver_only && asked.matches(TopicName::new(name).unwrap()) {
                prop_assert!(readable, "{} is granted, matches {}, not readable", filter, name);
            }
        }
    }
}
