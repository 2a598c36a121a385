//! What is written down of a session: who, what and why; each event on a line of its own, whatever
//! names people give themselves; and never a password.

use mproxy_tests::wire::{Connect, Publish, Version, field, frame, subscribe, unsubscribe};
use mproxy_tests::{FakeBroker, Link, Mosquitto, Setup, http};
use serde_json::Value;

const LOGGED: &str = r##"
[chains.default]
layers = ["log", "ids", "acl"]
[layers.ids]
type = "client-id"
require = "any"
[layers.log]
type = "access-log"
[layers.acl]
type = "acl"
[[layers.acl.rules]]
name = "nobody reads everything"
deny = ["subscribe"]
filters = ["#"]
[[layers.acl.rules]]
name = "devices own their subtree"
allow = ["publish", "subscribe"]
topics = ["devices/${client_id}/#"]
"##;

fn event(kind: &str) -> impl FnMut(&Value) -> bool {
    let kind = kind.to_owned();
    move |event| event["event"] == kind.as_str()
}

#[tokio::test]
async fn the_events_of_a_session_say_who_and_what_and_why() {
    let broker = Mosquitto::start().await;
    let mproxy = Setup::before(&broker.url()).toml(LOGGED).start().await;
    let version = Version::V5;
    let mut client = Link::tcp(mproxy.addr()).await;
    let connect = Connect::new(version, "d7")
        .credentials("alice", "secret")
        .keep_alive(60);
    client.connect(&connect).await;
    client
        .send(&subscribe(version, 1, &[("devices/d7/a", 1), ("#", 0)]))
        .await;
    assert_eq!(client.packet().await.kind(), 9);
    client
        .send(&unsubscribe(version, 2, &["devices/d7/a"]))
        .await;
    assert_eq!(client.packet().await.kind(), 11);
    client
        .send(
            &Publish::new(version, "devices/d7/up")
                .qos(1, 3)
                .bytes("hello"),
        )
        .await;
    assert_eq!(client.packet().await.kind(), 4);
    for id in 4..=9 {
        client
            .send(&Publish::new(version, "admin/x").qos(1, id).bytes("hello"))
            .await;
        client.expect(&[0x40, 3, 0, id as u8, 0x87]).await;
    }
    client.leave().await;
    let end = mproxy.event("disconnect", event("disconnect")).await;

    let connect = mproxy.event("connect", event("connect")).await;
    let subscribed = mproxy.event("subscribe", event("subscribe")).await;
    let unsubscribed = mproxy.event("unsubscribe", event("unsubscribe")).await;
    let denials: Vec<_> = mproxy.events().into_iter().filter(event("deny")).collect();
    for line in [&connect, &subscribed, &unsubscribed, &end]
        .into_iter()
        .chain(&denials)
    {
        assert_eq!(line["target"], "mproxy::access", "{line}");
        assert_eq!(line["client_id"], "d7", "{line}");
        assert_eq!(line["username"], "alice", "{line}");
        assert_eq!(line["version"], "5", "{line}");
        assert_eq!(line["listener"], "mqtt", "{line}");
        let peer = line["peer"].as_str().unwrap_or_default();
        assert!(peer.starts_with("127.0.0.1:"), "{line}");
    }
    assert_eq!(
        (&connect["keep_alive_s"], &connect["clean_start"]),
        (&60.into(), &true.into())
    );
    assert_eq!(unsubscribed["filters"], "devices/d7/a");
    // what the client was granted, and not only what it asked for
    assert_eq!(subscribed["granted"], "devices/d7/a (1)");
    assert_eq!(subscribed["refused"], "# (not_authorized)");

    // the first denial of each rule at once, and no flood of further ones; each says by which rule
    let [denial, publish] = &denials[..] else {
        panic!("{} denials: {denials:?}", denials.len());
    };
    assert_eq!(
        (&denial["action"], &denial["topic"]),
        (&"subscribe".into(), &"#".into())
    );
    let detail = denial["detail"].as_str().expect("a detail");
    assert!(detail.contains("nobody reads everything"), "{detail}");
    assert!(detail.contains("mproxy.toml:"), "{detail}");
    assert_eq!(denial["level"], "WARN");
    assert_eq!(
        (&publish["action"], &publish["topic"]),
        (&"publish".into(), &"admin/x".into())
    );

    for (key, value) in [
        ("side", Value::from("client")),
        ("reason", "disconnect".into()),
        ("reason_code", "success".into()),
        // CONNECT, SUBSCRIBE, UNSUBSCRIBE, seven PUBLISH, DISCONNECT
        ("packets_to_server", 11.into()),
        // the SUBSCRIBE, in part, and six PUBLISH
        ("denied", 7.into()),
    ] {
        assert_eq!(end[key], value, "{key} of {end}");
    }
    assert!(end["duration_s"].is_f64(), "seconds with a fraction: {end}");
}

