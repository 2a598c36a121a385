//! A fleet that is connected while the configuration is reloaded again and again.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use mproxy_tests::wire::{Connect, Packet, Publish, Version, connack, puback};
use mproxy_tests::{Setup, memory, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Clients that stay connected.
const CLIENTS: usize = 5000;

/// Reloads in a row.
const RELOADS: usize = 200;

/// How often each client says something: often enough to meet many reloads, and seldom enough for a
/// proxy that is not optimized.
const PACE: Duration = Duration::from_secs(2);

/// What two hundred configurations may leave behind: a few times less than they take together.
const GROWTH_KIB: u64 = 16 << 10;

/// A broker that acknowledges everything, and counts it.
struct Sink {
    addr: SocketAddr,
    messages: Arc<AtomicU64>,
}

impl Sink {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("it is bound");
        let messages = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&messages);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("descriptors are left");
                tokio::spawn(Self::serve(stream, Arc::clone(&counter)));
            }
        });
        Self { addr, messages }
    }

    async fn serve(mut stream: TcpStream, messages: Arc<AtomicU64>) {
        let mut received = Vec::new();
        while let Some(packet) = next(&mut stream, &mut received).await {
            let answer = match packet.kind() {
                1 => connack(Version::V5, 0),
                3 => {
                    messages.fetch_add(1, Ordering::Relaxed);
                    puback(packet_id(&packet)).to_vec()
                }
                12 => vec![0xd0, 0],
                _ => continue,
            };
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}

/// The next packet; `None` at the end of the stream.
async fn next(stream: &mut TcpStream, received: &mut Vec<u8>) -> Option<Packet> {
    loop {
        if let Some(packet) = Packet::take(received) {
            return Some(packet);
        }
        match stream.read_buf(received).await {
            Ok(1..) => {}
            _ => return None,
        }
    }
}

/// The identifier of a PUBLISH with QoS 1.
fn packet_id(packet: &Packet) -> u16 {
    let body = packet.body();
    let at = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    u16::from_be_bytes([body[at], body[at + 1]])
}

/// What the clients have seen.
#[derive(Default)]
struct Seen {
    connected: AtomicUsize,
    lost: AtomicUsize,
    accepted: AtomicU64,
    denied: AtomicU64,
}

async fn client(addr: SocketAddr, number: usize, seen: Arc<Seen>) {
    let mut stream = TcpStream::connect(addr).await.expect("the proxy listens");
    let connect = Connect::new(Version::V5, &format!("c{number}")).bytes();
    stream.write_all(&connect).await.expect("it is connected");
    let mut received = Vec::new();
    let answer = next(&mut stream, &mut received).await.expect("a CONNACK");
    assert_eq!(answer.kind(), 2);
    seen.connected.fetch_add(1, Ordering::Relaxed);
    let offset = PACE.mul_f64(number as f64 / CLIENTS as f64);
    let begin = tokio::time::Instant::now() + offset;
    let mut ticks = tokio::time::interval_at(begin, PACE);
    for id in (1..=u16::MAX).cycle() {
        ticks.tick().await;
        let publish = Publish::new(Version::V5, "fleet/state").qos(1, id);
        let answer = exchange(&mut stream, &mut received, publish.bytes("on"), id).await;
        let Some(code) = answer else {
            seen.lost.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let counter = if code < 0x80 {
            &seen.accepted
        } else {
            &seen.denied
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Sends a PUBLISH with QoS 1; its reason code, or nothing when the connection is gone.
async fn exchange(
    stream: &mut TcpStream,
    received: &mut Vec<u8>,
    publish: Vec<u8>,
    id: u16,
) -> Option<u8> {
    stream.write_all(&publish).await.ok()?;
    let packet = next(stream, received).await?;
    // of the two states of the topic, nothing else is ever said
    assert!(packet.kind() == 4 && packet.id() == id, "{packet:?}");
    Some(packet.body().get(2).copied().unwrap_or(0))
}

/// A configuration whose list of rules is as long as real ones, and decides about one topic.
fn config(sink: SocketAddr, effect: &str) -> String {
    let mut text = Setup::head(&format!("mqtt://{sink}"));
    text.push_str("[chains.default]\nlayers = [\"acl\"]\n");
    text.push_str("[layers.acl]\ntype = \"acl\"\n");
    text.push_str(&format!(
        "[[layers.acl.rules]]\nname = \"fleet\"\n{effect} = [\"publish\"]\ntopics = [\"fleet/state\"]\n"
    ));
    for rule in 0..300 {
        text.push_str(&format!(
            "[[layers.acl.rules]]\nname = \"r{rule}\"\nallow = [\"publish\"]\ntopics = [\"plant/{rule}/+/#\"]\n"
        ));
    }
    text
}

/// Nothing could change while a fleet was connected. A change of the rules holds for those that are
/// connected; none of them is disconnected for it, nothing that was acknowledged is lost, and what the
/// old rules took is given back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_stays_connected_over_two_hundred_reloads() {
    let sink = Sink::start().await;
    // the probe asks again and again until it is no longer denied, more often than clients may
    let setup = Setup::new(&config(sink.addr, "allow")).limit("max_denials", "0/m");
    let mproxy = setup.start().await;
    let seen = Arc::new(Seen::default());
    let mut fleet = JoinSet::new();
    for number in 0..CLIENTS {
        fleet.spawn(client(mproxy.addr(), number, Arc::clone(&seen)));
    }
    until("the fleet to be connected", async || {
        (seen.connected.load(Ordering::Relaxed) == CLIENTS).then_some(())
    })
    .await;

    let mut probe = TcpStream::connect(mproxy.addr()).await.expect("it listens");
    let connect = Connect::new(Version::V5, "probe").bytes();
    probe.write_all(&connect).await.expect("it is connected");
    let mut received = Vec::new();
    next(&mut probe, &mut received).await.expect("a CONNACK");
    let publish = |id| {
        Publish::new(Version::V5, "fleet/state")
            .qos(1, id)
            .bytes("?")
    };

    let mut used = HashMap::new();
    for round in 1..=RELOADS {
        let effect = if round % 2 == 1 { "deny" } else { "allow" };
        fs::write(mproxy.config(), config(sink.addr, effect)).expect("the folder is ours");
        let answer = mproxy.ask_for_reload().await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.body.contains("layers"), "{}", answer.body);
        let mut id = 0;
        until(
            format!("round {round}: the topic to be {effect}ed"),
            async || {
                id += 1;
                let code = exchange(&mut probe, &mut received, publish(id), id).await;
                let code = code.expect("the connection stays");
                ((code >= 0x80) == (effect == "deny")).then_some(())
            },
        )
        .await;
        if round == 20 || round == RELOADS {
            used.insert(round, memory::used_kib(mproxy.id()));
        }
    }
    // the whole fleet goes by the last rules, which allow it
    let denied = async || seen.denied.load(Ordering::Relaxed);
    let mut before = denied().await;
    let mut accepted = seen.accepted.load(Ordering::Relaxed);
    until("the fleet to be allowed", async || {
        tokio::time::sleep(PACE + PACE / 2).await;
        let now = (denied().await, seen.accepted.load(Ordering::Relaxed));
        let is_steady = now.0 == before && now.1 >= accepted + CLIENTS as u64;
        (before, accepted) = now;
        is_steady.then_some(())
    })
    .await;
    assert_eq!(seen.lost.load(Ordering::Relaxed), 0);
    // what the broker has is what was acknowledged, and what is on its way; the probe's is more
    fleet.shutdown().await;
    let accepted = seen.accepted.load(Ordering::Relaxed);
    assert!(sink.messages.load(Ordering::Relaxed) >= accepted);
    assert!(seen.denied.load(Ordering::Relaxed) > 0);
    let (early, late) = (used[&20], used[&RELOADS]);
    assert!(late < early + GROWTH_KIB, "{early} KiB, then {late} KiB");
    let metrics = mproxy.metrics().await;
    assert_eq!(
        metrics.sum("mproxy_config_reloads_total{result=\"success\"}"),
        RELOADS as f64
    );
}
