//! Client ids as a layer: who is let in, what the broker reads, what the client is told.

mod support;

use mproxy_codec::{Direction, KindSet, PropertyId, PropertyWriter, ReasonCode, Value, Version};
use mproxy_layers::client_id::{ClientIdLayer, ClientIds, ClientIdsBuilder, Require};
use mproxy_session::{Packet, Verdict};
use support::{Client, Counter, admit, forward_all, refused};
use tower::{Service, ServiceBuilder};

fn layer(ids: ClientIdsBuilder) -> ClientIdLayer {
    ClientIdLayer::new(ids.build().expect("valid rules"))
}

fn prefixed() -> ClientIdsBuilder {
    ClientIds::builder().prefix("${username}:")
}

fn client<'a>(id: &'a str, user: &'a str) -> Client<'a> {
    Client {
        id,
        user: Some(user).filter(|user| !user.is_empty()),
        ..Client::default()
    }
}

fn connack(assigned: Option<&str>) -> Packet {
    let mut block = PropertyWriter::new();
    for (id, value) in [
        (
            PropertyId::AssignedClientIdentifier,
            assigned.map(Value::Str),
        ),
        (PropertyId::ReasonString, Some(Value::Str("welcome"))),
        (PropertyId::ServerKeepAlive, Some(Value::U16(60))),
    ] {
        if let Some(value) = value {
            block.push(id, value).expect("a property");
        }
    }
    let block = block.as_bytes();
    let length = u8::try_from(block.len()).expect("few properties");
    let frame = [&[0x20, length + 3, 0, 0, length], block].concat();
    Packet::parse(Version::V5, Direction::ToClient, frame.into()).expect("a valid CONNACK")
}

#[tokio::test]
async fn another_users_id_is_refused() {
    let require = Require::prefix_username("-").expect("a separator");
    let counter = Counter::default();
    let layer = layer(ClientIds::builder().require(require)).observer(counter.clone());
    let stack = ServiceBuilder::new().layer(layer).service(forward_all());
    for (id, user) in [("acme-7", "acme"), ("acme", "acme")] {
        let (connect, hooks) = admit(&stack, client(id, user)).await;
        assert_eq!(connect.packet(), client(id, user).connect().packet());
        assert!(hooks.to_server.kinds().is_empty() && hooks.to_client.kinds().is_empty());
    }
    for (id, user, expected) in [
        ("other-7", "acme", "the client id belongs to another user"),
        ("", "acme", "the client id belongs to another user"),
        (
            "acme-7",
            "",
            "a client without a user name has no client id here",
        ),
    ] {
        let (reason, text) = refused(&stack, client(id, user)).await;
        assert_eq!(reason, ReasonCode::CLIENT_IDENTIFIER_NOT_VALID);
        assert_eq!(text, expected);
    }
    let counts = (
        counter.count("connect allow"),
        counter.count("connect deny"),
    );
    assert_eq!(counts, (2, 3));
}

#[tokio::test]
async fn the_prefix_is_put_on() {
    let stack = ServiceBuilder::new()
        .layer(layer(prefixed()))
        .service(forward_all());
    let (connect, hooks) = admit(&stack, client("x", "acme")).await;
    assert_eq!(connect.packet().client_id(), "acme:x");
    assert_eq!(connect.info().client_id(), "acme:x");
    assert!(hooks.to_client.kinds().is_empty());

    // what the broker has assigned to a client without a prefix is none of this layer's business
    let stack = ServiceBuilder::new()
        .layer(layer(ClientIds::builder()))
        .service(forward_all());
    let (connect, hooks) = admit(&stack, client("", "acme")).await;
    assert_eq!(connect.packet().client_id(), "");
    assert!(hooks.to_client.kinds().is_empty());
}

/// With a prefix alone, the broker assigned an id, which came back with the prefix before it: the
/// session, and what was queued in it, was never found again.
#[tokio::test]
async fn a_generated_id_is_told_and_is_nobody_elses() {
    for rules in [prefixed().generate(true), prefixed()] {
        generated(rules).await;
    }
}

async fn generated(rules: ClientIdsBuilder) {
    let stack = ServiceBuilder::new()
        .layer(layer(rules))
        .service(forward_all());
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (connect, mut hooks) = admit(&stack, client("", "acme")).await;
        assert_eq!(hooks.to_client.kinds(), KindSet::CONNACK);
        let at_broker = connect.packet().client_id().to_owned();
        let id = at_broker.strip_prefix("acme:").expect("the prefix");
        assert!(id.starts_with("mproxy-") && id.len() == 39, "{id}");
        let Ok(Verdict::Forward(packet)) = hooks.to_client.call(connack(None)).await else {
            panic!("not forwarded");
        };
        let properties = packet.connack().expect("a CONNACK").properties;
        let told = properties.str(PropertyId::AssignedClientIdentifier);
        assert_eq!(told, Some(id));
        assert_eq!(properties.number(PropertyId::ServerKeepAlive), Some(60));
        // and the client comes back as the one that it was
        let (again, _) = admit(&stack, client(id, "acme")).await;
        assert_eq!(again.packet().client_id(), at_broker);
        ids.push(at_broker);
    }
    assert_ne!(ids[0], ids[1]);
}

/// What CONNACK owes comes before what it may leave out. `[MQTT-3.2.2-19]`
#[tokio::test]
async fn a_small_client_is_told_its_id_before_anything_else() {
    let stack = ServiceBuilder::new()
        .layer(layer(ClientIds::builder().generate(true)))
        .service(forward_all());
    for (size, reason) in [(50_u32, None), (100, Some("welcome"))] {
        let mut connect = client("", "").connect();
        let mut properties = PropertyWriter::new();
        properties
            .push(PropertyId::MaximumPacketSize, Value::U32(size))
            .expect("a property");
        let packet = connect.packet_mut();
        packet
            .set_properties(properties.as_bytes())
            .expect("valid properties");
        let admission = tower::ServiceExt::oneshot(stack.clone(), connect).await;
        let Ok(mproxy_session::Admission::Admit { mut hooks, .. }) = admission else {
            panic!("not admitted");
        };
        let Ok(Verdict::Forward(packet)) = hooks.to_client.call(connack(None)).await else {
            panic!("not forwarded");
        };
        assert!(packet.as_bytes().len() <= size as usize);
        let properties = packet.connack().expect("a CONNACK").properties;
        assert_eq!(properties.str(PropertyId::ReasonString), reason);
        let told = properties.str(PropertyId::AssignedClientIdentifier);
        assert!(told.is_some_and(|id| id.starts_with("mproxy-")));
    }
}
