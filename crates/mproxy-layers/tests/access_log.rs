//! The access log: which lines are written, and what they never hold.

mod support;

use mproxy_codec::{Direction, Kind, KindSet, PublishEdit, QoS, Version, encode_publish};
use mproxy_layers::{
    DeniedWill,
    access_log::{AccessLogLayer, Events},
    acl::{Acl, AclLayer, Actions, OnDeny, Rule},
    topic_map::{TopicMap, TopicMapLayer},
};
use mproxy_session::Packet;
use support::{
    Client, Outcome, admit, connack, forward_all, log::Log, publish, published, refused, send,
    suback, subscribe, unsubscribe,
};
use tower::ServiceBuilder;

fn acl() -> AclLayer {
    let mut acl = Acl::builder();
    let both = Actions::PUBLISH | Actions::SUBSCRIBE;
    let rule = Rule::allow(both).topic("${client_id}/#");
    acl.rule(rule).expect("a valid rule");
    acl.rule(
        Rule::deny(both)
            .name("closed")
            .location("rules.toml:9")
            .topic("#"),
    )
    .expect("a valid rule");
    AclLayer::new(acl.build())
}

fn device() -> Client<'static> {
    Client {
        id: "d7",
        user: Some("u"),
        ..Client::default()
    }
}

#[tokio::test]
async fn a_session_is_logged_line_by_line() {
    let lines = Log::of(async {
        let stack = ServiceBuilder::new()
            .layer(AccessLogLayer::new())
            .layer(acl())
            .service(forward_all());
        let (_, mut hooks) = admit(&stack, device()).await;
        send(&mut hooks.to_client, connack(0)).await;
        send(&mut hooks.to_server, subscribe(&["d7/a", "d8/a"])).await;
        send(&mut hooks.to_client, suback(&[1, 0x87])).await;
        send(&mut hooks.to_server, unsubscribe(&["d7/a"])).await;
        for _ in 0..100 {
            send(
                &mut hooks.to_server,
                publish(Direction::ToServer, "d8/a", None),
            )
            .await;
        }
    })
    .await;
    let who = "listener=\"test\" peer=unix client_id=\"d7\" username=\"u\" version=\"5\"";
    let expected = [
        format!(
            "INFO mproxy::access: client connected event=\"connect\" {who} \
             keep_alive_s=60 clean_start=true"
        ),
        format!(
            "WARN mproxy::access: denied event=\"deny\" {who} action=\"subscribe\" topic=\"d8/a\" \
             detail=\"denied by rule `closed` at rules.toml:9\""
        ),
        format!(
            "INFO mproxy::access: client subscribed event=\"subscribe\" {who} \
             granted=\"d7/a (1)\" refused=\"d8/a (not_authorized)\""
        ),
        format!(
            "INFO mproxy::access: client unsubscribes event=\"unsubscribe\" {who} \
             filters=\"d7/a\""
        ),
        // once, of a hundred
        format!(
            "WARN mproxy::access: denied event=\"deny\" {who} action=\"publish\" topic=\"d8/a\" \
             detail=\"denied by rule `closed` at rules.toml:9\""
        ),
    ];
    assert_eq!(lines, expected);
}

