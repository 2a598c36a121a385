//! A connection from its first byte to its summary.

use std::borrow::Cow;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mproxy_codec::{ConnectPacket, DecodeError, Direction, Head, Kind, ReasonCode, Version};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout};
use tower_service::Service;

use crate::BoxError;
use crate::admit::{Admission, Connect};
use crate::context::{Peer, SessionInfo};
use crate::control::Control;
use crate::core::{Core, lower_aliases};
use crate::error::{End, Violation};
use crate::flow::Flow;
use crate::hook::{Hooks, OnClose, PacketService};
use crate::limits::Limits;
use crate::outbox::Outbox;
use crate::pipe::Pipe;
use crate::recorder::{Batch, NoRecorder, Recorder};
use crate::reply::{Replies, connack_code};
use crate::scratch;
use crate::summary::{CloseReason, Side, Summary, Traffic};

/// How much of a closed connection is read and thrown away, so that its peer gets what was written
/// last instead of a reset.
const LINGER_BYTES: usize = 64 * 1024;

/// One client connection and, once it is admitted, its broker connection.
///
/// ```
/// use mproxy_session::{Hooks, Peer, Session, new_hooks};
///
/// # async fn example(client: tokio::net::TcpStream) {
/// let summary = Session::new(Peer::new("mqtt"))
///     .run(client, new_hooks(|_| Hooks::none()), |_connect| {
///         tokio::net::TcpStream::connect(("127.0.0.1", 1883))
///     })
///     .await;
/// println!("{} ended it: {}", summary.side, summary.reason);
/// # }
/// ```
pub struct Session {
    peer: Peer,
    limits: Arc<Limits>,
    recorder: Arc<dyn Recorder>,
    control: Control,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("peer", &self.peer)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// What is known of a connection before it has a pipe.
struct Prologue<S, U, D> {
    server: S,
    hooks: Hooks<U, D>,
    connect: ConnectPacket,
    /// What the client sent behind its CONNECT.
    rest: BytesMut,
    session: SessionInfo,
    received: Traffic,
}

/// What is known of a client so far. It outlives the stages that find it out, so that a client whose
/// hook panics, or who is sent away while the broker is dialled, is answered and reported like any
/// other.
#[derive(Default)]
struct Known {
    version: Option<Version>,
    session: Option<SessionInfo>,
    on_close: Option<OnClose>,
    /// The CONNECT, once it has come.
    received: Traffic,
}

/// A connection that ended before it had a pipe.
struct Rejected {
    end: End,
    known: Known,
    panicked: bool,
}

impl Session {
    /// A session with default limits that counts nothing.
    #[must_use]
    pub fn new(peer: Peer) -> Self {
        Self {
            peer,
            limits: Arc::default(),
            recorder: Arc::new(NoRecorder),
            control: Control::new(),
        }
    }

    /// Sets bounds and policies.
    #[must_use]
    pub fn limits(mut self, limits: Arc<Limits>) -> Self {
        self.limits = limits;
        self
    }

    /// Sets who receives the counters.
    #[must_use]
    pub fn recorder(mut self, recorder: Arc<dyn Recorder>) -> Self {
        self.recorder = recorder;
        self
    }

    /// Sets the handle that can end the session.
    #[must_use]
    pub fn control(mut self, control: Control) -> Self {
        self.control = control;
        self
    }

