//! What a listener serves its connections with.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use mproxy_admin::{ConnectionLimit, ConnectionMetrics, Reason, RefuseReason, Side};
use mproxy_config::DenyAction;
use mproxy_session::{CloseReason, Limits};
use mproxy_transport::{Accepted, TLS_CONNECTION_BYTES, TlsServer, WsOptions};

use super::bans::{Banned, Bans};
use super::chain::Policy;
use super::gate::{Admitted, Evicted, Gate, Limited, Refused};
use super::memory::Memory;
use super::networks::{Networks, Unserved};
#[cfg(feature = "ocsp")]
use super::ocsp::{Check, OCSP_CONNECTION_BYTES, Ocsp};
use super::strain::Strain;
use super::trust::Trust;
use super::upgrades::Upgrades;
use super::upstream::Upstream;
use mproxy_session::Rate;

/// State shared by all connections of a listener.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) name: Arc<str>,
    /// Whom it serves.
    pub(crate) networks: Networks,
    pub(crate) bans: Arc<Bans>,
    /// Bits of an IPv6 address that are one client.
    pub(crate) ipv6_prefix: u8,
    pub(crate) trust: Trust,
    /// `Some` for a listener with TLS.
    pub(crate) tls: Option<TlsServer>,
    #[cfg(feature = "ocsp")]
    pub(crate) ocsp: Ocsp,
    /// `Some` if an OCSP responder is asked about its clients.
    #[cfg(feature = "ocsp")]
    pub(crate) ocsp_check: Option<Check>,
    /// `Some` for a WebSocket listener.
    pub(crate) websocket: Option<WsOptions>,
    /// What hooks see of upgrade requests.
    pub(crate) upgrades: Arc<Upgrades>,
    /// The layers, which a reload may replace.
    pub(crate) policy: Arc<ArcSwap<Policy>>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) gate: Gate,
    /// Whether the gate has to be asked about TLS handshakes.
    pub(crate) limits_handshakes: bool,
    pub(crate) memory: Arc<Memory>,
    pub(crate) strain: Arc<Strain>,
    pub(crate) metrics: mproxy_admin::ListenerMetrics,
    /// Whether it accepts.
    pub(crate) health: mproxy_admin::CheckHandle,
}

impl Service {
    /// Admits an accepted connection, or closes it at once.
    pub(crate) fn admit(&self, accepted: Accepted) -> Option<(Accepted, Admitted)> {
        let address = accepted.peer().socket_addr();
        // a load balancer is not judged, but its client, once that is known
        let judged = address.filter(|_| !self.trust.defers(address));
        if let Some(address) = judged
            && let Err(unwelcome) = self.welcomes(address.ip())
        {
            self.turned_away(address, &unwelcome, self.metrics.accepted());
            if unwelcome.is_dropped(self.networks.action) {
                accepted.drop_silently();
            }
            return None;
        }
        if !self.memory.admits() {
            let limit = ConnectionLimit::ServerMemory;
            let refused = Refused::full(limit, self.memory.limit());
            self.refused(address, refused, self.metrics.accepted());
            return None;
        }
        let kept = self.kept_bytes();
        let control = || {
            // after the limits of its own address, so that one address does not take what is left for all
            self.strain.admits()?;
            Ok(self.memory.control(kept))
        };
        match self.gate.enter(judged, control) {
            Ok(admitted) => {
                if let Some(evicted) = &admitted.evicted {
                    self.evicted(evicted);
                }
                Some((accepted, admitted))
            }
            Err(refused) => {
                self.refused(address, refused, self.metrics.accepted());
                None
            }
        }
    }

    /// What is kept for a connection beside its session: the state of TLS on both sides, and what an OCSP
    /// responder is asked about.
    fn kept_bytes(&self) -> usize {
        let secured =
            usize::from(self.tls.is_some()) + usize::from(self.upstream.address().is_tls());
        #[cfg(feature = "ocsp")]
        let asked = usize::from(self.ocsp_check.is_some()) * OCSP_CONNECTION_BYTES;
        #[cfg(not(feature = "ocsp"))]
        let asked = 0;
        secured * TLS_CONNECTION_BYTES + asked
    }

