//! From the first byte of a connection to its pipe: CONNECT is read, the hooks admit the client, the
//! broker is dialled.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use mproxy_codec::{ConnectPacket, Direction, Kind, ReasonCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tower_service::Service;

use super::claim::Claim;
use super::connect::{hold, parse_connect, read_connect};
use super::known::{Known, Rejected, Stage};
use super::renew::Renewal;
use super::{Live, Session, ask, will};
use crate::BoxError;
use crate::admit::{Admission, Connect};
use crate::cause::{Cause, Denial, End, Overdue};
use crate::context::{Names, SessionInfo};
use crate::flow::{Flow, Inbox, Outbox};
use crate::hook::{Hooks, PacketService};
use crate::pipe::Pipe;
use crate::recorder::Batch;
use crate::reply::Replies;
use crate::rules::{Rules, lower_aliases, lower_keep_alive};
use crate::slow;
use crate::summary::{Glimpse, Summary};

/// What is known of a connection before it has a pipe.
struct Prologue<S, U, D, A> {
    server: S,
    admitted: Admitted<U, D, A>,
    /// What the client sent behind its CONNECT.
    rest: BytesMut,
    /// When the CONNECT, and `rest` with it, had come.
    received_at: Instant,
}

/// A client that the hooks have let in.
struct Admitted<U, D, A> {
    connect: Connect,
    hooks: Hooks<U, D>,
    renewal: Renewal<A>,
    session: SessionInfo,
}

impl Session {
    /// Brings a connection to the point where it has a pipe, or to its end.
    pub(super) async fn open<C, A, U, D, F, Fut, S, E>(
        self,
        mut client: C,
        admit: A,
        dial: F,
    ) -> Result<Box<Live<C, S, U, D, A>>, Box<Summary>>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        A: Service<Connect, Response = Admission<U, D>>,
        A::Error: Into<BoxError>,
        U: PacketService,
        D: PacketService,
        F: FnOnce(&Connect) -> Fut,
        Fut: Future<Output = Result<S, E>>,
        S: AsyncRead + AsyncWrite + Unpin,
        E: Into<BoxError>,
    {
        let started = Instant::now();
        // boxed, as the rest of what few connections come to: most only wait
        match self.prologue(&mut client, admit, dial).await {
            Ok(prologue) => Ok(self.begin(client, *prologue, started)),
            Err(rejected) => {
                let summary = Box::pin(self.reject(client, *rejected, started)).await;
                Err(Box::new(summary))
            }
        }
    }

    /// Puts the pipe together.
    fn begin<C, S, U, D, A>(
        self,
        client: C,
        prologue: Prologue<S, U, D, A>,
        started: Instant,
    ) -> Box<Live<C, S, U, D, A>>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        S: AsyncRead + AsyncWrite + Unpin,
        U: PacketService,
        D: PacketService,
    {
        let Prologue {
            server,
            admitted,
            rest,
            received_at,
        } = prologue;
        let Admitted {
            connect,
            hooks,
            renewal,
            session,
        } = admitted;
        let packet = connect.packet();
        let ages = packet.version().is_v5();
        let mut out = Outbox::new(ages);
        out.push(packet.as_bytes());
        let kept = renewal.kept(&session, hooks.held);
        let rules = Rules::new(packet, session, self.limits);
        let mut inbox = Inbox::new(rest);
        inbox.wait_since(received_at);
        let (none, back) = (Inbox::default(), Outbox::new(ages));
        let to_server = Flow::new(Direction::ToServer, hooks.to_server, inbox, out);
        let to_client = Flow::new(Direction::ToClient, hooks.to_client, none, back);
        Box::new(Live {
            pipe: Pipe::new(
                (client, server),
                (to_server, to_client),
                rules,
                self.recorder,
                self.handle,
                started,
                kept,
            ),
            renewal,
            on_close: hooks.on_close.map(Box::new),
        })
    }

