//! Enhanced authentication (MQTT 5.0, section 4.12): who the hooks take a client for must be who the
//! broker takes it for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mproxy_codec::{KindSet, PropertyId, ReasonCode, Value, Version, encode_auth};
use mproxy_session::{
    Admission, BoxError, CloseReason, Conformance, Connect, Counters, Events, Forward, Hooks, Side,
    Tap, WhenUnreachable,
};
use tower::service_fn;

use crate::support::frames::{ConnectParts, properties};
use crate::support::{CONFORMANCES, Frames, Pair, Setup, UNREACHABLE, admit, admit_all, settle};

const F: Frames = Frames(Version::V5);

fn method(name: &str) -> Vec<u8> {
    properties(&[(PropertyId::AuthenticationMethod, Value::Str(name))])
}

fn connect() -> Vec<u8> {
    F.connect_with(&ConnectParts {
        client_id: "c",
        user_name: Some("u"),
        password: Some(b"p"),
        properties: &method("m"),
        ..Default::default()
    })
}

fn connack(name: &str) -> Vec<u8> {
    let size = properties(&[(PropertyId::MaximumPacketSize, Value::U32(0x8_0000))]);
    F.connack_with(0, &[method(name), size].concat())
}

fn auth(reason: u8, name: &str) -> Vec<u8> {
    encode_auth(Version::V5, ReasonCode::new(reason), &method(name))
        .expect("valid")
        .to_vec()
}

/// A client whose broker failed before CONNACK: it sees the connection end, or is told if it is to be.
async fn expect_unavailable(pair: &Pair, choice: WhenUnreachable) {
    let wanted = match choice {
        WhenUnreachable::Close => Vec::new(),
        WhenUnreachable::Connack => F.connack_with(0x88, &[]),
    };
    pair.client.expect_plain(&wanted).await;
    assert!(pair.client.is_ended());
}

async fn waiting_for_connack() -> Pair {
    waiting_with(Setup::new()).await
}

async fn waiting_with(setup: Setup) -> Pair {
    let pair = setup.start(admit_all());
    pair.client.send(&connect());
    pair.broker.expect(&connect()).await;
    pair
}

#[tokio::test(start_paused = true)]
async fn another_method_in_auth_is_an_error_of_its_sender() {
    let pair = waiting_for_connack().await;
    pair.broker.send(&auth(0x18, "m"));
    pair.client.expect(&auth(0x18, "m")).await;
    pair.client.send(&auth(0x18, "n"));
    pair.broker.expect(b"").await;
    let answer = pair.client.take().await;
    assert_eq!(
        answer.get(..2),
        Some(&[0x20, answer[1]][..]),
        "{answer:02x?}"
    );
    assert_eq!(answer[3], 0x82, "{answer:02x?}");
    assert_eq!(pair.end().await.side, Side::Client);

    for choice in UNREACHABLE {
        let pair = waiting_with(Setup::new().when_unreachable(choice)).await;
        pair.broker.send(&auth(0x18, "n"));
        expect_unavailable(&pair, choice).await;
        assert_eq!(pair.end().await.side, Side::Upstream);
    }
}

/// Another method than that of CONNECT is an error of the broker, and so is one that nobody asked
/// for. A CONNACK without any passes: whether the broker authenticated is for its client to judge,
/// and there are brokers that leave it out. To the letter it is an error, too.
#[tokio::test(start_paused = true)]
async fn another_method_in_connack_is_an_error_of_the_broker() {
    let settings = UNREACHABLE.map(|choice| CONFORMANCES.map(|it| (choice, it)));
    for (choice, conformance) in settings.into_iter().flatten() {
        let setup = || {
            let setup = Setup::new().when_unreachable(choice);
            setup.conformance(conformance)
        };
        for answer in [connack("n"), F.connack()] {
            let pair = waiting_with(setup()).await;
            pair.broker.send(&answer);
            if answer == F.connack() && conformance == Conformance::Tolerant {
                pair.client.expect(&answer).await;
                assert!(pair.end().await.established());
                continue;
            }
            expect_unavailable(&pair, choice).await;
            let summary = pair.end().await;
            assert_eq!(summary.reason, CloseReason::UpstreamProtocolError);
        }
        let pair = setup().start(admit_all());
        pair.client.send(&F.connect("c"));
        pair.broker.expect(&F.connect("c")).await;
        pair.broker.send(&connack("m"));
        expect_unavailable(&pair, choice).await;
    }
}

