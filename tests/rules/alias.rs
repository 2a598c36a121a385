//! Topic aliases of MQTT 5.0, in both directions.

use mproxy_tests::Link;
use mproxy_tests::wire::{PINGREQ, PINGRESP, Publish, Version, connack, field, puback};

use crate::ground::{Ground, PREFIX, both_close, both_end, client, down, fence, up};
use crate::packets::accepted;

tests! {
    an_alias_is_within_what_was_announced [r81] in v5;
    an_empty_topic_stands_for_one [r82] in v5;
    a_rule_sees_the_topic_behind_an_alias [r83] in v5;
    an_alias_of_a_refused_publish_is_known [r84 r86] in v5;
    an_alias_that_was_bound_anew_means_the_new_topic [r85] in v5;
    an_alias_means_the_same_on_both_sides [r86] in v5;
    tables_are_bounded_in_number [r87] in v5;
    tables_are_bounded_in_bytes [r87] in v5;
    aliases_end_with_their_connection [r88] in v5;
    aliases_of_the_broker_are_no_different [r89] in v5;
    aliases_that_the_client_does_not_take_are_none [r89] in v5;
}

/// A PUBLISH of QoS 1 with an alias.
fn aliased(topic: &str, alias: u16) -> Publish {
    let [high, low] = alias.to_be_bytes();
    Publish::new(Version::V5, topic)
        .qos(1, 9)
        .properties(&[0x23, high, low])
}

/// Both sides take ten aliases.
async fn pair(ground: &Ground, listener: &str) -> (Link, Link) {
    let hello = client(Version::V5).properties(&[0x22, 0, 10]);
    let answer = accepted(&[0x22, 0, 10]);
    let (client, server, _) = ground.open(listener, &hello, &answer).await;
    (client, server)
}

async fn refused(link: &mut Link, publish: &Publish) {
    link.send(&publish.bytes("no")).await;
    link.expect(&[0x40, 3, 0, 9, 0x87]).await;
}

async fn an_alias_is_within_what_was_announced(version: Version) {
    let ground = Ground::new().await;
    for listener in ["mqtt", "acl", "map"] {
        for alias in [0, 11, 65_535] {
            let (mut link, server) = pair(&ground, listener).await;
            link.send(&aliased("t", alias).bytes("x")).await;
            both_end(link, server, &[0x94]).await;
            let (link, mut server) = pair(&ground, listener).await;
            server
                .send(&aliased("tenants/acme/t", alias).bytes("x"))
                .await;
            both_close(link, server).await;
        }
        // nothing was announced
        let (mut link, server) = ground.pair(listener, version).await;
        link.send(&aliased("t", 1).bytes("x")).await;
        both_end(link, server, &[0x94]).await;
        // nor before CONNACK, whatever it will say
        let mut link = ground.link(listener, version).await;
        let early = aliased("t", 1).bytes("x");
        link.send(&[client(version).bytes(), early].concat()).await;
        let mut server = ground.broker.session().await;
        server.accept().await;
        link.packet().await;
        both_end(link, server, &[0x94]).await;
        // the last one may be used
        let (mut link, mut server) = pair(&ground, listener).await;
        link.send(&aliased("t", 10).bytes("x")).await;
        let message = server.message().await;
        assert!(message.topic.ends_with('t'), "{message:?}");
    }
}

async fn an_empty_topic_stands_for_one(version: Version) {
    let ground = Ground::new().await;
    for listener in ["mqtt", "acl", "map"] {
        let nothing = Publish::new(version, "").qos(1, 9);
        for publish in [nothing.clone(), aliased("", 1)] {
            let (mut link, server) = pair(&ground, listener).await;
            link.send(&publish.bytes("x")).await;
            both_end(link, server, &[0x82]).await;
            let (link, mut server) = pair(&ground, listener).await;
            server.send(&publish.bytes("x")).await;
            both_close(link, server).await;
        }
        // another one is bound
        let (mut link, mut server) = pair(&ground, listener).await;
        link.send(&aliased("t", 1).bytes("x")).await;
        server.message().await;
        link.send(&aliased("", 2).bytes("x")).await;
        both_end(link, server, &[0x82]).await;
    }
}

