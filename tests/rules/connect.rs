//! CONNECT and CONNACK, and what is changed in them.

use mproxy_tests::Rest;
use mproxy_tests::wire::{
    Connect, DISCONNECT, PINGRESP, Packet, Publish, Version, connack, field, frame, properties,
    subscribe, user_property,
};

use crate::ground::{
    Ground, PLACES, PREFIX, WhenUnreachable, both_end, client, down, fence, strict, turned_away, up,
};
use crate::packets::{accepted, connect, no_properties};

tests! {
    flags_do_not_contradict_each_other [r41] in all;
    fields_are_those_that_are_flagged [r42] in all;
    client_identifiers_of_all_lengths_pass [r43] in all;
    an_empty_client_identifier_stays_empty [r44] in [v311 v5];
    an_empty_client_identifier_gets_no_prefix [r44] in [v311];
    an_identifier_is_made_up_where_that_is_wanted [r44] in [v311 v5];
    a_client_identifier_that_was_made_up_is_told [r45] in v5;
    an_assigned_client_identifier_is_the_sessions [r45] in v5;
    a_client_identifier_behind_a_prefix_is_made_up [r45] in v5;
    no_client_becomes_another [r46] in all;
    a_prefix_keeps_clients_apart [r46] in all;
    an_identifier_says_whose_it_is [r46] in all;
    sessions_are_the_brokers [r47] in all by [when_unreachable];
    an_expiry_is_not_raised_from_zero [r47] in v5;
    a_will_is_a_publish [r48] in all;
    a_denied_will_is_taken_out_where_that_is_wanted [r48] in all;
    a_will_goes_where_rules_of_the_map_say [r48] in all;
    answers_to_a_will_are_judged_where_that_is_wanted [r48] in v5;
    a_will_topic_is_a_topic_name [r49] in all;
    a_will_keeps_its_properties [r50] in v5;
    user_properties_keep_their_order [r51] in v5;
    limits_are_not_zero [r52] in v5 by [when_unreachable];
    who_wants_no_texts_gets_none [r53] in v5;
    a_password_is_shown_to_nobody [r54] in all by [when_unreachable];
    the_lower_limit_is_offered_and_enforced [r55] in v5 by [max_packet_size];
    an_offer_that_is_not_lowered_is_the_brokers_own [r55] in v5 by [max_packet_size];
    a_connack_does_not_outgrow_its_client [r56] in v5;
    a_refusal_does_not_outgrow_its_client [r56] in v5;
    a_refusal_in_other_words_is_understood [r57] in all;
    other_servers_are_not_named [r58] in v5;
    other_servers_are_named_where_that_is_wanted [r58] in v5;
    response_information_is_mapped_or_kept [r59] in v5;
}

async fn flags_do_not_contradict_each_other(version: Version) {
    let ground = Ground::new().await;
    let (id, topic, user) = (field("c"), field("w"), field("u"));
    let will_properties = no_properties(version).to_vec();
    let mut wrong = vec![
        // will QoS 3
        (0x1e, vec![&id, &will_properties, &topic, &topic]),
        // a user name that is not there: no other field is taken for it
        (0x82, vec![&id]),
        (0xc2, vec![&id, &user]),
        (0x86, vec![&id, &will_properties, &topic, &topic]),
    ];
    if version != Version::V31 {
        // MQTT 3.1 does not look at it
        wrong.push((0x03, vec![&id]));
        wrong.push((0x01, vec![&id]));
    }
    if version != Version::V5 {
        // 5.0 has passwords without a name
        wrong.push((0x42, vec![&id, &user]));
    }
    // QoS or retain of a will without one: "not used" in MQTT 3.1
    let idle = [0x0a, 0x12, 0x1a, 0x22, 0x3a, 0x08, 0x20];
    if version == Version::V31 && !strict() {
        for listener in ["mqtt", "acl"] {
            for flags in idle {
                let mut link = ground.link(listener, version).await;
                link.send(&connect(version, flags, &[], &[&id])).await;
                let repaired = connect(version, flags & 0x02, &[], &[&id]);
                ground.broker.session().await.expect(&repaired).await;
            }
        }
    } else {
        wrong.extend(idle.map(|flags| (flags, vec![&id])));
    }
    for listener in ["mqtt", "acl"] {
        for (flags, fields) in &wrong {
            let fields: Vec<_> = fields.iter().map(|field| &***field).collect();
            let mut link = ground.link(listener, version).await;
            link.send(&connect(version, *flags, &[], &fields)).await;
            turned_away(link, None, &[0x81]).await;
        }
    }
    ground.nobody_before(version).await;
    if version.is_v5() {
        let hello = connect(version, 0x42, &[], &[&id, &user]);
        let mut link = ground.link("acl", version).await;
        link.send(&hello).await;
        ground.broker.session().await.expect(&hello).await;
    }
}

