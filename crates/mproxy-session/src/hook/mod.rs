//! Hooks: tower services that see packets.
//!
//! Two stages. The CONNECT stage is a `Service<`[`Connect`](crate::Connect)`>` that runs once a
//! connection and answers with [`Hooks`]; the packet stage is a `Service<`[`Packet`]`>` in each
//! direction that answers with a [`Verdict`]. Both are plain tower: any layer composes.
//!
//! A stack sees packets of its [`Tap`]'s kinds, one at a time and in order; the next packet of the
//! same direction waits for the verdict, the other direction does not. `poll_ready` is called with
//! a packet in hand, so that a permit never waits for the network. Errors, time-outs and panics
//! close the session: hooks fail closed.
//!
//! | to do | take | waits? |
//! |---|---|---|
//! | say yes or no | [`FilterLayer`] | no |
//! | change a packet | [`RewriteLayer`] | no |
//! | decide about what the services inside forward | [`ReviewLayer`] | no |
//! | look | [`InspectLayer`] | no |
//! | say yes or no, after asking somebody | [`AuthorizeLayer`] | yes; boxes only then |
//! | one packet type | [`OnPublishLayer`], [`OnSubscribeLayer`], [`OnConnectLayer`] | no |
//! | all of it, as callbacks | [`HandlerLayer`] | yes |

mod authorize;
mod filter;
mod forward;
mod handler;
mod inspect;
mod on_connect;
mod on_kind;
mod packet;
mod review;
mod rewrite;
mod tap;
mod verdict;

use tower_service::Service;

pub(crate) use self::packet::{Entry, Parts};
pub(crate) use self::tap::OnClose;
pub use self::{
    authorize::{Authorize, AuthorizeFuture, AuthorizeLayer},
    filter::{Filter, FilterFuture, FilterLayer},
    forward::Forward,
    handler::{
        Handler, HandlerAdmission, HandlerFuture, HandlerLayer, HandlerPackets, PublishMut,
        SubscribeMut,
    },
    inspect::{Inspect, InspectFuture, InspectLayer},
    on_connect::{JudgeConnect, OnConnect, OnConnectFuture, OnConnectLayer, WrapHooks},
    on_kind::{OnKind, OnKindFuture, OnPublishLayer, OnSubscribeLayer},
    packet::{Packet, PublishRef},
    review::{Review, ReviewFuture, ReviewLayer, Reviewer},
    rewrite::{Rewrite, RewriteLayer},
    tap::{Hooks, Repeated, Tap, TapFuture},
    verdict::{Refusal, Verdict},
};
use crate::BoxError;

/// A packet stack: shorthand for the bounds, implemented for every service that meets them.
pub trait PacketService:
    Service<Packet, Response = Verdict, Error: Into<BoxError>, Future: Send + 'static> + Send + 'static
{
}

impl<S> PacketService for S
where
    S: Service<Packet, Response = Verdict> + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
}
