//! A client that is refused has one line, at level `warn` and with a remedy: refused by a broker or by
//! a layer, with an access log and without.

use mproxy_tests::wire::{Connect, Version, field, frame, properties};
use mproxy_tests::{FakeBroker, Link, Mproxy, PATIENCE, Setup};
use rustix::process::Signal;
use serde_json::Value;

/// A listener for each layer that refuses clients, and one with none.
const LAYERS: &str = r##"
[layers.ids]
type = "client-id"
require = "equals-username"
[layers.own]
type = "client-id"
require = "template"
template = "dev-${username}.*"
[layers.any]
type = "client-id"
require = "any"
[layers.rules]
type = "acl"
[[layers.rules.rules]]
allow = ["publish", "subscribe"]
topics = ["devices/${client_id}/#"]
[layers.map]
type = "topic-map"
prefix = "${username}/"
"##;

const LAYER_NAMES: [&str; 4] = ["ids", "own", "rules", "map"];

async fn start(broker: &FakeBroker, access_log: bool, level: &str) -> Mproxy {
    let mut config = format!(
        "[upstreams.broker]\naddress = \"{}\"\nhealth.check = \"off\"\n\
         [admin]\nbind = \"127.0.0.1:0\"\n{LAYERS}",
        broker.url()
    );
    let log = if access_log {
        config += "[layers.log]\ntype = \"access-log\"\n";
        "\"log\", "
    } else {
        ""
    };
    for name in LAYER_NAMES {
        let any = if name == "ids" || name == "own" {
            ""
        } else {
            "\"any\", "
        };
        config += &format!("[chains.{name}]\nlayers = [{log}{any}\"{name}\"]\n");
    }
    config += &format!(
        "[chains.default]\nlayers = [{}]\n",
        log.trim_end_matches(", ")
    );
    for name in LAYER_NAMES {
        config += &format!(
            "[[listeners]]\nname = \"{name}\"\nbind = \"127.0.0.1:0\"\nchain = \"{name}\"\n"
        );
    }
    config += "[[listeners]]\nname = \"mqtt\"\nbind = \"127.0.0.1:0\"\n";
    Setup::new(&config).set("log.level", level).start().await
}

/// Stops it, so that all is in the log that will ever be, and returns the line about a client.
async fn line_about(mut mproxy: Mproxy, client_ids: &[&str]) -> Vec<Value> {
    mproxy.signal(Signal::TERM);
    assert_eq!(mproxy.code(PATIENCE).await, 0);
    let events = mproxy.events();
    let only = |client_id: &&str| {
        let lines: Vec<_> = events
            .iter()
            .filter(|line| line["client_id"] == *client_id && line["event"] != "deny")
            .collect();
        let [line] = lines[..] else {
            panic!("{client_id}: {} lines: {lines:#?}", lines.len());
        };
        for (name, value) in [
            ("level", "WARN"),
            ("target", "mproxy::session"),
            ("event", "refuse"),
            ("message", "client refused"),
            ("upstream", "broker"),
        ] {
            assert_eq!(line[name], value, "{name} of {line}");
        }
        line.clone()
    };
    client_ids.iter().map(only).collect()
}

fn says(line: &Value, field: &str, part: &str) {
    let text = line[field].as_str().unwrap_or_default();
    assert!(text.contains(part), "no {part:?} in {field}: {line}");
}

/// A wrong password was INFO, "connection closed", and no remedy; with an access log it was WARN,
/// "client not connected", and no remedy. With `log.level = "warn"` it was nothing.
#[tokio::test]
async fn a_client_that_the_broker_refuses_has_one_warning() {
    for access_log in [false, true] {
        let broker = FakeBroker::bind().await;
        let mproxy = start(&broker, access_log, "warn").await;
        for (version, client_id, connack) in [
            (Version::V5, "five", &[0x20, 3, 0, 0x87, 0][..]),
            (Version::V311, "three", &[0x20, 2, 0, 5]),
            (Version::V311, "full", &[0x20, 2, 0, 3]),
        ] {
            let mut client = Link::tcp(mproxy.listener("mqtt")).await;
            let connect = Connect::new(version, client_id).credentials("alice", "wrong");
            client.send(&connect.bytes()).await;
            let mut server = broker.session().await;
            server.expect(&connect.bytes()).await;
            server.send(connack).await;
            client.expect(connack).await;
            drop(server);
            client.closed().await;
        }
        let lines = line_about(mproxy, &["five", "three", "full"]).await;
        for line in &lines {
            assert_eq!(line["reason"], "upstream_refused", "{line}");
            assert_eq!(line["username"], "alice", "{line}");
            says(line, "remedy", "see ");
        }
        says(&lines[0], "remedy", "user name and password");
        says(&lines[1], "remedy", "user name and password");
        says(&lines[2], "remedy", "reason_code is the broker's answer");
    }
}