/// The operator of a device with a slash in its client id read "denied by default", and looked for a
/// rule that was there.
#[tokio::test]
async fn a_denial_says_which_rule_a_client_has_no_usable_name_for() {
    let broker = FakeBroker::bind().await;
    let mproxy = Setup::before(&broker.url()).toml(LOGGED).start().await;
    for version in Version::ALL {
        let client_id = format!("{version:?}/d7");
        let client = Link::client(mproxy.addr(), version, &client_id);
        let (mut client, _server) = tokio::join!(client, broker.accept());
        let topic = format!("devices/{client_id}/up");
        client.send(&Publish::new(version, &topic).bytes("")).await;
        let line = mproxy.event("deny", |event| event["topic"] == topic.as_str());
        let line = line.await;
        let detail = line["detail"].as_str().expect("a detail");
        let rule = "denied by default; rule `devices own their subtree` at mproxy.toml:";
        assert!(detail.starts_with(rule), "{detail}");
        let why = "does not apply, because this client has no usable value for `${client_id}`";
        assert!(detail.ends_with(why), "{detail}");
    }
}

/// A broker that closes the connection of a client that asks for too much, as AWS IoT does: what it
/// asked for is in the log.
#[tokio::test]
async fn a_subscribe_that_nobody_answers_is_logged_at_the_end() {
    let broker = FakeBroker::bind().await;
    let mproxy = Setup::before(&broker.url()).toml(LOGGED).start().await;
    for version in Version::ALL {
        let client_id = format!("d7-{version:?}");
        let client = Link::client(mproxy.addr(), version, &client_id);
        let (mut client, (mut server, _)) = tokio::join!(client, broker.accept());
        let filter = format!("devices/{client_id}/a");
        let request = subscribe(version, 1, &[(&filter, 1)]);
        client.send(&request).await;
        server.expect(&request).await;
        drop(server);
        client.closed().await;
        let line = mproxy.event("subscribe", |event| event["filters"] == filter.as_str());
        let line = line.await;
        assert_eq!(line["event"], "subscribe", "{line}");
        assert_eq!(line["client_id"], client_id.as_str(), "{line}");
    }
}

/// The layers escaped what they logged, and the server escaped it again: a client id with a backslash
/// had one spelling in the lines of the access log and another in the server's own, under two names
/// for one field, and a search found half of them.
#[tokio::test]
async fn a_name_reads_the_same_in_every_line() {
    let version = Version::V5;
    let name = "a\\b\"c\u{202e}\nd\u{1b}[2J\\u{a}";
    let topic = format!("denied/{name}");
    let without = LOGGED
        .replace("\"log\", ", "")
        .replace("[layers.log]\ntype = \"access-log\"\n", "");
    for toml in [&without, LOGGED] {
        let broker = FakeBroker::bind().await;
        let mproxy = Setup::before(&broker.url())
            .toml(toml)
            .set("listeners.mqtt.control_characters", "pass")
            .start()
            .await;
        let mut client = Link::tcp(mproxy.addr()).await;
        let connect = Connect::new(version, name).username(name);
        client.send(&connect.bytes()).await;
        let mut server = broker.session().await;
        server.accept().await;
        assert_eq!(client.packet().await.body()[1], 0);
        client
            .send(&Publish::new(version, &topic).qos(1, 1).bytes(""))
            .await;
        client.expect(&[0x40, 3, 0, 1, 0x87]).await;
        tokio::join!(client.leave(), server.rest());
        mproxy.end_of(name).await;

        let mut found = Vec::new();
        for line in mproxy.events() {
            if line["client_id"].is_null() {
                continue;
            }
            assert_eq!(line["client_id"], name, "{line}");
            assert_eq!(line["username"], name, "{line}");
            if line["event"] == "deny" {
                assert_eq!(line["topic"], topic.as_str(), "{line}");
            }
            found.push(line["event"].as_str().unwrap_or_default().to_owned());
        }
        assert_eq!(found, ["connect", "deny", "disconnect"], "{toml}");
    }
}

