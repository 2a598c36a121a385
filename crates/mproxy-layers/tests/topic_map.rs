//! The map without packets: what it does, what it refuses to be, and that it can be undone.

use std::collections::{HashMap, HashSet};

use mproxy_codec::topic::{Dialect, TopicError, TopicFilter, TopicName, VendorForms};
use mproxy_layers::{
    Names, TemplateError,
    topic_map::{MapError, MapProblem, MapRule, SessionMap, TopicMap, TopicMapError},
};
use proptest::{prelude::*, sample::select};

const USER: Names<'_> = Names::new("c", Some("u"));

fn prefix(prefix: &str) -> SessionMap {
    let map = TopicMap::prefix(prefix).expect("a valid prefix");
    map.for_client(USER).expect("a usable name")
}

fn rules(rules: &[(&str, &str)]) -> Result<TopicMap, TopicMapError> {
    let mut map = TopicMap::builder();
    for (from, to) in rules {
        // shared, where the text says so
        let shared = to.starts_with('!');
        let rule = MapRule::new(*from, to.trim_start_matches('!')).shared(shared);
        map = map.rule(rule.writable(true));
    }
    map.build()
}

fn map(text: &[(&str, &str)]) -> SessionMap {
    let map = rules(text).expect("a map");
    map.for_client(USER).expect("a usable name")
}

fn problem(text: &[(&str, &str)]) -> MapProblem {
    rules(text).expect_err("no map").problem().clone()
}

#[test]
fn names_go_there_and_back() {
    let map = prefix("t/${username}/");
    for name in ["a", "a/b", "/", "/a", "a/", "t/u/a", "é"] {
        let mapped = map.map_name(name).expect("a mapped name");
        assert_eq!(mapped, format!("t/u/{name}"));
        assert_eq!(map.unmap_name(&mapped).as_deref(), Some(name));
    }
    assert_eq!(map.growth(), "t/u/".len());
}

#[test]
fn what_is_not_the_clients_does_not_come_back() {
    let map = prefix("t/${username}/");
    for name in [
        "t/u",
        "t/u/",
        "t/v/a",
        "t/uu/a",
        "T/u/a",
        "a",
        "",
        "t/u/$SYS/a",
        "t/u/$",
    ] {
        assert_eq!(map.unmap_name(name), None, "{name}");
    }
}

#[test]
fn filters_keep_their_wildcards() {
    let map = prefix("t/${username}/");
    for (filter, mapped) in [
        ("#", "t/u/#"),
        ("+/a", "t/u/+/a"),
        ("a", "t/u/a"),
        ("/", "t/u//"),
        ("$share/g/#", "$share/u:g/t/u/#"),
        ("$share/g//a", "$share/u:g/t/u//a"),
    ] {
        assert_eq!(map.map_filter(filter).as_deref(), Ok(mapped));
    }
}

#[test]
fn dollar_topics_have_no_place_behind_a_prefix() {
    let map = prefix("t/${username}/");
    for topic in [
        "$SYS/a",
        "$",
        "$queue/a",
        "$share",
        "$exclusive/a",
        "$local/a",
        "$delayed/5/a",
        "$oshare/g/a",
    ] {
        assert_eq!(map.map_name(topic), Err(MapError::Dollar), "{topic}");
        assert_eq!(map.map_filter(topic), Err(MapError::Dollar), "{topic}");
    }
    for (filter, error) in [
        ("$share/g/$SYS/a", MapError::Dollar),
        ("$share/g/$share/h/a", MapError::Dollar),
        ("$share/g", TopicError::ShareFilterMissing.into()),
        ("a#", TopicError::MultiLevelWildcard.into()),
    ] {
        assert_eq!(map.map_filter(filter), Err(error), "{filter}");
    }
    assert_eq!(map.map_name("$share/g/a"), Err(MapError::Dollar));
}

#[test]
fn what_would_be_too_long_is_refused() {
    let map = prefix("t/${username}/");
    let longest = "a".repeat(65_535 - "t/u/".len());
    assert_eq!(map.map_name(&longest).map(|name| name.len()), Ok(65_535));
    assert_eq!(map.map_filter(&longest).map(|name| name.len()), Ok(65_535));
    let too_long = Err(TopicError::TooLong.into());
    assert_eq!(map.map_name(&format!("{longest}a")), too_long);
    let shared = format!("$share/g/{}", "a".repeat(65_535 - "$share/g/".len()));
    assert_eq!(map.map_filter(&shared), too_long);
}

