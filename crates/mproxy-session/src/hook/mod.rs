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
//! | say yes or no, after asking somebody | [`AuthorizeLayer`] | yes |
//! | one packet type | [`OnPublishLayer`], [`OnSubscribeLayer`], [`OnConnectLayer`] | no |
//! | who a client is, after asking somebody | [`AuthenticateLayer`] | yes |
//! | refuse where a service inside fails | [`RefuseErrorsLayer`] | as that one |
//! | a stack chosen at run time | [`BoxPacketService`] | as what is inside |
//! | all of it, as callbacks | [`HandlerLayer`] | yes |

mod authenticate;
mod authorize;
mod boxed;
mod filter;
mod forward;
mod handler;
mod heads;
mod hooks;
mod inner;
mod inspect;
mod memo;
mod on_connect;
mod on_kind;
mod packet;
mod refuse_errors;
mod review;
mod rewrite;
mod tap;
mod verdict;

use tower_service::Service;

pub(crate) use self::hooks::OnClose;
pub(crate) use self::packet::{Entry, Layout, Parts};

pub(crate) use self::verdict::display;
pub use self::{
    authenticate::{Authenticate, AuthenticateConnect, AuthenticateFuture, AuthenticateLayer},
    authorize::{Authorize, AuthorizeFuture, AuthorizeLayer, AuthorizePacket},
    boxed::{BoxPacketFuture, BoxPacketService},
    filter::{Filter, FilterFuture, FilterLayer, Judge},
    forward::Forward,
    handler::{
        Handler, HandlerAdmission, HandlerAnswer, HandlerFuture, HandlerLayer, HandlerPackets,
        PublishMut, SubscribeMut,
    },
    heads::{Heads, HeadsFuture},
    hooks::Hooks,
    inspect::{Inspect, InspectFuture, InspectLayer},
    memo::Repeated,
    on_connect::{JudgeConnect, OnConnect, OnConnectFuture, OnConnectLayer, WrapHooks},
    on_kind::{OnPublishLayer, OnSubscribeLayer},
    packet::{HeadOnly, Packet, PacketHead, PublishRef, Whole},
    refuse_errors::{RefuseErrors, RefuseErrorsFuture, RefuseErrorsLayer},
    review::{Review, ReviewFuture, ReviewLayer, Reviewer},
    rewrite::{Rewrite, RewriteLayer},
    tap::{Tap, TapFuture},
    verdict::{Refusal, Verdict},
};
use crate::BoxError;

/// A packet stack: shorthand for the bounds, implemented for every service that meets them.
///
/// A service must never block its thread: see the [guide](crate::guide#never-block).
pub trait PacketService<P = Whole>:
    Service<Packet<P>, Response = Verdict<P>, Error: Into<BoxError>, Future: Send + 'static>
    + Send
    + 'static
{
}

impl<S, P> PacketService<P> for S
where
    S: Service<Packet<P>, Response = Verdict<P>> + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
}
