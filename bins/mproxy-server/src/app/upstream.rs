//! The brokers: how they are dialled, and whether they answer.

use std::time::{Duration, Instant};

use mproxy_admin::{DialResult, Health, Metrics, UpstreamConnection, UpstreamMetrics};
use mproxy_codec::Version;
use mproxy_transport::{
    AddrError, DialCause, DialError, DialOptions, Dialer, Stream, Subprotocol, TcpOptions,
};
use tokio_util::sync::CancellationToken;

use crate::config;

/// How often a broker that nobody dials is asked whether it is there.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// How often a broker that did not answer is asked again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A broker, for all sessions.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) name: String,
    dialer: Dialer,
    metrics: UpstreamMetrics,
}

impl Upstream {
    /// Prepares to dial a broker.
    ///
    /// # Errors
    /// An address that the transport does not take; the configuration has checked it before.
    pub(crate) fn new(config: &config::Upstream, metrics: &Metrics) -> Result<Self, AddrError> {
        let tcp = TcpOptions::default()
            .nodelay(config.tcp_nodelay)
            .keepalive(config.tcp_keepalive);
        let options = DialOptions::default()
            .connect_timeout(config.connect_timeout)
            .tcp(tcp);
        Ok(Self {
            name: config.name.clone(),
            dialer: Dialer::new(config.address.to_string().parse()?, options),
            metrics: metrics.upstream(&config.name),
        })
    }

    /// Connects to the broker for a session.
    ///
    /// # Errors
    /// Why it cannot be reached.
    pub(crate) async fn dial(
        &self,
        version: Version,
    ) -> Result<(Stream, UpstreamConnection), DialError> {
        let stream = self.connect(version).await?;
        Ok((stream, self.metrics.opened()))
    }

    async fn connect(&self, version: Version) -> Result<Stream, DialError> {
        let subprotocol = match version {
            Version::V31 => Subprotocol::MqttV31,
            Version::V311 | Version::V5 => Subprotocol::Mqtt,
        };
        let started = Instant::now();
        let outcome = self.dialer.dial(subprotocol).await;
        let result = match &outcome {
            Ok(_) => DialResult::Success,
            Err(error) => match error.cause() {
                DialCause::Refused => DialResult::Refused,
                DialCause::TimedOut => DialResult::Timeout,
                DialCause::Resolve(_) => DialResult::Unreachable,
                DialCause::Handshake(_) => DialResult::WebsocketHandshake,
                _ => DialResult::Error,
            },
        };
        self.metrics.dialled(result, started.elapsed());
        outcome
    }

    /// Tries to connect, for readiness.
    ///
    /// # Errors
    /// Why the broker cannot be reached.
    pub(crate) async fn probe(&self) -> Result<(), DialError> {
        self.connect(Version::V311).await.map(drop)
    }

    /// Keeps readiness informed until it is told to stop.
    pub(crate) async fn watch(&self, health: Health, stop: CancellationToken) {
        loop {
            let outcome = self.probe().await.map_err(|error| error.to_string());
            let pause = if outcome.is_ok() {
                PROBE_INTERVAL
            } else {
                RETRY_INTERVAL
            };
            match outcome {
                Ok(()) => health.upstream(&self.name).ok(),
                Err(why) => health.upstream(&self.name).fail(why),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}
