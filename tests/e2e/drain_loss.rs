//! What clients have in flight when the proxy drains: nothing that was acknowledged is lost, no
//! acknowledgement that mproxy has read is lost, and connections end in order.
//!
//! By default with few clients and few drains; `MPROXY_FAULTS=all` is 500 clients and 50 drains:
//!
//! ```sh
//! MPROXY_FAULTS=all cargo test -p mproxy-tests --test e2e -- drain_loss:: --test-threads 1 --nocapture
//! ```

use std::collections::HashMap;
use std::env;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mproxy_tests::durable::{Load, Promise};
use mproxy_tests::wire::{
    Connect, Packet, Publish, Version, puback, pubcomp, pubrec, pubrel, subscribe,
};
use mproxy_tests::{Chance, FakeBroker, Link, Mosquitto, Mproxy, Setup, until, within};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The time of a drain.
const DRAIN: Duration = Duration::from_secs(3);

/// How much longer the process may run.
const MORE: Duration = Duration::from_secs(1);

/// Clients and drains: few, or all of them.
fn size(few: (usize, usize)) -> (usize, usize) {
    match env::var("MPROXY_FAULTS").as_deref() {
        Ok("all") => (500, 50),
        _ => few,
    }
}

async fn start(broker: &str) -> Mproxy {
    Setup::before(broker)
        .set("server.drain_timeout", "3s")
        // a line for each client
        .set("log.max_rate", "100000/s")
        .start()
        .await
}

/// Drains: how long that took.
async fn drain(mproxy: &mut Mproxy) -> Duration {
    let begun = Instant::now();
    mproxy.signal(Signal::TERM);
    assert_eq!(mproxy.code(DRAIN + MORE).await, 0);
    begun.elapsed()
}

/// Publishers and subscribers with sessions that last: each drain is a restart for them.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_comes_twice_when_the_proxy_drains() {
    let (clients, drains) = size((60, 4));
    // each gets every message
    let subscribers = (clients / 50).max(4);
    let mut chance = Chance::new();
    let broker = Mosquitto::for_load().await;
    let mut mproxy = start(&broker.url()).await;
    let publishers = clients - subscribers;
    let mut load = Load::start(mproxy.addr(), publishers, subscribers, Promise::Everything).await;
    let mut longest = Duration::ZERO;
    for _ in 0..drains {
        load.resumed().await;
        load.progress(clients as u64 + chance.below(400) as u64)
            .await;
        longest = longest.max(drain(&mut mproxy).await);
        mproxy = start(&broker.url()).await;
        load.moved(mproxy.addr());
    }
    let outcome = load.finish().await;
    println!("{clients} clients, {drains} drains, the longest {longest:?}: {outcome:?}");
    assert_eq!(outcome.released, 0, "messages of QoS 2 that came twice");
}

/// What a client of the next test has seen.
struct Seen {
    client_id: String,
    /// From the broker, CONNACK included.
    packets: u64,
    /// How the connection has ended.
    end: Result<(), ErrorKind>,
    /// Bytes of a packet that did not come to its end.
    rest: usize,
}

/// Each client sends to itself, as fast as it can, so that packets of all kinds are under way in both
/// directions.
async fn client(addr: SocketAddr, number: usize) -> Seen {
    let version = [Version::V311, Version::V5][number % 2];
    let client_id = format!("c{number}");
    let mut stream = TcpStream::connect(addr).await.expect("it listens");
    let connect = Connect::new(version, &client_id);
    stream
        .write_all(&connect.bytes())
        .await
        .expect("it is read");
    let topic = format!("own/{number}");
    let (mut received, mut packets, mut id) = (Vec::new(), 0, 0);
    let end = loop {
        let mut answers = Vec::new();
        while let Some(packet) = Packet::take(&mut received) {
            packets += 1;
            match packet.kind() {
                2 => answers.extend(subscribe(version, 1000, &[(&topic, 2)])),
                3 => match packet.first() & 6 {
                    2 => answers.extend(puback(message_id(&packet, version))),
                    4 => answers.extend(pubrec(message_id(&packet, version))),
                    qos => panic!("QoS bits {qos}"),
                },
                5 => answers.extend(pubrel(packet.id())),
                6 => answers.extend(pubcomp(packet.id())),
                // a window of messages, then one for one
                9 | 4 | 7 => {
                    let count = if packet.kind() == 9 { WINDOW } else { 1 };
                    for _ in 0..count {
                        id = id % 900 + 1;
                        let qos = u8::try_from(id % 2 + 1).expect("1 or 2");
                        let publish = Publish::new(version, &topic).qos(qos, id);
                        answers.extend(publish.bytes("in flight"));
                    }
                }
                kind => panic!("a packet of kind {kind}"),
            }
        }
        // an error of a write says less than the next read
        let _ = stream.write_all(&answers).await;
        match stream.read_buf(&mut received).await {
            Ok(0) => break Ok(()),
            Ok(_) => {}
            Err(error) => break Err(error.kind()),
        }
    };
    Seen {
        client_id,
        packets,
        end,
        rest: received.len(),
    }
}