async fn a_rule_sees_the_topic_behind_an_alias(_: Version) {
    let ground = Ground::new().await;
    let (mut link, mut server) = pair(&ground, "acl").await;
    refused(&mut link, &aliased("denied/x", 1)).await;
    for _ in 0..3 {
        refused(&mut link, &aliased("", 1)).await;
    }
    fence(&mut link, &mut server).await;
    // the log has the topic, and not nothing
    for event in ground.mproxy.events() {
        assert!(event["topic"] != "", "{event}");
    }
    // and what is allowed passes
    link.send(&aliased("t", 2).bytes("yes")).await;
    assert_eq!(server.message().await.topic, "t");
    link.send(&aliased("", 2).bytes("yes")).await;
    let message = server.message().await;
    assert!(["", "t"].contains(&&*message.topic), "{message:?}");
}

/// By a rule that allows the topic for a client but not each of its payloads it would be seen at
/// once; here the PUBLISH is refused for its Response Topic.
async fn an_alias_of_a_refused_publish_is_known(version: Version) {
    let ground = Ground::with(|setup| {
        let setup = setup.set("chains.map.layers", "[\"acl\", \"map\"]");
        setup.set("layers.acl.check_response_topics", "true")
    })
    .await;
    for (listener, prefix) in [("acl", ""), ("map", PREFIX)] {
        let answer = accepted(&[0x22, 0, 10]);
        let (mut link, mut server, _) = ground.open(listener, &client(version), &answer).await;
        // refused for where it wants to be answered, not for its topic
        let answers = [&[0x23, 0, 1, 0x08][..], &field("denied/x")].concat();
        let asks = Publish::new(version, "t").qos(1, 7).properties(&answers);
        link.send(&asks.bytes("no")).await;
        let answer = link.packet().await;
        assert_eq!(
            (answer.first(), answer.body()[2]),
            (0x40, 0x87),
            "{answer:?}"
        );
        fence(&mut link, &mut server).await;
        // the broker has never heard of it
        link.send(&aliased("", 1).bytes("yes")).await;
        let message = server.message().await;
        assert_eq!(
            (message.topic, message.payload),
            (format!("{prefix}t"), b"yes".to_vec())
        );
        // and now it has
        link.send(&aliased("", 1).bytes("more")).await;
        let message = server.message().await;
        assert!(["", "t", "tenants/acme/t"].contains(&&*message.topic));
        assert_eq!(message.text(), "more");
    }
}

async fn an_alias_that_was_bound_anew_means_the_new_topic(_: Version) {
    let ground = Ground::new().await;
    let (mut link, mut server) = pair(&ground, "acl").await;
    link.send(&aliased("t", 1).bytes("yes")).await;
    assert_eq!(server.message().await.topic, "t");
    refused(&mut link, &aliased("denied/x", 1)).await;
    refused(&mut link, &aliased("", 1)).await;
    fence(&mut link, &mut server).await;
    // the other way round
    link.send(&aliased("u", 1).bytes("yes")).await;
    assert_eq!(server.message().await.topic, "u");
    link.send(&aliased("", 1).bytes("yes")).await;
    let message = server.message().await;
    assert!(["", "u"].contains(&&*message.topic), "{message:?}");
}

/// What an alias means at a receiver that follows what it is sent.
#[derive(Default)]
struct Receiver(std::collections::BTreeMap<u8, String>);

impl Receiver {
    fn topic(&mut self, message: &mproxy_tests::wire::Message) -> String {
        let at = message.properties.iter().position(|byte| *byte == 0x23);
        let alias = at.map(|at| message.properties[at + 2]);
        if message.topic.is_empty() {
            let alias = alias.expect("an alias in place of the topic");
            return self.0[&alias].clone();
        }
        if let Some(alias) = alias {
            self.0.insert(alias, message.topic.clone());
        }
        message.topic.clone()
    }
}

