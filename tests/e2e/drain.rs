//! The end of the proxy: what a signal does to clients, to the broker, and to the probes.

use std::time::{Duration, Instant};

use mproxy_tests::wire::{Connect, DISCONNECT, Publish, Version, connack, puback};
use mproxy_tests::{FakeBroker, Link, Mosquitto, Mproxy, Rest, Setup, http, within};
use rustix::process::Signal;
use tokio::net::TcpStream;

/// Server shutting down.
const SHUTTING_DOWN: [u8; 3] = [0xe0, 1, 0x8b];

/// What "at once" may mean, far below what any time-out of the proxy allows.
const SOON: Duration = Duration::from_secs(5);

async fn session(mproxy: &Mproxy, broker: &FakeBroker, version: Version) -> (Link, Link) {
    let client = Link::client(mproxy.addr(), version, "c");
    let (client, (server, _)) = tokio::join!(client, broker.accept());
    (client, server)
}

/// A drain used to be told: MQTT.js, `mosquitto_sub` and libmosquitto's loop take any DISCONNECT of a
/// server as final, and never came back to a proxy that was restarted. Now connections are closed,
/// and who wants the word asks for it.
#[tokio::test]
async fn a_signal_sends_everybody_away_gently() {
    for (signal, notice) in [
        (Signal::TERM, None),
        (Signal::INT, None),
        (Signal::QUIT, None),
        (Signal::TERM, Some("none")),
        (Signal::TERM, Some("disconnect")),
        (Signal::INT, Some("disconnect")),
    ] {
        let broker = FakeBroker::bind().await;
        let mut setup = Setup::before(&broker.url()).websocket();
        if let Some(notice) = notice {
            setup = setup.set("server.drain_notice", notice);
        }
        let mut mproxy = setup.start().await;
        let mut sessions = Vec::new();
        for version in Version::ALL {
            sessions.push((version, session(&mproxy, &broker, version).await));
            let mut client = Link::ws(mproxy.listener("ws")).await;
            let connect = Connect::new(version, "ws");
            let (_, (server, _)) = tokio::join!(client.connect(&connect), broker.accept());
            sessions.push((version, (client, server)));
        }
        // what has arrived from the broker is delivered before anything else is said
        for (version, (client, server)) in &mut sessions {
            let request = Publish::new(*version, "t").qos(1, 1).bytes("last");
            client.send(&request).await;
            server.expect(&request).await;
            server.send(&puback(1)).await;
            client.expect(&puback(1)).await;
        }
        mproxy.signal(signal);
        for (version, (mut client, server)) in sessions {
            if version.is_v5() && notice == Some("disconnect") {
                client.expect(&SHUTTING_DOWN).await;
            }
            client.closed().await;
            // a planned end is no accident: no will is published for it
            let (packets, rest) = server.rest().await;
            let packets: Vec<_> = packets.iter().map(|packet| packet.bytes()).collect();
            assert_eq!((&*packets, rest), (&[&DISCONNECT[..]][..], Rest::Clean));
        }
        assert_eq!(mproxy.code(SOON).await, 0);
        let drained = mproxy
            .events()
            .into_iter()
            .filter(|it| it["reason"] == "drain");
        assert_eq!(drained.count(), 6);
    }
}

/// With a real broker: nobody's will is published, unless it is asked for.
#[tokio::test]
async fn wills_are_published_by_a_drain_only_when_that_is_wanted() {
    let broker = Mosquitto::start().await;
    let mut observer = Link::client(broker.addr(), Version::V5, "observer").await;
    observer.subscribe("#", 0).await;
    for publish in [false, true] {
        let policy = if publish { "publish" } else { "suppress" };
        let setup = Setup::before(&broker.url()).set("server.drain_wills", policy);
        let mut mproxy = setup.start().await;
        let mut clients = Vec::new();
        for version in Version::ALL {
            let client_id = format!("{version:?}");
            let mut link = Link::tcp(mproxy.addr()).await;
            link.connect(&Connect::new(version, &client_id).will("will", &client_id, 0, false))
                .await;
            clients.push(link);
        }
        mproxy.signal(Signal::TERM);
        for client in clients {
            client.rest().await;
        }
        assert_eq!(mproxy.code(SOON).await, 0);
        let mut wills = Vec::new();
        if publish {
            for _ in Version::ALL {
                let will = observer.message().await;
                assert_eq!(will.topic, "will");
                wills.push(will.text().to_owned());
            }
            wills.sort();
            assert_eq!(wills, ["V31", "V311", "V5"]);
        }
        observer.silent().await;
    }
}

