//! [`HandlerLayer`]: eight callbacks, for those who think in callbacks rather than in services.

mod answer;
mod layer;
mod packets;
mod publish_mut;
mod shared;
mod subscribe_mut;

use std::future::Future;

use mproxy_codec::ReasonCode;

pub use self::{
    answer::HandlerAnswer,
    layer::{HandlerAdmission, HandlerFuture, HandlerLayer},
    packets::HandlerPackets,
    publish_mut::PublishMut,
    subscribe_mut::SubscribeMut,
};
use super::Refusal;
use crate::admit::{Connect, ConnectRefusal};
use crate::context::SessionInfo;
use crate::summary::Summary;

/// The callbacks of [`HandlerLayer`]. All have empty defaults.
///
/// The `auth_` callbacks come before a packet is forwarded and may change or refuse it; the others
/// are notices. Everything is per session and in order; a callback that waits holds up its own
/// direction of its own session only.
///
/// ```
/// use mproxy_session::{Handler, PublishMut, Refusal, SessionInfo};
/// use mproxy_codec::ReasonCode;
///
/// struct OwnSubtree;
///
/// impl Handler for OwnSubtree {
///     async fn auth_publish(
///         &self,
///         session: &SessionInfo,
///         publish: &mut PublishMut,
///     ) -> Result<(), Refusal> {
///         // the will of a CONNECT comes here too
///         if publish.topic().split('/').next() == Some(session.client_id()) {
///             Ok(())
///         } else {
///             Err(Refusal::new(ReasonCode::NOT_AUTHORIZED))
///         }
///     }
/// }
/// ```
pub trait Handler: Send + Sync + 'static {
    /// A CONNECT was read; the broker has not been dialled. May change client identifier, user
    /// name and password (also add or remove them) and everything else of the packet, or refuse.
    ///
    /// It is asked again when the rules have changed ([`Connect::is_renewal`]): there is no password
    /// then, and the client's identity is that which was set when it connected.
    fn auth_connect(
        &self,
        connect: &mut Connect,
    ) -> impl Future<Output = Result<(), ConnectRefusal>> + Send {
        let _ = connect;
        async { Ok(()) }
    }

    /// The client publishes, or names its will in CONNECT. May change topic and payload, or refuse.
    fn auth_publish(
        &self,
        session: &SessionInfo,
        publish: &mut PublishMut,
    ) -> impl Future<Output = Result<(), Refusal>> + Send {
        let _ = (session, publish);
        async { Ok(()) }
    }

    /// The client subscribes. May change and add filters, refuse single ones, or refuse all.
    fn auth_subscribe(
        &self,
        session: &SessionInfo,
        subscribe: &mut SubscribeMut,
    ) -> impl Future<Output = Result<(), Refusal>> + Send {
        let _ = (session, subscribe);
        async { Ok(()) }
    }

    /// The broker accepted the client.
    fn connect(&self, session: &SessionInfo) -> impl Future<Output = ()> + Send {
        let _ = session;
        async {}
    }

    /// A PUBLISH of the client goes to the broker, as it goes.
    fn publish(
        &self,
        session: &SessionInfo,
        publish: &PublishMut,
    ) -> impl Future<Output = ()> + Send {
        let _ = (session, publish);
        async {}
    }

    /// A SUBSCRIBE was answered: each filter that the client asked for with the code it gets. Filters
    /// are named as they were when [`auth_subscribe`](Self::auth_subscribe) saw them.
    fn subscribe(
        &self,
        session: &SessionInfo,
        granted: &[(String, ReasonCode)],
    ) -> impl Future<Output = ()> + Send {
        let _ = (session, granted);
        async {}
    }

    /// An UNSUBSCRIBE was answered: each filter with the code it gets, which before MQTT 5.0 is
    /// always success.
    fn unsubscribe(
        &self,
        session: &SessionInfo,
        codes: &[(String, ReasonCode)],
    ) -> impl Future<Output = ()> + Send {
        let _ = (session, codes);
        async {}
    }

    /// The session is over. Comes once for every client for which
    /// [`connect`](Self::connect) came.
    fn disconnect(
        &self,
        session: &SessionInfo,
        summary: &Summary,
    ) -> impl Future<Output = ()> + Send {
        let _ = (session, summary);
        async {}
    }
}
