//! What a client would have seen from the broker is what it sees; and what it sees where a key asks for
//! something else. Each is tried as bytes pass, and with an `acl` that looks at every packet and lets
//! all of them through.

use mproxy_tests::wire::{
    Connect, Message, PINGREQ, PINGRESP, Publish, Version, connack, field, frame, properties,
    puback, user_property,
};
use mproxy_tests::{FakeBroker, Link, Mosquitto, Mproxy, Setup};

const ACL: &str = "[chains.default]\nlayers = [\"acl\"]\n[layers.acl]\ntype = \"acl\"\n\
default = \"allow\"\n[[layers.acl.rules]]\nname = \"all\"\nallow = [\"publish\", \"subscribe\"]\n\
topics = [\"#\"]\n";

/// Without layers, and with one that looks.
const LAYERS: [&str; 2] = ["", ACL];

const LISTENER: &str = "listeners.mqtt.";

/// A proxy with one key of its listener.
async fn with(broker: &str, layers: &str, key: &str, value: &str) -> Mproxy {
    let setup = Setup::before(broker).toml(layers);
    setup.set(&format!("{LISTENER}{key}"), value).start().await
}

/// Both sides of a session whose CONNACK has these properties.
async fn session(
    mproxy: &Mproxy,
    broker: &FakeBroker,
    connect: &Connect,
    offered: &[u8],
) -> (Link, Link, Vec<u8>) {
    let mut client = Link::tcp(mproxy.addr()).await;
    client.speak(connect.version());
    client.send(&connect.bytes()).await;
    let mut server = broker.session().await;
    server.expect(&connect.bytes()).await;
    let answer = match connect.version() {
        Version::V5 => frame(0x20, &[&[0, 0], &properties(offered)[..]].concat()),
        version => connack(version, 0),
    };
    server.send(&answer).await;
    let told = client.packet().await.bytes().to_vec();
    if connect.version() != Version::V5 {
        assert_eq!(told, answer);
    }
    (client, server, told)
}

/// Nothing is left out, nothing is lowered and nothing changes its place. A CONNACK used to be written
/// anew for the sake of limits that no broker has.
#[tokio::test]
async fn a_connack_passes_byte_for_byte() {
    let offered = [
        &user_property("before", "1")[..],
        // Receive Maximum, Maximum Packet Size, Topic Alias Maximum, Server Keep Alive
        &[0x21, 0, 20],
        &[0x27, 0, 0x20, 0, 0],
        &[0x22, 0, 10],
        &[0x13, 0, 30],
        // Session Expiry Interval, Maximum QoS, Retain, Wildcard, Subscription Identifier, Shared
        &[0x11, 0, 0, 1, 0],
        &[0x24, 1, 0x25, 0, 0x28, 0, 0x29, 0, 0x2a, 0],
        &[&[0x12][..], &field("assigned")].concat(),
        &[&[0x1f][..], &field("because")].concat(),
        &[&[0x1a][..], &field("answers/")].concat(),
        &user_property("after", "1"),
        &user_property("after", "1"),
    ]
    .concat();
    let broker = FakeBroker::bind().await;
    for layers in LAYERS {
        for conformance in ["tolerant", "strict"] {
            let mproxy = with(&broker.url(), layers, "conformance", conformance).await;
            let connect = Connect::new(Version::V5, "").keep_alive(60);
            let (_client, _server, told) = session(&mproxy, &broker, &connect, &offered).await;
            let sent = [&[0, 0], &properties(&offered)[..]].concat();
            assert_eq!(told, frame(0x20, &sent), "{layers:?} {conformance}");
        }
        // a limit of the proxy's own is told, in the place of the broker's larger one
        let mproxy = with(&broker.url(), layers, "limits.max_packet_size", "1MiB").await;
        let connect = Connect::new(Version::V5, "c");
        let (_client, _server, told) =
            session(&mproxy, &broker, &connect, &[0x27, 0, 0x20, 0, 0]).await;
        let lowered = [0x20, 8, 0, 0, 5, 0x27, 0, 0x10, 0, 0];
        assert_eq!(told, lowered, "{layers:?}");
    }
}

/// All aliases that the broker offers, where nobody looks; a few where the topics behind them have to be
/// remembered, and then the client is told so.
#[tokio::test]
async fn topic_aliases_pass_as_many_as_there_are() {
    let broker = FakeBroker::bind().await;
    let connect = Connect::new(Version::V5, "c");
    let all = [0x22, 0xff, 0xff];
    let alias = |topic: &str, number: u16| {
        let [high, low] = number.to_be_bytes();
        Publish::new(Version::V5, topic)
            .properties(&[0x23, high, low])
            .bytes("x")
    };
    for (layers, maximum) in [("", 0xffff), (ACL, 16_u16)] {
        let mproxy = with(&broker.url(), layers, "conformance", "tolerant").await;
        let (mut client, mut server, told) = session(&mproxy, &broker, &connect, &all).await;
        let [high, low] = maximum.to_be_bytes();
        assert_eq!(told, [0x20, 6, 0, 0, 3, 0x22, high, low], "{layers:?}");
        for number in [1, 2, maximum - 1, maximum] {
            for packet in [alias("t", number), alias("", number)] {
                client.send(&packet).await;
                server.expect(&packet).await;
            }
        }
        if maximum < 0xffff {
            client.send(&alias("t", maximum + 1)).await;
            let told = client.packet().await;
            assert_eq!((told.first(), told.body()[0]), (0xe0, 0x94), "{told:?}");
            client.closed().await;
            server.closed().await;
        }
    }
}

