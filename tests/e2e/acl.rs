//! The layer `acl`, from its configuration to the bytes on both wires.

use mproxy_tests::wire::{
    Connect, Publish, Version, connack, field, frame, puback, pubcomp, pubrec, pubrel, suback,
    subscribe, unsubscribe,
};
use mproxy_tests::{FakeBroker, Link, Mosquitto, Mproxy, PATIENCE, Rest, Setup};
use rustix::process::Signal;

const RULES: &str = r##"
[chains.default]
layers = ["log", "acl"]
[layers.log]
type = "access-log"
[layers.acl]
type = "acl"
[[layers.acl.rules]]
name = "nobody reads everything"
deny = ["subscribe"]
filters = ["#", "+/#"]
[[layers.acl.rules]]
name = "devices own their subtree"
allow = ["publish", "subscribe"]
topics = ["devices/${client_id}/#"]
[[layers.acl.rules]]
name = "users own their inbox"
allow = ["subscribe"]
topics = ["inbox/${username}"]
"##;

fn rules(upstream: &str) -> Setup {
    Setup::before(upstream).toml(RULES)
}

/// A device `d7`, and the broker's end of its session.
async fn session(mproxy: &Mproxy, broker: &FakeBroker, version: Version) -> (Link, Link) {
    let client = Link::client(mproxy.addr(), version, "d7");
    let (client, (server, _)) = tokio::join!(client, broker.accept());
    (client, server)
}

/// Sends what is allowed, and asserts that it is the next thing that the broker gets.
async fn nothing_before_a_fence(client: &mut Link, server: &mut Link) {
    let fence = Publish::new(client.version(), "devices/d7/fence").bytes("");
    client.send(&fence).await;
    server.expect(&fence).await;
}

/// A refusal of CONNECT; in MQTT 5 with a text, which is not looked at here.
async fn expect_refusal(client: &mut Link, version: Version) {
    let packet = client.packet().await;
    match version {
        Version::V31 | Version::V311 => assert_eq!(packet.bytes(), connack(version, 5)),
        Version::V5 => assert_eq!((packet.kind(), packet.body()[1]), (2, 0x87)),
    }
}

/// A will is a PUBLISH in advance: it would be published by the broker, where no hook looks.
#[tokio::test]
async fn a_will_that_may_not_be_published_is_refused_at_connect() {
    let broker = FakeBroker::bind().await;
    let mproxy = rules(&broker.url()).websocket().start().await;
    for version in Version::ALL {
        for websocket in [false, true] {
            let mut client = if websocket {
                Link::ws(mproxy.listener("ws")).await
            } else {
                Link::tcp(mproxy.addr()).await
            };
            let connect = Connect::new(version, "d7").will("devices/d8/up", "boo", 1, true);
            // what stands behind a CONNECT that is refused was never said
            let mut bytes = connect.bytes();
            bytes.extend(Publish::new(version, "devices/d7/up").bytes("boo"));
            client.send(&bytes).await;
            expect_refusal(&mut client, version).await;
            client.closed().await;
        }
    }
    // the first that the broker hears of anybody
    let own = Connect::new(Version::V311, "d7").will("devices/d7/gone", "boo", 1, true);
    let mut client = Link::tcp(mproxy.addr()).await;
    let (_, (_, connect)) = tokio::join!(client.connect(&own), broker.accept());
    assert_eq!(connect.bytes(), own.bytes());

    let denied = "mproxy_auth_decisions_total{layer=\"acl\",action=\"will\",decision=\"deny\"}";
    mproxy.metric(denied, 6.0).await;
}