    /// Serves the connection until it is closed, and says how it went.
    ///
    /// `admit` is asked about the CONNECT; only when it admits is `dial` called, to connect to the
    /// broker. Errors and panics of hooks close this session and nothing else.
    ///
    /// # Cancel safety
    /// Dropping the future closes both connections at once, without flushing and without notices.
    pub fn run<C, A, U, D, F, Fut, S, E>(
        self,
        client: C,
        admit: A,
        dial: F,
    ) -> impl Future<Output = Summary>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        A: Service<Connect, Response = Admission<U, D>>,
        A::Error: Into<BoxError>,
        U: PacketService,
        D: PacketService,
        F: FnOnce(&Connect) -> Fut,
        Fut: Future<Output = Result<S, E>>,
        S: AsyncRead + AsyncWrite + Unpin,
        E: fmt::Display,
    {
        // The beginning, the pipe and the end are boxed one by one: a session that lives long
        // keeps no room for its beginning and its end.
        let opening = Box::pin(self.open(client, admit, dial));
        async move {
            let opened = opening.await;
            let mut live = match opened {
                Ok(live) => live,
                Err(summary) => return *summary,
            };
            let (end, panicked) = poll_fn(|cx| live.pipe.poll(cx)).await;
            Box::pin(close(live, end, panicked)).await
        }
    }

    /// Brings a connection to the point where it has a pipe, or to its end.
    async fn open<C, A, U, D, F, Fut, S, E>(
        self,
        mut client: C,
        admit: A,
        dial: F,
    ) -> Result<Box<Live<C, S, U, D>>, Box<Summary>>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        A: Service<Connect, Response = Admission<U, D>>,
        A::Error: Into<BoxError>,
        U: PacketService,
        D: PacketService,
        F: FnOnce(&Connect) -> Fut,
        Fut: Future<Output = Result<S, E>>,
        S: AsyncRead + AsyncWrite + Unpin,
        E: fmt::Display,
    {
        let started = Instant::now();
        let Prologue {
            server,
            hooks,
            connect,
            rest,
            session,
            received,
        } = match self.prologue(&mut client, admit, dial).await {
            Ok(prologue) => prologue,
            Err(rejected) => return Err(Box::new(self.reject(client, rejected, started).await)),
        };
        let mut out = Outbox::default();
        out.push(connect.as_bytes());
        let core = Core::new(&connect, session, self.limits);
        let mut to_server = Flow::new(Direction::ToServer, hooks.to_server, rest, out);
        to_server.traffic = received;
        let flows = (
            to_server,
            Flow::new(
                Direction::ToClient,
                hooks.to_client,
                BytesMut::new(),
                Outbox::default(),
            ),
        );
        Ok(Box::new(Live {
            pipe: Pipe::new((client, server), flows, core, self.recorder, self.control),
            on_close: hooks.on_close,
            started,
        }))
    }

    /// Reads CONNECT, asks the hooks, dials the broker; ends early when ordered to.
    async fn prologue<C, A, U, D, F, Fut, S, E>(
        &self,
        client: &mut C,
        admit: A,
        dial: F,
    ) -> Result<Prologue<S, U, D>, Rejected>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        A: Service<Connect, Response = Admission<U, D>>,
        A::Error: Into<BoxError>,
        F: FnOnce(&Connect) -> Fut,
        Fut: Future<Output = Result<S, E>>,
        E: fmt::Display,
    {
        let known = Mutex::new(Known::default());
        let outcome = {
            let mut stage = pin!(self.stages(client, admit, dial, &known));
            poll_fn(|cx| {
                self.control.register(cx);
                if let Some(order) = self.control.order() {
                    let end = End::told(Side::Proxy, order.reason, order.reason_code);
                    return Poll::Ready(Err((end, false)));
                }
                catch_unwind(AssertUnwindSafe(|| stage.as_mut().poll(cx)))
                    .map(|poll| poll.map_err(|end| (end, false)))
                    .unwrap_or_else(|_| {
                        let end = End::hook("a hook of the CONNECT stage panicked");
                        Poll::Ready(Err((end, true)))
                    })
            })
            .await
        };
        let known = known.into_inner().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(mut prologue) => {
                prologue.hooks.on_close = known.on_close;
                prologue.received = known.received;
                Ok(prologue)
            }
            Err((end, panicked)) => Err(Rejected {
                end,
                known,
                panicked,
            }),
        }
    }

