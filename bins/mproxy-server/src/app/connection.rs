//! One accepted connection, from its socket to its last log line.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use mproxy_admin::{Reason, RefuseReason, Side};
use mproxy_session::{
    CloseReason, Control, Hooks, Limits, Peer, Session, Summary, UpgradeRequest, new_hooks,
};
use mproxy_transport::{Accepted, Stream, WsError, WsOptions, WsRequest, accept_websocket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::compose::Composed;
use super::gate::{Gate, LineBudget, Pass};
use super::handshake;
use super::recorder::{ConnectionRecorder, WorkerRecorder};
use super::upstream::Upstream;

/// What all connections of a listener share.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) name: Arc<str>,
    /// `Some` for a WebSocket listener.
    pub(crate) websocket: Option<WsOptions>,
    pub(crate) chain: Composed,
    pub(crate) limits: Arc<Limits>,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) gate: Gate,
    pub(crate) metrics: mproxy_admin::ListenerMetrics,
    pub(crate) refusals: LineBudget,
    pub(crate) failures: LineBudget,
}

impl Service {
    /// Lets an accepted connection in, or closes it at once.
    pub(crate) fn admit(&self, address: Option<IpAddr>) -> Option<Pass> {
        match self.gate.enter(address) {
            Ok(pass) => Some(pass),
            Err(reason) => {
                self.metrics.accepted().refused(reason);
                if let Some(suppressed) = self.refusals.line() {
                    tracing::warn!(
                        target: "mproxy::listener",
                        listener = &*self.name,
                        peer = address.map(tracing::field::display),
                        reason = reason.as_str(),
                        suppressed,
                        "connection refused: raise the listener's limits if this is not an attack"
                    );
                }
                None
            }
        }
    }

    /// Serves a connection until it is closed.
    pub(crate) fn serve(
        self: Arc<Self>,
        accepted: Accepted,
        worker: Arc<WorkerRecorder>,
        control: Control,
    ) -> impl Future<Output = ()> + Send {
        // boxed: what it takes to begin is given back when the session runs
        let beginning = Box::pin(Arc::clone(&self).begin(accepted, worker, control));
        Serve {
            service: self,
            stage: Stage::Beginning { beginning },
        }
    }

    /// Brings a connection to the point where its session can run.
    async fn begin(
        self: Arc<Self>,
        accepted: Accepted,
        worker: Arc<WorkerRecorder>,
        control: Control,
    ) -> Option<(
        impl Future<Output = Summary> + Send + use<>,
        Arc<ConnectionRecorder>,
    )> {
        let metrics = self.metrics.accepted();
        let (stream, peer) = match self.open(accepted).await {
            Ok(opened) => opened,
            Err(Unopened::Refused(reason)) => {
                metrics.refused(reason);
                return None;
            }
            Err(Unopened::Unused(side, reason)) => {
                metrics.closed(side, reason);
                return None;
            }
        };
        let logs = !self.chain.has_access_log;
        let recorder = Arc::new(ConnectionRecorder::new(worker, metrics, logs));
        let session = Session::new(peer)
            .limits(Arc::clone(&self.limits))
            .recorder(Arc::clone(&recorder) as Arc<_>)
            .control(control);
        Some((self.run(session, stream), recorder))
    }

    /// Registers the socket and, on a WebSocket listener, does the handshake.
    async fn open(&self, accepted: Accepted) -> Result<(Stream, Peer), Unopened> {
        let mut peer = Peer::new(Arc::clone(&self.name));
        peer.address = accepted.peer().socket_addr();
        let stream = accepted.into_stream().map_err(|error| {
            tracing::warn!(
                target: "mproxy::listener", listener = &*self.name, peer = %peer, %error,
                "cannot register an accepted connection"
            );
            Unopened::Refused(RefuseReason::Internal)
        })?;
        let Some(options) = &self.websocket else {
            return Ok((stream, peer));
        };
        match accept_websocket(stream, options).await {
            Ok((stream, request)) => Ok((stream, peer.with_upgrade(upgrade(&request)))),
            Err(error) => Err(self.not_upgraded(&peer, &error)),
        }
    }