#[test]
fn clients_without_a_usable_name_get_no_map() {
    let map = TopicMap::prefix("${username}/").expect("a valid prefix");
    for username in [
        None,
        Some(""),
        Some("a/b"),
        Some("+"),
        Some("#"),
        Some("a\0"),
        Some("$SYS"),
    ] {
        let error = map.for_client(Names::new("c", username)).err();
        let error = error.map(|error| error.to_string());
        assert_eq!(
            error.as_deref(),
            Some("the client has no user name that can stand in a topic"),
            "{username:?}"
        );
    }
    assert!(map.for_client(Names::new("", Some("u"))).is_ok());
    let map = TopicMap::prefix("x/${cn}/").expect("a valid prefix");
    assert!(map.for_client(USER).is_err());
    let map = map
        .for_client(USER.common_name("n"))
        .expect("a usable name");
    assert_eq!(map.map_name("a").as_deref(), Ok("x/n/a"));
}

#[test]
fn texts_that_are_no_beginnings_of_topics_are_refused() {
    let of = |prefix| {
        TopicMap::prefix(prefix)
            .map_err(|error| error.problem().clone())
            .err()
    };
    let text = |text: &str| text.to_owned();
    let wildcard = |to: &str| MapProblem::Topic {
        text: text(to),
        source: TopicError::WildcardInName,
    };
    for (prefix, expected) in [
        ("", Some(MapProblem::Empty)),
        ("a", Some(MapProblem::NoSlash(text("a")))),
        (
            "a/${client_id}",
            Some(MapProblem::NoSlash(text("a/${client_id}"))),
        ),
        ("a/+/", Some(wildcard("a/+/"))),
        ("$tenants/", Some(MapProblem::Dollar(text("$tenants/")))),
        (
            "a/${id}/",
            Some(MapProblem::Template(TemplateError::Unknown(text("id")))),
        ),
        ("/", None),
        ("${username}/", None),
    ] {
        assert_eq!(of(prefix), expected, "{prefix}");
    }
    for (from, expected) in [
        ("a", MapProblem::NoSlash(text("a"))),
        ("$SYS/", MapProblem::Dollar(text("$SYS/"))),
        ("#/", wildcard("#/")),
        (
            "${username}/",
            MapProblem::FromPlaceholder(text("${username}/")),
        ),
    ] {
        assert_eq!(problem(&[(from, "t/")]), expected, "{from}");
    }
    assert_eq!(problem(&[]), MapProblem::Empty);
    let many: Vec<_> = (0..65).map(|number| format!("{number}/")).collect();
    let many: Vec<_> = many
        .iter()
        .map(|from| (from.as_str(), from.as_str()))
        .collect();
    assert!(rules(&many[..64]).is_ok());
    assert_eq!(problem(&many), MapProblem::TooMany);
}

/// The example says how two clients meet.
#[test]
fn a_prefix_that_does_not_keep_clients_apart_is_refused_with_an_example() {
    for (prefix, expected) in [
        (
            "${username}${client_id}/",
            "`${username}${client_id}/` does not keep clients apart: one with user name `a`, client \
             id `aa`, and another with user name `aa`, client id `a`, would both publish to \
             `aaa/x`",
        ),
        (
            "t/${client_id}-${username}.x/",
            "`t/${client_id}-${username}.x/` does not keep clients apart: one with client id `a`, \
             user name `a-a`, and another with client id `a-a`, user name `a`, would both publish to \
             `t/a-a-a.x/x`",
        ),
        (
            "${username}/${username}/",
            "`${username}/${username}/` contains `${username}` twice",
        ),
    ] {
        let error = TopicMap::prefix(prefix).expect_err("no map");
        assert_eq!(error.to_string(), expected);
    }
    for prefix in ["${username}/${client_id}/", "a-${username}/b${cn}c/x/"] {
        assert!(TopicMap::prefix(prefix).is_ok(), "{prefix}");
    }
}