/// "the client id belongs to another user" did not say which of the layers it came from and what it wants,
/// and there was no line before it that did. The client is told no more than before: what layers are
/// called, and what they require, is for the operator.
#[tokio::test]
async fn a_client_that_a_layer_refuses_has_one_warning_that_names_the_layer() {
    for access_log in [false, true] {
        let broker = FakeBroker::bind().await;
        let mproxy = start(&broker, access_log, "warn").await;
        let cases = [
            (
                "ids",
                Connect::new(Version::V5, "a").username("bad"),
                "the client id belongs to another user",
                "layer `ids` (client-id, require = equals-username)",
                "change the client id or user name",
            ),
            (
                "own",
                Connect::new(Version::V5, "b").username("bad"),
                "the client id belongs to another user",
                "layer `own` (client-id, require = template, template = dev-${username}.*)",
                "change the client id or user name",
            ),
            (
                "rules",
                Connect::new(Version::V5, "c").will("devices/x/up", "", 0, false),
                "will on topic devices/x/up is not allowed",
                "layer `rules` (acl): denied by ",
                "set layers.rules.will = \"strip\"",
            ),
            (
                "map",
                Connect::new(Version::V5, "d"),
                "",
                "layer `map` (topic-map)",
                "the rule of the layer that detail names",
            ),
        ];
        for (listener, connect, told, ..) in &cases {
            let mut client = Link::tcp(mproxy.listener(listener)).await;
            client.send(&connect.bytes()).await;
            let answer = client.packet().await;
            let text = String::from_utf8_lossy(answer.bytes()).into_owned();
            assert!(text.contains(told), "{text:?}");
            assert!(!text.contains("layer"), "the client is told {text:?}");
            client.closed().await;
        }
        assert!(broker.is_idle());
        let lines = line_about(mproxy, &["a", "b", "c", "d"]).await;
        for (line, (listener, _, told, layer, remedy)) in lines.iter().zip(&cases) {
            assert_eq!(line["listener"], *listener, "{line}");
            assert_eq!(line["reason"], "auth_denied", "{line}");
            says(line, "detail", told);
            says(line, "detail", layer);
            says(line, "remedy", remedy);
        }
    }
}

/// "no hook of the session sees AUTH", and a remedy that spoke of the layer that detail names: there was
/// none, and no word of `reauthentication`.
#[tokio::test]
async fn a_client_that_authenticates_again_has_a_line_that_names_the_layers() {
    let broker = FakeBroker::bind().await;
    let mut mproxy = Setup::before(&broker.url())
        .toml(
            "[chains.default]\nlayers = [\"any\", \"rules\", \"same\", \"stamp\", \"map\"]\n\
             [layers.stamp]\ntype = \"property-edit\"\nset = { \"x-user\" = \"${username}\" }\n\
             [layers.same]\ntype = \"acl\"\n[[layers.same.rules]]\nallow = [\"publish\"]\n\
             topics = [\"public/#\"]\n",
        )
        .toml(LAYERS)
        .set("layers.map.reauthentication", "pass")
        .start()
        .await;
    let method = [&[0x15][..], &field("m")].concat();
    let connect = Connect::new(Version::V5, "again").username("acme");
    let connect = connect.properties(&method);
    let mut client = Link::tcp(mproxy.addr()).await;
    client.send(&connect.bytes()).await;
    let mut server = broker.session().await;
    server.packet().await;
    let connack = [&[0, 0][..], &properties(&method)].concat();
    server.send(&frame(0x20, &connack)).await;
    assert_eq!(client.packet().await.kind(), 2);
    let again = [&[0x19][..], &properties(&method)].concat();
    client.send(&frame(0xf0, &again)).await;
    let farewell = client.packet().await;
    assert_eq!((farewell.kind(), farewell.body()[0]), (14, 0x8c));
    client.closed().await;
    server.closed().await;
    mproxy.signal(Signal::TERM);
    assert_eq!(mproxy.code(PATIENCE).await, 0);
    let lines = mproxy.process().lines();
    let lines = lines.iter().filter(|line| line.starts_with('{'));
    let mut events = lines.map(|line| serde_json::from_str(line).expect("a line is JSON"));
    let about = |line: &Value| line["client_id"] == "again" && line["level"] == "WARN";
    let line = &events.find(about).expect("a line");
    assert_eq!(line["reason"], "auth_denied", "{line}");
    says(line, "detail", "re-authentication");
    let keys = "set layers.rules.reauthentication and layers.stamp.reauthentication = \"pass\" if";
    says(line, "remedy", keys);
}

