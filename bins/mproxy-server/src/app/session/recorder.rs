//! Turns a session's counters and events into metrics.

use std::future::ready;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use mproxy_admin::{
    Action, ConnectionMetrics, Decision, Direction, PacketType, Reason, Side, Traffic, Version,
};
use mproxy_codec::{self as codec, Kind, ReasonCode};
use mproxy_session::{
    self as session, Batch, CloseReason, Connect, Counters, Events, SessionHandle, SessionInfo,
    Summary, Turn, Turns,
};

use super::offended::Pings;
use crate::app::distrust;
use crate::app::gate::{Client, Pass};
#[cfg(feature = "ocsp")]
use crate::app::ocsp::Attended;
use crate::app::service::Service;
use crate::app::upstream::{Entered, Permit, Waiting};
use crate::app::worker_recorder::WorkerRecorder;

/// The recorder of one connection.
#[derive(Debug)]
pub(crate) struct ConnectionRecorder {
    worker: Arc<WorkerRecorder>,
    connection: Mutex<Option<ConnectionMetrics>>,
    /// `Some` from its turn at the broker to the broker's answer; boxed, because most do not wait.
    opening: Mutex<Option<Box<Opening>>>,
    /// `Some` while offences count; boxed, because mostly they do not.
    pings: OnceLock<Box<Pings>>,
    /// Its places under the limits of the listener.
    pass: Pass,
    /// The listener of the client.
    service: Arc<Service>,
    /// Its certificates are asked about as long as it is connected.
    #[cfg(feature = "ocsp")]
    _attended: Option<Attended>,
}

impl ConnectionRecorder {
    pub(crate) fn new(
        worker: Arc<WorkerRecorder>,
        connection: ConnectionMetrics,
        pass: Pass,
        service: Arc<Service>,
    ) -> Self {
        Self {
            worker,
            connection: Mutex::new(Some(connection)),
            opening: Mutex::new(None),
            pings: OnceLock::new(),
            pass,
            service,
            #[cfg(feature = "ocsp")]
            _attended: None,
        }
    }

    /// Keeps this as long as the connection is open.
    #[cfg(feature = "ocsp")]
    pub(crate) fn attended(mut self, attended: Option<Attended>) -> Self {
        self._attended = attended;
        self
    }

    fn lock(&self) -> MutexGuard<'_, Option<ConnectionMetrics>> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn opening(&self) -> MutexGuard<'_, Option<Box<Opening>>> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The broker was dialled, and CONNACK comes next.
    pub(crate) fn dialled(&self) {
        let waiting = self.service.upstream.wait();
        self.opening().get_or_insert_default().waiting = Some(waiting);
    }

    /// It is the client's turn.
    fn admit(&self, permit: Permit) {
        self.opening().get_or_insert_default().permit = Some(permit);
    }

    /// The client no longer waits for the broker's answer, and gives its turn back.
    fn opened(&self) -> Option<Waiting> {
        self.opening().take()?.waiting
    }

    /// Counts the end of the connection.
    pub(crate) fn closed(&self, summary: &Summary) {
        let Some(connection) = self.lock().take() else {
            return;
        };
        if summary.panicked {
            connection.panicked();
        } else {
            connection.closed(side(summary.side), reason(summary.reason));
        }
        if let Some(direction) = wrong_packet(summary) {
            let reason = reason(summary.reason);
            self.worker.metrics.packet_error(direction, reason);
        }
    }
}

/// A client between its turn at the broker and CONNACK, or the first AUTH.
#[derive(Debug, Default)]
struct Opening {
    /// `None` if the broker takes all at once.
    permit: Option<Permit>,
    /// `Some` once the broker is dialled.
    waiting: Option<Waiting>,
}

impl Turns for ConnectionRecorder {
    fn turn(self: Arc<Self>, connect: &Connect) -> Option<Turn> {
        let admission = &self.service.upstream.admission;
        if !admission.is_on() {
            return None;
        }
        let address = connect.peer().address.map(|it| it.ip());
        let holder = address.map(|it| Client::of(it, self.service.ipv6_prefix));
        match admission.enter(holder, !connect.packet().clean_start()) {
            Entered::Now(permit) => {
                self.admit(permit);
                None
            }
            Entered::Later(place) => Some(Box::pin(async move {
                self.admit(place.wait().await?);
                Ok(())
            })),
            Entered::Full(busy) => Some(Box::pin(ready(Err(busy)))),
        }
    }

