//! From the first byte of a connection to its pipe: reads CONNECT, lets the hooks admit the client, waits
//! for its turn, and dials the broker.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use mproxy_codec::{ConnectPacket, Direction, Kind, PropertyId, ReasonCode};
use mproxy_patience::timeout;
use tokio::time::Instant;

use super::ahead::Ahead;
use super::ask::Admit;
use super::connect::{hold, parse_connect, read_connect};
use super::known::{Known, Stage};
use super::renew::Renewal;
use super::{Connection, Live, ask, transition, will};
use crate::BoxError;
use crate::admit::{Admission, Connect};
use crate::cause::{Cause, Denial, End, Overdue};
use crate::context::SessionInfo;
use crate::flow::{Flow, Inbox, Outbox};
use crate::hook::{Hooks, PacketService};
use crate::pipe::{Io, Pipe};
use crate::recorder::Batch;
use crate::reply::Replies;
use crate::rules::{Rules, lower_aliases, lower_keep_alive};
use crate::slow;
use crate::summary::{Glimpse, Summary};

/// What a pipe is put together from.
struct Prologue<S, U, D, A> {
    server: S,
    connect: Connect,
    hooks: Hooks<U, D>,
    renewal: Renewal<A>,
    session: SessionInfo,
    /// What the client sent after its CONNECT.
    rest: BytesMut,
    /// When the CONNECT, and all of `rest`, had arrived.
    received_at: Instant,
}

impl Connection {
    /// Brings a connection to the point where it has a pipe, or to its end.
    pub(super) async fn open<C: Io, S: Io, U: PacketService, D: PacketService, A: Admit<U, D>>(
        self,
        mut client: C,
        has_left: fn(&C) -> bool,
        admit: A,
        dial: impl AsyncFnOnce(&Connect) -> Result<S, BoxError>,
    ) -> Result<Box<Live<C, S, U, D, A>>, Box<Summary>> {
        let started = Instant::now();
        // boxed, like other rare states: most connections only wait
        match self.prologue(&mut client, has_left, admit, dial).await {
            Ok(prologue) => Ok(self.begin(client, *prologue, started)),
            Err(rejected) => {
                let summary = Box::pin(self.reject(client, *rejected, started)).await;
                Err(Box::new(summary))
            }
        }
    }