/// A layer, by its name, that denies some wills.
fn denying(layer: &str) -> &'static str {
    match layer {
        "rules" => {
            r##"
[layers.rules]
type = "acl"
check_response_topics = true
[[layers.rules.rules]]
name = "not there"
deny = ["publish"]
topics = ["devices/x/#"]
[[layers.rules.rules]]
allow = ["publish"]
topics = ["devices/#"]
"##
        }
        _ => {
            r#"
[layers.map]
type = "topic-map"
[[layers.map.rules]]
from = "devices/"
to = "site/"
shared = true
writable = true
"#
        }
    }
}

/// What clients are called here, and their wills: the topic and the Response Topic.
const WITH_WILLS: [(&str, &str, &str); 3] = [
    ("topic", "devices/x/gone", "devices/reply"),
    ("system", "$SYS/gone", "devices/reply"),
    ("response", "devices/7/gone", "$SYS/reply"),
];

/// The lines at level `warn` about each of these clients, with an access log of these events or without
/// one.
async fn about_wills(layer: &str, events: Option<&str>, will: &str) -> [Vec<Value>; 3] {
    let broker = FakeBroker::bind().await;
    let log = events.map_or(String::new(), |events| {
        format!("[layers.log]\ntype = \"access-log\"\nevents = [{events}]\n")
    });
    let outer = if log.is_empty() { "" } else { "\"log\", " };
    let mut mproxy = Setup::before(&broker.url())
        .set("upstreams.broker.health.check", "off")
        .toml(&format!(
            "{}{log}[chains.default]\nlayers = [{outer}\"{layer}\"]\n",
            denying(layer)
        ))
        .set(&format!("layers.{layer}.will"), will)
        .start()
        .await;
    for (client_id, topic, response) in WITH_WILLS {
        let response = [&[0x08][..], &field(response)].concat();
        let connect = Connect::new(Version::V5, client_id)
            .will(topic, "", 0, false)
            .will_properties(&response);
        let mut client = Link::tcp(mproxy.addr()).await;
        let goes_on = will == "strip" || (layer, client_id) == ("map", "topic");
        if goes_on {
            tokio::join!(client.connect(&connect), broker.accept());
            client.leave().await;
        } else {
            client.send(&connect.bytes()).await;
            let answer = client.packet().await;
            let told = String::from_utf8_lossy(answer.bytes()).into_owned();
            assert!(!told.contains("not there"), "{told}");
            client.closed().await;
        }
    }
    mproxy.signal(Signal::TERM);
    assert_eq!(mproxy.code(PATIENCE).await, 0);
    let events = mproxy.events();
    WITH_WILLS.map(|(client_id, ..)| {
        let lines = events.iter().filter(|line| line["client_id"] == client_id);
        lines
            .filter(|line| line["level"] == "WARN")
            .cloned()
            .collect()
    })
}

