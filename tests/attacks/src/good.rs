//! A client that means well, and times how it is served.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mproxy_tests::wire::{Publish, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use crate::socket::log_in;
use crate::target::{Target, Wire, socket};

/// One session that publishes with QoS 1 ten times a second, and a fresh connection every half
/// second, on a thread of their own.
#[derive(Debug)]
pub struct GoodClient {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Report>,
}

/// How the good client was served.
#[derive(Debug, Default)]
pub struct Report {
    /// From PUBLISH to PUBACK.
    pub publishes: Latencies,
    /// From the connection's first packet to CONNACK.
    pub connects: Latencies,
}

/// What was served, and what was not.
#[derive(Debug, Default)]
pub struct Latencies {
    served: Vec<Duration>,
    /// Broken off, refused, or not answered within 5 s.
    pub failures: usize,
}

impl GoodClient {
    /// Begins, from 127.0.0.1.
    ///
    /// # Panics
    /// If the system starts no thread.
    #[must_use]
    pub fn start(target: &Target) -> Self {
        let target = target.clone();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let (publishes, connects) = runtime.block_on(async {
                tokio::join!(
                    publish(&target, &stopped),
                    connect_afresh(&target, &stopped)
                )
            });
            Report {
                publishes,
                connects,
            }
        });
        Self { stop, thread }
    }

    /// Ends, and tells.
    ///
    /// # Panics
    /// If it panicked.
    #[must_use]
    pub fn stop(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the good client does not panic")
    }
}

impl Latencies {
    fn record<T>(&mut self, begun: Instant, result: io::Result<T>) -> Option<T> {
        match result {
            Ok(value) => {
                self.served.push(begun.elapsed());
                Some(value)
            }
            Err(_) => {
                self.failures += 1;
                None
            }
        }
    }

    /// How many were served.
    #[must_use]
    pub fn served(&self) -> usize {
        self.served.len()
    }

    /// The time in which `share` of a hundred were served; `None` if nothing was.
    #[must_use]
    pub fn percentile(&self, share: usize) -> Option<Duration> {
        let mut sorted = self.served.clone();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        sorted.get((sorted.len() * share / 100).min(last)).copied()
    }
}

async fn publish(target: &Target, stop: &AtomicBool) -> Latencies {
    let mut latencies = Latencies::default();
    let mut session = None;
    let mut id = 0;
    while !stop.load(Ordering::Relaxed) {
        id = if id == u16::MAX { 1 } else { id + 1 };
        let begun = Instant::now();
        let exchange = async {
            let mut stream: Wire = match session.take() {
                Some(stream) => stream,
                None => log_in_from_here(target, "good").await?,
            };
            let message = Publish::new(Version::V311, "good").qos(1, id).bytes(b"?");
            stream.write_all(&message).await?;
            stream.flush().await?;
            let mut puback = [0; 4];
            stream.read_exact(&mut puback).await?;
            Ok(stream)
        };
        session = latencies.record(begun, limited(exchange).await);
        sleep(Duration::from_millis(100)).await;
    }
    latencies
}

async fn connect_afresh(target: &Target, stop: &AtomicBool) -> Latencies {
    let mut latencies = Latencies::default();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let attempt = limited(log_in_from_here(target, "fresh")).await;
        if let Some(mut stream) = latencies.record(begun, attempt) {
            // whether the goodbye arrives changes nothing
            let _ = stream.write_all(&[0xe0, 0]).await;
            let _ = stream.flush().await;
        }
        sleep(Duration::from_millis(500)).await;
    }
    latencies
}

async fn log_in_from_here(target: &Target, client_id: &str) -> io::Result<Wire> {
    let mut stream = target.mqtt([127, 0, 0, 1]).await?;
    socket(&stream).set_nodelay(true)?;
    log_in(&mut stream, client_id).await?;
    Ok(stream)
}

async fn limited<T>(exchange: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match timeout(LIMIT, exchange).await {
        Ok(result) => result,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// A good client waits no longer.
const LIMIT: Duration = Duration::from_secs(5);
