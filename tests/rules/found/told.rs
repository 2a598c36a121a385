//! What the log says of connections that got no session, with and without an access-log layer.

use mproxy_tests::wire::{Connect, DISCONNECT, Publish, Version, connack};
use mproxy_tests::{Link, Setup};
use serde_json::Value;

use super::{Place, Way, ground, hello, hex, link};
use crate::ground::Ground;

tests! {
    a_connect_that_is_not_let_in_has_a_line [o1] in all;
    another_protocol_is_named [o2] in all;
    a_broker_of_another_protocol_is_named [o2] in all;
    a_reset_before_connack_is_told_like_an_end [o5] in all;
    probes_are_no_news [o6] in [v311];
    a_name_has_one_spelling [o9] in all;
}

/// Chains as they were, or all with an access-log layer in front of them.
fn logged(setup: Setup, with_layer: bool) -> Setup {
    if !with_layer {
        return setup;
    }
    setup
        .toml("[layers.log]\ntype = \"access-log\"\n")
        .set("chains.default.layers", "[\"log\"]")
        .set("chains.acl.layers", "[\"log\", \"acl\"]")
}

/// One way to each listener, because lines are told apart by it.
const HERE: [Place; 4] = [
    (Way::Dripped, "mqtt"),
    (Way::Tcp, "acl"),
    (Way::Ws, "ws"),
    (Way::Ws, "ws-acl"),
];

/// The line about a connection that ended before CONNACK: the only one, and a warning with a remedy.
async fn refusal(ground: &Ground, listener: &str) -> Value {
    let is_it = |event: &Value| event["event"] == "refuse" && event["listener"] == listener;
    let line = ground.mproxy.event("a line about it", is_it).await;
    assert_eq!(line["level"], "WARN", "{line}");
    let remedy = line["remedy"].as_str().unwrap_or_default();
    assert!(!remedy.is_empty(), "{line}");
    let events = ground.mproxy.events();
    let count = events.iter().filter(|event| is_it(event)).count();
    assert_eq!(count, 1, "{events:#?}");
    line
}

fn says(line: &Value, field: &str, part: &str) {
    let text = line[field].as_str().unwrap_or_default();
    assert!(text.contains(part), "no {part:?} in {field}: {line}");
}

async fn a_connect_that_is_not_let_in_has_a_line(version: Version) {
    // found with this length, two bytes more than there are: the level is known all the same
    let short = hex("100f00044d5154540302003c000170");
    let level_3 = hex("100d00044d5154540302003c000170");
    let level_6 = hex("100d00044d5154540602003c000170");
    let no_utf_8 = hex("100d00044d5154540402003c0001ff");
    let hello = hello(version);
    let level = match version {
        Version::V31 => "0x03",
        Version::V311 => "0x04",
        Version::V5 => "0x05",
    };
    let others = match version {
        Version::V5 => "[\"3.1\", \"3.1.1\"]",
        Version::V31 => "[\"3.1.1\", \"5\"]",
        Version::V311 => "[\"5\"]",
    };
    let not_served = if version.is_v5() {
        &[0x20, 3, 0, 0x84, 0][..]
    } else {
        &[0x20, 2, 0, 1]
    };
    for with_layer in [false, true] {
        for (bytes, answer, level, client_id, reason) in [
            (&short[..], &[][..], "0x03", None, "connect_timeout"),
            (
                &level_3,
                &[0x20, 2, 0, 1],
                "0x03",
                Some("p"),
                "unsupported_version",
            ),
            (
                &level_6,
                &[0x20, 3, 0, 0x84, 0],
                "0x06",
                None,
                "unsupported_version",
            ),
            (&no_utf_8, &[], "0x04", None, "malformed"),
            (
                &hello,
                not_served,
                level,
                Some("c00000"),
                "unsupported_version",
            ),
            (&hello[..11], &[], level, None, "connect_timeout"),
        ] {
            let ground = ground(|setup| {
                let setup = logged(setup, with_layer);
                let setup = setup.set_listeners("versions", others);
                setup.set_listeners("limits.connect_timeout", "300ms")
            })
            .await;
            for place in HERE {
                let mut client = link(&ground.mproxy, place, version).await;
                place.0.send(&mut client, bytes).await;
                if answer.is_empty() {
                    client.closed().await;
                } else {
                    client.expect(answer).await;
                    client.closed().await;
                }
                let line = refusal(&ground, place.1).await;
                assert_eq!(line["protocol_level"], level, "{line}");
                assert_eq!(line["reason"], reason, "{line}");
                if let Some(client_id) = client_id {
                    assert_eq!(line["client_id"], client_id, "{line}");
                }
            }
        }
    }
}