    /// Reads CONNECT, asks the hooks, dials the broker; ends early when ordered to.
    async fn prologue<C, A, U, D, F, Fut, S, E>(
        &self,
        client: &mut C,
        admit: A,
        dial: F,
    ) -> Result<Box<Prologue<S, U, D, A>>, Box<Rejected>>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        A: Service<Connect, Response = Admission<U, D>>,
        A::Error: Into<BoxError>,
        U: PacketService,
        F: FnOnce(&Connect) -> Fut,
        Fut: Future<Output = Result<S, E>>,
        E: Into<BoxError>,
    {
        let mut known = Known::default();
        // the future goes before what it has found out is looked at, also when it panicked
        let outcome = {
            let mut stages = pin!(self.stages(client, admit, dial, &mut known));
            poll_fn(|cx| {
                if let Poll::Ready(order) = self.handle.poll_order(cx) {
                    return Poll::Ready(Ok(Err(order.into())));
                }
                match catch_unwind(AssertUnwindSafe(|| stages.as_mut().poll(cx))) {
                    Ok(polled) => polled.map(Ok),
                    Err(panic) => Poll::Ready(Err(panic)),
                }
            })
            .await
        };
        match outcome.unwrap_or_else(|panic| Err(known.stage.panicked(&*panic))) {
            Ok(mut prologue) => {
                prologue.admitted.hooks.on_close = known.on_close;
                Ok(prologue)
            }
            Err(end) => Err(Box::new(Rejected { end, known })),
        }
    }

    async fn stages<C, A, U, D, F, Fut, S, E>(
        &self,
        client: &mut C,
        admit: A,
        dial: F,
        known: &mut Known,
    ) -> Result<Box<Prologue<S, U, D, A>>, End>
    where
        C: AsyncRead + Unpin,
        A: Service<Connect, Response = Admission<U, D>>,
        A::Error: Into<BoxError>,
        U: PacketService,
        F: FnOnce(&Connect) -> Fut,
        Fut: Future<Output = Result<S, E>>,
        E: Into<BoxError>,
    {
        let (frame, rest) = self.read(client, known).await?;
        // boxed: a connection that has sent nothing must not pay for it
        let behind = async move {
            let received_at = Instant::now();
            let connect = self.parse(frame, known)?;
            let mut admitted = self.admit(connect, admit, known).await?;
            known.stage = Stage::Dial;
            let server = self.dial(dial, &mut admitted).await?;
            Ok(Box::new(Prologue {
                server,
                admitted,
                rest,
                received_at,
            }))
        };
        Box::pin(behind).await
    }

    /// Reads CONNECT, in time, and what stands behind it.
    async fn read<C>(&self, client: &mut C, known: &mut Known) -> Result<(Bytes, BytesMut), End>
    where
        C: AsyncRead + Unpin,
    {
        let limits = &*self.limits;
        let kept = self.peer.size();
        hold(&self.handle, kept)?;
        let mut rest = BytesMut::new();
        let read = read_connect(client, limits, (&self.handle, kept), &mut rest);
        let read = timeout(limits.connect_timeout, read).await;
        let read = read.unwrap_or_else(|_| Err(Box::new(Cause::Overdue(Overdue::Connect))));
        let frame = read.inspect_err(|end| {
            let batch = Batch {
                bytes: rest.len() as u64,
                ..Batch::default()
            };
            // of no packet: recorders count packets
            self.handle.count(Direction::ToServer, &batch);
            known.glimpse = Some(Glimpse::of(&rest, end));
        })?;
        // twice: the names in it are kept, too, and hooks may make it another one
        hold(&self.handle, kept + rest.capacity() + 2 * frame.len())?;
        Ok((frame, rest))
    }