async fn fields_are_those_that_are_flagged(version: Version) {
    let ground = Ground::new().await;
    let hello = client(version)
        .will("w", "bye", 2, true)
        .credentials("u", "p");
    let bytes = hello.bytes();
    // as it is, with all of them
    for listener in ["mqtt", "acl"] {
        let mut link = ground.link(listener, version).await;
        link.send(&bytes).await;
        ground.broker.session().await.expect(&bytes).await;
    }
    // each flag with its field taken away, and set without its field
    let body = crate::packets::body(&bytes);
    let name = 2 + usize::from(body[1]);
    for flag in [0x80, 0x40, 0x04] {
        let mut without = body.to_vec();
        without[name + 1] &= !flag;
        if flag == 0x04 {
            without[name + 1] &= !0x38;
        }
        let mut link = ground.link("mqtt", version).await;
        link.send(&frame(0x10, &without)).await;
        turned_away(link, None, &[0x81]).await;

        let mut only = crate::packets::body(&Connect::new(version, "c").bytes()).to_vec();
        only[name + 1] |= flag;
        let mut link = ground.link("mqtt", version).await;
        link.send(&frame(0x10, &only)).await;
        turned_away(link, None, &[0x81]).await;
    }
    ground.nobody_before(version).await;
    // the field that is changed is changed where it stands
    let mut link = ground.link("map", version).await;
    link.send(
        &client(version)
            .will("w", "bye", 2, true)
            .credentials("acme", "p")
            .bytes(),
    )
    .await;
    let mapped = client(version)
        .will("tenants/acme/w", "bye", 2, true)
        .credentials("acme", "p");
    ground.broker.session().await.expect(&mapped.bytes()).await;
}

async fn client_identifiers_of_all_lengths_pass(version: Version) {
    let ground = Ground::new().await;
    for client_id in [
        "0",
        "0123456789abcdefghijklm",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        &"x".repeat(1000),
        &"y".repeat(60_000),
        "with blanks, \u{e9}\u{1f600} and $/+#",
    ] {
        for listener in ["mqtt", "acl", "map"] {
            let hello = Connect::new(version, client_id).username("acme").bytes();
            let mut link = ground.link(listener, version).await;
            link.send(&hello).await;
            ground.broker.session().await.expect(&hello).await;
        }
    }
    // there must be one
    let mut link = ground.link("mqtt", version).await;
    link.send(&connect(version, 2, &[], &[])).await;
    turned_away(link, None, &[0x81]).await;
    ground.nobody_before(version).await;
}

async fn an_empty_client_identifier_stays_empty(version: Version) {
    let ground = Ground::with(|setup| {
        setup.toml(
            "[[listeners]]\nname = \"named\"\nbind = \"127.0.0.1:0\"\nchain = \"named\"\n\
                 [chains.named]\nlayers = [\"named\"]\n[layers.named]\ntype = \"topic-map\"\n\
                 prefix = \"clients/${client_id}/\"\n",
        )
    })
    .await;
    for listener in ["mqtt", "acl", "map"] {
        for hello in [
            Connect::new(version, "").username("acme"),
            Connect::new(version, "").username("acme").persistent(),
        ] {
            let mut link = ground.link(listener, version).await;
            link.send(&hello.bytes()).await;
            if version == Version::V311 && hello.bytes()[9] & 2 == 0 {
                // it would never find its session again
                link.expect(&[0x20, 2, 0, 2]).await;
                link.closed().await;
            } else {
                let mut server = ground.broker.session().await;
                server.expect(&hello.bytes()).await;
            }
        }
    }
    // all that have none would share what is put before it
    let mut link = ground.link("named", version).await;
    link.send(&Connect::new(version, "").username("acme").bytes())
        .await;
    turned_away(link, Some(5), &[0x85, 0x87]).await;
    ground.nobody_before(version).await;
}

/// A listener `ids` with the layer `client-id`.
async fn ids(keys: &str) -> Ground {
    Ground::with(|setup| {
        setup.toml(&format!(
            "[[listeners]]\nname = \"ids\"\nbind = \"127.0.0.1:0\"\nchain = \"ids\"\n\
             [chains.ids]\nlayers = [\"ids\"]\n[layers.ids]\ntype = \"client-id\"\n{keys}\n"
        ))
    })
    .await
}

/// The values of Assigned Client Identifier in a CONNACK that has no other strings.
fn assigned(connack: &Packet) -> Vec<String> {
    let block = &connack.body()[3..];
    let places = (0..block.len()).filter(|at| block[*at] == 0x12 && block.len() > at + 2);
    let fields = places.map(|at| {
        let len = usize::from(u16::from_be_bytes([block[at + 1], block[at + 2]]));
        block.get(at + 3..at + 3 + len)
    });
    let texts = fields.flatten().filter_map(|it| str::from_utf8(it).ok());
    texts.map(str::to_owned).collect()
}

/// Who has none is told apart by the broker; `acme:` would be one client.
async fn an_empty_client_identifier_gets_no_prefix(version: Version) {
    let ground = ids("prefix = \"${username}:\"").await;
    let hello = Connect::new(version, "").username("acme");
    ground.open_as("ids", &hello, &hello).await;
}

/// Lets a client in for whom an identifier is made up: what the broker knows it by, and what the
/// client was told. It leaves again, and the log knows it by the same name.
async fn made_up(ground: &Ground, version: Version) -> (String, Packet) {
    let hello = Connect::new(version, "").username("acme");
    let mut client = ground.link("ids", version).await;
    client.send(&hello.bytes()).await;
    let mut server = ground.broker.session().await;
    let packet = server.packet().await;
    // behind the fixed part, and in 5.0 no properties
    let id = &packet.body()[10 + no_properties(version).len()..];
    let len = usize::from(u16::from_be_bytes([id[0], id[1]]));
    let id = str::from_utf8(&id[2..2 + len]).expect("an identifier is text");
    // the rest is the client's
    let named = Connect::new(version, id).username("acme");
    assert_eq!(packet.bytes(), named.bytes());
    server.send(&connack(version, 0)).await;
    let answer = client.packet().await;
    client.send(&DISCONNECT).await;
    drop((client, server));
    ground.mproxy.end_of(id).await;
    (id.to_owned(), answer)
}

