//! The end of a connection: the last words to both sides, the closing so that they arrive, and the
//! report.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use mproxy_codec::ReasonCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::{Known, Live, Rejected, Session};
use crate::error::End;
use crate::hook::{OnClose, PacketService};
use crate::limits::Limits;
use crate::pipe::Pipe;
use crate::reply::{Replies, connack_code, disconnect_code};
use crate::summary::{CloseReason, Side, Summary, Traffic};

/// How much of a closed connection is read and thrown away, so that its peer gets what was written
/// last instead of a reset.
const LINGER_BYTES: usize = 64 * 1024;

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
            received,
            glimpse,
            stage: _,
        } = known;
        let detail = end.describe(version);
        let mut last = BytesMut::new();
        let mut connack = None;
        if let (true, Some(version)) = (end.tells(false, &self.limits), version)
            && let Some(packet) = replies
                .unwrap_or_else(|| Replies::new(version))
                .connack(end.code, client_text(&end, detail.as_deref()))
        {
            last.extend_from_slice(&packet);
            let code = connack_code(end.code);
            connack = Some(code);
            self.recorder.connack(session.as_ref(), version, code);
        }
        self.recorder.ending(end.side, end.reason);
        // of what was read nothing is left
        let _ = self.control.hold(0);
        let gone = matches!(end.reason, CloseReason::Eof | CloseReason::Reset);
        if end.at_once {
            drop(client);
        } else {
            let linger = linger(&self.limits, !gone);
            // its place, or its memory, may be needed meanwhile
            let closing = finish(client, last, self.limits.write_timeout, linger);
            self.control.unless_at_once(closing).await;
        }
        let summary = Summary {
            peer: self.peer,
            version,
            side: end.side,
            reason: end.reason,
            reason_code: connack,
            connack,
            detail,
            limit: end.limit(version),
            foreign: end.foreign_protocol(),
            glimpse: glimpse.filter(|_| session.is_none()),
            session,
            dialled: false,
            duration: started.elapsed(),
            to_server: received,
            to_client: Traffic::default(),
            panicked: end.panicked,
        };
        notify(on_close, summary, self.limits.hook_timeout).await
    }
}

/// Writes what is still to be said to both sides, closes both, and reports.
pub(super) async fn close<C, S, U, D>(live: Box<Live<C, S, U, D>>, end: End) -> Summary
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
    U: PacketService,
    D: PacketService,
{
    let Live { pipe, on_close } = *live;
    pipe.recorder.ending(end.side, end.reason);
    let Pipe {
        client,
        broker,
        to_server,
        to_client,
        rules,
        book,
        recorder,
        started,
        broker_is_shut,
        control,
        ..
    } = pipe;
    to_server.tell_slow_polls(&rules.session, &*recorder);
    to_client.tell_slow_polls(&rules.session, &*recorder);
    let limits = Arc::clone(&rules.limits);
    let mut connack = rules.connack;

    let mut end = end;
    if connack.is_none() && end.side == Side::Upstream && end.code == ReasonCode::UNSPECIFIED_ERROR
    {
        // whatever the broker did instead of answering CONNECT
        end.code = ReasonCode::SERVER_UNAVAILABLE;
    }
    let mut reason_code = end.received();
    let mut to_client_out = to_client.out;
    let version = rules.version();
    let detail = end.describe(Some(version));
    if end.tells(connack.is_some(), &limits) && !to_client_out.is_mid_packet() {
        let text = client_text(&end, detail.as_deref());
        if connack.is_none() {
            if let Some(packet) = rules.replies.connack(end.code, text) {
                to_client_out.push(&packet);
                let code = connack_code(end.code);
                recorder.connack(Some(&rules.session), version, code);
                connack = Some(code);
                reason_code = connack;
            }
        } else if let Some(packet) = rules.replies.disconnect(end.code, text) {
            to_client_out.push(&packet);
            reason_code = Some(disconnect_code(end.code));
        }
    }
    let mut to_server_out = to_server.out;
    if end.suppress_will && rules.is_established() && !to_server_out.is_mid_packet() {
        to_server_out.push(&[0xe0, 0x00]);
    }
    let flush = match end.reason {
        CloseReason::WriteTimeout => limits.linger,
        _ => limits.write_timeout,
    };
    // a client that has disconnected has nothing more to say that closing could answer with a reset
    let client_is_open = !to_server.eof
        && !matches!(
            end.reason,
            CloseReason::Disconnect | CloseReason::DisconnectWithWill
        );
    let (to_server_last, to_client_last) = if end.at_once {
        drop((to_server_out, to_client_out));
        Default::default()
    } else {
        (to_server_out.into_queue(), to_client_out.into_queue())
    };
    let _ = control.hold(to_server_last.capacity() + to_client_last.capacity());
    let closing_client = finish(
        client,
        to_client_last,
        flush,
        linger(&limits, client_is_open),
    );
    if end.at_once {
        drop((closing_client, broker));
    } else if broker_is_shut && to_client.eof {
        // both have said that they are done
        drop(broker);
        control.unless_at_once(closing_client).await;
    } else {
        let linger = linger(&limits, !to_client.eof);
        let closing_server = finish(broker, to_server_last, flush, linger);
        let closing = async {
            tokio::join!(closing_client, closing_server);
        };
        control.unless_at_once(closing).await;
    }
    drop(control);
    let summary = Summary {
        peer: rules.session.peer().clone(),
        version: Some(version),
        session: Some(rules.session),
        side: end.side,
        reason: end.reason,
        reason_code,
        connack,
        detail,
        limit: end.limit(Some(version)),
        foreign: end.foreign_protocol(),
        glimpse: None,
        dialled: true,
        duration: started.elapsed(),
        to_server: book.to_server,
        to_client: book.to_client,
        panicked: end.panicked,
    };
    notify(on_close.map(|notice| *notice), summary, limits.hook_timeout).await
}

const fn linger(limits: &Limits, is_open: bool) -> Option<Duration> {
    if is_open { Some(limits.linger) } else { None }
}

/// The text for a client's Reason String: what it did wrong, not what is wrong with the proxy.
fn client_text<'a>(end: &End, detail: Option<&'a str>) -> Option<&'a str> {
    let own_fault = match end.reason {
        CloseReason::AuthDenied => true,
        // in a version that the client may read otherwise: no more than must be
        CloseReason::UnsupportedVersion => false,
        _ => end.side == Side::Client,
    };
    detail
        .filter(|_| own_fault)
        .and_then(|detail| end.told_of(detail))
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