#[tokio::test(start_paused = true)]
async fn each_auth_begins_the_time_for_connack_anew() {
    for choice in UNREACHABLE {
        let setup = Setup::new().limits(|limits| {
            limits.connack_timeout = Duration::from_secs(10);
            limits.when_unreachable = choice;
        });
        let pair = waiting_with(setup).await;
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(8)).await;
            pair.broker.send(&auth(0x18, "m"));
            pair.client.expect(&auth(0x18, "m")).await;
            pair.client.send(&auth(0x18, "m"));
            pair.broker.expect(&auth(0x18, "m")).await;
        }
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert!(pair.is_running());
        tokio::time::sleep(Duration::from_secs(2)).await;
        expect_unavailable(&pair, choice).await;
        let summary = pair.end().await;
        assert_eq!(summary.reason, CloseReason::UpstreamUnreachable);
        assert_eq!(summary.limit, Some("connack_timeout"));
    }
}

/// Without a bound, a client that knows no credentials held its place at the broker forever.
#[tokio::test(start_paused = true)]
async fn an_exchange_ends_however_often_the_time_began_anew() {
    let setup = Setup::new().limits(|limits| limits.connack_timeout = Duration::from_secs(10));
    let pair = waiting_with(setup).await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(8)).await;
        pair.broker.send(&auth(0x18, "m"));
        pair.client.expect(&auth(0x18, "m")).await;
        pair.client.send(&auth(0x18, "m"));
        pair.broker.expect(&auth(0x18, "m")).await;
    }
    ends_after(pair, Duration::from_secs(2)).await;
}

/// An AUTH that answers nothing is no sign of life of the broker.
#[tokio::test(start_paused = true)]
async fn auth_that_nobody_asked_for_gains_no_time() {
    let setup = Setup::new().limits(|limits| limits.connack_timeout = Duration::from_secs(10));
    let pair = waiting_with(setup).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    pair.client.send(&auth(0x18, "m"));
    pair.broker.expect(&auth(0x18, "m")).await;
    ends_after(pair, Duration::from_secs(2)).await;
}

/// The time for CONNACK is over then, and not before.
async fn ends_after(pair: Pair, time: Duration) {
    let little = Duration::from_millis(500);
    tokio::time::sleep(time - little).await;
    settle().await;
    assert!(!pair.client.is_ended());
    tokio::time::sleep(2 * little).await;
    expect_unavailable(&pair, WhenUnreachable::Close).await;
    assert_eq!(pair.end().await.limit, Some("connack_timeout"));
}

#[derive(Debug, Default)]
struct Challenges(AtomicUsize);

impl Counters for Challenges {}

