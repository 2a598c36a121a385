//! Rules that change while sessions run.

mod support;

use std::{
    future::Future,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use mproxy_codec::{
    ConnectPacket, Direction, PropertyId, QoS, SubscriptionOptions, Version, View, encode_publish,
    encode_subscribe,
};
use mproxy_layers::{
    access_log::{AccessLogLayer, Events},
    acl::{Acl, AclLayer, Actions, Rule},
    client_id::{ClientIdLayer, ClientIds, Require},
    property_edit::{Edits, PropertyEditLayer},
    topic_map::{TopicMap, TopicMapLayer},
};
use mproxy_session::{
    Admission, BoxError, CloseReason, Connect, PacketService, Peer, Session, SessionHandle, Side,
    Summary,
};
use support::{Client, Counter, end::End, forward_all, log::Log};
use tokio::io::{AsyncReadExt, duplex};
use tower::{Layer, Service, ServiceExt, util::Oneshot};

/// The rules of now, as a server keeps them.
#[derive(Clone)]
struct Current<S>(Arc<Mutex<S>>);

impl<S> Current<S> {
    fn new(stage: S) -> Self {
        Self(Arc::new(Mutex::new(stage)))
    }

    fn change(&self, stage: S) {
        *self.0.lock().expect("no panic") = stage;
    }
}

impl<S> Service<Connect> for Current<S>
where
    S: Service<Connect> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Oneshot<S, Connect>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, connect: Connect) -> Self::Future {
        let stage = self.0.lock().expect("no panic").clone();
        stage.oneshot(connect)
    }
}

/// Both ends of a session whose client is connected.
struct Ends {
    client: End,
    broker: End,
    handle: SessionHandle,
    /// The client's id, as the broker knows it.
    at_broker: String,
}

impl Ends {
    /// Has the session judged again, and waits until it has been.
    async fn renew(&mut self) {
        self.handle.renew(1);
        // what comes behind it is judged by the new rules
        self.client.write(&[0xc0, 0]).await;
        assert_eq!(self.broker.read().await, [0xc0, 0][..]);
    }

    /// Publishes with QoS 1; true if it arrives.
    async fn publish(&mut self, topic: &str) -> Option<Bytes> {
        let frame = encode_publish(Version::V5, topic, QoS::AtLeastOnce, 5, &[], b"x");
        self.client.write(&frame.expect("a PUBLISH")).await;
        self.client.write(&[0xc0, 0]).await;
        let arrived = self.broker.read().await;
        if arrived == [0xc0, 0][..] {
            assert_eq!(
                self.client.read().await[..],
                [0x40, 3, 0, 5, 0x87],
                "{topic}"
            );
            return None;
        }
        assert_eq!(self.broker.read().await, [0xc0, 0][..]);
        Some(arrived)
    }

    /// Delivers with QoS 0; true if it arrives.
    async fn deliver(&mut self, topic: &str) -> Option<Bytes> {
        let frame = encode_publish(Version::V5, topic, QoS::AtMostOnce, 0, &[], b"x");
        self.broker.write(&frame.expect("a PUBLISH")).await;
        self.broker.write(&[0xd0, 0]).await;
        let arrived = self.client.read().await;
        if arrived == [0xd0, 0][..] {
            return None;
        }
        assert_eq!(self.client.read().await, [0xd0, 0][..]);
        Some(arrived)
    }

    /// Subscribes, and the broker grants it.
    async fn subscribe(&mut self, filter: &str) {
        let options = SubscriptionOptions::new(QoS::AtLeastOnce);
        let frame = encode_subscribe(Version::V5, 7, &[], [(filter, options)]);
        self.client.write(&frame.expect("a SUBSCRIBE")).await;
        self.broker.read().await;
        self.broker.write(&[0x90, 4, 0, 7, 0, 1]).await;
        self.client.read().await;
    }

    /// What the client still receives; its connection is at its end.
    async fn farewell(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.client.0.read_to_end(&mut rest).await.expect("the end");
        rest
    }
}

/// Runs a session under rules that can change, and returns its end.
async fn run<S, U, D, F>(
    rules: &Current<S>,
    client: Client<'_>,
    talk: impl FnOnce(Ends) -> F,
) -> Summary
where
    S: Service<Connect, Response = Admission<U, D>, Error = BoxError> + Clone,
    U: PacketService,
    D: PacketService,
    F: Future<Output = ()>,
{
    let (near, socket) = duplex(4096);
    let (far, server) = duplex(4096);
    let handle = SessionHandle::new();
    let session = Session::new(Peer::new("test")).handle(handle.clone());
    let session = session.run(socket, rules.clone(), move |_| async move {
        Ok::<_, std::io::Error>(server)
    });
    let connect = client.connect().packet().as_bytes().clone();
    let talk = async move {
        let (mut client, mut broker) = (End(near), End(far));
        client.write(&connect).await;
        let connect = ConnectPacket::parse(broker.read().await).expect("a CONNECT");
        broker.write(&[0x20, 3, 0, 0, 0]).await;
        client.read().await;
        let ends = Ends {
            client,
            broker,
            handle,
            at_broker: connect.client_id().to_owned(),
        };
        talk(ends).await;
    };
    tokio::join!(session, talk).0
}

