//! Changes that a hook makes for clients of all versions, and what is told where one cannot be made.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use mproxy_codec::{Direction, Kind, KindSet, PropertyId, ReasonCode, Value, Version};
use mproxy_session::{
    Admission, AuthenticateLayer, BoxError, Connect, ConnectRefusal, Forward, Handler,
    HandlerLayer, Hooks, Identity, OnConnectLayer, Packet, PublishMut, Refusal, RewriteLayer,
    SessionHandle, SessionInfo, Tap, new_hooks,
};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use crate::support::frames::properties;
use crate::support::hooks::Seen;
use crate::support::{Frames, Setup, admit, hex};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

/// A hook that added a user property for all clients lost every PUBLISH of a client of MQTT 3.1.1: there are
/// no properties there, and the error refused the packet without a word.
#[tokio::test(start_paused = true)]
async fn a_user_property_is_added_where_there_are_any() {
    let mark = RewriteLayer::new(|packet: &mut Packet| packet.add_user_property("via", "m"));
    let marked = properties(&[(PropertyId::UserProperty, Value::Pair("via", "m"))]);
    let kinds = KindSet::PUBLISH | KindSet::SUBSCRIBE | KindSet::UNSUBSCRIBE | KindSet::CONNACK;
    for version in VERSIONS {
        let f = Frames(version);
        let own = if version.is_v5() { &marked[..] } else { &[] };
        let pair = Setup::new().start(admit(move |_| {
            let tap = || Tap::only(kinds, mark.layer(Forward));
            Hooks::new(tap(), tap())
        }));
        pair.client.send(&f.connect("c"));
        pair.broker.expect(&f.connect("c")).await;
        pair.broker.send(&f.connack_with(0, &[]));
        pair.client.expect(&f.connack_with(0, own)).await;

        pair.client.send(&f.publish("a", 1, 7, b"x"));
        pair.broker
            .expect(&f.publish_with("a", 1, 7, own, b"x"))
            .await;
        pair.broker.send(&f.publish("a", 2, 7, b"x"));
        pair.client
            .expect(&f.publish_with("a", 2, 7, own, b"x"))
            .await;
        let requests = [
            (f.subscribe(8, &["a"]), Kind::Subscribe),
            (f.unsubscribe(9, &["a"]), Kind::Unsubscribe),
        ];
        for (sent, kind) in requests {
            pair.client.send(&sent);
            let got = pair.broker.take().await;
            let packet = Packet::parse(version, Direction::ToServer, got.clone().into());
            assert_eq!(packet.expect("a valid packet").kind(), kind);
            if version.is_v5() {
                assert_eq!(got.len(), sent.len() + marked.len());
                assert!(got.windows(marked.len()).any(|part| part == marked));
            } else {
                assert_eq!(got, sent);
            }
        }
        assert!(pair.is_running());
    }
}

/// What was there stays, in order, and what cannot have one is an error.
#[test]
fn a_user_property_stands_behind_those_that_are_there() {
    let f = Frames(Version::V5);
    let there = [
        (PropertyId::MessageExpiryInterval, Value::U32(9)),
        (PropertyId::UserProperty, Value::Pair("a", "1")),
    ];
    let frame = f.publish_with("t", 0, 0, &properties(&there), b"x");
    let mut packet = Packet::parse(Version::V5, Direction::ToServer, frame.into()).expect("valid");
    packet.add_user_property("b", "2").expect("short");
    let more = [
        &there[..],
        &[(PropertyId::UserProperty, Value::Pair("b", "2"))],
    ]
    .concat();
    let wanted = f.publish_with("t", 0, 0, &properties(&more), b"x");
    assert_eq!(packet.as_bytes()[..], wanted);

    for version in VERSIONS {
        let ping = Frames(version).pingreq().into();
        let mut ping = Packet::parse(version, Direction::ToServer, ping).expect("valid");
        assert_eq!(ping.add_user_property("b", "2").is_err(), version.is_v5());
    }
    assert!(packet.add_user_property("b", &"2".repeat(70_000)).is_err());
    assert_eq!(packet.as_bytes()[..], wanted, "as it was");
}