/// Refused SUBSCRIBEs were logged as "client subscribes", like granted ones.
#[tokio::test]
async fn a_subscribe_is_logged_with_what_was_granted_and_refused() {
    let subscribed = |asked: &'static [&'static str], answer: Option<&'static [u8]>| async move {
        let lines = Log::of(async {
            let map = TopicMap::prefix("t/${username}/").expect("a valid prefix");
            let stack = ServiceBuilder::new()
                .layer(AccessLogLayer::new().events(Events::SUBSCRIBE))
                .layer(acl().log_denials(false))
                .layer(TopicMapLayer::new(map).log_denials(false))
                .service(forward_all());
            let (_, mut hooks) = admit(&stack, device()).await;
            send(&mut hooks.to_server, subscribe(asked)).await;
            if let Some(codes) = answer {
                send(&mut hooks.to_client, suback(codes)).await;
                // of which nobody knows what it answers
                send(&mut hooks.to_client, suback(codes)).await;
            }
        })
        .await;
        let told: Vec<_> = lines.iter().map(|line| told(line)).collect();
        told.join("\n")
    };
    for (asked, answer, told) in [
        (
            &["d7/a", "d7/b"][..],
            Some(&[0, 2][..]),
            "client subscribed granted=\"d7/a (0) d7/b (2)\"",
        ),
        (
            &["d7/a", "d8/a", "d7/b"],
            Some(&[1, 0x87, 0x97]),
            "client subscribed granted=\"d7/a (1)\" \
             refused=\"d8/a (not_authorized) d7/b (quota_exceeded)\"",
        ),
        // by the broker
        (
            &["d7/a"],
            Some(&[0x80]),
            "subscription refused refused=\"d7/a (unspecified_error)\"",
        ),
        // the broker does not hear of it
        (
            &["d8/a", "#"],
            None,
            "subscription refused refused=\"d8/a (not_authorized) # (not_authorized)\"",
        ),
        (
            &["d7/a", "d7/b", "d8/a", "d7/c", "d7/d", "d8/b", "d7/e"],
            Some(&[1, 1, 0x87, 1, 1, 0x87, 1]),
            "client subscribed granted=\"d7/a (1) d7/b (1) d7/c (1) and 2 more\" \
             refused=\"d8/a (not_authorized) and 1 more\"",
        ),
        // "7 more" had nothing before it that they were more than
        (
            &["d8/a", "d8/b", "d8/c", "d8/d", "d7/a", "d7/b"],
            Some(&[0x87, 0x87, 0x87, 0x87, 1, 1]),
            "client subscribed granted=\"2 behind the first 4\" refused=\"d8/a (not_authorized) \
             d8/b (not_authorized) d8/c (not_authorized) d8/d (not_authorized)\"",
        ),
    ] {
        assert_eq!(subscribed(asked, answer).await, told);
    }
}

/// The message of a line about a session of [`device`], and the fields that not every line has.
fn told(line: &str) -> String {
    let line = line.strip_prefix("INFO mproxy::access: ").expect(line);
    let (message, fields) = line.split_once(" event=").expect(line);
    let (_, fields) = fields.split_once("version=\"5\"").expect(line);
    format!("{message}{fields}")
}

#[tokio::test]
async fn refused_clients_are_logged() {
    let lines = Log::of(async {
        let map = TopicMapLayer::new(TopicMap::prefix("${username}/").expect("a valid prefix"));
        let stack = ServiceBuilder::new()
            .layer(AccessLogLayer::new())
            .layer(acl())
            .layer(map)
            .service(forward_all());
        refused(
            &stack,
            Client {
                will: Some("d8/a"),
                ..device()
            },
        )
        .await;
        refused(
            &stack,
            Client {
                user: None,
                ..device()
            },
        )
        .await;
        let (_, mut hooks) = admit(&stack, device()).await;
        // The broker's refusal is logged when the session is over, and not as a success before.
        send(&mut hooks.to_client, connack(0x87)).await;
    })
    .await;
    // a client that is turned away for its will has a line when its session is over, and no other
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(
        lines[0].contains("client refused event=\"refuse\"")
            && lines[0].contains("client_id=\"d7\" version="),
        "{}",
        lines[0]
    );
}

/// A server that has a line with a remedy for each refused client had two for it, and the two had
/// different levels and texts.
#[tokio::test]
async fn refused_clients_are_left_to_another_line() {
    let lines = Log::of(async {
        let map = TopicMapLayer::new(TopicMap::prefix("${username}/").expect("a valid prefix"));
        let stack = ServiceBuilder::new()
            .layer(AccessLogLayer::new().refusals(false))
            .layer(map)
            .service(forward_all());
        refused(
            &stack,
            Client {
                user: None,
                ..device()
            },
        )
        .await;
        let (_, mut hooks) = admit(&stack, device()).await;
        send(&mut hooks.to_client, connack(0)).await;
    })
    .await;
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("event=\"connect\""), "{lines:#?}");
}