    /// One line about a handshake that failed.
    fn not_upgraded(&self, peer: &Peer, error: &WsError) -> Unopened {
        if let Some((side, reason)) = handshake::unused(error) {
            tracing::debug!(
                target: "mproxy::listener",
                event = "disconnect",
                listener = &*self.name,
                peer = %peer,
                side = side.as_str(),
                reason = reason.as_str(),
                "connection closed: the client sent nothing"
            );
            return Unopened::Unused(side, reason);
        }
        if let Some(suppressed) = self.refusals.line() {
            let foreign = foreign(error.first_bytes());
            let (what, remedy) = match &foreign {
                Some((what, remedy)) => (Some(what), Some(*remedy)),
                None => (None, handshake::remedy(error.cause())),
            };
            tracing::warn!(
                target: "mproxy::listener",
                event = "refuse",
                listener = &*self.name,
                peer = %peer,
                reason = RefuseReason::WebsocketHandshake.as_str(),
                path = error.path(),
                offered = error.offered(),
                origin = error.origin(),
                detail = what,
                %error,
                remedy,
                suppressed,
                "WebSocket handshake refused"
            );
        }
        Unopened::Refused(RefuseReason::WebsocketHandshake)
    }

    /// Runs the session with its chain of layers. Sessions without one are a type of their own, in
    /// which nothing is asked; the futures of both are small, because a session boxes what is large.
    fn run(
        &self,
        session: Session,
        stream: Stream,
    ) -> impl Future<Output = Summary> + Send + use<> {
        let upstream = Arc::clone(&self.upstream);
        let dial = move |connect: &mproxy_session::Connect| {
            let version = connect.packet().version();
            async move {
                upstream
                    .dial(version)
                    .await
                    .map(|(stream, open)| Counted { stream, open })
            }
        };
        let chain = &self.chain.chain;
        if chain.is_empty() {
            Running::Bare {
                future: session.run(stream, new_hooks(|_| Hooks::none()), dial),
            }
        } else {
            Running::Hooked {
                future: session.run(stream, chain.clone(), dial),
            }
        }
    }

    /// One line about the end of a connection: who, why, and what to do about it.
    fn report(&self, summary: &Summary) {
        let logs = !self.chain.has_access_log;
        let remedy = remedy(summary.reason);
        let is_failure = remedy.is_some();
        if !logs && !is_failure {
            return;
        }
        let mut suppressed = 0;
        if is_failure {
            match self.failures.line() {
                Some(count) => suppressed = count,
                None => return,
            }
        }
        macro_rules! line {
            ($level:ident, $message:expr) => {
                tracing::$level!(
                    target: "mproxy::session",
                    listener = &*summary.peer.listener,
                    peer = %summary.peer,
                    client_id = summary.session.as_ref().map(|session| session.client_id()),
                    username = summary.session.as_ref().and_then(|session| session.user_name()),
                    version = summary.version.map(|version| version.as_str()),
                    side = summary.side.as_str(),
                    reason = summary.reason.as_str(),
                    reason_code = summary.reason_code.as_str(),
                    detail = summary.detail.as_deref(),
                    remedy,
                    upstream = &*self.upstream.name,
                    suppressed = (suppressed > 0).then_some(suppressed),
                    duration_s = summary.duration.as_secs_f64(),
                    packets_in = summary.to_server.packets,
                    packets_out = summary.to_client.packets,
                    bytes_in = summary.to_server.bytes,
                    bytes_out = summary.to_client.bytes,
                    denied = summary.to_server.denied + summary.to_client.denied,
                    "{}", $message
                )
            };
        }
        let message = if summary.established() {
            "client disconnected"
        } else {
            "connection closed"
        };
        if is_failure {
            line!(warn, message)
        } else {
            line!(info, message)
        }
    }
}

