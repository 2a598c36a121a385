//! Errors that are refusals, errors that become some, and panics that say what they were about.

use std::error::Error;
use std::fmt;
use std::task::{Context, Poll};
use std::time::Duration;

use mproxy_codec::{DecodeError, EncodeError, Kind, ReasonCode, Version};
use mproxy_session::{
    Admission, BoxError, CloseReason, Connect, ConnectRefusal, FilterLayer, Forward, Hooks, Packet,
    PacketService, Refusal, RefuseErrorsLayer, Tap, Verdict,
};
use tower::{Layer, Service, ServiceBuilder, service_fn};

use crate::support::hooks::{Gate, Seen, by_topic};
use crate::support::{Frames, Pair, Setup, admit, hex, settle};

const F: Frames = Frames(Version::V5);

/// Something that a service wraps another error in, as tower's `Buffer` does.
#[derive(Debug)]
struct Wrapped(BoxError);

impl fmt::Display for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wrapped")
    }
}

impl Error for Wrapped {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

/// An error that is its own source for as long as anybody asks.
#[derive(Debug)]
struct Endless;

impl fmt::Display for Endless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "endless")
    }
}

impl Error for Endless {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self)
    }
}

/// Makes an error.
type Make = fn() -> BoxError;

/// Fails with what `make` makes.
#[derive(Clone)]
struct Failing {
    make: Make,
    in_ready: bool,
}

impl<R> Service<R> for Failing
where
    R: Answered,
{
    type Response = R::Answer;
    type Error = BoxError;
    type Future = std::future::Ready<Result<R::Answer, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(if self.in_ready {
            Err((self.make)())
        } else {
            Ok(())
        })
    }

    fn call(&mut self, _: R) -> Self::Future {
        std::future::ready(Err((self.make)()))
    }
}

/// A request of either stage.
trait Answered {
    type Answer;
}

impl Answered for Packet {
    type Answer = Verdict;
}

impl Answered for Connect {
    type Answer = Admission;
}

fn quota() -> BoxError {
    Refusal::new(ReasonCode::QUOTA_EXCEEDED)
        .with_text("slow down")
        .with_origin("rule 7")
        .into()
}

fn banned() -> BoxError {
    ConnectRefusal::new(ReasonCode::BANNED).into()
}

fn deep() -> BoxError {
    Wrapped(Box::new(Wrapped(quota()))).into()
}

async fn packets<S: PacketService>(make: impl Fn() -> S + Send + 'static) -> Pair {
    let hooks = admit(move |_| Hooks::new(Tap::all(make()), Tap::none()));
    Setup::new().connected(Version::V5, hooks).await
}