/// There were two lines: a denial, and a refusal that did not name the rule. An access log without the
/// event `deny` left only that one, and none said how to let the client in without its will. A will
/// whose Response Topic is denied was called a will on that topic.
#[tokio::test]
async fn a_will_that_is_refused_has_one_line_that_says_all() {
    for events in [None, Some("\"connect\""), Some("\"connect\", \"deny\"")] {
        let [topic, system, response] = about_wills("rules", events, "refuse").await;
        for (lines, told, rule) in [
            (
                topic,
                "will on topic devices/x/gone is not allowed: layer `rules` (acl): ",
                "denied by rule `not there` at ",
            ),
            (
                system,
                "will on topic $SYS/gone is not allowed: layer `rules` (acl): ",
                "denied, because no rule names this `$` topic",
            ),
            (
                response,
                "Response Topic $SYS/reply of the will is not allowed: layer `rules` (acl): ",
                "denied, because no rule names this `$` topic",
            ),
        ] {
            let [line] = &lines[..] else {
                panic!("{told}: {lines:#?}");
            };
            assert_eq!(line["event"], "refuse", "{line}");
            assert_eq!(line["reason"], "auth_denied", "{line}");
            says(line, "detail", told);
            says(line, "detail", rule);
            says(line, "remedy", "set layers.rules.will = \"strip\"");
        }
        let [topic, system, response] = about_wills("map", events, "refuse").await;
        assert!(topic.is_empty(), "{topic:#?}");
        for (lines, told) in [
            (system, "will on topic $SYS/gone: "),
            (response, "Response Topic $SYS/reply of the will: "),
        ] {
            let [line] = &lines[..] else {
                panic!("{told}: {lines:#?}");
            };
            says(line, "detail", told);
            says(line, "detail", ": layer `map` (topic-map)");
            says(line, "remedy", "set layers.map.will = \"strip\"");
        }
    }
}

/// The line about a will that was taken out was the one about a client that was turned away.
#[tokio::test]
async fn a_will_that_is_stripped_has_a_line_that_says_so() {
    for layer in ["rules", "map"] {
        for events in [None, Some("\"deny\"")] {
            let [_, system, response] = about_wills(layer, events, "strip").await;
            for (lines, topic, whose) in [
                (system, "$SYS/gone", ""),
                (
                    response,
                    "$SYS/reply",
                    "; it is the Response Topic of the will",
                ),
            ] {
                let [line] = &lines[..] else {
                    panic!("{layer} {topic}: {lines:#?}");
                };
                assert_eq!(line["event"], "deny", "{line}");
                assert_eq!(line["action"], "will", "{line}");
                assert_eq!(line["topic"], topic, "{line}");
                let detail = line["detail"].as_str().unwrap_or_default();
                let end = format!("{whose}; the client is let in without its will");
                assert!(detail.ends_with(&end), "{line}");
            }
        }
    }
}

/// A client that opens a WebSocket and then says nothing was "a connection without a byte" at level
/// DEBUG, as a check of a load balancer is. It had sent a whole request, and was answered.
#[tokio::test]
async fn a_websocket_without_a_connect_has_a_line() {
    for access_log in [false, true] {
        let broker = FakeBroker::bind().await;
        let chain = if access_log {
            "[chains.default]\nlayers = [\"log\"]\n[layers.log]\ntype = \"access-log\"\n"
        } else {
            ""
        };
        let mproxy = Setup::before(&broker.url())
            .toml(chain)
            .websocket()
            .set("listeners.ws.limits.connect_timeout", "300ms")
            .start()
            .await;
        let page = [("origin", "https://app.example.com")];
        let silent = Link::ws_with(mproxy.listener("ws"), &page).await;
        silent.closed().await;
        let mut leaving = Link::ws_with(mproxy.listener("ws"), &page).await;
        let frames = leaving.frames();
        frames.close(None).await.expect("it is open");
        leaving.closed().await;
        for (reason, level) in [("connect_timeout", "WARN"), ("eof", "INFO")] {
            let line = mproxy.event(reason, |event| {
                event["listener"] == "ws" && event["reason"] == reason
            });
            let line = line.await;
            assert_eq!(line["level"], level, "{line}");
            assert_eq!(line["event"], "refuse", "{line}");
            assert_eq!(line["path"], "/mqtt", "{line}");
            assert_eq!(line["origin"], "https://app.example.com", "{line}");
        }
        let line = mproxy.event("the remedy", |event| event["reason"] == "connect_timeout");
        says(
            &line.await,
            "remedy",
            "opened a WebSocket and sent no CONNECT",
        );
    }
}
