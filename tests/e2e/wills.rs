//! Wills of clients that neither leave nor break off: those that are sent away for a mistake, those
//! that fall silent, and those whose proxy is gone.
//!
//! What becomes of the others is in `sessions` (DISCONNECT, 0x04, an end, a reset) and `drain`.

use std::time::{Duration, Instant};

use mproxy_tests::wire::{Connect, PINGREQ, PINGRESP, Version, frame, puback, suback};
use mproxy_tests::{Link, Mosquitto, Mproxy, Setup};
use rustix::process::Signal;

/// A client that sees every will, at the broker.
async fn observer(broker: &Mosquitto) -> Link {
    let mut link = Link::client(broker.addr(), Version::V5, "observer").await;
    link.subscribe("will", 1).await;
    link
}

/// The name of the next client whose will is published.
async fn next_will(observer: &mut Link) -> String {
    let will = observer.message().await;
    observer.send(&puback(will.id)).await;
    will.text().to_owned()
}

/// Clients with a will, of every version and over both transports.
async fn clients(mproxy: &Mproxy, keep_alive: u16) -> Vec<(String, Link)> {
    let mut clients = Vec::new();
    for version in Version::ALL {
        for websocket in [false, true] {
            let name = format!("{version:?} {websocket}");
            let mut link = if websocket {
                Link::ws(mproxy.listener("ws")).await
            } else {
                Link::tcp(mproxy.addr()).await
            };
            let connect = Connect::new(version, &name).will("will", &name, 1, false);
            link.connect(&connect.keep_alive(keep_alive)).await;
            clients.push((name, link));
        }
    }
    clients
}

#[tokio::test]
async fn a_will_is_published_for_a_client_that_makes_a_mistake() {
    for conformance in ["tolerant", "strict"] {
        makes_mistakes(conformance).await;
    }
}

async fn makes_mistakes(conformance: &str) {
    let broker = Mosquitto::start().await;
    let mproxy = Setup::before(&broker.url())
        .websocket()
        .set("listeners.mqtt.conformance", conformance)
        .set("listeners.ws.conformance", conformance)
        .start()
        .await;
    let mut observer = observer(&broker).await;
    let second_connect = |version| Connect::new(version, "other").bytes();
    // with reserved bits
    let subscribe = |_| frame(0x80, b"\0\x01\0\x01t\0");
    let mistakes: [&dyn Fn(Version) -> Vec<u8>; 4] = [
        &second_connect,
        // QoS 3
        &|_| frame(0x36, b"\0\x01t\0\x01\0"),
        &subscribe,
        // a length that never ends, and behind it what would take the will back
        &|_| vec![0x30, 0xff, 0xff, 0xff, 0xff, 0xff, 0xe0, 0x00],
    ];
    for mistake in mistakes {
        for (name, mut link) in clients(&mproxy, 0).await {
            let mistake = mistake(link.version());
            link.send(&mistake).await;
            // in MQTT 3.1 these bits are not used, and such a client was served before
            let is_slip = link.version() == Version::V31 && mistake == subscribe(Version::V31);
            if is_slip && conformance == "tolerant" {
                link.expect(&suback(Version::V31, 1, &[0])).await;
                observer.silent().await;
                link.leave().await;
                continue;
            }
            assert_eq!(next_will(&mut observer).await, name);
            // and the client is sent away, with a word in MQTT 5
            let version = link.version();
            let (packets, _) = link.rest().await;
            let told: Vec<_> = packets.iter().map(|it| it.first()).collect();
            let expected: &[u8] = if version.is_v5() { &[0xe0] } else { &[] };
            assert_eq!(told, expected, "{name}: {packets:?}");
        }
    }
    observer.silent().await;
}

#[tokio::test]
async fn a_will_is_published_for_a_client_that_falls_silent() {
    let broker = Mosquitto::start().await;
    let mproxy = Setup::before(&broker.url()).websocket().start().await;
    let mut observer = observer(&broker).await;
    let mut pinging = Link::tcp(mproxy.addr()).await;
    let connect = Connect::new(Version::V5, "pinging").will("will", "pinging", 1, false);
    pinging.connect(&connect.keep_alive(1)).await;
    let since = Instant::now();
    let silent = clients(&mproxy, 1).await;
    let mut names: Vec<_> = silent.iter().map(|(name, _)| name.clone()).collect();
    let mut wills = Vec::new();
    let mut pings = tokio::time::interval(Duration::from_millis(300));
    while wills.len() < names.len() {
        tokio::select! {
            will = observer.message() => {
                observer.send(&puback(will.id)).await;
                wills.push(will.text().to_owned());
            }
            // one that says that it is there is there
            _ = pings.tick() => {
                pinging.send(&PINGREQ).await;
                pinging.expect(&PINGRESP).await;
            }
        }
    }
    // not before the time was up, one and a half times what was agreed on
    assert!(since.elapsed() >= Duration::from_millis(1500));
    names.sort();
    wills.sort();
    assert_eq!(wills, names);
    pinging.leave().await;
    observer.silent().await;
}

#[tokio::test]
async fn a_will_is_published_for_every_client_of_a_proxy_that_is_killed() {
    let broker = Mosquitto::start().await;
    let mproxy = Setup::before(&broker.url()).websocket().start().await;
    let mut observer = observer(&broker).await;
    let clients = clients(&mproxy, 60).await;
    // one has left in time
    let mut left = Link::tcp(mproxy.addr()).await;
    let connect = Connect::new(Version::V311, "left").will("will", "left", 1, false);
    left.connect(&connect).await;
    left.leave().await;
    mproxy.signal(Signal::KILL);
    mproxy.ended().await;
    let mut names = Vec::new();
    let mut wills = Vec::new();
    for (name, link) in clients {
        names.push(name);
        wills.push(next_will(&mut observer).await);
        link.closed().await;
    }
    names.sort();
    wills.sort();
    assert_eq!(wills, names);
    observer.silent().await;
}
