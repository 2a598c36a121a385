//! A configuration, compiled before anything is opened: its layers, and limits in the types of the
//! crates. All errors are found here, so that a failed reload has changed nothing.

use std::collections::HashMap;
use std::fmt::Display;
use std::fs;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use mproxy_admin::Metrics;
use mproxy_codec::topic::Dialect;
use mproxy_config::diagnostics::Diagnostic;
use mproxy_config::{self as config, Chain, Config, Contents, UpstreamTls};
use mproxy_session::{Limits, Pace, Rate, RefusedPublish};
use mproxy_transport::{
    ListenAddr, TcpOptions, TlsClient, TlsClientOptions, TlsFileError, TlsServer, WsOptions,
};

use super::chain::{Composed, Naming, compose};
use super::gate::{HandshakeRules, Rules};
use super::lists::Lists;
use super::networks::Networks;
use super::tls_files;
use super::trust::Trust;
use super::upgrades::Upgrades;

/// The largest WebSocket message; packets of a message stream through, so it costs no memory.
const MAX_WEBSOCKET_MESSAGE: usize = 1 << 30;

/// The longest file with a token.
const MAX_TOKEN: u64 = 4096;

/// A configuration, ready to be applied.
#[derive(Debug)]
pub(crate) struct Plan {
    /// In the order of the configuration.
    pub(crate) listeners: Vec<ListenerPlan>,
    pub(crate) upstreams: Vec<UpstreamPlan>,
    /// What the files of TLS had, before they were read.
    pub(crate) tls_files: Contents,
    /// The bearer token of callers of the admin port from other hosts; `None` = there are none.
    pub(crate) token: Option<Arc<str>>,
    chains: Chains,
}

/// A broker.
#[derive(Debug)]
pub(crate) struct UpstreamPlan {
    pub(crate) config: Arc<config::Upstream>,
    /// `Some` for one that is reached by TLS.
    pub(crate) tls: Option<TlsClient>,
}

/// A listener without its socket.
#[derive(Debug)]
pub(crate) struct ListenerPlan {
    pub(crate) name: Arc<str>,
    pub(crate) bind: ListenAddr,
    /// Options of the sockets that it accepts.
    pub(crate) tcp: TcpOptions,
    /// Its socket is to be one of Multipath TCP.
    pub(crate) multipath: bool,
    /// `Some` for a listener with TLS.
    pub(crate) tls: Option<TlsServer>,
    pub(crate) naming: Naming,
    pub(crate) networks: Networks,
    pub(crate) trust: Trust,
    /// `Some` for a WebSocket listener.
    pub(crate) websocket: Option<WsOptions>,
    pub(crate) upgrades: Arc<Upgrades>,
    /// Its chain, as configured.
    pub(crate) chain_config: Arc<Chain>,
    pub(crate) chain: Composed,
    pub(crate) limits: Arc<Limits>,
    pub(crate) rules: Rules,
    /// The name of its broker.
    pub(crate) upstream: String,
}

/// Compiled chains. All listeners of a chain share its rules, so that 10 listeners with 100,000 rules do
/// not take a million; a reload keeps the chains that have not changed.
#[derive(Debug, Default)]
struct Chains(HashMap<(String, Dialect), (Arc<Chain>, Composed)>);

impl Plan {
    /// Compiles a configuration, except for chains that `before` already has.
    ///
    /// # Errors
    /// Everything that cannot be used: files, and layers whose settings do not fit together.
    pub(crate) fn build(
        config: &Config,
        before: Option<&Self>,
        lists: &Lists,
        metrics: &Metrics,
    ) -> Result<Self, Vec<Diagnostic>> {
        let tls_files = tls_files::contents(config);
        let mut chains = Chains::default();
        let mut problems = Vec::new();
        let known = before.map(|plan| &plan.chains);
        let plan_listener = |listener: &config::Listener| {
            let chain = chains.chain(listener, known, metrics);
            let chain = chain.map_err(|problem| {
                // once for all listeners of the chain
                if problems
                    .iter()
                    .all(|it: &Diagnostic| it.message != problem.message)
                {
                    problems.push(*problem);
                }
            });
            let tls = tls(listener, lists).map_err(|more| problems.extend(more));
            let (chain, tls) = (chain.ok()?, tls.ok()?);
            let mut tcp = TcpOptions::default();
            tcp.keepalive = listener.tcp_keepalive;
            let upgrades = Upgrades::of(listener);
            Some(ListenerPlan {
                name: listener.name.as_str().into(),
                bind: listener.bind.clone(),
                tcp,
                multipath: listener.multipath_tcp,
                tls,
                naming: Naming::of(listener.tls.as_ref()),
                networks: Networks::of(listener),
                trust: Trust::of(listener),
                websocket: websocket(listener, &upgrades),
                upgrades: Arc::new(upgrades),
                chain_config: Arc::clone(&listener.chain),
                chain,
                limits: Arc::new(session_limits(listener)),
                rules: rules(&listener.limits),
                upstream: listener.upstream.name.clone(),
            })
        };
        let listeners = config.listeners.iter().filter_map(plan_listener).collect();
        let upstreams = config.upstreams.values().filter_map(|upstream| {
            let planned = plan_upstream(upstream);
            planned.map_err(|more| problems.extend(more)).ok()
        });
        let upstreams = upstreams.collect();
        let token = token(&config.admin).map_err(|problem| problems.push(*problem));
        match (problems.is_empty(), token) {
            (true, Ok(token)) => Ok(Self {
                listeners,
                tls_files,
                upstreams,
                token,
                chains,
            }),
            _ => Err(problems),
        }
    }
}