const WINDOW: u16 = 10;

fn message_id(publish: &Packet, version: Version) -> u16 {
    mproxy_tests::wire::Message::of(publish, version).id
}

/// The log says how many packets mproxy has read from the broker for a client: so many has the client
/// received. Then it has received the end of the stream: no half packet, and no reset.
#[tokio::test(flavor = "multi_thread")]
async fn everything_that_was_read_is_delivered_before_the_end() {
    let (clients, drains) = size((60, 3));
    let broker = Mosquitto::for_load().await;
    let (mut longest, mut delivered) = (Duration::ZERO, 0);
    for _ in 0..drains {
        let mut mproxy = start(&broker.url()).await;
        let mut running = JoinSet::new();
        for number in 0..clients {
            running.spawn(client(mproxy.addr(), number));
        }
        // all are connected, and busy
        until("messages", async || {
            let metrics = mproxy.metrics().await;
            let sessions = metrics.sum("mproxy_connections");
            let publishes = metrics.sum("mproxy_packets_total{type=\"publish\"}");
            let busy = sessions >= clients as f64 && publishes >= (clients * 30) as f64;
            busy.then_some(())
        })
        .await;
        longest = longest.max(drain(&mut mproxy).await);
        let mut read = HashMap::new();
        for event in mproxy.events() {
            if let (Some(id), Some(packets)) = (
                event["client_id"].as_str(),
                event["packets_to_client"].as_u64(),
            ) {
                assert_eq!(event["reason"], "drain", "{event}");
                read.insert(id.to_owned(), packets);
            }
        }
        while let Some(seen) = within("a client to end", running.join_next()).await {
            let seen = seen.expect("no panic");
            assert_eq!(seen.end, Ok(()), "{}", seen.client_id);
            assert_eq!(seen.rest, 0, "half a packet to {}", seen.client_id);
            assert_eq!(
                Some(&seen.packets),
                read.get(&seen.client_id),
                "{}",
                seen.client_id
            );
            delivered += seen.packets;
        }
    }
    println!("{clients} clients, {drains} drains, the longest {longest:?}: {delivered} packets");
}

/// Closing a socket with unread input resets the connection. A client that was sending, because the broker
/// was slow, got a reset, which may destroy what was sent to it last.
#[tokio::test]
async fn a_client_in_the_middle_of_sending_gets_no_reset() {
    let broker = FakeBroker::bind().await;
    let setup = Setup::before(&broker.url()).set("server.drain_timeout", "500ms");
    let mut mproxy = setup.start().await;
    let client = Link::client(mproxy.addr(), Version::V5, "c");
    let (client, (_server, _)) = tokio::join!(client, broker.accept());
    let (mut stream, _) = client.into_tcp();
    // until nothing fits any more: into the broker, the proxy, and the socket
    let publish = Publish::new(Version::V5, "t")
        .qos(1, 1)
        .bytes(vec![7; 1 << 20]);
    let mut sent = 0;
    until("the stream to be full", async || {
        loop {
            let at = sent % publish.len();
            match stream.try_write(&publish[at..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        let stalls = mproxy
            .metrics()
            .await
            .sum("mproxy_backpressure_stalls_total");
        (stalls >= 1.0).then_some(())
    })
    .await;
    mproxy.signal(Signal::TERM);
    let mut room = [0; 16];
    let read = within("the end", stream.read(&mut room)).await;
    assert_eq!(
        read.map_err(|error| error.kind()),
        Ok(0),
        "after {sent} bytes"
    );
    assert_eq!(mproxy.code(DRAIN).await, 0);
    // a reset may come behind the end of the stream
    let error = stream.take_error().expect("it is open");
    assert!(error.is_none(), "after {sent} bytes: {error:?}");
}
