//! Access rules: what they say, and the known ways around them.

use mproxy_codec::topic::{Dialect, VendorForms};
use mproxy_layers::{
    Names,
    acl::{Acl, AclError, Actions, Cause, Decision, Effect, Problem, Rule},
};

const ALL: Actions = Actions::ALL;

fn acl(default: Effect, rules: impl IntoIterator<Item = Rule>) -> Acl {
    let mut acl = Acl::builder();
    acl.default_effect(default);
    for rule in rules {
        acl.rule(rule).expect("a valid rule");
    }
    acl.build()
}

fn publishes(acl: &Acl, client_id: &str, username: Option<&str>, topic: &str) -> bool {
    acl.for_client(client_id, username)
        .decide_publish(topic)
        .allowed()
}

fn subscribes(acl: &Acl, filter: &str) -> bool {
    acl.for_client("c", Some("u"))
        .decide_subscribe(filter)
        .allowed()
}

#[test]
fn the_first_rule_that_speaks_decides() {
    let acl = acl(
        Effect::Deny,
        [
            Rule::allow(Actions::PUBLISH).name("first").topic("a/b"),
            Rule::deny(Actions::PUBLISH)
                .name("second")
                .location("rules.toml:7")
                .topic("a/+"),
            Rule::allow(Actions::PUBLISH).name("third").topic("#"),
        ],
    );
    let mut session = acl.for_client("c", None);
    for (topic, allowed, rule) in [
        ("a/b", true, "first"),
        ("a/c", false, "second"),
        ("b", true, "third"),
    ] {
        let decision = session.decide_publish(topic);
        assert_eq!(decision.allowed(), allowed, "{topic}");
        assert_eq!(
            decision.rule().map(|rule| rule.name()),
            Some(rule),
            "{topic}"
        );
    }
    assert_eq!(
        session.decide_publish("a/c").to_string(),
        "denied by rule `second` at rules.toml:7"
    );
    // Nothing is said about reading.
    assert_eq!(session.decide_subscribe("a/b").cause(), Cause::Default);
}

/// "homeassistant may do all" could not be written.
#[test]
fn a_rule_may_be_about_some_clients() {
    let acl = acl(
        Effect::Deny,
        [
            Rule::deny(ALL)
                .name("no guests")
                .topic("secret/#")
                .anonymous(true),
            Rule::allow(ALL)
                .name("homeassistant")
                .topic("#")
                .usernames(["homeassistant", "nodered"]),
            Rule::allow(Actions::PUBLISH)
                .name("the gateway")
                .topic("gateway/${username}/#")
                .client_ids(["gw1"])
                .networks(["10.0.0.0/8".parse().expect("a network")]),
            Rule::allow(ALL)
                .name("in the house")
                .topics(["house/#", "secret/#"])
                .listeners(["lan"]),
        ],
    );
    let rule = |names: Names<'_>, topic: &str| {
        let mut session = acl.for_names(names);
        let decision = session.decide_publish(topic);
        decision.to_string()
    };
    let at = |listener: &'static str, username| Names::new("gw1", username).listener(listener);
    let near = |names: Names<'static>| names.address("10.1.2.3".parse().expect("an address"));
    for (names, topic, decision) in [
        (
            at("wan", Some("homeassistant")),
            "secret/x",
            "allowed by rule `homeassistant`",
        ),
        (
            at("wan", Some("nodered")),
            "any",
            "allowed by rule `homeassistant`",
        ),
        (at("wan", Some("Homeassistant")), "any", "denied by default"),
        (at("wan", None), "any", "denied by default"),
        (at("lan", None), "house/x", "allowed by rule `in the house`"),
        (at("wan", None), "house/x", "denied by default"),
        (at("lan", None), "secret/x", "denied by rule `no guests`"),
        // an empty user name is none
        (
            at("lan", Some("")),
            "secret/x",
            "denied by rule `no guests`",
        ),
        (
            at("lan", Some("alice")),
            "secret/x",
            "allowed by rule `in the house`",
        ),
        // each that a rule names has to be there
        (
            near(at("wan", Some("bob"))),
            "gateway/bob/x",
            "allowed by rule `the gateway`",
        ),
        (at("wan", Some("bob")), "gateway/bob/x", "denied by default"),
        (
            near(Names::new("gw2", Some("bob"))),
            "gateway/bob/x",
            "denied by default",
        ),
    ] {
        assert_eq!(rule(names, topic), decision, "{names:?} {topic}");
    }
    let mut everything = Acl::builder();
    let nobody = Rule::allow(ALL).topic("#").usernames(["a"]).anonymous(true);
    let error = everything.rule(nobody).expect_err("a rule about nobody");
    assert_eq!(*error.problem(), Problem::Nobody);
}

