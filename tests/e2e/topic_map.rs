//! The layer `topic-map`, from inside, where a tenant sees topics of its own only, and from outside,
//! at a real broker.

use mproxy_tests::clients::{MosquittoSub, mosquitto_pub};
use mproxy_tests::wire::{
    Connect, Message, Publish, Version, connack, field, frame, properties, puback, suback,
    subscribe, unsubscribe,
};
use mproxy_tests::{FakeBroker, Link, Mosquitto, Mproxy, Setup};

const TENANTS: &str = r#"
[chains.default]
layers = ["tenant"]
[layers.tenant]
type = "topic-map"
prefix = "tenants/${username}/"
"#;

fn tenants(upstream: &str) -> Setup {
    Setup::before(upstream).toml(TENANTS)
}

async fn tenant(mproxy: &Mproxy, version: Version, client_id: &str, username: &str) -> Link {
    let mut link = Link::tcp(mproxy.addr()).await;
    link.connect(&Connect::new(version, client_id).username(username))
        .await;
    link
}

#[tokio::test]
async fn a_tenant_sees_topics_of_its_own_only() {
    let broker = Mosquitto::start().await;
    let mproxy = tenants(&broker.url()).start().await;
    for version in Version::ALL {
        let mut outside = Link::client(broker.addr(), version, "outside").await;
        outside.subscribe("tenants/#", 0).await;
        let mut acme = tenant(&mproxy, version, "a", "acme").await;
        let mut other = tenant(&mproxy, version, "b", "other").await;

        // up: the prefix is there
        acme.send(&Publish::new(version, "up").bytes("1")).await;
        let message = outside.message().await;
        assert_eq!((&*message.topic, message.text()), ("tenants/acme/up", "1"));

        // down: it is gone; `#` is everything of one's own
        acme.subscribe("#", 0).await;
        other.subscribe("#", 0).await;
        for topic in ["down", "tenants", "tenants/other/down", "tenants/acme/a/b"] {
            outside.send(&Publish::new(version, topic).bytes("2")).await;
        }
        // what would be nothing without the prefix, and what `#` must not match
        for topic in ["tenants/acme", "tenants/acme/$SYS/x"] {
            outside.send(&Publish::new(version, topic).bytes("3")).await;
        }
        outside
            .send(&Publish::new(version, "tenants/acme/fence").bytes("4"))
            .await;
        assert_eq!(acme.message().await.topic, "a/b");
        assert_eq!(acme.message().await.topic, "fence");
        assert_eq!(other.message().await.topic, "down");
        acme.silent().await;
        other.silent().await;

        // one tenant's message is not another's
        other.send(&Publish::new(version, "hello").bytes("5")).await;
        assert_eq!(other.message().await.topic, "hello");
        acme.silent().await;
        for link in [acme, other] {
            link.leave().await;
        }
        drop(outside);
    }
}

#[tokio::test]
async fn retained_messages_wills_and_unsubscribe_are_mapped_like_the_rest() {
    let broker = Mosquitto::start().await;
    let mproxy = tenants(&broker.url()).start().await;
    for version in Version::ALL {
        let mut outside = Link::client(broker.addr(), version, "outside").await;

        // retained: left behind from inside and from outside, found from both
        let mut acme = tenant(&mproxy, version, "a", "acme").await;
        acme.send(&Publish::new(version, "kept").retain().qos(1, 1).bytes("in"))
            .await;
        assert_eq!(acme.packet().await.kind(), 4);
        let put = Publish::new(version, "tenants/acme/put").retain().qos(1, 2);
        outside.send(&put.bytes("out")).await;
        assert_eq!(outside.packet().await.kind(), 4);
        outside.subscribe("tenants/acme/kept", 0).await;
        let message = outside.message().await;
        assert!(
            message.retain && message.topic == "tenants/acme/kept",
            "{message:?}"
        );
        acme.subscribe("+", 0).await;
        let mut found = [acme.message().await, acme.message().await];
        found.sort_by(|a, b| a.topic.cmp(&b.topic));
        assert_eq!(found.each_ref().map(|it| &*it.topic), ["kept", "put"]);
        assert!(found.iter().all(|message| message.retain), "{found:?}");

        // UNSUBSCRIBE meets the filter that SUBSCRIBE left
        let leave = unsubscribe(version, 7, &["+"]);
        acme.send(&leave).await;
        let answer = acme.packet().await;
        assert_eq!((answer.kind(), answer.id()), (11, 7));
        if version.is_v5() {
            assert_eq!(answer.body()[3..], [0], "the broker knew the filter");
        }
        outside
            .send(&Publish::new(version, "tenants/acme/put").bytes("again"))
            .await;
        outside.silent().await;
        acme.silent().await;
        // will
        let will = Connect::new(version, "w")
            .username("acme")
            .will("gone", "bye", 0, false);
        let mut mortal = Link::tcp(mproxy.addr()).await;
        mortal.connect(&will).await;
        outside.subscribe("tenants/acme/gone", 0).await;
        for topic in ["tenants/acme/kept", "tenants/acme/put"] {
            outside
                .send(&Publish::new(version, topic).retain().bytes(""))
                .await;
        }
        mortal.reset();
        loop {
            let message = outside.message().await;
            if message.topic == "tenants/acme/gone" {
                assert_eq!(message.text(), "bye");
                break;
            }
        }
    }
}

