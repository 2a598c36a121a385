//! Waiting for a turn: admitted clients go to the broker at its own pace.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;

use std::time::Duration;

use bytes::BytesMut;
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

    /// Waits until a client leaves. Nothing keeps the place of a client that is gone, whatever it has sent, or
    /// one that opens and closes connections could fill the queue.
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
                Ok(0) => return Box::new(Cause::Closed(Side::Client)),
                Ok(_) => *heard = Some(Instant::now()),
                Err(error) => return Cause::broke(Side::Client, error),
            }
            if let Err(end) = hold(&self.handle, kept + rest.capacity()) {
                return end;
            }
        }
        while !has_left(client) {
            sleep(LOOK).await;
        }
        Box::new(Cause::Closed(Side::Client))
    }
}