/// A permission for everything, of whose list of names the last was removed, was one for everybody,
/// anonymous clients included.
#[test]
fn an_empty_list_of_clients_is_not_everybody() {
    let rule = || Rule::allow(ALL).name("operators").topic("#");
    let none: [&str; 0] = [];
    for (rule, key) in [
        (rule().usernames(none), "usernames"),
        (rule().client_ids(none), "client_ids"),
        (rule().listeners(none), "listeners"),
        (rule().networks([]), "networks"),
        (rule().usernames(["ops"]).client_ids(none), "client_ids"),
    ] {
        let mut builder = Acl::builder();
        let error = builder.rule(rule).expect_err(key);
        assert_eq!(*error.problem(), Problem::NobodyNamed(key));
        // it is not in the list either when the error is ignored
        let acl = builder.build();
        let session = acl.for_client("c", None);
        assert!(!session.decide_subscribe("#").allowed());
    }
    let mut builder = Acl::builder();
    let rule = rule().usernames(none).usernames(["ops"]);
    builder.rule(rule).expect("a list with a name in it");
    let acl = builder.build();
    assert!(
        acl.for_client("c", Some("ops"))
            .decide_subscribe("#")
            .allowed()
    );
    assert!(!acl.for_client("c", None).decide_subscribe("#").allowed());
}

/// "denied by default" was all that an operator read of a device with a slash in its client id.
#[test]
fn a_denial_names_the_rule_that_lacks_a_usable_name() {
    let acl = acl(
        Effect::Deny,
        [
            Rule::allow(ALL).name("all may").topic("public/#"),
            Rule::allow(Actions::PUBLISH)
                .name("own")
                .topic("devices/${client_id}/up"),
            Rule::allow(Actions::SUBSCRIBE)
                .name("own inbox")
                .topic("inbox/${username}"),
            Rule::allow(ALL)
                .name("also own")
                .topic("devices/${client_id}/#"),
        ],
    );
    let left_out = |rule: &str, placeholder: &str| {
        format!(
            "denied by default; rule `{rule}` does not apply, because this client has no usable \
             value for `{placeholder}`"
        )
    };
    let default = "denied by default".to_owned();
    for client_id in ["d7/x", "d+", "#", "", "d\u{0}7"] {
        let mut session = acl.for_client(client_id, Some("a/b"));
        for (topic, told) in [
            ("devices/d7/up", left_out("own", "${client_id}")),
            ("devices/d7/x/y", left_out("also own", "${client_id}")),
            ("device/d7/up", default.clone()),
            ("inbox/a", default.clone()),
        ] {
            let decision = session.decide_publish(topic);
            assert_eq!(decision.to_string(), told, "{client_id} {topic}");
            assert_eq!(decision.rule(), None);
        }
        for (filter, told) in [
            ("inbox/a/b", left_out("own inbox", "${username}")),
            ("$share/g/inbox/a", left_out("own inbox", "${username}")),
            ("inbox/#", left_out("own inbox", "${username}")),
            ("devices/+/up", left_out("also own", "${client_id}")),
            ("#", default.clone()),
        ] {
            let decision = session.decide_subscribe(filter);
            assert_eq!(decision.to_string(), told, "{client_id} {filter}");
            let named = decision.left_out().map(|rule| rule.name());
            assert_eq!(named.is_some(), told != default, "{filter}");
        }
    }
    // a client with usable names is told nothing of them
    let mut session = acl.for_client("d7", Some("a"));
    for topic in ["devices/d8/up", "inbox/a"] {
        assert_eq!(session.decide_publish(topic).to_string(), default);
    }
}

