//! The brokers: dials them, and watches whether they serve clients.

mod admission;
mod health;
mod probe;
mod session;
mod set;
mod trial;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use mproxy_admin::{CheckHandle, DialResult, Health, Metrics, UpstreamConnection, UpstreamMetrics};
use mproxy_codec::Version;
use mproxy_session::{ClientCertificate, CloseReason, Peer, Side, Summary};
use mproxy_transport::{
    DialCause, DialError, DialOptions, Dialer, Dialled, ProxyHeader, ProxyTls, Resolver, SendProxy,
    Stream, Subprotocol, TlsClient, UpstreamAddr,
};
use tokio::sync::Notify;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

pub(crate) use self::admission::{Admission, Entered, Permit};
use self::health::{BrokerHealth, Outcome, Verdict};
pub(crate) use self::probe::{Failure, of_fault as tls_remedy, remedy as dial_remedy};
pub(crate) use self::set::Upstreams;
pub(crate) use self::trial::try_broker;
use crate::app::key_names::fill_upstream;
use mproxy_config::{self as config, HealthCheck};

/// What to do about a broker that is not reached by its first address.
const REMEDY: &str = "is the broker at upstreams.NAME.address running? detail says what is wrong, if it was tried just \
                      now; mproxy goes back by itself";

/// A broker, for all sessions.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) name: String,
    address: UpstreamAddr,
    /// The position of the address that the last connection was made by.
    in_use: AtomicUsize,
    dialer: ArcSwap<Dialer>,
    send_proxy: SendProxy,
    /// Lets clients through at its pace.
    pub(crate) admission: Arc<Admission>,
    metrics: UpstreamMetrics,
    /// How long a probe waits for CONNACK.
    limit: Duration,
    /// `None` = not watched.
    watched: Option<Watched>,
}

/// A broker whose health is watched.
#[derive(Debug)]
struct Watched {
    health: Mutex<BrokerHealth>,
    /// Notified if sessions have changed when to probe.
    changed: Notify,
    reached: CheckHandle,
    /// `None` = a connection is enough.
    answers: Option<CheckHandle>,
}

impl Upstream {
    /// Prepares to dial a broker. Unless its health check is off, it is not ready before the first result.
    pub(crate) fn new(
        config: &config::Upstream,
        admission: Arc<Admission>,
        resolver: &Resolver,
        metrics: &Metrics,
        health: &Health,
    ) -> Self {
        let mut options = DialOptions::default();
        options.connect_timeout = config.connect_timeout;
        options.retry_for = config.retry_for;
        options.tcp.nodelay = config.tcp_nodelay;
        options.tcp.keepalive = config.tcp_keepalive;
        let dialer = Dialer::new(config.address.clone(), options)
            .also(config.addresses.iter().cloned())
            .resolver(resolver.clone());
        let metrics = metrics.upstream(&config.name);
        metrics.uses(0);
        Self {
            name: config.name.clone(),
            address: config.address.clone(),
            in_use: AtomicUsize::new(0),
            dialer: ArcSwap::from_pointee(dialer),
            send_proxy: config.send_proxy_protocol,
            admission,
            metrics,
            limit: probe::limit(config.health.interval),
            watched: Watched::new(config, health),
        }
    }

    /// Its address.
    pub(crate) fn address(&self) -> &UpstreamAddr {
        &self.address
    }

    /// Sets what connections from now on are secured by.
    pub(crate) fn set_tls(&self, tls: &TlsClient) {
        let dialer = Dialer::clone(&self.dialer.load()).tls(tls.clone());
        self.dialer.store(Arc::new(dialer));
    }

    /// Whether it is told who the client is.
    pub(crate) fn is_told(&self) -> bool {
        self.send_proxy != SendProxy::Off
    }

    /// The bytes in front of a session, which tell the broker about its client, who connected to
    /// `destination`.
    pub(crate) fn head(&self, client: &Peer, destination: Option<SocketAddr>) -> Vec<u8> {
        match self.send_proxy {
            SendProxy::Off => Vec::new(),
            version => header(client, destination).encode(version),
        }
    }

    /// Connects, for mproxy itself.
    async fn connect(&self) -> Result<Stream, DialError> {
        let head = ProxyHeader::default().encode(self.send_proxy);
        let dialer = self.dialer.load_full();
        let dialled = dialer.dial_behind(head, Subprotocol::Mqtt).await?;
        self.uses(dialer.addrs(), &dialled);
        Ok(dialled.stream)
    }

