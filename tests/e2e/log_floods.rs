//! What a flood leaves of the log: few lines, the truth in numbers, the address that it comes from, and
//! every line about somebody else.

use std::net::SocketAddr;

use mproxy_tests::wire::{Connect, Version, frame};
use mproxy_tests::{FakeBroker, Link, Mosquitto, Mproxy, PATIENCE, Setup, connect_from};
use rustix::process::Signal;
use serde_json::Value;

/// Connects from this address of the host.
async fn from(last: u8, to: SocketAddr) -> Link {
    let stream = connect_from([127, 0, 0, last], to).await;
    Link::over(stream.expect("it listens"))
}

/// Stops it, so that all is in the log that will ever be.
async fn lines(mut mproxy: Mproxy) -> Vec<Value> {
    mproxy.signal(Signal::TERM);
    assert_eq!(mproxy.code(PATIENCE).await, 0);
    mproxy.events()
}

/// The lines of a kind, and how many more there were, by their own account and by that of the log.
fn told(lines: &[Value], event: &str, reason: &str) -> (Vec<Value>, u64) {
    let of_kind = |line: &&Value| line["event"] == event && line["reason"] == reason;
    let account = |line: &&Value| {
        let detail = line["detail"].as_str().unwrap_or_default();
        line["event"] == "suppress"
            && line["reason"] == reason
            && detail.starts_with(&format!("{event} of "))
    };
    let suppressed = lines.iter().filter(|it| of_kind(it) || account(it));
    let suppressed = suppressed.filter_map(|line| line["suppressed"].as_u64());
    let written = lines.iter().filter(of_kind).cloned();
    (written.collect(), suppressed.sum())
}

/// One host that came back again and again wrote 330,000 lines in ten seconds, and an operator could
/// find neither who it was nor what else happened.
#[tokio::test]
async fn a_flood_of_refused_clients_is_a_few_lines_that_say_who_and_how_many() {
    const FLOOD: usize = 600;
    const OTHERS: usize = 12;
    let broker = FakeBroker::bind().await;
    let mproxy = Setup::before(&broker.url()).start().await;
    let addr = mproxy.addr();
    let mut body = vec![0, 4];
    body.extend(*b"MQTT");
    // a level that nobody knows
    body.extend([9, 2, 0, 0, 0, 0]);
    let foreign = frame(0x10, &body);
    let refused = async |last| {
        let mut client = from(last, addr).await;
        client.send(&foreign).await;
        client.rest().await;
    };
    for number in 0..FLOOD {
        refused(9).await;
        if number % (FLOOD / OTHERS) == 0 {
            refused(10 + (number % 5) as u8).await;
        }
        if number == FLOOD / 2 {
            // somebody else fails in another way
            let mut client = from(77, addr).await;
            client.send(&[0xf0, 0]).await;
            client.rest().await;
        }
    }
    let count = (FLOOD + OTHERS) as f64;
    let closed = "mproxy_connections_closed_total{reason=\"unsupported_version\"}";
    mproxy.metric(closed, count).await;
    let dropped = "mproxy_log_lines_dropped_total{reason=\"suppressed\"}";
    let dropped = mproxy.metrics().await.sum(dropped) as u64;

    let lines = lines(mproxy).await;
    let (written, suppressed) = told(&lines, "refuse", "unsupported_version");
    assert_eq!(written.len() as u64 + suppressed, (FLOOD + OTHERS) as u64);
    assert_eq!(suppressed, dropped);
    // ten, and ten in each second that it took
    assert!(suppressed > FLOOD as u64 / 10, "{suppressed}");
    let tops: Vec<_> = lines
        .iter()
        .filter_map(|line| line["suppressed_top"].as_str())
        .collect();
    assert!(!tops.is_empty());
    for top in tops {
        assert!(top.starts_with("127.0.0.9 ("), "{top}");
    }
    let other: Vec<_> = lines
        .iter()
        .filter(|line| {
            let peer = line["peer"].as_str().unwrap_or_default();
            peer.starts_with("127.0.0.77:")
        })
        .collect();
    assert_eq!(other.len(), 1, "{other:?}");
    assert_eq!(other[0]["level"], "WARN");
}

/// Nothing follows the last line of a flood, and nobody learnt how many there had been.
#[tokio::test]
async fn the_end_of_a_flood_is_told_by_the_log_itself() {
    let broker = FakeBroker::bind().await;
    let mproxy = Setup::before(&broker.url())
        .set("log.max_rate", "1/h")
        .start()
        .await;
    let mut open = Vec::new();
    for number in 0..14 {
        let mut client = from(9, mproxy.addr()).await;
        let connect = Connect::new(Version::V5, &format!("d{number}"));
        let (_, session) = tokio::join!(client.connect(&connect), broker.accept());
        open.push((client, session));
    }
    let told = mproxy.event("an account", |line| line["event"] == "suppress");
    let told = told.await;
    for (name, value) in [
        ("level", "INFO"),
        ("target", "mproxy::log"),
        ("listener", "mqtt"),
        ("detail", "connect of mproxy::session"),
        ("suppressed_top", "127.0.0.9 (4)"),
    ] {
        assert_eq!(told[name], value, "{name} of {told}");
    }
    assert_eq!(told["suppressed"], 4, "{told}");
}