#[test]
fn rules_that_collide_are_refused_with_an_example() {
    for (text, expected) in [
        (
            &[("a/", "t/x/${username}/"), ("", "t/${username}/")][..],
            "`x/x` and `a/x` of a client with user name `x` would both become `t/x/x/x`",
        ),
        (
            &[("devices/", "t/${username}/d/"), ("", "t/${username}/")],
            "`d/x` and `devices/x` of a client with user name `a` would both become `t/a/d/x`",
        ),
        (
            &[("a/", "x/"), ("b/", "x/")],
            "`a/x` and `b/x` of any client would both become `x/x`",
        ),
        (
            &[("a/", "x/"), ("", "")],
            "`x/x` and `a/x` of any client would both become `x/x`",
        ),
        (
            &[("a/", ""), ("", "a/")],
            "`a/a/x` and `x` of any client would both become `a/x`",
        ),
        (
            &[("a/", "x/y/"), ("b/", "x/")],
            "`b/y/x` and `a/x` of any client would both become `x/y/x`",
        ),
        (
            &[("a/", "!news/"), ("b/", "${username}/")],
            "`a/x` of any client and `b/x` of a client with user name `news` would both become `news/x`",
        ),
        (
            &[("a/", "t-${username}/"), ("b/", "${client_id}-x/")],
            "`a/x` of a client with user name `a-x` and `b/x` of a client with client id `t-a` would \
             both become `t-a-x/x`",
        ),
    ] {
        let error = rules(text).expect_err("no map");
        assert_eq!(error.to_string(), format!("{expected} at the broker"));
        assert_eq!((error.rule(), error.other()), (1, Some(0)));
    }
    for text in [
        &[
            ("devices/", "t/${username}/devices/"),
            ("", "t/${username}/"),
        ][..],
        &[("a/", "x/"), ("b/", "y/")],
        &[("a/", "b/"), ("b/", "a/")],
        &[("news/", "!public/news/"), ("", "tenants/${username}/")],
        &[("a/", "x-${username}/"), ("b/", "y-${client_id}/")],
    ] {
        assert!(rules(text).is_ok(), "{text:?}");
    }
}

#[test]
fn rules_that_are_never_asked_are_refused() {
    for text in [
        &[("", "t/"), ("a/", "x/")][..],
        &[("a/", "t/"), ("a/b/", "x/")],
        &[("a/", "t/"), ("a/", "x/")],
    ] {
        let error = rules(text).expect_err("no map");
        let earlier = text[0].0.to_owned();
        assert_eq!(error.problem(), &MapProblem::Unreachable { earlier });
        assert_eq!((error.rule(), error.other()), (1, Some(0)));
    }
}

#[test]
fn where_all_clients_meet_is_said() {
    assert_eq!(
        problem(&[("news/", "news/"), ("", "t/${username}/")]),
        MapProblem::NotShared("news/".to_owned())
    );
    assert_eq!(
        problem(&[("", "!t/${username}/")]),
        MapProblem::Shared("t/${username}/".to_owned())
    );
    // where nobody is kept apart, nothing need be said
    assert!(rules(&[("a/", "b/"), ("", "t/")]).is_ok());
}

#[test]
fn the_first_rule_replaces_whole_levels() {
    let map = map(&[
        ("devices/", "t/${username}/dev/"),
        ("news/", "!public/news/"),
        ("deep/er/", "r/${username}/"),
    ]);
    for (name, mapped) in [
        ("devices/a", "t/u/dev/a"),
        ("devices/", "t/u/dev/"),
        ("devices", "t/u/dev"),
        ("devices//a", "t/u/dev//a"),
        ("news/today", "public/news/today"),
        ("deep/er", "r/u"),
        ("devices/$x", "t/u/dev/$x"),
    ] {
        assert_eq!(map.map_name(name).as_deref(), Ok(mapped), "{name}");
        assert_eq!(map.unmap_name(mapped).as_deref(), Some(name), "{mapped}");
    }
    for name in ["devicesx/a", "Devices/a", "deep", "deep/e", "x", "/devices"] {
        assert_eq!(map.map_name(name), Err(MapError::Unmapped), "{name}");
        assert_eq!(map.map_filter(name), Err(MapError::Unmapped), "{name}");
    }
    for (filter, mapped) in [
        ("devices/#", Ok("t/u/dev/#")),
        ("devices/+/x", Ok("t/u/dev/+/x")),
        ("deep/er/#", Ok("r/u/#")),
        ("#", Err(MapError::Unmapped)),
        ("+/x", Err(MapError::Unmapped)),
        ("deep/#", Err(MapError::Unmapped)),
        ("deep/+/x", Err(MapError::Unmapped)),
    ] {
        assert_eq!(
            map.map_filter(filter),
            mapped.map(str::to_owned),
            "{filter}"
        );
    }
    for topic in ["t/v/dev/a", "t/u", "t/u/x", "devices/a", "public", "r/v"] {
        assert_eq!(map.unmap_name(topic), None, "{topic}");
    }
}