fn topic_of(direction: Direction, frame: &[u8]) -> String {
    match View::parse(Version::V5, direction, frame) {
        Ok(Some(View::Publish(publish))) => publish.topic().to_owned(),
        other => panic!("not a PUBLISH: {other:?}"),
    }
}

const DEVICE: Client<'_> = Client {
    id: "d7",
    user: Some("u"),
    will: None,
    will_response_topic: None,
};

fn acl(rules: &[Rule]) -> AclLayer {
    let mut acl = Acl::builder();
    for rule in rules {
        acl.rule(rule.clone()).expect("a valid rule");
    }
    AclLayer::new(acl.build())
}

/// The verdict on a topic is remembered while a device repeats itself; deliveries were not judged at all
/// before.
#[tokio::test]
async fn an_acl_that_changes_judges_publish_and_deliveries() {
    let both = Actions::PUBLISH | Actions::SUBSCRIBE;
    let everything = acl(&[Rule::allow(both).topic("#")]);
    let own = acl(&[Rule::allow(both).topic("${client_id}/#")]);
    let rules = Current::new(everything.layer(forward_all()));
    run(&rules, DEVICE, async |mut ends| {
        ends.subscribe("#").await;
        for _ in 0..3 {
            assert!(ends.publish("d8/a").await.is_some());
        }
        assert!(ends.deliver("d8/a").await.is_some());
        rules.change(own.layer(forward_all()));
        ends.renew().await;
        assert!(ends.publish("d8/a").await.is_none());
        assert!(ends.publish("d7/a").await.is_some());
        assert!(
            ends.deliver("d8/a").await.is_none(),
            "an older subscription"
        );
        assert!(ends.deliver("d7/a").await.is_some());
        // and back
        rules.change(everything.layer(forward_all()));
        ends.renew().await;
        assert!(ends.publish("d8/a").await.is_some());
        assert!(ends.deliver("d8/a").await.is_some());
    })
    .await;
}

/// The acl goes by what the client sent where it stands outside, and by what was made of that inside.
#[tokio::test]
async fn an_acl_around_an_id_with_a_prefix_judges_what_the_client_sent() {
    let both = Actions::PUBLISH | Actions::SUBSCRIBE;
    let ids = ClientIds::builder().prefix("x-").build().expect("a prefix");
    let inside = ClientIdLayer::new(ids).layer(forward_all());
    let own = acl(&[Rule::allow(both).topic("${client_id}/#")]);
    let rules = Current::new(own.layer(inside));
    let summary = run(&rules, DEVICE, async |mut ends| {
        assert_eq!(ends.at_broker, "x-d7");
        for _ in 0..2 {
            assert!(ends.publish("d7/a").await.is_some());
            assert!(ends.publish("x-d7/a").await.is_none());
            ends.renew().await;
        }
    })
    .await;
    assert_eq!(summary.reason, CloseReason::Eof);
}

#[tokio::test]
async fn a_client_that_may_not_have_its_id_any_more_is_closed() {
    let ids = |require: Require| {
        let ids = ClientIds::builder().require(require);
        ClientIdLayer::new(ids.build().expect("no prefix")).layer(forward_all())
    };
    let rules = Current::new(ids(Require::ANY));
    let summary = run(&rules, DEVICE, async |mut ends| {
        rules.change(ids(Require::equals_username()));
        ends.handle.renew(1);
        // DISCONNECT has no word for a client id
        let farewell = ends.farewell().await;
        assert_eq!((farewell[0], farewell[2]), (0xe0, 0x87));
    })
    .await;
    assert_eq!(
        (summary.side, summary.reason),
        (Side::Proxy, CloseReason::AuthDenied)
    );
    let detail = summary.detail.expect("why");
    assert!(detail.contains("belongs to another user"), "{detail}");
}

/// An id that was given stays, and a client that would be called otherwise connects again.
#[tokio::test]
async fn ids_that_were_given_stay() {
    let ids = |prefix: Option<&str>| {
        let mut ids = ClientIds::builder().generate(true);
        if let Some(prefix) = prefix {
            ids = ids.prefix(prefix);
        }
        let layer = ClientIdLayer::new(ids.build().expect("a prefix"));
        layer.observer(Counter::default()).layer(forward_all())
    };
    for (id, prefix) in [
        ("d7", None),
        ("d7", Some("x-")),
        ("", None),
        ("", Some("x-")),
    ] {
        let rules = Current::new(ids(prefix));
        let client = Client { id, ..DEVICE };
        let summary = run(&rules, client, async |mut ends| {
            let given = ends.at_broker.clone();
            assert!(
                given.starts_with(prefix.unwrap_or_default()) && given.len() > 3 || id == given
            );
            rules.change(ids(prefix));
            ends.renew().await;
            ends.renew().await;
            rules.change(ids(Some("y-")));
            ends.handle.renew(1);
            assert_eq!(ends.farewell().await, b"", "it comes back");
        })
        .await;
        assert_eq!(
            (summary.side, summary.reason),
            (Side::Proxy, CloseReason::RulesChanged)
        );
    }
}

