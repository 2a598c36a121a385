//! The layer `publish-rules`: what clients publish keeps to limits, and they get every acknowledgement that
//! they wait for.

use mproxy_tests::wire::{
    Connect, PINGREQ, Publish, Version, frame, puback, pubcomp, pubrec, pubrel,
};
use mproxy_tests::{FakeBroker, Link, Setup};

const LIMITS: &str = r##"
[chains.default]
layers = ["limits"]
[layers.limits]
type = "publish-rules"
[[layers.limits.rules]]
topics = ["telemetry/#"]
max_qos = 0
retain = "clear"
[[layers.limits.rules]]
topics = ["#"]
retain = "refuse"
max_payload = "8B"
"##;

fn limits(broker: &FakeBroker) -> Setup {
    Setup::before(&broker.url()).toml(LIMITS)
}

/// The broker gets QoS 0 and answers nothing; the client finishes its hand-shake with mproxy.
#[tokio::test]
async fn a_lowered_message_is_acknowledged() {
    for version in [Version::V311, Version::V5] {
        let broker = FakeBroker::bind().await;
        let mproxy = limits(&broker).start().await;
        let client = Link::client(mproxy.addr(), version, "d7");
        let (mut client, (mut server, _)) = tokio::join!(client, broker.accept());
        let publish = Publish::new(version, "telemetry/t");
        let lowered = publish.bytes("1");

        client
            .send(
                &Publish::new(version, "telemetry/t")
                    .qos(1, 7)
                    .retain()
                    .bytes("1"),
            )
            .await;
        server.expect(&lowered).await;
        client.expect(&puback(7)).await;

        let exactly_once = Publish::new(version, "telemetry/t").qos(2, 8).bytes("1");
        client.send(&exactly_once).await;
        server.expect(&lowered).await;
        client.expect(&pubrec(8)).await;
        // a repetition is not a second message
        client.send(&exactly_once).await;
        client.expect(&pubrec(8)).await;
        client.send(&pubrel(8)).await;
        client.expect(&pubcomp(8)).await;
        client.send(&PINGREQ).await;
        server.expect(&PINGREQ).await;
    }
}

#[tokio::test]
async fn a_refused_message_has_a_reason_and_does_not_arrive() {
    let broker = FakeBroker::bind().await;
    let mproxy = limits(&broker).start().await;
    let client = Link::client(mproxy.addr(), Version::V5, "d7");
    let (mut client, (mut server, _)) = tokio::join!(client, broker.accept());
    let publish = || Publish::new(Version::V5, "a").qos(1, 7);
    for (refused, reason) in [
        (publish().retain().bytes("1"), 0x87),
        (publish().bytes("123456789"), 0x97),
    ] {
        client.send(&refused).await;
        client.expect(&frame(0x40, &[0, 7, reason])).await;
    }
    client.send(&publish().bytes("12345678")).await;
    server.expect(&publish().bytes("12345678")).await;
    let denied = mproxy.event("a denial", |it| it["event"] == "deny").await;
    let detail = "the rule for `#` refuses messages with RETAIN";
    assert_eq!(
        (&denied["topic"], &denied["detail"]),
        (&"a".into(), &detail.into())
    );
}

/// Before MQTT 5 there is no word for no.
#[tokio::test]
async fn mqtt_3_is_acknowledged() {
    let broker = FakeBroker::bind().await;
    let mproxy = limits(&broker).start().await;
    let client = Link::client(mproxy.addr(), Version::V311, "d7");
    let (mut client, (mut server, _)) = tokio::join!(client, broker.accept());
    let publish = Publish::new(Version::V311, "a").qos(1, 7).retain();
    client.send(&publish.bytes("1")).await;
    client.expect(&puback(7)).await;
    client.send(&PINGREQ).await;
    server.expect(&PINGREQ).await;
}

#[tokio::test]
async fn a_will_keeps_to_the_rules() {
    let broker = FakeBroker::bind().await;
    let mproxy = limits(&broker).start().await;
    for (payload, retain, reason) in [("1", true, 0x9a), ("123456789", false, 0x97)] {
        let connect = Connect::new(Version::V5, "d7").will("a", payload, 1, retain);
        let mut client = Link::tcp(mproxy.addr()).await;
        client.send(&connect.bytes()).await;
        let connack = client.packet().await;
        assert_eq!(connack.bytes()[..4], [0x20, connack.bytes()[1], 0, reason]);
        client.closed().await;
    }
    let will =
        |qos, retain| Connect::new(Version::V5, "d7").will("telemetry/gone", "1", qos, retain);
    let mut client = Link::tcp(mproxy.addr()).await;
    let sent = will(2, true);
    let (_, (_, seen)) = tokio::join!(client.connect(&sent), broker.accept());
    assert_eq!(seen.bytes(), will(0, false).bytes());
}