/// A deny rule that is about others does not bar a client without a usable name.
#[test]
fn a_guard_is_one_for_those_that_the_rule_is_about() {
    let acl = acl(
        Effect::Allow,
        [Rule::deny(ALL)
            .name("others' mail")
            .topic("mail/${username}/outbox")
            .listeners(["wan"])],
    );
    for (listener, allowed) in [("wan", false), ("lan", true)] {
        let mut session = acl.for_names(Names::new("c", None).listener(listener));
        assert_eq!(session.decide_publish("x").allowed(), allowed, "{listener}");
    }
}

#[test]
fn without_rules_the_default_decides_except_about_dollar() {
    let (closed, open) = (acl(Effect::Deny, []), acl(Effect::Allow, []));
    assert!(!publishes(&closed, "c", None, "a") && !subscribes(&closed, "a"));
    assert!(publishes(&open, "c", None, "a") && subscribes(&open, "#"));
    for topic in ["$SYS/x", "$", "$queue/a", "$delayed/5/a", "$share/g/a"] {
        let mut session = open.for_client("c", None);
        assert_eq!(
            session.decide_publish(topic).cause(),
            Cause::Dollar,
            "{topic}"
        );
        assert!(
            !session.decide_publish(topic).allowed() && !session.decide_deliver(topic).allowed()
        );
    }
}

/// A filter that can read a denied topic is denied, however it is written.
#[test]
fn wildcards_do_not_lead_around_a_deny_rule() {
    let acl = acl(
        Effect::Allow,
        [
            Rule::deny(Actions::SUBSCRIBE).topics(["denied/#", "a/secret"]),
            Rule::allow(Actions::SUBSCRIBE).topic("#"),
        ],
    );
    for filter in [
        "#",
        "+/#",
        "+",
        "+/+",
        "denied",
        "denied/#",
        "denied/x",
        "+/x",
        "denied/+",
        "a/+",
        "a/#",
        "+/secret",
        "a/secret/#",
        "$share/g/denied/#",
        "$share/g/#",
        "$share/denied/denied/x",
        "$share/g/a/+",
    ] {
        assert!(!subscribes(&acl, filter), "{filter}");
    }
    for filter in [
        "a",
        "a/b",
        "a/b/#",
        "a/+/b",
        "deniedx",
        "Denied/x",
        "/denied",
        "$share/denied/x",
    ] {
        assert!(subscribes(&acl, filter), "{filter}");
    }
}

/// A filter is granted only if the rule covers all that it asks for.
#[test]
fn an_allow_rule_does_not_grant_more_than_it_covers() {
    let acl = acl(
        Effect::Deny,
        [Rule::allow(Actions::SUBSCRIBE).topics(["a/+", "b/#", "x/y"])],
    );
    for filter in [
        "a/+",
        "a/x",
        "a/",
        "b/#",
        "b",
        "b/+/c",
        "x/y",
        "$share/g/a/+",
        "$share/g/b",
    ] {
        assert!(subscribes(&acl, filter), "{filter}");
    }
    for filter in [
        "a/#",
        "a",
        "#",
        "+/#",
        "+/x",
        "a/x/y",
        "x/+",
        "x/#",
        "$share/g/a/#",
        "$share/a/x",
    ] {
        assert!(!subscribes(&acl, filter), "{filter}");
    }
}