/// Each side knows what the other one takes, and judges it: mosquitto and its clients do not agree on
/// what a size counts, and a PUBLISH that the proxy dropped was one that would have been delivered.
#[tokio::test]
async fn sizes_are_judged_by_the_side_that_announced_them() {
    let broker = FakeBroker::bind().await;
    let announced = [0x27, 0, 0, 0, 100];
    let connect = Connect::new(Version::V5, "c").properties(&announced);
    let large = Publish::new(Version::V5, "t").bytes([7; 200]);
    let asked = Publish::new(Version::V5, "t").qos(1, 9).bytes([7; 200]);
    for layers in LAYERS {
        let mproxy = with(&broker.url(), layers, "conformance", "tolerant").await;
        let (mut client, mut server, _) = session(&mproxy, &broker, &connect, &announced).await;
        for packet in [&large, &asked] {
            server.send(packet).await;
            client.expect(packet).await;
            client.send(packet).await;
            server.expect(packet).await;
        }

        let mproxy = with(&broker.url(), layers, "conformance", "strict").await;
        let (mut client, mut server, _) = session(&mproxy, &broker, &connect, &announced).await;
        // too large for its receiver: as if it had been delivered
        server.send(&large).await;
        server.send(&PINGRESP).await;
        client.expect(&PINGRESP).await;
        client.send(&large).await;
        let told = client.packet().await;
        assert_eq!((told.first(), told.body()[0]), (0xe0, 0x95), "{told:?}");
        client.closed().await;
        server.closed().await;
    }
}

/// A mosquitto bridge with 300 messages queued was sent away at the 21st, and came back with them, 26
/// times in 48 seconds. mosquitto itself takes them all.
#[tokio::test]
async fn the_receive_maximum_is_the_brokers_to_judge() {
    let broker = Mosquitto::start().await;
    let message = |id: u16| {
        let publish = Publish::new(Version::V5, "o/x").qos(1, id);
        publish.bytes(id.to_string())
    };
    let queued: Vec<_> = (1..=300).flat_map(message).collect();
    for layers in LAYERS {
        let mproxy = with(&broker.url(), layers, "receive_maximum", "pass").await;
        let mut client = Link::client(mproxy.addr(), Version::V5, "bridge").await;
        client.send(&queued).await;
        for id in 1..=300 {
            let answer = client.packet().await;
            assert_eq!((answer.kind(), answer.id()), (4, id), "{answer:?}");
        }
        client.silent().await;
        client.leave().await;
    }

    // a broker that answers none of them: 20 fit
    let broker = FakeBroker::bind().await;
    let connect = Connect::new(Version::V5, "c");
    for layers in LAYERS {
        for (policy, fit) in [("pass", 300), ("enforce", 20)] {
            let mproxy = with(&broker.url(), layers, "receive_maximum", policy).await;
            let (mut client, mut server, _) =
                session(&mproxy, &broker, &connect, &[0x21, 0, 20]).await;
            for id in 1..=20 {
                client.send(&message(id)).await;
                server.expect(&message(id)).await;
            }
            // one that waits, once more, is not one more
            let mut again = message(20);
            again[0] |= 0x08;
            client.send(&again).await;
            server.expect(&again).await;
            if fit == 300 {
                for id in 21..=300 {
                    client.send(&message(id)).await;
                    server.expect(&message(id)).await;
                }
                continue;
            }
            // and one that is answered has made room
            server.send(&puback(1)).await;
            client.expect(&puback(1)).await;
            client.send(&message(21)).await;
            server.expect(&message(21)).await;
            client.send(&message(22)).await;
            let told = client.packet().await;
            assert_eq!((told.first(), told.body()[0]), (0xe0, 0x93), "{told:?}");
            client.closed().await;
            server.closed().await;
        }
    }
}