async fn an_identifier_is_made_up_where_that_is_wanted(version: Version) {
    let ground = ids("prefix = \"${username}:\"\ngenerate = true").await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let (id, answer) = made_up(&ground, version).await;
        assert!(id.starts_with("acme:") && id.len() > 5, "{id}");
        assert_eq!(answer.body()[..2], [0, 0]);
        assert!(seen.insert(id));
    }
    // it would never find its session again
    if version == Version::V311 {
        let mut link = ground.link("ids", version).await;
        let hello = Connect::new(version, "").username("acme").persistent();
        link.send(&hello.bytes()).await;
        turned_away(link, Some(2), &[]).await;
        ground.nobody_before(version).await;
    }
}

async fn a_client_identifier_that_was_made_up_is_told(version: Version) {
    let ground = ids("prefix = \"${username}:\"\ngenerate = true").await;
    let (id, answer) = made_up(&ground, version).await;
    let own = id.strip_prefix("acme:").expect("the prefix");
    assert_eq!(assigned(&answer), [own]);
}

/// One that the broker assigned would come back with the prefix before it, as another client.
async fn a_client_identifier_behind_a_prefix_is_made_up(version: Version) {
    let ground = ids("prefix = \"${username}:\"").await;
    let (id, answer) = made_up(&ground, version).await;
    let own = id.strip_prefix("acme:").expect("the prefix");
    assert_eq!(assigned(&answer), [own]);
    let hello = Connect::new(version, own).username("acme");
    let again = Connect::new(version, &id).username("acme");
    ground.open_as("ids", &hello, &again).await;
}

async fn an_assigned_client_identifier_is_the_sessions(version: Version) {
    let ground = Ground::new().await;
    for listener in ["mqtt", "acl", "map"] {
        let assigned = format!("auto-{listener}");
        let property = [&[0x12][..], &field(&assigned)].concat();
        let hello = Connect::new(version, "").username("acme");
        let answer = accepted(&property);
        let (mut link, server, connack) = ground.open(listener, &hello, &answer).await;
        let block = connack.body();
        let count = block.windows(property.len()).filter(|it| *it == property);
        assert_eq!(count.count(), 1, "{connack:?}");
        // the log knows it by this name
        link.send(&DISCONNECT).await;
        drop((link, server));
        ground.mproxy.end_of(&assigned).await;
    }
}

/// Names that mean something elsewhere must not mean it.
async fn no_client_becomes_another(version: Version) {
    let ground = Ground::with(|setup| {
        setup.toml(
            "[[listeners]]\nname = \"own\"\nbind = \"127.0.0.1:0\"\nchain = \"own\"\n\
                 [chains.own]\nlayers = [\"own\"]\n[layers.own]\ntype = \"acl\"\n\
                 [[layers.own.rules]]\nname = \"own\"\nallow = [\"publish\", \"subscribe\"]\n\
                 topics = [\"d/${client_id}/#\"]\n\
                 [[listeners]]\nname = \"place\"\nbind = \"127.0.0.1:0\"\nchain = \"place\"\n\
                 [chains.place]\nlayers = [\"place\"]\n[layers.place]\ntype = \"topic-map\"\n\
                 prefix = \"d/${client_id}/\"\n",
        )
    })
    .await;
    for client_id in ["#", "+", "a/b", "a/+", "/", "a#"] {
        let hello = Connect::new(version, client_id);
        // known to the broker by its own name
        let mut link = ground.link("own", version).await;
        link.send(&hello.bytes()).await;
        let mut server = ground.broker.session().await;
        server.speak(version);
        server.expect(&hello.bytes()).await;
        server.send(&connack(version, 0)).await;
        assert_eq!(link.packet().await.kind(), 2);
        for topic in ["d/a/b/c", "d/x/y", "d//x"] {
            link.send(&Publish::new(version, topic).bytes("no")).await;
            let request = subscribe(version, 1, &[(topic, 0)]);
            link.send(&request).await;
            assert_eq!(link.packet().await.kind(), 9);
        }
        fence(&mut link, &mut server).await;
        // it has no place of its own
        let mut link = ground.link("place", version).await;
        link.send(&hello.bytes()).await;
        let (packets, rest) = link.rest().await;
        assert_eq!((packets.len(), rest), (1, Rest::Clean));
        assert!(packets[0].body()[1] > 0, "{packets:?}");
    }
    // case and composition make clients different
    let mut seen = std::collections::BTreeSet::new();
    for client_id in ["a", "A", "caf\u{e9}", "cafe\u{301}", "a ", " a", "d/a"] {
        let hello = Connect::new(version, client_id);
        let mut link = ground.link("own", version).await;
        link.send(&hello.bytes()).await;
        let connect = ground.broker.session().await.packet().await;
        assert!(seen.insert(connect.bytes().to_vec()), "{client_id}");
    }
}

async fn a_prefix_keeps_clients_apart(version: Version) {
    let ground = ids("prefix = \"${username}:\"").await;
    let mut seen = std::collections::BTreeSet::new();
    for user in ["acme", "acme-1", "a", "caf\u{e9}"] {
        for id in [
            "1",
            "acme:1",
            ":1",
            "cme:1",
            "1:1",
            "-1:1",
            "#",
            "caf\u{e9}",
        ] {
            let hello = |id: &str| Connect::new(version, id).username(user);
            let (_, _, connack) = ground
                .open_as("ids", &hello(id), &hello(&format!("{user}:{id}")))
                .await;
            assert_eq!(connack.body()[1], 0);
            assert!(seen.insert(format!("{user}:{id}")), "{user} {id}");
        }
    }
    // whose prefix could be a part of another's, or is none
    for hello in [
        Connect::new(version, "1").username("acme:1"),
        Connect::new(version, "1").username(""),
        Connect::new(version, "1"),
    ] {
        let mut link = ground.link("ids", version).await;
        link.send(&hello.bytes()).await;
        turned_away(link, Some(2), &[0x85]).await;
    }
    ground.nobody_before(version).await;
}

