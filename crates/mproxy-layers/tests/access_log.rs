//! The access log: which lines are written, and what they never hold.

mod support;

use mproxy_codec::{Direction, KindSet};
use mproxy_layers::{
    access_log::{AccessLogLayer, Events},
    acl::{Acl, AclLayer, Actions, Rule},
    topic_map::{PrefixMap, TopicMapLayer},
};
use support::{
    Client, admit, connack, forward_all, log::Log, publish, refused, send, subscribe, unsubscribe,
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
    let who = "client_id=d7 user=u peer=unix listener=test";
    let expected = [
        format!(
            "INFO mproxy::access: client connected event=\"connect\" {who} \
             version=5 clean_start=true keep_alive=60"
        ),
        format!(
            "INFO mproxy::access: client subscribes event=\"subscribe\" {who} \
             filters=\"d7/a d8/a\""
        ),
        format!(
            "WARN mproxy::access: denied event=\"deny\" action=subscribe topic=d8/a {who} \
             reason=denied by rule `closed` at rules.toml:9 unlogged=0"
        ),
        format!(
            "INFO mproxy::access: client unsubscribes event=\"unsubscribe\" {who} \
             filters=\"d7/a\""
        ),
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn refused_clients_are_logged() {
    let lines = Log::of(async {
        let map = TopicMapLayer::new(PrefixMap::new("${username}/").expect("a valid prefix"));
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
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(
        lines[0].contains("event=\"deny\" action=will topic=d8/a client_id=d7"),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].ends_with("reason=\"not_authorized\" text=will on topic d8/a is not allowed"),
        "{}",
        lines[1]
    );
    assert!(
        lines[2].contains("client refused event=\"refuse\" client_id=d7 peer="),
        "{}",
        lines[2]
    );
}

#[tokio::test]
async fn strangers_cannot_write_lines_of_their_own() {
    // The codec refuses control characters; these are printed by nobody and move what is printed.
    let hostile = "x\u{2028}INFO mproxy::access: client connected\u{202e}";
    let long = "y".repeat(60_000);
    let lines = Log::of(async {
        let stack = ServiceBuilder::new()
            .layer(AccessLogLayer::new())
            .layer(acl())
            .service(forward_all());
        for name in [hostile, &long] {
            let topic = format!("denied/{name}");
            let client = Client {
                id: name,
                user: Some(name),
                ..Client::default()
            };
            refused(
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

#[tokio::test]
async fn payloads_are_never_logged() {
    let lines = Log::of(async {
        let stack = ServiceBuilder::new()
            .layer(AccessLogLayer::new())
            .layer(acl())
            .service(forward_all());
        refused(
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
    assert_eq!(lines.len(), 3);
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
