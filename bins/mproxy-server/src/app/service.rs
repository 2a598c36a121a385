//! What a listener is made of, for the connections that it accepts.

use std::sync::Arc;

use mproxy_admin::RefuseReason;
use mproxy_session::Limits;
use mproxy_transport::{ClientAddr, WsOptions};

use super::compose::Composed;
use super::gate::{Gate, Pass, Refused};
use super::memory::Memory;
use super::upstream::Upstream;

/// What all connections of a listener share.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) name: Arc<str>,
    /// `Some` for a WebSocket listener.
    pub(crate) websocket: Option<WsOptions>,
    pub(crate) chain: Composed,
    pub(crate) limits: Arc<Limits>,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) gate: Gate,
    pub(crate) memory: Arc<Memory>,
    pub(crate) metrics: mproxy_admin::ListenerMetrics,
}

impl Service {
    /// Lets an accepted connection in, or closes it at once.
    pub(crate) fn admit(&self, client: &ClientAddr) -> Option<Pass> {
        if self.memory.is_full() {
            self.refuse_for_memory(client);
            return None;
        }
        match self.gate.enter(client.ip()) {
            Ok(pass) => Some(pass),
            Err(Refused { limit, value, rate }) => {
                let reason = limit.reason();
                self.metrics.accepted().refused(reason);
                tracing::warn!(
                    target: "mproxy::listener",
                    event = "refuse",
                    listener = &*self.name,
                    peer = client.socket_addr().map(tracing::field::display),
                    reason = reason.as_str(),
                    detail = rate.map(tracing::field::display),
                    limit = limit.key(&self.name),
                    value,
                    remedy = limit.remedy(),
                    "connection refused: a limit is reached"
                );
                None
            }
        }
    }

    #[cold]
    fn refuse_for_memory(&self, client: &ClientAddr) {
        let reason = RefuseReason::Overload;
        self.metrics.accepted().refused(reason);
        tracing::warn!(
            target: "mproxy::listener",
            event = "refuse",
            listener = &*self.name,
            peer = client.socket_addr().map(tracing::field::display),
            reason = reason.as_str(),
            limit = "server.memory",
            value = self.memory.limit(),
            remedy = "see the line with event=memory: raise server.memory or the memory limit of \
                      the container if your fleet needs it",
            "connection refused: memory is used up"
        );
    }
}