async fn another_protocol_is_named(version: Version) {
    for with_layer in [false, true] {
        for (bytes, what, remedy) in [
            (
                &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
                "a TLS handshake",
                "TLS",
            ),
            (
                b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 1883\r\n",
                "PROXY protocol",
                "send-proxy",
            ),
            (
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c",
                "PROXY protocol",
                "send-proxy",
            ),
            (
                b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                "an HTTP request",
                "protocol = \"ws\"",
            ),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH", "SSH"),
        ] {
            // a CONNECT behind it, as a balancer sends it, makes no difference
            let bytes = [bytes, &hello(version)].concat();
            let ground = ground(|setup| logged(setup, with_layer)).await;
            for place in HERE {
                let mut client = link(&ground.mproxy, place, version).await;
                client.send(&bytes).await;
                client.closed().await;
                let line = refusal(&ground, place.1).await;
                says(&line, "detail", what);
                says(&line, "remedy", remedy);
            }
        }
    }
}

async fn a_broker_of_another_protocol_is_named(version: Version) {
    for with_layer in [false, true] {
        for (bytes, what, remedy) in [
            (
                &b"\x15\x03\x03\0\x02\x02\x46"[..],
                "a TLS alert",
                "expects TLS",
            ),
            (
                b"HTTP/1.1 400 Bad Request\r\n\r\n",
                "an HTTP response",
                "speaks HTTP",
            ),
            (
                b"SSH-2.0-OpenSSH_9.2\r\n",
                "SSH",
                "not the port of a broker",
            ),
        ] {
            let ground = ground(|setup| logged(setup, with_layer)).await;
            for place in HERE {
                let mut client = link(&ground.mproxy, place, version).await;
                client.send(&hello(version)).await;
                let mut server = ground.broker.session().await;
                server.expect(&hello(version)).await;
                server.send(bytes).await;
                // both at once: the line comes when both have closed
                tokio::join!(client.closed(), server.closed());
                let line = refusal(&ground, place.1).await;
                says(&line, "detail", what);
                says(&line, "remedy", remedy);
                assert_eq!(line["reason"], "upstream_unreachable", "{line}");
            }
        }
    }
}

/// FIN was a warning with a remedy, RST a line like any other.
async fn a_reset_before_connack_is_told_like_an_end(version: Version) {
    for with_layer in [false, true] {
        let mut lines = Vec::new();
        for (reset, part) in [(false, 0), (true, 0), (false, 2), (true, 2)] {
            let ground = ground(|setup| logged(setup, with_layer)).await;
            for place in HERE {
                let mut client = link(&ground.mproxy, place, version).await;
                client.send(&hello(version)).await;
                let mut server = ground.broker.session().await;
                server.expect(&hello(version)).await;
                server.send(&connack(version, 0)[..part]).await;
                if reset {
                    server.reset();
                } else {
                    drop(server);
                }
                client.closed().await;
                let line = refusal(&ground, place.1).await;
                says(&line, "detail", if reset { "reset" } else { "closed" });
                let fields = [
                    "level",
                    "event",
                    "reason",
                    "side",
                    "reason_code",
                    "remedy",
                    "client_id",
                ];
                lines.push(fields.map(|field| line[field].clone()));
            }
        }
        assert!(lines.iter().all(|line| *line == lines[0]), "{lines:#?}");
        assert_eq!(lines[0][2], "upstream_unreachable");
    }
}

/// A load balancer looks at the port every second.
async fn probes_are_no_news(_: Version) {
    for with_layer in [false, true] {
        let ground = ground(|setup| logged(setup, with_layer).log_level("debug")).await;
        for number in 0..300 {
            let listener = ["mqtt", "acl", "ws"][number % 3];
            let probe = Link::tcp(ground.mproxy.listener(listener)).await;
            if number % 2 == 0 {
                probe.reset();
            } else {
                drop(probe);
            }
        }
        let closed = "mproxy_connections_closed_total";
        ground.mproxy.metric(closed, 300.0).await;
        for event in ground.mproxy.events() {
            let is_probe = event["reason"] == "eof" || event["reason"] == "reset";
            assert!(!is_probe || event["level"] == "DEBUG", "{event}");
        }
        let metrics = ground.mproxy.metrics().await;
        assert!(metrics.sum("mproxy_connections_refused_total") < 0.5);
    }
}

async fn a_name_has_one_spelling(version: Version) {
    for name in ["a\\b", "\\", "\\n", "\\u{5c}", "\"quoted\\\""] {
        for with_layer in [false, true] {
            let ground = ground(|setup| logged(setup, with_layer)).await;
            let hello = Connect::new(version, name).username(name);
            for listener in ["mqtt", "acl"] {
                let answer = connack(version, 0);
                let (mut client, mut server, _) = ground.open(listener, &hello, &answer).await;
                let topic = format!("denied/{name}");
                client.send(&Publish::new(version, &topic).bytes("")).await;
                client.send(&DISCONNECT).await;
                while server.packet_or_end().await.is_some() {}
                drop(server);
                client.closed().await;
                let end = ground.mproxy.event("its end", |event| {
                    event["event"] == "disconnect" && event["listener"] == listener
                });
                assert_eq!(end.await["client_id"], name);
            }
            let events = ground.mproxy.events();
            let named = events.iter().filter(|event| !event["client_id"].is_null());
            let mut count = 0;
            for event in named {
                assert_eq!(event["client_id"], name, "{event}");
                assert_eq!(event["username"], name, "{event}");
                count += 1;
            }
            assert!(count >= 5, "{events:#?}");
        }
    }
}