#[test]
fn vendor_forms_are_denied_unless_a_rule_names_them() {
    let rules = || {
        [
            Rule::deny(ALL).topic("denied/#"),
            Rule::allow(ALL).topics(["#", "+/#", "+/+/+/+"]),
        ]
    };
    let acl_without = acl(Effect::Allow, rules());
    let forms = [
        "$queue/denied/x",
        "$exclusive/denied/x",
        "$delayed/5/denied/x",
        "$local/x",
        "$oshare/g/x",
        "$SYS/x",
        "$share",
    ];
    for form in forms {
        assert!(!publishes(&acl_without, "c", None, form), "{form}");
        assert!(!subscribes(&acl_without, form), "{form}");
        assert!(
            !subscribes(&acl_without, &format!("$share/g/{form}")),
            "{form} shared"
        );
    }
    let acl_with = acl(
        Effect::Deny,
        rules()
            .into_iter()
            .chain([Rule::allow(ALL).topics(["$queue/a/#", "$SYS/#"])]),
    );
    assert!(subscribes(&acl_with, "$queue/a/x") && subscribes(&acl_with, "$SYS/broker/+"));
    assert!(!subscribes(&acl_with, "$queue/denied/x") && !subscribes(&acl_with, "$queue/#"));
    assert!(
        !subscribes(&acl_with, "$queue/+/x") && !publishes(&acl_with, "c", None, "$queues/a/x")
    );
}

#[test]
fn malformed_filters_are_denied() {
    let acl = acl(Effect::Allow, []);
    let session = acl.for_client("c", None);
    for filter in [
        "",
        "a#",
        "a/#/b",
        "a+",
        "$share/g",
        "$share/",
        "$share//a",
        "$share/+/a",
        "$share/g/",
        "a\0",
        "$share/g/a#",
    ] {
        assert_eq!(
            session.decide_subscribe(filter).cause(),
            Cause::Malformed,
            "{filter:?}"
        );
        assert!(!session.decide_subscribe(filter).allowed(), "{filter:?}");
    }
}

/// CVE-2017-7650: a name that is a wildcard must not become one in a pattern.
#[test]
fn strange_names_gain_no_access() {
    let acl = acl(
        Effect::Deny,
        [
            Rule::allow(ALL).topic("clients/${client_id}/#"),
            Rule::allow(ALL).topic("users/${username}/#"),
            Rule::allow(ALL).topic("${username}/#"),
        ],
    );
    for name in ["#", "+", "../x", "a/b", "", "b/#", "+/b", "b\0"] {
        let mut session = acl.for_client(name, Some(name));
        for topic in [
            "clients/b/x",
            "users/b/x",
            "clients//x",
            "users//x",
            "users/a/b",
            "b/x",
            "x",
            "/x",
            "users/../x",
            "a/b",
        ] {
            assert!(!session.decide_publish(topic).allowed(), "{name:?} {topic}");
            assert!(!session.decide_deliver(topic).allowed(), "{name:?} {topic}");
            assert!(
                !session.decide_subscribe(topic).allowed(),
                "{name:?} {topic}"
            );
        }
        for filter in ["#", "users/#", "users/+/#", "clients/+/x", "+/#"] {
            assert!(
                !session.decide_subscribe(filter).allowed(),
                "{name:?} {filter}"
            );
        }
    }
    // A name that looks like a placeholder or a directory is only a name.
    assert!(
        publishes(&acl, "c", Some("%u"), "users/%u/x")
            && publishes(&acl, "${username}", Some("u"), "clients/${username}/x")
    );
    // A missing user name is not an empty one.
    assert!(!publishes(&acl, "c", None, "users//x") && publishes(&acl, "c", None, "clients/c/x"));
    // A leading name does not open the broker's topics, but is a name elsewhere.
    assert!(
        !publishes(&acl, "c", Some("$SYS"), "$SYS/x")
            && publishes(&acl, "c", Some("$SYS"), "users/$SYS/x")
    );
}