    fn is_held(&self) -> bool {
        self.opening()
            .as_ref()
            .is_some_and(|it| it.permit.is_some())
    }
}

impl Counters for ConnectionRecorder {
    fn record(&self, direction: codec::Direction, batch: &Batch) {
        let pings = batch.packets[usize::from(Kind::Pingreq.as_u8())];
        if pings > 0
            && let Some(counted) = self.pings.get()
        {
            counted.add(pings, &self.service);
        }
        let direction = match direction {
            codec::Direction::ToServer => Direction::ClientToBroker,
            codec::Direction::ToClient => Direction::BrokerToClient,
        };
        let mut traffic = Traffic::default();
        traffic.packets = batch.packets;
        traffic.bytes = batch.bytes;
        traffic.publishes = batch.publishes;
        traffic.stalls = batch.stalls;
        self.worker.traffic.add(direction, &traffic);
        for (count, reason) in [
            (batch.too_large, Reason::PacketTooLarge),
            (batch.expired, Reason::MessageExpired),
        ] {
            for _ in 0..count {
                self.worker.own.dropped(PacketType::Publish, reason);
            }
        }
        if batch.shed > 0 {
            self.worker
                .own
                .dropped_many(PacketType::Publish, Reason::SlowConsumer, batch.shed);
        }
        if batch.injected != [0; 16] {
            for (code, count) in (0..).zip(batch.injected) {
                let Some(kind) = PacketType::from_code(code) else {
                    continue;
                };
                for _ in 0..count {
                    self.worker.own.injected(kind);
                }
            }
        }
    }

    fn wants_latency(&self) -> bool {
        // only this thread takes it, so load and store need not be atomic together
        let wants = self.worker.wants_latency.load(Ordering::Relaxed);
        if wants {
            self.worker.wants_latency.store(false, Ordering::Relaxed);
        }
        wants
    }

    fn publish_answered(&self, took: Duration) {
        self.service.upstream.publish_answered(took);
    }
}

impl Events for ConnectionRecorder {
    fn connect(&self, _: &SessionInfo) {
        self.pass.connected();
        if let Some(connection) = &mut *self.lock() {
            connection.connect();
        }
    }

    fn admitted(&self, session: &SessionHandle) {
        self.service.end_if_banned(session);
        if self.service.bans.counts() {
            let pings = Box::new(Pings::of(session));
            // a session is admitted once
            let _ = self.pings.set(pings);
        }
        // from here on, a reload finds the session by its listener
        let policy = self.service.policy.load();
        if let (Some(served), Some(now)) = (&self.service.tls, &policy.tls) {
            distrust::catch_up(session, served, now);
            #[cfg(feature = "ocsp")]
            self.service.ocsp.catch_up(session, now);
        }
        let [to_server, to_client] = policy.paces;
        let limits = &self.service.limits;
        if [to_server, to_client] != [limits.pace_to_server, limits.pace_to_client] {
            session.set_pace(to_server, to_client);
        }
    }

    fn connack(&self, session: Option<&SessionInfo>, version: codec::Version, reason: ReasonCode) {
        let mut connection = self.lock();
        let Some(connection) = &mut *connection else {
            return;
        };
        let version = match version {
            codec::Version::V31 => Version::V3_1,
            codec::Version::V311 => Version::V3_1_1,
            codec::Version::V5 => Version::V5,
        };
        connection.connack(version, reason.as_str());
        if let Some(session) = session {
            tracing::debug!(
                target: "mproxy::session",
                listener = &*session.peer().listener,
                peer = %session.peer(),
                client_id = session.client_id(),
                reason_code = reason.as_str(),
                "CONNACK"
            );
        }
        if reason != ReasonCode::SUCCESS {
            // by the broker or by mproxy: the end of the session logs it
            return;
        }
        connection.opened(version);
        let waiting = self.opened();
        self.service.upstream.answered(waiting.as_ref());
        let logs = self.service.policy.load().composed.access_log.is_none();
        if let (true, Some(session)) = (logs, session) {
            tracing::info!(
                target: "mproxy::session",
                event = "connect",
                listener = &*session.peer().listener,
                peer = %session.peer(),
                client_id = session.client_id(),
                username = session.user_name(),
                version = session.version().as_str(),
                keep_alive_s = session.keep_alive(),
                clean_start = session.clean_start(),
                "client connected"
            );
        }
    }