/// Byte for byte, what the broker gets and what the client gets.
#[tokio::test]
async fn packets_are_changed_in_their_topics_and_nowhere_else() {
    let broker = FakeBroker::bind().await;
    let mproxy = tenants(&broker.url()).start().await;
    for version in Version::ALL {
        let mut client = Link::tcp(mproxy.addr()).await;
        let connect = Connect::new(version, "c").credentials("acme", "secret");
        client
            .send(&connect.clone().will("gone", "bye", 2, true).bytes())
            .await;
        let mut server = broker.session().await;
        let mapped = connect.will("tenants/acme/gone", "bye", 2, true).bytes();
        server.expect(&mapped).await;
        server.send(&connack(version, 0)).await;
        // its packets get longer by the prefix, in the topic and in the Response Topic: it is told
        // that they may not be quite as large as MQTT can say
        let announced = [0x20, 8, 0, 0, 5, 0x27, 0x0f, 0xff, 0xff, 0xe4];
        client
            .expect(&match version {
                Version::V31 | Version::V311 => connack(version, 0),
                Version::V5 => announced.to_vec(),
            })
            .await;

        let block = field("text/plain");
        let (inner, outer) = if version.is_v5() {
            // a Response Topic is a topic too: somebody publishes there
            let content = [&[0x03][..], &block].concat();
            (
                [&content[..], &[0x08], &field("answers")].concat(),
                [&content[..], &[0x08], &field("tenants/acme/answers")].concat(),
            )
        } else {
            (Vec::new(), Vec::new())
        };
        let inside = Publish::new(version, "a/b")
            .qos(2, 9)
            .retain()
            .properties(&inner);
        let outside = Publish::new(version, "tenants/acme/a/b").qos(2, 9).retain();
        let outside = outside.properties(&outer);
        client.send(&inside.bytes("x")).await;
        server.expect(&outside.bytes("x")).await;
        server.send(&outside.bytes("y")).await;
        client.expect(&inside.bytes("y")).await;

        let asked = [("a/#", 1), ("$share/g/+/b", 2), ("+", 0)];
        let mapped = [
            ("tenants/acme/a/#", 1),
            ("$share/acme:g/tenants/acme/+/b", 2),
            ("tenants/acme/+", 0),
        ];
        client.send(&subscribe(version, 3, &asked)).await;
        server.expect(&subscribe(version, 3, &mapped)).await;
        server.send(&suback(version, 3, &[1, 2, 0])).await;
        client.expect(&suback(version, 3, &[1, 2, 0])).await;

        let filters = asked.map(|(filter, _)| filter);
        let mapped = mapped.map(|(filter, _)| filter);
        client.send(&unsubscribe(version, 4, &filters)).await;
        server.expect(&unsubscribe(version, 4, &mapped)).await;

        // the broker's own topics mean nothing behind a prefix
        let no = if version.is_v5() { 0x8f } else { 0x80 };
        let mixed = subscribe(version, 5, &[("$SYS/#", 0), ("mine", 0)]);
        client.send(&mixed).await;
        server
            .expect(&subscribe(version, 5, &[("tenants/acme/mine", 0)]))
            .await;
        server.send(&suback(version, 5, &[0])).await;
        client.expect(&suback(version, 5, &[no, 0])).await;
        client
            .send(&Publish::new(version, "$SYS/x").qos(1, 6).bytes(""))
            .await;
        let answer = client.packet().await;
        assert_eq!((answer.kind(), answer.id()), (4, 6), "{answer:?}");
        client.send(&[0xc0, 0]).await;
        server.expect(&[0xc0, 0]).await;
    }
}

