//! The running proxy: everything that is started from a configuration, and how it stops.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use mproxy_admin::{Admin, BuildInfo, Health, Metrics};
use mproxy_codec::Version;
use mproxy_session::{
    BoxError, Bridges, Conformance, ControlCharacters, Limits, Order, Rate, ReceiveMaximum,
    RefusedPublish, ServerReference, Versions, WhenUnreachable,
};
use mproxy_transport::{ListenAddr, ListenOptions, Listener, Resolver, TcpOptions, WsOptions};
use tokio_util::sync::CancellationToken;

use super::capacity::Capacity;
use super::compose::{Composed, compose};
use super::gate::{Gates, Rules};
use super::memory::Memory;
use super::recorder::WorkerRecorder;
use super::service::Service;
use super::signals::Requests;
use super::upstream::Upstream;
use super::worker::{Entrance, Workers};
use mproxy_config::{
    self as config, Bind, Config, DrainNotice, DrainWills, MqttVersion, Transport,
};

/// The largest WebSocket message; packets of a message stream through, so it costs no memory.
const MAX_WEBSOCKET_MESSAGE: usize = 1 << 30;

/// How long sessions are given to notice that they are to end when time is up.
const LAST_CALL: Duration = Duration::from_millis(500);

/// Why the proxy does not start.
#[derive(Debug)]
pub(crate) enum StartError {
    /// An address that cannot be listened on.
    Bind {
        what: String,
        address: Bind,
        error: std::io::Error,
    },
    /// Anything else.
    Other { what: &'static str, error: BoxError },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind {
                what,
                address,
                error,
            } => {
                write!(f, "{what} cannot listen on {address}: {error}")?;
                match (error.kind(), address) {
                    (std::io::ErrorKind::AddrInUse, _) => {
                        f.write_str("; stop what listens there, or choose another address")
                    }
                    (_, address) => match bind_advice(address, error) {
                        Some(advice) => write!(f, "; {advice}"),
                        None => Ok(()),
                    },
                }
            }
            Self::Other { what, error } => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// What to do about an address that cannot be bound, if nothing else has it.
pub(crate) fn bind_advice(address: &Bind, error: &std::io::Error) -> Option<String> {
    use std::io::ErrorKind::{AlreadyExists, NotFound, PermissionDenied};
    Some(match (error.kind(), address) {
        (PermissionDenied, Bind::Tcp(_)) => "ports below 1024 need CAP_NET_BIND_SERVICE".to_owned(),
        (PermissionDenied, Bind::Unix(path)) => {
            format!("mproxy must be allowed to write to {}", folder(path))
        }
        (NotFound, Bind::Unix(path)) => format!("create the folder {}", folder(path)),
        (AlreadyExists, Bind::Unix(_)) => "choose another path".to_owned(),
        _ => return None,
    })
}

fn folder(path: &Path) -> std::path::Display<'_> {
    path.parent().unwrap_or(path).display()
}

fn other(what: &'static str) -> impl FnOnce(BoxError) -> StartError {
    move |error| StartError::Other { what, error }
}

/// How the proxy came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drained {
    /// Every session ended by itself when it was asked to.
    Gently,
    /// `server.drain_timeout` was over, and the sessions that were left were cut.
    InTime,
    /// A second signal came, and the sessions that were left were cut.
    Forced,
}

/// A proxy that listens.
pub(crate) struct Server {
    /// Where the listeners are, in the order of the configuration.
    #[cfg_attr(
        not(feature = "demo"),
        expect(dead_code, reason = "only the demo asks")
    )]
    pub(crate) addresses: Vec<Bind>,
    /// Where health and metrics are.
    #[cfg_attr(
        not(feature = "demo"),
        expect(dead_code, reason = "only the demo asks")
    )]
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    pub(crate) metrics: Metrics,
    health: Health,
    workers: Workers,
    drain_timeout: Duration,
    /// How sessions are sent away.
    drain_order: Order,
    stop: CancellationToken,
    abort: CancellationToken,
}

