//! What a KiB of somebody unknown costs: it must not be a lever.

use std::io;

use futures_util::future::join_all;
use mproxy_attacks::attack::Kind;
use mproxy_attacks::{Rig, Target, connect, raise_descriptor_limit};
use mproxy_tests::wire::{Connect, DISCONNECT, Version};
use mproxy_tests::{memory, tls, until, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::attack;

/// Connections of each kind; more with `MPROXY_COSTS`.
const CONNECTIONS: usize = 500;

/// What each sends.
const SENT: usize = 1024;

/// Memory for each KiB, in KiB.
const MEMORY: f64 = 10.0;

/// CPU for each KiB, in that of a client which connects and leaves.
const CPU: f64 = 10.0;

const FROM: [u8; 4] = [127, 0, 0, 2];

/// What somebody unknown sends.
#[derive(Clone, Copy, Debug)]
enum Sent {
    HalfConnect,
    Garbage,
    Packets,
    HalfUpgrade,
    HalfHello,
    Hello,
}

impl Sent {
    const PLAIN: &[Self] = &[
        Self::HalfConnect,
        Self::Garbage,
        Self::Packets,
        Self::HalfUpgrade,
    ];

    const TLS: &[Self] = &[Self::Garbage, Self::HalfHello, Self::Hello];

    fn bytes(self, target: &Target) -> Vec<u8> {
        let begins: &[u8] = match self {
            Self::HalfConnect => b"\x10\x80\x40\0\x04MQTT\x05\x02\0\0\0\x1f\xf0",
            Self::Garbage => &[0xff; SENT],
            Self::Packets => &[0xc0, 0].repeat(SENT / 2),
            Self::HalfUpgrade => b"GET /mqtt HTTP/1.1\r\nHost: x\r\nX: ",
            // a record of 16 KiB
            Self::HalfHello => &[22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3],
            Self::Hello => {
                let secure = target.secure.as_ref().expect("over TLS");
                return tls::hello(secure.pki());
            }
        };
        let mut bytes = begins.to_vec();
        bytes.resize(SENT, b'x');
        bytes
    }

    const fn is_websocket(self) -> bool {
        matches!(self, Self::HalfUpgrade)
    }
}

/// A client that connects and leaves.
async fn visit(target: &Target, number: usize) -> io::Result<()> {
    let mut wire = target.mqtt(FROM).await?;
    let connect = Connect::new(Version::V311, &format!("visit-{number}"));
    wire.write_all(&connect.bytes()).await?;
    wire.flush().await?;
    wire.read_exact(&mut [0; 4]).await?;
    wire.write_all(&DISCONNECT).await?;
    wire.flush().await?;
    wire.read_to_end(&mut Vec::new()).await?;
    Ok(())
}

/// Sends, waits for what there is to come, and keeps the connection.
async fn hold(target: &Target, sent: Sent, bytes: &[u8]) -> io::Result<TcpStream> {
    let to = if sent.is_websocket() {
        target.ws
    } else {
        target.mqtt
    };
    let mut stream = connect(to, FROM).await?;
    stream.write_all(bytes).await?;
    match sent {
        Sent::Garbage | Sent::Packets => {
            // a reset is as good
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        Sent::Hello => {
            stream.read_u8().await?;
        }
        Sent::HalfConnect | Sent::HalfUpgrade | Sent::HalfHello => {}
    }
    Ok(stream)
}

/// Eight at a time.
async fn all<T, F: Future<Output = T>>(count: usize, make: impl Fn(usize) -> F) -> Vec<T> {
    let (make, mut done) = (&make, Vec::new());
    for begin in (0..count).step_by(8) {
        let some = (begin..count.min(begin + 8)).map(make);
        done.extend(within("connections", join_all(some)).await);
    }
    done
}

/// The clock ticks of the process when it has nothing to do.
async fn at_rest(pid: u32) -> u64 {
    let mut last = u64::MAX;
    until("the proxy to be at rest", async || {
        let ticks = memory::cpu_ticks(pid);
        (std::mem::replace(&mut last, ticks) == ticks).then_some(ticks)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kibibyte_of_somebody_unknown_costs_little_memory_and_cpu() {
    raise_descriptor_limit().expect("the limit of open files can be raised");
    let count = std::env::var("MPROXY_COSTS");
    let count = count.map_or(CONNECTIONS, |it| {
        it.parse().expect("a number of connections")
    });
    println!(
        "| sent | KiB of memory for a KiB | µs of CPU | of a client that connects and leaves |\n|---|---|---|---|"
    );
    for secure in [false, true] {
        for &sent in if secure { Sent::TLS } else { Sent::PLAIN } {
            // a new process each time: the allocator would use again what it has
            let rig = Rig::start(&attack(Kind::Nothing, "", &[]), secure, None).await;
            let cost = cost(&rig, sent, count).await;
            let Cost { memory, cpu, valid } = cost;
            let over = if secure { ", TLS" } else { "" };
            println!("| {sent:?}{over} | {memory:.1} | {cpu:.0} | {valid:.0} |");
            assert!(memory <= MEMORY, "{sent:?}: {cost:?}");
            assert!(cpu <= CPU * valid, "{sent:?}: {cost:?}");
        }
    }
}

/// What it costs.
#[derive(Debug)]
struct Cost {
    /// KiB for each KiB.
    memory: f64,
    /// µs of CPU for each connection, and for that of a client that connects and leaves.
    cpu: f64,
    valid: f64,
}

async fn cost(rig: &Rig, sent: Sent, count: usize) -> Cost {
    let (pid, target) = (rig.mproxy.id(), &rig.target);
    let micros = |ticks: u64| ticks as f64 * 1e4 / count as f64;
    let begin = at_rest(pid).await;
    for done in all(count, |number| visit(target, number)).await {
        done.expect("a client is served");
    }
    // one tick is the least that can be seen
    let valid = micros((at_rest(pid).await - begin).max(1));
    let bytes = sent.bytes(target);
    let (begin, before) = (at_rest(pid).await, memory::used_kib(pid));
    let held: io::Result<Vec<_>> = all(count, |_| hold(target, sent, &bytes))
        .await
        .into_iter()
        .collect();
    let held = held.expect("it listens");
    if let Sent::HalfConnect | Sent::HalfUpgrade | Sent::HalfHello = sent {
        let pending = "mproxy_connections_pending";
        rig.mproxy.metric(pending, count as f64).await;
    }
    let cpu = micros(at_rest(pid).await - begin);
    let grown = memory::used_kib(pid).saturating_sub(before);
    drop(held);
    Cost {
        memory: grown as f64 / (count * bytes.len()) as f64 * 1024.0,
        cpu,
        valid,
    }
}