    /// Parses CONNECT, and lets in what is served here.
    fn parse(&self, frame: Bytes, known: &mut Known) -> Result<Connect, End> {
        let limits = &*self.limits;
        known.version = ConnectPacket::version_of(&frame);
        let mut batch = Batch::default();
        batch.read(Kind::Connect, frame.len());
        self.handle
            .enter(Direction::ToServer, &batch, &*self.recorder);
        let frame = limits.repair(frame);
        let packet = parse_connect(&frame, limits)
            .and_then(|packet| limits.admit(packet))
            .inspect_err(|end| known.glimpse = Some(Glimpse::of(&frame, end)))?;
        tracing::debug!(
            target: "mproxy::session",
            listener = &*self.peer.listener,
            peer = %self.peer,
            client_id = packet.client_id(),
            version = packet.version().as_str(),
            "CONNECT read"
        );
        let connect = Connect::of_session(packet, self.peer.clone(), self.handle.clone());
        self.recorder.connect(connect.info());
        known.replies = Some(Replies::for_client(connect.packet()));
        known.session = Some(connect.info().clone());
        known.stage = Stage::Admission;
        Ok(connect)
    }

    /// Asks the hooks about the client, and about its will.
    async fn admit<A, U, D>(
        &self,
        connect: Connect,
        mut admit: A,
        known: &mut Known,
    ) -> Result<Admitted<U, D, A>, End>
    where
        A: Service<Connect, Response = Admission<U, D>>,
        A::Error: Into<BoxError>,
        U: PacketService,
    {
        let recorder = &*self.recorder;
        let info = connect.info().clone();
        let claimed = Claim::of(connect.packet());
        let sent: Names = info.names().clone();
        let asked = ask::admit(&mut admit, connect, &self.limits);
        let asked = slow::watched::<A, _>(asked, "CONNECT", info, recorder);
        let (mut connect, mut hooks) = match asked.await? {
            Admission::Admit { connect, hooks } => (connect, hooks),
            Admission::Refuse(refusal) => {
                self.handle.denied(recorder);
                return Err(Cause::turned_away(refusal, None));
            }
        };
        let session = connect.info().clone();
        self.handle.set_info(&session);
        known.session = Some(session.clone());
        known.on_close = hooks.on_close.take();
        if claimed.is_contradicted_by(connect.packet()) {
            let code = ReasonCode::BAD_AUTHENTICATION_METHOD;
            return Err(Cause::denied(Denial::Credentials, code));
        }
        known.stage = Stage::Will;
        let mut kept = None;
        if let Some(will) = will::of(&connect)? {
            let frame = will.as_bytes().clone();
            let judged = will::offer(
                &mut hooks.to_server,
                will,
                &mut connect,
                &self.limits,
                recorder,
            );
            let judged = slow::watched::<U, _>(judged, "PUBLISH", session.clone(), recorder).await;
            let is_denied = match &judged {
                Ok(taken_out) => *taken_out,
                Err(end) => matches!(**end, Cause::TurnedAway { .. }),
            };
            if is_denied {
                self.handle.denied(recorder);
            }
            kept = (!judged?).then_some(frame);
        }
        recorder.admitted(&self.handle);
        Ok(Admitted {
            renewal: Renewal::new(admit, sent, kept, &session),
            connect,
            hooks,
            session,
        })
    }

    /// Connects to the broker, in time.
    async fn dial<U, D, A, F, Fut, S, E>(
        &self,
        dial: F,
        admitted: &mut Admitted<U, D, A>,
    ) -> Result<S, End>
    where
        F: FnOnce(&Connect) -> Fut,
        Fut: Future<Output = Result<S, E>>,
        E: Into<BoxError>,
    {
        let limits = &*self.limits;
        let transition = |transition: &'static str| {
            tracing::debug!(
                target: "mproxy::session",
                listener = &*self.peer.listener,
                peer = %self.peer,
                client_id = admitted.session.client_id(),
                "{transition}"
            );
        };
        transition("admitted");
        let dialled = timeout(limits.dial_timeout, dial(&admitted.connect)).await;
        let dialled = dialled.map_err(|_| Box::new(Cause::Overdue(Overdue::Dial)))?;
        let server = dialled.map_err(|error| Cause::not_dialled(error.into()))?;
        transition("broker dialled, CONNECT forwarded");
        let packet = admitted.connect.packet_mut();
        if admitted.hooks.to_client.kinds().contains(Kind::Publish) {
            lower_aliases(packet, limits);
        }
        lower_keep_alive(packet, limits);
        Ok(server)
    }
}
