//! `[upstreams.NAME]`: the brokers.

use crate::choice::Choice;
use crate::context::Context;
use crate::scalar::DurationOrNever;
use crate::section::{Named, Setting, Sub, section};
use crate::validate::{self, bounds};
use mproxy_codec::topic::Dialect;
use mproxy_session::WhenUnreachable;
use mproxy_transport::UpstreamAddr;
use std::sync::Arc;
use std::time::Duration;

section! {
    /// A broker.
    Upstream, UpstreamKeys in "[upstreams.NAME]" titled name {
        /// mqtt://host:1883, ws://host:80/mqtt or unix:/path.
        address: UpstreamAddr = "mqtt://127.0.0.1:1883";
        /// How the broker reads topics, for layers that judge or map them. "mqtt": as the standard
        /// says. "amqp": RabbitMQ, to which "." is "/" and "*" is "+". "nats": "*" is "+" and ">" is "#".
        dialect: Dialect = "mqtt";
        /// For name resolution, TCP and the WebSocket hand-shake together.
        connect_timeout: Duration = "5s", check bounds::timeout;
        /// From CONNECT forwarded to CONNACK received. A broker that accepts connections and
        /// says nothing is down, too.
        connack_timeout: Duration = "30s", check bounds::timeout;
        /// Send small packets at once.
        tcp_nodelay: bool = true;
        /// Idle time before TCP asks whether the broker is still there; one that vanished is found
        /// after about twice this time. "0s" = never.
        tcp_keepalive: Option<Duration> as Setting<DurationOrNever> = "60s",
            check bounds::tcp_keepalive;
        /// What a client sees when the broker cannot be reached or does not answer its CONNECT. close:
        /// its connection is closed, and it tries again. connack: CONNACK 3, or 0x88 in MQTT 5, which
        /// some clients take as final.
        when_unreachable: WhenUnreachable = "close";
        /// How mproxy finds out whether the broker serves clients, for /readyz.
        health: UpstreamHealth as Sub<UpstreamHealth>, given health;
    }
    also {
        /// Its name in logs and metrics.
        name: String;
    }
    reserved {
        "send_proxy_protocol": "turn it off in the broker";
        "credentials": "remove it; credentials are passed on";
    }
}

section! {
    /// How mproxy finds out whether the broker serves clients, for /readyz.
    UpstreamHealth, UpstreamHealthKeys in "[upstreams.NAME.health]" short "check" {
        /// "session": the broker must answer CONNECT; mproxy sends one of its own at start and when
        /// clients get no answer or wait for it. "tcp": the broker must accept a connection every `interval`.
        /// "off": /readyz does not look at the broker.
        check: HealthCheck = "session";
        /// "tcp": time between two connections. "session": how long clients wait before mproxy asks
        /// the broker, and the longest time between two attempts while it does not answer.
        interval: Duration = "5s", check bounds::health_interval;
    }
}

/// What a broker must do to count as healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthCheck {
    /// Nothing: mproxy does not look at it.
    Off,
    /// Accept connections.
    Tcp,
    /// Answer CONNECT with CONNACK.
    Session,
}

impl Choice for HealthCheck {
    const ALL: &'static [(&'static str, Self)] = &[
        ("off", Self::Off),
        ("tcp", Self::Tcp),
        ("session", Self::Session),
    ];
}

/// The broker that there is when none was named.
const DEFAULT_NAME: &str = "broker";

/// Checks all upstreams; there is at least one afterwards.
pub(crate) fn upstreams(cx: &mut Context, files: &Named<Upstream>) -> validate::Named<Upstream> {
    let mut upstreams = validate::Named::new();
    for (name, file) in files.iter() {
        let checked = upstream(cx, name, &file.value);
        upstreams.insert(name.clone(), (Arc::new(checked), Some(file.span.clone())));
    }
    if upstreams.is_empty() {
        let default = upstream(cx, DEFAULT_NAME, &UpstreamKeys::default());
        upstreams.insert(DEFAULT_NAME.to_owned(), (Arc::new(default), None));
    }
    upstreams
}

fn upstream(cx: &mut Context, name: &str, keys: &UpstreamKeys) -> Upstream {
    let health = UpstreamHealth::read(cx, &keys.health);
    Upstream::read(cx, keys, name.to_owned(), health)
}
