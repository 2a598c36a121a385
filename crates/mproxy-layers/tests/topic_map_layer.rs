//! The map as a layer, alone and together with an ACL.

mod support;

use mproxy_codec::{Direction, PropertyId, PropertyWriter, ReasonCode, Value, Version};
use mproxy_layers::{
    acl::{Acl, AclLayer, Actions, Rule, SubscribePolicy},
    topic_map::{MapRule, TopicMap, TopicMapLayer},
};
use mproxy_session::{Admission, Identity, Packet, Verdict};
use support::{
    Client, Counter, Outcome, admit, ask, filters, forward_all, publish, published, refused, send,
    subscribe, unsubscribe,
};
use tower::{Service, ServiceBuilder};

fn layer() -> TopicMapLayer {
    TopicMapLayer::new(TopicMap::prefix("t/${username}/").expect("a valid prefix"))
}

fn device() -> Client<'static> {
    Client {
        id: "d7",
        user: Some("u"),
        ..Client::default()
    }
}

fn up(topic: &str) -> Packet {
    publish(Direction::ToServer, topic, None)
}

fn down(topic: &str) -> Packet {
    publish(Direction::ToClient, topic, None)
}

#[tokio::test]
async fn what_is_shared_is_read_and_not_written() {
    let counter = Counter::default();
    let map = TopicMap::builder()
        .rule(MapRule::new("news/", "public/news/").shared(true))
        .rule(MapRule::new("", "t/${username}/"));
    let map = TopicMapLayer::new(map.build().expect("a map"));
    let stack = ServiceBuilder::new()
        .layer(map.observer(counter.clone()))
        .service(forward_all());
    let (_, mut hooks) = admit(&stack, device()).await;
    let denied = Outcome::Refuse(ReasonCode::NOT_AUTHORIZED);
    assert_eq!(send(&mut hooks.to_server, up("news/x")).await, denied);
    // nor may a client have others publish there
    let asking = publish(Direction::ToServer, "ask", Some("news/x"));
    assert_eq!(send(&mut hooks.to_server, asking).await, denied);
    let will = Client {
        will: Some("news/x"),
        ..device()
    };
    refused(&stack, will).await;
    assert_eq!(
        send(&mut hooks.to_server, subscribe(&["news/#"])).await,
        filters(&["public/news/#"])
    );
    assert_eq!(
        send(&mut hooks.to_client, down("public/news/x")).await,
        published("news/x")
    );
    assert_eq!(counter.count("publish deny"), 2);
}

/// Filters that a map refused were in no count, unless all of a SUBSCRIBE were, and those of an
/// UNSUBSCRIBE never.
#[tokio::test]
async fn refused_topics_are_counted_one_by_one() {
    let counter = Counter::default();
    let stack = ServiceBuilder::new()
        .layer(layer().observer(counter.clone()))
        .service(forward_all());
    let (_, mut hooks) = admit(&stack, device()).await;
    let asked = subscribe(&["a", "$SYS/#", "$queue/a"]);
    let left = filters(&["t/u/a"]);
    assert_eq!(send(&mut hooks.to_server, asked).await, left);
    send(&mut hooks.to_server, up("$SYS/x")).await;
    assert_eq!(
        (
            counter.count("subscribe deny"),
            counter.count("publish deny")
        ),
        (2, 1)
    );
    let asked = unsubscribe(&["a", "$SYS/#", "$queue/a"]);
    let left = filters(&["t/u/a"]);
    assert_eq!(send(&mut hooks.to_server, asked).await, left);
    assert_eq!(counter.count("unsubscribe deny"), 2);
}

