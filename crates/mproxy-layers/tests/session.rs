//! All layers in a real session, before a broker that writes down what reaches it.

mod support;

use bytes::Bytes;
use mproxy_codec::{
    ConnectPacket, Direction, PropertyId, PropertyWriter, QoS, ReasonCode, SubscriptionOptions,
    Value, Version, View, encode_publish, encode_subscribe,
};
use mproxy_layers::{
    access_log::AccessLogLayer,
    acl::{Acl, AclLayer, Actions, Rule},
    property_edit::{Edits, PropertyEditLayer},
    topic_map::{TopicMap, TopicMapLayer},
};
use mproxy_session::{MemoryBudget, Peer, Session, SessionHandle};
use support::{Client, end::End, forward_all, log::Log};
use tokio::io::{AsyncReadExt, duplex};
use tower::ServiceBuilder;

fn publish_with_alias(topic: &str, id: u16, alias: Option<u16>) -> Bytes {
    let mut properties = PropertyWriter::new();
    if let Some(alias) = alias {
        properties
            .push(PropertyId::TopicAlias, Value::U16(alias))
            .expect("a property");
    }
    let frame = encode_publish(
        Version::V5,
        if topic.is_empty() { "x" } else { topic },
        QoS::AtLeastOnce,
        id,
        properties.as_bytes(),
        b"canary",
    )
    .expect("a PUBLISH");
    if !topic.is_empty() {
        return frame;
    }
    // An alias alone: the builder does not write what needs a table to be understood.
    let mut frame = frame.to_vec();
    frame[1] -= 1;
    frame.splice(2..5, [0, 0]);
    frame.into()
}

fn puback(id: u8, reason: ReasonCode) -> Vec<u8> {
    vec![0x40, 3, 0, id, reason.as_u8()]
}

fn topic_of(direction: Direction, frame: &[u8]) -> String {
    match View::parse(Version::V5, direction, frame) {
        Ok(Some(View::Publish(publish))) => {
            String::from_utf8(publish.topic_bytes().to_vec()).expect("UTF-8")
        }
        other => panic!("not a PUBLISH: {other:?}"),
    }
}

/// A device that is denied in every way it knows; nothing of it reaches the broker, and the log
/// says so in a few lines.
#[tokio::test]
async fn nothing_denied_reaches_the_broker() {
    let mut acl = Acl::builder();
    let both = Actions::PUBLISH | Actions::SUBSCRIBE;
    acl.rule(Rule::allow(both).topic("${client_id}/#"))
        .expect("a valid rule");
    let stack = ServiceBuilder::new()
        .layer(AccessLogLayer::new())
        .layer(AclLayer::new(acl.build()))
        .layer(TopicMapLayer::new(
            TopicMap::prefix("t/${username}/").expect("a valid prefix"),
        ))
        .service(forward_all());

    let (near, client) = duplex(4096);
    let (far, server) = duplex(4096);
    let session = Session::new(Peer::new("test")).run(client, stack, move |_| async move {
        Ok::<_, std::io::Error>(server)
    });

    let talk = async {
        let (mut client, mut broker) = (End(near), End(far));
        let device = Client {
            id: "d7",
            user: Some("u"),
            will: Some("d7/gone"),
            ..Client::default()
        };
        client.write(device.connect().packet().as_bytes()).await;
        let connect = ConnectPacket::parse(broker.read().await).expect("a CONNECT");
        assert_eq!(connect.will().map(|will| will.topic), Some("t/u/d7/gone"));
        // Session Present 0, success, Topic Alias Maximum 10.
        broker.write(&[0x20, 6, 0, 0, 3, 0x22, 0, 10]).await;
        let accepted = client.read().await;
        assert_eq!((accepted[0], accepted[3]), (0x20, 0));

        // Denied: by topic, by a topic that binds an alias, by the alias alone, by `$`.
        for (id, topic, alias) in [
            (1, "d8/a", None),
            (2, "d8/a", Some(1)),
            (3, "", Some(1)),
            (4, "$SYS/a", None),
        ] {
            client.write(&publish_with_alias(topic, id, alias)).await;
            assert_eq!(
                client.read().await,
                puback(id as u8, ReasonCode::NOT_AUTHORIZED),
                "{id}"
            );
        }
        // An alias that is bound anew is what it is bound to now.
        client.write(&publish_with_alias("d7/a", 5, Some(1))).await;
        assert_eq!(
            topic_of(Direction::ToServer, &broker.read().await),
            "t/u/d7/a"
        );
        client.write(&publish_with_alias("", 6, Some(1))).await;
        let repeated = broker.read().await;
        assert!(["t/u/d7/a", ""].contains(&topic_of(Direction::ToServer, &repeated).as_str()));
        for id in [5, 6] {
            broker.write(&puback(id, ReasonCode::SUCCESS)).await;
            assert_eq!(client.read().await[..4], [0x40, 3, 0, id]);
        }

        // Two of four filters are denied; the answer has a code for each, in order.
        let options = SubscriptionOptions::new(QoS::AtLeastOnce);
        let asked = ["d7/x", "#", "$share/g/d7/+", "$share/g/d8/+"].map(|filter| (filter, options));
        client
            .write(&encode_subscribe(Version::V5, 7, &[], asked).expect("a SUBSCRIBE"))
            .await;
        let granted = ["t/u/d7/x", "$share/u:g/t/u/d7/+"].map(|filter| (filter, options));
        let expected = encode_subscribe(Version::V5, 7, &[], granted).expect("a SUBSCRIBE");
        assert_eq!(broker.read().await, expected);
        broker.write(&[0x90, 5, 0, 7, 0, 1, 0]).await;
        assert_eq!(
            client.read().await[..],
            [0x90, 7, 0, 7, 0, 1, 0x87, 0, 0x87]
        );

        // What is not the client's is dropped; its own comes without the prefix.
        for (topic, payload) in [("t/v/d7/x", b"theirs"), ("t/u/d7/x", b"itsown")] {
            let delivered = encode_publish(Version::V5, topic, QoS::AtMostOnce, 0, &[], payload);
            broker.write(&delivered.expect("a PUBLISH")).await;
        }
        let delivered = client.read().await;
        assert_eq!(topic_of(Direction::ToClient, &delivered), "d7/x");
        assert!(delivered.ends_with(b"itsown"));

        client.write(&[0xe0, 0]).await;
        assert_eq!(broker.read().await[..2], [0xe0, 0]);
        drop(client);
        let mut rest = Vec::new();
        broker.0.read_to_end(&mut rest).await.expect("the end");
        assert_eq!(rest, b"");
    };

    let mut lines = Log::of(async {
        let (summary, ()) = tokio::join!(session, talk);
        // four PUBLISH, and a SUBSCRIBE in part
        assert_eq!((summary.to_server.denied, summary.to_client.denied), (5, 1));
    })
    .await;
    // the session's own transitions are another matter
    lines.retain(|line| line.contains("mproxy::access"));
    let events: Vec<_> = lines
        .iter()
        .map(|line| line.split('"').nth(1).unwrap_or(line))
        .collect();
    assert_eq!(
        events,
        ["connect", "deny", "deny", "subscribe", "disconnect"],
        "{lines:#?}"
    );
    assert!(
        lines[4].contains("side=\"client\" reason=\"disconnect\""),
        "{}",
        lines[4]
    );
    assert!(lines[4].contains("denied=6"), "{}", lines[4]);
    assert!(
        !lines.iter().any(|line| line.contains("canary")),
        "{lines:#?}"
    );
}