/// Shared subscriptions stay shared: each message goes to one of the group.
#[tokio::test]
async fn a_shared_subscription_is_shared_within_the_tenant() {
    let broker = Mosquitto::start().await;
    let mproxy = tenants(&broker.url()).start().await;
    let version = Version::V5;
    let mut one = tenant(&mproxy, version, "one", "acme").await;
    let mut two = tenant(&mproxy, version, "two", "acme").await;
    let mut stranger = tenant(&mproxy, version, "stranger", "other").await;
    for link in [&mut one, &mut two, &mut stranger] {
        link.subscribe("$share/group/jobs", 0).await;
    }
    let mut publisher = tenant(&mproxy, version, "publisher", "acme").await;
    for number in 0..10_u8 {
        publisher
            .send(&Publish::new(version, "jobs").bytes([number]))
            .await;
    }
    publisher.silent().await;
    let mut jobs = Vec::new();
    for link in [&mut one, &mut two] {
        link.send(&[0xc0, 0]).await;
        loop {
            let packet = link.packet().await;
            if packet.kind() == 13 {
                break;
            }
            let message = Message::of(&packet, version);
            assert_eq!(message.topic, "jobs");
            jobs.extend(message.payload);
        }
    }
    jobs.sort_unstable();
    assert_eq!(jobs, (0..10).collect::<Vec<_>>());
    stranger.silent().await;
}

/// Whoever has no name of its own has no place of its own, and is not let in: with an empty level
/// in the prefix, or a wildcard, it would be in the place of others.
#[tokio::test]
async fn a_client_whose_name_makes_no_prefix_is_not_let_in() {
    let broker = FakeBroker::bind().await;
    let mproxy = tenants(&broker.url()).start().await;
    for version in Version::ALL {
        for username in [None, Some(""), Some("#"), Some("+"), Some("acme/x")] {
            let mut connect = Connect::new(version, "c");
            if let Some(username) = username {
                connect = connect.username(username);
            }
            let mut client = Link::tcp(mproxy.addr()).await;
            client.send(&connect.bytes()).await;
            let answer = client.packet().await;
            assert_eq!(answer.kind(), 2);
            assert!(answer.body()[1] > 0, "{version:?} {username:?}: {answer:?}");
            client.closed().await;
        }
    }
    // the first that the broker hears of anybody
    let acme = tenant(&mproxy, Version::V311, "first", "acme");
    let (_, (_, connect)) = tokio::join!(acme, broker.accept());
    let expected = Connect::new(Version::V311, "first").username("acme");
    assert_eq!(connect.bytes(), expected.bytes());
}

/// The broker may use aliases of its own: they lead to the topics that the client knows.
#[tokio::test]
async fn an_alias_of_the_broker_means_the_topic_without_its_prefix() {
    let broker = FakeBroker::bind().await;
    let mproxy = tenants(&broker.url()).start().await;
    let mut client = Link::tcp(mproxy.addr()).await;
    // the client takes ten of them
    let connect = Connect::new(Version::V5, "c").username("acme");
    let connect = connect.properties(&[0x22, 0, 10]);
    let (_, (mut server, _)) = tokio::join!(client.connect(&connect), broker.accept());
    let alias = |topic: &str| Publish::new(Version::V5, topic).properties(&[0x23, 0, 1]);
    for topic in ["tenants/acme/down", "", ""] {
        server.send(&alias(topic).bytes("x")).await;
    }
    // bound anew by one that is dropped: what follows belongs to that one
    for topic in ["tenants/other/down", ""] {
        server.send(&alias(topic).bytes("not yours")).await;
    }
    server.send(&alias("tenants/acme/fence").bytes("y")).await;
    let mut known = String::new();
    for payload in ["x", "x", "x", "y"] {
        let message = client.message().await;
        if !message.topic.is_empty() {
            known.clone_from(&message.topic);
        }
        assert_eq!(message.text(), payload, "{message:?}");
        let expected = if payload == "x" { "down" } else { "fence" };
        assert_eq!(known, expected);
    }
}