/// Two thousand clients whose will is denied, and who try again, wrote two lines each with an access
/// log; and those that were let in and denied later wrote as many as they liked.
#[tokio::test]
async fn clients_that_are_denied_and_come_back_write_few_lines() {
    const CLIENTS: usize = 2000;
    let broker = FakeBroker::bind().await;
    let mproxy = Setup::before(&broker.url())
        .toml(
            "[chains.default]\nlayers = [\"log\", \"ids\", \"acl\"]\n\
             [layers.ids]\ntype = \"client-id\"\nrequire = \"any\"\n\
             [layers.log]\ntype = \"access-log\"\n\
             [layers.acl]\ntype = \"acl\"\n\
             [[layers.acl.rules]]\nallow = [\"publish\"]\ntopics = [\"up/${client_id}\"]\n",
        )
        .start()
        .await;
    for number in 0..CLIENTS {
        let mut client = from(9, mproxy.addr()).await;
        let connect = Connect::new(Version::V311, &format!("d{number}"));
        client
            .send(&connect.will("secret", "", 0, false).bytes())
            .await;
        client.rest().await;
    }
    let closed = "mproxy_connections_closed_total{reason=\"auth_denied\"}";
    mproxy.metric(closed, CLIENTS as f64).await;
    let lines = lines(mproxy).await;
    let (written, suppressed) = told(&lines, "refuse", "auth_denied");
    assert_eq!(written.len() as u64 + suppressed, CLIENTS as u64);
    assert!(suppressed > CLIENTS as u64 / 10, "{suppressed}");
    // of a client that has a line, it is the only one
    for line in &written {
        let peer = &line["peer"];
        let about = lines.iter().filter(|it| it["peer"] == *peer).count();
        assert_eq!(about, 1, "{peer}");
    }
}

/// An auditor needs each client, however many there are: more than the ten seconds' worth of the default
/// that come at once.
#[tokio::test]
async fn without_a_rate_every_client_has_its_line() {
    for (rate, clients, all) in [("0/s", 1100_u32, true), ("1/s", 50, false)] {
        let broker = Mosquitto::start().await;
        let mproxy = Setup::before(&broker.url())
            .set("log.max_rate", rate)
            .start()
            .await;
        for number in 0..clients {
            let client_id = format!("d{number}");
            let client = Link::client(mproxy.addr(), Version::V5, &client_id).await;
            client.leave().await;
        }
        let closed = "mproxy_connections_closed_total";
        mproxy.metric(closed, f64::from(clients)).await;
        let lines = lines(mproxy).await;
        let written = lines.iter().filter(|it| it["event"] == "connect").count() as u64;
        let is_told = |line: &&Value| {
            let detail = line["detail"].as_str().unwrap_or_default();
            line["event"] == "connect" || detail == "connect of mproxy::session"
        };
        let told = lines.iter().filter(is_told);
        let suppressed: u64 = told.filter_map(|line| line["suppressed"].as_u64()).sum();
        assert_eq!(written + suppressed, u64::from(clients), "{rate}");
        assert_eq!(suppressed == 0, all, "{rate}: {suppressed}");
    }
}

/// A session that failed had two lines with an access log, of two targets, of which one had the remedy
/// and the other the rest.
#[tokio::test]
async fn a_session_that_fails_has_one_line() {
    for (layers, target) in [
        ("", "mproxy::session"),
        (
            "[chains.default]\nlayers = [\"log\"]\n[layers.log]\ntype = \"access-log\"\n",
            "mproxy::access",
        ),
        (
            "[chains.default]\nlayers = [\"log\"]\n[layers.log]\ntype = \"access-log\"\n\
             events = [\"connect\"]\n",
            "mproxy::access",
        ),
    ] {
        let broker = FakeBroker::bind().await;
        let mproxy = Setup::before(&broker.url()).toml(layers).start().await;
        let client = Link::client(mproxy.addr(), Version::V5, "odd");
        let (mut client, _server) = tokio::join!(client, broker.accept());
        // reserved flags of a SUBSCRIBE
        client.send(&[0x80, 2, 0, 1]).await;
        client.rest().await;
        mproxy.end_of("odd").await;
        let all = lines(mproxy).await;
        let ends: Vec<_> = all
            .iter()
            .filter(|it| it["client_id"] == "odd" && it["event"] != "connect")
            .collect();
        let [end] = ends[..] else {
            panic!("{ends:?}");
        };
        for (name, value) in [
            ("level", "WARN"),
            ("target", target),
            ("event", "disconnect"),
            ("reason", "malformed"),
            ("upstream", "broker"),
        ] {
            assert_eq!(end[name], value, "{name} of {end}");
        }
        assert!(end["remedy"].is_string(), "{end}");
        assert_eq!(end["panicked"], false, "{end}");
        assert_eq!(end["packets_to_server"], 1, "{end}");
    }
}