#[tokio::test]
async fn strangers_cannot_write_lines_of_their_own() {
    // The codec refuses control characters; these are printed by nobody and move what is printed.
    let hostile = "x\u{2028}INFO mproxy::access: client connected\u{202e}";
    let long = "y".repeat(60_000);
    let lines = Log::of(async {
        let stack = ServiceBuilder::new()
            .layer(AccessLogLayer::new())
            .layer(acl().denied_will(DeniedWill::Strip))
            .service(forward_all());
        for name in [hostile, &long] {
            let topic = format!("denied/{name}");
            let client = Client {
                id: name,
                user: Some(name),
                ..Client::default()
            };
            let _stripped = admit(
                &stack,
                Client {
                    will: Some(&topic),
                    ..client
                },
            )
            .await;
            let (_, mut hooks) = admit(&stack, client).await;
            send(&mut hooks.to_client, connack(0)).await;
            send(
                &mut hooks.to_server,
                publish(Direction::ToServer, &topic, None),
            )
            .await;
            send(&mut hooks.to_server, subscribe(&[topic.as_str(); 20])).await;
        }
    })
    .await;
    assert_eq!(lines.len(), 10, "{lines:#?}");
    for line in lines {
        assert!(line.len() <= 4096, "{} bytes", line.len());
        assert!(
            line.chars()
                .all(|c| !c.is_control() && !"\u{2028}\u{202e}".contains(c)),
            "{line}"
        );
        assert!(
            line.starts_with("INFO mproxy::access") || line.starts_with("WARN mproxy::access"),
            "{line}"
        );
    }
}

/// The line named a topic that the client had not published to, and did not say why.
#[tokio::test]
async fn a_denied_response_topic_is_called_one() {
    let lines = Log::of(async {
        let layer = acl().check_response_topics(true);
        let stack = ServiceBuilder::new().layer(layer).service(forward_all());
        let (_, mut hooks) = admit(&stack, device()).await;
        let asking = publish(Direction::ToServer, "d7/a", Some("d8/reply"));
        send(&mut hooks.to_server, asking).await;
    })
    .await;
    let [line] = &lines[..] else {
        panic!("{lines:#?}");
    };
    assert!(
        line.ends_with(
            "action=\"publish\" topic=\"d8/reply\" detail=\"denied by rule `closed` at rules.toml:9; \
             it is the Response Topic of a message\""
        ),
        "{line}"
    );
}

#[tokio::test]
async fn payloads_are_never_logged() {
    let lines = Log::of(async {
        let stack = ServiceBuilder::new()
            .layer(AccessLogLayer::new())
            .layer(acl().denied_will(DeniedWill::Strip))
            .service(forward_all());
        let _stripped = admit(
            &stack,
            Client {
                will: Some("d8/a"),
                will_response_topic: Some("r"),
                ..device()
            },
        )
        .await;
        let (_, mut hooks) = admit(&stack, device()).await;
        for topic in ["d7/a", "d8/a"] {
            send(
                &mut hooks.to_server,
                publish(Direction::ToServer, topic, Some("r")),
            )
            .await;
        }
    })
    .await;
    assert_eq!(lines.len(), 2);
    for line in lines {
        assert!(
            !line.contains("payload") && !line.contains("gone") && !line.contains("k="),
            "{line}"
        );
    }
}