/// Devices in the field have wills that cannot be changed: they may come in all the same.
#[tokio::test]
async fn a_denied_will_may_be_stripped_instead() {
    let broker = FakeBroker::bind().await;
    let setup = rules(&broker.url()).set("layers.acl.will", "strip");
    let mproxy = setup.start().await;
    for version in Version::ALL {
        let plain = Connect::new(version, "d7").credentials("alice", "secret");
        for (topic, kept) in [("devices/d8/up", false), ("devices/d7/gone", true)] {
            let with_will = plain.clone().will(topic, "boo", 2, true);
            let mut client = Link::tcp(mproxy.addr()).await;
            let (_, (_, connect)) = tokio::join!(client.connect(&with_will), broker.accept());
            let expected = if kept { &with_will } else { &plain };
            assert_eq!(connect.bytes(), expected.bytes(), "{version:?} {topic}");
        }
    }
    let denied = "mproxy_auth_decisions_total{layer=\"acl\",action=\"will\",decision=\"deny\"}";
    mproxy.metric(denied, 3.0).await;

    // and a real broker has nothing to publish when the client is gone
    let broker = Mosquitto::start().await;
    let setup = rules(&broker.url()).set("layers.acl.will", "strip");
    let mproxy = setup.start().await;
    for version in Version::ALL {
        let mut observer = Link::client(broker.addr(), version, "observer").await;
        observer.subscribe("#", 0).await;
        for topic in ["devices/d8/gone", "devices/d7/gone"] {
            let connect = Connect::new(version, "d7").will(topic, topic, 0, false);
            let mut client = Link::tcp(mproxy.addr()).await;
            client.connect(&connect).await;
            client.reset();
        }
        assert_eq!(observer.message().await.text(), "devices/d7/gone");
    }
}

const WHO: &str = r##"
[chains.default]
layers = ["acl"]
[layers.acl]
type = "acl"
[[layers.acl.rules]]
name = "no guests"
deny = ["publish", "subscribe"]
topics = ["alarm/#"]
anonymous = true
[[layers.acl.rules]]
name = "homeassistant may do all"
allow = ["publish", "subscribe"]
topics = ["#"]
usernames = ["homeassistant"]
[[layers.acl.rules]]
name = "browsers look on"
allow = ["subscribe"]
topics = ["home/#", "alarm/#"]
listeners = ["ws"]
[[layers.acl.rules]]
name = "the gateway"
allow = ["publish"]
topics = ["home/gateway"]
client_ids = ["gateway"]
networks = ["127.0.0.0/8"]
[[layers.acl.rules]]
name = "from elsewhere"
allow = ["publish", "subscribe"]
topics = ["#"]
networks = ["192.0.2.0/24", "fd00::/8"]
"##;

/// Rules say whom they are about: "homeassistant may do all" could not be written, and what was said
/// about the attempt led elsewhere.
#[tokio::test]
async fn rules_are_about_those_that_they_name() {
    let broker = Mosquitto::start().await;
    let setup = Setup::before(&broker.url()).websocket().toml(WHO);
    let mproxy = setup.start().await;
    let mut observer = Link::client(broker.addr(), Version::V5, "observer").await;
    observer.subscribe("#", 0).await;
    for version in Version::ALL {
        let no = if version.is_v5() { 0x87 } else { 0x80 };
        for (client_id, username, ws, publishes, codes) in [
            (
                "a",
                Some("homeassistant"),
                false,
                &["home/gateway", "alarm/x", "any"][..],
                [0; 3],
            ),
            ("b", Some("alice"), false, &[], [no; 3]),
            ("c", Some("alice"), true, &[], [0, 0, no]),
            ("d", None, true, &[], [0, no, no]),
            ("gateway", None, false, &["home/gateway"], [no; 3]),
        ] {
            let mut client = if ws {
                Link::ws(mproxy.listener("ws")).await
            } else {
                Link::tcp(mproxy.addr()).await
            };
            let mut connect = Connect::new(version, client_id);
            if let Some(username) = username {
                connect = connect.username(username);
            }
            client.connect(&connect).await;
            let filters = [("home/a", 0), ("alarm/a", 0), ("any/a", 0)];
            client.send(&subscribe(version, 1, &filters)).await;
            client.expect(&suback(version, 1, &codes)).await;
            for topic in ["home/gateway", "alarm/x", "any"] {
                client
                    .send(&Publish::new(version, topic).bytes(client_id))
                    .await;
            }
            for topic in publishes {
                let message = observer.message().await;
                assert_eq!((&*message.topic, message.text()), (*topic, client_id));
            }
            client.leave().await;
        }
    }
}