#[test]
fn a_filter_over_several_rules_is_refused_unless_they_agree() {
    let apart = map(&[("devices/", "d/${username}/"), ("", "t/${username}/")]);
    for (filter, mapped) in [
        ("#", Err(MapError::Spans)),
        ("+", Err(MapError::Spans)),
        ("+/x", Err(MapError::Spans)),
        ("+/+/x/#", Err(MapError::Spans)),
        ("devices/#", Ok("d/u/#")),
        ("devices", Ok("d/u")),
        ("other/#", Ok("t/u/other/#")),
        ("devicesx/+", Ok("t/u/devicesx/+")),
        ("/+", Ok("t/u//+")),
    ] {
        assert_eq!(
            apart.map_filter(filter),
            mapped.map(str::to_owned),
            "{filter}"
        );
    }
    let agreeing = map(&[
        ("devices/", "t/${username}/devices/"),
        ("", "t/${username}/"),
    ]);
    for filter in ["#", "+", "+/x", "devices/#"] {
        assert_eq!(agreeing.map_filter(filter), Ok(format!("t/u/{filter}")));
    }
    // the second rule has nothing of `a/x`, which the first one takes
    let nested = map(&[
        ("a/x/", "t/${username}/a/x/"),
        ("a/", "q/${username}/"),
        ("", "t/${username}/"),
    ]);
    for (filter, mapped) in [
        ("+/x", Ok("t/u/+/x")),
        ("+/y", Err(MapError::Spans)),
        ("a/+", Err(MapError::Spans)),
        ("a/x/#", Ok("t/u/a/x/#")),
        ("b/#", Ok("t/u/b/#")),
    ] {
        assert_eq!(
            nested.map_filter(filter),
            mapped.map(str::to_owned),
            "{filter}"
        );
    }
}

#[test]
fn a_beginning_may_be_taken_off() {
    let map = map(&[("mine/", "")]);
    assert_eq!(map.map_name("mine/a").as_deref(), Ok("a"));
    assert_eq!(map.unmap_name("a").as_deref(), Some("mine/a"));
    // what would be nothing, and what would be the broker's own
    for (name, error) in [
        ("mine", MapError::Unmapped),
        ("mine/", MapError::Unmapped),
        ("mine/$SYS/x", MapError::Dollar),
    ] {
        assert_eq!(map.map_name(name), Err(error), "{name}");
        assert_eq!(map.map_filter(name), Err(error), "{name}");
    }
    assert_eq!(map.map_filter("mine/#").as_deref(), Ok("#"));
}

#[test]
fn groups_are_put_under_the_tenant() {
    let group = |prefix: &str, names: Names<'_>| {
        let map = TopicMap::prefix(prefix).expect("a valid prefix");
        let map = map.for_client(names).expect("a usable name");
        let filter = map.map_filter("$share/g/a").expect("a mapped filter");
        filter.split('/').nth(1).expect("a group").to_owned()
    };
    let names = |username| Names::new("c", Some(username)).common_name("n");
    for (prefix, username, expected) in [
        ("t/${username}/", "acme", "acme:g"),
        ("t/${username}/", "a:b", "a%3Ab:g"),
        ("t/${username}/", "a%3Ab", "a%253Ab:g"),
        ("${cn}/${client_id}/${username}/", "u", "u:c:n:g"),
        ("t/", "u", "g"),
    ] {
        assert_eq!(
            group(prefix, names(username)),
            expected,
            "{prefix} {username}"
        );
    }
    // however the values and the group are cut, no two are the same
    let values = ["a", "b", "a:", ":a", "a:b", "%", "%3A", "a%3Ab", ":"];
    let mut seen = HashSet::new();
    for username in values {
        for client_id in values {
            let map = TopicMap::prefix("${username}/${client_id}/").expect("a valid prefix");
            let map = map.for_client(Names::new(client_id, Some(username)));
            let map = map.expect("a usable name");
            for own in values {
                let filter = map.map_filter(&format!("$share/{own}/a"));
                let filter = filter.expect("a mapped filter");
                let group = filter.split('/').nth(1).expect("a group").to_owned();
                assert!(seen.insert(group.clone()), "{group}");
            }
        }
    }

    // what all rules have in common makes a tenant; shared places have tenants, too
    let tenant = map(&[
        ("news/", "!news/"),
        ("own/", "c/${username}/${client_id}/"),
        ("", "t/${username}/"),
    ]);
    for filter in ["news/#", "own/#", "x/#"] {
        let mapped = tenant.map_filter(&format!("$share/g/{filter}"));
        let mapped = mapped.expect("a mapped filter");
        assert!(mapped.starts_with("$share/u:g/"), "{mapped}");
    }

    let off = TopicMap::builder()
        .rule(MapRule::new("", "t/${username}/"))
        .tenant_groups(false);
    let off = off
        .build()
        .expect("a map")
        .for_client(USER)
        .expect("a usable name");
    assert_eq!(
        off.map_filter("$share/g/a").as_deref(),
        Ok("$share/g/t/u/a")
    );
}

