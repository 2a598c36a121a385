//! What a listener serves its connections with.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use mproxy_admin::{ConnectionLimit, ConnectionMetrics};
use mproxy_session::{CloseReason, Limits};
use mproxy_transport::{ClientAddr, TlsServer, WsOptions};

use super::chain::Policy;
use super::gate::{Admitted, Evicted, Gate, Limited, Refused};
use super::memory::Memory;
use super::strain::Strain;
use super::trust::Trust;
use super::upstream::Upstream;
use mproxy_session::Rate;

/// State shared by all connections of a listener.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) name: Arc<str>,
    pub(crate) trust: Trust,
    /// `Some` for a listener with TLS.
    pub(crate) tls: Option<TlsServer>,
    /// `Some` for a WebSocket listener.
    pub(crate) websocket: Option<WsOptions>,
    /// The layers, which a reload may replace.
    pub(crate) policy: Arc<ArcSwap<Policy>>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) gate: Gate,
    pub(crate) memory: Arc<Memory>,
    pub(crate) strain: Arc<Strain>,
    pub(crate) metrics: mproxy_admin::ListenerMetrics,
}

impl Service {
    /// Admits an accepted connection, or closes it at once.
    pub(crate) fn admit(&self, client: &ClientAddr) -> Option<Admitted> {
        if let Err(refused) = self.strain.admits() {
            self.refused(client, refused, self.metrics.accepted());
            return None;
        }
        if !self.memory.admits() {
            let limit = ConnectionLimit::ServerMemory;
            let refused = Refused::full(limit, self.memory.limit());
            self.refused(client, refused, self.metrics.accepted());
            return None;
        }
        let secured =
            usize::from(self.tls.is_some()) + usize::from(self.upstream.address().is_tls());
        let control = || self.memory.control(secured);
        let address = client.socket_addr();
        // a load balancer is not counted, but its client, once that is known
        let counted = address.filter(|_| !self.trust.defers(address));
        match self.gate.enter(counted, control) {
            Ok(admitted) => {
                if let Some(evicted) = &admitted.evicted {
                    self.evicted(evicted);
                }
                Some(admitted)
            }
            Err(refused) => {
                self.refused(client, refused, self.metrics.accepted());
                None
            }
        }
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
        client: &ClientAddr,
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
            peer = client.socket_addr().map(tracing::field::display),
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