async fn an_alias_means_the_same_on_both_sides(version: Version) {
    let ground = Ground::new().await;
    let script = [
        ("a", 1),
        ("b", 2),
        ("", 1),
        ("", 2),
        ("b", 1),
        ("", 1),
        ("a", 2),
        ("", 2),
        ("", 1),
        ("a", 1),
        ("", 1),
    ];
    for (listener, prefix) in [("mqtt", ""), ("acl", ""), ("map", PREFIX)] {
        let (mut link, mut server) = pair(&ground, listener).await;
        let (mut broker, mut device) = (Receiver::default(), Receiver::default());
        let mut bound = std::collections::BTreeMap::new();
        for (topic, alias) in script {
            if !topic.is_empty() {
                bound.insert(alias, topic);
            }
            let meant = bound[&alias];
            link.send(&aliased(topic, alias).bytes(meant)).await;
            let message = server.message().await;
            assert_eq!(broker.topic(&message), format!("{prefix}{meant}"));
            assert_eq!(message.text(), meant);
        }
        bound.clear();
        for (topic, alias) in script {
            let mut full = String::new();
            if !topic.is_empty() {
                bound.insert(alias, topic);
                full = format!("{prefix}{topic}");
            }
            let meant = bound[&alias];
            server.send(&aliased(&full, alias).bytes(meant)).await;
            let message = link.message().await;
            assert_eq!(device.topic(&message), meant);
            assert_eq!(message.text(), meant);
        }
    }
    // where a broker takes none, it gets none
    let hello = client(version).properties(&[0x22, 0, 10]);
    let (mut link, mut server, _) = ground.open("map", &hello, &connack(version, 0)).await;
    let own = Publish::new(version, "t").bytes("x");
    let mapped = Publish::new(version, "tenants/acme/t").bytes("x");
    up(&mut link, &mut server, &own, &mapped).await;
}

async fn tables_are_bounded_in_number(version: Version) {
    let ground = Ground::new().await;
    let told = |packet: &[u8]| {
        let at = packet.windows(1).position(|it| it == [0x22]);
        at.map_or(0, |at| u16::from_be_bytes([packet[at + 1], packet[at + 2]]))
    };
    // how many each side is told where somebody looks at what the other sends: a table of names is
    // kept there; elsewhere aliases pass, as many as the two agree on
    const ALL: u16 = u16::MAX;
    for (listener, most_up, most_down) in [
        ("mqtt", ALL, ALL),
        ("acl", 16, ALL),
        ("read", 16, 16),
        ("map", 16, 16),
    ] {
        let hello = client(version).properties(&[0x22, 0xff, 0xff]);
        let mut link = ground.link(listener, version).await;
        link.send(&hello.bytes()).await;
        let mut server = ground.broker.session().await;
        let connect = server.packet().await;
        server.send(&accepted(&[0x22, 0xff, 0xff])).await;
        let connack = link.packet().await;
        let (up, down) = (told(&connack.body()[3..]), told(&connect.body()[10..]));
        assert_eq!((up, down), (most_up, most_down), "{listener}");
        // and the last of them can be used, in both directions
        let mut link = link;
        for (alias, from_client) in [(most_up, true), (most_down, false)] {
            for topic in ["tenants/acme/t", ""] {
                let publish = aliased(topic, alias).bytes("x");
                let (sender, receiver) = if from_client {
                    (&mut link, &mut server)
                } else {
                    (&mut server, &mut link)
                };
                sender.send(&publish).await;
                let received = receiver.packet().await;
                if listener != "map" {
                    assert_eq!(received.bytes(), publish, "{listener}");
                }
            }
        }
    }
}

