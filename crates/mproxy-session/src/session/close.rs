//! The end of a connection: the last words to both sides, the closing so that they arrive, and the
//! report.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use mproxy_codec::{Direction, ReasonCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::known::{Known, Rejected};
use super::{Live, Session};
use crate::cause::{Account, Cause, End};
use crate::context::Peer;
use crate::flow::Outbox;
use crate::handle::{SessionId, When};
use crate::hook::{OnClose, PacketService};
use crate::limits::Limits;
use crate::pipe::Pipe;
use crate::recorder::Recorder;
use crate::reply::{Replies, connack_code, disconnect_code};
use crate::rules::Rules;
use crate::summary::{CloseReason, Summary, Traffic};

/// How much of a closed connection is read and thrown away, so that its peer gets what was written
/// last instead of a reset.
const LINGER_BYTES: usize = 64 * 1024;

/// How long a side may take to accept the last words of a session that ends [now](When::Now): a peer
/// that has room for them in its buffers has them at once.
const NOW_PATIENCE: Duration = Duration::from_millis(50);

impl Session {
    /// Answers a client that is not let in, so that the answer arrives.
    pub(super) async fn reject<C>(self, client: C, rejected: Rejected, started: Instant) -> Summary
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let Rejected { end, known } = rejected;
        let Known {
            version,
            replies,
            session,
            on_close,
            glimpse,
            stage: _,
        } = known;
        let account = end.account(false, version);
        let mut last = BytesMut::new();
        let mut connack = None;
        if let (Some(version), Some((code, text))) =
            (version, account.last_words(&end, false, &self.limits))
        {
            let replies = replies.unwrap_or_else(|| Replies::new(version));
            if let Some(packet) = replies.connack(code, text) {
                last.extend_from_slice(&packet);
                let code = connack_code(code);
                connack = Some(code);
                self.recorder.connack(session.as_ref(), version, code);
            }
        }
        self.recorder.ending(account.side, account.reason);
        // of what was read nothing is left
        let _ = self.handle.hold(0);
        let gone = matches!(account.reason, CloseReason::Eof | CloseReason::Reset);
        if end.when() == When::Abort {
            drop(client);
        } else {
            let linger = linger(&self.limits, !gone);
            // its place, or its memory, may be needed meanwhile
            let flush = flush(end.when(), account.limit.is_some(), &self.limits);
            let closing = finish(client, last, flush, linger);
            self.handle.unless_aborted(closing).await;
        }
        let summary = Summary {
            version,
            reason_code: connack,
            connack,
            glimpse: glimpse.filter(|_| session.is_none()),
            session,
            duration: started.elapsed(),
            to_server: self.handle.traffic(Direction::ToServer),
            ..summary_of(&end, account, self.peer, self.handle.id())
        };
        notify(on_close, summary, self.limits.hook_timeout).await
    }
}

