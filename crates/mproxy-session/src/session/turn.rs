//! Waiting for a turn: admitted clients go to the broker at its own pace.

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use mproxy_codec::{Head, Kind};
use tokio::io::AsyncRead;
use tokio::time::{Instant, sleep};

use super::Session;
use super::connect::{hold, read_once};
use super::transition;
use crate::admit::Connect;
use crate::cause::{Cause, End};
use crate::error::Limit;
use crate::summary::Side;

/// How many bytes behind its CONNECT are read of a client that waits for its turn; the rest stays in its
/// socket.
const AHEAD: usize = 8 * 1024;

/// How often a client that has sent more than that is looked at: whether it is gone is behind what it has sent.
const LOOK: Duration = Duration::from_secs(1);

/// Lets admitted clients through to the broker one after the other: a limit that the sessions of a broker
/// share.
pub trait Turns: Send + Sync {
    /// An admitted client asks for its turn. Without an answer it has it, at once; otherwise when the future is
    /// ready. The future is dropped if the client leaves, or is ordered to end.
    fn turn(self: Arc<Self>, connect: &Connect) -> Option<Turn>;
}

/// The wait of a client for its [turn](Turns::turn).
pub type Turn = Pin<Box<dyn Future<Output = Result<(), Busy>> + Send>>;

/// Why a client gets no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Busy {
    /// What happened.
    pub(crate) why: WhyBusy,
    /// Whether the client gets a CONNACK with 3 or 0x89.
    pub(crate) is_told: bool,
}

/// See [`Busy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhyBusy {
    Full,
    Late,
}

impl Busy {
    /// Too many others wait already. `is_told` sends the client a CONNACK with 3, or 0x89 in MQTT 5;
    /// otherwise its connection is closed.
    #[must_use]
    pub const fn full(is_told: bool) -> Self {
        let why = WhyBusy::Full;
        Self { why, is_told }
    }

    /// The client has waited too long. For `is_told` see [`full`](Self::full).
    #[must_use]
    pub const fn late(is_told: bool) -> Self {
        let why = WhyBusy::Late;
        Self { why, is_told }
    }
}

impl WhyBusy {
    /// What the log says.
    pub(crate) const fn detail(self) -> &'static str {
        match self {
            Self::Full => "too many clients wait for their turn at the broker",
            Self::Late => "the client's turn at the broker did not come in time",
        }
    }

    pub(crate) const fn limit(self) -> Limit {
        match self {
            Self::Full => Limit::Queue,
            Self::Late => Limit::QueueTimeout,
        }
    }
}

impl Session {
    /// Waits until it is the client's turn. Returns since when all bytes of the client have been there, if
    /// some came meanwhile.
    ///
    /// # Errors
    /// There is no turn for it, or it has left.
    pub(super) async fn wait_for_turn<C: AsyncRead + Unpin>(
        &self,
        client: &mut C,
        has_left: fn(&C) -> bool,
        connect: &Connect,
        rest: &mut BytesMut,
    ) -> Result<Option<Instant>, End> {
        let turns = self.turns.as_ref().map(Arc::clone);
        let Some(turn) = turns.and_then(|turns| turns.turn(connect)) else {
            return Ok(None);
        };
        transition(connect.info(), "waits for its turn at the broker");
        let kept = self.peer.size() + 2 * connect.packet().as_bytes().len();
        let mut heard = None;
        tokio::select! {
            biased;
            turn = turn => turn.map_err(|busy| Box::new(Cause::Busy(busy)))?,
            end = self.left(client, has_left, rest, kept, &mut heard) => return Err(end),
        }
        Ok(heard)
    }

    /// Waits until a client leaves that has left no message for the broker. One that has published, and
    /// closed its connection, still gets its turn. Nothing else keeps the place of a client that is gone.
    async fn left<C: AsyncRead + Unpin>(
        &self,
        client: &mut C,
        has_left: fn(&C) -> bool,
        rest: &mut BytesMut,
        kept: usize,
        heard: &mut Option<Instant>,
    ) -> End {
        while rest.len() < AHEAD {
            match poll_fn(|cx| read_once(client, rest, cx)).await {
                Ok(0) if published(rest) == Some(Whole::Yes) => return pending().await,
                Ok(0) => return Box::new(Cause::Closed(Side::Client)),
                Ok(_) => *heard = Some(Instant::now()),
                Err(error) => return Cause::broke(Side::Client, error),
            }
            if let Err(end) = hold(&self.handle, kept + rest.capacity()) {
                return end;
            }
        }
        if published(rest).is_some() {
            // the rest of a large message is read when its turn has come
            return pending().await;
        }
        while !has_left(client) {
            sleep(LOOK).await;
        }
        Box::new(Cause::Closed(Side::Client))
    }
}

/// Whether a PUBLISH stands before the client's DISCONNECT, and all of it.
fn published(mut packets: &[u8]) -> Option<Whole> {
    while let Ok(Some(head)) = Head::parse(packets) {
        let rest = packets.get(head.total_len()..);
        match (head.kind(), rest) {
            (Kind::Publish, Some(_)) => return Some(Whole::Yes),
            (Kind::Publish, None) => return Some(Whole::No),
            (Kind::Disconnect, _) | (_, None) => return None,
            (_, Some(rest)) => packets = rest,
        }
    }
    None
}

/// Whether all of a packet has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_message_keeps_a_place() {
        const PUBLISH: &[u8] = b"\x30\x04\0\x01tx";
        const PINGREQ: &[u8] = b"\xc0\0";
        const DISCONNECT: &[u8] = b"\xe0\0";
        for (packets, keeps) in [
            (vec![], None),
            (vec![PINGREQ], None),
            (vec![DISCONNECT, PUBLISH], None),
            (vec![PUBLISH.split_at(5).0], Some(Whole::No)),
            (vec![PUBLISH.split_at(1).0], None),
            (vec![b"\x30\xff\xff\xff\xff\x7f"], None),
            (vec![b"\0\0", PUBLISH], None),
            (vec![PUBLISH], Some(Whole::Yes)),
            (vec![PINGREQ, PUBLISH, DISCONNECT], Some(Whole::Yes)),
        ] {
            assert_eq!(published(&packets.concat()), keeps, "{packets:02x?}");
        }
    }
}