/// A deny rule that cannot tell what to protect from this client protects everything.
#[test]
fn a_deny_rule_without_a_usable_name_denies_its_actions() {
    let acl = acl(
        Effect::Allow,
        [
            Rule::allow(Actions::PUBLISH).topic("public/#"),
            Rule::deny(Actions::PUBLISH | Actions::SUBSCRIBE)
                .name("own keys")
                .topic("users/${username}/key"),
        ],
    );
    let mut named = acl.for_client("c", Some("u"));
    assert!(
        !named.decide_publish("users/u/key").allowed()
            && named.decide_publish("users/v/key").allowed()
    );
    assert!(
        !named.decide_subscribe("users/+/key").allowed()
            && named.decide_subscribe("users/v/#").allowed()
    );
    for username in [None, Some(""), Some("+"), Some("u/key")] {
        let mut session = acl.for_client("c", username);
        assert!(
            session.decide_publish("public/x").allowed(),
            "rules before it still decide"
        );
        let decision = session.decide_publish("anything");
        assert_eq!(
            (decision.allowed(), decision.cause()),
            (false, Cause::UnusableName),
            "{username:?}"
        );
        assert!(decision.to_string().contains("`own keys`"), "{decision}");
        let why = ", because this client has no usable value for `${username}`";
        assert!(decision.to_string().ends_with(why), "{decision}");
        assert_eq!(
            session.decide_subscribe("anything").cause(),
            Cause::UnusableName
        );
        assert_eq!(
            session.decide_deliver("anything").cause(),
            Cause::UnusableName
        );
    }
}

#[test]
fn comparison_is_byte_by_byte() {
    let acl = acl(
        Effect::Deny,
        [Rule::allow(ALL).topics(["a/b", "caf\u{e9}"])],
    );
    for topic in [
        "A/b",
        "a/b ",
        " a/b",
        "a//b",
        "/a/b",
        "a/b/",
        "a",
        "a/",
        "cafe\u{301}",
    ] {
        assert!(!publishes(&acl, "c", None, topic), "{topic:?}");
    }
    assert!(publishes(&acl, "c", None, "a/b") && publishes(&acl, "c", None, "caf\u{e9}"));
}

/// `filters` are about the filter itself.
#[test]
fn named_filters_are_not_patterns() {
    let acl = acl(
        Effect::Deny,
        [
            Rule::deny(Actions::SUBSCRIBE).filters(["#", "$SYS/#", "own/${client_id}/#"]),
            Rule::allow(Actions::SUBSCRIBE).topics(["a/#", "own/#", "#"]),
            Rule::allow(Actions::SUBSCRIBE).filter("$queue/jobs/+"),
        ],
    );
    for filter in [
        "#",
        "+/#",
        "$SYS/#",
        "$share/g/#",
        "own/c/#",
        "$queue/jobs/x",
    ] {
        assert!(!subscribes(&acl, filter), "{filter}");
    }
    for filter in ["a/#", "+/+", "own/#", "own/c/+", "own/d/#", "$queue/jobs/+"] {
        assert!(subscribes(&acl, filter), "{filter}");
    }
    // a client that may subscribe to a named filter may receive what it matches.
    let mut session = acl.for_client("c", None);
    assert!(
        session.decide_deliver("$queue/jobs/x").allowed() && !session.decide_publish("a").allowed()
    );
}

#[test]
fn rules_for_reading_also_judge_deliveries() {
    let acl = acl(
        Effect::Deny,
        [
            Rule::deny(Actions::DELIVER).topic("a/b"),
            Rule::allow(Actions::SUBSCRIBE).topic("a/#"),
            Rule::allow(Actions::PUBLISH).topic("p"),
        ],
    );
    assert!(acl.judges_deliveries());
    let session = acl.for_client("c", None);
    assert!(session.decide_subscribe("a/b").allowed() && !session.decide_deliver("a/b").allowed());
    assert!(session.decide_deliver("a/c").allowed() && !session.decide_deliver("p").allowed());
}