async fn an_identifier_says_whose_it_is(version: Version) {
    for (keys, own, others) in [
        (
            "require = \"equals-username\"",
            &["acme"][..],
            &["acme-1", "Acme", "other", "acm"][..],
        ),
        (
            "require = \"prefix-username\"",
            &["acme", "acme-1", "acme-1-2"],
            &["acme1", "Acme-1", "other-1", "acm-1", "-1"],
        ),
        (
            "require = \"template\"\ntemplate = \"dev-${username}-*\"",
            &["dev-acme-1"],
            &[
                "dev-acme-",
                "dev-acme",
                "dev-other-1",
                "acme-1",
                "dev-Acme-1",
            ],
        ),
    ] {
        let ground = ids(keys).await;
        for id in others {
            let mut link = ground.link("ids", version).await;
            let hello = Connect::new(version, id).username("acme");
            link.send(&hello.bytes()).await;
            turned_away(link, Some(2), &[0x85]).await;
        }
        for id in own {
            let mut link = ground.link("ids", version).await;
            link.send(&Connect::new(version, id).bytes()).await;
            turned_away(link, Some(2), &[0x85]).await;
            let hello = Connect::new(version, id).username("acme");
            ground.open_as("ids", &hello, &hello).await;
        }
    }
}

async fn sessions_are_the_brokers(version: Version) {
    let ground = Ground::new().await;
    for listener in ["mqtt", "acl", "map"] {
        let present = frame(0x20, &[&[1, 0][..], no_properties(version)].concat());
        let hello = client(version).persistent();
        let (mut link, mut server) = ground.asked(listener, &hello).await;
        server.send(&present).await;
        let answer = link.packet().await;
        assert_eq!(answer.body()[..2], [1, 0], "{answer:?}");
        fence(&mut link, &mut server).await;

        // the same without a session, and with an expiry that stays
        let hello = if version.is_v5() {
            client(version).properties(&[0x11, 0xff, 0xff, 0xff, 0xff])
        } else {
            client(version)
        };
        let mut link = ground.link(listener, version).await;
        link.send(&hello.bytes()).await;
        let mut server = ground.broker.session().await;
        server.expect(&hello.bytes()).await;
        // there cannot be one: the client has asked for none
        server.send(&present).await;
        if !strict() {
            let answer = link.packet().await;
            assert_eq!(answer.body()[..2], [0, 0], "{answer:?}");
            fence(&mut link, &mut server).await;
            continue;
        }
        link.closed().await;
        server.closed().await;
    }
    if strict() {
        for value in WhenUnreachable::BOTH {
            let ground = Ground::when_unreachable(value).await;
            let present = frame(0x20, &[&[1, 0][..], no_properties(version)].concat());
            let (link, mut server) = ground.asked("mqtt", &client(version)).await;
            server.send(&present).await;
            value.unavailable(link).await;
        }
    }
}

async fn an_expiry_is_not_raised_from_zero(version: Version) {
    let ground = Ground::new().await;
    let raise = frame(0xe0, &[&[0][..], &properties(&[0x11, 0, 0, 0, 9])].concat());
    for hello in [
        client(version),
        client(version).properties(&[0x11, 0, 0, 0, 0]),
    ] {
        let answer = connack(version, 0);
        let (mut link, server, _) = ground.open("mqtt", &hello, &answer).await;
        link.send(&raise).await;
        both_end(link, server, &[0x82]).await;
    }
    let answer = connack(version, 0);
    let hello = client(version).persistent();
    let (mut link, mut server, _) = ground.open("mqtt", &hello, &answer).await;
    up(&mut link, &mut server, &raise, &raise).await;
    // what the broker has lowered the client is told
    let (_, _, connack) = ground
        .open("mqtt", &hello, &accepted(&[0x11, 0, 0, 0, 7]))
        .await;
    let told = connack.body().windows(5).any(|it| it == [0x11, 0, 0, 0, 7]);
    assert!(told, "{connack:?}");
}

async fn a_will_is_a_publish(version: Version) {
    let ground = Ground::with(|setup| setup.limit("max_packet_size", "1KiB")).await;
    for (qos, retain) in [(0, false), (1, true), (2, false)] {
        let hello = client(version).will("denied/will", "bye", qos, retain);
        let mut link = ground.link("acl", version).await;
        link.send(&hello.bytes()).await;
        turned_away(link, Some(5), &[0x87]).await;
    }
    // larger than a packet may be
    let mut link = ground.link("mqtt", version).await;
    link.send(
        &client(version)
            .will("w", &"x".repeat(2000), 0, false)
            .bytes(),
    )
    .await;
    let (packets, _) = link.rest().await;
    assert!(packets.iter().all(|it| it.body()[1] > 0), "{packets:?}");
    // mapped, with what it asks others to answer to
    let block = |topic: &str| {
        if version.is_v5() {
            [&[0x08][..], &field(topic)].concat()
        } else {
            Vec::new()
        }
    };
    let will = |topic: &str, answers: &str| {
        let connect = client(version).will(topic, "bye", 1, true);
        connect.will_properties(&block(answers)).bytes()
    };
    ground.nobody_before(version).await;
    let mut link = ground.link("map", version).await;
    link.send(&will("w", "answers")).await;
    let mapped = will(&format!("{PREFIX}w"), &format!("{PREFIX}answers"));
    ground.broker.session().await.expect(&mapped).await;
    // what cannot be mapped is not left behind as it is
    let mut link = ground.link("map", version).await;
    link.send(&will("$SYS/w", "answers")).await;
    turned_away(link, Some(5), &[0x87, 0x90]).await;
    if version.is_v5() {
        let mut link = ground.link("map", version).await;
        link.send(&will("w", "$SYS/answers")).await;
        turned_away(link, Some(5), &[0x87, 0x90]).await;
    }
    ground.nobody_before(version).await;
}