impl Plan {
    /// The listeners that trust other clients than they did: the CAs, or the revocation lists, have
    /// changed.
    pub(super) fn distrusting<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a str> {
        let differ = |listener: &&ListenerPlan| {
            let mut known = before.listeners.iter();
            let known = known.find(|it| it.name == listener.name);
            match (&listener.tls, known.and_then(|it| it.tls.as_ref())) {
                (Some(now), Some(before)) => !now.trusts_like(before),
                _ => false,
            }
        };
        self.listeners.iter().filter(differ).map(|it| &*it.name)
    }
}

impl Chains {
    fn chain(
        &mut self,
        listener: &config::Listener,
        known: Option<&Self>,
        metrics: &Metrics,
    ) -> Result<Composed, Box<Diagnostic>> {
        let (chain, dialect) = (&listener.chain, listener.upstream.dialect);
        let key = (chain.name.clone(), dialect);
        if let Some((_, composed)) = self.0.get(&key) {
            return Ok(composed.clone());
        }
        let unchanged = known
            .and_then(|chains| chains.0.get(&key))
            .filter(|(before, _)| before == chain);
        let composed = match unchanged {
            Some((_, composed)) => composed.clone(),
            None => compose(chain, dialect, metrics).map_err(|error| {
                refused(format!("chain `{}` cannot be used: {error}", chain.name))
            })?,
        };
        self.0.insert(key, (Arc::clone(chain), composed.clone()));
        Ok(composed)
    }
}

/// Reads the bearer token, if there is to be one.
fn token(admin: &config::Admin) -> Result<Option<Arc<str>>, Box<Diagnostic>> {
    let Some(file) = &admin.token_file else {
        return Ok(None);
    };
    let unusable = |why: &dyn Display| {
        let file = file.display();
        let problem = refused(format!(
            "`admin.token_file` cannot be used: `{file}`: {why}"
        ));
        match admin.places.of(&"token_file") {
            Some(span) => Box::new(problem.at(span)),
            None => problem,
        }
    };
    let size = fs::metadata(file).map_err(|error| unusable(&error))?.len();
    if size > MAX_TOKEN {
        return Err(unusable(&"it has more than 4 KiB"));
    }
    let text = fs::read_to_string(file).map_err(|error| unusable(&error))?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|it| it.is_ascii_graphic()) {
        return Err(unusable(
            &"it must hold one line of visible ASCII characters",
        ));
    }
    Ok(Some(token.into()))
}

fn tls(listener: &config::Listener, lists: &Lists) -> Result<Option<TlsServer>, Vec<Diagnostic>> {
    let Some(tls) = &listener.tls else {
        return Ok(None);
    };
    #[cfg(not(feature = "ocsp"))]
    if tls.revocation.ocsp_responder_url.is_some() {
        return Err(vec![*refused(format!(
            "listeners.{}.tls.revocation.ocsp_responder_url: this mproxy-server was built without OCSP; build it \
             with --features ocsp, or remove the key and use crl_files or crl_urls",
            listener.name
        ))]);
    }
    let mut options = tls.options(listener.protocol);
    options.kept_lists = lists.of(tls);
    options.handshake_timeout = listener.limits.connect_timeout;
    let problem = |error: &TlsFileError| tls.place(&listener.name, error.setting()).error(error);
    let loaded = TlsServer::load(&options);
    loaded
        .map(Some)
        .map_err(|all| all.iter().map(problem).collect())
}