/// What one tenant published there, all others read: it was writable by every tenant.
#[test]
fn tenants_may_read_what_is_shared_and_not_write_it() {
    let map = |writable: bool| {
        let map = TopicMap::builder()
            .rule(
                MapRule::new("news/", "public/news/")
                    .shared(true)
                    .writable(writable),
            )
            .rule(MapRule::new("", "tenants/${username}/"))
            .dialect(Dialect::Mqtt(VendorForms::ALL))
            .build();
        let map = map.expect("a map");
        map.for_client(Names::new("c", Some("acme")))
            .expect("a usable name")
    };
    let (closed, open) = (map(false), map(true));
    for topic in ["news/x", "news", "news/", "$delayed/5/news/x"] {
        assert_eq!(closed.map_name(topic), Err(MapError::ReadOnly), "{topic}");
        assert!(open.map_name(topic).is_ok(), "{topic}");
    }
    for map in [closed, open] {
        assert_eq!(map.map_name("newsx").as_deref(), Ok("tenants/acme/newsx"));
        for filter in ["news/#", "news", "$share/g/news/+"] {
            assert!(map.map_filter(filter).is_ok(), "{filter}");
        }
        assert_eq!(map.unmap_name("public/news/x").as_deref(), Some("news/x"));
    }
}

#[test]
fn forms_of_the_dialect_are_mapped_inside() {
    let map = |forms| {
        let map = TopicMap::builder()
            .rule(MapRule::new("news/", "news/").shared(true).writable(true))
            .rule(MapRule::new("", "t/${username}/"))
            .dialect(Dialect::Mqtt(forms));
        map.build()
            .expect("a map")
            .for_client(USER)
            .expect("a usable name")
    };
    let all = map(VendorForms::ALL);
    for (filter, mapped) in [
        ("$queue/a/+", Ok("$queue/t/u/a/+")),
        ("$exclusive/a", Ok("$exclusive/t/u/a")),
        ("$oshare/g/a", Ok("$oshare/u:g/t/u/a")),
        ("$share/g/news/#", Ok("$share/u:g/news/#")),
        // without a group there is nothing to tell the tenants apart by
        ("$queue/news/#", Err(MapError::SharedForm)),
        ("$exclusive/news/x", Err(MapError::SharedForm)),
        ("$queue/$SYS/a", Err(MapError::Dollar)),
        ("$queue/$queue/a", Err(MapError::Dollar)),
        ("$share/g/$queue/a", Err(MapError::Dollar)),
        ("$delayed/5/a", Err(MapError::Dollar)),
        ("$local/a", Err(MapError::Dollar)),
        ("$queue/#", Err(MapError::Spans)),
        ("$queue/", Err(TopicError::Empty.into())),
    ] {
        assert_eq!(
            all.map_filter(filter),
            mapped.map(str::to_owned),
            "{filter}"
        );
    }
    for (name, mapped) in [
        ("$delayed/5/a/b", Ok("$delayed/5/t/u/a/b")),
        ("$delayed/5/news/x", Ok("$delayed/5/news/x")),
        ("$delayed/5/$SYS/a", Err(MapError::Dollar)),
        ("$delayed/5/$delayed/5/a", Err(MapError::Dollar)),
        ("$delayed/x/a", Err(TopicError::DelaySeconds.into())),
        ("$queue/a", Err(MapError::Dollar)),
    ] {
        assert_eq!(all.map_name(name), mapped.map(str::to_owned), "{name}");
    }
    let some = map(VendorForms::DELAYED);
    assert_eq!(
        some.map_name("$delayed/5/a").as_deref(),
        Ok("$delayed/5/t/u/a")
    );
    assert_eq!(some.map_filter("$queue/a"), Err(MapError::Dollar));
}