/// A Response Topic makes somebody else publish there.
#[tokio::test]
async fn response_topics_are_judged_on_demand() {
    let broker = FakeBroker::bind().await;
    let setup = rules(&broker.url()).set("layers.acl.check_response_topics", "true");
    let mproxy = setup.start().await;
    let (mut client, mut server) = session(&mproxy, &broker, Version::V5).await;
    let asking = |topic: &str| {
        let reply = [&[0x08][..], &field(topic)].concat();
        Publish::new(Version::V5, "devices/d7/ask")
            .qos(1, 5)
            .properties(&reply)
    };
    client.send(&asking("devices/d8/answer").bytes("")).await;
    client.expect(&[0x40, 3, 0, 5, 0x87]).await;
    let own = asking("devices/d7/answer").bytes("");
    client.send(&own).await;
    server.expect(&own).await;
}

#[tokio::test]
async fn a_publish_that_is_refused_is_answered_as_its_version_and_qos_want_it() {
    let broker = FakeBroker::bind().await;
    let mproxy = rules(&broker.url()).start().await;
    for version in Version::ALL {
        let (mut client, mut server) = session(&mproxy, &broker, version).await;
        let denied = Publish::new(version, "devices/d8/up");

        client.send(&denied.bytes("no")).await;
        nothing_before_a_fence(&mut client, &mut server).await;

        client.send(&denied.clone().qos(1, 11).bytes("no")).await;
        client.send(&denied.clone().qos(2, 12).bytes("no")).await;
        if version.is_v5() {
            client.expect(&[0x40, 3, 0, 11, 0x87]).await;
            // the exchange is over: no PUBREL
            client.expect(&[0x50, 3, 0, 12, 0x87]).await;
        } else {
            // no word for no: acknowledged and dropped
            client.expect(&puback(11)).await;
            client.expect(&pubrec(12)).await;
            // sent again, because the PUBREC was lost: neither new nor the broker's business
            client
                .send(&denied.clone().qos(2, 12).dup().bytes("no"))
                .await;
            client.expect(&pubrec(12)).await;
            client.send(&pubrel(12)).await;
            client.expect(&pubcomp(12)).await;
        }
        nothing_before_a_fence(&mut client, &mut server).await;

        // the identifiers are free, and the broker's own exchanges are its own
        let own = Publish::new(version, "devices/d7/up");
        for (request, answer) in [
            (own.clone().qos(1, 11).bytes("yes"), puback(11)),
            (own.clone().qos(2, 12).bytes("yes"), pubrec(12)),
            (pubrel(12), pubcomp(12)),
        ] {
            client.send(&request).await;
            server.expect(&request).await;
            server.send(&answer).await;
            client.expect(&answer).await;
        }
    }
}

#[tokio::test]
async fn on_deny_says_what_becomes_of_a_client_that_tries() {
    let broker = FakeBroker::bind().await;
    let drop = rules(&broker.url())
        .set("layers.acl.on_deny", "drop")
        .start()
        .await;
    for version in Version::ALL {
        let (mut client, mut server) = session(&drop, &broker, version).await;
        let denied = Publish::new(version, "devices/d8/up");
        client.send(&denied.bytes("no")).await;
        client.send(&denied.clone().qos(1, 11).bytes("no")).await;
        client.expect(&puback(11)).await;
        client.send(&denied.clone().qos(2, 12).bytes("no")).await;
        client.expect(&pubrec(12)).await;
        client.send(&pubrel(12)).await;
        client.expect(&pubcomp(12)).await;
        nothing_before_a_fence(&mut client, &mut server).await;
    }

    let setup = rules(&broker.url()).set("layers.acl.on_deny", "disconnect");
    let disconnect = setup.start().await;
    for version in Version::ALL {
        let publish = Publish::new(version, "devices/d8/up")
            .qos(1, 11)
            .bytes("no");
        for denied in [publish, subscribe(version, 12, &[("devices/d8/up", 1)])] {
            let (mut client, server) = session(&disconnect, &broker, version).await;
            client.send(&denied).await;
            let (packets, rest) = client.rest().await;
            let farewell: &[&[u8]] = match version {
                Version::V31 | Version::V311 => &[],
                Version::V5 => &[&[0xe0, 1, 0x87]],
            };
            let packets: Vec<_> = packets.iter().map(|packet| packet.bytes()).collect();
            assert_eq!((&*packets, rest), (farewell, Rest::Clean), "{version:?}");
            // nor DISCONNECT: for the broker, the client broke off
            server.closed().await;
        }
    }
    let closed = "mproxy_connections_closed_total{side=\"proxy\",reason=\"acl_denied\"}";
    disconnect.metric(closed, 6.0).await;
    // `denied` was 0, and a SUBSCRIBE that nobody had answered was one that was refused
    let mut disconnect = disconnect;
    disconnect.signal(Signal::TERM);
    assert_eq!(disconnect.code(PATIENCE).await, 0);
    let lines = disconnect.process().lines();
    let lines = lines.iter().filter(|line| line.starts_with('{'));
    let events: Vec<serde_json::Value> = lines
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect();
    let of = |event: &'static str| events.iter().filter(move |it| it["event"] == event);
    assert_eq!(of("disconnect").count(), 6);
    assert!(of("disconnect").all(|it| it["denied"] == 1), "{events:#?}");
    assert_eq!(of("subscribe").count(), 3);
    assert!(
        of("subscribe").all(|it| it["filters"] == "devices/d8/up" && it["refused"].is_null()),
        "{events:#?}"
    );
}