struct Renaming;

impl Handler for Renaming {
    async fn auth_publish(&self, _: &SessionInfo, publish: &mut PublishMut) -> Result<(), Refusal> {
        let before = publish.topic().to_owned();
        let error = publish
            .set_topic("a/#")
            .expect_err("a filter is no topic name");
        assert_eq!(publish.topic(), before, "as it was");
        publish.set_topic("a".repeat(70_000)).expect_err("too long");
        publish.set_topic("").expect_err("empty");
        if before == "both" {
            return Ok(());
        }
        Err(error.into())
    }
}

/// A topic that a hook made invalid was told as 0x83 by `RewriteLayer`, and closed the session with
/// `PublishMut::set_topic`: both are 0x90 Topic Name invalid, and the client stays.
#[tokio::test(start_paused = true)]
async fn a_bad_topic_of_a_hook_is_0x90_and_nothing_more() {
    let f = Frames(Version::V5);
    for bad in ["a/#", "+", ""] {
        let rewrite = RewriteLayer::new(move |packet: &mut Packet| packet.set_topic(bad));
        let heads = RewriteLayer::heads(move |packet: &mut mproxy_session::PacketHead| {
            packet.set_topic(bad)
        });
        let whole = Setup::new()
            .connected(
                Version::V5,
                admit(move |_| {
                    let tap = Tap::only(KindSet::PUBLISH, rewrite.layer(Forward));
                    Hooks::new(tap, Tap::none())
                }),
            )
            .await;
        let heads = Setup::new()
            .connected(
                Version::V5,
                admit(move |_| {
                    let tap = Tap::only(KindSet::PUBLISH, heads.layer(Forward)).head_only();
                    Hooks::new(tap, Tap::none())
                }),
            )
            .await;
        for pair in [whole, heads] {
            pair.client.send(&f.publish("a", 1, 7, b"x"));
            pair.client.expect(&hex("40 03 0007 90")).await;
            pair.client.send(&f.publish("a", 2, 8, b"x"));
            pair.client.expect(&hex("50 03 0008 90")).await;
            pair.broker.expect(b"").await;
            assert!(pair.is_running());
        }
    }
    let pair = Setup::new()
        .connected(
            Version::V5,
            HandlerLayer::new(Renaming).layer(new_hooks(|_| Hooks::none())),
        )
        .await;
    pair.client.send(&f.publish("a", 1, 7, b"x"));
    pair.client.expect(&hex("40 03 0007 90")).await;
    pair.client.send(&f.publish("both", 1, 8, b"x"));
    pair.broker.expect(&f.publish("both", 1, 8, b"x")).await;
}

/// Any error that becomes a refusal will do: a reason code, an encode error, a refusal with a text.
#[tokio::test(start_paused = true)]
async fn rewrite_takes_any_error_that_becomes_a_refusal() {
    let f = Frames(Version::V5);
    let by_code = RewriteLayer::new(|_: &mut Packet| Err(ReasonCode::QUOTA_EXCEEDED));
    let by_refusal = RewriteLayer::new(|_: &mut Packet| {
        Err(Refusal::new(ReasonCode::QUOTA_EXCEEDED).with_text("no"))
    });
    let by_code = Setup::new()
        .connected(
            Version::V5,
            admit(move |_| Hooks::new(Tap::all(by_code.layer(Forward)), Tap::none())),
        )
        .await;
    let by_refusal = Setup::new()
        .connected(
            Version::V5,
            admit(move |_| Hooks::new(Tap::all(by_refusal.layer(Forward)), Tap::none())),
        )
        .await;
    for (pair, told) in [
        (by_code, "40 03 0007 97"),
        (by_refusal, "40 09 0007 97 05 1f0002 6e6f"),
    ] {
        pair.client.send(&f.publish("a", 1, 7, b"x"));
        pair.client.expect(&hex(told)).await;
    }
}

#[derive(Clone, PartialEq, Debug)]
struct Tenant(String);

