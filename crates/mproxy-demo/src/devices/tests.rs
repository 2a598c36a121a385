//! The devices against the embedded broker, and against one that says no.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::broker::Broker;

/// As fast as a test can be; nothing depends on how long it is.
const PACE: Duration = Duration::from_millis(1);

fn channel() -> (mpsc::Sender<Report>, mpsc::Receiver<Report>) {
    mpsc::channel(8)
}

#[tokio::test]
async fn devices_talk_to_a_broker() {
    let broker = Broker::start().await.unwrap();
    let (reports, mut reported) = channel();
    let devices = spawn(broker.address(), PACE, &reports);
    let mut awaited = vec![
        "  sensor  CONNECT 3.1.1 -> CONNACK success",
        "  sensor  PUBLISH demo/sensor/temperature 21.5 -> PUBACK",
        // every other one has QoS 0
        "  sensor  PUBLISH demo/sensor/temperature 21.6",
        "  meter   CONNECT 5 -> CONNACK success",
        "  meter   SUBSCRIBE demo/hello -> SUBACK",
        "  meter   PUBLISH demo/meter/power 230 unit=W phase=L1 -> PUBACK",
        // nobody denies it here
        "  rogue   PUBLISH secret/x let me in -> PUBACK",
    ];
    while !awaited.is_empty() {
        let line = reported.recv().await.unwrap().to_string();
        awaited.retain(|awaited| *awaited != line);
    }
    let mut client = Client::connect(broker.address(), Version::V5, "")
        .await
        .unwrap();
    client
        .publish("demo/hello", QoS::AtMostOnce, &[], b"hi\x1b[31m")
        .await
        .unwrap();
    let heard = "  meter   received demo/hello hi\\u{1b}[31m";
    while reported.recv().await.unwrap().to_string() != heard {}
    drop(devices);
    drop(reports);
    while reported.recv().await.is_some() {}
}

#[tokio::test]
async fn a_device_says_with_which_code_it_was_denied_and_why_it_was_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (reports, mut reported) = channel();
    let rogue = tokio::spawn(DEVICES[2].live(address, PACE, reports));
    let (mut peer, _) = listener.accept().await.unwrap();
    let mut connect = [0; 2 + 13 + 17];
    peer.read_exact(&mut connect).await.unwrap();
    assert!(connect.ends_with(b"\0\x11mproxy-demo-rogue"));
    peer.write_all(b"\x20\x03\0\0\0").await.unwrap();
    let mut publish = [0; 24];
    peer.read_exact(&mut publish).await.unwrap();
    assert_eq!(&publish, b"\x32\x16\0\x08secret/x\0\x01\0let me in");
    // another one's acknowledgement, its own, and good-bye: server shutting down
    peer.write_all(b"\x40\x02\0\x63\x40\x03\0\x01\x87\xe0\x01\x8b")
        .await
        .unwrap();
    for expected in [
        "  rogue   CONNECT 5 -> CONNACK success",
        "  rogue   PUBLISH secret/x let me in -> PUBACK 0x87 not_authorized",
        "  rogue   DISCONNECT 0x8b server_shutting_down; trying again",
    ] {
        assert_eq!(reported.recv().await.unwrap().to_string(), expected);
    }
    // it comes back, and is refused
    let (mut peer, _) = listener.accept().await.unwrap();
    peer.read_exact(&mut connect).await.unwrap();
    peer.write_all(b"\x20\x03\0\x87\0").await.unwrap();
    assert_eq!(
        reported.recv().await.unwrap().to_string(),
        "  rogue   CONNACK 0x87 not_authorized; trying again"
    );
    // nobody listens any more: it stops by itself
    drop(reported);
    drop(peer);
    drop(listener);
    rogue.await.unwrap();
}

#[test]
fn payloads_are_shown_short_and_harmless() {
    for (payload, shown) in [
        (&b"21.5"[..], "21.5".to_owned()),
        (b"\xff\x07\n", "\u{fffd}\\u{7}\\u{a}".to_owned()),
        (&[b'x'; SHOWN_PAYLOAD], "x".repeat(SHOWN_PAYLOAD)),
        (
            &[b'x'; SHOWN_PAYLOAD + 1],
            format!("{}…", "x".repeat(SHOWN_PAYLOAD)),
        ),
    ] {
        assert_eq!(shown_payload(payload), shown);
    }
}