/// The verdict about the last topic is remembered, but for the same action and topic only.
#[test]
fn the_memory_of_a_session_answers_only_the_same_question() {
    let acl = acl(
        Effect::Deny,
        [
            Rule::allow(Actions::PUBLISH).topic("a/+"),
            Rule::allow(Actions::DELIVER).topic("b"),
        ],
    );
    let mut session = acl.for_client("c", None);
    let long = format!("a/{}", "x".repeat(300));
    for _ in 0..2 {
        for (topic, publish, deliver) in [
            ("a/b", true, false),
            ("a/b", true, false),
            ("b", false, true),
            ("a", false, false),
            (&long, true, false),
        ] {
            assert_eq!(
                session.decide_publish(topic).allowed(),
                publish,
                "{topic:.5}"
            );
            assert_eq!(
                session.decide_publish(topic).allowed(),
                publish,
                "{topic:.5}"
            );
            assert_eq!(
                session.decide_deliver(topic).allowed(),
                deliver,
                "{topic:.5}"
            );
            assert_eq!(
                session.clone().decide_deliver(topic).allowed(),
                deliver,
                "{topic:.5}"
            );
        }
    }
}

#[test]
fn rules_that_cannot_work_are_refused() {
    let problem = |rule: Rule| {
        Acl::builder()
            .rule(rule.location("rules.toml:3"))
            .err()
            .map(|error| error.problem().clone())
    };
    assert_eq!(
        problem(Rule::allow(Actions::NONE).topic("a")),
        Some(Problem::NoActions)
    );
    assert_eq!(problem(Rule::deny(ALL)), Some(Problem::NoPatterns));
    assert_eq!(
        problem(Rule::deny(Actions::PUBLISH).topic("a").filter("#")),
        Some(Problem::FiltersWithoutSubscribe)
    );
    assert_eq!(
        problem(Rule::deny(ALL).filter("#")),
        Some(Problem::FiltersOnly)
    );
    assert_eq!(
        problem(Rule::deny(ALL).topic("$share/g/a")),
        Some(Problem::Shared("$share/g/a".to_owned()))
    );
    assert!(matches!(
        problem(Rule::deny(ALL).topic("a#")),
        Some(Problem::Topic { .. })
    ));
    assert!(matches!(
        problem(Rule::deny(ALL).topic("+${client_id}")),
        Some(Problem::Topic { .. })
    ));
    assert!(matches!(
        problem(Rule::deny(ALL).topic("")),
        Some(Problem::Topic { .. })
    ));
    assert!(matches!(
        problem(Rule::deny(ALL).topic("${user}/a")),
        Some(Problem::Template { .. })
    ));
    assert!(matches!(
        problem(Rule::deny(ALL).topic("${user/a")),
        Some(Problem::Template { .. })
    ));
    assert!(matches!(
        problem(Rule::deny(ALL).topic("a/".repeat(128))),
        Some(Problem::TooDeep(_))
    ));
    assert_eq!(problem(Rule::deny(ALL).topic("a/".repeat(127))), None);
    let error: AclError = Acl::builder()
        .rule(Rule::deny(ALL).name("n").location("f:1").topic("a#"))
        .expect_err("an error");
    assert_eq!(
        error.to_string(),
        "rule `n` at f:1: pattern `a#`: `#` is not alone in the last level of the topic filter"
    );
}