async fn a_denied_will_is_taken_out_where_that_is_wanted(version: Version) {
    let ground = Ground::with(|setup| {
        let setup = setup.set("layers.acl.will", "strip");
        setup.set("layers.acl.check_response_topics", "true")
    })
    .await;
    let block = if version.is_v5() {
        [&[0x08][..], &field("denied/answers")].concat()
    } else {
        Vec::new()
    };
    for hello in [
        client(version),
        client(version).credentials("acme", "secret"),
        client(version).persistent(),
    ] {
        for (qos, retain) in [(0, false), (1, true), (2, false)] {
            let denied = hello.clone().will("denied/will", "bye", qos, retain);
            ground.open_as("acl", &denied, &hello).await;
            let allowed = hello.clone().will("will", "bye", qos, retain);
            ground.open_as("acl", &allowed, &allowed).await;
            // as a whole, or not at all
            let answered = allowed.will_properties(&block);
            let left = if version.is_v5() { &hello } else { &answered };
            ground.open_as("acl", &answered, left).await;
        }
    }
}

async fn a_will_goes_where_rules_of_the_map_say(version: Version) {
    let ground = Ground::with(|setup| setup.toml(PLACES)).await;
    for (topic, there) in [
        ("devices/7/gone", "fleet/acme/7/gone"),
        ("devices", "fleet/acme"),
        ("news/gone", "public/news/gone"),
        ("gone", "tenants/acme/gone"),
    ] {
        let mortal = |topic: &str| {
            let hello = client(version).will(topic, "bye", 1, true);
            let block = [&[0x08][..], &field(topic)].concat();
            if version.is_v5() {
                hello.will_properties(&block)
            } else {
                hello
            }
        };
        ground
            .open_as("places", &mortal(topic), &mortal(there))
            .await;
    }
    for topic in ["$SYS/x", "$queue/devices/x"] {
        let mut link = ground.link("places", version).await;
        let hello = client(version).will(topic, "bye", 1, true);
        link.send(&hello.bytes()).await;
        turned_away(link, Some(5), &[0x87, 0x90]).await;
    }
    ground.nobody_before(version).await;
}

async fn answers_to_a_will_are_judged_where_that_is_wanted(version: Version) {
    let ground = Ground::with(|setup| setup.set("layers.acl.check_response_topics", "true")).await;
    let mortal = |topic: &str| {
        let block = [&[0x08][..], &field(topic)].concat();
        let hello = client(version).will("will", "bye", 1, false);
        hello.will_properties(&block)
    };
    let mut link = ground.link("acl", version).await;
    link.send(&mortal("denied/x").bytes()).await;
    turned_away(link, None, &[0x87]).await;
    ground.nobody_before(version).await;
    let allowed = mortal("answers");
    ground.open_as("acl", &allowed, &allowed).await;
}

async fn a_will_topic_is_a_topic_name(version: Version) {
    let ground = Ground::with(|setup| {
        setup.toml(
            "[[listeners]]\nname = \"all\"\nbind = \"127.0.0.1:0\"\nchain = \"all\"\n\
             [chains.all]\nlayers = [\"all\"]\n[layers.all]\ntype = \"acl\"\n\
             [[layers.all.rules]]\nname = \"all\"\nallow = [\"publish\", \"subscribe\"]\n\
             topics = [\"#\"]\n",
        )
    })
    .await;
    for listener in ["mqtt", "acl", "map"] {
        for topic in ["", "#", "a/#", "+", "a/+/b", "a#", "a\0b"] {
            let mut link = ground.link(listener, version).await;
            link.send(&client(version).will(topic, "bye", 0, false).bytes())
                .await;
            turned_away(link, None, &[0x81, 0x82, 0x90]).await;
        }
    }
    // a rule for everything is none for what is the broker's
    for topic in ["$SYS/x", "$CONTROL/dynamic-security/v1", "$share/g/x", "$x"] {
        let mut link = ground.link("all", version).await;
        link.send(&client(version).will(topic, "bye", 0, false).bytes())
            .await;
        turned_away(link, Some(5), &[0x87]).await;
        let mut link = ground.link("map", version).await;
        link.send(&client(version).will(topic, "bye", 0, false).bytes())
            .await;
        turned_away(link, Some(5), &[0x87, 0x90]).await;
    }
    ground.nobody_before(version).await;
}

async fn a_will_keeps_its_properties(version: Version) {
    let ground = Ground::new().await;
    let block = |answers: &str| {
        [
            &user_property("b", "1"),
            &[0x03, 0, 1, b'c'][..],
            &[0x18, 0, 0, 0, 5],
            &user_property("a", "2"),
            &[0x01, 1],
            &[0x08],
            &field(answers),
            &[0x09, 0, 2, 0, 0xff],
            &[0x02, 0, 0, 0, 9],
            &user_property("b", "1"),
        ]
        .concat()
    };
    let hello = |topic: &str, answers: &str| {
        let connect = client(version).will(topic, "bye", 1, true);
        connect.will_properties(&block(answers)).bytes()
    };
    for listener in ["mqtt", "acl"] {
        let mut link = ground.link(listener, version).await;
        link.send(&hello("w", "r")).await;
        ground.broker.session().await.expect(&hello("w", "r")).await;
    }
    let mut link = ground.link("map", version).await;
    link.send(&hello("w", "r")).await;
    let mapped = hello("tenants/acme/w", "tenants/acme/r");
    ground.broker.session().await.expect(&mapped).await;
}