#[tokio::test]
async fn filters_are_refused_one_by_one_and_answered_in_order() {
    let broker = FakeBroker::bind().await;
    let mproxy = rules(&broker.url()).start().await;
    for version in Version::ALL {
        let no = if version.is_v5() { 0x87 } else { 0x80 };
        let (mut client, mut server) = session(&mproxy, &broker, version).await;

        // all refused: the broker hears nothing
        let request = subscribe(version, 21, &[("#", 0), ("+/#", 1), ("devices/d8/up", 2)]);
        client.send(&request).await;
        client.expect(&suback(version, 21, &[no, no, no])).await;
        nothing_before_a_fence(&mut client, &mut server).await;

        // some: what goes on is what is left, and the codes come back to their places
        let request = subscribe(
            version,
            22,
            &[
                ("devices/d8/up", 2),
                ("devices/d7/a", 2),
                ("#", 0),
                ("devices/d7/b", 1),
                ("inbox/nobody", 1),
            ],
        );
        client.send(&request).await;
        let left = subscribe(version, 22, &[("devices/d7/a", 2), ("devices/d7/b", 1)]);
        server.expect(&left).await;
        // a delivery may come before the grant
        let early = Publish::new(version, "devices/d7/a").bytes("early");
        server.send(&early).await;
        client.expect(&early).await;
        server.send(&suback(version, 22, &[1, 0])).await;
        client
            .expect(&suback(version, 22, &[no, 1, no, 0, no]))
            .await;

        // none: not a byte differs
        let request = subscribe(version, 23, &[("devices/d7/+", 1)]);
        client.send(&request).await;
        server.expect(&request).await;
        server.send(&suback(version, 23, &[1])).await;
        client.expect(&suback(version, 23, &[1])).await;

        // leaving is always allowed
        let request = unsubscribe(version, 24, &["devices/d8/up", "#"]);
        client.send(&request).await;
        server.expect(&request).await;
    }
}

/// Everybody may subscribe to everything, and gets what they may read. What is kept back is
/// acknowledged in the client's name: a mosquitto that waits for 20 acknowledgements delivers
/// nothing more, so that messages that are allowed pass only if that is done.
#[tokio::test]
async fn deliveries_that_may_not_be_read_do_not_stop_those_that_may() {
    let broker = Mosquitto::start().await;
    let setup = rules(&broker.url()).set("layers.acl.subscribe", "mosquitto");
    let mproxy = setup.start().await;
    for version in Version::ALL {
        for qos in [0, 1] {
            let client_id = format!("reader-{version:?}-{qos}");
            let mut client = Link::client(mproxy.addr(), version, &client_id).await;
            client.subscribe("devices/#", qos).await;
            let mut publisher = Link::client(broker.addr(), Version::V311, "publisher").await;
            for round in 0..3 {
                for id in 1..=30 {
                    let secret = Publish::new(Version::V311, "devices/other/up").qos(qos, id);
                    publisher.send(&secret.bytes("secret")).await;
                }
                let own = format!("devices/{client_id}/down");
                let own = Publish::new(Version::V311, &own).qos(qos, 31);
                publisher.send(&own.bytes([round])).await;
                let message = client.message().await;
                assert_eq!((message.qos, &*message.payload), (qos, &[round][..]));
                if qos == 1 {
                    client.send(&puback(message.id)).await;
                }
            }
            client.leave().await;
        }
    }
    let dropped = "mproxy_packets_dropped_total{layer=\"acl\",type=\"publish\"}";
    mproxy.metric(dropped, 6.0 * 90.0).await;
}

