//! The listening side, bounded against anybody who can reach the port.
//!
//! - At most [`MAX_CONNECTIONS`] connections; one more ends the oldest, so that somebody who holds
//!   connections open cannot keep the probes out.
//! - A request head must arrive within [`HEAD_TIMEOUT`], and be at most [`MAX_HEAD_BYTES`] long
//!   with at most [`MAX_HEADERS`] fields.
//! - One request a connection, and the whole connection takes at most [`CONNECTION_DEADLINE`],
//!   so that a reader who never reads holds nothing for long. Request bodies are bounded by the routes
//!   that take one.
//!
//! axum's own `serve` has none of these, hence hyper's connection builder.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::guard::Caller;
use super::{Admin, router};

/// Binds the admin port. Port 0 lets the system choose.
///
/// # Errors
/// Whatever the operating system says about the address.
pub async fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(addr).await
}

/// Serves the admin port until `shutdown` completes, then lets the answers in progress finish.
///
/// An error of one connection ends that connection; an error of the listener is logged and tried
/// again with a pause, so this never fails.
///
/// # Cancel safety
/// Dropping the future closes the port and every connection.
pub async fn serve(listener: TcpListener, admin: Admin, shutdown: impl Future<Output = ()>) {
    let router = router(admin);
    let mut connections = Connections::default();
    let (stop, stopped) = watch::channel(());
    let mut shutdown = pin!(shutdown);
    let mut failures = 0;
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            _ = connections.tasks.join_next(), if !connections.tasks.is_empty() => {}
            accepted = accept(&listener, &mut failures) => {
                let (stream, caller) = accepted;
                let router = router.clone().layer(Extension(Caller(caller)));
                connections.add(connection(stream, router, stopped.clone()));
            }
        }
    }
    drop(listener);
    drop(stop);
    // What is left is ended by dropping it.
    let finished = async { while connections.tasks.join_next().await.is_some() {} };
    if timeout(SHUTDOWN_GRACE, finished).await.is_err() {
        debug!(target: "mproxy::admin", "admin connections cut off at shutdown");
    }
}

/// Waits for the next connection. Cancel safe: a pause that is cut short only comes early.
async fn accept(listener: &TcpListener, failures: &mut u32) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => {
                *failures = 0;
                return accepted;
            }
            Err(error) => {
                // Out of file descriptors, mostly: retrying at once would spin and flood the log.
                if *failures == 0 {
                    warn!(
                        target: "mproxy::admin",
                        event = "error",
                        detail = %error,
                        "admin port cannot accept, trying on"
                    );
                }
                *failures = failures.saturating_add(1);
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router, mut stopped: watch::Receiver<()>) {
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service)
    );
    let served = async {
        tokio::select! {
            served = connection.as_mut() => return served,
            _ = stopped.changed() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    };
    match timeout(CONNECTION_DEADLINE, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            debug!(target: "mproxy::admin", detail = %error, "admin connection failed");
        }
        Err(_) => debug!(target: "mproxy::admin", "admin connection took too long"),
    }
}

/// The open connections and their order of age.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    oldest_first: VecDeque<AbortHandle>,
}

impl Connections {
    fn add(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        if self.oldest_first.len() >= MAX_CONNECTIONS {
            self.oldest_first.retain(|task| !task.is_finished());
        }
        if self.oldest_first.len() >= MAX_CONNECTIONS
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            oldest.abort();
        }
        self.oldest_first.push_back(self.tasks.spawn(connection));
    }
}

/// Probes and scrapers need a few; the rest is room for people.
const MAX_CONNECTIONS: usize = 64;
/// A probe sends its head in one segment.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The least that hyper allows is 8 KiB.
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// Prometheus gives up after 10 s by default.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(30);
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// An answer takes milliseconds; nobody should wait longer for a process that wants to end.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);
