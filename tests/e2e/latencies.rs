//! What mproxy measures of the broker and of itself.

use mproxy_tests::wire::{Connect, Publish, Version, connack, puback};
use mproxy_tests::{FakeBroker, Link, Mproxy, Setup, until};

/// A broker whose database of users was slow let nobody in for seconds. The time to connect to it was
/// a millisecond, and from accept to CONNACK was as long for clients that were slow themselves.
#[tokio::test]
async fn each_connack_of_the_broker_is_timed() {
    const COUNT: &str = "mproxy_upstream_connack_duration_seconds_count{upstream=\"broker\"}";
    let broker = FakeBroker::bind().await;
    let mproxy = Mproxy::before(&broker.url()).await;
    broker.probed().await;
    mproxy.until_ready(true).await;
    // probes are not clients
    assert_eq!(mproxy.metrics().await.sum(COUNT), 0.0);
    let mut count = 0.0;
    for version in Version::ALL {
        let client = Link::client(mproxy.addr(), version, "in");
        let (client, (server, _)) = tokio::join!(client, broker.accept());
        count += 1.0;
        mproxy.metric(COUNT, count).await;
        drop((client, server));

        // a refusal is an answer
        let mut client = Link::tcp(mproxy.addr()).await;
        client.send(&Connect::new(version, "out").bytes()).await;
        let mut server = broker.session().await;
        server.packet().await;
        let not_authorized = if version == Version::V5 { 0x87 } else { 5 };
        server.send(&connack(version, not_authorized)).await;
        client.packet().await;
        count += 1.0;
        mproxy.metric(COUNT, count).await;
    }
    // and silence is none
    let mut client = Link::tcp(mproxy.addr()).await;
    client
        .send(&Connect::new(Version::V5, "no answer").bytes())
        .await;
    drop(broker.session().await);
    client.closed().await;
    mproxy.end_of("no answer").await;
    assert_eq!(mproxy.metrics().await.sum(COUNT), count);
}

/// Whoever looked at the proxy for what made messages late found out nothing about its own part.
#[tokio::test]
async fn workers_go_on_to_say_how_late_they_are_and_to_time_the_broker() {
    let broker = FakeBroker::bind().await;
    let setup = Setup::before(&broker.url()).set("server.worker_threads", "1");
    let mproxy = setup.start().await;
    let client = Link::client(mproxy.addr(), Version::V5, "c");
    let (mut client, (mut server, _)) = tokio::join!(client, broker.accept());
    let message = Publish::new(Version::V5, "t").qos(1, 1).bytes("x");
    // one sample would be the one that is wanted from the start
    for (family, enough) in [
        ("mproxy_publish_ack_duration_seconds_count", 3.0),
        ("mproxy_worker_lag_seconds_count", 3.0),
    ] {
        until(family, async || {
            client.send(&message).await;
            server.expect(&message).await;
            server.send(&puback(1)).await;
            client.expect(&puback(1)).await;
            (mproxy.metrics().await.sum(family) >= enough).then_some(())
        })
        .await;
    }
}