/// What a layer finds out about a client, those inside of it can read; another client's is not there.
#[tokio::test(start_paused = true)]
async fn extensions_are_read_inside_and_are_of_one_client() {
    let seen = Seen::default();
    let notes = seen.clone();
    let innermost = service_fn(move |connect: Connect| {
        let tenant = connect.extensions().get::<Tenant>();
        let name = connect.identity().map(|identity| identity.name.clone());
        notes.push(format!("{:?} {name:?}", tenant.map(|it| &it.0)));
        std::future::ready(Ok::<_, BoxError>(Admission::admit(connect, Hooks::none())))
    });
    let stage = ServiceBuilder::new()
        .layer(AuthenticateLayer::new(|mut connect: Connect| async move {
            tokio::task::yield_now().await;
            let Some(user) = connect.packet().user_name().map(str::to_owned) else {
                return Ok(connect);
            };
            if user == "nobody" {
                return Err(ConnectRefusal::new(ReasonCode::BAD_USER_NAME_OR_PASSWORD));
            }
            connect.extensions_mut().insert(Tenant(user.clone()));
            connect.set_identity(Identity::new(&*user));
            Ok(connect)
        }))
        .layer(OnConnectLayer::new(|connect: &mut Connect| {
            // a layer inside may change what one outside has put there
            if let Some(tenant) = connect.extensions_mut().get_mut::<Tenant>() {
                tenant.0.push('!');
            }
            Ok::<_, ConnectRefusal>(())
        }))
        .service(innermost);
    let f = Frames(Version::V5);
    let connect = |user_name| {
        f.connect_with(&crate::support::frames::ConnectParts {
            client_id: "c",
            user_name,
            ..Default::default()
        })
    };
    for (user, wanted) in [
        (Some("acme"), "Some(\"acme!\") Some(\"acme\")"),
        (None, "None None"),
        (Some("other"), "Some(\"other!\") Some(\"other\")"),
    ] {
        let pair = Setup::new().start(stage.clone());
        pair.client.send(&connect(user));
        pair.broker.expect(&connect(user)).await;
        assert_eq!(seen.take(), [wanted]);
    }
    let pair = Setup::new().start(stage);
    pair.client.send(&connect(Some("nobody")));
    pair.client.expect(&hex("20 03 00 86 00")).await;
    assert_eq!((seen.take().len(), pair.dials()), (0, 0));
}

/// A service can be asked without a session, in a line.
#[tokio::test]
async fn a_hook_is_tested_with_oneshot() {
    let f = Frames(Version::V311);
    let frame = f.publish("a", 0, 0, b"x");
    let packet = Packet::parse(Version::V311, Direction::ToServer, frame.into()).expect("valid");
    let prefix = RewriteLayer::new(|packet: &mut Packet| packet.set_topic("t/a"));
    let verdict = prefix
        .layer(Forward)
        .oneshot(packet)
        .await
        .expect("it does not fail");
    let mproxy_session::Verdict::Forward(packet) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(packet.as_bytes()[..], f.publish("t/a", 0, 0, b"x"));
}

/// A registry by client identifier, in which the end of a session that was taken over must not remove the
/// one that took it over.
#[tokio::test(start_paused = true)]
async fn sessions_of_one_client_are_told_apart() {
    let registry = Arc::new(Mutex::new(HashMap::new()));
    let sessions = Arc::clone(&registry);
    let stage = admit(move |session: SessionInfo| {
        let id = session.client_id().to_owned();
        sessions.lock().unwrap().insert(id.clone(), session);
        let sessions = Arc::clone(&sessions);
        Hooks::none().on_close(move |summary| {
            let mut sessions = sessions.lock().unwrap();
            if sessions.get(&id) == summary.session.as_ref() {
                sessions.remove(&id);
            }
            std::future::ready(())
        })
    });
    let first = Setup::new().connected(Version::V5, stage.clone()).await;
    let second = Setup::new().connected(Version::V5, stage).await;
    first.end().await;
    assert_eq!(registry.lock().unwrap().len(), 1, "the second one's stays");
    second.end().await;
    assert!(registry.lock().unwrap().is_empty());
    let (one, other) = (SessionHandle::new(), SessionHandle::new());
    assert!(one == one.clone() && one != other);
}