/// A service that fails with a refusal refuses, wherever it fails and however deep the refusal is.
#[tokio::test(start_paused = true)]
async fn an_error_that_is_a_refusal_refuses_a_packet() {
    let told = "40 10 0007 97 0c 1f0009 736c6f7720646f776e";
    // PUBACK has no 0x8a Banned: what it cannot carry is told as 0x87
    let cases: [(Make, &str); 3] = [(quota, told), (deep, told), (banned, "40 03 0007 87")];
    for in_ready in [false, true] {
        for (make, answer) in cases {
            let pair = packets(move || Failing { make, in_ready }).await;
            pair.client.send(&F.publish("a", 1, 7, b"x"));
            pair.client.expect(&hex(answer)).await;
            pair.broker.expect(b"").await;
            assert!(pair.is_running());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_that_is_a_refusal_refuses_a_client() {
    for in_ready in [false, true] {
        for (make, code) in [(quota as Make, 0x97), (deep, 0x97), (banned, 0x8a)] {
            let pair = Setup::new().start(Failing { make, in_ready });
            pair.client.send(&F.connect("c"));
            pair.client
                .expect_plain(&hex(&format!("20 03 00 {code:02x} 00")))
                .await;
            assert_eq!(pair.dials(), 0);
            let summary = pair.end().await;
            assert_eq!(summary.reason, CloseReason::AuthDenied);
            assert_eq!(summary.reason_code, Some(ReasonCode::new(code)));
            if code == 0x97 {
                // who refused is for the log; the client was told the text only
                assert_eq!(summary.detail.as_deref(), Some("slow down: rule 7"));
            }
        }
    }
}

/// Any other error ends the session, also one whose sources have no end.
#[tokio::test(start_paused = true)]
async fn an_error_that_is_no_refusal_fails_closed() {
    let cases: [(Make, &str); 3] = [
        (|| "no database".into(), "no database"),
        (|| Endless.into(), "endless"),
        (|| Wrapped("inside".into()).into(), "wrapped"),
    ];
    for (make, text) in cases {
        for in_ready in [false, true] {
            for refuses in [false, true] {
                let pair = packets(move || {
                    let failing = Failing { make, in_ready };
                    let layer = refuses.then(RefuseErrorsLayer::new);
                    tower::util::option_layer(layer).layer(failing)
                })
                .await;
                pair.client.send(&F.publish("a", 1, 7, b"x"));
                pair.client.expect_plain(&F.farewell(0x83)).await;
                let summary = pair.end().await;
                assert_eq!(summary.reason, CloseReason::HookFailed);
                let wanted = format!("a hook failed over PUBLISH 7 of the client: {text}");
                assert_eq!(summary.detail, Some(wanted));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn refuse_errors_maps_what_tower_says() {
    let pair = packets(|| {
        ServiceBuilder::new()
            .layer(RefuseErrorsLayer::new())
            .timeout(Duration::from_secs(1))
            .service(by_topic(&Gate::new(), &Seen::default()))
    })
    .await;
    pair.client.send(&F.publish("never", 1, 7, b"x"));
    settle().await;
    tokio::time::advance(Duration::from_millis(1100)).await;
    pair.client.expect(&hex("40 03 0007 83")).await;
    pair.client.send(&F.publish("a", 1, 8, b"x"));
    pair.broker.expect(&F.publish("a", 1, 8, b"x")).await;

    // LoadShed says Overloaded of a service that is not ready
    let pair = packets(|| {
        ServiceBuilder::new()
            .layer(RefuseErrorsLayer::new())
            .load_shed()
            .rate_limit(1, Duration::from_secs(60))
            .service(Forward)
    })
    .await;
    pair.client.send(&F.publish("a", 1, 7, b"x"));
    pair.broker.expect(&F.publish("a", 1, 7, b"x")).await;
    pair.client.send(&F.publish("a", 1, 8, b"x"));
    pair.client.expect(&hex("40 03 0008 97")).await;
    pair.client.send(&F.subscribe(9, &["a", "b"]));
    pair.client.expect(&F.suback(9, &[0x97, 0x97])).await;
    pair.broker.expect(b"").await;
}

/// The same at the CONNECT stage, with the codes that a CONNACK has.
#[tokio::test(start_paused = true)]
async fn refuse_errors_maps_what_tower_says_of_a_connect() {
    let hanging = || service_fn(|_: Connect| std::future::pending::<Result<Admission, BoxError>>());
    let stage = ServiceBuilder::new()
        .layer(RefuseErrorsLayer::new())
        .timeout(Duration::from_secs(1))
        .service(hanging());
    for (version, wanted) in [
        (Version::V5, "20 03 00 88 00"),
        (Version::V311, "20 02 00 03"),
    ] {
        let pair = Setup::new().start(stage.clone());
        pair.client.send(&Frames(version).connect("c"));
        settle().await;
        tokio::time::advance(Duration::from_millis(1100)).await;
        pair.client.expect(&hex(wanted)).await;
        let summary = pair.end().await;
        assert_eq!(summary.reason, CloseReason::AuthDenied);
        assert_eq!(summary.detail.as_deref(), Some("request timed out"));
    }
    let stage = ServiceBuilder::new()
        .layer(RefuseErrorsLayer::new())
        .load_shed()
        .layer(tower::limit::GlobalConcurrencyLimitLayer::new(1))
        .service(hanging());
    let first = Setup::new().start(stage.clone());
    first.client.send(&F.connect("first"));
    settle().await;
    let second = Setup::new().start(stage);
    second.client.send(&F.connect("second"));
    second.client.expect(&hex("20 03 00 89 00")).await;
    assert_eq!(second.end().await.reason, CloseReason::AuthDenied);
}

/// What a service behind tower's `Buffer` says comes wrapped.
#[tokio::test(start_paused = true)]
async fn an_error_behind_a_source_counts() {
    let cases: [(Make, u8); 3] = [
        (deep, 0x97),
        (
            || Wrapped(Box::new(tower::timeout::error::Elapsed::new())).into(),
            0x83,
        ),
        (
            || Wrapped(Box::new(tower::load_shed::error::Overloaded::new())).into(),
            0x97,
        ),
    ];
    for (make, code) in cases {
        let pair = packets(move || {
            RefuseErrorsLayer::new().layer(Failing {
                make,
                in_ready: false,
            })
        })
        .await;
        pair.client.send(&F.subscribe(7, &["a"]));
        let answer = pair.client.take().await;
        assert_eq!(answer.last(), Some(&code), "{answer:02x?}");
    }
}

#[tokio::test(start_paused = true)]
async fn other_errors_are_refused_where_the_layer_is_told_so() {
    let layer = RefuseErrorsLayer::new().with(|error: &(dyn Error + 'static)| {
        error.is::<Endless>().then_some(ReasonCode::SERVER_BUSY)
    });
    let cases: [Make; 2] = [|| Endless.into(), || Wrapped(Box::new(Endless)).into()];
    for make in cases {
        let pair = packets(move || {
            layer.layer(Failing {
                make,
                in_ready: false,
            })
        })
        .await;
        pair.client.send(&F.subscribe(7, &["a"]));
        // SUBACK has no 0x89 Server busy
        pair.client.expect(&F.suback(7, &[0x87])).await;
    }
    let stage = layer.layer(Failing {
        make: || Endless.into(),
        in_ready: false,
    });
    let pair = Setup::new().start(stage);
    pair.client.send(&F.connect("c"));
    pair.client.expect(&hex("20 03 00 89 00")).await;
}

/// A topic that is none is the hook's error with the code for it: it used to be told as 0x83.
#[test]
fn an_encode_error_is_the_refusal_that_names_it() {
    for (error, code) in [
        (EncodeError::PacketTooLarge, 0x97),
        (EncodeError::FieldTooLong, 0x97),
        (EncodeError::Invalid(DecodeError::EmptyTopic), 0x90),
        (EncodeError::NoSuchField, 0x83),
    ] {
        let refusal = Refusal::from(error);
        assert_eq!(refusal.reason, ReasonCode::new(code), "{error}");
        assert_eq!(refusal.by.as_deref(), Some(&*error.to_string()));
        assert_eq!(refusal.text, None, "it is not told");
    }
    let refusal = Refusal::new(ReasonCode::NOT_AUTHORIZED).with_text("no");
    let error: BoxError = refusal.with_origin("rule 3").into();
    assert!(error.to_string().contains("no: rule 3"), "{error}");
}

/// A panic said "a hook panicked" and nothing else: not the message, not the packet.
#[tokio::test(start_paused = true)]
async fn a_panic_is_told_with_its_message_packet_and_direction() {
    let long = "long ".repeat(100);
    let message: &'static str = Box::leak(long.clone().into_boxed_str());
    for waits in [false, true] {
        for up in [true, false] {
            let hook = service_fn(move |packet: Packet| async move {
                if waits {
                    tokio::task::yield_now().await;
                }
                match packet.publish().map(|publish| publish.topic().to_owned()) {
                    Some(topic) if topic == "long" => panic!("{message}"),
                    Some(topic) if topic == "text" => panic!("on purpose"),
                    Some(topic) if topic == "value" => std::panic::panic_any(7),
                    _ => Ok::<_, BoxError>(Verdict::Forward(packet)),
                }
            });
            let side = if up { "client" } else { "broker" };
            let cases = [
                (
                    "text",
                    format!("a hook panicked over PUBLISH 7 of the {side}: on purpose"),
                ),
                (
                    "value",
                    format!("a hook panicked over PUBLISH 7 of the {side}"),
                ),
                (
                    "long",
                    format!(
                        "a hook panicked over PUBLISH 7 of the {side}: {}",
                        &long[..200]
                    ),
                ),
            ];
            for (topic, wanted) in cases {
                let pair = Setup::new()
                    .connected(
                        Version::V5,
                        admit(move |_| Hooks::new(Tap::all(hook), Tap::all(hook))),
                    )
                    .await;
                let from = if up { &pair.client } else { &pair.broker };
                from.send(&F.publish(topic, 1, 7, b"x"));
                // the client hears the code, and nothing of what is wrong with the proxy
                pair.client.expect(&F.farewell(0x83)).await;
                let summary = pair.end().await;
                assert!(summary.panicked);
                assert_eq!(summary.detail, Some(wanted));
            }
        }
    }
    let pair = Setup::new().start(service_fn(|connect: Connect| async move {
        assert!(connect.packet().client_id().is_empty(), "not that one");
        Ok::<_, BoxError>(Admission::admit(connect, Hooks::none()))
    }));
    pair.client.send(&F.connect("c"));
    pair.client.expect(&hex("20 03 00 83 00")).await;
    let summary = pair.end().await;
    assert!(summary.panicked);
    assert_eq!(
        summary.detail.as_deref(),
        Some("a hook panicked over CONNECT: not that one")
    );
}

/// A SUBSCRIBE that panics a hook is named by its type and identifier as well.
#[tokio::test(start_paused = true)]
async fn other_packets_are_named_as_well() {
    for (sent, name) in [
        (F.subscribe(9, &["a"]), "SUBSCRIBE 9"),
        (F.pingreq(), "PINGREQ"),
        (F.pubrel(4), "PUBREL 4"),
    ] {
        let fragile = FilterLayer::new(|_: &Packet| -> Result<(), Refusal> { panic!("no") });
        let pair = packets(move || fragile.layer(Forward)).await;
        pair.client.send(&sent);
        let detail = pair.end().await.detail;
        let wanted = format!("a hook panicked over {name} of the client: no");
        assert_eq!(detail, Some(wanted));
    }
}

/// A code that the packet does not have becomes one that it has, and the summary has what was sent.
#[tokio::test(start_paused = true)]
async fn a_code_that_a_packet_cannot_carry_becomes_one_that_it_can() {
    // the hook's code; told by PUBACK, SUBACK, UNSUBACK, DISCONNECT, CONNACK
    let cases: [(u8, [u8; 5]); 8] = [
        (0x00, [0x87, 0x87, 0x87, 0x00, 0x87]),
        (0x10, [0x87, 0x87, 0x87, 0x80, 0x87]),
        (0x80, [0x80, 0x80, 0x80, 0x80, 0x80]),
        (0x86, [0x87, 0x87, 0x87, 0x80, 0x86]),
        (0x8f, [0x87, 0x8f, 0x8f, 0x8f, 0x87]),
        (0x90, [0x90, 0x87, 0x87, 0x90, 0x90]),
        (0x97, [0x97, 0x97, 0x87, 0x97, 0x97]),
        (0x98, [0x87, 0x87, 0x87, 0x98, 0x87]),
    ];
    for (code, [puback, suback, unsuback, disconnect, connack]) in cases {
        let reason = ReasonCode::new(code);
        let refuse = FilterLayer::new(move |_: &Packet| Err(Refusal::new(reason)));
        let pair = packets(move || refuse.layer(Forward)).await;
        pair.client.send(&F.publish("a", 1, 7, b"x"));
        pair.client.expect(&F.ack(Kind::Puback, 7, puback)).await;
        pair.client.send(&F.publish("a", 2, 8, b"x"));
        pair.client.expect(&F.ack(Kind::Pubrec, 8, puback)).await;
        pair.client.send(&F.subscribe(9, &["a"]));
        pair.client.expect(&F.suback(9, &[suback])).await;
        pair.client.send(&F.unsubscribe(10, &["a"]));
        pair.client.expect(&F.unsuback(10, &[unsuback])).await;

        let close = service_fn(move |_: Packet| {
            std::future::ready(Ok::<_, BoxError>(Verdict::Close(reason)))
        });
        let pair = packets(move || close).await;
        pair.client.send(&F.pingreq());
        // the short form says success
        let told = match disconnect {
            0 => F.disconnect(),
            code => F.farewell(code),
        };
        pair.client.expect_plain(&told).await;
        let told = pair.end().await.reason_code;
        assert_eq!(told, Some(ReasonCode::new(disconnect)), "{code:#04x}");

        let stage = service_fn(move |_: Connect| {
            std::future::ready(Ok::<Admission, BoxError>(Admission::refuse(reason)))
        });
        let pair = Setup::new().start(stage);
        pair.client.send(&F.connect("c"));
        let wanted = hex(&format!("20 03 00 {connack:02x} 00"));
        pair.client.expect_plain(&wanted).await;
        let summary = pair.end().await;
        let told = Some(ReasonCode::new(connack));
        assert_eq!(
            (summary.reason_code, summary.connack),
            (told, told),
            "{code:#04x}"
        );
    }
}
