//! [`HandlerLayer`]: the eight callbacks and what each of them means.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mproxy_codec::{KindSet, PropertyId, QoS, ReasonCode, Value, Version};
use mproxy_session::{
    BoxError, CloseReason, Connect, ConnectRefusal, Forward, Handler, HandlerLayer, Hooks,
    OnSubscribeLayer, Packet, PublishMut, Refusal, SessionInfo, SubscribeMut, Summary, Tap,
    Verdict,
};
use tower::{Layer, service_fn};

use crate::support::frames::{ConnectParts, properties};
use crate::support::hooks::{Gate, Seen};
use crate::support::{Frames, Pair, Setup, admit, admit_all, hex, settle};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

/// Notes every callback, and decides by names.
#[derive(Clone, Default)]
struct Notes {
    seen: Seen,
    hangs_at_connect: Option<Gate>,
}

fn list(codes: &[(String, ReasonCode)]) -> String {
    let pairs: Vec<String> = codes
        .iter()
        .map(|(filter, code)| format!("{filter}={:02x}", code.as_u8()))
        .collect();
    pairs.join(" ")
}

impl Handler for Notes {
    async fn auth_connect(&self, connect: &mut Connect) -> Result<(), ConnectRefusal> {
        self.seen
            .push(format!("auth_connect {}", connect.packet().client_id()));
        match connect.packet().client_id() {
            "nobody" => Err(ConnectRefusal::new(ReasonCode::NOT_AUTHORIZED)),
            "anonymous" => {
                let set = connect
                    .packet_mut()
                    .set_credentials(Some("somebody"), Some(b"secret"));
                set.map_err(|_| ConnectRefusal::new(ReasonCode::UNSPECIFIED_ERROR))
            }
            "named" => {
                let set = connect.packet_mut().set_credentials(None, None);
                set.map_err(|_| ConnectRefusal::new(ReasonCode::UNSPECIFIED_ERROR))
            }
            _ => Ok(()),
        }
    }

    async fn auth_publish(
        &self,
        session: &SessionInfo,
        publish: &mut PublishMut,
    ) -> Result<(), Refusal> {
        let what = if publish.is_will() { "will" } else { "publish" };
        self.seen.push(format!(
            "auth_{what} {} {} {:?} {}",
            session.client_id(),
            publish.topic(),
            publish.qos(),
            String::from_utf8_lossy(publish.payload()),
        ));
        if publish.topic().starts_with("denied") {
            return Err(Refusal::new(ReasonCode::NOT_AUTHORIZED).with_text("no"));
        }
        if let Some(rest) = publish.topic().strip_prefix("from/") {
            let topic = format!("to/{rest}");
            publish.set_topic(topic)?;
            publish.set_payload(&b"changed"[..]);
        }
        Ok(())
    }

    async fn auth_subscribe(
        &self,
        _: &SessionInfo,
        subscribe: &mut SubscribeMut,
    ) -> Result<(), Refusal> {
        let filters: Vec<String> = subscribe.filters().map(|(f, _)| f.to_owned()).collect();
        self.seen
            .push(format!("auth_subscribe {}", filters.join(" ")));
        for (position, filter) in filters.iter().enumerate() {
            match filter.split('/').next() {
                Some("denied") => subscribe.refuse(position, ReasonCode::NOT_AUTHORIZED),
                Some("from") => subscribe.set_filter(position, filter.replacen("from", "to", 1)),
                Some("plus") => subscribe.add("extra", QoS::AtMostOnce),
                Some("whole") => return Err(Refusal::new(ReasonCode::QUOTA_EXCEEDED)),
                _ => {}
            }
        }
        Ok(())
    }

    async fn connect(&self, session: &SessionInfo) {
        self.seen.push(format!("connect {}", session.client_id()));
        if let Some(gate) = &self.hangs_at_connect {
            gate.pass().await;
        }
    }

    async fn publish(&self, _: &SessionInfo, publish: &PublishMut) {
        let payload = String::from_utf8_lossy(publish.payload()).into_owned();
        self.seen
            .push(format!("publish {} {payload}", publish.topic()));
    }

    async fn subscribe(&self, _: &SessionInfo, granted: &[(String, ReasonCode)]) {
        self.seen.push(format!("subscribe {}", list(granted)));
    }

    async fn unsubscribe(&self, _: &SessionInfo, codes: &[(String, ReasonCode)]) {
        self.seen.push(format!("unsubscribe {}", list(codes)));
    }

