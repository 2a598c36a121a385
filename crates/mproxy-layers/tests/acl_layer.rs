//! The ACL as a layer: how it judges wills, packets and deliveries.

mod support;

use mproxy_codec::topic::Dialect;
use mproxy_codec::{Direction, KindSet, ReasonCode};
use mproxy_layers::DeniedWill;
use mproxy_layers::acl::{Acl, AclLayer, Actions, Effect, OnDeny, Rule, SubscribePolicy};
use support::{
    Client, Counter, Outcome, admit, connack, filters, forward_all, publish, published, refused,
    send, subscribe, unsubscribe,
};
use tower::ServiceBuilder;

const DENIED: Outcome = Outcome::Refuse(ReasonCode::NOT_AUTHORIZED);

fn rules() -> Acl {
    let mut acl = Acl::builder();
    let rules = [
        Rule::deny(Actions::SUBSCRIBE).topic("+/secret"),
        Rule::allow(Actions::PUBLISH | Actions::SUBSCRIBE).topics(["${client_id}/#", "shared/+"]),
    ];
    for rule in rules {
        acl.rule(rule).expect("a valid rule");
    }
    acl.build()
}

fn device() -> Client<'static> {
    Client {
        id: "d7",
        ..Client::default()
    }
}

fn up(topic: &str) -> mproxy_session::Packet {
    publish(Direction::ToServer, topic, None)
}

fn down(topic: &str) -> mproxy_session::Packet {
    publish(Direction::ToClient, topic, None)
}

#[tokio::test]
async fn publications_are_judged() {
    let counter = Counter::default();
    let stack = ServiceBuilder::new()
        .layer(AclLayer::new(rules()).observer(counter.clone()))
        .service(forward_all());
    let (_, mut hooks) = admit(&stack, device()).await;
    assert!(hooks.to_server.is_head_only());
    for topic in ["d7/up", "d7/up", "shared/x", "d7"] {
        assert_eq!(
            send(&mut hooks.to_server, up(topic)).await,
            published(topic)
        );
    }
    for topic in ["d8/up", "d8/up", "shared/x/y", "$SYS/x", "D7/up"] {
        assert_eq!(
            send(&mut hooks.to_server, up(topic)).await,
            DENIED,
            "{topic}"
        );
    }
    assert_eq!(
        (
            counter.count("publish allow"),
            counter.count("publish deny"),
            counter.count("publish dropped")
        ),
        (4, 5, 5)
    );
}

#[tokio::test]
async fn filters_are_judged_one_by_one() {
    let counter = Counter::default();
    let stack = ServiceBuilder::new()
        .layer(AclLayer::new(rules()).observer(counter.clone()))
        .service(forward_all());
    let (_, mut hooks) = admit(&stack, device()).await;
    let asked = subscribe(&[
        "d7/a/#",
        "#",
        "shared/+",
        "$share/g/d7/a/+",
        "$share/g/d8/a",
        "d7/+",
        "shared/x",
    ]);
    let granted = filters(&["d7/a/#", "$share/g/d7/a/+", "shared/x"]);
    assert_eq!(send(&mut hooks.to_server, asked).await, granted);
    assert_eq!(
        (
            counter.count("subscribe allow"),
            counter.count("subscribe deny")
        ),
        (3, 4)
    );
    // Leaving is always allowed.
    assert_eq!(
        send(&mut hooks.to_server, unsubscribe(&["d8/a"])).await,
        filters(&["d8/a"])
    );
    assert_eq!(counter.count("subscribe deny"), 4);
}