async fn user_properties_keep_their_order(version: Version) {
    let ground = Ground::new().await;
    let block = [("z", "1"), ("a", "2"), ("z", "1"), ("", ""), ("z", "0")]
        .map(|(name, value)| user_property(name, value))
        .concat();
    for (listener, prefix) in [("mqtt", ""), ("acl", ""), ("map", PREFIX)] {
        // more aliases than are taken where packets are looked at, so that CONNECT is written anew
        let hello = client(version)
            .properties(&[0x22, 0xff, 0xff])
            .properties(&block);
        let mut link = ground.link(listener, version).await;
        link.send(&hello.bytes()).await;
        let mut server = ground.broker.session().await;
        server.speak(version);
        let connect = server.packet().await;
        let kept = |bytes: &[u8]| bytes.windows(block.len()).any(|it| it == block);
        assert!(kept(connect.bytes()), "{connect:?}");
        // in CONNACK, which gets a limit
        server.send(&accepted(&block)).await;
        let answer = link.packet().await;
        assert!(kept(answer.bytes()), "{answer:?}");
        // in messages, in both directions
        let own = Publish::new(version, "t").properties(&block).bytes("x");
        let mapped = Publish::new(version, &format!("{prefix}t"));
        let mapped = mapped.properties(&block).bytes("x");
        up(&mut link, &mut server, &own, &mapped).await;
        up(&mut server, &mut link, &mapped, &own).await;
        // in SUBSCRIBE
        let request = |filter: &str| {
            let parts = [&[0, 1][..], &properties(&block), &field(filter), &[0]];
            frame(0x82, &parts.concat())
        };
        let mapped = request(&format!("{prefix}t"));
        up(&mut link, &mut server, &request("t"), &mapped).await;
    }
}

async fn limits_are_not_zero(version: Version) {
    for value in WhenUnreachable::BOTH {
        let ground = Ground::when_unreachable(value).await;
        limits_are_not_zero_before(version, &ground, value).await;
    }
}

async fn limits_are_not_zero_before(version: Version, ground: &Ground, value: WhenUnreachable) {
    for wrong in [
        &[0x21, 0, 0][..],
        &[0x27, 0, 0, 0, 0],
        &[0x21, 0, 9, 0x21, 0, 9],
        &[0x27, 0, 0, 1, 0, 0x27, 0, 0, 1, 0],
        &[0x22, 0, 9, 0x22, 0, 9],
        &[0x17, 2],
        &[0x19, 2],
    ] {
        let mut link = ground.link("mqtt", version).await;
        link.send(&client(version).properties(wrong).bytes()).await;
        turned_away(link, None, &[0x82]).await;
        let (link, mut server) = ground.asked("mqtt", &client(version)).await;
        server.send(&accepted(wrong)).await;
        value.unavailable(link).await;
        server.closed().await;
    }
    for wrong in [
        &[0x24, 2][..],
        &[0x25, 2],
        &[0x28, 2],
        &[0x29, 2],
        &[0x2a, 2],
    ] {
        let (link, mut server) = ground.asked("mqtt", &client(version)).await;
        server.send(&accepted(wrong)).await;
        value.unavailable(link).await;
        server.closed().await;
    }
    // no aliases at all is a limit like any other
    let hello = client(version).properties(&[0x22, 0, 0, 0x21, 0, 1, 0x27, 0, 0, 1, 0]);
    let answer = accepted(&[0x22, 0, 0, 0x21, 0, 1]);
    let (mut link, mut server, connack) = ground.open("mqtt", &hello, &answer).await;
    assert_eq!(connack.body()[1], 0);
    fence(&mut link, &mut server).await;
}

async fn who_wants_no_texts_gets_none(version: Version) {
    let ground = Ground::new().await;
    let hello = client(version).properties(&[0x17, 0]);
    let answer = connack(version, 0);
    let (mut link, mut server, _) = ground.open("acl", &hello, &answer).await;
    for (qos, first) in [(1, 0x40), (2, 0x50)] {
        let publish = Publish::new(version, "denied/x").qos(qos, 7);
        link.send(&publish.bytes("x")).await;
        link.expect(&[first, 3, 0, 7, 0x87]).await;
    }
    link.send(&subscribe(version, 8, &[("denied/#", 0)])).await;
    link.expect(&[0x90, 4, 0, 8, 0, 0x87]).await;
    fence(&mut link, &mut server).await;
    // a broker that takes next to nothing, so that there is something to say
    let answer = accepted(&[0x27, 0, 0, 0, 50]);
    let (mut link, mut server, _) = ground.open("map", &hello, &answer).await;
    let filters = [("a", 0), ("b", 0), ("c", 0)];
    link.send(&subscribe(version, 8, &filters)).await;
    link.expect(&[0x90, 6, 0, 8, 0, 0x97, 0x97, 0x97]).await;
    fence(&mut link, &mut server).await;
}

async fn a_password_is_shown_to_nobody(version: Version) {
    for value in WhenUnreachable::BOTH {
        a_password_is_not_shown(version, value).await;
    }
}

