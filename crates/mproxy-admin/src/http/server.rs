//! The HTTP server, with limits against any caller that can reach the port.
//!
//! - At most [`MAX_CONNECTIONS`] connections. One more cuts the oldest whose request is incomplete, or
//!   else the oldest whose caller does not read its answer, so that connections that are held open
//!   cannot keep the probes out. A request that is being answered is never cut.
//! - A request head must arrive within [`HEAD_TIMEOUT`], and be at most [`MAX_HEAD_BYTES`] long
//!   with at most [`MAX_HEADERS`] fields.
//! - One request per connection. It must be complete, and its answer read, within [`CONNECTION_DEADLINE`];
//!   the time that mproxy takes to answer does not count. Request bodies are limited by the router.
//!
//! axum's own `serve` has none of these, hence hyper's connection builder.

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
use super::phase::Phase;
use super::{Admin, router};

/// Binds the admin port. Port 0 lets the system choose.
///
/// # Errors
/// The error of the system about the address.
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
        let has_room = connections.has_room();
        tokio::select! {
            () = &mut shutdown => break,
            // there is no event when an answer starts to wait for its caller
            () = sleep(ACCEPT_PAUSE), if !has_room => {}
            _ = connections.tasks.join_next(), if !connections.tasks.is_empty() => {}
            accepted = accept(&listener, &mut failures), if has_room => {
                let (stream, caller) = accepted;
                let phase = Phase::default();
                let router = router.clone();
                let router = router.layer(Extension(Caller(caller))).layer(Extension(phase.clone()));
                let connection = connection(stream, router, phase.clone(), stopped.clone());
                connections.add(phase, connection);
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

async fn connection(
    stream: TcpStream,
    router: Router,
    phase: Phase,
    mut stopped: watch::Receiver<()>,
) {
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
    let mut served = pin!(async {
        tokio::select! {
            served = connection.as_mut() => return served,
            _ = stopped.changed() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    });
    loop {
        match timeout(CONNECTION_DEADLINE, served.as_mut()).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                debug!(target: "mproxy::admin", detail = %error, "admin connection failed");
                return;
            }
            // a request that is being answered may have changed something, as a long reload does
            Err(_) if phase.rank().is_none_or(|rank| !phase.cut(rank)) => {}
            Err(_) => {
                debug!(target: "mproxy::admin", "admin connection took too long");
                return;
            }
        }
    }
}

/// The open connections and their order of age.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    oldest_first: Vec<(Phase, AbortHandle)>,
}

impl Connections {
    /// Adds one, and cuts another if there are too many.
    fn add(&mut self, phase: Phase, connection: impl Future<Output = ()> + Send + 'static) {
        while self.oldest_first.len() >= MAX_CONNECTIONS && self.cut_one() {}
        self.oldest_first
            .push((phase, self.tasks.spawn(connection)));
    }

    /// Whether one more can be added; false if the maximum is reached and all are being answered.
    fn has_room(&mut self) -> bool {
        self.oldest_first.retain(|(_, task)| !task.is_finished());
        let mut phases = self.oldest_first.iter().map(|(phase, _)| phase);
        self.oldest_first.len() < MAX_CONNECTIONS || phases.any(|it| it.rank().is_some())
    }

    /// Cuts the oldest connection that may be cut.
    fn cut_one(&mut self) -> bool {
        let ranked = self.oldest_first.iter().enumerate();
        let ranked = ranked.filter_map(|(at, (phase, _))| Some((phase.rank()?, at)));
        let Some((rank, at)) = ranked.min() else {
            return false;
        };
        let (phase, task) = &self.oldest_first[at];
        if phase.cut(rank) {
            task.abort();
            self.oldest_first.remove(at);
        }
        true
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