#[tokio::test]
async fn a_map_and_edits_that_change_are_those_of_the_next_packet() {
    let stage = |prefix: &str, value: &str| {
        let map = TopicMap::prefix(prefix).expect("a valid prefix");
        let edits = Edits::builder()
            .set("k", value)
            .expect("valid edits")
            .build();
        TopicMapLayer::new(map)
            .layer(PropertyEditLayer::new(edits, Edits::default()).layer(forward_all()))
    };
    let rules = Current::new(stage("t/${username}/", "one"));
    run(&rules, DEVICE, async |mut ends| {
        let look = |frame: Option<Bytes>| {
            let frame = frame.expect("it arrives");
            let view = View::parse(Version::V5, Direction::ToServer, &frame);
            let Ok(Some(View::Publish(publish))) = view else {
                panic!("not a PUBLISH");
            };
            let properties = publish.properties();
            let pairs = properties
                .into_iter()
                .filter(|it| it.id == PropertyId::UserProperty);
            let pairs: Vec<_> = pairs.map(|it| format!("{:?}", it.value)).collect();
            (publish.topic().to_owned(), pairs.concat())
        };
        let (topic, pair) = look(ends.publish("a").await);
        assert!(topic == "t/u/a" && pair.contains("one"), "{topic} {pair}");
        rules.change(stage("s/${client_id}/", "other"));
        ends.renew().await;
        let (topic, pair) = look(ends.publish("a").await);
        assert!(
            topic == "s/d7/a" && pair.contains("other"),
            "{topic} {pair}"
        );
        // what an older subscription brings has no place
        assert!(ends.deliver("t/u/a").await.is_none());
        let delivered = ends.deliver("s/d7/a").await.expect("it arrives");
        assert_eq!(topic_of(Direction::ToClient, &delivered), "a");
    })
    .await;
}

/// The lines of a session that is judged again twice, and refused in the end.
#[tokio::test]
async fn a_log_has_one_beginning_and_one_end() {
    let stage = |allowed: &str, events| {
        let both = Actions::PUBLISH | Actions::SUBSCRIBE;
        let acl = acl(&[Rule::allow(both).topic(allowed)]);
        let ids = ClientIds::builder().require(match allowed {
            "nothing" => Require::equals_username(),
            _ => Require::ANY,
        });
        let ids = ClientIdLayer::new(ids.build().expect("no prefix")).layer(forward_all());
        AccessLogLayer::new().events(events).layer(acl.layer(ids))
    };
    let rules = Current::new(stage("#", Events::ALL));
    let mut lines = Log::of(async {
        run(&rules, DEVICE, async |mut ends| {
            ends.subscribe("a").await;
            rules.change(stage("d7/#", Events::ALL));
            ends.renew().await;
            assert!(ends.publish("d8/a").await.is_none());
            ends.subscribe("d7/a").await;
            // an event that is not logged any more
            rules.change(stage("#", Events::DISCONNECT));
            ends.renew().await;
            ends.subscribe("b").await;
            rules.change(stage("nothing", Events::ALL));
            ends.handle.renew(1);
            ends.farewell().await;
        })
        .await;
    })
    .await;
    lines.retain(|line| line.contains("mproxy::access"));
    let events: Vec<_> = lines
        .iter()
        .map(|line| line.split('"').nth(1).unwrap_or(line))
        .collect();
    assert_eq!(
        events,
        ["connect", "subscribe", "deny", "subscribe", "disconnect"],
        "{lines:#?}"
    );
    assert!(lines[4].contains("reason=\"auth_denied\""), "{}", lines[4]);
}

/// A SUBSCRIBE that is under way when the rules change: its answer passes, and is not said to be missing.
#[tokio::test]
async fn a_subscribe_under_way_is_not_called_unanswered() {
    let stage = || AccessLogLayer::new().layer(forward_all());
    let rules = Current::new(stage());
    let mut lines = Log::of(async {
        run(&rules, DEVICE, async |mut ends| {
            let options = SubscriptionOptions::new(QoS::AtLeastOnce);
            let frame = encode_subscribe(Version::V5, 7, &[], [("a", options)]);
            ends.client.write(&frame.expect("a SUBSCRIBE")).await;
            ends.broker.read().await;
            rules.change(stage());
            ends.renew().await;
            ends.broker.write(&[0x90, 4, 0, 7, 0, 1]).await;
            assert_eq!(ends.client.read().await[0], 0x90);
        })
        .await;
    })
    .await;
    lines.retain(|line| line.contains("mproxy::access"));
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[1].contains("event=\"disconnect\""), "{}", lines[1]);
}