#[tokio::test]
async fn only_chosen_events_are_logged_and_tapped() {
    let lines = Log::of(async {
        let log = AccessLogLayer::new().events(Events::DISCONNECT | Events::UNSUBSCRIBE);
        let stack = ServiceBuilder::new()
            .layer(log)
            .layer(acl().log_denials(false))
            .service(forward_all());
        refused(
            &stack,
            Client {
                will: Some("d8/a"),
                ..device()
            },
        )
        .await;
        let (_, mut hooks) = admit(&stack, device()).await;
        assert!(hooks.to_client.kinds().is_empty());
        send(&mut hooks.to_server, subscribe(&["d7/a"])).await;
        send(
            &mut hooks.to_server,
            publish(Direction::ToServer, "d8/a", None),
        )
        .await;
        send(&mut hooks.to_server, unsubscribe(&["d7/a"])).await;
    })
    .await;
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("event=\"unsubscribe\""), "{}", lines[0]);

    let quiet = ServiceBuilder::new()
        .layer(AccessLogLayer::new().events(Events::NONE))
        .service(forward_all());
    let (_, hooks) = admit(&quiet, device()).await;
    assert_eq!(
        (hooks.to_server.kinds(), hooks.to_client.kinds()),
        (KindSet::NONE, KindSet::NONE)
    );
}

/// Logs a share of PUBLISH and nothing else.
fn sampled(share: f64) -> AccessLogLayer {
    AccessLogLayer::new()
        .events(Events::PUBLISH)
        .publish_sample(share)
}

/// Publishes from one session to these topics, and returns what is logged.
async fn published_to(log: AccessLogLayer, topics: &[String]) -> Vec<String> {
    Log::of(async {
        let stack = ServiceBuilder::new().layer(log).service(forward_all());
        let (_, mut hooks) = admit(&stack, device()).await;
        for topic in topics {
            let packet = publish(Direction::ToServer, topic, None);
            assert_eq!(send(&mut hooks.to_server, packet).await, published(topic));
        }
    })
    .await
}

fn numbered(count: u32) -> Vec<String> {
    (1..=count).map(|number| format!("d7/{number}.")).collect()
}