async fn a_password_is_not_shown(version: Version, value: WhenUnreachable) {
    let ground = Ground::with(|setup| {
        value
            .when_unreachable(setup)
            .log_level("trace")
            .toml("[layers.log]\ntype = \"access-log\"\n")
            .set("chains.acl.layers", "[\"log\", \"acl\"]")
    })
    .await;
    let secret = "correct horse battery staple";
    for listener in ["mqtt", "acl"] {
        // in, refused by the broker, refused here, and not understood
        let hello = client(version).credentials("acme", secret);
        let answer = connack(version, 0);
        let (mut link, mut server, _) = ground.open(listener, &hello, &answer).await;
        fence(&mut link, &mut server).await;
        link.send(&DISCONNECT).await;
        server.expect(&DISCONNECT).await;
        let (link, mut server) = ground.asked(listener, &hello).await;
        let code = if version.is_v5() { 0x86 } else { 4 };
        server.send(&connack(version, code)).await;
        turned_away(link, Some(4), &[0x86]).await;
        let (link, server) = ground.asked(listener, &hello).await;
        drop(server);
        value.unavailable(link).await;
    }
    let mut link = ground.link("acl", version).await;
    let hello = client(version)
        .will("denied/w", "", 0, false)
        .credentials("acme", secret);
    link.send(&hello.bytes()).await;
    turned_away(link, Some(5), &[0x87]).await;
    let mut link = ground.link("acl", version).await;
    let broken = [&hello.bytes()[..], secret.as_bytes()].concat();
    link.send(&frame(0x10, &broken[2..])).await;
    let (packets, _) = link.rest().await;
    assert!(!format!("{packets:?}").contains("horse"));

    let metrics = ground.mproxy.metrics().await;
    assert!(!metrics.0.contains("horse"));
    let events = ground.mproxy.events();
    assert!(events.len() > 10, "nothing was logged");
    for event in events {
        let line = event.to_string();
        let hex = "686f727365"; // "horse"
        assert!(!line.contains("horse") && !line.contains(hex), "{line}");
    }
}

/// Where a listener takes whatever MQTT can express, the proxy adds no property, leaves none out and
/// moves none.
async fn an_offer_that_is_not_lowered_is_the_brokers_own(version: Version) {
    for most in [None, Some("256MiB"), Some("268435455B"), Some("268435460B")] {
        let ground = Ground::with(|setup| match most {
            Some(most) => setup.set_listeners("limits.max_packet_size", most),
            None => setup,
        })
        .await;
        let pair = |name: &str| [&[0x26][..], &field(name), &field("x")].concat();
        let rich = [
            &pair("first")[..],
            &[0x22, 0, 10, 0x12],
            &field("c9"),
            &[0x21, 0, 20, 0x13, 0, 60],
            &pair("last"),
        ]
        .concat();
        let sized = |size: u32| [&rich[..], &[0x27], &size.to_be_bytes()].concat();
        let offers = [
            Vec::new(),
            rich.clone(),
            sized(200),
            sized(268_435_455),
            sized(u32::MAX),
        ];
        for listener in ["mqtt", "acl"] {
            for block in &offers {
                let (mut link, mut server) = ground.asked(listener, &client(version)).await;
                let offer = accepted(block);
                down(&mut link, &mut server, &offer, &offer).await;
            }
            // and there is no limit that was not told: the longest packet there is has begun
            let (mut link, mut server, _) = ground
                .open(listener, &client(version), &accepted(&[]))
                .await;
            link.send(&[0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, b't', 0])
                .await;
            server.send(&PINGRESP).await;
            link.expect(&PINGRESP).await;
        }
    }
}

async fn the_lower_limit_is_offered_and_enforced(version: Version) {
    let ground = Ground::with(|setup| {
        let setup = setup.limit("max_packet_size", "1KiB");
        setup.set("listeners.acl.limits.max_packet_size", "1KiB")
    })
    .await;
    let value = |answer: &[u8], id: u8, len: usize| {
        let at = answer
            .iter()
            .position(|byte| *byte == id)
            .expect("it is told");
        answer[at + 1..][..len]
            .iter()
            .fold(0, |value, byte| value << 8 | u32::from(*byte))
    };
    for listener in ["mqtt", "acl"] {
        for (broker, told) in [(None, 1024), (Some(100_000_u32), 1024), (Some(200), 200)] {
            let block = broker.map(|size| [&[0x27][..], &size.to_be_bytes()].concat());
            let answer = accepted(&block.unwrap_or_default());
            let (mut link, mut server, connack) =
                ground.open(listener, &client(version), &answer).await;
            assert_eq!(value(&connack.body()[3..], 0x27, 4), told, "{connack:?}");
            // as large as may be, and one larger
            let room = told as usize - 2 - 3 - 1 - usize::from(told > 129);
            let fits = Publish::new(version, "t").bytes(vec![7; room]);
            assert_eq!(fits.len(), told as usize);
            up(&mut link, &mut server, &fits, &fits).await;
            let larger = Publish::new(version, "t").bytes(vec![7; room + 1]);
            if told < 1024 && !strict() {
                // the broker's own limit, which the broker judges
                up(&mut link, &mut server, &larger, &larger).await;
                fence(&mut link, &mut server).await;
                continue;
            }
            link.send(&larger).await;
            both_end(link, server, &[0x95]).await;
        }
    }
    // aliases: as many as the broker takes, and where packets are looked at no more than a few
    for (listener, broker, most) in [("mqtt", 1000, 1000), ("acl", 1000, 16), ("acl", 3, 3)] {
        let [high, low] = u16::to_be_bytes(broker);
        let answer = accepted(&[0x22, high, low]);
        let (mut link, server, connack) = ground.open(listener, &client(version), &answer).await;
        let told = value(&connack.body()[3..], 0x22, 2);
        assert_eq!(told, most, "{connack:?}");
        let [_, _, high, low] = (told + 1).to_be_bytes();
        let alias = [0x23, high, low];
        link.send(&Publish::new(version, "t").properties(&alias).bytes("x"))
            .await;
        both_end(link, server, &[0x94]).await;
    }
    // what is the broker's alone passes
    for block in [
        &[0x21, 0, 5][..],
        &[0x24, 0],
        &[0x25, 0],
        &[0x28, 0],
        &[0x29, 0],
        &[0x2a, 0],
        &[0x13, 0, 60],
        &[0x11, 0, 0, 0, 7],
    ] {
        let answer = accepted(block);
        let (_link, _server, connack) = ground.open("acl", &client(version), &answer).await;
        let told = connack.body().windows(block.len()).any(|it| it == block);
        assert!(told, "{connack:?}");
    }
}