#[tokio::test]
async fn what_the_client_sends_gets_the_prefix() {
    let counter = Counter::default();
    let stack = ServiceBuilder::new()
        .layer(layer().observer(counter.clone()))
        .service(forward_all());
    let (_, mut hooks) = admit(&stack, device()).await;
    assert!(hooks.to_server.is_head_only() && hooks.to_client.is_head_only());
    assert_eq!(
        send(&mut hooks.to_server, up("a/b")).await,
        published("t/u/a/b")
    );
    let asked = subscribe(&["#", "$share/g/+/a"]);
    assert_eq!(
        send(&mut hooks.to_server, asked).await,
        filters(&["t/u/#", "$share/u:g/t/u/+/a"])
    );
    let asked = unsubscribe(&["#", "$share/g/+/a"]);
    assert_eq!(
        send(&mut hooks.to_server, asked).await,
        filters(&["t/u/#", "$share/u:g/t/u/+/a"])
    );
    assert_eq!(
        (
            counter.count("publish modified"),
            counter.count("subscribe modified")
        ),
        (1, 1)
    );
}

#[tokio::test]
async fn what_is_delivered_loses_the_prefix_or_is_dropped() {
    let counter = Counter::default();
    let stack = ServiceBuilder::new()
        .layer(layer().observer(counter.clone()))
        .service(forward_all());
    let (_, mut hooks) = admit(&stack, device()).await;
    assert_eq!(
        send(&mut hooks.to_client, down("t/u/a/b")).await,
        published("a/b")
    );
    for topic in ["t/u", "t/u/", "t/v/a", "a", "t/u/$SYS/a"] {
        assert_eq!(
            send(&mut hooks.to_client, down(topic)).await,
            Outcome::Discard,
            "{topic}"
        );
    }
    assert_eq!(
        (
            counter.count("publish modified"),
            counter.count("publish dropped"),
            counter.count("deliver deny")
        ),
        (1, 5, 5)
    );
}

#[tokio::test]
async fn what_has_no_place_behind_the_prefix_is_refused() {
    let stack = ServiceBuilder::new().layer(layer()).service(forward_all());
    let (_, mut hooks) = admit(&stack, device()).await;
    let longest = "a".repeat(65_535);
    for topic in ["$SYS/a", "$queue/a", "$share/g/a", &longest] {
        let refused = Outcome::Refuse(ReasonCode::TOPIC_NAME_INVALID);
        assert_eq!(
            send(&mut hooks.to_server, up(topic)).await,
            refused,
            "{topic:.9}"
        );
    }
    let asked = subscribe(&["$SYS/#", "a", "$share/g/$SYS/#", &longest]);
    assert_eq!(send(&mut hooks.to_server, asked).await, filters(&["t/u/a"]));
}

/// The payload and all other properties stay as they are.
#[tokio::test]
async fn response_topics_are_mapped_too() {
    let stack = ServiceBuilder::new().layer(layer()).service(forward_all());
    let (_, mut hooks) = admit(&stack, device()).await;
    for (reply_to, expected) in [
        ("t/u/reply", Some("reply")),
        ("t/v/reply", None),
        ("t/u", None),
    ] {
        let delivered = publish(Direction::ToClient, "t/u/a", Some(reply_to));
        let Ok(Verdict::Forward(packet)) = hooks.to_client.call(delivered).await else {
            panic!("not forwarded");
        };
        let publish = packet.publish().expect("a PUBLISH");
        assert_eq!(
            (publish.topic().as_str(), publish.payload()),
            ("a", &b"payload"[..])
        );
        assert_eq!(
            publish.properties().str(PropertyId::ResponseTopic),
            expected
        );
        assert_eq!(
            publish.properties().user_properties().collect::<Vec<_>>(),
            [("k", "v")]
        );
    }
    let sent = publish(Direction::ToServer, "a", Some("reply"));
    let Ok(Verdict::Forward(packet)) = hooks.to_server.call(sent).await else {
        panic!("not forwarded");
    };
    let sent = packet.publish().expect("a PUBLISH");
    assert_eq!(
        (sent.topic().as_str(), sent.payload()),
        ("t/u/a", &b"payload"[..])
    );
    assert_eq!(
        sent.properties().str(PropertyId::ResponseTopic),
        Some("t/u/reply")
    );
    let sent = publish(Direction::ToServer, "a", Some("$SYS/reply"));
    let refused = Outcome::Refuse(ReasonCode::TOPIC_NAME_INVALID);
    assert_eq!(send(&mut hooks.to_server, sent).await, refused);
}

