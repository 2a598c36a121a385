//! A gateway of its own on mproxy's crates: see README.md.
#![forbid(unsafe_code)]

mod curfew;
mod token;

use std::time::Duration;

use mproxy_codec::KindSet;
use mproxy_layers::acl::{Acl, AclLayer, Actions, Rule};
use mproxy_session::{
    Admission, BoxError, BoxPacketService, Connect, Forward, HeadOnly, Hooks, PacketService, Peer,
    RefuseErrorsLayer, Session, Summary, Tap,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::{Service, ServiceBuilder, service_fn};

pub use self::curfew::{Curfew, CurfewLayer};
pub use self::token::{Directory, Plant, TokenLayer};

/// How many messages a client of the plant "test" may send in a minute.
pub const TEST_RATE: u64 = 3;

/// What all connections share.
#[derive(Clone, Debug)]
pub struct Gateway {
    directory: Directory,
    curfew: Curfew,
    acl: Acl,
}

impl Gateway {
    /// A gateway that asks this directory and this curfew.
    ///
    /// # Errors
    /// A rule is not valid.
    pub fn new(directory: Directory, curfew: Curfew) -> Result<Self, BoxError> {
        let mut acl = Acl::builder();
        acl.rule(
            Rule::allow(Actions::PUBLISH | Actions::SUBSCRIBE)
                .name("machines own their subtree")
                .topic("machines/${client_id}/#"),
        )?;
        Ok(Self {
            directory,
            curfew,
            acl: acl.build(),
        })
    }

    /// The CONNECT stage, for every connection a clone.
    pub fn stage(
        &self,
    ) -> impl Service<
        Connect,
        Response = Admission<impl PacketService + use<>, impl PacketService + use<>>,
        Error = BoxError,
        Future: Send,
    > + Clone
    + Send
    + use<> {
        let curfew = self.curfew.clone();
        ServiceBuilder::new()
            // a client that cannot be served in time is told so, and comes back
            .layer(RefuseErrorsLayer::new())
            .load_shed()
            .layer(GlobalConcurrencyLimitLayer::new(64))
            .timeout(Duration::from_secs(2))
            .layer(TokenLayer::new(self.directory.clone()))
            .layer(AclLayer::new(self.acl.clone()))
            .service(service_fn(move |connect: Connect| {
                let plant = connect.extensions().get::<Plant>();
                let is_test = plant.is_some_and(|plant| plant.0 == "test");
                let packets = packets(is_test, &curfew);
                let tap = Tap::only(KindSet::PUBLISH, packets).head_only();
                let hooks = Hooks::new(tap, Tap::none());
                std::future::ready(Ok::<_, BoxError>(Admission::admit(connect, hooks)))
            }))
    }

    /// Serves one connection to its end.
    pub fn serve<C, S, E, Fut>(
        &self,
        client: C,
        dial: impl FnOnce() -> Fut,
    ) -> impl Future<Output = Summary>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        S: AsyncRead + AsyncWrite + Unpin,
        E: Into<BoxError>,
        Fut: Future<Output = Result<S, E>>,
    {
        Session::new(Peer::new("gateway")).run(client, self.stage(), |_| dial())
    }
}

/// The stack of a client: machines of the plant "test" are slowed down, the others are not.
fn packets(is_test: bool, curfew: &Curfew) -> BoxPacketService<HeadOnly> {
    let stack = ServiceBuilder::new()
        .layer(RefuseErrorsLayer::new())
        .timeout(Duration::from_secs(1))
        .layer(CurfewLayer::new(curfew.clone()));
    if is_test {
        let stack = stack.rate_limit(TEST_RATE, Duration::from_secs(60));
        BoxPacketService::new(stack.service(Forward))
    } else {
        BoxPacketService::new(stack.service(Forward))
    }
}