/// A client that does not leave holds the drain up, for a while: that is when the probes are looked
/// at, and when a second signal comes.
#[tokio::test]
async fn while_it_drains_it_is_alive_and_not_ready_and_lets_nobody_in() {
    let broker = FakeBroker::bind().await;
    let setup = Setup::before(&broker.url()).websocket();
    let mut mproxy = setup.limit("write_timeout", "60s").start().await;
    tokio::join!(mproxy.until_ready(true), broker.probed());
    let (client, mut server) = session(&mproxy, &broker, Version::V5).await;
    // it reads nothing, so that there is always something left to be said to it
    let message = Publish::new(Version::V5, "t").bytes(vec![7; 100_000]);
    let offering = tokio::spawn(async move { while server.try_send(&message).await {} });
    mproxy.metric("mproxy_connections", 1.0).await;
    mproxy_tests::until("a stall", async || {
        let stalls = mproxy
            .metrics()
            .await
            .sum("mproxy_backpressure_stalls_total");
        (stalls >= 1.0).then_some(())
    })
    .await;

    mproxy.signal(Signal::TERM);
    let body = mproxy.until_ready(false).await;
    assert!(body.contains("drain"), "{body}");
    assert_eq!(http::get(mproxy.admin(), "/livez").await.status, 200);
    mproxy.metric("mproxy_draining", 1.0).await;
    for listener in ["mqtt", "ws"] {
        // each worker closes its own, a moment after readiness has changed
        let addr = mproxy.listener(listener);
        mproxy_tests::until(format!("{listener} to let nobody in"), async || {
            TcpStream::connect(addr).await.err()
        })
        .await;
    }

    let since = Instant::now();
    mproxy.signal(Signal::TERM);
    // as a shell says it: ended by SIGTERM
    assert_eq!(mproxy.code(SOON).await, 128 + 15);
    assert!(since.elapsed() < SOON);
    // who has no patience is not told to configure more of it
    let cut = mproxy
        .event("who was cut", |it| {
            it["event"] == "drain" && it["level"] == "WARN" && it["sessions"].is_number()
        })
        .await;
    let message = cut["message"].as_str().expect("a message");
    assert!(
        message.contains("second signal") && !message.contains("drain_timeout"),
        "{message}"
    );
    offering.await.expect("the connection broke");
    drop(client);
}

/// One client that read nothing turned every planned stop into a failure: mproxy ended with code 1,
/// and systemd said that the service had failed and started it again.
#[tokio::test]
async fn a_client_that_does_not_leave_is_left_when_the_time_is_up() {
    let broker = FakeBroker::bind().await;
    let setup = Setup::before(&broker.url()).set("server.drain_timeout", "300ms");
    let mut mproxy = setup.start().await;
    let (_stays, mut server) = session(&mproxy, &broker, Version::V5).await;
    let message = Publish::new(Version::V5, "t").bytes(vec![7; 100_000]);
    let offering = tokio::spawn(async move { while server.try_send(&message).await {} });
    mproxy_tests::until("a stall", async || {
        let stalls = mproxy
            .metrics()
            .await
            .sum("mproxy_backpressure_stalls_total");
        (stalls >= 1.0).then_some(())
    })
    .await;
    mproxy.signal(Signal::TERM);
    assert_eq!(mproxy.code(SOON).await, 0);
    let left = mproxy
        .event("who was left", |event| {
            event["event"] == "drain" && event["level"] == "WARN"
        })
        .await;
    assert_eq!(left["sessions"], 1, "{left}");
    let message = left["message"].as_str().expect("a message");
    assert!(message.contains("server.drain_timeout"), "{message}");
    let stop = mproxy.event("its end", |it| it["event"] == "stop").await;
    assert_eq!(stop["gentle"], false, "{stop}");
    offering.await.expect("the connection broke");
}