#[tokio::test]
async fn wills_are_mapped_or_refused() {
    let stack = ServiceBuilder::new().layer(layer()).service(forward_all());
    let will = Client {
        will: Some("gone"),
        will_response_topic: Some("reply"),
        ..device()
    };
    let (connect, _) = admit(&stack, will).await;
    let mapped = connect.packet().will().expect("a will");
    assert_eq!((mapped.topic, mapped.payload), ("t/u/gone", &b"gone"[..]));
    assert_eq!(
        mapped.properties.str(PropertyId::ResponseTopic),
        Some("t/u/reply")
    );
    assert_eq!(
        mapped.properties.user_properties().collect::<Vec<_>>(),
        [("k", "v")]
    );
    for client in [
        Client {
            will: Some("$SYS/gone"),
            ..device()
        },
        Client {
            will: Some("gone"),
            will_response_topic: Some("$SYS/reply"),
            ..device()
        },
    ] {
        assert_eq!(
            refused(&stack, client).await.0,
            ReasonCode::TOPIC_NAME_INVALID,
            "{client:?}"
        );
    }
}

#[tokio::test]
async fn clients_without_a_usable_name_are_not_let_in() {
    let counter = Counter::default();
    let stack = ServiceBuilder::new()
        .layer(layer().observer(counter.clone()))
        .service(forward_all());
    for user in [None, Some(""), Some("u/v"), Some("+"), Some("#")] {
        let (reason, _) = refused(&stack, Client { user, ..device() }).await;
        assert_eq!(reason, ReasonCode::NOT_AUTHORIZED, "{user:?}");
    }
    assert_eq!(counter.count("connect deny"), 5);
}

/// Outside of the map a layer sees the client's topics, inside of it the broker's; in both
/// directions.
#[tokio::test]
async fn layers_see_the_same_topics_in_both_directions() {
    let acl = |pattern: &str| {
        let mut acl = Acl::builder();
        acl.rule(Rule::allow(Actions::ALL).topic(pattern))
            .expect("a valid rule");
        AclLayer::new(acl.build()).subscribe_policy(SubscribePolicy::FilterDeliveries)
    };
    let denied = Outcome::Refuse(ReasonCode::NOT_AUTHORIZED);

    let outside = ServiceBuilder::new()
        .layer(acl("a/#"))
        .layer(layer())
        .service(forward_all());
    let (_, mut hooks) = admit(
        &outside,
        Client {
            will: Some("a/gone"),
            ..device()
        },
    )
    .await;
    assert_eq!(
        send(&mut hooks.to_server, up("a/b")).await,
        published("t/u/a/b")
    );
    assert_eq!(
        send(&mut hooks.to_client, down("t/u/a/b")).await,
        published("a/b")
    );
    assert_eq!(send(&mut hooks.to_server, up("t/u/a/b")).await, denied);
    assert_eq!(send(&mut hooks.to_client, down("t/u/b")).await, denied);

    let inside = ServiceBuilder::new()
        .layer(layer())
        .layer(acl("t/u/a/#"))
        .service(forward_all());
    let (_, mut hooks) = admit(
        &inside,
        Client {
            will: Some("a/gone"),
            ..device()
        },
    )
    .await;
    assert_eq!(
        send(&mut hooks.to_server, up("a/b")).await,
        published("t/u/a/b")
    );
    assert_eq!(
        send(&mut hooks.to_client, down("t/u/a/b")).await,
        published("a/b")
    );
    assert_eq!(send(&mut hooks.to_server, up("b")).await, denied);
    assert_eq!(send(&mut hooks.to_client, down("t/u/b")).await, denied);
}

