//! What the admin port counts. Readiness has a file of its own.

use mproxy_tests::wire::{
    Connect, DISCONNECT, Publish, Version, puback, pubcomp, pubrec, pubrel, suback, subscribe,
};
use mproxy_tests::{FakeBroker, Link, Mosquitto, Mproxy, Setup};

use crate::deploy::assert_monitored;

/// Counted when it has happened, and not when a session ends.
#[tokio::test]
async fn traffic_is_counted_at_once_and_exactly() {
    let broker = FakeBroker::bind().await;
    let mproxy = Mproxy::before(&broker.url()).await;
    let version = Version::V5;
    let client = Link::client(mproxy.addr(), version, "c");
    let (mut client, (mut server, connect)) = tokio::join!(client, broker.accept());
    let mut bytes = connect.bytes().len();
    let mut up = async |client: &mut Link, server: &mut Link, packet: Vec<u8>| {
        client.send(&packet).await;
        server.expect(&packet).await;
        bytes += packet.len();
    };
    up(&mut client, &mut server, subscribe(version, 1, &[("a", 1)])).await;
    server.send(&suback(version, 1, &[1])).await;
    client.expect(&suback(version, 1, &[1])).await;
    for qos in 0..3 {
        let publish = Publish::new(version, "a").qos(qos, 5 + u16::from(qos));
        up(&mut client, &mut server, publish.bytes("payload")).await;
    }
    for answer in [puback(6), pubrec(7)] {
        server.send(&answer).await;
        client.expect(&answer).await;
    }
    up(&mut client, &mut server, pubrel(7)).await;
    server.send(&pubcomp(7)).await;
    client.expect(&pubcomp(7)).await;
    for _ in 0..4 {
        let delivery = Publish::new(version, "a").bytes("down");
        server.send(&delivery).await;
        client.expect(&delivery).await;
    }

    let up = "direction=\"client_to_broker\"";
    let down = "direction=\"broker_to_client\"";
    // the client may have the last delivery a moment before it is counted
    let delivered = format!("mproxy_packets_total{{{down},type=\"publish\"}}");
    mproxy.metric(&delivered, 4.0).await;
    let metrics = mproxy.metrics().await;
    for (sample, expected) in [
        (format!("mproxy_packets_total{{{up},type=\"connect\"}}"), 1),
        (format!("mproxy_packets_total{{{up},type=\"publish\"}}"), 3),
        (
            format!("mproxy_packets_total{{{up},type=\"subscribe\"}}"),
            1,
        ),
        (format!("mproxy_packets_total{{{up},type=\"pubrel\"}}"), 1),
        (format!("mproxy_packets_total{{{up}}}"), 6),
        (format!("mproxy_packet_bytes_total{{{up}}}"), bytes),
        (format!("mproxy_publishes_total{{{up},qos=\"0\"}}"), 1),
        (format!("mproxy_publishes_total{{{up},qos=\"1\"}}"), 1),
        (format!("mproxy_publishes_total{{{up},qos=\"2\"}}"), 1),
        (
            format!("mproxy_packets_total{{{down},type=\"connack\"}}"),
            1,
        ),
        (format!("mproxy_packets_total{{{down},type=\"puback\"}}"), 1),
        (format!("mproxy_packets_total{{{down},type=\"pubrec\"}}"), 1),
        (
            format!("mproxy_packets_total{{{down},type=\"pubcomp\"}}"),
            1,
        ),
        (format!("mproxy_packets_total{{{down},type=\"suback\"}}"), 1),
        (delivered, 4),
        ("mproxy_connections{version=\"5\"}".to_owned(), 1),
        (
            "mproxy_connections_accepted_total{listener=\"mqtt\"}".to_owned(),
            1,
        ),
        (
            "mproxy_upstream_connections{upstream=\"broker\"}".to_owned(),
            1,
        ),
        (
            "mproxy_connacks_total{version=\"5\",reason_code=\"success\"}".to_owned(),
            1,
        ),
    ] {
        let found = metrics.sum(&sample);
        assert!(
            (found - expected as f64).abs() < 0.1,
            "{sample} is {found}\n{}",
            metrics.0
        );
    }

    client.send(&DISCONNECT).await;
    server.expect(&DISCONNECT).await;
    drop(server);
    client.closed().await;
    mproxy.metric("mproxy_connections", 0.0).await;
    mproxy.metric("mproxy_upstream_connections", 0.0).await;
    let closed = "mproxy_connections_closed_total{side=\"client\",reason=\"disconnect\"}";
    mproxy.metric(closed, 1.0).await;
}

/// The dashboard that is shipped shows a proxy that has seen a little of everything.
#[tokio::test]
async fn the_dashboard_has_data_for_every_panel() {
    let broker = Mosquitto::start().await;
    let mproxy = Setup::before(&broker.url())
        .websocket()
        .limit("max_connections", "3")
        .toml(
            r#"
[chains.default]
layers = ["log", "tenant", "acl"]
[layers.log]
type = "access-log"
[layers.tenant]
type = "topic-map"
prefix = "t/"
[layers.acl]
type = "acl"
subscribe = "mosquitto"
[[layers.acl.rules]]
name = "a"
allow = ["publish", "subscribe"]
topics = ["t/a/#"]
"#,
        )
        .start()
        .await;
    for version in Version::ALL {
        let mut link = Link::client(mproxy.addr(), version, "c").await;
        link.subscribe("a/x", 2).await;
        link.send(&Publish::new(version, "a/x").bytes("through"))
            .await;
        assert_eq!(link.message().await.text(), "through");
        link.send(&Publish::new(version, "b").qos(1, 9).bytes("refused"))
            .await;
        assert_eq!(link.packet().await.kind(), 4);
        link.send(&subscribe(version, 3, &[("$SYS/#", 0)])).await;
        link.packet().await;
        link.leave().await;
    }
    // A client sees the end before its place is free: the third of the next was refused at times.
    mproxy.metric("mproxy_connections", 0.0).await;
    // one too many, and one that is no client
    let mut open = Vec::new();
    for number in 0..3 {
        open.push(Link::client(mproxy.addr(), Version::V5, &format!("open{number}")).await);
    }
    Link::tcp(mproxy.addr()).await.closed().await;
    open.truncate(1);
    mproxy.metric("mproxy_connections", 1.0).await;
    let mut wrong = Link::tcp(mproxy.addr()).await;
    wrong.connect(&Connect::new(Version::V5, "wrong")).await;
    wrong.send(&[0x00, 0x00]).await;
    wrong.rest().await;
    let closed = "mproxy_packet_errors_total{direction=\"client_to_broker\"}";
    mproxy.metric(closed, 1.0).await;
    assert_monitored(mproxy.admin(), &[]).await;
}
