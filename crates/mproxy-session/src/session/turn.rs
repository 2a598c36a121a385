//! Waiting for a turn: admitted clients go to the broker at its own pace.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::AsyncRead;

use super::ahead::Ahead;
use super::{Connection, transition};
use crate::admit::Connect;
use crate::cause::{Cause, End};
use crate::error::Limit;

/// Lets admitted clients through to the broker one after the other: a limit that the sessions of a broker
/// share.
///
/// A turn ends when the client has its CONNACK, or its session ends without one, whichever is first. To know it, give
/// each session a [recorder](super::Session::recorder) of its own, which ends the turn in
/// [`Events::connack`](crate::Events::connack) and when it is dropped.
pub trait Turns: Send + Sync {
    /// An admitted client asks for its turn. Without an answer it has it, at once; otherwise when the future is
    /// ready. The future is dropped if the client leaves, or is ordered to end.
    fn turn(self: Arc<Self>, connect: &Connect) -> Option<Turn>;

    /// Whether the client has had a turn that others may wait for. Then its session ends if it leaves while the
    /// broker is dialled; otherwise only the broker's answer tells that it is gone.
    fn is_held(&self) -> bool {
        true
    }
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

impl Connection {
    /// Waits until it is the client's turn.
    ///
    /// # Errors
    /// There is no turn for it, or it has left.
    pub(super) async fn wait_for_turn<C: AsyncRead + Unpin>(
        &self,
        ahead: &mut Ahead<'_, C>,
        connect: &Connect,
    ) -> Result<(), End> {
        let turns = self.turns.as_ref().map(Arc::clone);
        let Some(turn) = turns.and_then(|turns| turns.turn(connect)) else {
            return Ok(());
        };
        transition(connect.info(), "waits for its turn at the broker");
        tokio::select! {
            biased;
            turn = turn => turn.map_err(|busy| Box::new(Cause::Busy(busy))),
            end = ahead.left() => Err(end),
        }
    }

    /// Waits until the broker is dialled, or a client has left that others may wait for.
    ///
    /// # Errors
    /// The broker cannot be dialled, or the client has left.
    pub(super) async fn while_held<C: AsyncRead + Unpin, S>(
        &self,
        ahead: &mut Ahead<'_, C>,
        dialled: impl Future<Output = Result<S, End>>,
    ) -> Result<S, End> {
        let is_held = self.turns.as_ref().is_some_and(|turns| turns.is_held());
        tokio::select! {
            biased;
            dialled = dialled => dialled,
            end = ahead.found_gone(), if is_held => Err(end),
        }
    }
}
