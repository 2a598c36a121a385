//! Rules for PUBLISH as a layer: what is changed, what is refused, and what stays as it is.

mod support;

use mproxy_codec::{
    ConnectBuilder, Direction, KindSet, PublishEdit, QoS, ReasonCode, Version, Will, encode_publish,
};
use mproxy_layers::DeniedWill;
use mproxy_layers::publish_rules::{PublishRule, PublishRules, PublishRulesLayer, Retain};
use mproxy_session::{Admission, BoxError, Connect, Packet, Peer, Tap, Verdict};
use support::{Client, Counter, Outcome, admit, ask, forward_all, outcome, published};
use tower::{Service, ServiceBuilder};

fn rules() -> PublishRules {
    let rules = PublishRules::builder()
        .rule(PublishRule::new(["firmware/#"]).max_payload(100))
        .and_then(|it| it.rule(PublishRule::new(["a/+", "b"]).at_most_once(true)))
        .and_then(|it| it.rule(PublishRule::new(["a/#"]).retain(Retain::Clear)))
        .and_then(|it| {
            it.rule(
                PublishRule::new(["#"])
                    .retain(Retain::Refuse)
                    .max_payload(4),
            )
        });
    rules.expect("valid rules").build()
}

/// A PUBLISH of MQTT 5.0; `retain` sets its flag.
fn publish(topic: &str, qos: QoS, retain: bool, payload: &[u8]) -> Packet {
    let id = if qos == QoS::AtMostOnce { 0 } else { 3 };
    let frame = encode_publish(Version::V5, topic, qos, id, &[], payload).expect("a PUBLISH");
    let packet = Packet::parse(Version::V5, Direction::ToServer, frame);
    let mut packet = packet.expect("a valid PUBLISH");
    if retain {
        let mut edit = PublishEdit::new();
        edit.retain = Some(true);
        packet.edit_publish(&edit).expect("a flag");
    }
    packet
}

async fn sent<S>(tap: &mut Tap<S>, packet: Packet) -> Packet
where
    S: Service<Packet, Response = Verdict, Error = BoxError>,
{
    match tap.call(packet).await {
        Ok(Verdict::Forward(packet)) => packet,
        other => panic!("not forwarded: {other:?}"),
    }
}

const DEVICE: Client<'_> = Client {
    id: "d7",
    user: None,
    will: None,
    will_response_topic: None,
};

#[tokio::test]
async fn the_first_rule_that_matches_changes_a_message() {
    let counter = Counter::default();
    let layer = PublishRulesLayer::new(rules()).observer(counter.clone());
    let stack = ServiceBuilder::new().layer(layer).service(forward_all());
    let (_, mut hooks) = admit(&stack, DEVICE).await;
    let tap = &mut hooks.to_server;
    assert!(tap.is_head_only());
    for (topic, qos, retain, after) in [
        ("a/b", QoS::ExactlyOnce, true, (QoS::AtMostOnce, true)),
        ("b", QoS::AtLeastOnce, false, (QoS::AtMostOnce, false)),
        ("a/b/c", QoS::AtLeastOnce, true, (QoS::AtLeastOnce, false)),
        (
            "firmware/1",
            QoS::ExactlyOnce,
            true,
            (QoS::ExactlyOnce, true),
        ),
        ("c", QoS::ExactlyOnce, false, (QoS::ExactlyOnce, false)),
    ] {
        let packet = sent(tap, publish(topic, qos, retain, b"1234")).await;
        let publish = packet.publish().expect("a PUBLISH");
        assert_eq!((publish.qos(), publish.retain()), after, "{topic}");
        assert_eq!(
            (publish.topic().as_str(), publish.payload()),
            (topic, &b"1234"[..])
        );
    }
    assert_eq!(counter.count("publish modified"), 3);
    assert_eq!(counter.count("publish allow"), 5);
}