    async fn stages<C, A, U, D, F, Fut, S, E>(
        &self,
        client: &mut C,
        mut admit: A,
        dial: F,
        known: &Mutex<Known>,
    ) -> Result<Prologue<S, U, D>, End>
    where
        C: AsyncRead + Unpin,
        A: Service<Connect, Response = Admission<U, D>>,
        A::Error: Into<BoxError>,
        F: FnOnce(&Connect) -> Fut,
        Fut: Future<Output = Result<S, E>>,
        E: fmt::Display,
    {
        let known = || known.lock().unwrap_or_else(PoisonError::into_inner);
        let limits = &*self.limits;
        let read = timeout(limits.connect_timeout, read_connect(client, limits));
        let (frame, rest) = read.await.unwrap_or_else(|_| {
            let end = End::quiet(Side::Proxy, CloseReason::ConnectTimeout);
            Err(end.with_detail("no complete CONNECT came in time"))
        })?;
        let version = ConnectPacket::version_of(&frame);
        {
            let mut batch = Batch::default();
            batch.read(Kind::Connect, frame.len());
            self.recorder.record(Direction::ToServer, &batch);
            let mut known = known();
            known.version = version;
            known.received.packets = 1;
            known.received.bytes = frame.len() as u64;
        }
        let packet = parse_connect(frame, version)?;
        let version = packet.version();
        if !limits.versions.contains(version) {
            let code = ReasonCode::UNSUPPORTED_PROTOCOL_VERSION;
            let end = End::told(Side::Proxy, CloseReason::UnsupportedVersion, code);
            return Err(end.with_detail(format!("MQTT {version} is not served here")));
        }
        let connect = Connect::new(packet, self.peer.clone());
        known().session = Some(connect.info().clone());
        let asked = timeout(limits.hook_timeout, async {
            poll_fn(|cx| admit.poll_ready(cx))
                .await
                .map_err(Into::into)?;
            admit.call(connect).await.map_err(Into::into)
        });
        let admission: Admission<U, D> = match asked.await {
            Ok(Ok(admission)) => admission,
            Ok(Err(error)) => {
                let detail = format!("a hook of the CONNECT stage failed: {error}");
                return Err(End::hook(detail));
            }
            Err(_) => return Err(End::hook("a hook of the CONNECT stage took too long")),
        };
        let (mut connect, mut hooks) = match admission {
            Admission::Admit { connect, hooks } => (connect, hooks),
            Admission::Refuse(refusal) => {
                let code = connack_code(refusal.reason);
                let mut end = End::told(Side::Proxy, CloseReason::AuthDenied, code);
                end.detail = refusal.text.map(|text| Cow::Owned(text.into()));
                return Err(end);
            }
        };
        let session = connect.info().clone();
        {
            let mut known = known();
            known.session = Some(session.clone());
            known.on_close = hooks.on_close.take();
        }
        let server = dial(&connect).await.map_err(|error| {
            let code = ReasonCode::SERVER_UNAVAILABLE;
            End::told(Side::Upstream, CloseReason::UpstreamUnreachable, code)
                .with_detail(error.to_string())
        })?;
        if hooks.to_client.kinds().contains(Kind::Publish) {
            lower_aliases(connect.packet_mut(), limits);
        }
        let connect = connect.packet().clone();
        Ok(Prologue {
            server,
            hooks,
            connect,
            rest,
            session,
            received: Traffic::default(),
        })
    }

    /// Answers a client that is not let in, so that the answer arrives.
    async fn reject<C>(self, client: C, rejected: Rejected, started: Instant) -> Summary
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let Rejected {
            end,
            known,
            panicked,
        } = rejected;
        let Known {
            version,
            session,
            on_close,
            received,
        } = known;
        let mut last = BytesMut::new();
        let mut connack = None;
        if let (true, Some(version)) = (end.tell_client, version)
            && let Some(packet) = Replies::new(version).connack(end.code, client_text(&end))
        {
            last.extend_from_slice(&packet);
            let code = connack_code(end.code);
            connack = Some(code);
            self.recorder.connack(session.as_ref(), version, code);
        }
        let gone = matches!(end.reason, CloseReason::Eof | CloseReason::Reset);
        finish(
            client,
            last,
            self.limits.write_timeout,
            linger(&self.limits, !gone),
        )
        .await;
        let summary = Summary {
            peer: self.peer,
            session,
            version,
            side: end.side,
            reason: end.reason,
            reason_code: end.code,
            connack,
            detail: end.detail.map(Cow::into_owned),
            duration: started.elapsed(),
            to_server: received,
            to_client: Traffic::default(),
            panicked,
        };
        notify(on_close, summary, self.limits.hook_timeout).await
    }
}