/// Before RabbitMQ, the user `acme` read what `acme.eu` published.
#[test]
fn what_the_broker_reads_is_mapped() {
    let map = |dialect| {
        let map = TopicMap::builder()
            .rule(MapRule::new("news/", "news/").shared(true).writable(true))
            .rule(MapRule::new("", "t/${username}/"))
            .dialect(dialect);
        map.build().expect("a map")
    };
    let rabbitmq = map(Dialect::Amqp);
    let refused = |username| {
        let error = rabbitmq.for_client(Names::new("c", username)).err();
        error.expect("no usable name").to_string()
    };
    for username in ["acme.eu", "*"] {
        assert_eq!(
            refused(Some(username)),
            "the client has no user name that can stand in a topic of this broker, to which `.` is `/` \
             and `*` is `+`"
        );
    }
    assert_eq!(
        refused(None),
        "the client has no user name that can stand in a topic"
    );
    let client = rabbitmq.for_client(USER).expect("a usable name");
    for (topic, mapped) in [
        ("a.b", Ok("t/u/a/b")),
        ("news.x", Ok("news/x")),
        ("a*", Err(MapError::Topic(TopicError::Untranslatable))),
        ("$SYS.x", Err(MapError::Dollar)),
    ] {
        let mapped = mapped.map(str::to_owned);
        assert_eq!(client.map_name(topic), mapped, "{topic}");
        assert_eq!(client.map_filter(topic), mapped, "{topic}");
    }
    for (filter, mapped) in [
        ("*.x", Err(MapError::Spans)),
        ("a/*", Ok("t/u/a/+")),
        ("news.*", Ok("news/+")),
        ("$share/g/a", Err(TopicError::Untranslatable.into())),
    ] {
        assert_eq!(
            client.map_filter(filter),
            mapped.map(str::to_owned),
            "{filter}"
        );
    }
    for (name, seen) in [
        ("t/u/a", Some("a")),
        ("t.u.a", Some("a")),
        ("t/u/a.b", Some("a/b")),
        ("t/u/a*", None),
        ("t.v.a", None),
    ] {
        assert_eq!(client.unmap_name(name).as_deref(), seen, "{name}");
    }

    let nats = map(Dialect::Nats);
    assert!(nats.for_client(Names::new("c", Some(">"))).is_err());
    let client = nats.for_client(Names::new("c", Some("acme.eu")));
    let client = client.expect("a usable name");
    assert_eq!(client.map_name("a.b").as_deref(), Ok("t/acme.eu/a.b"));
    assert_eq!(client.map_filter("a/>").as_deref(), Ok("t/acme.eu/a/#"));
}

#[test]
fn a_map_is_written_as_the_broker_reads_it() {
    let problem = |from: &str, to: &str| {
        let map = TopicMap::builder().rule(MapRule::new(from, to));
        let error = map.dialect(Dialect::Amqp).build().expect_err("no map");
        error.to_string()
    };
    assert_eq!(
        problem("", "t.${username}.x/"),
        "`t.${username}.x/`: the broker reads it as `t/${username}/x/`; write that"
    );
    assert_eq!(
        problem("a.b/", "c/"),
        "`a.b/`: the broker reads it as `a/b/`; write that"
    );
    assert_eq!(
        problem("", "a*/"),
        "`a*/`: the broker reads the topic otherwise, and not as a topic of MQTT"
    );
}

/// A rule without a prefix at the broker maps `#` to `#`, with which RabbitMQ sends topics that begin
/// with `$`, too: nothing in the map could have published them.
#[test]
fn topics_of_the_broker_itself_are_nobodys() {
    for dialect in [Dialect::MQTT, Dialect::Amqp, Dialect::Nats] {
        let map = TopicMap::builder().rule(MapRule::new("all/", ""));
        let map = map.dialect(dialect).build().expect("a map");
        let map = map.for_client(USER).expect("a usable name");
        assert_eq!(map.map_filter("all/#").as_deref(), Ok("#"));
        assert_eq!(map.unmap_name("$SYS/x"), None);
        assert_eq!(map.unmap_name("x/$SYS").as_deref(), Some("all/x/$SYS"));
    }
}

/// The definition: levels that are replaced by others, by the first rule that they begin with.
fn defined(rules: &[MapRule], names: (&str, &str), topic: &str) -> Option<String> {
    let levels = |text: &str| -> Vec<String> {
        let text = text
            .replace("${username}", names.0)
            .replace("${client_id}", names.1);
        text.split_terminator('/').map(str::to_owned).collect()
    };
    let topic: Vec<String> = topic.split('/').map(str::to_owned).collect();
    let text = |rule: &MapRule| {
        let rule = format!("{rule:?}");
        let of = |key: &str| {
            let (_, rest) = rule.split_once(&format!("{key}: \"")).expect("a text");
            rest.split('"').next().unwrap_or_default().to_owned()
        };
        (levels(&of("from")), levels(&of("to")))
    };
    let mut rules = rules.iter().map(text);
    let (from, mut to) = rules.find(|(from, _)| topic.starts_with(from))?;
    to.extend_from_slice(&topic[from.len()..]);
    let mapped = to.join("/");
    (!topic[0].starts_with('$') && !mapped.starts_with('$') && !mapped.is_empty()).then_some(mapped)
}

