//! Enhanced authentication (MQTT 5.0, section 4.12): who the hooks take a client for must be who the
//! broker takes it for.

use std::time::Duration;

use mproxy_codec::{KindSet, PropertyId, ReasonCode, Value, Version, encode_auth};
use mproxy_session::{Admission, BoxError, CloseReason, Connect, Forward, Hooks, Side, Tap};
use tower::service_fn;

use crate::support::frames::{ConnectParts, properties};
use crate::support::{Frames, Pair, Setup, admit, admit_all, settle};

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

async fn waiting_for_connack() -> Pair {
    let pair = Setup::new().start(admit_all());
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

    let pair = waiting_for_connack().await;
    pair.broker.send(&auth(0x18, "n"));
    let answer = pair.client.take().await;
    assert_eq!(answer[..4], [0x20, answer[1], 0, 0x88], "{answer:02x?}");
    assert_eq!(pair.end().await.side, Side::Upstream);
}

/// A broker that knows nothing of the method and lets the client in would do so without
/// authentication.
#[tokio::test(start_paused = true)]
async fn another_method_in_connack_and_none_are_errors_of_the_broker() {
    for answer in [connack("n"), F.connack()] {
        let pair = waiting_for_connack().await;
        pair.broker.send(&answer);
        let answer = pair.client.take().await;
        assert_eq!(answer[..4], [0x20, answer[1], 0, 0x88], "{answer:02x?}");
        let summary = pair.end().await;
        assert_eq!(summary.reason, CloseReason::UpstreamProtocolError);
    }
    // and so is one that nobody asked for
    let pair = Setup::new().start(admit_all());
    pair.client.send(&F.connect("c"));
    pair.broker.expect(&F.connect("c")).await;
    pair.broker.send(&connack("m"));
    let answer = pair.client.take().await;
    assert_eq!(answer[..4], [0x20, answer[1], 0, 0x88], "{answer:02x?}");
}

#[tokio::test(start_paused = true)]
async fn each_auth_begins_the_time_for_connack_anew() {
    let pair = waiting_for_connack().await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(8)).await;
        pair.broker.send(&auth(0x18, "m"));
        pair.client.expect(&auth(0x18, "m")).await;
        pair.client.send(&auth(0x18, "m"));
        pair.broker.expect(&auth(0x18, "m")).await;
    }
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert!(pair.is_running());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let answer = pair.client.take().await;
    assert_eq!(answer[..4], [0x20, answer[1], 0, 0x88], "{answer:02x?}");
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