    /// Whether a client at this address may connect at all.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn welcomes(&self, address: IpAddr) -> Result<(), Unwelcome> {
        self.networks.check(address).map_err(Unwelcome::Unserved)?;
        let ban = self.bans.address(address);
        ban.map_or(Ok(()), |ban| Err(Unwelcome::Banned(Box::new(ban))))
    }

    /// Counts and logs a connection from an address that may not connect.
    #[cold]
    pub(crate) fn turned_away(
        &self,
        client: SocketAddr,
        why: &Unwelcome,
        metrics: ConnectionMetrics,
    ) {
        let reason = match why {
            Unwelcome::Unserved(_) => RefuseReason::AddressDenied,
            Unwelcome::Banned(_) => RefuseReason::Banned,
        };
        metrics.refused(reason);
        let listener = &*self.name;
        let (detail, remedy) = match why {
            Unwelcome::Unserved(Unserved::Denied(network)) => (
                format!("it is in {network} of listeners.{listener}.deny"),
                "if this is your client, take its network out of deny".to_owned(),
            ),
            Unwelcome::Unserved(Unserved::NotAllowed) => (
                format!("it is in no network of listeners.{listener}.allow"),
                "if this is your client, add its network to allow".to_owned(),
            ),
            Unwelcome::Banned(ban) => (ban.detail(), ban.remedy()),
        };
        tracing::info!(
            target: "mproxy::listener",
            event = "refuse",
            listener,
            peer = %client,
            reason = reason.as_str(),
            detail,
            remedy,
            "connection refused: its address may not connect"
        );
    }

    /// Counts and logs a connection that is closed because the proxy drains, and goes on.
    pub(crate) fn drained(&self, accepted: &Accepted) {
        let reason = Reason::Drain;
        self.metrics.accepted().closed(Side::Proxy, reason);
        tracing::debug!(
            target: "mproxy::listener",
            event = "disconnect",
            listener = &*self.name,
            peer = accepted.peer().socket_addr().map(tracing::field::display),
            side = Side::Proxy.as_str(),
            reason = reason.as_str(),
            "connection closed: the proxy drains"
        );
    }

    /// Logs that a connection made room. It is counted when it is closed.
    fn evicted(&self, evicted: &Evicted) {
        let Refused { limit, value, .. } = evicted.full;
        let waited = evicted.waited.as_secs();
        tracing::warn!(
            target: "mproxy::listener",
            event = "evict",
            listener = &*self.name,
            peer = evicted.peer.map(tracing::field::display),
            reason = CloseReason::Evicted.as_str(),
            detail = %format_args!("no complete CONNECT in {waited} s{}", self.holders("; ", limit)),
            limit = limit.key(&self.name),
            value,
            remedy = self.names().fill(&evicted.full.eviction_remedy()),
            "connection closed to make room for another one: it had sent no CONNECT"
        );
    }

    /// Counts and logs a connection that a limit refused.
    #[cold]
    pub(crate) fn refused(
        &self,
        client: Option<SocketAddr>,
        refused: Refused,
        metrics: ConnectionMetrics,
    ) {
        let Refused {
            limit, value, rate, ..
        } = refused;
        metrics.limited(limit);
        let detail = match rate {
            Some(rate) => Some(Detail::Rate(rate)),
            None => is_shared(limit).then(|| Detail::Holders(self.holders("", limit))),
        };
        tracing::warn!(
            target: "mproxy::listener",
            event = "refuse",
            listener = &*self.name,
            peer = client.map(tracing::field::display),
            reason = limit.reason().as_str(),
            detail = detail.map(tracing::field::display),
            limit = limit.key(&self.name),
            value,
            remedy = self.names().fill(&refused.remedy()),
            "{}",
            match limit {
                ConnectionLimit::ServerMemory => "connection refused: memory is used up",
                _ => "connection refused: a limit is reached",
            }
        );
    }

    /// Who holds the places that a shared limit counts. It is computed only when the line is written:
    /// most lines of a flood are not.
    const fn holders(&self, before: &'static str, limit: ConnectionLimit) -> Holders<'_> {
        Holders {
            gate: &self.gate,
            before,
            limit,
        }
    }
}

/// Why an address may not connect.
#[derive(Debug)]
pub(crate) enum Unwelcome {
    Unserved(Unserved),
    Banned(Box<Banned>),
}

impl Unwelcome {
    /// Whether its connection is dropped without a word.
    const fn is_dropped(&self, action: DenyAction) -> bool {
        matches!((self, action), (Self::Unserved(_), DenyAction::Drop))
    }
}

const fn is_shared(limit: ConnectionLimit) -> bool {
    matches!(
        limit,
        ConnectionLimit::MaxPending
            | ConnectionLimit::MaxConnections
            | ConnectionLimit::ServerMaxConnections
    )
}

/// What the log says about a refusal, besides the limit.
enum Detail<'a> {
    /// The rate that was exceeded, as it was written.
    Rate(Rate),
    Holders(Holders<'a>),
}

impl fmt::Display for Detail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate(rate) => rate.fmt(f),
            Self::Holders(holders) => holders.fmt(f),
        }
    }
}

/// The address with the most connections without a CONNECT, in words; nothing for a limit that clients do
/// not share.
struct Holders<'a> {
    gate: &'a Gate,
    before: &'static str,
    limit: ConnectionLimit,
}

impl fmt::Display for Holders<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !is_shared(self.limit) {
            return Ok(());
        }
        match self.gate.most_pending() {
            Some(most) => write!(
                f,
                "{}{} of the {} connections without a CONNECT are from {}",
                self.before, most.count, most.all, most.client
            ),
            None => write!(f, "{}all connections have sent their CONNECT", self.before),
        }
    }
}