impl Server {
    /// Binds everything, and only then starts to accept: a configuration that cannot be served
    /// serves nothing.
    ///
    /// # Errors
    /// What could not be started.
    pub(crate) async fn start(config: &Config, files: &[String]) -> Result<Self, StartError> {
        let workers = worker_count(config);
        let capacity = Capacity::of(config, workers);
        let build = build_info();
        let health = Health::new();
        let metrics = Metrics::new(&build, &health, workers);
        let memory = Arc::new(Memory::new(config.server.memory, metrics.memory()));
        tracing::info!(
            target: "mproxy::server",
            event = "start",
            release = env!("CARGO_PKG_VERSION"),
            revision = option_env!("MPROXY_REVISION"),
            pid = std::process::id(),
            config = (!files.is_empty()).then(|| files.join(", ")),
            workers,
            capacity = capacity.connections.min(memory.connections()),
            descriptors = capacity.descriptors,
            memory_bytes = memory.limit(),
            memory_automatic = memory.is_automatic(),
            "starting"
        );
        capacity.warn(&config.server);
        // one for all: brokers behind one name are asked for together
        let resolver = Resolver::system();
        let mut upstreams = HashMap::new();
        for upstream in config.upstreams.values() {
            let built = Upstream::new(upstream, &resolver, &metrics, &health)
                .map_err(|error| other("an upstream address is not valid")(error.into()))?;
            upstreams.insert(upstream.name.clone(), Arc::new(built));
        }
        metrics.set_capacity(capacity.connections.min(memory.connections()));
        let gates = Gates::new(
            capacity.connections,
            capacity.descriptor_remedy(&config.server),
        );
        let mut chains = HashMap::new();
        let mut entrances = Vec::new();
        let mut addresses = Vec::new();
        for listener in &config.listeners {
            // listeners share the rules of a chain: 10 listeners of 100,000 rules are no million
            let key = (&*listener.chain.name, listener.upstream.dialect);
            let chain = match chains.get(&key) {
                Some(chain) => Composed::clone(chain),
                None => {
                    let chain = compose(&listener.chain, listener.upstream.dialect, &metrics)
                        .map_err(other("a layer is not valid"))?;
                    chains.insert(key, chain.clone());
                    chain
                }
            };
            let entrance = entrance(listener, chain, &upstreams, (&gates, &memory), &metrics)?;
            addresses.push(bound(listener, &entrance.listener)?);
            entrances.push(entrance);
        }
        let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
        let admin = match config.admin.bind {
            Some(bind) => {
                let bind_error = |error| StartError::Bind {
                    what: "the admin port".to_owned(),
                    address: bind.into(),
                    error,
                };
                let listener = mproxy_admin::bind(bind).await.map_err(bind_error)?;
                let address = listener.local_addr().map_err(bind_error)?;
                let admin = Admin::new(build, health.clone(), metrics.clone());
                tokio::spawn(mproxy_admin::serve(
                    listener,
                    admin,
                    abort.clone().cancelled_owned(),
                ));
                tracing::info!(
                    target: "mproxy::server",
                    event = "listen",
                    %address,
                    "admin port listening"
                );
                Some(address)
            }
            None => None,
        };
        let recorders = (0..workers.get())
            .map(|index| {
                let traffic = metrics.worker(index);
                Arc::new(WorkerRecorder {
                    traffic,
                    own: metrics.layer("session"),
                    metrics: metrics.clone(),
                    wants_latency: AtomicBool::new(true),
                })
            })
            .collect();
        let workers = Workers::start(recorders, &entrances, &stop, &abort)
            .map_err(|error| other("cannot start the worker threads")(error.into()))?;
        let (keeper, kept, over) = (Arc::clone(&memory), workers.sessions.clone(), abort.clone());
        tokio::spawn(async move { keeper.keep(&kept, over).await });
        for (listener, address) in config.listeners.iter().zip(&addresses) {
            health.listener(&listener.name).ok();
            tracing::info!(
                target: "mproxy::server",
                event = "listen",
                listener = listener.name,
                %address,
                chain = listener.chain.name,
                upstream = listener.upstream.name,
                upstream_address = %listener.upstream.address,
                "listening"
            );
        }
        Ok(Self {
            addresses,
            admin,
            upstreams: upstreams.into_values().collect(),
            metrics,
            health,
            workers,
            drain_timeout: config.server.drain_timeout,
            drain_order: drain_order(&config.server),
            stop,
            abort,
        })
    }