async fn a_connack_does_not_outgrow_its_client(version: Version) {
    let ground = Ground::new().await;
    for most in 5_u8..16 {
        let limit = [0x27, 0, 0, 0, most];
        let hello = client(version).properties(&limit);
        // accepted: what the proxy adds does not fit into what the client takes
        let (_link, _server, answer) = ground.open("mqtt", &hello, &connack(version, 0)).await;
        assert!(answer.bytes().len() <= usize::from(most), "{answer:?}");
    }
}

/// The text is left out, or the refusal.
async fn a_refusal_does_not_outgrow_its_client(version: Version) {
    let ground = Ground::new().await;
    for most in [5_u8, 12] {
        let hello = client(version).properties(&[0x27, 0, 0, 0, most]);
        let mut link = ground.link("acl", version).await;
        let hello = hello.will("denied/will", "", 0, false);
        link.send(&hello.bytes()).await;
        link.expect(&[0x20, 3, 0, 0x87, 0]).await;
        link.closed().await;
    }
}

async fn a_refusal_in_other_words_is_understood(version: Version) {
    let ground = Ground::new().await;
    // in the words of 3.1.1, which a client of 5.0 understands when it tries an older version; or in the broker's own
    let codes = match version {
        Version::V5 => [1, 2, 3, 4, 5],
        _ => [6, 7, 0x7f, 0x80, 0xff],
    };
    for listener in ["mqtt", "acl"] {
        for code in codes {
            let (mut link, mut server) = ground.asked(listener, &client(version)).await;
            let refusal = [0x20, 2, 0, code];
            if version != Version::V5 && strict() {
                server.send(&refusal).await;
            } else {
                down(&mut link, &mut server, &refusal, &refusal).await;
            }
            link.closed().await;
            server.closed().await;
        }
    }
}

/// What a broker says to send its clients elsewhere.
fn elsewhere(code: u8) -> [Vec<u8>; 2] {
    let block = [&user_property("a", "b")[..], &[0x1c], &field("inner:1883")].concat();
    [
        frame(0x20, &[&[0, code][..], &properties(&block)].concat()),
        frame(0xe0, &[&[code][..], &properties(&block)].concat()),
    ]
}

/// Whoever follows goes around the proxy, and sees addresses that are none of its business.
async fn other_servers_are_not_named(version: Version) {
    let ground = Ground::new().await;
    for code in [0x9c, 0x9d] {
        for listener in ["mqtt", "acl"] {
            let block = properties(&user_property("a", "b"));
            let [refusal, goodbye] = elsewhere(code);
            let (mut link, mut server) = ground.asked(listener, &client(version)).await;
            server.send(&refusal).await;
            let stripped = frame(0x20, &[&[0, code][..], &block].concat());
            link.expect(&stripped).await;
            link.closed().await;
            let (mut link, mut server) = ground.pair(listener, version).await;
            server.send(&goodbye).await;
            let stripped = frame(0xe0, &[&[code][..], &block].concat());
            link.expect(&stripped).await;
            link.closed().await;
        }
    }
    // also together with success
    let answer = accepted(&[&[0x1c][..], &field("inner:1883")].concat());
    let (_link, _server, connack) = ground.open("mqtt", &client(version), &answer).await;
    let told = connack.bytes().windows(5).any(|it| it == b"inner");
    assert!(!told, "{connack:?}");
}

async fn other_servers_are_named_where_that_is_wanted(version: Version) {
    let ground = Ground::with(|setup| setup.set("listeners.mqtt.server_reference", "pass")).await;
    for code in [0x9c, 0x9d] {
        let [refusal, goodbye] = elsewhere(code);
        let (mut link, mut server) = ground.asked("mqtt", &client(version)).await;
        server.send(&refusal).await;
        link.expect(&refusal).await;
        link.closed().await;
        let (mut link, mut server) = ground.pair("mqtt", version).await;
        server.send(&goodbye).await;
        link.expect(&goodbye).await;
        link.closed().await;
    }
}

async fn response_information_is_mapped_or_kept(version: Version) {
    let ground = Ground::new().await;
    let hello = client(version).properties(&[0x19, 1]);
    let about = |topic: &str| [&[0x1a][..], &field(topic)].concat();
    for (answer, mapped) in [
        ("tenants/acme/answers/c", Some("answers/c")),
        ("tenants/other/answers/c", None),
        ("answers/c", None),
    ] {
        let sent = accepted(&about(answer));
        let (_link, _server, connack) = ground.open("map", &hello, &sent).await;
        let block = &connack.body()[3..];
        let at = block.iter().position(|byte| *byte == 0x1a);
        if let Some(at) = at {
            // if anything is said of it, then this
            let mapped = about(mapped.expect("it is kept from the client"));
            assert!(block[at..].starts_with(&mapped), "{connack:?}");
        }
        let seen = connack.bytes().windows(7).any(|it| it == b"tenants");
        assert!(!seen, "{connack:?}");
    }
    // where nothing is mapped it passes
    let sent = accepted(&about("answers/c"));
    let (_link, _server, connack) = ground.open("mqtt", &hello, &sent).await;
    let told = connack.bytes().windows(9).any(|it| it == b"answers/c");
    assert!(told, "{connack:?}");
}