/// With programs that people use.
#[tokio::test]
async fn mosquitto_clients_do_not_notice() {
    let broker = Mosquitto::start().await;
    let mproxy = tenants(&broker.url()).start().await;
    for version in Version::ALL {
        let args = ["-u", "acme", "-q", "1", "-t", "room/1"];
        let inside = MosquittoSub::start(mproxy.addr(), version, &args).await;
        let args = ["-q", "1", "-t", "#"];
        let outside = MosquittoSub::start(broker.addr(), version, &args).await;
        let args = ["-u", "acme", "-q", "1", "-t", "room/1", "-m", "hi"];
        let (code, output) = mosquitto_pub(mproxy.addr(), version, &args).await;
        assert_eq!(code, 0, "{output}");
        inside.message("room/1 1 0 2 6869").await;
        outside.message("tenants/acme/room/1 1 0 2 6869").await;
    }
}

/// In the stack above the rules are about the client's topics, in both directions; their order in
/// `layers` is the order in which packets meet them.
#[tokio::test]
async fn rules_outside_of_the_map_speak_about_the_clients_topics() {
    let broker = Mosquitto::start().await;
    let mproxy = Setup::before(&broker.url())
        .toml(
            r#"
[chains.default]
layers = ["acl", "tenant"]
[layers.acl]
type = "acl"
subscribe = "mosquitto"
[[layers.acl.rules]]
name = "open"
allow = ["publish", "subscribe"]
topics = ["open/#"]
[layers.tenant]
type = "topic-map"
prefix = "tenants/${username}/"
"#,
        )
        .start()
        .await;
    let version = Version::V5;
    let mut outside = Link::client(broker.addr(), version, "outside").await;
    let mut acme = tenant(&mproxy, version, "a", "acme").await;
    acme.subscribe("#", 0).await;
    outside
        .send(&Publish::new(version, "tenants/acme/closed/x").bytes(""))
        .await;
    outside
        .send(&Publish::new(version, "tenants/acme/open/x").bytes(""))
        .await;
    assert_eq!(acme.message().await.topic, "open/x");
    acme.send(&Publish::new(version, "closed/x").qos(1, 1).bytes(""))
        .await;
    acme.expect(&[0x40, 3, 0, 1, 0x87]).await;
    outside.subscribe("tenants/acme/#", 0).await;
    acme.send(&Publish::new(version, "open/y").bytes("")).await;
    assert_eq!(outside.message().await.topic, "tenants/acme/open/y");
}

const RULES: &str = r#"
[chains.default]
layers = ["map"]
[layers.map]
type = "topic-map"
prefix = "tenants/${username}/"
vendor = ["queue", "exclusive", "delayed", "oshare"]
[layers.map.super]
usernames = ["ops"]
[[layers.map.rules]]
from = "news/"
to = "public/news/"
shared = true
[[layers.map.rules]]
from = "devices/"
to = "fleet/${username}/"
"#;

async fn admitted(mproxy: &Mproxy, broker: &FakeBroker, connect: &Connect) -> (Link, Link) {
    let mut client = Link::tcp(mproxy.addr()).await;
    let (_, (server, _)) = tokio::join!(client.connect(connect), broker.accept());
    (client, server)
}