/// Writes what is still to be said to both sides, closes both, and reports.
pub(super) async fn close<C, S, U, D, A>(live: Box<Live<C, S, U, D, A>>, end: End) -> Summary
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
    U: PacketService,
    D: PacketService,
{
    let Live {
        pipe,
        renewal,
        on_close,
    } = *live;
    drop(renewal);
    let started = pipe.started();
    let Pipe {
        client,
        broker,
        to_server,
        to_client,
        rules,
        recorder,
        broker_is_shut,
        handle,
        ..
    } = pipe;
    to_server.tell_slow_polls(&rules.session, &*recorder);
    to_client.tell_slow_polls(&rules.session, &*recorder);
    let account = end.account(rules.phase.connack.is_some(), Some(rules.version()));
    recorder.ending(account.side, account.reason);
    let (is_client_done, is_broker_done) = (to_server.has_closed(), to_client.has_closed());
    let (mut up, mut down) = (to_server.out, to_client.out);
    let told = tell_client(&end, &account, &rules, &mut down, &*recorder);
    if end.suppresses_will() && rules.phase.is_established() && !up.is_mid_packet() {
        up.push(&[0xe0, 0x00]);
    }
    let limits = Arc::clone(&rules.limits);
    // a client that has reached a limit keeps its place no longer than it takes to tell it
    let flush_client = flush(end.when(), account.limit.is_some(), &limits);
    let is_late = account.reason == CloseReason::WriteTimeout;
    let flush_broker = flush(end.when(), is_late, &limits);
    let (up, down) = if end.when() == When::Abort {
        drop((up, down));
        Default::default()
    } else {
        (up.into_queue(), down.into_queue())
    };
    let _ = handle.hold(up.capacity() + down.capacity());
    // a client that has disconnected has nothing more to say that closing could answer with a reset
    let says_more = !matches!(
        account.reason,
        CloseReason::Disconnect | CloseReason::DisconnectWithWill
    );
    let client_linger = linger(&limits, says_more && !is_client_done);
    let closing_client = finish(client, down, flush_client, client_linger);
    let closing_broker = async {
        if broker_is_shut && is_broker_done {
            drop(broker);
        } else {
            finish(broker, up, flush_broker, linger(&limits, !is_broker_done)).await;
        }
    };
    let closing = async {
        tokio::join!(closing_client, closing_broker);
    };
    if end.when() == When::Abort {
        drop(closing);
    } else {
        handle.unless_aborted(closing).await;
    }
    let traffic = |direction| handle.traffic(direction);
    let (to_server, to_client) = (traffic(Direction::ToServer), traffic(Direction::ToClient));
    let id = handle.id();
    drop(handle);
    let peer = rules.session.peer().clone();
    let summary = Summary {
        version: Some(rules.replies.version),
        session: Some(rules.session),
        reason_code: told.code,
        connack: told.connack,
        dialled: true,
        duration: started.elapsed(),
        to_server,
        to_client,
        ..summary_of(&end, account, peer, id)
    };
    notify(on_close.map(|notice| *notice), summary, limits.hook_timeout).await
}

/// What a client was told in the end.
struct Told {
    /// Its CONNACK, an earlier one included.
    connack: Option<ReasonCode>,
    /// The code of the packet with which the session ended, its own or that of a side.
    code: Option<ReasonCode>,
}

/// Queues the last words to the client, unless it is inside a packet.
fn tell_client(
    end: &Cause,
    account: &Account,
    rules: &Rules,
    out: &mut Outbox,
    recorder: &dyn Recorder,
) -> Told {
    let connack = rules.phase.connack;
    let mut told = Told {
        connack,
        code: end.received(),
    };
    let words = account.last_words(end, connack.is_some(), &rules.limits);
    let Some((code, text)) = words.filter(|_| !out.is_mid_packet()) else {
        return told;
    };
    if connack.is_some() {
        if let Some(packet) = rules.replies.disconnect(code, text) {
            out.push(&packet);
            told.code = Some(disconnect_code(code));
        }
    } else if let Some(packet) = rules.replies.connack(code, text) {
        out.push(&packet);
        let code = connack_code(code);
        recorder.connack(Some(&rules.session), rules.version(), code);
        told = Told {
            connack: Some(code),
            code: Some(code),
        };
    }
    told
}

/// What a summary has of the cause. The rest is that of a connection on which nothing was read.
fn summary_of(end: &Cause, account: Account, peer: Peer, id: SessionId) -> Summary {
    Summary {
        id,
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
        duration: Duration::ZERO,
        to_server: Traffic::default(),
        to_client: Traffic::default(),
        panicked: end.panicked(),
        packet: end.packet(),
        source: end.source(),
    }
}

/// How long what waits to be written to a side may take.
const fn flush(when: When, is_short: bool, limits: &Limits) -> Duration {
    match when {
        When::Border if is_short => limits.linger,
        When::Border => limits.write_timeout,
        When::Now | When::Abort => NOW_PATIENCE,
    }
}

const fn linger(limits: &Limits, is_open: bool) -> Option<Duration> {
    if is_open { Some(limits.linger) } else { None }
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
    // an error only says that the peer is gone, and the session is over anyway
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