    /// Builds the pipe.
    fn begin<C: Io, S: Io, U: PacketService, D: PacketService, A>(
        self,
        client: C,
        prologue: Prologue<S, U, D, A>,
        started: Instant,
    ) -> Box<Live<C, S, U, D, A>> {
        let Prologue { hooks, renewal, .. } = prologue;
        let packet = prologue.connect.packet();
        let ages = packet.version().is_v5();
        let mut out = Outbox::new(ages);
        out.push(packet.as_bytes());
        let kept = renewal.kept(&prologue.session, hooks.held);
        let rules = Rules::new(packet, prologue.session, self.limits);
        let mut inbox = Inbox::new(prologue.rest);
        inbox.wait_since(prologue.received_at);
        let (none, back) = (Inbox::default(), Outbox::new(ages));
        let to_server = Flow::new(Direction::ToServer, hooks.to_server, inbox, out);
        let to_client = Flow::new(Direction::ToClient, hooks.to_client, none, back);
        Box::new(Live {
            pipe: Pipe::new(
                (client, prologue.server),
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

    /// Reads CONNECT, calls the hooks, waits for the client's turn, dials the broker; ends early if ordered
    /// to.
    async fn prologue<C: Io, S, U: PacketService, D, A: Admit<U, D>>(
        &self,
        client: &mut C,
        has_left: fn(&C) -> bool,
        admit: A,
        dial: impl AsyncFnOnce(&Connect) -> Result<S, BoxError>,
    ) -> Result<Box<Prologue<S, U, D, A>>, Box<(End, Known)>> {
        let mut known = Known::default();
        if self.is_second {
            return Err(Box::new((Cause::handle_in_use(), known)));
        }
        // drop the future before using its findings, even if it panicked
        let outcome = {
            let mut stages = pin!(self.stages(client, has_left, admit, dial, &mut known));
            poll_fn(|cx| {
                if let Poll::Ready(order) = self.handle.poll_own_order(cx) {
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
                prologue.hooks.on_close = known.on_close;
                Ok(prologue)
            }
            Err(end) => Err(Box::new((end, known))),
        }
    }

    async fn stages<C: Io, S, U: PacketService, D, A: Admit<U, D>>(
        &self,
        client: &mut C,
        has_left: fn(&C) -> bool,
        mut admit: A,
        dial: impl AsyncFnOnce(&Connect) -> Result<S, BoxError>,
        known: &mut Known,
    ) -> Result<Box<Prologue<S, U, D, A>>, End> {
        let (frame, mut rest) = self.read(client, known).await?;
        // boxed: a connection that has sent nothing must not pay for it
        let behind = async move {
            let received_at = Instant::now();
            let connect = self.parse(frame, known)?;
            let sent = connect.info().names().clone();
            let (mut connect, mut hooks) = self.admit(connect, &mut admit, known).await?;
            let session = connect.info().clone();
            known.stage = Stage::Will;
            let will = self.judge_will(&mut connect, &mut hooks, &session).await?;
            known.stage = Stage::Admitted;
            self.recorder.admitted(&self.handle);
            self.unless_ordered().await?;
            known.stage = Stage::Turn;
            let mut ahead = Ahead {
                client,
                has_left,
                rest: &mut rest,
                heard: None,
                handle: &self.handle,
                kept: self.peer.size() + 2 * connect.packet().as_bytes().len(),
            };
            self.wait_for_turn(&mut ahead, &connect).await?;
            known.stage = Stage::Dial;
            let dialled = self.dial(dial, &connect, &session);
            let server = self.while_held(&mut ahead, dialled).await?;
            let heard = ahead.heard;
            let packet = connect.packet_mut();
            if hooks.to_client.kinds().contains(Kind::Publish) {
                lower_aliases(packet, &self.limits);
            }
            lower_keep_alive(packet, &self.limits);
            Ok(Box::new(Prologue {
                server,
                renewal: Renewal::new(admit, sent, will, &session),
                connect,
                hooks,
                session,
                rest,
                received_at: heard.unwrap_or(received_at),
            }))
        };
        Box::pin(behind).await
    }

    /// Reads CONNECT, in time, and the bytes after it.
    async fn read(
        &self,
        client: &mut impl Io,
        known: &mut Known,
    ) -> Result<(Bytes, BytesMut), End> {
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
            // not part of a packet: recorders count packets
            self.handle.count(Direction::ToServer, &batch);
            known.glimpse = Some(Glimpse::of(&rest, end));
        })?;
        // twice, because its names are kept, too, and hooks may replace the packet
        hold(&self.handle, kept + rest.capacity() + 2 * frame.len())?;
        Ok((frame, rest))
    }

    /// Parses CONNECT, and checks that version and kind of client are served.
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
        let connect = Connect::of_session(packet, self.peer.clone(), self.handle.clone());
        tracing::debug!(
            target: "mproxy::session",
            listener = &*self.peer.listener,
            peer = %self.peer,
            client_id = connect.info().client_id(),
            version = connect.packet().version().as_str(),
            "CONNECT read"
        );
        self.recorder.connect(connect.info());
        known.replies = Some(Replies::for_client(connect.packet()));
        known.session = Some(connect.info().clone());
        known.stage = Stage::Admission;
        Ok(connect)
    }

    /// Asks the hooks about the client.
    async fn admit<U, D, A: Admit<U, D>>(
        &self,
        connect: Connect,
        admit: &mut A,
        known: &mut Known,
    ) -> Result<(Connect, Hooks<U, D>), End> {
        let recorder = &*self.recorder;
        let info = connect.info().clone();
        let claimed = Some(connect.packet().clone()).filter(has_method);
        let asked = ask::admit(admit, connect, &self.limits);
        let asked = slow::watched::<A, _>(asked, "CONNECT", info, recorder);
        let (connect, mut hooks) = match asked.await? {
            Admission::Admit { connect, hooks } => (connect, hooks),
            Admission::Refuse(refusal) => {
                self.handle.denied(recorder);
                return Err(Cause::turned_away(refusal, None));
            }
        };
        let session = connect.info().clone();
        self.handle.set_info(&session);
        known.session = Some(session);
        known.on_close = hooks.on_close.take();
        let contradicts = |claimed| contradicts(&claimed, connect.packet());
        if claimed.is_some_and(contradicts) {
            let code = ReasonCode::BAD_AUTHENTICATION_METHOD;
            return Err(Cause::denied(Denial::Credentials, code));
        }
        Ok((connect, hooks))
    }

    /// Asks the hooks about the will of the client. Returns it as they were offered it, if the broker is to
    /// have one.
    async fn judge_will<U: PacketService, D>(
        &self,
        connect: &mut Connect,
        hooks: &mut Hooks<U, D>,
        session: &SessionInfo,
    ) -> Result<Option<Bytes>, End> {
        let (limits, recorder) = (&*self.limits, &*self.recorder);
        let Some(will) = will::of(connect)? else {
            return Ok(None);
        };
        let frame = will.as_bytes().clone();
        let judged = will::offer(&mut hooks.to_server, will, connect, limits, recorder);
        let judged = slow::watched::<U, _>(judged, "PUBLISH", session.clone(), recorder).await;
        let is_denied = match &judged {
            Ok(taken_out) => *taken_out,
            Err(end) => matches!(**end, Cause::TurnedAway { .. }),
        };
        if is_denied {
            self.handle.denied(recorder);
        }
        Ok((!judged?).then_some(frame))
    }

    /// Ends a session that was ordered to end when it was admitted, before the broker hears of it.
    async fn unless_ordered(&self) -> Result<(), End> {
        match poll_fn(|cx| Poll::Ready(self.handle.poll_own_order(cx))).await {
            Poll::Ready(order) => Err(order.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// Connects to the broker, in time.
    async fn dial<S>(
        &self,
        dial: impl AsyncFnOnce(&Connect) -> Result<S, BoxError>,
        connect: &Connect,
        session: &SessionInfo,
    ) -> Result<S, End> {
        transition(session, "admitted");
        let dialled = timeout(self.limits.dial_timeout, dial(connect)).await;
        let dialled = dialled.map_err(|_| Box::new(Cause::Overdue(Overdue::Dial)))?;
        let server = dialled.map_err(Cause::not_dialled)?;
        transition(session, "broker dialled, CONNECT forwarded");
        Ok(server)
    }
}

fn has_method(packet: &ConnectPacket) -> bool {
    let properties = packet.properties();
    properties.get(PropertyId::AuthenticationMethod).is_some()
}

/// True when hooks have replaced the credentials beside an Authentication Method, and kept the method: hook
/// and broker would authenticate different users (section 4.12).
fn contradicts(claimed: &ConnectPacket, packet: &ConnectPacket) -> bool {
    let same = claimed.user_name() == packet.user_name() && claimed.password() == packet.password();
    has_method(packet) && !same
}