/// To a broker that knows them, these forms are about the topic inside: what holds for that one
/// holds for them, to allow and to deny.
#[test]
fn forms_of_the_dialect_are_judged_by_what_they_are_about() {
    let rules = |forms| {
        let mut acl = Acl::builder();
        acl.default_effect(Effect::Allow)
            .dialect(Dialect::Mqtt(forms));
        let denied = Actions::PUBLISH | Actions::SUBSCRIBE;
        for rule in [
            Rule::deny(denied).topic("denied/#"),
            Rule::deny(Actions::SUBSCRIBE).filter("#"),
        ] {
            acl.rule(rule).expect("a valid rule");
        }
        acl.build().for_client("c", None)
    };
    let mut all = rules(VendorForms::ALL);
    for (topic, allowed) in [
        ("$delayed/5/denied/x", false),
        ("$delayed/5/denied", false),
        ("$delayed/0/a", true),
        ("$delayed/5/$SYS/a", false),
        ("$delayed/5/$delayed/5/a", false),
        ("$delayed/5/$delayed/5/denied/x", false),
        ("$delayed/a/x", false),
        ("$delayed/5", false),
        ("$queue/a", false),
        ("$local/a", false),
    ] {
        assert_eq!(all.decide_publish(topic).allowed(), allowed, "{topic}");
    }
    for (filter, allowed) in [
        ("$queue/denied/#", false),
        ("$queue/#", false),
        ("$queue/+/x", false),
        ("$queue/a/#", true),
        ("$exclusive/denied/x", false),
        ("$exclusive/a", true),
        ("$oshare/g/denied/x", false),
        ("$oshare/g/a", true),
        ("$share/g/denied/x", false),
        ("$share/g/a", true),
        ("$share/g/$queue/a", false),
        ("$queue/$exclusive/a", false),
        ("$queue/", false),
        ("$oshare/g", false),
        ("$delayed/5/a", false),
        ("$local/a", false),
    ] {
        assert_eq!(all.decide_subscribe(filter).allowed(), allowed, "{filter}");
    }

    let mut none = rules(VendorForms::NONE);
    for filter in ["$queue/a", "$exclusive/a", "$oshare/g/a", "$local/a"] {
        assert!(!none.decide_subscribe(filter).allowed(), "{filter}");
    }
    assert!(!none.decide_publish("$delayed/5/a").allowed());
    assert!(none.decide_subscribe("$share/g/a").allowed());

    let mut some = rules(VendorForms::QUEUE);
    assert!(some.decide_subscribe("$queue/a").allowed());
    assert!(!some.decide_subscribe("$exclusive/a").allowed());
    assert!(!some.decide_publish("$delayed/5/a").allowed());
}

/// A rule about the form would never be asked, and a denial in it would deny nothing.
#[test]
fn rules_do_not_name_forms_of_the_dialect() {
    let problem = |forms, pattern: &str| {
        let mut acl = Acl::builder();
        acl.dialect(Dialect::Mqtt(forms));
        let rule = Rule::deny(Actions::SUBSCRIBE).topic(pattern);
        acl.rule(rule).err().map(|error| error.problem().clone())
    };
    for pattern in ["$queue/#", "$delayed/+/denied/#"] {
        assert_eq!(
            problem(VendorForms::ALL, pattern),
            Some(Problem::Form(pattern.to_owned()))
        );
        assert_eq!(problem(VendorForms::OSHARE, pattern), None);
    }
}

/// A filter that a rule spells is no topic to publish to: `devices/d7/#` was allowed by the rule
/// `devices/d7/#`, and a caller that does not parse packets would have published it.
#[test]
fn what_is_no_topic_name_is_malformed() {
    let mut builder = Acl::builder();
    let rule = Rule::allow(Actions::PUBLISH | Actions::SUBSCRIBE).topic("devices/d7/#");
    builder.rule(rule).expect("a rule");
    let mut session = builder.build().for_client("d7", None);
    for topic in [
        "devices/d7/#",
        "devices/d7/+",
        "devices/+/x",
        "",
        "devices/d7/\0",
    ] {
        assert_eq!(
            session.decide_publish(topic).cause(),
            Cause::Malformed,
            "{topic:?}"
        );
        assert_eq!(
            session.decide_deliver(topic).cause(),
            Cause::Malformed,
            "{topic:?}"
        );
    }
    assert_eq!(
        session.decide_publish(b"devices/d7/\xff").cause(),
        Cause::Malformed
    );
    assert!(session.decide_publish("devices/d7/x").allowed());
}