/// Why an accepted connection got no session.
enum Unopened {
    /// It was refused.
    Refused(RefuseReason),
    /// The client went away, or its time was up, without a byte.
    Unused(Side, Reason),
}

/// The protocol that the first bytes of a client belong to, and what to do about it, if it is not
/// the one of the port.
const fn foreign(_first: &[u8]) -> Option<(String, &'static str)> {
    None
}

/// What an operator can do about an end that is not a matter of course.
const fn remedy(reason: CloseReason) -> Option<&'static str> {
    Some(match reason {
        CloseReason::UpstreamUnreachable => {
            "is the broker running, and is upstreams.address right?"
        }
        CloseReason::UpstreamProtocolError => "the broker broke the protocol: see detail",
        CloseReason::ProtocolError | CloseReason::Malformed => {
            "the client broke the protocol: see detail; update it"
        }
        CloseReason::PacketTooLarge => {
            "raise listeners.limits.max_packet_size, or the broker's own limit, if it should pass"
        }
        CloseReason::HookFailed => "a layer failed: see detail",
        CloseReason::Internal => "a defect of mproxy: please report it",
        CloseReason::WriteTimeout => "the side does not read: see detail",
        _ => return None,
    })
}

fn upgrade(request: &WsRequest) -> UpgradeRequest {
    let mut uri = request.path().to_owned();
    if let Some(query) = request.query() {
        uri.push('?');
        uri.push_str(query);
    }
    let mut upgrade = UpgradeRequest::new(uri);
    let headers = [
        ("host", request.host()),
        ("origin", request.origin()),
        ("user-agent", request.user_agent()),
        ("x-forwarded-for", request.forwarded_for()),
    ];
    for (name, value) in headers {
        if let Some(value) = value {
            upgrade.headers.push((name.to_owned(), value.to_owned()));
        }
    }
    upgrade
}

pin_project_lite::pin_project! {
    /// A connection on its way. Not an async block: that would keep room for its session twice, and
    /// this is what an idle connection consists of.
    struct Serve<B, R> {
        service: Arc<Service>,
        #[pin]
        stage: Stage<B, R>,
    }
}

pin_project_lite::pin_project! {
    #[project = StageProj]
    enum Stage<B, R> {
        Beginning { beginning: Pin<Box<B>> },
        Running { #[pin] running: R, recorder: Arc<ConnectionRecorder> },
    }
}

impl<B, R> Future for Serve<B, R>
where
    B: Future<Output = Option<(R, Arc<ConnectionRecorder>)>>,
    R: Future<Output = Summary>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        loop {
            match this.stage.as_mut().project() {
                StageProj::Beginning { beginning } => {
                    let Some((running, recorder)) = ready!(beginning.as_mut().poll(cx)) else {
                        return Poll::Ready(());
                    };
                    this.stage.set(Stage::Running { running, recorder });
                }
                StageProj::Running { running, recorder } => {
                    let summary = ready!(running.poll(cx));
                    recorder.closed(&summary);
                    this.service.report(&summary);
                    return Poll::Ready(());
                }
            }
        }
    }
}

pin_project_lite::pin_project! {
    /// A session, with layers or without.
    #[project = RunningProj]
    enum Running<B, H> {
        Bare { #[pin] future: B },
        Hooked { #[pin] future: H },
    }
}

impl<B, H, O> Future for Running<B, H>
where
    B: Future<Output = O>,
    H: Future<Output = O>,
{
    type Output = O;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O> {
        match self.project() {
            RunningProj::Bare { future } => future.poll(cx),
            RunningProj::Hooked { future } => future.poll(cx),
        }
    }
}

pin_project_lite::pin_project! {
    /// A broker connection that is counted as long as it is open.
    struct Counted {
        #[pin]
        stream: Stream,
        open: mproxy_admin::UpstreamConnection,
    }
}

impl AsyncRead for Counted {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.project().stream.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().stream.poll_write(cx, bytes)
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_flush(cx)
    }

    #[inline]
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_shutdown(cx)
    }
}