/// Each topic goes where its rule says, there and back; what several rules are about at once is
/// refused.
#[tokio::test]
async fn rules_take_topics_to_different_places() {
    let broker = FakeBroker::bind().await;
    let mproxy = Setup::before(&broker.url()).toml(RULES).start().await;
    for version in Version::ALL {
        let acme = Connect::new(version, "a").username("acme");
        let (mut client, mut server) = admitted(&mproxy, &broker, &acme).await;
        for (inside, outside) in [
            ("devices/7/up", "fleet/acme/7/up"),
            ("devices", "fleet/acme"),
            ("news/today", "public/news/today"),
            ("other", "tenants/acme/other"),
        ] {
            let shared = inside.starts_with("news/");
            let inside = Publish::new(version, inside).bytes("x");
            let outside = Publish::new(version, outside).bytes("x");
            // what is shared is read, and not written
            client.send(&inside).await;
            if !shared {
                server.expect(&outside).await;
            }
            server.send(&outside).await;
            client.expect(&inside).await;
        }
        // holes in the map, and other people's places
        for topic in [
            "tenants/acme/devices/7",
            "tenants/acme/news/x",
            "fleet/other/7/up",
            "public",
            "devices/7/up",
        ] {
            server.send(&Publish::new(version, topic).bytes("no")).await;
        }
        let fence = [0xd0, 0];
        server.send(&fence).await;
        client.expect(&fence).await;

        let no = if version.is_v5() { 0x8f } else { 0x80 };
        let asked = [
            ("devices/#", 0),
            ("#", 0),
            ("+/x", 0),
            ("news/+", 0),
            ("$share/g/news/#", 0),
            ("other/#", 0),
        ];
        let mapped = [
            ("fleet/acme/#", 0),
            ("public/news/+", 0),
            ("$share/acme:g/public/news/#", 0),
            ("tenants/acme/other/#", 0),
        ];
        client.send(&subscribe(version, 3, &asked)).await;
        server.expect(&subscribe(version, 3, &mapped)).await;
        server.send(&suback(version, 3, &[0, 0, 0, 0])).await;
        client
            .expect(&suback(version, 3, &[0, no, no, 0, 0, 0]))
            .await;
        let asked = asked.map(|(filter, _)| filter);
        client.send(&unsubscribe(version, 4, &asked)).await;
        let mapped = mapped.map(|(filter, _)| filter);
        server.expect(&unsubscribe(version, 4, &mapped)).await;

        // the broker's forms, with the topic inside in its place
        let asked = [
            ("$queue/devices/#", 0),
            ("$exclusive/x", 0),
            ("$oshare/g/x", 0),
            ("$queue/news/#", 0),
            ("$local/x", 0),
            ("$queue/$SYS/#", 0),
        ];
        let mapped = [
            ("$queue/fleet/acme/#", 0),
            ("$exclusive/tenants/acme/x", 0),
            ("$oshare/acme:g/tenants/acme/x", 0),
        ];
        client.send(&subscribe(version, 5, &asked)).await;
        server.expect(&subscribe(version, 5, &mapped)).await;
        let delayed = Publish::new(version, "$delayed/5/devices/7").bytes("late");
        client.send(&delayed).await;
        let delayed = Publish::new(version, "$delayed/5/fleet/acme/7").bytes("late");
        server.expect(&delayed).await;

        // a will is a topic like any other
        let will = |topic: &str| acme.clone().will(topic, "bye", 0, false);
        let mut mortal = Link::tcp(mproxy.addr()).await;
        let will_inside = will("devices/gone");
        let (_, (_, connect)) = tokio::join!(mortal.connect(&will_inside), broker.accept());
        assert_eq!(connect.bytes(), will("fleet/acme/gone").bytes());

        // and who sees everything sees it as it is
        let ops = Connect::new(version, "o")
            .username("ops")
            .will("$SYS/x", "", 0, false);
        let mut operator = Link::tcp(mproxy.addr()).await;
        let (_, (mut server, connect)) = tokio::join!(operator.connect(&ops), broker.accept());
        assert_eq!(connect.bytes(), ops.bytes());
        let request = subscribe(version, 6, &[("#", 0), ("$share/g/tenants/#", 0)]);
        operator.send(&request).await;
        server.expect(&request).await;
        let message = Publish::new(version, "tenants/acme/x").bytes("");
        server.send(&message).await;
        operator.expect(&message).await;
    }
}

/// Two tenants and an operator at a real broker.
#[tokio::test]
async fn tenants_share_neither_topics_nor_groups_but_what_is_shared() {
    let broker = Mosquitto::start().await;
    let mproxy = Setup::before(&broker.url()).toml(RULES).start().await;
    for version in Version::ALL {
        let mut ops = tenant(&mproxy, version, "o", "ops").await;
        ops.subscribe("#", 0).await;
        let mut acme = tenant(&mproxy, version, "a", "acme").await;
        let mut other = tenant(&mproxy, version, "b", "other").await;
        acme.subscribe("devices/#", 0).await;
        other.subscribe("devices/#", 0).await;
        acme.send(&Publish::new(version, "devices/7").bytes("1"))
            .await;
        assert_eq!(ops.message().await.topic, "fleet/acme/7");
        assert_eq!(acme.message().await.topic, "devices/7");
        other.silent().await;

        // the same group, the same filter, and yet each tenant gets every message
        if version.is_v5() {
            for link in [&mut acme, &mut other] {
                link.subscribe("$share/readers/news/#", 0).await;
            }
            for number in 0..4_u8 {
                let news = Publish::new(version, "public/news/today").bytes([number]);
                ops.send(&news).await;
                for link in [&mut acme, &mut other] {
                    let message = link.message().await;
                    assert_eq!(
                        (&*message.topic, &*message.payload),
                        ("news/today", &[number][..])
                    );
                }
            }
        }
        for link in [acme, other] {
            link.leave().await;
        }
    }
}