/// A client that waits for its CONNACK is closed as well, or told that the server is not available,
/// in words of its version; whatever `when_unreachable` says, which is about the broker.
#[tokio::test]
async fn a_client_that_waits_for_its_connack_is_sent_away_too() {
    for (version, notice, unreachable) in Version::ALL.into_iter().flat_map(|version| {
        [
            (version, "none", "close"),
            (version, "none", "connack"),
            (version, "disconnect", "close"),
            (version, "disconnect", "connack"),
        ]
    }) {
        let broker = FakeBroker::bind().await;
        let mut mproxy = Setup::before(&broker.url())
            .set("server.drain_notice", notice)
            // a quarter of it is for the CONNACK that never comes
            .set("server.drain_timeout", "2s")
            .set("upstreams.broker.when_unreachable", unreachable)
            .start()
            .await;
        let mut client = Link::tcp(mproxy.addr()).await;
        client.send(&Connect::new(version, "early").bytes()).await;
        let mut server = broker.session().await;
        server.packet().await;
        // and one that has not said anything
        let silent = Link::tcp(mproxy.addr()).await;
        mproxy
            .metric("mproxy_connections_accepted_total", 2.0)
            .await;
        mproxy.signal(Signal::TERM);
        if notice == "disconnect" {
            let code = if version.is_v5() { 0x88 } else { 3 };
            client.expect(&connack(version, code)).await;
        }
        client.closed().await;
        silent.closed().await;
        drop(server);
        assert_eq!(mproxy.code(SOON).await, 0);
    }
}

/// A load balancer needs seconds to learn that a proxy is not ready, and sends clients to it meanwhile.
#[tokio::test]
async fn clients_that_come_before_the_balancer_knows_are_served() {
    let broker = FakeBroker::bind().await;
    let setup = Setup::before(&broker.url())
        .set("server.ready_delay", "2s")
        .set("upstreams.broker.health.check", "off");
    let mut mproxy = setup.start().await;
    mproxy.until_ready(true).await;
    let (first, _server) = session(&mproxy, &broker, Version::V5).await;
    mproxy.signal(Signal::TERM);
    mproxy.until_ready(false).await;
    // it is accepted, and nobody is sent away
    let (second, _at) = session(&mproxy, &broker, Version::V311).await;
    assert!(first.is_idle());
    mproxy
        .event("the drain", |it| {
            it["sessions"] == 2 && it["timeout_s"] == 30.0
        })
        .await;
    first.closed().await;
    second.closed().await;
    assert_eq!(mproxy.code(SOON).await, 0);
}

/// Whoever cannot wait sends the signal once more.
#[tokio::test]
async fn a_second_signal_does_not_wait_for_the_balancer() {
    let broker = FakeBroker::bind().await;
    let setup = Setup::before(&broker.url()).set("server.ready_delay", "10m");
    let mut mproxy = setup.start().await;
    let (client, _server) = session(&mproxy, &broker, Version::V5).await;
    mproxy.signal(Signal::TERM);
    mproxy
        .event("the delay", |it| it["ready_delay_s"] == 600.0)
        .await;
    mproxy.signal(Signal::INT);
    client.closed().await;
    assert_eq!(mproxy.code(SOON).await, 128 + 2);
}

/// systemd starts what comes after mproxy when it listens, and restarts it when it hangs.
#[tokio::test]
async fn a_service_manager_is_told_what_happens() {
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    let path = dir.path().join("notify");
    let socket = tokio::net::UnixDatagram::bind(&path).expect("the folder is ours");
    let broker = FakeBroker::bind().await;
    let mproxy = Setup::before(&broker.url())
        .env("NOTIFY_SOCKET", &path.display().to_string())
        .env("WATCHDOG_USEC", "200000")
        .start();
    let next = async || {
        let mut room = [0; 256];
        let len = within("a message", socket.recv(&mut room))
            .await
            .expect("it is bound");
        String::from_utf8_lossy(&room[..len]).into_owned()
    };
    // what is no sign of life
    let told = async || loop {
        let message = next().await;
        if message.trim() != "WATCHDOG=1" {
            return message;
        }
    };
    let mproxy = mproxy.await;
    assert_eq!(told().await.trim(), "READY=1\nSTATUS=serving");
    while next().await.trim() != "WATCHDOG=1" {}
    mproxy.signal(Signal::HUP);
    let message = told().await;
    assert!(
        message.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{message}"
    );
    assert_eq!(told().await.trim(), "READY=1\nSTATUS=serving");
    mproxy.signal(Signal::TERM);
    assert_eq!(told().await.trim(), "STOPPING=1\nSTATUS=draining");
}
