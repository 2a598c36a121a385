use super::*;
use crate::layer::AclWho;
use mproxy_layers::acl::Effect;
use proptest::prelude::*;

fn rule(allow: bool, actions: Actions, topics: &[&str], filters: &[&str]) -> AclRule {
    let templates = |texts: &[&str]| {
        let texts = texts.iter().map(|it| Template::new((*it).to_owned()));
        texts.collect()
    };
    AclRule {
        name: "r".to_owned(),
        effect: match allow {
            true => Effect::Allow,
            false => Effect::Deny,
        },
        actions,
        topics: templates(topics),
        filters: templates(filters),
        who: AclWho::default(),
        at: String::new(),
    }
}

const BOTH: Actions = Actions::ALL;

/// True when `earlier` matches everything that `later` matches.
fn shadows(earlier: &AclRule, later: &AclRule) -> bool {
    if earlier.allows() && !later.allows() {
        // what it denies is looked at one by one
        return false;
    }
    let guard = is_guard(later);
    let actions = earlier.actions.contains(later.actions);
    let topics = later.topics.iter().all(|it| covers(&earlier.topics, it));
    let filters = later
        .filters
        .iter()
        .all(|it| earlier.filters.contains(it) || covers(&earlier.topics, it));
    let clients = earlier.who.covers(&later.who);
    let something = !(later.topics.is_empty() && later.filters.is_empty());
    !guard && clients && actions && topics && filters && something
}

/// The first rule that takes something from the last, found by comparing with each.
fn compared(rules: &[AclRule], later: &AclRule) -> Option<u32> {
    let found = rules
        .iter()
        .position(|it| late(it, later).is_some() || shadows(it, later));
    found.map(|it| u32::try_from(it).unwrap())
}

fn some_of(
    texts: &'static [&'static str],
    most: usize,
) -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop::sample::select(texts), 0..=most)
}

fn names(texts: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    some_of(texts, 2).prop_map(|texts| {
        let mut names: Vec<_> = texts.into_iter().map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        names
    })
}

fn who() -> impl Strategy<Value = AclWho> {
    let networks = some_of(&["10.0.0.0/8", "192.0.2.1"], 2);
    let anonymous = prop::sample::select(vec![None, None, Some(true), Some(false)]);
    let named = (names(&["u", "v"]), names(&["c", "d"]), names(&["l", "m"]));
    let named = prop_oneof![Just(Default::default()), named];
    (named, networks, anonymous).prop_map(|(named, networks, anonymous)| AclWho {
        usernames: named.0,
        client_ids: named.1,
        anonymous,
        listeners: named.2,
        networks: networks.iter().map(|it| it.parse().unwrap()).collect(),
    })
}

fn any_rule() -> impl Strategy<Value = AclRule> {
    const PATTERNS: &[&str] = &[
        "#",
        "/#",
        "+",
        "+/#",
        "+/+",
        "a",
        "a/#",
        "a/+",
        "a/b",
        "a/b/#",
        "+/b",
        "/",
        "a/+/c",
        "$x/a",
        "$x/#",
        "${username}",
        "a/${username}",
        "a/${client_id}",
        "a/${username}/#",
    ];
    let actions = prop::sample::select(vec![BOTH, Actions::PUBLISH, Actions::SUBSCRIBE]);
    let patterns = (some_of(PATTERNS, 3), some_of(PATTERNS, 2));
    (any::<bool>(), actions, patterns, who()).prop_map(
        |(allow, actions, (topics, filters), who)| AclRule {
            who,
            ..rule(allow, actions, &topics, &filters)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn what_is_found_is_what_comparing_each_two_finds(
        rules in prop::collection::vec(any_rule(), 1..12),
    ) {
        let mut index = Index::default();
        for (number, later) in rules.iter().enumerate() {
            let expected = compared(&rules[..number], later);
            prop_assert_eq!(first(&index, later, &mut 0), expected, "{}: {:#?}", number, rules);
            index.add(later);
        }
    }
}

/// Steps for all of the rules.
fn steps(count: usize, rule: impl Fn(usize) -> AclRule) -> u64 {
    let rules: Vec<_> = (0..count).map(rule).collect();
    let (mut index, mut steps) = (Index::default(), 0);
    for rule in &rules {
        first(&index, rule, &mut steps);
        index.add(rule);
    }
    steps
}

fn with_users(users: &[String], rule: AclRule) -> AclRule {
    let who = AclWho {
        usernames: users.to_vec(),
        ..AclWho::default()
    };
    AclRule { who, ..rule }
}

/// 8,000 rules took 6.7 seconds before anything listened, and 150,000 did not come to an end.
#[test]
fn twice_the_rules_are_twice_the_steps() {
    type Shape = fn(usize) -> AclRule;
    let shapes: [(&str, Shape); 5] = [
        ("literal", |n| {
            rule(n % 3 > 0, BOTH, &[&format!("site/{}/{n}", n % 100)], &[])
        }),
        ("wildcards", |n| {
            let topics = [format!("+/{n}/#"), format!("x/{n}/+")];
            rule(n % 3 > 0, BOTH, &[&topics[0], &topics[1]], &[])
        }),
        ("a topic in common", |n| {
            rule(n % 3 > 0, BOTH, &["common/#", &format!("a/{n}")], &[])
        }),
        ("the same", |_| rule(true, BOTH, &["a/b"], &[])),
        ("a user in common", |n| {
            let users = ["admin".to_owned(), format!("u{n}")];
            with_users(&users, rule(n % 3 > 0, BOTH, &["#", "a/${client_id}"], &[]))
        }),
    ];
    for (name, shape) in shapes {
        let (few, many) = (steps(1000, shape), steps(4000, shape));
        assert!(many <= few * 5, "{name}: {few} and {many} steps");
        assert!(many <= 4000 * STEPS / 10, "{name}: {many} steps");
    }
}

/// Rules can be made that are about each other in every way. The proxy starts, and says what it has not
/// looked at.
#[test]
fn what_is_too_much_to_look_at_is_told() {
    let rules: Vec<_> = (0..1000)
        .map(|n| (n..n + 1, rule(true, BOTH, &["a/b"], &[])))
        .collect();
    let mut cx = Context::default();
    within(&mut cx, &rules, 300);
    let told = cx.report.sorted();
    let (last, others) = told.split_last().unwrap();
    let checked = others.len() + 1;
    let message = format!("only the first {checked} of 1000 rules were compared with each other");
    assert_eq!(
        (&*last.message, &last.span),
        (&*message, &Some(checked..checked + 1))
    );
    assert!((10..500).contains(&checked), "{checked}");
    for warning in others {
        assert_eq!(warning.message, "rule `r` never applies");
    }

    let mut cx = Context::default();
    unreachable(&mut cx, &rules);
    assert_eq!(cx.report.warnings(), 999);
}
