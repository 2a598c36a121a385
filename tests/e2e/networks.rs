//! Networks that may connect, and those that may not.

use std::io::ErrorKind;
use std::net::SocketAddr;

use mproxy_tests::clients::mosquitto_pub;
use mproxy_tests::wire::{Connect, PINGREQ, PINGRESP, Version};
use mproxy_tests::{FakeBroker, Link, Mosquitto, Setup, connect_from, tls};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::unconstrained;

use crate::tls::{OPTIONAL, args, listener, pki, shown};

/// A connection from 127.0.0.N.
async fn from(last: u8, addr: SocketAddr) -> TcpStream {
    let stream = connect_from([127, 0, 0, last], addr).await;
    stream.expect("it listens")
}

#[tokio::test]
async fn only_allowed_networks_that_are_not_denied_connect() {
    let broker = Mosquitto::start().await;
    let networks = "[[listeners]]\nallow = [\"127.0.0.0/30\"]\ndeny = [\"127.0.0.3\"]\n";
    let config = Setup::head(&broker.url()).replace("[[listeners]]\n", networks);
    let mproxy = Setup::new(&config).start().await;
    let mut served = Link::over(from(2, mproxy.addr()).await);
    served.connect(&Connect::new(Version::V5, "served")).await;
    for (last, why) in [
        (3, "it is in 127.0.0.3/32 of listeners.mqtt.deny"),
        (4, "it is in no network of listeners.mqtt.allow"),
    ] {
        Link::over(from(last, mproxy.addr()).await).closed().await;
        let peer = format!("127.0.0.{last}:");
        let line = mproxy.event("the refusal", move |it| {
            let of_peer = |it: &str| it.starts_with(&peer);
            it["event"] == "refuse" && it["peer"].as_str().is_some_and(of_peer)
        });
        let line = line.await;
        assert_eq!(line["reason"], "address_denied");
        assert_eq!(line["detail"], why);
        assert!(line["remedy"].is_string(), "{line}");
    }
    let refused = "mproxy_connections_refused_total{reason=\"address_denied\"}";
    mproxy.metric(refused, 2.0).await;

    // a reload changes it for new connections, and leaves the others
    mproxy.edit("127.0.0.0/30", "127.0.0.4");
    mproxy.reload().await;
    Link::over(from(2, mproxy.addr()).await).closed().await;
    let mut now = Link::over(from(4, mproxy.addr()).await);
    now.connect(&Connect::new(Version::V311, "now")).await;
    served.send(&PINGREQ).await;
    served.expect(&PINGRESP).await;
}

/// A port scan beyond the next router must hear nothing; on this host, the reset that no router would pass is
/// seen, and tells the two actions apart.
#[tokio::test]
async fn a_dropped_connection_is_reset_with_a_hop_limit_of_one() {
    let broker = FakeBroker::bind().await;
    for (action, end) in [("close", None), ("drop", Some(ErrorKind::ConnectionReset))] {
        let mproxy = Setup::before(&broker.url())
            .set("listeners.mqtt.deny", "[\"127.0.0.3\"]")
            .set("listeners.mqtt.deny_action", &format!("\"{action}\""))
            .start()
            .await;
        // the reset may come before the client has seen that it is connected
        let read = match connect_from([127, 0, 0, 3], mproxy.addr()).await {
            Ok(mut stream) => stream.read(&mut [0]).await,
            Err(error) => Err(error),
        };
        let kind = read.as_ref().err().map(|it| it.kind());
        assert_eq!(kind, end, "{action}: {read:?}");
        // one that is not denied is served all the same
        let connect = Connect::new(Version::V5, "good");
        let mut link = Link::tcp(mproxy.addr()).await;
        let (_, (_server, _)) = tokio::join!(link.connect(&connect), broker.accept());
    }
}

/// Behind a load balancer, the networks are those of clients: the load balancer is in none of them.
#[tokio::test]
async fn behind_a_load_balancer_the_client_is_judged() {
    let broker = FakeBroker::bind().await;
    let mproxy = Setup::before(&broker.url())
        .set("listeners.mqtt.allow", "[\"192.0.2.0/24\"]")
        .set("listeners.mqtt.proxy_protocol.accept", "\"v1\"")
        .start()
        .await;
    let through = async |client: &str| {
        let mut link = Link::tcp(mproxy.addr()).await;
        let header = format!("PROXY TCP4 {client} 198.51.100.1 4000 1883\r\n");
        link.send(header.as_bytes()).await;
        link
    };
    let mut good = through("192.0.2.7").await;
    let connect = Connect::new(Version::V5, "good");
    let (_, (_server, _)) = tokio::join!(good.connect(&connect), broker.accept());
    through("203.0.113.7").await.closed().await;
    let line = mproxy.event("the refusal", |it| it["reason"] == "address_denied");
    assert_eq!(line.await["peer"], "203.0.113.7:4000");
}