/// A client that may not read a group's messages must not be of the group: the broker would give it
/// its share of them, which is dropped, and nobody else would get it. With `subscribe = "mosquitto"`
/// every filter was granted, and five of ten jobs were lost.
#[tokio::test]
async fn nobody_takes_a_groups_messages_who_may_not_read_them() {
    for policy in ["strict", "mosquitto"] {
        let broker = Mosquitto::start().await;
        let setup = rules(&broker.url()).set("layers.acl.subscribe", policy);
        let mproxy = setup.start().await;
        for version in Version::ALL {
            let no = if version.is_v5() { 0x87 } else { 0x80 };
            let mut worker = Link::client(mproxy.addr(), version, "worker").await;
            let group = "$share/workers/devices/worker/jobs/#";
            worker.subscribe(group, 1).await;
            let mut thief = Link::client(mproxy.addr(), version, "thief").await;
            let request = subscribe(version, 7, &[(group, 1), ("devices/thief/x", 0)]);
            thief.send(&request).await;
            thief.expect(&suback(version, 7, &[no, 0])).await;

            let mut publisher = Link::client(broker.addr(), version, "publisher").await;
            for job in 1..=10 {
                let publish = Publish::new(version, "devices/worker/jobs/x").qos(1, job);
                publisher.send(&publish.bytes([job as u8])).await;
                assert_eq!(publisher.packet().await.kind(), 4);
                let message = worker.message().await;
                assert_eq!(&*message.payload, [job as u8], "{policy} {version:?}");
                worker.send(&puback(message.id)).await;
            }
        }
    }
}

/// The same on the wire: whole exchanges with the broker of which the client hears nothing.
#[tokio::test]
async fn a_delivery_that_is_dropped_is_acknowledged_to_the_broker() {
    let broker = FakeBroker::bind().await;
    let setup = rules(&broker.url()).set("layers.acl.subscribe", "mosquitto");
    let mproxy = setup.start().await;
    for version in Version::ALL {
        let (mut client, mut server) = session(&mproxy, &broker, version).await;
        // judged when it is delivered, and not before
        let everything = subscribe(version, 1, &[("#", 2)]);
        client.send(&everything).await;
        server.expect(&everything).await;

        let secret = Publish::new(version, "devices/d8/up");
        for id in 1..=50 {
            server.send(&secret.bytes("secret")).await;
            server
                .send(&secret.clone().qos(1, id).bytes("secret"))
                .await;
            server.expect(&puback(id)).await;
            server
                .send(&secret.clone().qos(2, id).bytes("secret"))
                .await;
            server.expect(&pubrec(id)).await;
            server.send(&pubrel(id)).await;
            server.expect(&pubcomp(id)).await;
        }
        // the client's own exchange has an identifier that was used just now
        let own = Publish::new(version, "devices/d7/down")
            .qos(2, 50)
            .bytes("own");
        server.send(&own).await;
        client.expect(&own).await;
        client.send(&pubrec(50)).await;
        server.expect(&pubrec(50)).await;
        server.send(&pubrel(50)).await;
        client.expect(&pubrel(50)).await;
    }
}