#[tokio::test]
async fn a_client_with_a_denied_will_is_not_let_in() {
    let counter = Counter::default();
    let stack = ServiceBuilder::new()
        .layer(AclLayer::new(rules()).observer(counter.clone()))
        .service(forward_all());
    let (reason, text) = refused(
        &stack,
        Client {
            will: Some("d8/gone"),
            ..device()
        },
    )
    .await;
    assert_eq!(reason, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(text, "will on topic d8/gone is not allowed");
    let (connect, _) = admit(
        &stack,
        Client {
            will: Some("d7/gone"),
            ..device()
        },
    )
    .await;
    assert_eq!(
        connect.packet().will().map(|will| will.topic),
        Some("d7/gone")
    );
    assert_eq!(
        (counter.count("will allow"), counter.count("will deny")),
        (1, 1)
    );
}

#[tokio::test]
async fn response_topics_are_judged_if_asked_for() {
    let layer = AclLayer::new(rules());
    let asked = publish(Direction::ToServer, "d7/up", Some("d8/reply"));
    let will = Client {
        will: Some("d7/gone"),
        will_response_topic: Some("d8/reply"),
        ..device()
    };

    let lax = ServiceBuilder::new()
        .layer(layer.clone())
        .service(forward_all());
    let (_, mut hooks) = admit(&lax, will).await;
    assert_eq!(send(&mut hooks.to_server, asked).await, published("d7/up"));

    let strict = ServiceBuilder::new()
        .layer(layer.check_response_topics(true))
        .service(forward_all());
    // the topic of the will itself is allowed: it is said which one is not
    let (reason, text) = refused(&strict, will).await;
    assert_eq!(reason, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(text, "Response Topic d8/reply of the will is not allowed");
    let (_, mut hooks) = admit(&strict, device()).await;
    let asked = publish(Direction::ToServer, "d7/up", Some("d8/reply"));
    assert_eq!(send(&mut hooks.to_server, asked).await, DENIED);
    let asked = publish(Direction::ToServer, "d7/up", Some("d7/reply"));
    assert_eq!(send(&mut hooks.to_server, asked).await, published("d7/up"));
}

#[tokio::test]
async fn strict_rules_leave_deliveries_on_the_fast_path() {
    let stack = ServiceBuilder::new()
        .layer(AclLayer::new(rules()))
        .service(forward_all());
    let (_, hooks) = admit(&stack, device()).await;
    assert!(hooks.to_client.kinds().is_empty());
    assert_eq!(
        hooks.to_server.kinds(),
        KindSet::PUBLISH | KindSet::SUBSCRIBE
    );
}

/// A client that might not read `jobs` joined the group of those that might, was given five of ten
/// messages, which were dropped, and the others never saw them.
#[tokio::test]
async fn the_mosquitto_way_judges_shared_filters_strictly() {
    let counter = Counter::default();
    let layer = AclLayer::new(rules())
        .subscribe_policy(SubscribePolicy::FilterDeliveries)
        .observer(counter.clone());
    let stack = ServiceBuilder::new().layer(layer).service(forward_all());
    let (_, mut hooks) = admit(&stack, device()).await;
    let asked = subscribe(&[
        "d8/a",
        "$share/g/d8/a",
        "$share/g/#",
        "$share/g/d7/a",
        "$queue/d8/a",
        "$oshare/g/d8/a",
        "$exclusive/d8/a",
        // to some brokers the same
        "$SHARE/g/d8/a",
        "$Queue/d8/a",
        "$SYS/#",
    ]);
    let granted = filters(&["d8/a", "$share/g/d7/a", "$SYS/#"]);
    assert_eq!(send(&mut hooks.to_server, asked).await, granted);
    assert_eq!(
        (
            counter.count("subscribe allow"),
            counter.count("subscribe deny")
        ),
        // what is granted without a look at the rules is granted, too
        (3, 7)
    );
}

/// RabbitMQ takes the user name `/:mallory` for `mallory`: rules about `mallory` were not about it.
#[tokio::test]
async fn a_user_name_that_the_broker_reads_as_another_is_not_let_in_by_rules_about_names() {
    for (rule, refuses) in [
        (
            Rule::deny(Actions::PUBLISH)
                .topic("secret/#")
                .usernames(["mallory"]),
            true,
        ),
        (Rule::allow(Actions::PUBLISH).topic("u/${username}/#"), true),
        (Rule::deny(Actions::PUBLISH).topic("secret/#"), false),
    ] {
        for (dialect, reads) in [(Dialect::Amqp, true), (Dialect::MQTT, false)] {
            let mut acl = Acl::builder();
            acl.dialect(dialect).default_effect(Effect::Allow);
            acl.rule(rule.clone()).expect("a rule");
            let counter = Counter::default();
            let stack = ServiceBuilder::new()
                .layer(AclLayer::new(acl.build()).observer(counter.clone()))
                .service(forward_all());
            let client = Client {
                user: Some("/:mallory"),
                ..device()
            };
            if refuses && reads {
                let (reason, text) = refused(&stack, client).await;
                assert_eq!(reason, ReasonCode::NOT_AUTHORIZED);
                assert!(text.contains("`:`"), "{text}");
            } else {
                admit(&stack, client).await;
            }
            let plain = Client {
                user: Some("mallory"),
                ..device()
            };
            admit(&stack, plain).await;
            let expected = u32::from(refuses && reads);
            assert_eq!(counter.count("connect deny"), expected);
        }
    }
}

#[tokio::test]
async fn the_mosquitto_way_grants_filters_and_judges_deliveries() {
    let counter = Counter::default();
    let layer = AclLayer::new(rules())
        .subscribe_policy(SubscribePolicy::FilterDeliveries)
        .observer(counter.clone());
    let stack = ServiceBuilder::new().layer(layer).service(forward_all());
    let (_, mut hooks) = admit(&stack, device()).await;
    assert_eq!(
        send(&mut hooks.to_server, subscribe(&["#"])).await,
        filters(&["#"])
    );
    assert_eq!(
        send(&mut hooks.to_client, down("d7/a")).await,
        published("d7/a")
    );
    for topic in ["d7/secret", "d8/a", "$SYS/x"] {
        assert_eq!(
            send(&mut hooks.to_client, down(topic)).await,
            DENIED,
            "{topic}"
        );
    }
    assert_eq!(send(&mut hooks.to_client, connack(0)).await, Outcome::Other);
    assert_eq!(
        (
            counter.count("deliver allow"),
            counter.count("deliver deny"),
            counter.count("publish dropped")
        ),
        (1, 3, 3)
    );
    assert_eq!(send(&mut hooks.to_server, up("d8/a")).await, DENIED);
}

#[tokio::test]
async fn a_rule_about_deliveries_is_enforced_in_strict_mode_too() {
    let mut acl = Acl::builder();
    acl.rule(Rule::deny(Actions::DELIVER).topic("a/b"))
        .expect("a valid rule");
    acl.rule(Rule::allow(Actions::ALL).topic("a/#"))
        .expect("a valid rule");
    let stack = ServiceBuilder::new()
        .layer(AclLayer::new(acl.build()))
        .service(forward_all());
    let (_, mut hooks) = admit(&stack, device()).await;
    assert_eq!(
        send(&mut hooks.to_server, subscribe(&["a/#"])).await,
        filters(&["a/#"])
    );
    assert_eq!(send(&mut hooks.to_client, down("a/b")).await, DENIED);
    assert_eq!(
        send(&mut hooks.to_client, down("a/c")).await,
        published("a/c")
    );
}

#[tokio::test]
async fn what_happens_to_the_denied_can_be_chosen() {
    let close = || Outcome::Close(ReasonCode::NOT_AUTHORIZED);
    for (on_deny, publication, subscription, delivery) in [
        (
            OnDeny::Drop,
            Outcome::Discard,
            filters(&["d7/a"]),
            Outcome::Discard,
        ),
        (OnDeny::Disconnect, close(), close(), Outcome::Discard),
    ] {
        let layer = AclLayer::new(rules()).on_deny(on_deny);
        let stack = ServiceBuilder::new()
            .layer(layer.clone())
            .service(forward_all());
        let (_, mut hooks) = admit(&stack, device()).await;
        assert_eq!(send(&mut hooks.to_server, up("d8/a")).await, publication);
        assert_eq!(
            send(&mut hooks.to_server, subscribe(&["#", "d7/a"])).await,
            subscription
        );
        let layer = layer.subscribe_policy(SubscribePolicy::FilterDeliveries);
        let stack = ServiceBuilder::new().layer(layer).service(forward_all());
        let (_, mut hooks) = admit(&stack, device()).await;
        assert_eq!(send(&mut hooks.to_client, down("d8/a")).await, delivery);
    }
}

/// The client comes in, its will does not; the broker hears of neither the topic nor the flags.
#[tokio::test]
async fn a_denied_will_may_be_taken_out_instead() {
    let counter = Counter::default();
    let layer = AclLayer::new(rules())
        .denied_will(DeniedWill::Strip)
        .check_response_topics(true);
    let stack = ServiceBuilder::new()
        .layer(layer.observer(counter.clone()))
        .service(forward_all());
    let plain = device().connect();
    for (topic, reply, kept) in [
        ("d8/gone", None, false),
        ("d7/gone", Some("d8/reply"), false),
        ("d7/gone", Some("d7/reply"), true),
        ("d7/gone", None, true),
    ] {
        let client = Client {
            will: Some(topic),
            will_response_topic: reply,
            ..device()
        };
        let (connect, _) = admit(&stack, client).await;
        let (before, after) = (client.connect(), connect.packet().as_bytes());
        let expected = if kept { &before } else { &plain };
        assert_eq!(after, expected.packet().as_bytes(), "{topic} {reply:?}");
    }
    assert_eq!(
        (counter.count("will allow"), counter.count("will deny")),
        (2, 2)
    );
}
