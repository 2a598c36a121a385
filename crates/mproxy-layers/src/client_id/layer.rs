//! The rules as a layer of the CONNECT stage.

use mproxy_codec::{KindSet, PropertyId, ReasonCode};
use mproxy_session::{Connect, ConnectRefusal, Heads, Hooks, JudgeConnect, Tap, WrapHooks};

use super::{ClientIdToClient, ClientIds, to_client::Told};
use crate::{
    Names, Observer,
    observed::{Observed, wrap},
};

/// Decides who may use which client id, and adds a prefix to it: a layer for the CONNECT stage.
///
/// Outer layers know the client by the id that it sent, inner layers by the one that the broker gets.
///
/// A session that [is judged again](mproxy_session::SessionHandle::renew) keeps its id. If its client
/// would have another one under the new rules, the session ends, and the client connects again.
pub type ClientIdLayer<O = ()> = Observed<ClientIds, O>;

impl ClientIdLayer {
    /// Enforces these rules. An observer is told of every client, let in or not.
    pub const fn new(ids: ClientIds) -> Self {
        Self::by_nobody(ids)
    }
}

impl<O> ClientIdLayer<O> {
    /// Renames the client, and returns what to tell it.
    fn rename(&self, connect: &mut Connect) -> Result<Option<Box<Told>>, ConnectRefusal> {
        let refusal = |text: String| {
            ConnectRefusal::new(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID).with_text(text)
        };
        let names = Names::of(connect);
        let told = connect.packet().version().is_v5();
        // 128 bits that nobody guesses: an id is what a session is taken over by
        let random = match names.client_id {
            "" => format!("mproxy-{:032x}", rand::random::<u128>()),
            _ => String::new(),
        };
        let was_empty = names.client_id.is_empty();
        let called = self.settings.call(names, &random, told);
        let mut called = called.map_err(|error| refusal(error.to_string()))?;
        let was_given = was_empty && !called.itself.is_empty();
        if let Some(session) = connect.renewed().filter(|_| was_given) {
            // it was given an id before, and goes on with that one, if it still may
            let before = self.settings.recall(names, session.client_id());
            called = before.unwrap_or(called);
        }
        let packet = connect.packet();
        let version = packet.version();
        let size = packet.properties().number(PropertyId::MaximumPacketSize);
        if called.at_broker != packet.client_id() {
            let renamed = connect.packet_mut().set_client_id(&called.at_broker);
            renamed.map_err(|error| refusal(error.to_string()))?;
        }
        if !was_empty || called.itself.is_empty() || connect.is_renewal() {
            // it knows its id, or the broker tells it
            return Ok(None);
        }
        let told = Told {
            id: called.itself.into(),
            max_packet_size: size.map_or(usize::MAX, |size| size as usize),
        };
        // MQTT 3 has no word for it
        Ok(version.is_v5().then(|| Box::new(told)))
    }
}

/// What to tell the client, if anything.
#[derive(Debug)]
#[allow(unnameable_types)] // a parameter of types that callers need not name
pub struct Telling(Option<Box<Told>>);

impl<O: Observer> JudgeConnect for ClientIdLayer<O> {
    type Wrap = Telling;

    fn judge(&mut self, connect: &mut Connect) -> Result<Telling, ConnectRefusal> {
        let told = self.rename(connect);
        // a session that goes on is not a client that was let in
        if told.is_err() || !connect.is_renewal() {
            self.observer.connect(told.is_ok());
        }
        told.map(Telling)
    }
}

impl<U, D> WrapHooks<U, D> for Telling {
    type ToServer = U;
    type ToClient = Heads<ClientIdToClient<Tap<D>>>;

    fn wrap(self, _: &Connect, hooks: Hooks<U, D>) -> Hooks<U, Self::ToClient> {
        let kinds = match &self.0 {
            Some(_) => KindSet::CONNACK,
            None => KindSet::NONE,
        };
        let held = self.0.as_ref().map_or(0, |told| told.id.len());
        hooks.holds(held).map(
            |tap| tap,
            // it judges CONNECT, and tells the client the outcome
            |tap| {
                wrap(tap, kinds, false, |inner| {
                    ClientIdToClient::new(inner, self.0)
                })
            },
        )
    }
}
