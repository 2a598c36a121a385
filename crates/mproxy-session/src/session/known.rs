//! State of a connection that has no pipe yet.

use std::any::Any;

use mproxy_codec::Version;

use crate::cause::{Cause, End};
use crate::context::SessionInfo;
use crate::hook::OnClose;
use crate::reply::Replies;
use crate::summary::Glimpse;

/// What is known about a client so far. It outlives the stages that find it out, so that a client whose
/// hook panics, or that is disconnected while the broker is dialled, is answered and reported like any
/// other.
#[derive(Default)]
pub(super) struct Known {
    pub(super) version: Option<Version>,
    /// How to answer the client, once its CONNECT could be read.
    pub(super) replies: Option<Replies>,
    pub(super) session: Option<SessionInfo>,
    pub(super) on_close: Option<OnClose>,
    pub(super) glimpse: Option<Box<Glimpse>>,
    pub(super) stage: Stage,
}

/// The stage of a connection before its pipe, which decides whose fault a panic is.
#[derive(Clone, Copy, Default)]
pub(super) enum Stage {
    /// CONNECT is read and checked, by the session itself.
    #[default]
    Connect,
    /// The hooks have CONNECT.
    Admission,
    /// The hooks have the will.
    Will,
    /// The recorder hears that the client is admitted.
    Admitted,
    /// The client waits for its turn at the broker.
    Turn,
    /// The broker is dialled.
    Dial,
}

impl Stage {
    /// How a connection ends if its stage panicked. Only hooks are code of others: an operator who is
    /// told of a layer would look in the wrong place if a thread could not be started.
    #[cold]
    pub(super) fn panicked(self, panic: &(dyn Any + Send)) -> End {
        match self {
            Self::Connect => Cause::defect(
                "mproxy or its recorder panicked while CONNECT was read",
                panic,
            ),
            Self::Admission => Cause::panic("CONNECT", panic),
            Self::Will => Cause::panic("the will", panic),
            Self::Admitted => Cause::defect("the recorder panicked in `admitted`", panic),
            Self::Turn => Cause::defect("waiting for a turn at the broker panicked", panic),
            Self::Dial => Cause::defect("dialling the broker panicked", panic),
        }
    }
}
