//! The lines of a run: every field is in the table of docs/logs.md, in the order of the table, and
//! every event is one that the table knows.

use std::collections::BTreeSet;
use std::time::Duration;

use mproxy_tests::wire::{Connect, Publish, Version, subscribe, unsubscribe};
use mproxy_tests::{Link, Mosquitto, Mproxy, Rest, Setup, http};
use rustix::process::Signal;
use serde_json::Value;

use crate::log_tables::{column, logs};
use crate::markdown::{quoted, table};

const ACL: &str = r##"
[layers.ids]
type = "client-id"
require = "any"
[layers.acl]
type = "acl"
[[layers.acl.rules]]
allow = ["publish", "subscribe"]
topics = ["devices/${client_id}/#"]
"##;

const ACCESS_LOG: &str = "[layers.log]\ntype = \"access-log\"\npublish_sample = 1.0\nevents = \
    [\"connect\", \"disconnect\", \"subscribe\", \"unsubscribe\", \"publish\", \"deny\", \"error\"]\n";

/// Does what clients do, well and badly, and ends the proxy: all lines that it wrote.
async fn run(layers: &str, more: &str) -> Vec<String> {
    let broker = Mosquitto::start().await;
    let chain = format!("[chains.default]\nlayers = [{layers}]\n{more}{ACL}");
    let mut mproxy = Setup::before(&broker.url())
        .toml(&chain)
        .websocket()
        .limit("max_connections_per_ip", "2")
        // of lines of one kind, the eleventh is left out
        .set("log.max_rate", "1/h")
        .start()
        .await;
    mproxy.until_ready(true).await;
    let version = Version::V5;
    let connect = Connect::new(version, "d7").credentials("alice", "secret");

    // a session, and a third connection that is one too many
    let mut client = Link::tcp(mproxy.addr()).await;
    client.connect(&connect).await;
    let held = Link::tcp(mproxy.addr()).await;
    let accepted = "mproxy_connections_accepted_total";
    mproxy.metric(accepted, 2.0).await;
    Link::tcp(mproxy.addr()).await.closed().await;
    drop(held);
    let filters = [("devices/d7/a", 1), ("#", 0)];
    client.send(&subscribe(version, 1, &filters)).await;
    assert_eq!(client.packet().await.kind(), 9);
    for id in 2..=13 {
        client
            .send(&unsubscribe(version, id, &["devices/d7/a"]))
            .await;
        assert_eq!(client.packet().await.kind(), 11);
    }
    for topic in ["devices/d7/up", "admin/x"] {
        let packet = Publish::new(version, topic).qos(1, 3);
        client.send(&packet.bytes("hello")).await;
        assert_eq!(client.packet().await.kind(), 4);
    }
    client.leave().await;
    mproxy.end_of("d7").await;

    // a will that is denied, bytes that are no packet, and a request that is no handshake
    let denied = connect.clone().will("admin/x", "", 0, false);
    let mut client = Link::tcp(mproxy.addr()).await;
    client.send(&denied.bytes()).await;
    client.rest().await;
    let mut client = Link::client(mproxy.addr(), version, "odd").await;
    client.send(&[0xff, 0xff, 0xff]).await;
    let (_, end) = client.rest().await;
    assert_eq!(end, Rest::Clean);
    mproxy.end_of("odd").await;
    http::get(mproxy.listener("ws"), "/elsewhere").await;
    event(&mproxy, "refuse", |it| it["listener"] == "ws").await;

    mproxy.signal(Signal::TERM);
    assert_eq!(mproxy.code(Duration::from_secs(20)).await, 0);
    mproxy.process().lines()
}

async fn event(mproxy: &Mproxy, name: &'static str, wanted: impl Fn(&Value) -> bool) {
    let found = mproxy.event(name, |it| it["event"] == name && wanted(it));
    found.await;
}

/// The names of a line's fields, in their order. A quote in a value is escaped, so that what looks
/// like a name is one.
fn keys<'a>(line: &'a str, fields: &'a Value) -> Vec<&'a str> {
    let fields = fields.as_object().expect("a line is an object");
    let place = |key: &str| line.find(&format!("\"{key}\":")).expect("it was parsed");
    let mut keys: Vec<_> = fields.keys().map(String::as_str).collect();
    keys.sort_by_key(|key| place(key));
    keys
}

/// Compares lines with the tables, and returns the events that they tell of.
fn explained(lines: &[String]) -> BTreeSet<String> {
    let order = column("field", 0);
    let rows = table(&logs(), "event");
    let mut events = BTreeSet::new();
    for line in lines {
        let fields: Value = serde_json::from_str(line).expect("a line is JSON");
        let keys = keys(line, &fields);
        let places = keys.iter().map(|key| {
            let place = order.iter().position(|it| it == key);
            place.unwrap_or_else(|| panic!("{key} is not in the table: {line}"))
        });
        assert!(places.is_sorted(), "the order of the table: {line}");

        let text = |key: &str| fields[key].as_str().unwrap_or_default();
        let level = text("level").to_lowercase();
        let row = rows.iter().find(|row| {
            quoted(&row[0]).contains(&text("event"))
                && row[1].split(", ").any(|it| it == level)
                && quoted(&row[2]).contains(&text("target"))
        });
        assert!(row.is_some(), "no row for {line}");
        events.insert(text("event").to_owned());
    }
    events
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn every_line_with_an_access_log_is_explained() {
    let lines = run("\"log\", \"ids\", \"acl\"", ACCESS_LOG).await;
    let expected = [
        "start",
        "listen",
        "check",
        "connect",
        "refuse",
        "subscribe",
        "unsubscribe",
        "publish",
        "deny",
        "disconnect",
        "drain",
        "stop",
        "suppress",
    ];
    assert_eq!(explained(&lines), names(expected), "{lines:#?}");
}

#[tokio::test]
async fn every_line_without_an_access_log_is_explained() {
    let lines = run("\"ids\", \"acl\"", "").await;
    let expected = [
        "start",
        "listen",
        "check",
        "connect",
        "refuse",
        "deny",
        "disconnect",
        "drain",
        "stop",
    ];
    assert_eq!(explained(&lines), names(expected), "{lines:#?}");
}