/// A name that means something in a filter stands for nothing.
#[tokio::test]
async fn a_clients_name_gains_it_nothing() {
    let broker = FakeBroker::bind().await;
    let mproxy = rules(&broker.url()).start().await;
    let version = Version::V5;
    for (client_id, username) in [
        ("#", Some("#")),
        ("+", Some("+")),
        ("d8/x", Some("a/b")),
        ("", Some("")),
        ("d7", None),
    ] {
        let mut connect = Connect::new(version, client_id);
        if let Some(username) = username {
            connect = connect.username(username);
        }
        let mut client = Link::tcp(mproxy.addr()).await;
        let (_, (mut server, _)) = tokio::join!(client.connect(&connect), broker.accept());
        for topic in ["devices/d8/up", "devices/#/up", "devices//up", "devices/up"] {
            if topic.contains('#') {
                continue; // no topic at all
            }
            client
                .send(&Publish::new(version, topic).qos(1, 1).bytes(""))
                .await;
            client.expect(&[0x40, 3, 0, 1, 0x87]).await;
        }
        let filters = [
            "inbox/alice",
            "inbox/#",
            "inbox/",
            "inbox/+",
            "devices/d8/#",
        ];
        for filter in filters {
            client.send(&subscribe(version, 2, &[(filter, 0)])).await;
            client.expect(&suback(version, 2, &[0x87])).await;
        }
        let ping = [0xc0, 0];
        client.send(&ping).await;
        server.expect(&ping).await;
    }
    // and one that means nothing else is good for what the rules say
    let mut client = Link::tcp(mproxy.addr()).await;
    let alice = Connect::new(version, "d7").username("alice");
    let (_, (mut server, _)) = tokio::join!(client.connect(&alice), broker.accept());
    let request = subscribe(version, 3, &[("inbox/alice", 1)]);
    client.send(&request).await;
    server.expect(&request).await;
}

/// A refused PUBLISH may have bound an alias. The client counts on it, the broker never heard of
/// it, and what follows is judged by the topic that the client means.
#[tokio::test]
async fn a_topic_alias_leads_around_no_rule() {
    let broker = FakeBroker::bind().await;
    let mproxy = rules(&broker.url()).start().await;
    let mut client = Link::tcp(mproxy.addr()).await;
    let connect = Connect::new(Version::V5, "d7");
    client.send(&connect.bytes()).await;
    let mut server = broker.session().await;
    server.packet().await;
    // Topic Alias Maximum: 10
    server.send(&frame(0x20, &[0, 0, 3, 0x22, 0, 10])).await;
    let connack = client.packet().await;
    assert_eq!(connack.body()[1], 0, "{connack:?}");
    client.speak(Version::V5);
    server.speak(Version::V5);

    let alias = |topic: &str, alias: u8| {
        Publish::new(Version::V5, topic)
            .qos(1, 9)
            .properties(&[0x23, 0, alias])
    };
    // bound by what is refused, and then used alone
    client.send(&alias("devices/d8/up", 1).bytes("no")).await;
    client.expect(&[0x40, 3, 0, 9, 0x87]).await;
    client.send(&alias("", 1).bytes("no")).await;
    client.expect(&[0x40, 3, 0, 9, 0x87]).await;

    // bound by what is allowed: goes, and may be used alone
    for (topic, payload) in [("devices/d7/up", "first"), ("", "second")] {
        client.send(&alias(topic, 2).bytes(payload)).await;
        let message = server.message().await;
        assert!(
            ["devices/d7/up", ""].contains(&&*message.topic),
            "{message:?}"
        );
        assert_eq!(message.text(), payload);
        server.send(&puback(9)).await;
        client.expect(&puback(9)).await;
    }

    // bound anew by what is refused: alone, it must not go where the broker still thinks it leads
    client.send(&alias("devices/d8/up", 2).bytes("no")).await;
    client.expect(&[0x40, 3, 0, 9, 0x87]).await;
    client.send(&alias("", 2).bytes("no")).await;
    client.expect(&[0x40, 3, 0, 9, 0x87]).await;
    let ping = [0xc0, 0];
    client.send(&ping).await;
    server.expect(&ping).await;

    // bound by what is refused, bound again by what is allowed
    client.send(&alias("devices/d7/up", 1).bytes("third")).await;
    let message = server.message().await;
    assert_eq!(
        (&*message.topic, message.text()),
        ("devices/d7/up", "third")
    );
}

