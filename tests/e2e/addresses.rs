//! Brokers with several addresses, and brokers that restart while clients connect.

use std::time::{Duration, Instant};

use mproxy_tests::wire::{Connect, PINGREQ, PINGRESP, Version, connack};
use mproxy_tests::{FakeBroker, Link, Mosquitto, Setup, until};

const ADDRESS: &str = "mproxy_upstream_address{upstream=\"broker\"}";
const DEFAULT: Duration = Duration::from_secs(5);

fn setup(first: &str, second: &str) -> Setup {
    Setup::before(first).set("upstreams.broker.addresses", &format!("[\"{second}\"]"))
}

/// The brokers are two, which shows who has a client; for mproxy they are one.
#[tokio::test]
async fn the_next_address_takes_over_and_gives_back() {
    let (first, second) = (Mosquitto::start().await, Mosquitto::start().await);
    let mproxy = setup(&first.url(), &second.url()).start().await;
    mproxy.until_ready(true).await;
    let before = Link::client(mproxy.addr(), Version::V5, "before").await;
    mproxy.metric(ADDRESS, 0.0).await;

    let first = first.stop().await;
    before.closed().await;
    let begin = Instant::now();
    let mut during = Link::client(mproxy.addr(), Version::V5, "during").await;
    assert!(begin.elapsed() < DEFAULT, "{:?}", begin.elapsed());
    mproxy.metric(ADDRESS, 1.0).await;
    let switch = mproxy.event("a switch", |it| it["event"] == "switch").await;
    assert_eq!(switch["level"], "WARN");
    assert_eq!(switch["upstream"], "broker");
    assert_eq!(switch["address"], second.url());
    let remedy = switch["remedy"].as_str().expect("a remedy");
    assert!(remedy.contains("upstreams.broker.address"), "{remedy}");
    until("readiness that names the address", async || {
        let (code, lines) = mproxy.ready().await;
        (code == 200 && lines.contains("upstream broker ok (addresses[0])")).then_some(())
    })
    .await;

    let _first = first.start().await;
    // ten seconds later, one of those that connect finds out
    until("the first address", async || {
        let client = Link::client(mproxy.addr(), Version::V5, "after").await;
        let back = mproxy.metrics().await.sum(ADDRESS) == 0.0;
        client.leave().await;
        back.then_some(())
    })
    .await;
    let back = mproxy.event("a switch back", |it| {
        it["event"] == "switch" && it["level"] == "INFO"
    });
    assert_eq!(back.await["upstream"], "broker");
    // who is connected stays
    during.send(&PINGREQ).await;
    during.expect(&PINGRESP).await;
    let (_, lines) = mproxy.ready().await;
    assert!(!lines.contains("addresses"), "{lines}");
}

/// A client that came while the broker restarted was closed; some take minutes to come back.
#[tokio::test]
async fn a_broker_that_restarts_is_waited_for_if_that_is_set() {
    for version in Version::ALL {
        let broker = FakeBroker::bind().await;
        let url = broker.url();
        let setup = Setup::before(&url)
            .set("upstreams.broker.health.check", "off")
            .set("upstreams.broker.connect_timeout", "20s")
            .set("upstreams.broker.retry_for", "20s");
        let mproxy = setup.start().await;
        // its address stays free of others as long as there is a connection
        let held = Link::client(mproxy.addr(), version, "held");
        let (_held, (_server, _)) = tokio::join!(held, broker.accept());
        let addr = broker.close();
        let mut client = Link::tcp(mproxy.addr()).await;
        client.send(&Connect::new(version, "c").bytes()).await;
        mproxy.metric("mproxy_connections_pending", 0.0).await;
        let broker = FakeBroker::bind_at(addr).await;
        let (_server, _) = broker.accept().await;
        client.expect(&connack(version, 0)).await;
    }
}

#[tokio::test]
async fn without_an_address_that_answers_all_are_named() {
    let (first, second) = (FakeBroker::bind().await, FakeBroker::bind().await);
    let setup = setup(&first.url(), &second.url());
    let setup = setup.set("upstreams.broker.when_unreachable", "connack");
    let (one, two) = (first.url(), second.url());
    // nobody else gets the ports while these are open
    let held = [first, second].map(|it| {
        let addr = it.close();
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.expect("a socket can be made");
        socket.bind(&addr.into()).expect("it is free");
        socket
    });
    let mproxy = setup.start().await;
    for version in Version::ALL {
        let mut client = Link::tcp(mproxy.addr()).await;
        let begin = Instant::now();
        client.send(&Connect::new(version, "c").bytes()).await;
        let code = if version.is_v5() { 0x88 } else { 3 };
        client.expect(&connack(version, code)).await;
        // not after connect_timeout, nor after a pause: it is refused
        assert!(begin.elapsed() < DEFAULT / 2, "{:?}", begin.elapsed());
    }
    let end = mproxy.end_of("c").await;
    let detail = end["detail"].as_str().expect("a detail");
    assert!(detail.contains(&one) && detail.contains(&two), "{detail}");
    drop(held);
}