    async fn disconnect(&self, session: &SessionInfo, summary: &Summary) {
        self.seen.push(format!(
            "disconnect {} {}",
            session.client_id(),
            summary.reason
        ));
    }
}

fn start(notes: &Notes) -> Pair {
    Setup::new().start(HandlerLayer::new(notes.clone()).layer(admit_all()))
}

async fn connected(version: Version, notes: &Notes) -> Pair {
    let stack = HandlerLayer::new(notes.clone()).layer(admit_all());
    let pair = Setup::new().connected(version, stack).await;
    assert_eq!(notes.seen.take(), ["auth_connect c", "connect c"]);
    pair
}

#[tokio::test(start_paused = true)]
async fn connect_comes_with_the_brokers_yes_and_not_before() {
    for version in VERSIONS {
        let f = Frames(version);
        let notes = Notes::default();
        let pair = start(&notes);
        pair.client.send(&f.connect("c"));
        pair.broker.expect(&f.connect("c")).await;
        assert_eq!(notes.seen.take(), ["auth_connect c"]);
        pair.broker.send(&f.connack());
        pair.client.expect(&f.connack()).await;
        assert_eq!(notes.seen.take(), ["connect c"]);
        pair.client.send(&f.disconnect());
        pair.end().await;
        assert_eq!(notes.seen.take(), ["disconnect c disconnect"]);
    }
}