    /// Notes by which of its addresses the broker is reached, and logs it if that has changed.
    fn uses(&self, addrs: &[UpstreamAddr], dialled: &Dialled) {
        let position = dialled.address;
        if self.in_use.swap(position, Ordering::Relaxed) == position {
            return;
        }
        self.metrics.uses(position);
        if let Some(watched) = &self.watched {
            let note = (position > 0).then(|| format!("addresses[{}]", position - 1));
            watched.reached.note(note);
        }
        let address = addrs.get(position).map(tracing::field::display);
        let detail = dialled.instead.as_ref().map(tracing::field::display);
        if position == 0 {
            tracing::info!(
                target: "mproxy::upstream",
                event = "switch",
                address,
                detail,
                upstream = self.name,
                "the broker is reached by its first address again"
            );
        } else {
            tracing::warn!(
                target: "mproxy::upstream",
                event = "switch",
                address,
                detail,
                remedy = fill_upstream(REMEDY, &self.name),
                upstream = self.name,
                "the broker is reached by another one of its addresses"
            );
        }
    }

    /// Connects to the broker for a session, and sends its [head](Self::head).
    ///
    /// # Errors
    /// Why it cannot be reached.
    pub(crate) async fn dial(
        &self,
        head: Vec<u8>,
        version: Version,
    ) -> Result<(Stream, UpstreamConnection), DialError> {
        let subprotocol = match version {
            Version::V31 => Subprotocol::MqttV31,
            Version::V311 | Version::V5 => Subprotocol::Mqtt,
        };
        let started = Instant::now();
        let dialer = self.dialer.load_full();
        let outcome = dialer.dial_behind(head, subprotocol).await;
        let result = match &outcome {
            Ok(_) => DialResult::Success,
            Err(error) => match error.cause() {
                DialCause::Refused => DialResult::Refused,
                DialCause::TimedOut => DialResult::Timeout,
                DialCause::Resolve(_) => DialResult::Unreachable,
                DialCause::Tls(_) | DialCause::TlsNotSetUp => DialResult::TlsError,
                DialCause::Handshake(_) => DialResult::WebsocketHandshake,
                _ => DialResult::Error,
            },
        };
        self.metrics.dialled(result, started.elapsed());
        if outcome.is_err() {
            self.report(Outcome::Unreachable);
        }
        let dialled = outcome?;
        self.uses(dialer.addrs(), &dialled);
        Ok((dialled.stream, self.metrics.opened()))
    }

    /// A session waits for CONNACK until the returned guard is dropped.
    pub(crate) fn wait(self: &Arc<Self>) -> Waiting {
        let now = Instant::now();
        if let Some(watched) = &self.watched
            && watched.lock().wait(now)
        {
            watched.changed.notify_one();
        }
        Waiting {
            upstream: Arc::clone(self),
            since: now,
        }
    }

    /// A session ends; `waiting` if it still waits for CONNACK.
    pub(crate) fn ending(&self, side: Side, reason: CloseReason, waiting: Option<&Waiting>) {
        let waited = waiting.map(|it| it.since.elapsed());
        if let Some(outcome) = session::ending(side, reason, waited) {
            if let (Outcome::Answered, Some(took)) = (outcome, waited) {
                self.metrics.connack(took);
            }
            self.report(outcome);
        }
    }

    /// A session got CONNACK from the broker after waiting with this guard.
    pub(crate) fn answered(&self, waiting: Option<&Waiting>) {
        if let Some(waiting) = waiting {
            self.metrics.connack(waiting.since.elapsed());
        }
        self.report(Outcome::Answered);
    }

    /// A session is over, and its connection to the broker is closed.
    pub(crate) fn closed(&self, summary: &Summary) {
        if session::was_closed(summary) && self.metrics.open() == 0 {
            self.report(Outcome::LastClosed);
        }
    }

    fn report(&self, outcome: Outcome) {
        let Some(watched) = &self.watched else {
            return;
        };
        if watched.lock().session(outcome, Instant::now()) {
            watched.changed.notify_one();
        }
    }

    /// Probes the broker once, and updates readiness.
    ///
    /// # Errors
    /// Why it does not serve clients.
    pub(crate) async fn require(&self) -> Result<(), Failure> {
        let Some(watched) = &self.watched else {
            return Ok(self.connect().await.map(drop)?);
        };
        watched.lock().probe(Instant::now());
        let result = self.probe(watched).await;
        watched.lock().probed(result.clone(), Instant::now());
        result
    }