/// Response Information is the broker's word for a place below which the client is answered.
#[tokio::test]
async fn response_information_is_mapped_back_or_left_out() {
    let stack = ServiceBuilder::new().layer(layer()).service(forward_all());
    let (_, mut hooks) = admit(&stack, device()).await;
    for (information, expected) in [
        ("t/u/answers/", Some("answers/")),
        ("t/u/answers/d7", Some("answers/d7")),
        ("t/v/answers/", None),
        ("t/u/", None),
        ("t/u", None),
        ("t/u/$SYS/", None),
        ("", None),
    ] {
        let mut properties = PropertyWriter::new();
        for (id, value) in [
            (PropertyId::ReceiveMaximum, Value::U16(20)),
            (PropertyId::ResponseInformation, Value::Str(information)),
            (PropertyId::UserProperty, Value::Pair("k", "v")),
        ] {
            properties.push(id, value).expect("a property");
        }
        let block = properties.as_bytes();
        let length = u8::try_from(block.len()).expect("few properties");
        let frame = [&[0x20, length + 3, 1, 0, length], block].concat();
        let packet = Packet::parse(Version::V5, Direction::ToClient, frame.into());
        let packet = packet.expect("a valid CONNACK");
        let Ok(Verdict::Forward(packet)) = hooks.to_client.call(packet).await else {
            panic!("not forwarded");
        };
        let connack = packet.connack().expect("a CONNACK");
        assert!(connack.session_present && connack.is_success());
        let properties = connack.properties;
        let found = properties.str(PropertyId::ResponseInformation);
        assert_eq!(found, expected, "{information}");
        assert_eq!(properties.number(PropertyId::ReceiveMaximum), Some(20));
        assert_eq!(
            properties.user_properties().collect::<Vec<_>>(),
            [("k", "v")]
        );
    }
}

/// To a client that sees the broker as it is, nothing is changed, and no packet leaves the fast path.
#[tokio::test]
async fn super_clients_are_not_mapped() {
    let map = TopicMap::builder()
        .rule(MapRule::new("", "t/${username}/"))
        .super_usernames(["ops"])
        .super_client_ids(["console"]);
    let map = map.build().expect("a map");
    let stack = ServiceBuilder::new()
        .layer(TopicMapLayer::new(map))
        .service(forward_all());
    for (id, user) in [
        ("x", Some("ops")),
        ("console", Some("u")),
        ("console", None),
    ] {
        let client = Client {
            id,
            user,
            will: Some("$SYS/gone"),
            will_response_topic: Some("t/u/answers"),
        };
        let (connect, hooks) = admit(&stack, client).await;
        assert_eq!(connect.packet(), client.connect().packet());
        assert!(hooks.to_server.kinds().is_empty() && hooks.to_client.kinds().is_empty());
    }
    for (id, user) in [
        ("ops", Some("u")),
        ("x", Some("console")),
        ("x", Some("Ops")),
    ] {
        let client = Client {
            id,
            user,
            will: Some("gone"),
            ..Client::default()
        };
        let (connect, _) = admit(&stack, client).await;
        let will = connect.packet().will().expect("a will");
        assert_eq!(will.topic, format!("t/{}/gone", user.unwrap_or_default()));
    }
}

/// Layers outside say who a client is.
#[tokio::test]
async fn a_common_name_comes_from_the_identity() {
    let map = TopicMap::prefix("t/${cn}/").expect("a valid prefix");
    let stack = ServiceBuilder::new()
        .layer(TopicMapLayer::new(map))
        .service(forward_all());
    let (reason, text) = refused(&stack, device()).await;
    assert_eq!(reason, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(
        text,
        "the client has no common name that can stand in a topic"
    );
    for (name, topic) in [("device.7", Some("t/device.7/gone")), ("#", None)] {
        let mut connect = Client {
            will: Some("gone"),
            ..device()
        }
        .connect();
        connect.set_identity(Identity::new(name));
        match ask(&stack, connect).await {
            Admission::Admit { connect, .. } => {
                assert_eq!(connect.packet().will().map(|will| will.topic), topic);
            }
            _ => assert_eq!(topic, None),
        }
    }
}
