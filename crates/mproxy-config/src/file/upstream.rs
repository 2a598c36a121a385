//! `[upstreams.NAME]`.

use super::Setting;
use crate::model::{Dialect, HealthCheck, UpstreamAddress, WhenUnreachable};
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// A broker.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub(crate) struct UpstreamFile {
    /// mqtt://host:1883, ws://host:80/mqtt or unix:/path.
    #[schemars(extend("default" = "mqtt://127.0.0.1:1883"))]
    pub address: Setting<UpstreamAddress>,
    /// How the broker reads topics, for layers that judge or map them. "mqtt": as the standard
    /// says. "amqp": RabbitMQ, to which "." is "/" and "*" is "+". "nats": "*" is "+" and ">" is "#".
    #[schemars(extend("default" = "mqtt"))]
    pub dialect: Setting<Dialect>,
    /// For name resolution, TCP and the WebSocket hand-shake together.
    #[schemars(extend("default" = "5s"))]
    pub connect_timeout: Setting<Duration>,
    /// From CONNECT forwarded to CONNACK received. A broker that accepts connections and
    /// says nothing is down, too.
    #[schemars(extend("default" = "30s"))]
    pub connack_timeout: Setting<Duration>,
    /// Send small packets at once.
    #[schemars(extend("default" = true))]
    pub tcp_nodelay: Setting<bool>,
    /// Idle time before TCP asks whether the broker is still there; one that vanished is found
    /// after about twice this time. "0s" = never.
    #[schemars(extend("default" = "60s"))]
    pub tcp_keepalive: Setting<Duration>,
    /// What a client sees when the broker cannot be reached or does not answer its CONNECT. close:
    /// its connection is closed, and it tries again. connack: CONNACK 3, or 0x88 in MQTT 5, which
    /// some clients take as final.
    #[schemars(extend("default" = "close"))]
    pub when_unreachable: Setting<WhenUnreachable>,
    /// How mproxy finds out whether the broker serves clients, for /readyz.
    pub health: HealthFile,
}

/// How mproxy finds out whether the broker serves clients, for /readyz.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub(crate) struct HealthFile {
    /// "session": the broker must answer CONNECT; mproxy sends one of its own at start and when
    /// clients get no answer or wait for it. "tcp": the broker must accept a connection every `interval`.
    /// "off": /readyz does not look at the broker.
    #[schemars(extend("default" = "session"))]
    pub check: Setting<HealthCheck>,
    /// "tcp": time between two connections. "session": how long clients wait before mproxy asks
    /// the broker, and the longest time between two attempts while it does not answer.
    #[schemars(extend("default" = "5s"))]
    pub interval: Setting<Duration>,
}
