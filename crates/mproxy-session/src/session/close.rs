//! The end of a connection: the last packets to both sides, closing so that they arrive, and the
//! report.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mproxy_codec::{Direction, ReasonCode};
use mproxy_patience::timeout;
use tokio::io::{AsyncWriteExt, ReadBuf};
use tokio::time::Instant;

use super::known::Known;
use super::{Connection, Live};
use crate::cause::{Account, Cause, End};
use crate::context::Peer;
use crate::flow::Outbox;
use crate::handle::{Running, SessionHandle, When};
use crate::hook::{OnClose, PacketService, Tap};
use crate::limits::Limits;
use crate::pipe::{Io, Pipe};
use crate::reply::{Replies, connack_code, disconnect_code};
use crate::scratch;
use crate::summary::{CloseReason, Summary};

/// How much of a closed connection is read and discarded, so that its peer gets what was written
/// last instead of a reset.
const LINGER_BYTES: usize = 64 * 1024;

/// The same for a session that ends by an order. Its peers have done nothing wrong, and may be in the middle
/// of sending: this is more than the send and the receive buffer of a connection hold in Linux by default.
/// The time is as short as for the others.
const ORDERED_LINGER_BYTES: usize = 64 * 1024 * 1024;

/// How much of it is read at once. The sockets of tokio then have others polled after half a megabyte.
const DISCARD_LEN: usize = 4 * 1024;

/// How long a side may take to accept the last packets of a session that ends [now](When::Now): a peer
/// with room in its buffers gets them at once.
const NOW_PATIENCE: Duration = Duration::from_millis(50);

impl Connection {
    /// Answers a refused client, so that the answer arrives.
    pub(super) async fn reject<C: Io>(
        self,
        client: C,
        (end, known): (End, Known),
        started: Instant,
    ) -> Summary {
        let Known {
            version,
            replies,
            session,
            on_close,
            glimpse,
            stage: _,
        } = known;
        let account = end.account(false, version);
        let mut told_connack = Some(());
        let words = version.and_then(|version| {
            let replies = replies.unwrap_or_else(|| Replies::new(version));
            let words = last_words(&end, &account, false, replies, &self.limits)?;
            told_connack = guarded(|| self.recorder.connack(session.as_ref(), version, words.1));
            Some(words)
        });
        let (last, connack) = words.unzip();
        let told = guarded(|| self.recorder.ending(account.side, account.reason));
        // discard everything that was read
        let _ = self.handle.hold(0);
        let is_gone = matches!(account.reason, CloseReason::Eof | CloseReason::Reset);
        // its place, or its memory, may be needed meanwhile
        let flush = flush(end.when(), account.limit.is_some(), &self.limits);
        let linger = Linger::of(&end, &self.limits, !is_gone);
        let closing = pin!(finish(client, last.unwrap_or_default(), flush, linger));
        self.handle
            .unless_hurried(end.when(), NOW_PATIENCE, closing)
            .await;
        let summary = Summary {
            version,
            reason_code: connack,
            connack,
            glimpse: glimpse.filter(|_| session.is_none()),
            session,
            panicked: end.panicked() || told.and(told_connack).is_none(),
            ..summary_of(&end, account, self.peer, &self.handle, started)
        };
        notify(on_close, summary, self.limits.hook_timeout).await
    }
}

/// Writes the last packets to both sides, closes both, and reports.
pub(super) async fn close<C: Io, S: Io, U: PacketService, D: PacketService, A>(
    live: Box<Live<C, S, U, D, A>>,
    end: End,
) -> Summary {
    let Live {
        mut pipe, on_close, ..
    } = *live;
    let (started, limits) = (pipe.started(), Arc::clone(&pipe.rules.limits));
    let (session, version) = (pipe.rules.session.clone(), pipe.rules.version());
    let connack = pipe.rules.phase.connack;
    let account = end.account(connack.is_some(), Some(version));
    let told = guarded(|| pipe.recorder.ending(account.side, account.reason));
    let said = guarded(|| pipe.say_last(&end, &account));
    let panicked = end.panicked() || told.is_none() || said.is_none();
    let code = said.flatten();
    // the hooks live until the notices of the end have run
    let (handle, _hooks) = pipe.close(&end, &account).await;
    let peer = session.peer().clone();
    let summary = Summary {
        version: Some(version),
        session: Some(session),
        reason_code: code.or_else(|| end.received()),
        connack: connack.or(code),
        dialled: true,
        panicked,
        ..summary_of(&end, account, peer, &handle, started)
    };
    drop(handle);
    notify(on_close.map(|notice| *notice), summary, limits.hook_timeout).await
}