    /// Runs until the first signal, then drains; the second signal ends it at once.
    pub(crate) async fn run(self, mut requests: Requests) -> Drained {
        for upstream in &self.upstreams {
            let (upstream, stop) = (Arc::clone(upstream), self.abort.clone());
            tokio::spawn(async move { upstream.watch(stop).await });
        }
        requests.reach(1).await;
        tracing::info!(
            target: "mproxy::server",
            event = "drain",
            sessions = self.sessions(),
            timeout_s = self.drain_timeout.as_secs_f64(),
            "draining: no new connections; a second signal ends at once"
        );
        self.health.set_draining(true);
        self.stop.cancel();
        let drained = tokio::select! {
            () = self.drain() => Drained::Gently,
            () = tokio::time::sleep(self.drain_timeout) => Drained::InTime,
            () = requests.reach(2) => Drained::Forced,
        };
        let why = match drained {
            Drained::Gently => None,
            Drained::InTime => Some(
                "server.drain_timeout is over: ending the sessions that are left; \
                 raise it if this is too soon",
            ),
            Drained::Forced => Some("a second signal came: ending the sessions that are left"),
        };
        if let Some(why) = why {
            tracing::warn!(
                target: "mproxy::server",
                event = "drain",
                sessions = self.sessions(),
                "{why}"
            );
            for sessions in &self.workers.sessions {
                sessions.close_all(self.drain_order);
            }
            let _ = tokio::time::timeout(LAST_CALL, self.all_ended()).await;
        }
        let gentle = drained == Drained::Gently;
        tracing::info!(target: "mproxy::server", event = "stop", gentle, "stopped");
        drained
    }

    fn sessions(&self) -> usize {
        self.workers
            .sessions
            .iter()
            .map(|sessions| sessions.running().len())
            .sum()
    }

