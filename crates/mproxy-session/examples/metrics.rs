//! Counts: what passed, by direction and packet type, printed every ten seconds.
//!
//! Nothing is counted packet by packet here: the session adds up plain integers and hands them over
//! once a read.
//!
//! `cargo run -p mproxy-session --example metrics [LISTEN] [BROKER]`

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mproxy_codec::{Direction, Kind, ReasonCode, Version};
use mproxy_session::{Batch, BoxError, Counters, Events, Hooks, SessionInfo, new_hooks};

#[derive(Debug, Default)]
struct Metrics {
    packets: [[AtomicU64; 16]; 2],
    bytes: [AtomicU64; 2],
    connects: AtomicU64,
    refused: AtomicU64,
}

const fn index(direction: Direction) -> usize {
    match direction {
        Direction::ToServer => 0,
        Direction::ToClient => 1,
    }
}

impl Counters for Metrics {
    fn record(&self, direction: Direction, batch: &Batch) {
        let packets = &self.packets[index(direction)];
        for (counter, count) in packets.iter().zip(batch.packets) {
            if count > 0 {
                counter.fetch_add(count.into(), Ordering::Relaxed);
            }
        }
        self.bytes[index(direction)].fetch_add(batch.bytes, Ordering::Relaxed);
    }
}

impl Events for Metrics {
    fn connack(&self, _: Option<&SessionInfo>, _: Version, reason: ReasonCode) {
        let counter = if reason.is_error() {
            &self.refused
        } else {
            &self.connects
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Metrics {
    fn print(&self) {
        let connects = self.connects.load(Ordering::Relaxed);
        let refused = self.refused.load(Ordering::Relaxed);
        println!("{connects} connected, {refused} refused");
        for (name, direction) in [
            ("to server", Direction::ToServer),
            ("to client", Direction::ToClient),
        ] {
            let index = index(direction);
            println!(
                "  {name}: {} bytes",
                self.bytes[index].load(Ordering::Relaxed)
            );
            for kind in Kind::ALL {
                let count = self.packets[index][usize::from(kind.as_u8())].load(Ordering::Relaxed);
                if count > 0 {
                    println!("    {kind}: {count}");
                }
            }
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let metrics = Arc::new(Metrics::default());
    let printed = Arc::clone(&metrics);
    tokio::spawn(async move {
        let mut every = tokio::time::interval(Duration::from_secs(10));
        loop {
            every.tick().await;
            printed.print();
        }
    });
    common::serve(new_hooks(|_| Hooks::none()), metrics).await
}