/// Before RabbitMQ, a client that called itself `*` read the devices of all, `dev1.key` wrote below
/// `dev1`, and `secret.x` was no secret.
#[test]
fn what_the_broker_reads_is_judged() {
    let mut acl = Acl::builder();
    acl.default_effect(Effect::Allow).dialect(Dialect::Amqp);
    let secret = Rule::deny(ALL).name("secret").topic("secret/#");
    acl.rule(secret).expect("a valid rule");
    acl.rule(Rule::allow(ALL).name("own").topic("devices/${client_id}/#"))
        .expect("a valid rule");
    acl.rule(Rule::deny(ALL).name("others").topic("devices/#"))
        .expect("a valid rule");
    let acl = acl.build();

    let mut device = acl.for_client("dev1", None);
    for (topic, rule) in [
        ("devices.dev1.up", Some("own")),
        ("devices/dev1.key/up", Some("own")),
        ("devices.dev2.up", Some("others")),
        ("secret.x", Some("secret")),
        ("secret.", Some("secret")),
        ("$SYS.x", None),
    ] {
        let name = |decision: Decision<'_>| decision.rule().map(|rule| rule.name().to_owned());
        for decision in [
            name(device.decide_publish(topic)),
            name(device.decide_deliver(topic)),
            name(device.decide_subscribe(topic)),
        ] {
            assert_eq!(decision.as_deref(), rule, "{topic}");
        }
        // remembered as it was judged
        assert_eq!(name(device.decide_publish(topic)).as_deref(), rule);
    }
    for filter in [
        "*/x",
        "*.#",
        "devices/*/up",
        "devices.*.up",
        "$share/g/a",
        "a*",
    ] {
        assert!(!device.decide_subscribe(filter).allowed(), "{filter}");
    }
    assert!(device.decide_subscribe("devices.dev1.*").allowed());
    assert_eq!(device.decide_publish("a/*").cause(), Cause::Untranslatable);
    assert_eq!(device.decide_deliver("a/*").cause(), Cause::Untranslatable);
    assert_eq!(
        device.decide_subscribe("a*").to_string(),
        "denied, because the broker would read it as something that is not an MQTT topic"
    );
    assert_eq!(
        device.decide_subscribe("$share/g/a").to_string(),
        "denied, because the broker does not support shared subscriptions"
    );
    for client_id in ["*", "dev1.key"] {
        let mut client = acl.for_client(client_id, None);
        let own = format!("devices/{client_id}/up");
        assert!(!client.decide_publish(&own).allowed(), "{own}");
        assert!(!client.decide_subscribe(&own).allowed(), "{own}");
    }
}

#[test]
fn rules_are_written_as_the_broker_reads_them() {
    let problem = |dialect, pattern: &str| {
        let mut acl = Acl::builder();
        acl.dialect(dialect);
        let rule = Rule::deny(ALL).topic(pattern);
        acl.rule(rule)
            .err()
            .map(|error| error.problem().to_string())
    };
    for (dialect, pattern, expected) in [
        (
            Dialect::Amqp,
            "devices.${client_id}/*",
            "pattern `devices.${client_id}/*`: the broker reads it as `devices/${client_id}/+`; \
             write that",
        ),
        (
            Dialect::Nats,
            "a/>",
            "pattern `a/>`: the broker reads it as `a/#`; write that",
        ),
        (
            Dialect::Amqp,
            "spBv1.0/#",
            "pattern `spBv1.0/#`: the broker reads the topic otherwise, and not as a topic of MQTT",
        ),
    ] {
        assert_eq!(problem(dialect, pattern).as_deref(), Some(expected));
        assert_eq!(problem(Dialect::MQTT, pattern), None, "{pattern}");
    }
    for dialect in [Dialect::Amqp, Dialect::Nats] {
        for pattern in ["#", "/#", "$internal/#", "${client_id}/+/a", "+"] {
            assert_eq!(problem(dialect, pattern), None, "{pattern}");
        }
    }
}

#[test]
#[should_panic = "the dialect is said before the rules"]
fn rules_do_not_change_their_meaning() {
    let mut acl = Acl::builder();
    acl.rule(Rule::deny(ALL).topic("a")).expect("a valid rule");
    acl.dialect(Dialect::Amqp);
}