/// A bridge says that it is one, so that the broker does not send it its own messages and leaves RETAIN
/// as it is. Refused, it came back as a client, and every message came back to where it came from.
#[tokio::test]
async fn a_bridge_is_let_in_as_one() {
    let broker = FakeBroker::bind().await;
    let bridge = |name: &str, level, clean: u8| {
        let mut body = field(name);
        body.extend([level, clean << 1, 0, 60]);
        body.extend(field("bridge"));
        frame(0x10, &body)
    };
    for layers in LAYERS {
        for (version, name, level) in [
            (Version::V31, "MQIsdp", 0x83),
            (Version::V311, "MQTT", 0x84),
        ] {
            for clean in [0, 1] {
                let connect = bridge(name, level, clean);
                let mproxy = with(&broker.url(), layers, "bridges", "pass").await;
                let mut client = Link::tcp(mproxy.addr()).await;
                client.send(&connect).await;
                let mut server = broker.session().await;
                server.expect(&connect).await;
                server.send(&connack(version, 0)).await;
                client.expect(&connack(version, 0)).await;
                let message = Publish::new(version, "t").qos(1, 1).retain().bytes("x");
                client.send(&message).await;
                server.expect(&message).await;
                server.send(&message).await;
                client.expect(&message).await;

                let mproxy = with(&broker.url(), layers, "bridges", "refuse").await;
                let mut client = Link::tcp(mproxy.addr()).await;
                client.send(&connect).await;
                client.expect(&connack(version, 1)).await;
                client.closed().await;
            }
        }
    }
    // mosquitto takes it for a bridge: what it publishes does not come back to it
    let broker = Mosquitto::start().await;
    for layers in LAYERS {
        let mproxy = with(&broker.url(), layers, "bridges", "pass").await;
        let mut observer = Link::client(broker.addr(), Version::V311, "observer").await;
        observer.subscribe("x/#", 0).await;
        let mut client = Link::tcp(mproxy.addr()).await;
        client.send(&bridge("MQTT", 0x84, 1)).await;
        client.expect(&connack(Version::V311, 0)).await;
        client.subscribe("x/#", 0).await;
        client
            .send(&Publish::new(Version::V311, "x/y").bytes("echo?"))
            .await;
        assert_eq!(observer.message().await.text(), "echo?");
        client.silent().await;
        client.leave().await;
    }
}

/// A broker that does not know MQTT 5 answers in the words of MQTT 3; some clients understand that and
/// go on in 3.1.1. With layers and without, in both conformances.
#[tokio::test]
async fn a_refusal_in_words_of_mqtt_3_reaches_a_client_of_mqtt_5() {
    let broker = FakeBroker::bind().await;
    let refusal = [0x20, 2, 0, 1];
    for layers in LAYERS {
        for conformance in ["tolerant", "strict"] {
            let mproxy = with(&broker.url(), layers, "conformance", conformance).await;
            let mut client = Link::tcp(mproxy.addr()).await;
            let connect = Connect::new(Version::V5, "c").bytes();
            client.send(&connect).await;
            let mut server = broker.session().await;
            server.expect(&connect).await;
            server.send(&refusal).await;
            client.expect(&refusal).await;
            client.closed().await;
            server.closed().await;
        }
    }
}

/// DUP on QoS 0, which a widely used modem sends with every message: the bit is cleared in both
/// directions. To the letter it ends the session.
#[tokio::test]
async fn dup_at_qos_0_is_cleared() {
    let broker = FakeBroker::bind().await;
    for layers in LAYERS {
        for version in Version::ALL {
            let connect = Connect::new(version, "c");
            let right = Publish::new(version, "t").bytes("xx");
            let mut slip = right.clone();
            slip[0] |= 0x08;
            let mproxy = with(&broker.url(), layers, "conformance", "tolerant").await;
            let (mut client, mut server, _) = session(&mproxy, &broker, &connect, &[]).await;
            // alone, and one of many in one write
            for count in [1, 3] {
                let sent: Vec<_> = [&slip[..], &right, &slip].concat().repeat(count);
                client.send(&sent).await;
                server.send(&sent).await;
                for _ in 0..3 * count {
                    server.expect(&right).await;
                    client.expect(&right).await;
                }
            }

            let mproxy = with(&broker.url(), layers, "conformance", "strict").await;
            let (mut client, server, _) = session(&mproxy, &broker, &connect, &[]).await;
            client.send(&slip).await;
            if version.is_v5() {
                let told = client.packet().await;
                assert_eq!((told.first(), told.body()[0]), (0xe0, 0x81), "{told:?}");
            }
            client.closed().await;
            server.closed().await;
            // the client did nothing wrong, and is not told
            let (client, mut server, _) = session(&mproxy, &broker, &connect, &[]).await;
            server.send(&slip).await;
            client.closed().await;
            server.closed().await;
        }
    }
    let broker = Mosquitto::start().await;
    let mproxy = Mproxy::before(&broker.url()).await;
    let mut client = Link::client(mproxy.addr(), Version::V311, "modem").await;
    client.subscribe("t", 0).await;
    client.send(b"\x38\x05\0\x01txx").await;
    let message = Message::of(&client.packet().await, Version::V311);
    assert_eq!((&*message.topic, message.text()), ("t", "xx"));
    client.send(&PINGREQ).await;
    client.expect(&PINGRESP).await;
}