    /// Sends sessions away one after the other, so that a fleet does not come back all at once,
    /// and waits for the last.
    async fn drain(&self) {
        let mut controls = Vec::new();
        for sessions in &self.workers.sessions {
            controls.extend(sessions.running());
        }
        // half of the time to spread the orders, half for the sessions to follow them; a few
        // sessions go quickly
        let count = u32::try_from(controls.len()).unwrap_or(u32::MAX).max(1);
        let pause = (self.drain_timeout / 2 / count).min(Duration::from_millis(10));
        let mut ticks = tokio::time::interval(pause.max(Duration::from_micros(1)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
        let order = self.drain_order;
        for control in controls {
            ticks.tick().await;
            control.close(order);
        }
        // those that were accepted at the last moment
        for sessions in &self.workers.sessions {
            sessions.close_all(order);
        }
        self.all_ended().await;
    }

    async fn all_ended(&self) {
        for sessions in &self.workers.sessions {
            sessions.wait_until_empty().await;
        }
    }
}

impl Drop for Server {
    /// Ends the threads: what they hold is given back, the files of Unix sockets among it.
    fn drop(&mut self) {
        self.abort.cancel();
        self.workers.join();
    }
}

fn entrance(
    listener: &config::Listener,
    chain: Composed,
    upstreams: &HashMap<String, Arc<Upstream>>,
    (gates, memory): (&Gates, &Arc<Memory>),
    metrics: &Metrics,
) -> Result<Entrance, StartError> {
    let upstream = upstreams
        .get(&listener.upstream.name)
        .cloned()
        .ok_or_else(|| other("a listener has no upstream")("it was not configured".into()))?;
    let limits = &listener.limits;
    let gate = gates.listener(&Rules {
        connections_per_ip: limits.max_connections_per_ip.map(NonZeroUsize::get),
        rate_per_ip: limits.connection_rate_per_ip,
        pending_per_ip: limits.max_pending_per_ip.map(NonZeroUsize::get),
        pending: limits.max_pending.map(NonZeroUsize::get),
        connections: limits.max_connections.map(NonZeroUsize::get),
        rate: limits.connection_rate,
        ipv6_prefix: limits.ipv6_prefix,
    });
    let websocket = match &listener.transport {
        Transport::Mqtt => None,
        Transport::Ws {
            paths,
            origins,
            max_header_size,
        } => {
            let (frames, period) = limits
                .max_denials
                .map_or((u32::MAX, Duration::MAX), |rate| {
                    (rate.count.get(), rate.period)
                });
            let options = WsOptions::default()
                .paths(paths.iter().map(String::as_str))
                .origins(origins.iter().map(String::as_str))
                .max_header_size(*max_header_size)
                .handshake_timeout(limits.connect_timeout)
                .write_timeout(limits.write_timeout)
                .max_idle_frames(frames, period)
                .max_message_size(MAX_WEBSOCKET_MESSAGE);
            Some(options)
        }
    };
    let tcp = TcpOptions::default().keepalive(listener.tcp_keepalive);
    let options = ListenOptions::default().tcp(tcp);
    let socket = listen_address(&listener.bind)
        .and_then(|address| Listener::bind(&address, &options))
        .map_err(|error| cannot_bind(listener, error))?;
    let service = Service {
        name: listener.name.as_str().into(),
        websocket,
        chain,
        limits: Arc::new(session_limits(listener)),
        upstream,
        gate,
        memory: Arc::clone(memory),
        metrics: metrics.listener(&listener.name),
    };
    Ok(Entrance {
        listener: socket,
        service: Arc::new(service),
    })
}

/// The address of the configuration as the transport takes it.
pub(crate) fn listen_address(bind: &Bind) -> std::io::Result<ListenAddr> {
    match bind {
        Bind::Tcp(address) => Ok(ListenAddr::from(*address)),
        Bind::Unix(_) => bind.to_string().parse().map_err(std::io::Error::other),
    }
}

/// The address of a listener, with the real port where 0 was asked for.
fn bound(listener: &config::Listener, socket: &Listener) -> Result<Bind, StartError> {
    let Bind::Tcp(wanted) = &listener.bind else {
        return Ok(listener.bind.clone());
    };
    let address = socket
        .local_addr()
        .map_err(|error| cannot_bind(listener, error))?;
    let port = address.port().unwrap_or_else(|| wanted.port());
    Ok(SocketAddr::new(wanted.ip(), port).into())
}

fn cannot_bind(listener: &config::Listener, error: std::io::Error) -> StartError {
    StartError::Bind {
        what: format!("listener `{}`", listener.name),
        address: listener.bind.clone(),
        error,
    }
}

/// The largest packet of a session. 256MiB, and the largest Remaining Length, a byte less, are what
/// people write for MQTT's maximum: the few bytes that a packet has besides are not refused for it.
fn packet_limit(size: u32) -> usize {
    const LARGEST_REMAINING_LENGTH: u32 = (256 << 20) - 1;
    match size {
        LARGEST_REMAINING_LENGTH.. => Limits::NO_PACKET_LIMIT,
        size => size as usize,
    }
}

fn session_limits(listener: &config::Listener) -> Limits {
    let config = &listener.limits;
    let mut limits = Limits::default();
    limits.connect_timeout = config.connect_timeout;
    limits.connack_timeout = listener.upstream.connack_timeout;
    limits.packet_timeout = config.packet_timeout;
    limits.write_timeout = config.write_timeout;
    limits.max_packet_size = packet_limit(config.max_packet_size);
    limits.max_connect_size = config.max_connect_size;
    limits.max_held_packet = config.max_held_packet;
    limits.conformance = match listener.conformance {
        config::Conformance::Tolerant => Conformance::Tolerant,
        config::Conformance::Strict => Conformance::Strict,
    };
    limits.bridges = match listener.bridges {
        config::Bridges::Pass => Bridges::Pass,
        config::Bridges::Refuse => Bridges::Refuse,
    };
    limits.receive_maximum = match listener.receive_maximum {
        config::ReceiveMaximum::Pass => ReceiveMaximum::Pass,
        config::ReceiveMaximum::Enforce => ReceiveMaximum::Enforce,
    };
    limits.when_unreachable = match listener.upstream.when_unreachable {
        config::WhenUnreachable::Close => WhenUnreachable::Close,
        config::WhenUnreachable::Connack => WhenUnreachable::Connack,
    };
    limits.keep_alive_grace = config.keepalive_grace;
    limits.max_keep_alive = config.max_keepalive;
    limits.server_reference = match listener.server_reference {
        config::ServerReference::Strip => ServerReference::Strip,
        config::ServerReference::Pass => ServerReference::Pass,
    };
    limits.control_characters = match listener.control_characters {
        config::ControlCharacters::Refuse => ControlCharacters::Refuse,
        config::ControlCharacters::Pass => ControlCharacters::Pass,
    };
    limits.max_replies = config.max_replies;
    limits.max_topic_levels = config.max_topic_levels.get();
    limits.max_filters = config.max_filters.get();
    limits.max_denials = config
        .max_denials
        .map(|rate| Rate::new(rate.count, rate.period));
    limits.refused_publish = RefusedPublish::Acknowledge;
    limits.versions = listener
        .versions
        .iter()
        .fold(Versions::NONE, |versions, version| {
            versions.with(match version {
                MqttVersion::V31 => Version::V31,
                MqttVersion::V311 => Version::V311,
                MqttVersion::V5 => Version::V5,
            })
        });
    limits
}

fn drain_order(server: &config::Server) -> Order {
    let order = Order::drain(server.drain_wills == DrainWills::Suppress);
    match server.drain_notice {
        DrainNotice::None => order,
        DrainNotice::Disconnect => order.with_notice(),
    }
}

fn worker_count(config: &Config) -> NonZeroUsize {
    config
        .server
        .worker_threads
        // respects the cgroup's CPU quota
        .or_else(|| std::thread::available_parallelism().ok())
        .unwrap_or(NonZeroUsize::MIN)
}

fn build_info() -> BuildInfo {
    BuildInfo::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
        .revision(option_env!("MPROXY_REVISION"))
}