#[tokio::test]
async fn a_denial_names_the_line_of_its_rule() {
    let broker = FakeBroker::bind().await;
    let mproxy = Setup::before(&broker.url()).toml(LOGGED).start().await;
    let (mut client, _server) = tokio::join!(
        Link::client(mproxy.addr(), Version::V5, "d7"),
        broker.accept()
    );
    client.send(&subscribe(Version::V5, 1, &[("#", 0)])).await;
    assert_eq!(client.packet().await.kind(), 9);
    let denial = mproxy.event("deny", event("deny")).await;
    let detail = denial["detail"].as_str().expect("a detail");
    // of the file as it was written: four lines before what is above, of which the rule is the ninth
    let number: usize = detail
        .split("mproxy.toml:")
        .nth(1)
        .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next())
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_else(|| panic!("no line in {detail}"));
    let file = format!("{}{LOGGED}", Setup::head(&broker.url()));
    let line = file.lines().nth(number - 1).expect("a line of the file");
    assert!(
        line == "[[layers.acl.rules]]" || line.contains("nobody reads everything"),
        "line {number} is {line}"
    );
}

#[tokio::test]
async fn a_share_of_what_a_client_publishes_is_logged() {
    let sampled = LOGGED.replace(
        "type = \"access-log\"",
        "type = \"access-log\"\nevents = [\"publish\", \"disconnect\"]\npublish_sample = 0.5",
    );
    let broker = Mosquitto::start().await;
    let mproxy = Setup::before(&broker.url()).toml(&sampled).start().await;
    let version = Version::V5;
    let mut client = Link::tcp(mproxy.addr()).await;
    client.connect(&Connect::new(version, "d7")).await;
    for id in 1..=6 {
        let topic = format!("devices/d7/{id}");
        let packet = Publish::new(version, &topic).qos(1, id);
        client.send(&packet.bytes("hello")).await;
        assert_eq!(client.packet().await.kind(), 4);
    }
    client.leave().await;
    mproxy.end_of("d7").await;
    let events = mproxy.events();
    let published: Vec<_> = events
        .iter()
        .filter(|it| it["event"] == "publish")
        .collect();
    let topics: Vec<_> = published.iter().map(|it| &it["topic"]).collect();
    assert_eq!(topics, ["devices/d7/2", "devices/d7/4", "devices/d7/6"]);
    for line in published {
        assert_eq!(line["target"], "mproxy::access", "{line}");
        for (key, value) in [
            ("client_id", Value::from("d7")),
            ("listener", "mqtt".into()),
            ("qos", 1.into()),
            ("retain", false.into()),
            ("bytes", 5.into()),
        ] {
            assert_eq!(line[key], value, "{key} of {line}");
        }
    }
}