/// Who was never connected does not disconnect.
#[tokio::test(start_paused = true)]
async fn a_client_that_is_refused_neither_connects_nor_disconnects() {
    for version in VERSIONS {
        let f = Frames(version);
        // by the callback
        let notes = Notes::default();
        let pair = start(&notes);
        pair.client.send(&f.connect("nobody"));
        let wanted = if version.is_v5() {
            "20 03 00 87 00"
        } else {
            "20 02 00 05"
        };
        pair.client.expect(&hex(wanted)).await;
        assert_eq!(pair.dials(), 0);
        pair.end().await;
        assert_eq!(notes.seen.take(), ["auth_connect nobody"]);
        // by the broker
        let pair = start(&notes);
        pair.client.send(&f.connect("c"));
        pair.broker.take().await;
        let code = if version.is_v5() { 0x87 } else { 5 };
        pair.broker.send(&f.connack_with(code, &[]));
        pair.client.expect(&f.connack_with(code, &[])).await;
        pair.end().await;
        assert_eq!(notes.seen.take(), ["auth_connect c"]);
        // and one that never said CONNECT
        let pair = start(&notes);
        pair.client.send(&f.pingreq());
        pair.end().await;
        assert_eq!(notes.seen.take(), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_can_be_added_and_removed() {
    for version in [Version::V311, Version::V5] {
        let f = Frames(version);
        let notes = Notes::default();
        let pair = start(&notes);
        pair.client.send(&f.connect("anonymous"));
        let with = f.connect_with(&ConnectParts {
            client_id: "anonymous",
            keep_alive: 60,
            user_name: Some("somebody"),
            password: Some(b"secret"),
            ..Default::default()
        });
        pair.broker.expect(&with).await;

        let pair = start(&notes);
        pair.client.send(&f.connect_with(&ConnectParts {
            client_id: "named",
            keep_alive: 60,
            user_name: Some("somebody"),
            password: Some(b"secret"),
            ..Default::default()
        }));
        pair.broker.expect(&f.connect("named")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn publish_comes_with_what_is_forwarded() {
    for version in VERSIONS {
        let f = Frames(version);
        let notes = Notes::default();
        let pair = connected(version, &notes).await;
        pair.client.send(&f.publish("a", 1, 1, b"x"));
        pair.broker.expect(&f.publish("a", 1, 1, b"x")).await;
        assert_eq!(
            notes.seen.take(),
            ["auth_publish c a AtLeastOnce x", "publish a x"]
        );
        pair.client.send(&f.publish("from/a", 1, 2, b"x"));
        pair.broker
            .expect(&f.publish("to/a", 1, 2, b"changed"))
            .await;
        assert_eq!(
            notes.seen.take(),
            [
                "auth_publish c from/a AtLeastOnce x",
                "publish to/a changed"
            ]
        );
        pair.client.send(&f.publish("denied/a", 0, 0, b"x"));
        pair.broker.expect(b"").await;
        assert_eq!(notes.seen.take(), ["auth_publish c denied/a AtMostOnce x"]);
    }
}

#[tokio::test(start_paused = true)]
async fn subscribe_comes_with_the_codes_that_the_client_gets() {
    for version in VERSIONS {
        let f = Frames(version);
        let no = if version.is_v5() { "87" } else { "80" };
        let notes = Notes::default();
        let pair = connected(version, &notes).await;
        pair.client
            .send(&f.subscribe(1, &["denied/1", "a", "from/b"]));
        pair.broker.expect(&f.subscribe(1, &["a", "to/b"])).await;
        assert_eq!(notes.seen.take(), ["auth_subscribe denied/1 a from/b"]);
        pair.broker.send(&f.suback(1, &[1, 0x80]));
        let refused = if version.is_v5() { 0x87 } else { 0x80 };
        pair.client.expect(&f.suback(1, &[refused, 1, 0x80])).await;
        assert_eq!(
            notes.seen.take(),
            [format!("subscribe denied/1={no} a=01 from/b=80")]
        );

        pair.client.send(&f.subscribe(2, &["whole", "a"]));
        pair.broker.expect(b"").await;
        let code = if version.is_v5() { 0x97 } else { 0x80 };
        pair.client.expect(&f.suback(2, &[code, code])).await;
        assert_eq!(notes.seen.take(), ["auth_subscribe whole a"]);

        pair.client.send(&f.unsubscribe(3, &["a", "b"]));
        pair.broker.expect(&f.unsubscribe(3, &["a", "b"])).await;
        let codes: &[u8] = if version.is_v5() { &[0, 0x11] } else { &[] };
        pair.broker.send(&f.unsuback(3, codes));
        pair.client.expect(&f.unsuback(3, codes)).await;
        let wanted = if version.is_v5() {
            "unsubscribe a=00 b=11"
        } else {
            "unsubscribe a=00 b=00"
        };
        assert_eq!(notes.seen.take(), [wanted]);
    }
}

/// The original crashed when its callback added a filter, and lost count when it removed one.
#[tokio::test(start_paused = true)]
async fn filters_can_be_added_and_all_refused() {
    let f = Frames(Version::V311);
    let notes = Notes::default();
    let pair = connected(Version::V311, &notes).await;
    pair.client.send(&f.subscribe(1, &["plus/1", "denied/2"]));
    let mut wanted = f.subscribe(1, &["plus/1", "extra"]);
    *wanted.last_mut().expect("options") = 0;
    pair.broker.expect(&wanted).await;
    pair.broker.send(&f.suback(1, &[1, 0]));
    pair.client.expect(&f.suback(1, &[1, 0x80])).await;
    assert_eq!(
        notes.seen.take(),
        [
            "auth_subscribe plus/1 denied/2",
            "subscribe plus/1=01 denied/2=80"
        ]
    );
    pair.client.send(&f.subscribe(2, &["denied/1", "denied/2"]));
    pair.broker.expect(b"").await;
    pair.client.expect(&f.suback(2, &[0x80, 0x80])).await;
    assert_eq!(notes.seen.take(), ["auth_subscribe denied/1 denied/2"]);
}

/// A layer outside has refused some filters before the handler saw the SUBSCRIBE. The codes of the
/// SUBACK were counted off against the filters that were left: every one after the first refusal
/// was reported with another one's code.
#[tokio::test(start_paused = true)]
async fn subscribe_pairs_filters_with_their_own_codes_behind_another_layer() {
    let f = Frames(Version::V5);
    let notes = Notes::default();
    let inner = HandlerLayer::new(notes.clone()).layer(admit_all());
    let stage =
        tower::ServiceExt::map_response(inner, |admission: mproxy_session::Admission<_, _>| {
            admission.map_hooks(|_, hooks: Hooks<_, _>| {
                hooks.map(
                    |tap| {
                        tap.wrap_heads(KindSet::SUBSCRIBE, |inner| {
                            OnSubscribeLayer::new(|entry: mproxy_codec::Subscription<'_>| {
                                match entry.filter.as_str() {
                                    "outer" => Err(ReasonCode::NOT_AUTHORIZED),
                                    _ => Ok(()),
                                }
                            })
                            .layer(inner)
                        })
                    },
                    |tap| tap,
                )
            })
        });
    let pair = Setup::new().connected(Version::V5, stage).await;
    notes.seen.take();
    pair.client
        .send(&f.subscribe(1, &["outer", "a", "denied/x", "b"]));
    pair.broker.expect(&f.subscribe(1, &["a", "b"])).await;
    pair.broker.send(&f.suback(1, &[0, 1]));
    pair.client.expect(&f.suback(1, &[0x87, 0, 0x87, 1])).await;
    assert_eq!(
        notes.seen.take(),
        [
            "auth_subscribe a denied/x b",
            "subscribe outer=87 a=00 denied/x=87 b=01"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn disconnect_comes_once_with_the_reason() {
    for version in VERSIONS {
        let f = Frames(version);
        let notes = Notes::default();
        for (end, reason) in [
            ("disconnect", CloseReason::Disconnect),
            ("eof", CloseReason::Eof),
            ("error", CloseReason::Malformed),
            ("broker", CloseReason::UpstreamEof),
        ] {
            let pair = connected(version, &notes).await;
            match end {
                "disconnect" => pair.client.send(&f.disconnect()),
                "eof" => pair.client.finish(),
                "error" => pair.client.send(&[0]),
                _ => pair.broker.finish(),
            }
            settle().await;
            pair.end().await;
            assert_eq!(notes.seen.take(), [format!("disconnect c {reason}")]);
        }
    }
}

/// The callback was asked about CONNACK but something kept the CONNACK from the client: the client
/// counts as never connected, and `disconnect` never came for a `connect` that had.
#[tokio::test(start_paused = true)]
async fn disconnect_comes_for_every_connect_also_when_connack_does_not_arrive() {
    let f = Frames(Version::V311);
    let notes = Notes {
        hangs_at_connect: Some(Gate::new()),
        ..Notes::default()
    };
    let pair = start(&notes);
    pair.client.send(&f.connect("c"));
    pair.broker.take().await;
    pair.broker.send(&f.connack());
    pair.client.expect(b"").await;
    assert_eq!(notes.seen.take(), ["auth_connect c", "connect c"]);
    // the callback takes too long
    tokio::time::advance(std::time::Duration::from_secs(6)).await;
    pair.client.expect(&hex("20 02 00 03")).await;
    assert!(!pair.end().await.established());
    assert_eq!(notes.seen.take(), ["disconnect c hook_failed"]);
}

#[tokio::test(start_paused = true)]
async fn the_session_has_the_client_id_that_the_broker_assigned() {
    let f = Frames(Version::V5);
    let notes = Notes::default();
    let pair = start(&notes);
    let assigned = properties(&[(PropertyId::AssignedClientIdentifier, Value::Str("auto-1"))]);
    pair.open(&f.connect(""), &f.connack_with(0, &assigned))
        .await;
    pair.client.send(&f.disconnect());
    pair.end().await;
    assert_eq!(
        notes.seen.take(),
        [
            "auth_connect ",
            "connect auto-1",
            "disconnect auto-1 disconnect"
        ]
    );
}

/// Inner hooks go on seeing what they asked for, and nothing else.
#[tokio::test(start_paused = true)]
async fn hooks_inside_a_handler_see_their_own_kinds() {
    let f = Frames(Version::V311);
    let seen = Seen::default();
    let inner = seen.clone();
    let stack = HandlerLayer::new(Notes::default()).layer(admit(move |_| {
        let seen = inner.clone();
        let hook = service_fn(move |packet: Packet| {
            seen.push(packet.kind().as_str());
            async move { Ok::<_, BoxError>(Verdict::Forward(packet)) }
        });
        Hooks::new(
            Tap::only(KindSet::UNSUBSCRIBE, hook),
            Tap::only(KindSet::NONE, Forward),
        )
    }));
    let pair = Setup::new().connected(Version::V311, stack).await;
    let sent = [
        f.publish("a", 0, 0, b"x"),
        f.subscribe(1, &["a"]),
        f.unsubscribe(2, &["a"]),
    ];
    pair.client.send(&sent.concat());
    pair.broker.expect(&sent.concat()).await;
    assert_eq!(seen.take(), ["unsubscribe"]);
}

/// A callback that panics is a hook that panics.
#[tokio::test(start_paused = true)]
async fn a_callback_that_panics_ends_its_session() {
    struct Panics(Arc<AtomicBool>);
    impl Handler for Panics {
        async fn auth_publish(&self, _: &SessionInfo, _: &mut PublishMut) -> Result<(), Refusal> {
            panic!("on purpose");
        }
        async fn disconnect(&self, _: &SessionInfo, summary: &Summary) {
            self.0.store(summary.panicked, Ordering::Relaxed);
        }
    }
    let f = Frames(Version::V5);
    let told = Arc::new(AtomicBool::new(false));
    let stack = HandlerLayer::new(Panics(Arc::clone(&told))).layer(admit_all());
    let pair = Setup::new().connected(Version::V5, stack).await;
    pair.client.send(&f.publish("a", 0, 0, b"x"));
    pair.client.expect_plain(&f.farewell(0x83)).await;
    assert!(pair.end().await.panicked);
    assert!(told.load(Ordering::Relaxed));
}