impl<C: Io, S: Io, U: PacketService, D: PacketService> Pipe<C, S, U, D> {
    /// Queues the last packets to both sides, unless they are inside one. Returns the code that the
    /// client is told.
    fn say_last(&mut self, end: &Cause, account: &Account) -> Option<ReasonCode> {
        let rules = &self.rules;
        let (session, recorder) = (&rules.session, &*self.recorder);
        self.to_server.tell_slow_polls(session, recorder);
        self.to_client.tell_slow_polls(session, recorder);
        let (up, down) = (&mut self.to_server.out, &mut self.to_client.out);
        if end.suppresses_will() && rules.phase.is_established() && !up.is_mid_packet() {
            up.push(&[0xe0, 0x00]);
        }
        if down.is_mid_packet() {
            return None;
        }
        let is_answered = rules.phase.connack.is_some();
        let words = last_words(end, account, is_answered, rules.replies, &rules.limits);
        let (packet, code) = words?;
        down.push(&packet);
        if !is_answered {
            recorder.connack(Some(session), rules.version(), code);
        }
        Some(code)
    }

    /// Closes both sides so that what is queued arrives. Returns the handle, and the hooks.
    async fn close(self, end: &Cause, account: &Account) -> (Running, (Tap<U>, Tap<D>)) {
        let limits = &self.rules.limits;
        let is_client_done = self.to_server.has_closed();
        let is_broker_done = self.to_client.has_closed();
        let (up, to_server) = self.to_server.into_parts();
        let (down, to_client) = self.to_client.into_parts();
        let queues = match end.when() {
            When::Abort => <[BytesMut; 2]>::default(),
            _ => [up, down].map(Outbox::into_queue),
        };
        let _ = self
            .handle
            .hold(queues.iter().map(BytesMut::capacity).sum());
        let [up, down] = queues.map(BytesMut::freeze);
        // a client that has disconnected sends nothing more, so closing cannot cause a reset
        let says_more = !matches!(
            account.reason,
            CloseReason::Disconnect | CloseReason::DisconnectWithWill
        );
        // a client that has reached a limit keeps its place no longer than it takes to tell it
        let client_flush = flush(end.when(), account.limit.is_some(), limits);
        let is_late = account.reason == CloseReason::WriteTimeout;
        let broker_flush = flush(end.when(), is_late, limits);
        let client_linger = Linger::of(end, limits, says_more && !is_client_done);
        let broker_linger = Linger::of(end, limits, !is_broker_done);
        // pinned here: each future that they were moved into would keep room for them once more
        let client = pin!(finish(self.client, down, client_flush, client_linger));
        let broker = match self.broker_is_shut && is_broker_done {
            true => {
                drop(self.broker);
                None
            }
            false => Some(finish(self.broker, up, broker_flush, broker_linger)),
        };
        let mut broker = pin!(broker);
        let closing = pin!(async {
            match broker.as_mut().as_pin_mut() {
                None => client.await,
                Some(broker) => drop(tokio::join!(client, broker)),
            }
        });
        self.handle
            .unless_hurried(end.when(), NOW_PATIENCE, closing)
            .await;
        (self.handle, (to_server, to_client))
    }
}

/// Calls the recorder, which is code of others: a panic must not lose the notices of the end and the summary.
/// `None` if it has panicked.
fn guarded<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}

/// The last packet to a client and its code, if it gets one: a CONNACK while it has none.
fn last_words(
    end: &Cause,
    account: &Account,
    is_answered: bool,
    replies: Replies,
    limits: &Limits,
) -> Option<(Bytes, ReasonCode)> {
    let (code, text) = account.last_words(end, is_answered, limits)?;
    if is_answered {
        let packet = replies.disconnect(code, text)?;
        Some((packet, disconnect_code(code)))
    } else {
        Some((replies.connack(code, text)?, connack_code(code)))
    }
}

