//! The layer `property-edit`: what MQTT 5 messages say about their sender is true.

use mproxy_tests::wire::{
    Connect, Publish, Version, field, frame, properties, subscribe, user_property,
};
use mproxy_tests::{FakeBroker, Link, Mosquitto, Setup};

const STAMP: &str = r#"
[chains.default]
layers = ["stamp"]
[layers.stamp]
type = "property-edit"
strip = ["x-internal"]
set = { "x-tenant" = "${username}", "x-client" = "${client_id}" }
[layers.stamp.add]
via = "mproxy"
[layers.stamp.to_client]
strip = ["x-internal"]
set = { "x-seen-by" = "${client_id}" }
"#;

fn stamp(upstream: &str) -> Setup {
    Setup::before(upstream).toml(STAMP)
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<u8> {
    let pairs = pairs.iter().map(|(name, value)| user_property(name, value));
    pairs.collect::<Vec<_>>().concat()
}

const FORGED: &[(&str, &str)] = &[
    ("b", "1"),
    ("x-tenant", "somebody"),
    ("traceparent", "00-0af7-b7ad-01"),
    ("x-internal", "yes"),
    ("b", "1"),
    ("a", "2"),
    ("x-tenant", "else"),
];

/// What is left of it in its order, then what is set, then what is added.
fn stamped() -> Vec<u8> {
    let mut kept: Vec<_> = FORGED
        .iter()
        .filter(|(name, _)| !name.starts_with("x-"))
        .copied()
        .collect();
    kept.extend([("x-client", "d7"), ("x-tenant", "acme"), ("via", "mproxy")]);
    pairs(&kept)
}

/// Byte for byte, in all packets of a client that have properties, and in deliveries.
#[tokio::test]
async fn forged_properties_are_replaced_and_others_keep_their_place() {
    let broker = FakeBroker::bind().await;
    let mproxy = stamp(&broker.url()).start().await;
    let version = Version::V5;
    let mut client = Link::tcp(mproxy.addr()).await;
    let connect = |own: &[u8], will: &[u8]| {
        let mut body = [&field("MQTT")[..], &[5, 0x86, 0, 0]].concat();
        body.extend(properties(own));
        body.extend(field("d7"));
        body.extend(properties(will));
        for text in ["gone", "bye", "acme"] {
            body.extend(field(text));
        }
        frame(0x10, &body)
    };
    let will = [&[0x03][..], &field("text")].concat();
    let sent = connect(&pairs(FORGED), &[&will[..], &pairs(FORGED)].concat());
    client.send(&sent).await;
    let mut server = broker.session().await;
    let seen = connect(&stamped(), &[&will[..], &stamped()].concat());
    server.expect(&seen).await;
    server.send(&frame(0x20, &[0, 0, 0])).await;
    assert_eq!(client.packet().await.kind(), 2);
    client.speak(version);
    server.speak(version);

    let content = [&[0x01, 1, 0x03][..], &field("text/plain")].concat();
    let publish = |block: &[u8]| {
        let block = [&content[..], block].concat();
        Publish::new(version, "a/b")
            .qos(1, 7)
            .retain()
            .properties(&block)
    };
    client.send(&publish(&pairs(FORGED)).bytes("x")).await;
    server.expect(&publish(&stamped()).bytes("x")).await;
    // one that says nothing is stamped, too
    client.send(&publish(&[]).bytes("x")).await;
    let own = pairs(&[("x-client", "d7"), ("x-tenant", "acme"), ("via", "mproxy")]);
    server.expect(&publish(&own).bytes("x")).await;

    let ask = |block: &[u8]| {
        let mut body = [&[0, 9][..], &properties(block)].concat();
        body.extend(field("a/#"));
        body.push(0x2d);
        frame(0x82, &body)
    };
    client.send(&ask(&pairs(FORGED))).await;
    server.expect(&ask(&stamped())).await;

    let delivered = pairs(&[
        ("x-internal", "1"),
        ("x-tenant", "kept"),
        ("x-seen-by", "me"),
    ]);
    server.send(&publish(&delivered).bytes("y")).await;
    let delivered = pairs(&[("x-tenant", "kept"), ("x-seen-by", "d7")]);
    client.expect(&publish(&delivered).bytes("y")).await;
}

/// An alias is bound by what is edited, and means the same on both sides.
#[tokio::test]
async fn aliases_survive_the_edit() {
    let broker = FakeBroker::bind().await;
    let mproxy = stamp(&broker.url()).start().await;
    let mut client = Link::tcp(mproxy.addr()).await;
    let connect = Connect::new(Version::V5, "d7").username("acme");
    client.send(&connect.bytes()).await;
    let mut server = broker.session().await;
    server.packet().await;
    server.send(&frame(0x20, &[0, 0, 3, 0x22, 0, 10])).await;
    client.packet().await;
    client.speak(Version::V5);
    server.speak(Version::V5);
    for (topic, payload) in [("a", "1"), ("", "2")] {
        let publish = Publish::new(Version::V5, topic).properties(&[0x23, 0, 1]);
        client.send(&publish.bytes(payload)).await;
        let message = server.message().await;
        assert!(["a", ""].contains(&&*message.topic), "{message:?}");
        assert_eq!(message.text(), payload);
        let own = pairs(&[("x-client", "d7"), ("x-tenant", "acme"), ("via", "mproxy")]);
        assert!(message.properties.ends_with(&own), "{message:?}");
    }
}

/// Without a user name nothing is claimed, and nothing that was forged is left.
#[tokio::test]
async fn a_property_without_a_value_is_not_set() {
    let broker = FakeBroker::bind().await;
    let mproxy = stamp(&broker.url()).start().await;
    let (mut client, mut server) = {
        let client = Link::client(mproxy.addr(), Version::V5, "d7");
        let (client, (server, _)) = tokio::join!(client, broker.accept());
        (client, server)
    };
    let publish = |block: &[(&str, &str)]| {
        Publish::new(Version::V5, "a")
            .properties(&pairs(block))
            .bytes("")
    };
    client
        .send(&publish(&[("x-tenant", "forged"), ("c", "3")]))
        .await;
    server
        .expect(&publish(&[
            ("c", "3"),
            ("x-client", "d7"),
            ("via", "mproxy"),
        ]))
        .await;
}

/// MQTT before 5.0 has no properties: not a byte differs.
#[tokio::test]
async fn mqtt_3_passes_as_it_is() {
    let broker = FakeBroker::bind().await;
    let mproxy = stamp(&broker.url()).start().await;
    for version in [Version::V31, Version::V311] {
        let connect = Connect::new(version, "d7")
            .username("acme")
            .will("gone", "bye", 0, false);
        let mut client = Link::tcp(mproxy.addr()).await;
        let (_, (mut server, seen)) = tokio::join!(client.connect(&connect), broker.accept());
        assert_eq!(seen.bytes(), connect.bytes());
        let publish = Publish::new(version, "a").qos(1, 3).bytes("x");
        for packet in [publish.clone(), subscribe(version, 4, &[("a", 1)])] {
            client.send(&packet).await;
            server.expect(&packet).await;
        }
        server.send(&publish).await;
        client.expect(&publish).await;
    }
}

/// From a device of one proxy to a subscriber of MQTT 5: who sent it is told by the proxy.
#[tokio::test]
async fn a_subscriber_reads_who_sent_a_message() {
    let broker = Mosquitto::start().await;
    let mproxy = stamp(&broker.url()).start().await;
    let mut reader = Link::client(broker.addr(), Version::V5, "reader").await;
    reader.subscribe("up", 0).await;
    let mut device = Link::tcp(mproxy.addr()).await;
    device
        .connect(&Connect::new(Version::V5, "d7").username("acme"))
        .await;
    let forged = Publish::new(Version::V5, "up").properties(&pairs(FORGED));
    device.send(&forged.bytes("x")).await;
    let message = reader.message().await;
    assert_eq!((message.text(), &message.properties), ("x", &stamped()));
}

/// The client is told of packets that leave room for what is added, so that a message that it may send
/// is not too large for the broker in the end.
#[tokio::test]
async fn the_broker_is_never_sent_more_than_it_takes() {
    let broker = FakeBroker::bind().await;
    let mproxy = stamp(&broker.url()).start().await;
    let mut client = Link::tcp(mproxy.addr()).await;
    let connect = Connect::new(Version::V5, "d7").username("acme");
    client.send(&connect.bytes()).await;
    let mut server = broker.session().await;
    server.packet().await;
    server
        .send(&frame(0x20, &[0, 0, 5, 0x27, 0, 0, 1, 0]))
        .await;
    let answer = client.packet().await;
    let added = pairs(&[("x-client", "d7"), ("x-tenant", "acme"), ("via", "mproxy")]);
    let size = u32::try_from(256 - added.len() - 6).expect("a small number");
    assert_eq!(answer.body()[4..], size.to_be_bytes());
    // the largest that it may send
    let publish = Publish::new(Version::V5, "a");
    let largest = size as usize - publish.bytes("").len() - 1;
    let largest = publish.bytes("x".repeat(largest));
    client.send(&largest).await;
    server.speak(Version::V5);
    let packet = server.packet().await;
    assert_eq!(packet.kind(), 3);
    assert!(packet.bytes().len() <= 256, "{packet:?}");
}
