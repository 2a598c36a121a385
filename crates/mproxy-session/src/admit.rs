//! The CONNECT stage: a service that judges a CONNECT and answers with the session's hooks.

use std::sync::OnceLock;
use std::task::{Context, Poll};

use http::Extensions;
use mproxy_codec::{ConnectPacket, ReasonCode};
use tower_service::Service;

use crate::BoxError;
use crate::context::{Identity, Peer, SessionInfo};
use crate::handle::SessionHandle;
use crate::hook::{Forward, Hooks, Refusal};

/// A CONNECT on its way through the CONNECT stage: the request of its services.
///
/// It includes the will, which need not be judged here: the session offers it to the hooks as a PUBLISH
/// ([`Packet::is_will`](crate::Packet::is_will)).
#[derive(Clone, Debug)]
pub struct Connect {
    packet: ConnectPacket,
    peer: Peer,
    identity: Option<Identity>,
    extensions: Extensions,
    info: OnceLock<SessionInfo>,
    handle: SessionHandle,
    renewed: Option<SessionInfo>,
}

impl Connect {
    /// A CONNECT from this peer without a running session, for tests.
    #[must_use]
    pub fn new(packet: ConnectPacket, peer: Peer) -> Self {
        Self::of_session(packet, peer, SessionHandle::new())
    }

    /// The CONNECT of the session with this handle.
    pub(crate) fn of_session(packet: ConnectPacket, peer: Peer, handle: SessionHandle) -> Self {
        Self {
            packet,
            peer,
            identity: None,
            extensions: Extensions::new(),
            info: OnceLock::new(),
            handle,
            renewed: None,
        }
    }

    /// What the client of a running session has sent, to be judged again.
    pub(crate) fn renewal(
        packet: ConnectPacket,
        session: SessionInfo,
        handle: SessionHandle,
    ) -> Self {
        let mut connect = Self::of_session(packet, session.peer().clone(), handle);
        connect.identity = session.identity().cloned();
        connect.renewed = Some(session);
        connect
    }

    /// True if the session is already running and is judged again, because
    /// [the rules have changed](SessionHandle::renew).
    ///
    /// The packet is what the client has sent, before any layer changed it: version, client identifier,
    /// user name, keep alive and clean start. It has no will, no password and no properties, and
    /// [`extensions`](Self::extensions) are empty: the session does not keep them. The
    /// [`identity`](Self::identity) is that of the session, until a layer sets another; a layer that
    /// cannot judge without a password lets those pass that have one, and refuses all others.
    ///
    /// A refusal ends the session. The resulting CONNECT is not sent; the session also ends if
    /// it has another client identifier or user name than the broker knows. Notices of the end that were
    /// added when the client connected stay, so a layer must not add one for a renewal unless it has
    /// something more to end.
    #[must_use]
    pub const fn is_renewal(&self) -> bool {
        self.renewed.is_some()
    }

    /// The session that is judged again, as the broker knows it; `None` for a new client.
    #[must_use]
    pub const fn renewed(&self) -> Option<&SessionInfo> {
        self.renewed.as_ref()
    }

    /// The packet.
    #[must_use]
    pub const fn packet(&self) -> &ConnectPacket {
        &self.packet
    }

    /// The packet, to change what the broker receives.
    pub fn packet_mut(&mut self) -> &mut ConnectPacket {
        self.info = OnceLock::new();
        &mut self.packet
    }

    /// Where the connection came from.
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The handle of the session: to end it later, let it expire, or find it by its number. It
    /// knows the client's names once the CONNECT stage has [admitted](Admission) it.
    #[must_use]
    pub const fn handle(&self) -> &SessionHandle {
        &self.handle
    }

    /// Who the client is, if a layer has found out.
    #[must_use]
    pub const fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Sets who the client is, for the layers inside and the session.
    pub fn set_identity(&mut self, identity: Identity) {
        self.info = OnceLock::new();
        self.identity = Some(identity);
    }

    /// The values that outer layers have stored.
    #[must_use]
    pub const fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Storage for values that inner layers need, one per type: the owner of a token, or the tenant.
    pub const fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }

    /// The names of the session, if the CONNECT stays as it is now.
    #[must_use]
    pub fn info(&self) -> &SessionInfo {
        self.info.get_or_init(|| match &self.renewed {
            Some(session)
                if session.names().are_of(&self.packet)
                    && session.identity() == self.identity.as_ref() =>
            {
                session.clone()
            }
            _ => SessionInfo::new(&self.packet, &self.peer, self.identity.as_ref()),
        })
    }
}

/// The answer of the CONNECT stage.
#[derive(Debug)]
#[non_exhaustive]
#[allow(clippy::large_enum_variant)] // moved once per connection
pub enum Admission<U = Forward, D = Forward> {
    /// The client is let in: `connect` goes to the broker, and `hooks` see its packets.
    Admit {
        /// The CONNECT, perhaps changed.
        connect: Connect,
        /// The session's hooks.
        hooks: Hooks<U, D>,
    },
    /// The client is turned away with a CONNACK.
    Refuse(ConnectRefusal),
}

impl<U, D> Admission<U, D> {
    /// Lets the client in.
    #[must_use]
    pub const fn admit(connect: Connect, hooks: Hooks<U, D>) -> Self {
        Self::Admit { connect, hooks }
    }

    /// Turns the client away. MQTT 3.x has fewer codes; its clients get the nearest.
    #[must_use]
    pub const fn refuse(reason: ReasonCode) -> Self {
        Self::Refuse(ConnectRefusal::new(reason))
    }

    /// Changes the hooks of an admitted client, as layers do on the way out.
    pub fn map_hooks<V, E>(
        self,
        map: impl FnOnce(&Connect, Hooks<U, D>) -> Hooks<V, E>,
    ) -> Admission<V, E> {
        match self {
            Self::Admit { connect, hooks } => {
                let hooks = map(&connect, hooks);
                Admission::Admit { connect, hooks }
            }
            Self::Refuse(refusal) => Admission::Refuse(refusal),
        }
    }
}

/// As a layer refuses.
impl<U, D> From<Refusal> for Admission<U, D> {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

/// Why a client is turned away.
///
/// # What the client receives
/// A code that CONNACK does not have becomes 0x87 Not authorized. MQTT 3.x has five codes; its clients get
/// the nearest one. [`Summary::reason_code`](crate::Summary::reason_code) says what was sent. The text is for
/// clients of MQTT 5.0, and for the log.
pub type ConnectRefusal = Refusal;

/// The innermost service of the CONNECT stage: admits every client, with hooks made by a closure.
///
/// The closure gets the names of the session. The broker may still assign a client
/// identifier: [`SessionInfo::client_id`] returns it from CONNACK on, but a copy made here does not.
///
/// ```
/// use mproxy_session::{Hooks, new_hooks};
/// let admit_all = new_hooks(|_session| Hooks::none());
/// # let _ = admit_all;
/// ```
pub const fn new_hooks<F: FnMut(SessionInfo) -> Hooks<U, D>, U, D>(make: F) -> NewHooks<F> {
    NewHooks { make }
}

/// See [`new_hooks`].
#[derive(Clone, Copy, Debug)]
pub struct NewHooks<F> {
    make: F,
}

impl<F: FnMut(SessionInfo) -> Hooks<U, D>, U, D> Service<Connect> for NewHooks<F> {
    type Response = Admission<U, D>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, connect: Connect) -> Self::Future {
        let hooks = (self.make)(connect.info().clone());
        std::future::ready(Ok(Admission::Admit { connect, hooks }))
    }
}