/// Whatever one tenant published to a shared place, all others read.
#[tokio::test]
async fn tenants_read_what_is_shared_and_write_it_if_they_may() {
    let broker = Mosquitto::start().await;
    let closed = Setup::before(&broker.url()).toml(RULES).start().await;
    let shared = "shared = true\n";
    let writable = RULES.replace(shared, "shared = true\nwritable = true\n");
    let open = Setup::before(&broker.url()).toml(&writable).start().await;
    for version in Version::ALL {
        let mut other = tenant(&closed, version, "b", "other").await;
        other.subscribe("news/#", 0).await;
        let news = |id, payload: &str| {
            let publish = Publish::new(version, "news/today").qos(1, id);
            publish.bytes(payload)
        };

        let mut acme = tenant(&closed, version, "a", "acme").await;
        acme.send(&news(7, "no")).await;
        match version {
            Version::V5 => acme.expect(&[0x40, 3, 0, 7, 0x87]).await,
            _ => acme.expect(&puback(7)).await,
        }
        let denied = Connect::new(version, "w")
            .username("acme")
            .will("news/today", "no", 0, false);
        let mut client = Link::tcp(closed.addr()).await;
        client.send(&denied.bytes()).await;
        let answer = client.packet().await;
        assert_ne!(answer.body()[1], 0, "{version:?}: {answer:?}");
        acme.leave().await;

        let mut acme = tenant(&open, version, "a", "acme").await;
        acme.send(&news(8, "yes")).await;
        assert_eq!(acme.packet().await.kind(), 4);
        let message = other.message().await;
        assert_eq!((&*message.topic, message.text()), ("news/today", "yes"));
        let mut ops = tenant(&closed, version, "o", "ops").await;
        let publish = Publish::new(version, "public/news/today").bytes("ops");
        ops.send(&publish).await;
        assert_eq!(other.message().await.text(), "ops");
        for link in [acme, other, ops] {
            link.leave().await;
        }
    }
}

/// The broker says below what it answers: the client must be told in its own words, or not at all.
#[tokio::test]
async fn response_information_is_mapped_back_or_left_out() {
    let broker = FakeBroker::bind().await;
    let mproxy = tenants(&broker.url()).start().await;
    for (information, expected) in [
        ("tenants/acme/answers/", Some("answers/")),
        ("tenants/other/answers/", None),
        ("answers/", None),
    ] {
        let mut client = Link::tcp(mproxy.addr()).await;
        // Request Response Information, Topic Alias Maximum
        let connect = Connect::new(Version::V5, "c").username("acme");
        let connect = connect.properties(&[0x19, 1]);
        client.send(&connect.bytes()).await;
        let mut server = broker.session().await;
        assert_eq!(server.packet().await.kind(), 1);
        let connack = |information: Option<&str>, packet_size: [u8; 4]| {
            let mut block = vec![0x21, 0, 20];
            if let Some(information) = information {
                block.push(0x1a);
                block.extend(field(information));
            }
            block.push(0x27);
            block.extend(packet_size);
            frame(0x20, &[&[0, 0][..], &properties(&block)].concat())
        };
        // two topics and two lengths may become longer than what the client sends
        let room = 0x4000_u32 - 2 * 13 - 6;
        let announced = connack(Some(information), 0x4000_u32.to_be_bytes());
        server.send(&announced).await;
        client.expect(&connack(expected, room.to_be_bytes())).await;
    }
}

/// Without its own option the group is left as it is.
#[tokio::test]
async fn groups_may_be_left_alone() {
    let broker = FakeBroker::bind().await;
    let setup = tenants(&broker.url()).set("layers.tenant.group_prefix", "false");
    let mproxy = setup.start().await;
    for version in Version::ALL {
        let acme = Connect::new(version, "a").username("acme");
        let (mut client, mut server) = admitted(&mproxy, &broker, &acme).await;
        client
            .send(&subscribe(version, 3, &[("$share/g/a", 0)]))
            .await;
        server
            .expect(&subscribe(version, 3, &[("$share/g/tenants/acme/a", 0)]))
            .await;
    }
}