/// The most expensive thing that somebody unknown can ask for, counted before any cryptography: by a ClientHello,
/// not by a connection.
#[tokio::test]
async fn tls_handshakes_are_limited_by_address_and_in_all() {
    let broker = Mosquitto::start().await;
    let pki = pki();
    for (key, value) in [("handshake_rate_per_ip", "2/h"), ("handshake_rate", "2/h")] {
        let mproxy = listener(&pki, &broker.url(), "client_auth = \"optional\"\n")
            .set(&format!("listeners.mqtts.limits.{key}"), value)
            .start()
            .await;
        let addr = mproxy.listener("mqtts");
        // no handshakes: they take nothing of the one that may come at once
        let silent = [Link::tcp(addr).await, Link::tcp(addr).await];
        let alice = shown(&pki, "alice");
        let publish = args(&alice, &["-t", "t", "-m", "m"]);
        let (code, output) = mosquitto_pub(addr, Version::V5, &publish).await;
        assert_eq!(code, 0, "{key}: {output}");
        let (code, output) = mosquitto_pub(addr, Version::V5, &publish).await;
        assert_ne!(code, 0, "{key}: {output}");
        let limit = format!("listeners.mqtts.limits.{key}");
        let line = mproxy
            .event("the limit", move |it| it["limit"] == *limit)
            .await;
        assert_eq!(
            (&line["event"], &line["detail"]),
            (&"refuse".into(), &value.into())
        );
        assert!(
            line["remedy"].is_string() && line["peer"].is_string(),
            "{line}"
        );
        let refused = "mproxy_connections_refused_total{reason=\"rate_limited\"}";
        mproxy.metric(refused, 1.0).await;
        drop(silent);
    }
}

/// Fifty sockets that sent a ClientHello and nothing else, or a part of what comes next, had all places for half a
/// minute: nobody else got in.
#[tokio::test]
async fn handshakes_that_wait_for_their_clients_keep_nobody_out() {
    const SILENT: usize = 50;
    let broker = Mosquitto::start().await;
    let pki = pki();
    for key in ["max_handshakes_per_ip", "max_handshakes"] {
        let most = SILENT.to_string();
        let mproxy = listener(&pki, &broker.url(), "client_auth = \"optional\"\n")
            .set(&format!("listeners.mqtts.limits.{key}"), &most)
            .start()
            .await;
        let addr = mproxy.listener("mqtts");
        let mut silent = Vec::new();
        for number in 0..SILENT {
            let (mut stream, _) = Link::tcp(addr).await.into_tcp();
            stream.write_all(&tls::hello(&pki)).await.expect("it reads");
            // the answer, so that it is the client's turn
            stream.read_u8().await.expect("a ServerHello");
            if number % 2 == 0 {
                stream.write_all(&[20, 3, 3]).await.expect("it reads");
            }
            silent.push(stream);
        }
        let alice = shown(&pki, "alice");
        let publish = args(&alice, &["-t", "t", "-m", "m"]);
        let (code, output) = mosquitto_pub(addr, Version::V5, &publish).await;
        assert_eq!(code, 0, "{key}: {output}");
        let refused = mproxy
            .metrics()
            .await
            .sum("mproxy_connections_refused_total");
        assert!(refused < 1.0, "{refused}");
        drop(silent);
    }
}

/// All handshakes of an address that had begun hundreds came before those of everybody else.
#[tokio::test]
async fn a_handshake_waits_for_one_of_each_other_address() {
    const MANY: usize = 300;
    let broker = Mosquitto::start().await;
    let pki = pki();
    let mproxy = listener(&pki, &broker.url(), OPTIONAL)
        .set("server.worker_threads", "1")
        .start()
        .await;
    let addr = mproxy.listener("mqtts");
    let hello = tls::hello(&pki);
    // so that it finds all of them at once
    mproxy.signal(Signal::STOP);
    let mut many = Vec::new();
    for _ in 0..MANY {
        let mut link = Link::over(from(66, addr).await);
        link.send(&hello).await;
        many.push(link);
    }
    let stream = from(1, addr).await;
    let client = tls::client(&pki);
    let good = tls::secure(&client, stream);
    let (good, ()) = tokio::join!(good, async { mproxy.signal(Signal::CONT) });
    // all at one moment: tokio would have a task that looks so often look away
    let waiting = async { many.iter().filter(|it| it.is_idle()).count() };
    let waiting = unconstrained(waiting).await;
    assert!(good.is_ok() && waiting > 0, "it was the last one");
    // and they are served
    for mut link in many {
        link.begin().await;
    }
}
