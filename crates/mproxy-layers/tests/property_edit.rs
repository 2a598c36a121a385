//! User Properties as a layer: on each packet that has them, in both directions.

mod support;

use mproxy_codec::{
    Direction, KindSet, Properties, PropertyId, PropertyWriter, QoS, ReasonCode,
    SubscriptionOptions, Value, Version, encode_publish, encode_subscribe,
};
use mproxy_layers::property_edit::{Edits, PropertyEditLayer};
use mproxy_session::{Packet, Tap, Verdict};
use support::{Client, Counter, admit, forward_all, refused};
use tower::{Service, ServiceBuilder};

fn edits(value: &str) -> Edits {
    let edits = Edits::builder().strip("x-forged").set("x-tenant", value);
    edits.expect("valid edits").build()
}

fn block(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = PropertyWriter::new();
    for (name, value) in pairs {
        writer
            .push(PropertyId::UserProperty, Value::Pair(name, value))
            .expect("a property");
    }
    writer.as_bytes().to_vec()
}

const BEFORE: &[(&str, &str)] = &[
    ("b", "1"),
    ("x-tenant", "forged"),
    ("x-forged", "1"),
    ("traceparent", "00-1"),
    ("b", "1"),
];

fn after(tenant: &str) -> Vec<(&str, &str)> {
    vec![
        ("b", "1"),
        ("traceparent", "00-1"),
        ("b", "1"),
        ("x-tenant", tenant),
    ]
}

fn publish(direction: Direction) -> Packet {
    let frame = encode_publish(
        Version::V5,
        "a",
        QoS::AtLeastOnce,
        3,
        &block(BEFORE),
        b"payload",
    );
    Packet::parse(Version::V5, direction, frame.expect("a PUBLISH")).expect("a valid PUBLISH")
}

async fn sent<S>(tap: &mut Tap<S>, packet: Packet) -> Packet
where
    S: Service<Packet, Response = Verdict, Error = mproxy_session::BoxError>,
{
    match tap.call(packet).await {
        Ok(Verdict::Forward(packet)) => packet,
        other => panic!("not forwarded: {other:?}"),
    }
}

fn pairs<'a>(properties: &Properties<'a>) -> Vec<(&'a str, &'a str)> {
    properties.user_properties().collect()
}

#[tokio::test]
async fn every_packet_is_stamped_and_forgeries_are_stripped() {
    let counter = Counter::default();
    let layer = PropertyEditLayer::new(edits("${username}"), edits("broker"));
    let stack = ServiceBuilder::new()
        .layer(layer.observer(counter.clone()))
        .service(forward_all());
    let device = Client {
        id: "d7",
        user: Some("acme"),
        will: Some("gone"),
        will_response_topic: Some("answers"),
    };
    let (connect, mut hooks) = admit(&stack, device).await;
    assert!(hooks.to_server.is_head_only() && hooks.to_client.is_head_only());
    let packet = connect.packet();
    assert_eq!(pairs(&packet.properties()), [("x-tenant", "acme")]);
    let will = packet.will().expect("a will").properties;
    assert_eq!(pairs(&will), [("k", "v"), ("x-tenant", "acme")]);
    assert_eq!(will.str(PropertyId::ResponseTopic), Some("answers"));

    let up = sent(&mut hooks.to_server, publish(Direction::ToServer)).await;
    let up = up.publish().expect("a PUBLISH");
    assert_eq!(pairs(&up.properties()), after("acme"));
    assert_eq!(
        (up.topic().as_str(), up.packet_id(), up.payload()),
        ("a", Some(3), &b"payload"[..])
    );

    let options = SubscriptionOptions::new(QoS::AtLeastOnce);
    let filters = [("a", options), ("b/#", options)];
    let asked = encode_subscribe(Version::V5, 9, &block(BEFORE), filters).expect("a SUBSCRIBE");
    let asked = Packet::parse(Version::V5, Direction::ToServer, asked).expect("a valid SUBSCRIBE");
    let asked = sent(&mut hooks.to_server, asked).await;
    let expected = encode_subscribe(Version::V5, 9, &block(&after("acme")), filters);
    assert_eq!(asked.as_bytes(), &expected.expect("a SUBSCRIBE"));

    let down = sent(&mut hooks.to_client, publish(Direction::ToClient)).await;
    let down = down.publish().expect("a PUBLISH");
    assert_eq!(pairs(&down.properties()), after("broker"));
    assert_eq!(
        (
            counter.count("publish modified"),
            counter.count("subscribe modified")
        ),
        (2, 1)
    );
}

/// A stamp that does not fit is not left out, and whoever looks for the client finds the layer.
#[tokio::test]
async fn a_client_whose_name_does_not_fit_is_not_let_in_and_counted() {
    let counter = Counter::default();
    let layer = PropertyEditLayer::new(edits("tenant ${username}"), Edits::default());
    let stack = ServiceBuilder::new()
        .layer(layer.observer(counter.clone()))
        .service(forward_all());
    let name = "x".repeat(usize::from(u16::MAX));
    let device = Client {
        id: "d7",
        user: Some(&name),
        ..Client::default()
    };
    let (reason, _) = refused(&stack, device).await;
    assert_eq!(reason, ReasonCode::PACKET_TOO_LARGE);
    assert_eq!(counter.count("connect deny"), 1);
}

#[tokio::test]
async fn what_has_nothing_to_edit_stays_on_the_fast_path() {
    let layer = PropertyEditLayer::new(Edits::default(), Edits::default());
    let stack = ServiceBuilder::new().layer(layer).service(forward_all());
    let (connect, hooks) = admit(
        &stack,
        Client {
            id: "d7",
            ..Client::default()
        },
    )
    .await;
    assert!(connect.packet().properties().is_empty());
    assert!(hooks.to_server.kinds().is_empty() && hooks.to_client.kinds().is_empty());

    let strip = Edits::builder().strip("x-forged").build();
    let stack = ServiceBuilder::new()
        .layer(PropertyEditLayer::new(strip, Edits::default()))
        .service(forward_all());
    let (_, mut hooks) = admit(
        &stack,
        Client {
            id: "d7",
            ..Client::default()
        },
    )
    .await;
    assert_eq!(
        hooks.to_server.kinds(),
        KindSet::PUBLISH | KindSet::SUBSCRIBE
    );
    assert!(hooks.to_client.kinds().is_empty());
    // not a byte is written anew
    let untouched = support::publish(Direction::ToServer, "a", Some("answers"));
    let address = untouched.as_bytes().as_ptr();
    let untouched = sent(&mut hooks.to_server, untouched).await;
    assert_eq!(untouched.as_bytes().as_ptr(), address);
}