/// All sequences of up to `depth` levels that are not empty.
fn sequences(alphabet: &[&str], depth: usize) -> Vec<String> {
    let mut all = Vec::new();
    let mut longest: Vec<String> = alphabet.iter().map(|level| (*level).to_owned()).collect();
    for _ in 0..depth {
        let longer = longest.iter().flat_map(|start| {
            let next = alphabet.iter();
            next.map(move |level| format!("{start}/{level}"))
        });
        let longer = longer.collect();
        all.append(&mut std::mem::replace(&mut longest, longer));
    }
    all.retain(|sequence| !sequence.is_empty());
    all
}

/// Up to three rules, and then one about everything else, in whose way some of them do not stand.
fn some_rules() -> impl Strategy<Value = Vec<MapRule>> {
    let from = select(vec!["a/", "b/", "a/b/", "/", "a/b/a/"]);
    let to = || {
        select(vec![
            "",
            "a/",
            "b/",
            "t/",
            "t/a/",
            "t/${username}/",
            "t/${username}/a/",
            "t/${username}/b/",
            "t/a/${username}/",
            "${username}/",
            "a${client_id}/",
            "t/${username}/${client_id}/",
            "b/a/b/",
        ])
    };
    let rule = (
        from,
        prop_oneof![1 => to().prop_map(Some), 2 => Just(None)],
        any::<bool>(),
    );
    let rules = proptest::collection::vec(rule, 0..4);
    (rules, to(), any::<bool>(), any::<bool>()).prop_map(|(rules, rest, shared, whole)| {
        let written = |from: &str, to: String, shared: bool| {
            let shared = shared && !to.contains("${");
            MapRule::new(from, to).shared(shared).writable(shared)
        };
        let mut all: Vec<_> = rules
            .into_iter()
            .map(|(from, to, shared)| {
                let to = to.map_or_else(|| [rest, from].concat(), str::to_owned);
                written(from, to, shared)
            })
            .collect();
        if whole || all.is_empty() {
            all.push(written("", rest.to_owned(), shared));
        }
        all
    })
}

const CLIENTS: [(&str, &str); 5] = [("u", "c"), ("v", "c"), ("a", "c"), ("a", "a"), ("ac", "b")];