/// A message that is as it may be stays in the buffer, byte for byte.
#[tokio::test]
async fn nothing_is_written_anew_without_need() {
    let stack = ServiceBuilder::new().layer(PublishRulesLayer::new(rules()));
    let stack = stack.service(forward_all());
    let (_, mut hooks) = admit(&stack, DEVICE).await;
    let packet = publish("a/b", QoS::AtMostOnce, true, b"1");
    let address = packet.as_bytes().as_ptr();
    let packet = sent(&mut hooks.to_server, packet).await;
    assert_eq!(packet.as_bytes().as_ptr(), address);
    assert_eq!(hooks.to_server.kinds(), KindSet::PUBLISH);
    assert!(hooks.to_client.kinds().is_empty());

    let none = PublishRulesLayer::new(PublishRules::builder().build());
    let stack = ServiceBuilder::new().layer(none).service(forward_all());
    let (_, hooks) = admit(&stack, DEVICE).await;
    assert!(hooks.to_server.kinds().is_empty());
}

#[tokio::test]
async fn what_is_refused_has_a_reason() {
    let counter = Counter::default();
    let layer = PublishRulesLayer::new(rules()).observer(counter.clone());
    let stack = ServiceBuilder::new().layer(layer).service(forward_all());
    let (_, mut hooks) = admit(&stack, DEVICE).await;
    let large = [0; 101];
    for (packet, expected) in [
        (
            publish("c", QoS::AtLeastOnce, true, b"1"),
            Outcome::Refuse(ReasonCode::RETAIN_NOT_SUPPORTED),
        ),
        (
            publish("c", QoS::AtLeastOnce, false, b"12345"),
            Outcome::Refuse(ReasonCode::QUOTA_EXCEEDED),
        ),
        (
            publish("firmware/1", QoS::AtMostOnce, false, &large),
            Outcome::Refuse(ReasonCode::QUOTA_EXCEEDED),
        ),
        (
            publish("firmware/1", QoS::AtMostOnce, false, &large[1..]),
            published("firmware/1"),
        ),
        // the dollar keeps it apart from wildcards
        (
            publish("$c", QoS::AtMostOnce, true, b"12345"),
            published("$c"),
        ),
    ] {
        let verdict = hooks.to_server.call(packet).await.expect("a verdict");
        assert_eq!(outcome(verdict), expected);
    }
    assert_eq!(counter.count("publish deny"), 3);
    assert_eq!(counter.count("publish dropped"), 3);
}

fn with_will(topic: &str, retain: bool, payload: &[u8]) -> Connect {
    let mut will = Will::new(topic, payload);
    will.qos = QoS::ExactlyOnce;
    will.retain = retain;
    let packet = ConnectBuilder::new(Version::V5).client_id("d7").will(will);
    Connect::new(packet.build().expect("a CONNECT"), Peer::new("test"))
}

#[tokio::test]
async fn a_will_is_a_message_in_advance() {
    let stack = |will| {
        let layer = PublishRulesLayer::new(rules()).denied_will(will);
        ServiceBuilder::new().layer(layer).service(forward_all())
    };
    let refuse = stack(DeniedWill::Refuse);
    for (connect, reason) in [
        (with_will("c", true, b"1"), ReasonCode::RETAIN_NOT_SUPPORTED),
        (with_will("c", false, b"12345"), ReasonCode::QUOTA_EXCEEDED),
    ] {
        match ask(&refuse, connect).await {
            Admission::Refuse(refusal) => {
                let text = refusal.text.as_deref();
                assert_eq!(
                    (refusal.reason, text),
                    (reason, Some("will on topic c is not allowed"))
                );
            }
            _ => panic!("let in"),
        }
    }
    for (topic, after) in [
        ("a/b", (QoS::AtMostOnce, true)),
        ("a/b/c", (QoS::ExactlyOnce, false)),
    ] {
        let Admission::Admit { connect, .. } = ask(&refuse, with_will(topic, true, b"1")).await
        else {
            panic!("not let in");
        };
        let will = connect.packet().will().expect("a will");
        assert_eq!((will.qos, will.retain), after, "{topic}");
    }
    let strip = stack(DeniedWill::Strip);
    let Admission::Admit { connect, .. } = ask(&strip, with_will("c", true, b"1")).await else {
        panic!("not let in");
    };
    assert!(connect.packet().will().is_none());
}