/// The copies of a long client id in acl, topic-map and property-edit were three times as large as what
/// the session counted.
#[tokio::test]
async fn what_layers_keep_of_a_client_counts() {
    const NAME: usize = 15_000;
    let held = async |with_layers: bool| {
        let mut acl = Acl::builder();
        if with_layers {
            acl.rule(Rule::allow(Actions::PUBLISH).topic("${client_id}/#"))
                .expect("a valid rule");
        }
        let prefix = if with_layers { "t/${client_id}/" } else { "t/" };
        let map = TopicMap::prefix(prefix).expect("a valid prefix");
        let mut edits = Edits::builder();
        if with_layers {
            edits = edits.set("x-id", "${client_id}").expect("valid edits");
        }
        let edits = edits.build();
        let stack = ServiceBuilder::new()
            .layer(AclLayer::new(acl.build()))
            .layer(TopicMapLayer::new(map))
            .layer(PropertyEditLayer::new(edits.clone(), edits))
            .service(forward_all());
        let memory = MemoryBudget::new(1 << 20);
        let control = SessionHandle::with_memory(&memory);
        let (near, client) = duplex(1 << 16);
        let (far, server) = duplex(1 << 16);
        let session = Session::new(Peer::new("test")).handle(control.clone());
        let session = session.run(client, stack, move |_| async move {
            Ok::<_, std::io::Error>(server)
        });
        let talk = async {
            let (mut client, mut broker) = (End(near), End(far));
            let id = "c".repeat(NAME);
            let device = Client {
                id: &id,
                ..Client::default()
            };
            client.write(device.connect().packet().as_bytes()).await;
            broker.read().await;
            broker.write(&[0x20, 3, 0, 0, 0]).await;
            client.read().await;
            // what was read of CONNECT is not held any more when something has passed behind it
            client.write(&[0xc0, 0]).await;
            broker.read().await;
            control.held()
        };
        let (_, held) = tokio::join!(session, talk);
        held
    };
    let (alone, layered) = (held(false).await, held(true).await);
    assert!((NAME..NAME + 8192).contains(&alone), "{alone}");
    // once in acl, twice in the map, and once in the edits of each direction; counted in steps of 4 KiB
    let more = layered - alone;
    assert!(more.abs_diff(5 * NAME) <= 4096, "{more}");
}