/// Client ids, user names, topics and filters are somebody else's text. Each of their events is one line
/// of JSON, in which the name is what the client sent.
#[tokio::test]
async fn no_name_writes_a_line_of_its_own() {
    let broker = FakeBroker::bind().await;
    let mproxy = Setup::before(&broker.url())
        .toml(LOGGED)
        // otherwise most of these names would not get as far as the log of a session
        .set("listeners.mqtt.control_characters", "pass")
        .start()
        .await;
    let version = Version::V5;
    let evil = [
        "a\r\n{\"level\":\"ERROR\",\"message\":\"fake\"}",
        "b\u{1b}[2J\u{7}\u{8}",
        "c\u{2028}\u{2029}\u{85}",
        "d\u{202e}\u{feff}\u{200b}",
        "\"},{\"",
    ];
    for (number, name) in evil.into_iter().enumerate() {
        // turned away for its will
        let connect = Connect::new(version, name).username(name);
        let mut client = Link::tcp(mproxy.addr()).await;
        client.send(&connect.will(name, "", 0, false).bytes()).await;
        client.rest().await;
        mproxy.end_of(name).await;

        let plain = format!("plain{number}");
        let connect = Connect::new(version, &plain).username(name);
        let mut client = Link::tcp(mproxy.addr()).await;
        client.send(&connect.bytes()).await;
        let mut server = broker.session().await;
        server.accept().await;
        assert_eq!(client.packet().await.body()[1], 0);
        let publish = Publish::new(version, name).qos(1, 1);
        client.send(&publish.bytes("")).await;
        client.expect(&[0x40, 3, 0, 1, 0x87]).await;
        client.send(&subscribe(version, 2, &[(name, 0)])).await;
        assert_eq!(client.packet().await.kind(), 9);
        tokio::join!(client.leave(), server.rest());
        mproxy.end_of(&plain).await;

        let events = mproxy.events();
        let about = events.iter().filter(|it| it["username"] == name);
        let about: Vec<_> = about.map(|it| it["event"].as_str()).collect();
        let expected = [
            "refuse",
            "connect",
            "deny",
            "deny",
            "subscribe",
            "disconnect",
        ];
        assert_eq!(about, expected.map(Some), "{name:?}");
        let denied = events
            .iter()
            .filter(|it| event("deny")(it) && it["topic"] == name);
        assert_eq!(denied.count(), 2, "{name:?}");
    }
    assert!(
        mproxy
            .events()
            .iter()
            .all(|event| event["message"] != "fake")
    );
    for line in mproxy.process().lines() {
        let odd = |c: char| c.is_control() || "\u{2028}\u{2029}\u{202e}\u{feff}".contains(c);
        assert!(!line.contains(odd), "{line:?}");
        assert!(line.len() < 4096, "{} bytes", line.len());
    }
}

/// The canary: a password that is looked for everywhere afterwards. Payloads and the bytes of
/// authentication are secrets as well.
#[tokio::test]
async fn secrets_are_never_written_down_at_any_level() {
    let canary = "hunter2-CANARY";
    let broker = Mosquitto::start().await;
    let mproxy = Setup::before(&broker.url())
        .toml(LOGGED)
        .websocket()
        .log_level("trace")
        .start()
        .await;
    for version in Version::ALL {
        for websocket in [false, true] {
            let link = async || {
                if websocket {
                    Link::ws(mproxy.listener("ws")).await
                } else {
                    Link::tcp(mproxy.addr()).await
                }
            };
            let connect = Connect::new(version, "d7").credentials("alice", canary);

            // a whole session, with refusals
            let mut client = link().await;
            client
                .connect(&connect.clone().will("devices/d7/will", canary, 1, false))
                .await;
            for topic in ["devices/d7/up", "admin/x"] {
                client
                    .send(&Publish::new(version, topic).qos(1, 1).bytes(canary))
                    .await;
                assert_eq!(client.packet().await.kind(), 4);
            }
            client.send(&subscribe(version, 2, &[("#", 0)])).await;
            assert_eq!(client.packet().await.kind(), 9);
            client.leave().await;

            // sessions that are refused: by the rules, and because something is wrong
            let mut client = link().await;
            client
                .send(&connect.clone().will("admin/x", canary, 1, false).bytes())
                .await;
            client.rest().await;
            let mut bytes = connect.bytes();
            bytes.extend(frame(0x10, canary.as_bytes()));
            let mut client = link().await;
            client.send(&bytes).await;
            client.rest().await;
            let mut client = link().await;
            let mut malformed = field("MQTT");
            malformed.extend([4, 0xff, 0, 0]);
            malformed.extend([field("c"), field(canary), field(canary)].concat());
            client.send(&frame(0x10, &malformed)).await;
            client.rest().await;
        }
        // enhanced authentication: mosquitto knows no method, and says so
        if version.is_v5() {
            let data = [&[0x15][..], &field("PLAIN"), &[0x16], &field(canary)].concat();
            let mut client = Link::tcp(mproxy.addr()).await;
            client
                .send(&Connect::new(version, "d8").properties(&data).bytes())
                .await;
            client.rest().await;
        }
    }
    mproxy.end_of("d8").await;
    let log = mproxy.process().lines().join("\n");
    assert!(
        log.contains("alice") && log.contains("DEBUG"),
        "there is a log:\n{log}"
    );
    assert!(!log.contains(canary), "{log}");
    for path in ["/metrics", "/readyz?verbose", "/version", "/"] {
        let answer = http::get(mproxy.admin(), path).await;
        assert!(!answer.body.contains(canary), "{path}: {}", answer.body);
    }
}
