//! A tap that promises that a verdict need not be asked for twice, and what must still be asked.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use mproxy_codec::{KindSet, ReasonCode};
use mproxy_session::{FilterLayer, Forward, Hooks, Packet, Peer, Refusal, Session, Tap, new_hooks};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tower_layer::Layer;

/// What the hook was asked about, and how many packets it was told of instead.
#[derive(Clone, Default)]
struct Seen {
    asked: Arc<Mutex<Vec<String>>>,
    repeated: Arc<AtomicU32>,
}

/// Sends `packets` through a session whose hook refuses topics that begin with `no`, and returns
/// what the broker got.
async fn run(seen: &Seen, promise: bool, version: u8, packets: &[&[u8]]) -> Vec<u8> {
    let (mut client, proxy_client) = tokio::io::duplex(1 << 16);
    let (proxy_server, mut broker) = tokio::io::duplex(1 << 16);
    let hooks_seen = seen.clone();
    let admit = new_hooks(move |_| {
        let asked = Arc::clone(&hooks_seen.asked);
        let repeated = Arc::clone(&hooks_seen.repeated);
        let judge = FilterLayer::heads(move |packet| {
            let topic = packet
                .publish()
                .map(|p| p.topic().to_string())
                .unwrap_or_default();
            let refused = topic.starts_with("no");
            asked.lock().unwrap().push(topic);
            if refused {
                Err(Refusal::new(ReasonCode::NOT_AUTHORIZED))
            } else {
                Ok(())
            }
        });
        let count = Arc::new(move |count: u32| {
            repeated.fetch_add(count, Ordering::Relaxed);
        });
        let tap = if promise {
            Tap::none().wrap_remembered(KindSet::PUBLISH, count, |inner| judge.layer(inner))
        } else {
            Tap::none().wrap_heads(KindSet::PUBLISH, |inner| judge.layer(inner))
        };
        Hooks::new(tap, Tap::none())
    });
    let dial = |_: &mproxy_session::Connect| {
        std::future::ready(Ok::<DuplexStream, io::Error>(proxy_server))
    };
    let session = tokio::spawn(Session::new(Peer::new("test")).run(proxy_client, admit, dial));

    let connect: &[u8] = if version == 5 {
        b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01c"
    } else {
        b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c"
    };
    client.write_all(connect).await.unwrap();
    broker
        .read_exact(&mut vec![0; connect.len()])
        .await
        .unwrap();
    broker
        .write_all(if version == 5 {
            b"\x20\x03\x00\x00\x00"
        } else {
            b"\x20\x02\x00\x00"
        })
        .await
        .unwrap();
    client.write_all(&packets.concat()).await.unwrap();
    client.shutdown().await.unwrap();
    let mut got = Vec::new();
    broker.read_to_end(&mut got).await.unwrap();
    drop(broker);
    session.await.unwrap();
    got
}

const A0: &[u8] = b"\x30\x04\x00\x01a!";
const A1: &[u8] = b"\x32\x06\x00\x01a\x00\x01!";
const A0_RETAIN: &[u8] = b"\x31\x04\x00\x01a!";
const B0: &[u8] = b"\x30\x04\x00\x01b!";
const NO: &[u8] = b"\x30\x05\x00\x02no!";

#[tokio::test]
async fn a_repeated_topic_is_counted_and_not_asked_about_again() {
    let seen = Seen::default();
    let sent = [A0, A0, A0, A0];
    assert_eq!(run(&seen, true, 4, &sent).await, sent.concat());
    assert_eq!(*seen.asked.lock().unwrap(), ["a"]);
    assert_eq!(seen.repeated.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn another_topic_qos_or_retain_flag_is_asked_about() {
    let seen = Seen::default();
    let sent = [A0, A1, A0, A0_RETAIN, A0, B0, A0];
    assert_eq!(run(&seen, true, 4, &sent).await, sent.concat());
    assert_eq!(seen.asked.lock().unwrap().len(), 7);
    assert_eq!(seen.repeated.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_refusal_is_never_remembered() {
    let seen = Seen::default();
    let got = run(&seen, true, 4, &[A0, NO, NO, A0, A0]).await;
    assert_eq!(got, [A0, A0, A0].concat());
    // the last A0 repeats the one before it; both NO were asked about
    assert_eq!(*seen.asked.lock().unwrap(), ["a", "no", "no"]);
    assert_eq!(seen.repeated.load(Ordering::Relaxed), 2);
}

/// Properties may matter to a verdict (Response Topic does), so a packet that has any is asked
/// about, whatever its topic.
#[tokio::test]
async fn a_packet_with_properties_is_asked_about() {
    let plain: &[u8] = b"\x30\x05\x00\x01a\x00!";
    let response: &[u8] = b"\x30\x09\x00\x01a\x04\x08\x00\x01r!";
    let seen = Seen::default();
    let sent = [plain, response, plain];
    assert_eq!(run(&seen, true, 5, &sent).await, sent.concat());
    assert_eq!(
        seen.asked.lock().unwrap().len(),
        2,
        "the last repeats the first"
    );
}

#[tokio::test]
async fn without_the_promise_every_packet_is_asked_about() {
    let seen = Seen::default();
    run(&seen, false, 4, &[A0, A0, A0]).await;
    assert_eq!(seen.asked.lock().unwrap().len(), 3);
}

/// One layer that makes no promise is enough: it may depend on anything.
#[tokio::test]
async fn a_service_inside_that_makes_no_promise_is_asked_about_every_packet() {
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let inner = FilterLayer::new(move |_: &Packet| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    let tap = Tap::only(KindSet::PUBLISH, inner.layer(Forward));
    let outer = FilterLayer::heads(|_| Ok(()));
    let tap = tap.wrap_remembered(KindSet::PUBLISH, Arc::new(|_: u32| {}), |inner| {
        outer.layer(inner)
    });
    let tap = Arc::new(Mutex::new(Some(tap)));
    let (mut client, proxy_client) = tokio::io::duplex(1 << 16);
    let (proxy_server, mut broker) = tokio::io::duplex(1 << 16);
    let admit = new_hooks(move |_| Hooks::new(tap.lock().unwrap().take().unwrap(), Tap::none()));
    let dial = |_: &mproxy_session::Connect| {
        std::future::ready(Ok::<DuplexStream, io::Error>(proxy_server))
    };
    let session = tokio::spawn(Session::new(Peer::new("test")).run(proxy_client, admit, dial));
    client
        .write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c")
        .await
        .unwrap();
    broker.read_exact(&mut [0; 15]).await.unwrap();
    broker.write_all(b"\x20\x02\x00\x00").await.unwrap();
    client.write_all(&[A0, A0, A0].concat()).await.unwrap();
    client.shutdown().await.unwrap();
    broker.read_to_end(&mut Vec::new()).await.unwrap();
    drop(broker);
    session.await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}