/// The property below asked for more than is promised, and failed once in many runs: here `#` would
/// match all that it should, but only because one rule puts things where another finds them.
#[test]
fn a_filter_is_mapped_if_all_that_it_matches_is_mapped_alike() {
    let map = rules(&[("a/b/a/", "a/b/a/"), ("a/b/", "")]).expect("a map");
    let map = map.for_client(USER).expect("usable names");
    assert_eq!(map.map_filter("a/b/#"), Err(MapError::Spans));
    assert_eq!(map.map_filter("a/b/+/x"), Err(MapError::Spans));
    assert_eq!(map.map_filter("a/b/c/#").as_deref(), Ok("c/#"));
    assert_eq!(map.map_filter("a/b/a/#").as_deref(), Ok("a/b/a/#"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever rules are accepted: the map is the one that is defined, it is undone by the way back,
    /// no topic of one client is a topic of another unless the rule is shared, and a filter matches
    /// at the broker what it matches here. Whatever is refused as a collision has an example of one.
    #[test]
    fn a_map_can_be_undone_or_is_refused(written in some_rules()) {
        let mut builder = TopicMap::builder();
        for rule in &written {
            builder = builder.rule(rule.clone());
        }
        let map = match builder.build() {
            Ok(map) => map,
            Err(error) => {
                if let MapProblem::Collision(collision) = error.problem() {
                    let at_broker = |side: &mproxy_layers::topic_map::Named| {
                        let value = |name: &str| {
                            let (_, rest) = side.client.split_once(&format!("{name} `"))?;
                            rest.split('`').next()
                        };
                        let names = (
                            value("user name").unwrap_or("any"),
                            value("client id").unwrap_or("any"),
                        );
                        defined(&written, names, &side.topic)
                    };
                    let (one, other) = (&collision.one, &collision.other);
                    prop_assert_ne!((&one.client, &one.topic), (&other.client, &other.topic));
                    prop_assert_eq!(at_broker(one), Some(collision.topic.clone()));
                    prop_assert_eq!(at_broker(other), Some(collision.topic.clone()));
                }
                return Ok(());
            }
        };
        let apart = format!("{written:?}").contains("${");
        let topics = sequences(&["a", "b", "z", "", "t", "$x"], 3);
        let clients: Vec<_> = CLIENTS
            .iter()
            .map(|(username, id)| {
                map.for_client(Names::new(id, Some(username))).expect("usable names")
            })
            .collect();
        // broker's topic -> client's topic, and the number of a client that has it
        let mut taken: HashMap<String, (&str, usize)> = HashMap::new();
        for (number, client) in clients.iter().enumerate() {
            for topic in &topics {
                let mapped = client.map_name(topic).ok();
                prop_assert_eq!(&mapped, &defined(&written, CLIENTS[number], topic));
                let Some(mapped) = mapped else { continue };
                let back = client.unmap_name(&mapped);
                prop_assert_eq!(back.as_deref(), Some(topic.as_str()));
                let before = taken.entry(mapped.clone()).or_insert((topic.as_str(), number));
                // also of two clients: what they call it is the same
                prop_assert_eq!(before.0, topic.as_str());
                if before.1 != number && apart {
                    let shared = !defined_by(&written, topic).contains("${");
                    let same = defined(&written, CLIENTS[before.1], topic) == Some(mapped)
                        && placeholders_agree(&written, topic, CLIENTS[before.1], CLIENTS[number]);
                    prop_assert!(shared || same, "{} {:?}", topic, taken);
                }
            }
            for topic in sequences(&["a", "t", "u", "b", "ac"], 4) {
                if let Some(name) = client.unmap_name(&topic) {
                    prop_assert_eq!(client.map_name(&name), Ok(topic));
                }
            }
        }

        let mut filters = sequences(&["a", "b", "z", "+"], 3);
        let open: Vec<_> = filters.iter().map(|filter| format!("{filter}/#")).collect();
        filters.extend(open);
        filters.push("#".to_owned());
        let (one, other) = (&clients[0], &clients[1]);
        let matches = |filter: &str, topic: &str| {
            let filter = TopicFilter::new(filter).expect("a valid filter");
            filter.matches(TopicName::new(topic).expect("a valid name"))
        };
        let names: Vec<_> = topics
            .iter()
            .filter_map(|topic| Some((topic, one.map_name(topic).ok()?)))
            .collect();
        let mut seen = HashMap::new();
        for filter in &filters {
            // only if its rule would do something else with what it matches
            let Ok(mapped) = one.map_filter(filter) else {
                let by = |rule: &MapRule, topic: &str| {
                    defined(std::slice::from_ref(rule), CLIENTS[0], topic)
                };
                let mut alone = names.iter().filter(|(topic, _)| matches(filter, topic));
                let mapped = defined(&written, CLIENTS[0], filter);
                let own = mapped.and_then(|_| written.iter().find(|it| by(it, filter).is_some()));
                let alike = own.is_some_and(|own| {
                    alone.all(|(topic, name)| by(own, topic).as_ref() == Some(name))
                });
                prop_assert!(!alike, "{} is refused without need", filter);
                continue;
            };
            prop_assert!(seen.insert(mapped.clone(), filter).is_none(), "two filters: {}", mapped);
            for (topic, name) in &names {
                prop_assert_eq!(
                    matches(filter, topic), matches(&mapped, name),
                    "{} {} {} {}", filter, topic, mapped, name
                );
            }
            let Ok(theirs) = other.map_filter(filter) else {
                return Err(TestCaseError::fail("mapped for one client only"));
            };
            for (topic, name) in &names {
                if matches(&theirs, name) {
                    prop_assert!(
                        !apart || !defined_by(&written, topic).contains("${username}"),
                        "{} is reached by {}", name, theirs
                    );
                }
            }
        }
    }
}

/// What the rule that a topic belongs to looks like.
fn defined_by(rules: &[MapRule], topic: &str) -> String {
    let owner = rules.iter().find(|rule| {
        let alone = [(*rule).clone()];
        defined(&alone, ("u", "c"), topic).is_some()
    });
    format!("{owner:?}")
}

/// Says whether two clients have the same values where the rule of this topic has placeholders.
fn placeholders_agree(
    rules: &[MapRule],
    topic: &str,
    one: (&str, &str),
    other: (&str, &str),
) -> bool {
    let rule = defined_by(rules, topic);
    (one.0 == other.0 || !rule.contains("${username}"))
        && (one.1 == other.1 || !rule.contains("${client_id}"))
}
