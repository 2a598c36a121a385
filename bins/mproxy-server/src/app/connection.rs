//! One accepted connection, from its socket to its last log line.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use mproxy_admin::{Reason, RefuseReason, Side};
use mproxy_session::{Hooks, Peer, Session, SessionHandle, Summary, UpgradeRequest, new_hooks};
use mproxy_transport::{Accepted, DialError, Stream, WsError, WsRequest, accept_websocket_counted};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::gate::Pass;
use super::handshake;
use super::recorder::{ConnectionRecorder, WorkerRecorder, reason};
use super::service::Service;

impl Service {
    /// Serves a connection until it is closed.
    pub(crate) fn serve(
        self: Arc<Self>,
        accepted: Accepted,
        worker: Arc<WorkerRecorder>,
        pass: Pass,
        control: SessionHandle,
    ) -> impl Future<Output = ()> + Send {
        // boxed: what it takes to begin is given back when the session runs
        let beginning = Box::pin(Arc::clone(&self).begin(accepted, worker, pass, control));
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
        pass: Pass,
        control: SessionHandle,
    ) -> Option<(
        impl Future<Output = Summary> + Send + use<>,
        Arc<ConnectionRecorder>,
    )> {
        let metrics = self.metrics.accepted();
        let (stream, peer) = match self.open(accepted, &control).await {
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
        tracing::debug!(
            target: "mproxy::session",
            listener = &*self.name, peer = %peer,
            "accepted"
        );
        let recorder = ConnectionRecorder::new(worker, metrics, pass, Arc::clone(&self));
        let recorder = Arc::new(recorder);
        let session = Session::new(peer)
            .limits(Arc::clone(&self.limits))
            .recorder(Arc::clone(&recorder) as Arc<_>)
            .handle(control);
        Some((self.run(session, stream, &recorder), recorder))
    }

    /// Registers the socket and, on a WebSocket listener, does the handshake, unless it is ordered to
    /// end before.
    async fn open(
        &self,
        accepted: Accepted,
        control: &SessionHandle,
    ) -> Result<(Stream, Peer), Unopened> {
        let mut peer = Peer::new(Arc::clone(&self.name));
        peer.address = accepted.peer().socket_addr();
        let stream = accepted.into_stream().map_err(|error| {
            tracing::warn!(
                target: "mproxy::listener",
                event = "error",
                listener = &*self.name,
                peer = %peer,
                detail = %error,
                "cannot register an accepted connection"
            );
            Unopened::Refused(RefuseReason::Internal)
        })?;
        let Some(options) = &self.websocket else {
            return Ok((stream, peer));
        };
        let ordered = tokio::select! {
            biased;
            order = poll_fn(|cx| control.poll_order(cx)) => order,
            accepted = accept_websocket_counted(stream, options, |bytes| control.holds(bytes)) => {
                return match accepted {
                    Ok((stream, request)) => Ok((stream, peer.with_upgrade(upgrade(&request)))),
                    Err(error) => Err(self.not_upgraded(&peer, &error)),
                };
            }
        };
        tracing::debug!(
            target: "mproxy::listener",
            event = "disconnect",
            listener = &*self.name,
            peer = %peer,
            side = Side::Proxy.as_str(),
            reason = ordered.reason.as_str(),
            "connection closed before its WebSocket handshake was complete"
        );
        Err(Unopened::Unused(Side::Proxy, reason(ordered.reason)))
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
        let (detail, remedy) = handshake::account(error);
        let remedy = remedy.map(|remedy| self.names().fill(remedy));
        tracing::warn!(
            target: "mproxy::listener",
            event = "refuse",
            listener = &*self.name,
            peer = %peer,
            path = error.path(),
            offered = error.offered(),
            origin = error.origin(),
            reason = RefuseReason::WebsocketHandshake.as_str(),
            detail,
            remedy,
            "WebSocket handshake refused"
        );
        Unopened::Refused(RefuseReason::WebsocketHandshake)
    }

    /// Runs the session with its chain of layers. Sessions without one are a type of their own, in
    /// which nothing is asked; the futures of both are small, because a session boxes what is large.
    fn run(
        &self,
        session: Session,
        stream: Stream,
        recorder: &Arc<ConnectionRecorder>,
    ) -> impl Future<Output = Summary> + Send + use<> {
        let upstream = Arc::clone(&self.upstream);
        let recorder = Arc::clone(recorder);
        let dial = move |connect: &mproxy_session::Connect| {
            let version = connect.packet().version();
            async move {
                let (stream, open) = upstream.dial(version).await?;
                recorder.dialled();
                Ok::<_, DialError>(Counted { stream, open })
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
}

/// Why an accepted connection got no session.
enum Unopened {
    /// It was refused.
    Refused(RefuseReason),
    /// The client went away, or its time was up, without a byte; or it was ordered to end.
    Unused(Side, Reason),
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
                    this.service.upstream.closed(&summary);
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