#[tokio::test]
async fn a_publish_is_logged_as_the_client_wrote_it() {
    let lines = Log::of(async {
        let map = TopicMapLayer::new(TopicMap::prefix("tenants/").expect("a valid prefix"));
        let stack = ServiceBuilder::new()
            .layer(sampled(1.0))
            .layer(acl())
            .layer(map)
            .service(forward_all());
        let (_, mut hooks) = admit(&stack, device()).await;
        let frame = encode_publish(Version::V5, "d7/a", QoS::AtLeastOnce, 9, &[], b"secret")
            .expect("a PUBLISH");
        let mut packet =
            Packet::parse(Version::V5, Direction::ToServer, frame).expect("a valid PUBLISH");
        packet
            .edit_publish(&PublishEdit::new().retain(true))
            .expect("a flag to set");
        for packet in [packet, publish(Direction::ToServer, "d7/b", Some("d7/r"))] {
            assert!(matches!(
                send(&mut hooks.to_server, packet).await,
                Outcome::Publish(topic) if topic.starts_with("tenants/d7/")
            ));
        }
    })
    .await;
    let line = |fields: &str| {
        format!(
            "INFO mproxy::access: client publishes event=\"publish\" listener=\"test\" peer=unix \
             client_id=\"d7\" username=\"u\" version=\"5\" {fields}"
        )
    };
    let expected = [
        line("topic=\"d7/a\" qos=1 retain=true bytes=6"),
        line("topic=\"d7/b\" qos=0 retain=false bytes=7"),
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn the_sample_is_the_share_of_each_session() {
    for (share, expected) in [
        (1.0, vec![1, 2, 3, 4, 5, 6]),
        (0.5, vec![2, 4, 6]),
        (0.2, vec![5]),
        (0.1, vec![]),
        (0.0, vec![]),
    ] {
        let log = sampled(share);
        // the same again: sessions do not count on from one another
        for _ in 0..2 {
            let lines = published_to(log, &numbered(6)).await;
            assert_eq!(lines.len(), expected.len(), "{share}: {lines:#?}");
            for (line, number) in lines.iter().zip(&expected) {
                assert!(line.contains(&format!("topic=\"d7/{number}.\" ")), "{line}");
            }
        }
    }
}

#[tokio::test]
async fn publish_is_tapped_for_a_sample_only() {
    for (log, tapped) in [
        (AccessLogLayer::new(), false),
        (sampled(0.0), false),
        (sampled(-1.0), false),
        (sampled(f64::NAN), false),
        (sampled(1.0).events(Events::SUBSCRIBE), false),
        (sampled(0.01), true),
        (AccessLogLayer::new().publish_sample(0.01), true),
        (sampled(0.01).events(Events::ALL), true),
    ] {
        let stack = ServiceBuilder::new().layer(log).service(forward_all());
        let (_, hooks) = admit(&stack, device()).await;
        let taps = hooks.to_server.kinds().contains(Kind::Publish);
        assert_eq!(taps, tapped, "{log:?}");
        assert!(hooks.to_server.is_head_only(), "{log:?}");
        assert!(!hooks.to_client.kinds().contains(Kind::Publish), "{log:?}");
    }
    // others look at each PUBLISH, which does not make it part of a sample
    let lines = Log::of(async {
        let log = sampled(1.0).events(Events::SUBSCRIBE);
        let stack = ServiceBuilder::new()
            .layer(log)
            .layer(acl())
            .service(forward_all());
        let (_, mut hooks) = admit(&stack, device()).await;
        let packet = publish(Direction::ToServer, "d7/a", None);
        assert_eq!(send(&mut hooks.to_server, packet).await, published("d7/a"));
    })
    .await;
    assert_eq!(lines, Vec::<String>::new());
}

#[tokio::test]
async fn a_refused_publish_is_logged_as_denied_only() {
    for on_deny in [OnDeny::Reject, OnDeny::Drop, OnDeny::Disconnect] {
        let lines = Log::of(async {
            let stack = ServiceBuilder::new()
                .layer(sampled(1.0))
                .layer(acl().on_deny(on_deny))
                .service(forward_all());
            let (_, mut hooks) = admit(&stack, device()).await;
            let refused = publish(Direction::ToServer, "d8/a", None);
            assert!(!matches!(
                send(&mut hooks.to_server, refused).await,
                Outcome::Publish(_)
            ));
            let allowed = publish(Direction::ToServer, "d7/a", None);
            assert_eq!(send(&mut hooks.to_server, allowed).await, published("d7/a"));
        })
        .await;
        assert_eq!(lines.len(), 2, "{on_deny:?}: {lines:#?}");
        assert!(
            lines[0].contains("event=\"deny\"")
                && lines[0].contains("action=\"publish\" topic=\"d8/a\""),
            "{}",
            lines[0]
        );
        assert!(
            lines[1].contains("event=\"publish\"") && lines[1].contains("topic=\"d7/a\""),
            "{}",
            lines[1]
        );
    }
}

/// The layer used to escape what it logged, and the subscriber escaped it once more: `a\b` was
/// `a\\\\b` in these lines and `a\\b` in others of the same program.
#[tokio::test]
async fn a_topic_is_cut_and_escaped_once() {
    let topics = [
        "d7/x\u{2028}INFO mproxy::access: fake\u{202e}\\\"".to_owned(),
        "y".repeat(60_000),
    ];
    let lines = published_to(sampled(1.0), &topics).await;
    assert_eq!(lines.len(), 2, "{lines:#?}");
    let escaped = "topic=\"d7/x\\u{2028}INFO mproxy::access: fake\\u{202e}\\\\\\\"\" qos=0";
    assert!(lines[0].contains(escaped), "{}", lines[0]);
    assert!(
        lines[1].len() < 1024 && lines[1].contains("yyy…\" qos=0"),
        "{}",
        lines[1]
    );
}