/// What a summary has of the cause and the handle. The rest is that of a connection on which nothing was
/// read.
fn summary_of(
    end: &Cause,
    account: Account,
    peer: Peer,
    handle: &SessionHandle,
    started: Instant,
) -> Summary {
    Summary {
        id: handle.id(),
        peer,
        session: None,
        version: None,
        side: account.side,
        reason: account.reason,
        reason_code: None,
        connack: None,
        detail: account.detail,
        limit: account.limit,
        foreign: end.foreign(),
        glimpse: None,
        dialled: false,
        duration: started.elapsed(),
        to_server: handle.traffic(Direction::ToServer),
        to_client: handle.traffic(Direction::ToClient),
        shed: handle.shed(),
        panicked: end.panicked(),
        packet: end.packet(),
        source: end.source(),
    }
}

/// How long the queued bytes of a side may take to be written.
const fn flush(when: When, is_short: bool, limits: &Limits) -> Duration {
    match when {
        When::Border if is_short => limits.linger,
        When::Border => limits.write_timeout,
        When::Now | When::Abort => NOW_PATIENCE,
    }
}

/// How long a closed side is read, and how much of it.
#[derive(Clone, Copy)]
struct Linger {
    time: Duration,
    bytes: usize,
}

impl Linger {
    /// `None` if the side sends nothing more.
    const fn of(end: &Cause, limits: &Limits, is_open: bool) -> Option<Self> {
        if !is_open {
            return None;
        }
        Some(Self {
            time: limits.linger,
            bytes: match end {
                Cause::Ordered(_) => ORDERED_LINGER_BYTES,
                _ => LINGER_BYTES,
            },
        })
    }
}

/// Writes the last bytes, sends the end of the stream and then keeps reading for a while: closing a
/// socket with unread input resets it, and the reset destroys the bytes written last.
async fn finish<T: Io>(mut io: T, last: Bytes, flush: Duration, linger: Option<Linger>) {
    let written = timeout(flush, async {
        io.write_all(&last).await?;
        io.shutdown().await
    })
    .await;
    // an error only means that the peer is gone, and the session has ended anyway
    if let (Ok(Ok(())), Some(linger)) = (written, linger) {
        let mut left = linger.bytes;
        let _ = timeout(linger.time, poll_fn(|cx| discard(&mut io, &mut left, cx))).await;
        // A WebSocket has said its own goodbye, and waited for that of the peer; what is below it has not.
        let _ = timeout(NOW_PATIENCE, io.shutdown()).await;
    }
}

/// Reads until the end or an error, or until as much was read as was `left`. What was read is in the buffer of the
/// thread: a fleet that is closed at once would take a buffer for each of its connections.
fn discard<T: Io>(io: &mut T, left: &mut usize, cx: &mut Context<'_>) -> Poll<()> {
    while *left > 0 {
        let mut scratch = scratch::take_read();
        let mut room = ReadBuf::new(&mut scratch[..DISCARD_LEN]);
        let polled = Pin::new(&mut *io).poll_read(cx, &mut room);
        let read = room.filled().len();
        scratch::give_read(scratch);
        match ready!(polled) {
            Ok(()) if read > 0 => *left = left.saturating_sub(read),
            _ => break,
        }
    }
    Poll::Ready(())
}

/// Runs the notices of the end, in time; returns the summary with what became of them.
async fn notify(on_close: Option<OnClose>, summary: Summary, limit: Duration) -> Summary {
    let Some(on_close) = on_close else {
        return summary;
    };
    let copy = summary.clone();
    let mut notice = pin!(async { on_close(copy).await });
    let guarded = poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| notice.as_mut().poll(cx)));
        polled.map_or(Poll::Ready(true), |polled| polled.map(|_| false))
    });
    let panicked = timeout(limit, guarded).await.unwrap_or(false);
    Summary {
        panicked: summary.panicked || panicked,
        ..summary
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;
    use crate::hook::Forward;

    fn size_behind<A, B, F>(_: fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    /// It was 13.8 KB, most of it two buffers that were in it several times: a drain of 10,000 sessions took 138 MB,
    /// and each session ended with a copy of that on its way to the heap.
    #[test]
    fn a_session_that_is_closed_takes_little_memory() {
        let size = size_behind(close::<TcpStream, TcpStream, Forward, Forward, ()>);
        assert!(size <= 4096, "{size} bytes");
    }
}