/// 16 topics of 65,535 bytes are a megabyte for each side of a connection.
async fn tables_are_bounded_in_bytes(_: Version) {
    let ground = Ground::new().await;
    let topic = |number: u16| format!("{number:02}{}", "x".repeat(20_000));
    let (mut link, mut server) = pair(&ground, "acl").await;
    for number in 1..=3 {
        link.send(&aliased(&topic(number), number).bytes("x")).await;
        assert!(server.message().await.topic.ends_with('x'));
    }
    // bound anew, it takes the place of what it was
    link.send(&aliased(&topic(4), 3).bytes("x")).await;
    server.message().await;
    link.send(&aliased(&topic(5), 4).bytes("x")).await;
    both_end(link, server, &[0x97]).await;

    let (mut link, mut server) = pair(&ground, "read").await;
    for number in 1..=3 {
        server
            .send(&aliased(&topic(number), number).bytes("x"))
            .await;
        assert!(link.message().await.topic.ends_with('x'));
    }
    server.send(&aliased(&topic(4), 4).bytes("x")).await;
    both_close(link, server).await;

    // where the two sides know different topics, both count
    let (mut link, mut server) = pair(&ground, "map").await;
    for number in 1..=4 {
        link.send(&aliased(&topic(number), number).bytes("x")).await;
        match server.packet_or_end().await {
            Some(packet) => assert!(packet.kind() == 3 && number < 4, "{packet:?}"),
            None => break,
        }
    }
    both_end(link, server, &[0x97]).await;
}

async fn aliases_end_with_their_connection(_: Version) {
    let ground = Ground::new().await;
    for listener in ["mqtt", "acl", "map"] {
        let (mut old, mut old_server) = pair(&ground, listener).await;
        old.send(&aliased("t", 1).bytes("x")).await;
        old_server.message().await;
        // the same client, while the old connection is there and after it
        let mut old = Some((old, old_server));
        for _ in 0..2 {
            let (mut link, server) = pair(&ground, listener).await;
            link.send(&aliased("", 1).bytes("x")).await;
            both_end(link, server, &[0x82]).await;
            let (link, mut server) = pair(&ground, listener).await;
            server.send(&aliased("", 1).bytes("x")).await;
            both_close(link, server).await;
            if let Some((mut link, mut server)) = old.take() {
                fence(&mut link, &mut server).await;
            }
        }
    }
}

async fn aliases_of_the_broker_are_no_different(_: Version) {
    let ground = Ground::new().await;
    let (mut link, mut server) = pair(&ground, "read").await;
    // dropped, and acknowledged in the client's name
    for topic in ["denied/x", ""] {
        server.send(&aliased(topic, 1).bytes("no")).await;
        server.expect(&puback(9)).await;
    }
    // bound to what passes, and bound anew
    server.send(&aliased("t", 1).bytes("yes")).await;
    assert_eq!(link.message().await.topic, "t");
    server.send(&aliased("denied/y", 1).bytes("no")).await;
    server.expect(&puback(9)).await;
    server.send(&aliased("", 1).bytes("no")).await;
    server.expect(&puback(9)).await;
    server.send(&PINGRESP).await;
    link.expect(&PINGRESP).await;
    // what is not the client's under a prefix
    let (mut link, mut server) = pair(&ground, "map").await;
    for topic in ["tenants/other/x", ""] {
        server.send(&aliased(topic, 1).bytes("no")).await;
        server.expect(&puback(9)).await;
    }
    server
        .send(&aliased("tenants/acme/t", 1).bytes("yes"))
        .await;
    assert_eq!(link.message().await.topic, "t");
    up(&mut link, &mut server, &PINGREQ, &PINGREQ).await;
}

async fn aliases_that_the_client_does_not_take_are_none(version: Version) {
    let ground = Ground::new().await;
    for listener in ["mqtt", "read", "map"] {
        for hello in [client(version), client(version).properties(&[0x22, 0, 0])] {
            let answer = connack(version, 0);
            let (mut link, mut server, _) = ground.open(listener, &hello, &answer).await;
            let full = Publish::new(version, "tenants/acme/t").bytes("x");
            let own = if listener == "map" {
                "t"
            } else {
                "tenants/acme/t"
            };
            let own = Publish::new(version, own).bytes("x");
            down(&mut link, &mut server, &full, &own).await;
            server.send(&aliased("tenants/acme/t", 1).bytes("x")).await;
            both_close(link, server).await;
        }
    }
}