    fn challenged(&self) {
        // the broker has answered; how long the client takes says nothing about it, and keeps nobody waiting
        if let Some(waiting) = self.opened() {
            self.service.upstream.answered(Some(&waiting));
        }
    }

    fn layers(&self) -> Option<String> {
        Some(self.service.policy.load().composed.chain.describe())
    }

    fn refused(&self, direction: codec::Direction, kind: Kind) {
        let own = &self.worker.own;
        let action = match (kind, direction) {
            (Kind::Publish, codec::Direction::ToServer) => Action::Publish,
            (Kind::Publish, codec::Direction::ToClient) => {
                own.dropped(PacketType::Publish, Reason::ProtocolError);
                Action::Deliver
            }
            (Kind::Subscribe, _) => Action::Subscribe,
            (Kind::Unsubscribe, _) => Action::Unsubscribe,
            (Kind::Connect, _) => Action::Will,
            (Kind::Auth, _) => {
                // the broker is dialled only for them
                for judge in &self.service.policy.load().composed.by_names {
                    judge.metrics.decision(Action::Auth, Decision::Deny);
                }
                return;
            }
            // the session itself refuses no other packets
            _ => return,
        };
        own.decision(action, Decision::Deny);
    }

    fn sheds(&self, session: &SessionInfo) {
        let remedy = "the client reads more slowly than the broker sends: have it subscribe to less, or \
             set listeners.NAME.limits.slow_consumer = \"wait\" to lose nothing";
        tracing::warn!(
            target: "mproxy::session",
            event = "slow",
            listener = &*session.peer().listener,
            peer = %session.peer(),
            client_id = session.client_id(),
            username = session.user_name(),
            remedy = self.service.names().fill(remedy),
            "the client is slow: mproxy drops QoS 0 messages to it until it has caught up"
        );
    }

    fn caught_up(&self, session: &SessionInfo, dropped: u64) {
        tracing::info!(
            target: "mproxy::session",
            event = "slow",
            listener = &*session.peer().listener,
            peer = %session.peer(),
            client_id = session.client_id(),
            username = session.user_name(),
            shed = dropped,
            "the slow client has caught up"
        );
    }

    fn ending(&self, side: session::Side, reason: CloseReason) {
        let waiting = self.opened();
        let upstream = &self.service.upstream;
        upstream.ending(side, reason, waiting.as_ref());
    }
}

const fn side(side: session::Side) -> Side {
    match side {
        session::Side::Client => Side::Client,
        session::Side::Upstream => Side::Upstream,
        session::Side::Proxy => Side::Proxy,
    }
}

/// The direction of the invalid packet that ended a session, if one did.
fn wrong_packet(summary: &Summary) -> Option<Direction> {
    let is_wrong = matches!(
        summary.reason,
        CloseReason::ProtocolError
            | CloseReason::UpstreamProtocolError
            | CloseReason::Malformed
            | CloseReason::PacketTooLarge
    );
    match summary.side {
        session::Side::Client if is_wrong => Some(Direction::ClientToBroker),
        session::Side::Upstream if is_wrong => Some(Direction::BrokerToClient),
        _ => None,
    }
}

/// The metrics' word for a session's end: that of the log, but for a few finer points.
pub(crate) fn reason(reason: CloseReason) -> Reason {
    let word = match reason {
        CloseReason::PacketTimeout | CloseReason::WriteTimeout => return Reason::Idle,
        CloseReason::UpstreamProtocolError => return Reason::ProtocolError,
        CloseReason::UpstreamDisconnect => return Reason::UpstreamEof,
        other => other.as_str(),
    };
    let mut all = Reason::ALL.iter().copied();
    all.find(|it| it.as_str() == word)
        .unwrap_or(Reason::Internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What has no word of its own is counted as internal: nothing else may be.
    #[test]
    fn the_words_of_the_log_are_those_of_the_metrics() {
        use CloseReason::{HookFailed, Internal};
        for it in CloseReason::ALL {
            let is_own = matches!(it, HookFailed | Internal);
            assert_eq!(reason(*it) == Reason::Internal, is_own, "{}", it.as_str());
        }
        assert_eq!(reason(CloseReason::Evicted), Reason::Evicted);
    }
}