    /// Watches the broker for readiness until told to stop.
    pub(crate) async fn watch(&self, stop: CancellationToken) {
        if let Some(watched) = &self.watched {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.keep_informed(watched) => {}
            }
        }
    }

    async fn keep_informed(&self, watched: &Watched) {
        loop {
            watched.publish(&self.name);
            let due = watched.lock().due();
            match due {
                None => watched.changed.notified().await,
                Some(due) if due > Instant::now() => tokio::select! {
                    () = watched.changed.notified() => {}
                    () = sleep_until(due.into()) => {}
                },
                Some(_) => {
                    watched.lock().probe(Instant::now());
                    tokio::select! {
                        result = self.probe(watched) => {
                            watched.lock().probed(result, Instant::now());
                        }
                        () = watched.answered() => {}
                    }
                }
            }
        }
    }

    /// Records how long a PUBLISH took to be acknowledged.
    pub(crate) fn publish_answered(&self, took: Duration) {
        self.metrics.publish_answered(took);
    }

    /// Connects, and waits for a CONNACK if that is checked. Not counted: metrics of dials are
    /// about clients.
    async fn probe(&self, watched: &Watched) -> Result<(), Failure> {
        let stream = self.connect().await?;
        let result = match &watched.answers {
            Some(_) => {
                self.admission.count();
                probe::ask(stream, self.limit).await
            }
            None => Ok(()),
        };
        let failure = result.as_ref().err();
        tracing::debug!(
            target: "mproxy::health",
            upstream = self.name,
            error = failure.map(tracing::field::display),
            "probed"
        );
        result
    }
}

/// What a broker is told about a client: nothing about one without an address.
fn header(client: &Peer, destination: Option<SocketAddr>) -> ProxyHeader {
    let unknown = SocketAddr::from(([0; 4], 0));
    let mut header = ProxyHeader::default();
    header.addresses = client
        .address
        .map(|it| (it, destination.unwrap_or(unknown)));
    header.tls = client.tls.as_deref().map(|tls| {
        let mut told = ProxyTls::default();
        told.version = tls.version.to_owned();
        told.cipher.clone_from(&tls.cipher);
        told.server_name = tls.server_name.as_deref().map(str::to_owned);
        let certificate = tls.certificate.as_ref();
        told.is_verified = certificate.is_some_and(may_be_told);
        told.common_name = certificate.and_then(|it| it.common_name.clone());
        told
    });
    header
}

/// Whether a broker may know of this certificate. It would let a client whose certificate has no common name
/// choose its user name; that is for those who have none, not for those whose name is one that mproxy refuses.
fn may_be_told(certificate: &ClientCertificate) -> bool {
    // at worst, what looks like a common name is within a value
    let mut attributes = certificate.subject.split([',', '+']);
    certificate.common_name.is_some() || !attributes.any(|it| it.starts_with("CN="))
}

/// A session that waits for CONNACK.
#[derive(Debug)]
pub(crate) struct Waiting {
    upstream: Arc<Upstream>,
    since: Instant,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(watched) = &self.upstream.watched {
            watched.lock().waited();
        }
    }
}

impl Watched {
    fn new(config: &config::Upstream, health: &Health) -> Option<Self> {
        let asks = match config.health.check {
            HealthCheck::Off => return None,
            HealthCheck::Tcp => false,
            HealthCheck::Session => true,
        };
        let interval = config.health.interval;
        Some(Self {
            health: Mutex::new(BrokerHealth::new(asks, interval, Instant::now())),
            changed: Notify::new(),
            reached: health.upstream(&config.name),
            answers: asks.then(|| health.connack(&config.name)),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BrokerHealth> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a session makes the running probe unnecessary.
    async fn answered(&self) {
        while self.lock().is_probing() {
            self.changed.notified().await;
        }
    }

    /// Publishes the state to `/readyz` and the metrics.
    fn publish(&self, name: &str) {
        let (verdict, unanswered) = {
            let health = self.lock();
            (health.verdict().clone(), health.unanswered())
        };
        let answers = self.answers.as_ref();
        match verdict {
            Verdict::Unknown => {}
            Verdict::Up => {
                self.reached.ok();
                answers.inspect(|it| it.ok());
            }
            Verdict::Down(failure) if failure.is_reached => {
                self.reached.ok();
                let why = match unanswered {
                    Some(count) => format!("{count} CONNECTs in a row without CONNACK: {failure}"),
                    None => failure.to_string(),
                };
                answers.inspect(|it| it.fail_with(why, &failure.remedy_for(name)));
            }
            Verdict::Down(failure) => {
                self.reached.fail_with(&failure, &failure.remedy_for(name));
                answers.inspect(|it| it.skip("no connection"));
            }
        }
    }
}
