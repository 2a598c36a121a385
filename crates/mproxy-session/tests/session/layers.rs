//! Layers that ask the services inside first, and layers of the CONNECT stage.

use mproxy_codec::{EncodeError, KindSet, ReasonCode, Version};
use mproxy_session::{
    CloseReason, Connect, ConnectRefusal, Filter, FilterLayer, Forward, Hooks, JudgeConnect,
    OnConnect, OnConnectLayer, Packet, PacketHead, Refusal, ReviewLayer, RewriteLayer, Tap,
    Verdict, WrapHooks,
};
use tower::{Layer, ServiceBuilder};

use crate::support::frames::ConnectParts;
use crate::support::hooks::{Seen, name_of};
use crate::support::{Frames, Setup, admit, admit_all, hex};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

/// Takes "t/" off.
fn strip(packet: &mut PacketHead) -> Result<(), EncodeError> {
    let topic = name_of(packet);
    match topic.strip_prefix("t/") {
        Some(topic) => packet.set_topic(topic),
        None => Ok(()),
    }
}

#[tokio::test(start_paused = true)]
async fn a_review_sees_what_the_services_inside_forward() {
    for version in VERSIONS {
        let f = Frames(version);
        let seen = Seen::default();
        let notes = seen.clone();
        let stage = admit(move |_| {
            let notes = notes.clone();
            let review = ReviewLayer::heads(move |packet| {
                let topic = name_of(&packet);
                notes.push(topic.clone());
                match topic.as_str() {
                    "secret" => Verdict::Discard,
                    "last" => Verdict::Close(ReasonCode::ADMINISTRATIVE_ACTION),
                    _ => Verdict::Forward(packet),
                }
            });
            let denied = FilterLayer::heads(|packet| match &*name_of(packet) {
                "t/denied" => Err(Refusal::new(ReasonCode::NOT_AUTHORIZED)),
                _ => Ok(()),
            });
            let stack = ServiceBuilder::new()
                .layer(review)
                .layer(denied)
                .layer(RewriteLayer::heads(strip))
                .service(Forward);
            Hooks::new(Tap::none(), Tap::only(KindSet::PUBLISH, stack).head_only())
        });
        let pair = Setup::new().connected(version, stage).await;
        for topic in ["t/a", "t/denied", "t/secret", "b"] {
            pair.broker.send(&f.publish(topic, 0, 0, b"x"));
        }
        let arrives = [f.publish("a", 0, 0, b"x"), f.publish("b", 0, 0, b"x")];
        pair.client.expect(&arrives.concat()).await;
        assert_eq!(seen.take(), ["a", "secret", "b"]);
        pair.broker.send(&f.publish("t/last", 0, 0, b"x"));
        let summary = pair.summary().await;
        let told = f.0.is_v5().then_some(ReasonCode::ADMINISTRATIVE_ACTION);
        assert_eq!(summary.reason_code, told);
        assert_eq!(seen.take(), ["last"]);
    }
}

/// Lets in who has a user name, and gives its client id to the broker.
fn named(connect: &mut Connect) -> Result<(), ConnectRefusal> {
    let Some(user) = connect.packet().user_name().map(str::to_owned) else {
        return Err(ConnectRefusal::new(ReasonCode::BAD_USER_NAME_OR_PASSWORD));
    };
    let renamed = connect.packet_mut().set_client_id(&user);
    renamed.map_err(|_| ConnectRefusal::new(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID))
}

#[tokio::test(start_paused = true)]
async fn a_closure_refuses_and_changes_a_connect() {
    for (version, refused) in [
        (Version::V31, "20 02 00 04"),
        (Version::V311, "20 02 00 04"),
        (Version::V5, "20 03 00 86 00"),
    ] {
        let f = Frames(version);
        let stage = OnConnectLayer::new(named).layer(admit_all());
        let pair = Setup::new().start(stage);
        pair.client.send(&f.connect("c"));
        pair.client.expect_plain(&hex(refused)).await;
        assert_eq!(pair.dials(), 0, "the broker is not troubled");
        assert_eq!(pair.end().await.reason, CloseReason::AuthDenied);

        let user = |client_id| {
            f.connect_with(&ConnectParts {
                client_id,
                user_name: Some("u"),
                ..ConnectParts::default()
            })
        };
        let pair = Setup::new().start(stage);
        pair.client.send(&user("c"));
        pair.broker.expect(&user("u")).await;
    }
}

/// Refuses what the client publishes.
#[derive(Clone, Copy)]
struct ReadOnly;

type Judge = fn(&Packet) -> Result<(), Refusal>;

impl JudgeConnect for ReadOnly {
    type Wrap = Self;

    fn judge(&mut self, _: &mut Connect) -> Result<Self, ConnectRefusal> {
        Ok(*self)
    }
}

impl<U, D> WrapHooks<U, D> for ReadOnly {
    type ToServer = Filter<Tap<U>, Judge>;
    type ToClient = D;

    fn wrap(self, _: &Connect, hooks: Hooks<U, D>) -> Hooks<Self::ToServer, D> {
        let never: Judge = |_| Err(Refusal::new(ReasonCode::NOT_AUTHORIZED));
        let never = FilterLayer::new(never);
        hooks.map(
            |tap| tap.wrap(KindSet::PUBLISH, |inner| never.layer(inner)),
            |tap| tap,
        )
    }
}

#[tokio::test(start_paused = true)]
async fn the_hooks_of_who_is_admitted_are_wrapped() {
    let f = Frames(Version::V5);
    let nothing_from_topic_t = |_: &mut Connect| {
        Ok(|_: &Connect, hooks: Hooks| {
            let denied = FilterLayer::new(|packet: &Packet| match &*name_of(packet) {
                "t" => Err(Refusal::new(ReasonCode::NOT_AUTHORIZED)),
                _ => Ok(()),
            });
            hooks.map(
                |tap| tap,
                |tap| tap.wrap(KindSet::PUBLISH, |inner| denied.layer(inner)),
            )
        })
    };
    let stage = OnConnect::new(
        OnConnectLayer::new(nothing_from_topic_t).layer(admit_all()),
        ReadOnly,
    );
    let pair = Setup::new().connected(Version::V5, stage).await;
    pair.client.send(&f.publish("a", 1, 7, b"x"));
    pair.client.expect(&hex("40 03 0007 87")).await;
    pair.broker.expect(b"").await;
    pair.broker.send(&f.publish("t", 0, 0, b"x"));
    pair.broker.send(&f.publish("u", 0, 0, b"x"));
    pair.client.expect(&f.publish("u", 0, 0, b"x")).await;
}

/// A refusal of the services inside is not made an admission.
#[tokio::test(start_paused = true)]
async fn who_is_refused_inside_stays_refused() {
    let refuse = OnConnectLayer::new(|_: &mut Connect| -> Result<(), _> {
        Err(ConnectRefusal::new(ReasonCode::BANNED))
    });
    let stage = OnConnect::new(refuse.layer(admit_all()), ReadOnly);
    let pair = Setup::new().start(stage);
    pair.client.send(&Frames(Version::V5).connect("c"));
    pair.client.expect_plain(&hex("20 03 00 8a 00")).await;
    assert_eq!(pair.dials(), 0, "the broker is not troubled");
}
