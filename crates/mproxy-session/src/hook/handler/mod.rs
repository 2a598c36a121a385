//! [`HandlerLayer`]: eight callbacks, as an alternative to services.

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
/// The `auth_` callbacks run before a packet is forwarded and may change or refuse it; the others
/// are notifications. They run per session and in order; a callback that waits delays only its
/// direction of its session.
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
///         // this judges wills, too
///         if publish.topic().split('/').next() == Some(session.client_id()) {
///             Ok(())
///         } else {
///             Err(Refusal::new(ReasonCode::NOT_AUTHORIZED))
///         }
///     }
/// }
/// ```
pub trait Handler: Send + Sync + 'static {
    /// A CONNECT was read; the broker has not been dialled yet. May change client identifier, user
    /// name and password (also add or remove them) and everything else in the packet, or refuse.
    ///
    /// It is called again after the rules have changed ([`Connect::is_renewal`]): there is no password
    /// then, and the client's identity is the one that was set when it connected.
    fn auth_connect(
        &self,
        connect: &mut Connect,
    ) -> impl Future<Output = Result<(), ConnectRefusal>> + Send {
        let _ = connect;
        async { Ok(()) }
    }

    /// The client publishes, or sets its will in CONNECT. May change topic and payload, or refuse.
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

    /// A PUBLISH of the client is forwarded to the broker, in this form.
    fn publish(
        &self,
        session: &SessionInfo,
        publish: &PublishMut,
    ) -> impl Future<Output = ()> + Send {
        let _ = (session, publish);
        async {}
    }

    /// A SUBSCRIBE was answered: each filter that the client asked for, with its code. Filters
    /// are named as they were when [`auth_subscribe`](Self::auth_subscribe) saw them.
    fn subscribe(
        &self,
        session: &SessionInfo,
        granted: &[(String, ReasonCode)],
    ) -> impl Future<Output = ()> + Send {
        let _ = (session, granted);
        async {}
    }

    /// An UNSUBSCRIBE was answered: each filter with its code, which before MQTT 5.0 is
    /// always success.
    fn unsubscribe(
        &self,
        session: &SessionInfo,
        codes: &[(String, ReasonCode)],
    ) -> impl Future<Output = ()> + Send {
        let _ = (session, codes);
        async {}
    }

    /// The session has ended. Called once for every client for which
    /// [`connect`](Self::connect) was called.
    fn disconnect(
        &self,
        session: &SessionInfo,
        summary: &Summary,
    ) -> impl Future<Output = ()> + Send {
        let _ = (session, summary);
        async {}
    }
}