impl Events for Challenges {
    fn challenged(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Only before CONNACK: afterwards the client has no place to give back.
#[tokio::test(start_paused = true)]
async fn each_challenge_of_the_broker_is_told_until_connack() {
    let seen = Arc::new(Challenges::default());
    let pair = waiting_with(Setup::new().recorder(Arc::clone(&seen) as _)).await;
    let told = || seen.0.load(Ordering::Relaxed);
    pair.client.send(&auth(0x18, "m"));
    pair.broker.expect(&auth(0x18, "m")).await;
    assert_eq!(told(), 0);
    for count in 1..3 {
        pair.broker.send(&auth(0x18, "m"));
        pair.client.expect(&auth(0x18, "m")).await;
        assert_eq!(told(), count);
        pair.client.send(&auth(0x18, "m"));
        pair.broker.expect(&auth(0x18, "m")).await;
    }
    pair.broker.send(&connack("m"));
    pair.client.expect(&connack("m")).await;
    pair.client.send(&auth(0x19, "m"));
    pair.broker.expect(&auth(0x19, "m")).await;
    pair.broker.send(&auth(0x18, "m"));
    pair.client.expect(&auth(0x18, "m")).await;
    assert_eq!(told(), 2);
}

#[tokio::test(start_paused = true)]
async fn credentials_of_a_hook_beside_a_method_let_nobody_in() {
    let pair = Setup::new().start(service_fn(|mut connect: Connect| async move {
        connect.packet_mut().set_user_name(Some("other"))?;
        Ok::<_, BoxError>(Admission::<Forward, Forward>::admit(connect, Hooks::none()))
    }));
    pair.client.send(&connect());
    settle().await;
    let answer = pair.client.take().await;
    assert_eq!(answer[..4], [0x20, answer[1], 0, 0x8c], "{answer:02x?}");
    assert_eq!(pair.dials(), 0);
    assert_eq!(pair.summary().await.reason, CloseReason::AuthDenied);
}

/// The method taken out on purpose: the broker sees a CONNECT like any other.
#[tokio::test(start_paused = true)]
async fn credentials_of_a_hook_in_the_place_of_a_method_are_forwarded() {
    let pair = Setup::new().start(service_fn(|mut connect: Connect| async move {
        connect.packet_mut().set_properties(&[])?;
        connect.packet_mut().set_user_name(Some("other"))?;
        Ok::<_, BoxError>(Admission::<Forward, Forward>::admit(connect, Hooks::none()))
    }));
    pair.client.send(&connect());
    let expected = F.connect_with(&ConnectParts {
        client_id: "c",
        user_name: Some("other"),
        password: Some(b"p"),
        ..Default::default()
    });
    pair.broker.expect(&expected).await;
}

#[tokio::test(start_paused = true)]
async fn re_authentication_takes_a_hook_that_sees_it() {
    let kinds = |kinds| admit(move |_| Hooks::new(Tap::only(kinds, Forward), Tap::none()));
    // without hooks, and with one that is told
    let bare = Setup::new().start(admit_all());
    let told = Setup::new().start(kinds(KindSet::AUTH));
    for pair in [bare, told] {
        pair.open(&connect(), &connack("m")).await;
        pair.client.send(&auth(0x19, "m"));
        pair.broker.expect(&auth(0x19, "m")).await;
        pair.broker.send(&auth(0x00, "m"));
        pair.client.expect(&auth(0x00, "m")).await;
    }
    let pair = Setup::new().start(kinds(KindSet::PUBLISH));
    pair.open(&connect(), &connack("m")).await;
    pair.client.send(&auth(0x19, "m"));
    pair.client.expect_plain(&F.farewell(0x8c)).await;
    pair.broker.expect(b"").await;
    assert_eq!(pair.end().await.reason, CloseReason::AuthDenied);
}

/// Sent in one write with CONNECT, a second authentication reached the broker after its CONNACK, past a hook
/// that would have ended the session for it: the broker took the client for another than the hook did.
#[tokio::test(start_paused = true)]
async fn an_auth_that_answers_none_takes_a_hook_that_sees_it() {
    let kinds = |kinds| admit(move |_| Hooks::new(Tap::only(kinds, Forward), Tap::none()));
    for early in [
        vec![auth(0x19, "m")],
        vec![auth(0x18, "m")],
        vec![auth(0x18, "m"), auth(0x19, "m")],
        vec![auth(0x18, "m"), auth(0x18, "m")],
    ] {
        for challenged in [false, true] {
            let early: Vec<_> = early.iter().skip(usize::from(challenged)).collect();
            if early.is_empty() {
                continue;
            }
            let pair = Setup::new().start(kinds(KindSet::PUBLISH));
            pair.client.send(&connect());
            pair.broker.expect(&connect()).await;
            let mut sent = early
                .iter()
                .map(|it| it.to_vec())
                .collect::<Vec<_>>()
                .concat();
            if challenged {
                pair.broker.send(&auth(0x18, "m"));
                pair.client.expect(&auth(0x18, "m")).await;
                // the answer, and one more
                sent = [auth(0x18, "m"), sent].concat();
            }
            pair.client.send(&sent);
            settle().await;
            let expected = if challenged {
                auth(0x18, "m")
            } else {
                Vec::new()
            };
            pair.broker.expect(&expected).await;
            assert!(pair.broker.is_ended());
            assert_eq!(pair.end().await.reason, CloseReason::AuthDenied);
        }
    }
    // who is challenged answers, as often as that
    for hooks in [KindSet::PUBLISH, KindSet::AUTH] {
        let pair = Setup::new().start(kinds(hooks));
        pair.client.send(&connect());
        pair.broker.expect(&connect()).await;
        for _ in 0..3 {
            pair.broker.send(&auth(0x18, "m"));
            pair.client.expect(&auth(0x18, "m")).await;
            pair.client.send(&auth(0x18, "m"));
            pair.broker.expect(&auth(0x18, "m")).await;
        }
        pair.broker.send(&connack("m"));
        pair.client.expect(&connack("m")).await;
        assert!(pair.is_running());
    }
}

/// A log that was all there was in the chain ended the session of a client that authenticated again.
#[tokio::test(start_paused = true)]
async fn re_authentication_passes_hooks_that_judge_nobody() {
    let seen = |outer: bool, inner: Option<bool>| {
        admit(move |_| {
            let tap = match inner {
                Some(judges) => Tap::only(KindSet::PUBLISH, Forward).judge_identity(judges),
                None => Tap::none(),
            };
            let inner = tap.judges_identity();
            let tap = tap.wrap(KindSet::SUBSCRIBE, |inner| inner);
            let tap = if outer {
                tap
            } else {
                tap.judge_identity(inner)
            };
            Hooks::new(
                tap,
                Tap::only(KindSet::CONNACK, Forward).judge_identity(false),
            )
        })
    };
    for (outer, inner, passes) in [
        (false, None, true),
        (false, Some(false), true),
        (false, Some(true), false),
        (true, None, false),
        (true, Some(false), false),
    ] {
        let pair = Setup::new().start(seen(outer, inner));
        pair.open(&connect(), &connack("m")).await;
        pair.client.send(&auth(0x19, "m"));
        if passes {
            pair.broker.expect(&auth(0x19, "m")).await;
            pair.broker.send(&auth(0x00, "m"));
            pair.client.expect(&auth(0x00, "m")).await;
        } else {
            pair.client.expect_plain(&F.farewell(0x8c)).await;
        }
    }
}