/// A connection whose CONNECT was admitted.
struct Live<C, S, U: PacketService, D: PacketService> {
    pipe: Pipe<C, S, U, D>,
    on_close: Option<OnClose>,
    started: Instant,
}

/// Writes what is still to be said to both sides, closes both, and reports.
async fn close<C, S, U, D>(live: Box<Live<C, S, U, D>>, end: End, panicked: bool) -> Summary
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
    U: PacketService,
    D: PacketService,
{
    let Live {
        pipe,
        on_close,
        started,
    } = *live;
    let Pipe {
        client,
        server,
        to_server,
        to_client,
        core,
        recorder,
        ..
    } = pipe;
    let limits = Arc::clone(&core.limits);
    let mut connack = core.connack;

    let mut end = end;
    if connack.is_none() && end.side == Side::Upstream && end.code == ReasonCode::UNSPECIFIED_ERROR
    {
        // whatever the broker did instead of answering CONNECT
        end.code = ReasonCode::SERVER_UNAVAILABLE;
    }
    let mut to_client_out = to_client.out;
    if end.tell_client && !to_client_out.is_mid_packet() {
        let text = client_text(&end);
        let farewell = if connack.is_none() {
            let code = connack_code(end.code);
            connack = Some(code);
            recorder.connack(Some(&core.session), core.version, code);
            core.replies.connack(code, text)
        } else {
            core.replies.disconnect(end.code, text)
        };
        if let Some(farewell) = farewell {
            to_client_out.push(&farewell);
        }
    }
    let mut to_server_out = to_server.out;
    if end.suppress_will && core.is_established() && !to_server_out.is_mid_packet() {
        to_server_out.push(&[0xe0, 0x00]);
    }
    let (to_server, to_client) = (
        (to_server.traffic, to_server.eof),
        (to_client.traffic, to_client.eof),
    );
    let flush = match end.reason {
        CloseReason::WriteTimeout => limits.linger,
        _ => limits.write_timeout,
    };
    tokio::join!(
        finish(
            client,
            to_client_out.into_queue(),
            flush,
            linger(&limits, !to_server.1)
        ),
        finish(
            server,
            to_server_out.into_queue(),
            flush,
            linger(&limits, !to_client.1)
        ),
    );
    let summary = Summary {
        peer: core.session.peer().clone(),
        version: Some(core.version),
        session: Some(core.session),
        side: end.side,
        reason: end.reason,
        reason_code: end.code,
        connack,
        detail: end.detail.map(Cow::into_owned),
        duration: started.elapsed(),
        to_server: to_server.0,
        to_client: to_client.0,
        panicked,
    };
    notify(on_close, summary, limits.hook_timeout).await
}

const fn linger(limits: &Limits, is_open: bool) -> Option<Duration> {
    if is_open { Some(limits.linger) } else { None }
}

/// The text for a client's Reason String: what it did wrong, not what is wrong with the proxy.
fn client_text(end: &End) -> Option<&str> {
    let own_fault = end.side == Side::Client || end.reason == CloseReason::AuthDenied;
    end.detail.as_deref().filter(|_| own_fault)
}