/// Rules hold in every version and over every transport, whatever else is in the same packet.
#[tokio::test]
async fn nothing_of_what_is_denied_reaches_a_real_broker() {
    let broker = Mosquitto::start().await;
    let mproxy = rules(&broker.url()).websocket().start().await;
    let mut observer = Link::client(broker.addr(), Version::V5, "observer").await;
    observer.subscribe("#", 0).await;
    for version in Version::ALL {
        for websocket in [false, true] {
            let mut client = if websocket {
                Link::ws(mproxy.listener("ws")).await
            } else {
                Link::tcp(mproxy.addr()).await
            };
            client.connect(&Connect::new(version, "d7")).await;
            let mut burst = Vec::new();
            for topic in [
                "devices/d8/up",
                "devices",
                "devices/d7x/up",
                "Devices/d7/up",
                "x",
            ] {
                for qos in 0..3 {
                    let denied = Publish::new(version, topic).qos(qos, 40 + u16::from(qos));
                    burst.extend(denied.clone().bytes("no"));
                    // sent again, or so it says: that is no way around a rule
                    if qos > 0 {
                        burst.extend(denied.dup().bytes("no"));
                    }
                }
            }
            let allowed = Publish::new(version, "devices/d7/up").bytes("yes");
            burst.extend(allowed);
            client.send(&burst).await;
            let message = observer.message().await;
            assert_eq!((&*message.topic, message.text()), ("devices/d7/up", "yes"));
        }
    }
}

/// The forms of topics that some brokers know beyond the standard: refused unless they are named,
/// and then judged by what they are about.
#[tokio::test]
async fn a_vendors_forms_lead_around_no_rule() {
    let broker = FakeBroker::bind().await;
    let forms = [
        "$queue/devices/d8/#",
        "$exclusive/devices/d8/x",
        "$oshare/g/devices/d8/x",
        "$queue/#",
        "$local/devices/d7/x",
    ];
    let own = [
        "$queue/devices/d7/#",
        "$exclusive/devices/d7/x",
        "$oshare/g/devices/d7/x",
    ];
    let plain = rules(&broker.url()).start().await;
    for version in Version::ALL {
        let no = if version.is_v5() { 0x87 } else { 0x80 };
        let (mut client, mut server) = session(&plain, &broker, version).await;
        for filter in forms.into_iter().chain(own) {
            client.send(&subscribe(version, 3, &[(filter, 0)])).await;
            client.expect(&suback(version, 3, &[no])).await;
        }
        for topic in ["$delayed/5/devices/d7/up", "$delayed/5/devices/d8/up"] {
            client.send(&Publish::new(version, topic).bytes("no")).await;
        }
        nothing_before_a_fence(&mut client, &mut server).await;
    }

    let setup = rules(&broker.url()).set("layers.acl.vendor", "queue,exclusive,delayed,oshare");
    let named = setup.start().await;
    for version in Version::ALL {
        let no = if version.is_v5() { 0x87 } else { 0x80 };
        let (mut client, mut server) = session(&named, &broker, version).await;
        for filter in forms {
            client.send(&subscribe(version, 3, &[(filter, 0)])).await;
            client.expect(&suback(version, 3, &[no])).await;
        }
        for filter in own {
            let request = subscribe(version, 4, &[(filter, 0)]);
            client.send(&request).await;
            server.expect(&request).await;
            server.send(&suback(version, 4, &[0])).await;
            client.expect(&suback(version, 4, &[0])).await;
        }
        for topic in ["$delayed/5/devices/d8/up", "$delayed/x/devices/d7/up"] {
            client.send(&Publish::new(version, topic).bytes("no")).await;
        }
        let delayed = Publish::new(version, "$delayed/5/devices/d7/up").bytes("yes");
        client.send(&delayed).await;
        server.expect(&delayed).await;
    }
    // a will is a PUBLISH in advance in this form, too
    let mut client = Link::tcp(named.addr()).await;
    let will = Connect::new(Version::V311, "d7").will("$delayed/5/devices/d8/up", "", 0, false);
    client.send(&will.bytes()).await;
    expect_refusal(&mut client, Version::V311).await;
}
