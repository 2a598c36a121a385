//! The end of a connection: the last words to both sides, the closing so that they arrive, and the
//! report.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use mproxy_codec::Direction;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::{Known, Live, Rejected, Session};
use crate::cause::End;
use crate::handle::When;
use crate::hook::{OnClose, PacketService};
use crate::limits::Limits;
use crate::pipe::Pipe;
use crate::reply::{Replies, connack_code, disconnect_code};
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
        if let Some(version) = version
            && let Some((code, text)) = account.last_words(&end, false, &self.limits)
            && let Some(packet) = replies
                .unwrap_or_else(|| Replies::new(version))
                .connack(code, text)
        {
            last.extend_from_slice(&packet);
            let code = connack_code(code);
            connack = Some(code);
            self.recorder.connack(session.as_ref(), version, code);
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
            let flush = flush(end.when(), account.reason, &self.limits);
            let closing = finish(client, last, flush, linger);
            self.handle.unless_aborted(closing).await;
        }
        let summary = Summary {
            peer: self.peer,
            version,
            side: account.side,
            reason: account.reason,
            reason_code: connack,
            connack,
            detail: account.detail,
            limit: account.limit,
            foreign: end.foreign(),
            glimpse: glimpse.filter(|_| session.is_none()),
            session,
            dialled: false,
            duration: started.elapsed(),
            to_server: self.handle.traffic(Direction::ToServer),
            to_client: Traffic::default(),
            panicked: end.panicked(),
            packet: end.packet(),
            source: end.source(),
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
    let limits = Arc::clone(&rules.limits);
    let mut connack = rules.phase.connack;

    let version = rules.version();
    let account = end.account(connack.is_some(), Some(version));
    recorder.ending(account.side, account.reason);
    let mut reason_code = end.received();
    let (is_client_done, is_broker_done) = (to_server.has_closed(), to_client.has_closed());
    let mut to_client_out = to_client.out;
    if let Some((code, text)) = account.last_words(&end, connack.is_some(), &limits)
        && !to_client_out.is_mid_packet()
    {
        if connack.is_none() {
            if let Some(packet) = rules.replies.connack(code, text) {
                to_client_out.push(&packet);
                let code = connack_code(code);
                recorder.connack(Some(&rules.session), version, code);
                connack = Some(code);
                reason_code = connack;
            }
        } else if let Some(packet) = rules.replies.disconnect(code, text) {
            to_client_out.push(&packet);
            reason_code = Some(disconnect_code(code));
        }
    }
    let mut to_server_out = to_server.out;
    if end.suppresses_will() && rules.phase.is_established() && !to_server_out.is_mid_packet() {
        to_server_out.push(&[0xe0, 0x00]);
    }
    let flush = flush(end.when(), account.reason, &limits);
    // a client that has disconnected has nothing more to say that closing could answer with a reset
    let client_is_open = !is_client_done
        && !matches!(
            account.reason,
            CloseReason::Disconnect | CloseReason::DisconnectWithWill
        );
    let (to_server_last, to_client_last) = if end.when() == When::Abort {
        drop((to_server_out, to_client_out));
        Default::default()
    } else {
        (to_server_out.into_queue(), to_client_out.into_queue())
    };
    let _ = handle.hold(to_server_last.capacity() + to_client_last.capacity());
    let closing_client = finish(
        client,
        to_client_last,
        flush,
        linger(&limits, client_is_open),
    );
    if end.when() == When::Abort {
        drop((closing_client, broker));
    } else if broker_is_shut && is_broker_done {
        // both have said that they are done
        drop(broker);
        handle.unless_aborted(closing_client).await;
    } else {
        let linger = linger(&limits, !is_broker_done);
        let closing_server = finish(broker, to_server_last, flush, linger);
        let closing = async {
            tokio::join!(closing_client, closing_server);
        };
        handle.unless_aborted(closing).await;
    }
    let traffic = |direction| handle.traffic(direction);
    let (to_server, to_client) = (traffic(Direction::ToServer), traffic(Direction::ToClient));
    drop(handle);
    let summary = Summary {
        peer: rules.session.peer().clone(),
        version: Some(version),
        session: Some(rules.session),
        side: account.side,
        reason: account.reason,
        reason_code,
        connack,
        detail: account.detail,
        limit: account.limit,
        foreign: end.foreign(),
        glimpse: None,
        dialled: true,
        duration: started.elapsed(),
        to_server,
        to_client,
        panicked: end.panicked(),
        packet: end.packet(),
        source: end.source(),
    };
    notify(on_close.map(|notice| *notice), summary, limits.hook_timeout).await
}

/// How long what waits to be written to a side may take.
const fn flush(when: When, reason: CloseReason, limits: &Limits) -> Duration {
    match (when, reason) {
        (When::Border, CloseReason::WriteTimeout) => limits.linger,
        (When::Border, _) => limits.write_timeout,
        (When::Now | When::Abort, _) => NOW_PATIENCE,
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