/// Writes the last bytes, sends the end of the stream and then reads on for a while: closing a
/// socket with unread input resets it, and the reset destroys what was written last.
async fn finish<T>(mut io: T, last: BytesMut, flush: Duration, linger: Option<Duration>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let written = timeout(flush, async {
        io.write_all(&last).await?;
        io.shutdown().await
    });
    // an error says that the peer is gone, which is no news at the end
    if let (Ok(Ok(())), Some(linger)) = (written.await, linger) {
        let _ = timeout(linger, async {
            let mut room = [0; 1024];
            let mut left = LINGER_BYTES;
            while left > 0 {
                match io.read(&mut room).await {
                    Ok(0) | Err(_) => break,
                    Ok(read) => left = left.saturating_sub(read),
                }
            }
        })
        .await;
    }
}

async fn notify(on_close: Option<OnClose>, summary: Summary, limit: Duration) -> Summary {
    let Some(on_close) = on_close else {
        return summary;
    };
    let copy = summary.clone();
    let notice = catch_unwind(AssertUnwindSafe(|| on_close(copy)));
    let Ok(mut notice) = notice else {
        return Summary {
            panicked: true,
            ..summary
        };
    };
    let guarded =
        poll_fn(
            |cx| match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut notice).poll(cx))) {
                Ok(poll) => poll.map(Some),
                Err(_) => Poll::Ready(None),
            },
        );
    match timeout(limit, guarded).await {
        Ok(Some(_)) | Err(_) => summary,
        Ok(None) => Summary {
            panicked: true,
            ..summary
        },
    }
}

/// Reads up to the end of the first packet, which must be CONNECT.
async fn read_connect<C>(client: &mut C, limits: &Limits) -> Result<(Bytes, BytesMut), End>
where
    C: AsyncRead + Unpin,
{
    let mut received = BytesMut::new();
    loop {
        if let Some(len) = connect_len(&received, limits)?
            && received.len() >= len
        {
            if received.len() == len {
                // nothing behind it: the session keeps no buffer
                return Ok((received.freeze(), BytesMut::new()));
            }
            let frame = received.split_to(len).freeze();
            return Ok((frame, received));
        }
        let read = poll_fn(|cx| {
            let mut room = scratch::take_read();
            let mut buffer = ReadBuf::new(&mut room);
            let polled = Pin::new(&mut *client).poll_read(cx, &mut buffer);
            received.extend_from_slice(buffer.filled());
            let read = buffer.filled().len();
            scratch::give_read(room);
            polled.map_ok(|()| read)
        });
        match read.await {
            Ok(0) => return Err(End::quiet(Side::Client, CloseReason::Eof)),
            Ok(_) => {}
            Err(error) => return Err(End::io(Side::Client, &error)),
        }
    }
}

/// The length of the CONNECT that `received` begins with, as soon as it is known.
fn connect_len(received: &[u8], limits: &Limits) -> Result<Option<usize>, End> {
    let Some(&first) = received.first() else {
        return Ok(None);
    };
    // judged by its first byte, before any length: nothing else may come first
    if first != 0x10 && first != 0x11 {
        return Err(untold(End::violation(
            Direction::ToServer,
            Violation::NotConnect,
        )));
    }
    let malformed = |error| untold(End::malformed(Direction::ToServer, error));
    if first != 0x10 {
        return Err(malformed(DecodeError::ReservedFlags));
    }
    let Some(head) = Head::parse(received).map_err(malformed)? else {
        return Ok(None);
    };
    if head.total_len() > limits.max_connect_size.min(limits.max_packet_size) {
        return Err(malformed(DecodeError::PacketTooLarge));
    }
    Ok(Some(head.total_len()))
}

const fn untold(mut end: End) -> End {
    end.tell_client = false;
    end
}

fn parse_connect(frame: Bytes, version: Option<Version>) -> Result<ConnectPacket, End> {
    ConnectPacket::parse(frame).map_err(|error| {
        let mut end = End::malformed(Direction::ToServer, error);
        // MQTT 3.x has words for these two only; everything else just closes
        end.tell_client = version.is_some_and(Version::is_v5)
            || matches!(
                error,
                DecodeError::ProtocolLevel | DecodeError::EmptyClientId
            );
        end
    })
}
