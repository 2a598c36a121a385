//! What a line of the log costs, beside tracing-subscriber's own JSON.
//!
//! `cargo bench -p mproxy-server --bench log`. Both write to /dev/null; what is measured is the thread
//! that carries traffic. `suppressed` is a line that is left out.

#![allow(
    dead_code,
    unused_imports,
    reason = "taken in as it is: a program has no API"
)]

#[path = "../src/telemetry/lines/mod.rs"]
mod lines;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use lines::{Allowance, Queue, Style, lines};
use mproxy_admin::LogMetrics;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::Dispatch;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Lines of one kind per measurement.
const LINES: usize = 1000;

fn main() {
    divan::main();
}

/// The device that takes everything; each write is a call of the system, as it is with a real one.
#[derive(Clone)]
struct Null(Arc<Mutex<std::fs::File>>);

impl Null {
    fn open() -> Self {
        let file = std::fs::OpenOptions::new().write(true).open("/dev/null");
        Self(Arc::new(Mutex::new(
            file.expect("/dev/null can be written"),
        )))
    }
}

impl Write for Null {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer panics").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn ours(repeats: Option<Allowance>) -> (Dispatch, Arc<Queue>) {
    let (layer, queue) = lines(Style::Json, repeats, LogMetrics::default(), Null::open());
    let layer = layer.with_filter(EnvFilter::new("info"));
    (
        Dispatch::new(tracing_subscriber::registry().with(layer)),
        queue,
    )
}

fn theirs() -> Dispatch {
    let null = Null::open();
    let layer = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_writer(move || null.clone())
        .with_filter(EnvFilter::new("info"));
    Dispatch::new(tracing_subscriber::registry().with(layer))
}

/// The line of a client that is let in, as the server writes it.
fn connect(peer: SocketAddr) {
    tracing::info!(
        target: "mproxy::session",
        event = "connect",
        listener = "mqtt",
        peer = %peer,
        client_id = "plant-7/line-3/machine-12",
        username = Some("machine-12"),
        version = "5",
        keep_alive_s = 60_u16,
        clean_start = true,
        "client connected"
    );
}

/// The line of its end.
fn disconnect(peer: SocketAddr) {
    let none: Option<&str> = None;
    tracing::info!(
        target: "mproxy::session",
        event = "disconnect",
        listener = "mqtt",
        peer = %peer,
        client_id = "plant-7/line-3/machine-12",
        username = Some("machine-12"),
        version = "5",
        protocol_level = none,
        field = none,
        path = none,
        origin = none,
        side = "client",
        reason = "disconnect",
        reason_code = Some("success"),
        detail = none,
        remedy = none,
        duration_s = black_box(12.345_678_901),
        packets_to_server = black_box(1_234_u64),
        packets_to_client = black_box(1_235_u64),
        bytes_to_server = black_box(98_765_u64),
        bytes_to_client = black_box(12_345_u64),
        denied = 0_u64,
        panicked = false,
        upstream = "broker",
        "client disconnected"
    );
}

/// `ready` is called before each measurement.
fn bench(bencher: Bencher<'_, '_>, dispatch: &Dispatch, line: fn(SocketAddr), ready: impl Fn()) {
    let peer = black_box(SocketAddr::from(([192, 0, 2, 7], 40_076)));
    tracing::dispatcher::with_default(dispatch, || {
        bencher
            .counter(ItemsCount::new(LINES))
            .with_inputs(&ready)
            .bench_local_values(|()| (0..LINES).for_each(|_| line(peer)));
    });
}

const LINE_NAMES: [&str; 2] = ["connect", "disconnect"];

fn line(name: &str) -> fn(SocketAddr) {
    match name {
        "connect" => connect,
        _ => disconnect,
    }
}

#[divan::bench(args = LINE_NAMES)]
fn mproxy(bencher: Bencher<'_, '_>, name: &str) {
    let (dispatch, queue) = ours(None);
    // a queue that is full would make lines cheap
    bench(bencher, &dispatch, line(name), || queue.drain());
}

#[divan::bench(args = LINE_NAMES)]
fn tracing_subscriber_json(bencher: Bencher<'_, '_>, name: &str) {
    bench(bencher, &theirs(), line(name), || {});
}

#[divan::bench(args = LINE_NAMES)]
fn suppressed(bencher: Bencher<'_, '_>, name: &str) {
    let allowance = Allowance {
        burst: 1,
        interval: Duration::from_secs(3600),
    };
    let (dispatch, queue) = ours(Some(allowance));
    bench(bencher, &dispatch, line(name), || queue.drain());
}
