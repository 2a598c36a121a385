//! Hooks: tower services that see packets.
//!
//! There are two stages. The CONNECT stage is a `Service<`[`Connect`](crate::Connect)`>` that runs once per
//! connection and answers with [`Hooks`]. The packet stage is a `Service<`[`Packet`]`>` in each
//! direction that answers with a [`Verdict`]. Both are plain tower: any layer composes.
//!
//! A stack sees packets of its [`Tap`]'s kinds, one at a time and in order; the next packet of the
//! same direction waits for the verdict, the other direction does not. `poll_ready` is called only with
//! a packet in hand, so that a permit never waits for the network. Errors, timeouts and panics
//! close the session: hooks fail closed.
//!
//! | to do | use | waits? |
//! |---|---|---|
//! | say yes or no | [`FilterLayer`] | no |
//! | change a packet | [`RewriteLayer`] | no |
//! | decide on what the services inside forward | [`ReviewLayer`] | no |
//! | only look | [`InspectLayer`] | no |
//! | say yes or no asynchronously | [`AuthorizeLayer`] | yes |
//! | judge one packet type | [`OnPublishLayer`], [`OnSubscribeLayer`], [`OnConnectLayer`] | no |
//! | authenticate clients asynchronously | [`AuthenticateLayer`] | yes |
//! | refuse if a service inside fails | [`RefuseErrorsLayer`] | as that one |
//! | choose a stack at run time | [`BoxPacketService`] | as what is inside |
//! | all of this as callbacks | [`HandlerLayer`] | yes |

/// A layer around a closure, or what does the work of one, and the service that it makes.
macro_rules! layer {
    ($(#[$doc:meta])* $layer:ident<$work:ident>: $service:ty = $new:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $layer<$work>($work);

        impl<S, $work: Clone> tower_layer::Layer<S> for $layer<$work> {
            type Service = $service;

            fn layer(&self, inner: S) -> $service {
                $new(inner, self.0.clone())
            }
        }
    };
}

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

pub use self::{
    authenticate::{Authenticate, AuthenticateConnect, AuthenticateLayer},
    authorize::{Authorize, AuthorizeLayer, AuthorizePacket},
    boxed::{BoxPacketFuture, BoxPacketService},
    filter::{Filter, FilterFuture, FilterLayer, Judge},
    forward::Forward,
    handler::{
        Handler, HandlerAdmission, HandlerAnswer, HandlerFuture, HandlerLayer, HandlerPackets,
        PublishMut, SubscribeMut,
    },
    heads::{Heads, HeadsFuture},
    hooks::Hooks,
    inner::AskFuture,
    inspect::{Inspect, InspectLayer},
    memo::Repeated,
    on_connect::{JudgeConnect, OnConnect, OnConnectFuture, OnConnectLayer, WrapHooks},
    on_kind::{OnPublishLayer, OnSubscribeLayer},
    packet::{HeadOnly, Packet, PacketHead, PublishRef, Whole},
    refuse_errors::{KnownErrors, MapError, RefuseErrors, RefuseErrorsFuture, RefuseErrorsLayer},
    review::{Review, ReviewFuture, ReviewLayer, Reviewer},
    rewrite::{Rewrite, RewriteLayer},
    tap::{Tap, TapFuture},
    verdict::{Refusal, Verdict},
};
use crate::BoxError;

/// A packet stack: a shorthand for the trait bounds, implemented for every service that meets them.
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