pub(super) fn plan_upstream(
    config: &Arc<config::Upstream>,
) -> Result<UpstreamPlan, Vec<Diagnostic>> {
    let table = config.tls.as_ref();
    let options = config
        .address
        .is_tls()
        .then(|| table.map_or_else(TlsClientOptions::default, UpstreamTls::options));
    let problem = |error: &TlsFileError| {
        UpstreamTls::place(table, &config.name, error.setting()).error(error)
    };
    let loaded = options.map(|options| TlsClient::load(&options)).transpose();
    let tls = loaded.map_err(|all| all.iter().map(problem).collect::<Vec<_>>())?;
    Ok(UpstreamPlan {
        config: Arc::clone(config),
        tls,
    })
}

fn refused(message: String) -> Box<Diagnostic> {
    Box::new(Diagnostic::error(message))
}

fn rules(limits: &config::Limits) -> Rules {
    Rules {
        connections_per_ip: limits.max_connections_per_ip.map(NonZeroUsize::get),
        rate_per_ip: limits.connection_rate_per_ip,
        pending_per_ip: limits.max_pending_per_ip.map(NonZeroUsize::get),
        pending: limits.max_pending.map(NonZeroUsize::get),
        connections: limits.max_connections.map(NonZeroUsize::get),
        rate: limits.connection_rate,
        handshakes: HandshakeRules {
            rate_per_ip: limits.handshake_rate_per_ip,
            most_per_ip: limits.max_handshakes_per_ip.map(NonZeroUsize::get),
            rate: limits.handshake_rate,
            most: limits.max_handshakes.map(NonZeroUsize::get),
        },
        ipv6_prefix: limits.ipv6_prefix,
    }
}

fn websocket(listener: &config::Listener, upgrades: &Upgrades) -> Option<WsOptions> {
    if !listener.is_websocket() {
        return None;
    }
    let limits = &listener.limits;
    let (frames, period) = limits
        .max_denials
        .map_or((u32::MAX, Duration::MAX), |rate| {
            (rate.count.get(), rate.period)
        });
    let options = WsOptions::default()
        .paths(listener.paths.iter().map(String::as_str))
        .origins(listener.origins.iter().map(String::as_str))
        .max_header_size(listener.max_header_size)
        .handshake_timeout(limits.connect_timeout)
        .write_timeout(limits.write_timeout)
        .max_idle_frames(frames, period)
        .keep_headers(upgrades.headers())
        .max_message_size(MAX_WEBSOCKET_MESSAGE);
    Some(options)
}

/// The largest packet of a session. People write 256MiB, or the largest Remaining Length, a byte less,
/// for MQTT's maximum, so the few bytes of the fixed header do not count against it.
const fn packet_limit(size: usize) -> usize {
    const LARGEST_REMAINING_LENGTH: usize = (256 << 20) - 1;
    match size {
        LARGEST_REMAINING_LENGTH.. => Limits::NO_PACKET_LIMIT,
        size => size,
    }
}

fn pace(packets: Option<Rate>, bytes: Option<Rate>) -> Option<Pace> {
    let mut pace = Pace::default();
    (pace.packets, pace.bytes) = (packets, bytes);
    Some(pace).filter(|it| *it != Pace::default())
}

fn session_limits(listener: &config::Listener) -> Limits {
    let config = &listener.limits;
    let mut limits = Limits::default();
    limits.connect_timeout = config.connect_timeout;
    limits.connack_timeout = listener.upstream.connack_timeout;
    // the dialer has its own timeouts
    limits.dial_timeout = Duration::MAX;
    limits.packet_timeout = config.packet_timeout;
    limits.write_timeout = config.write_timeout;
    limits.slow_consumer = config.slow_consumer;
    limits.slow_consumer_time = config.slow_consumer_time;
    limits.max_packet_size = packet_limit(config.max_packet_size);
    limits.max_connect_size = config.max_connect_size;
    limits.max_held_packet = config.max_held_packet;
    limits.conformance = listener.conformance;
    limits.bridges = listener.bridges;
    limits.receive_maximum = listener.receive_maximum;
    limits.when_unreachable = listener.upstream.when_unreachable;
    limits.keep_alive_grace = config.keepalive_grace;
    limits.max_keep_alive = config.max_keepalive;
    limits.server_reference = listener.server_reference;
    limits.control_characters = listener.control_characters;
    limits.max_replies = config.max_replies;
    limits.max_topic_levels = config.max_topic_levels.get();
    limits.max_filters = config.max_filters.get();
    limits.max_denials = config.max_denials;
    limits.ipv6_prefix = config.ipv6_prefix;
    limits.pace_to_server = pace(config.packet_rate_to_server, config.bytes_rate_to_server);
    limits.pace_to_client = pace(config.packet_rate_to_client, config.bytes_rate_to_client);
    limits.refused_publish = RefusedPublish::Acknowledge;
    limits.versions = listener.versions;
    limits
}
