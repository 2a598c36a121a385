//! `[upstreams.NAME]`: the brokers.

use crate::choice::words;
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::scalar::{Count, DurationOrNever};
use crate::section::{Listing, Named, OptionalSub, Setting, Sub, section};
use crate::tls::{self, UpstreamTls};
use crate::validate::{self, bounds};
use mproxy_codec::topic::Dialect;
use mproxy_session::{Rate, WhenUnreachable};
use mproxy_transport::{SendProxy, UpstreamAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

section! {
    /// A broker.
    Upstream, UpstreamKeys in "[upstreams.NAME]" titled name,
        reload "for clients that connect from then on; connected clients keep their broker"
    {
        /// mqtt://host:1883, ws://host:80/mqtt or unix:/path; mqtts:// and wss:// with TLS.
        address: UpstreamAddr = "mqtt://127.0.0.1:1883";
        /// More addresses of the same broker, tried in this order while those before cannot be reached.
        ///
        /// This is no load balancing: all clients use the first address that answers, and the next ones take
        /// over only while it does not. mproxy tries an address that failed last, for ten seconds; then one
        /// client tries it again, and the others follow if it succeeds. Connected clients stay where they
        /// are. All addresses must lead to the same sessions and messages, and all or none be reached by
        /// TLS; the name in the certificate is checked for each.
        addresses: Vec<UpstreamAddr> as Listing<UpstreamAddr> = [];
        /// How the broker reads topics: "mqtt", "amqp" (RabbitMQ) or "nats". An acl depends on it.
        ///
        /// mqtt: as they are written. amqp: RabbitMQ, which reads "." as "/", "*" as "+", and "$" as a letter
        /// like any other. nats: reads "*" as "+" and ">" as "#".
        ///
        /// Layers of type acl, topic-map and publish-rules judge and map topics as the broker reads them.
        /// With the wrong value, clients can get around an acl and out of their topic-map. mproxy refuses
        /// what the broker would not read as a topic: a topic name with a wildcard, or a client id that
        /// would be more than one level. With "amqp" it also refuses user names that contain ":" where rules
        /// use names, because RabbitMQ may read a virtual host in them.
        dialect: Dialect = "mqtt", reload "at once; sessions that a topic-map has mapped are closed";
        /// Maximum time for name resolution, TCP, TLS and the WebSocket handshake together.
        connect_timeout: Duration = "5s", check bounds::timeout;
        /// How long mproxy tries again if no address can be reached. "0s" = not at all.
        ///
        /// It ends with connect_timeout. A client then waits for a broker that restarts, instead of being closed at once and coming back by
        /// itself. The pauses grow from 100 ms to a second, at random, and names are resolved again. All
        /// clients together repeat at most 20 times a second. mproxy does not try again after a timeout, or an
        /// error of TLS or WebSocket.
        retry_for: Duration = "0s";
        /// Maximum time from forwarding CONNECT to the broker's CONNACK.
        ///
        /// A broker that accepts connections but does not answer counts as down, too.
        connack_timeout: Duration = "30s", check bounds::timeout;
        /// Send small packets at once (TCP_NODELAY).
        tcp_nodelay: bool = true;
        /// Idle time before TCP keepalive checks that the broker is still there. "0s" = never.
        ///
        /// mproxy notices a broker that vanished after about twice this time. One on the same machine, at a loopback
        /// address, cannot vanish, and is not probed.
        tcp_keepalive: Option<Duration> as Setting<DurationOrNever> = "60s",
            check bounds::tcp_keepalive;
        /// Whether the broker is told the client's address: "off", "v1", "v2" or "v2-tls".
        ///
        /// mproxy sends it in a header of the PROXY protocol, in front of TLS and WebSocket; the broker must
        /// expect one. v2-tls: also the TLS version, cipher and server name of the client, and the common name of
        /// its verified certificate. In v1, the health check of mproxy says UNKNOWN, in v2 LOCAL: if the broker
        /// closes such connections, as mosquitto 2.1 does, set health.check to "tcp".
        send_proxy_protocol: SendProxy = "off";
        /// What a client sees when the broker does not answer its CONNECT: "close" or "connack".
        ///
        /// close: mproxy closes the connection, as a broker that goes down would, and the client tries again.
        /// connack: CONNACK 3, or 0x88 in MQTT 5. Some clients take that as final and do not try again.
        when_unreachable: WhenUnreachable = "close";
        /// TLS, for an address that begins with mqtts:// or wss://.
        tls: Option<UpstreamTls> as OptionalSub<UpstreamTls>, given tls;
        /// How fast mproxy lets clients through to the broker.
        admission: UpstreamAdmission as Sub<UpstreamAdmission>, given admission;
        /// How mproxy finds out whether the broker serves clients.
        health: UpstreamHealth as Sub<UpstreamHealth>, given health;
    }
    also {
        /// Its name in logs and metrics.
        name: String;
    }
    reserved {
        "credentials": "remove it; mproxy forwards the clients' credentials";
    }
}

section! {
    /// How fast mproxy lets clients through to the broker. The others wait in a queue.
    UpstreamAdmission, UpstreamAdmissionKeys in "[upstreams.NAME.admission]",
        reload "at once, for waiting clients too"
    {
        /// Maximum rate of CONNECTs to the broker: "100/s", "600/m". "0/s" = unlimited.
        ///
        /// After a restart of the broker, all clients return at once; many brokers fall over then. Set this
        /// to what yours takes. mproxy stays 4 % below it, so that the broker never sees a higher rate in any
        /// period. Layers judge a client before it waits, and the CONNECTs of mproxy's health check count.
        rate: Option<Rate> = "0/s";
        /// Maximum CONNECTs that wait for CONNACK at once. 0 = unlimited.
        ///
        /// It follows a broker that gets slower under load, such as one that asks a database about each
        /// client.
        concurrent: Option<NonZeroUsize> as Setting<Count> = 0;
        /// Maximum clients that wait for their turn. Each takes about 1 KiB beside its connection.
        ///
        /// Without rate and concurrent, nobody waits. A client that leaves is out of the queue at once. When it
        /// is full, the address with most clients in it makes room for others.
        queue: NonZeroUsize = 10000;
        /// Maximum time that a client waits for its turn.
        ///
        /// mproxy turns a client away after three quarters to all of this time, at random, so that those
        /// that came together do not come back together. It counts neither as connect_timeout nor as
        /// keep-alive. Many clients give up after 10 to 60 seconds. A changed time is for clients that
        /// begin to wait from then on.
        queue_timeout: Duration = "20s", check bounds::timeout;
        /// Who goes first: "resumed" or "none".
        ///
        /// resumed: clients that continue a session (Clean Start or Clean Session 0), because the broker
        /// has messages for them. While others wait, every fourth turn is theirs. none: in the order of
        /// arrival.
        prefer: Prefer = "resumed";
        /// What a client sees if the queue is full, or its time is over: "close" or "connack".
        ///
        /// close: mproxy closes the connection, and the client tries again. connack: CONNACK 3, or 0x89
        /// (Server busy) in MQTT 5. Some clients take that as final and do not try again.
        when_full: WhenFull = "close";
    }
}

section! {
    /// How mproxy finds out whether the broker serves clients. /readyz and mproxy_upstream_up show it.
    UpstreamHealth, UpstreamHealthKeys in "[upstreams.NAME.health]" short "check", reload "at once" {
        /// What the broker must do: "session" (answer CONNECT), "tcp" (accept a connection) or "off".
        ///
        /// session: at the start, mproxy sends its own CONNECT (MQTT 3.1.1, no client id, no user name) until
        /// the broker answers with any CONNACK. Then it watches the sessions of clients. It sends another
        /// CONNECT only if these fail, or if a client has waited for its CONNACK as long as `interval` and no
        /// other client got one. So an idle mproxy leaves no lines in the broker's log. A broker that closes
        /// the connection of an unknown client without CONNACK needs "tcp".
        ///
        /// tcp: mproxy opens a connection every `interval`, unless a client connected in that time. This
        /// does not notice a broker that accepts connections and answers no CONNECT.
        ///
        /// off: mproxy does not check the broker, and /readyz has no line for it.
        check: HealthCheck = "session";
        /// Time between two checks ("tcp"), or how long a client waits before mproxy checks ("session").
        ///
        /// While the broker does not answer, mproxy checks again after one second, then less and less
        /// often, but at least once in this time. It waits as long for an answer, but at least one and at
        /// most five seconds: with "5s", /readyz fails ten seconds after the broker hangs.
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

/// Which clients that wait for their turn go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefer {
    /// Those that continue a session.
    Resumed,
    /// None: each in its turn.
    None,
}

/// What a client sees that cannot wait for its turn, or not any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The end of the connection.
    Close,
    /// CONNACK with an error.
    Connack,
}

words! {
    Prefer { "resumed": Resumed, "none": None, }
    WhenFull { "close": Close, "connack": Connack, }
    SendProxy { "off": Off, "v1": V1, "v2": V2, "v2-tls": V2Tls, }
    HealthCheck { "off": Off, "tcp": Tcp, "session": Session, }
}

/// The default broker, for a configuration without one.
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
    let admission = UpstreamAdmission::read(cx, &keys.admission);
    let health = UpstreamHealth::read(cx, &keys.health);
    let mut upstream = Upstream::read(cx, keys, name.to_owned(), None, admission, health);
    let mixed = upstream.addresses.iter();
    let mut mixed = mixed.filter(|other| other.is_tls() != upstream.address.is_tls());
    if let Some(other) = mixed.next() {
        let message = format!(
            "`{}` and `{other}` are not both reached by TLS",
            upstream.address
        );
        let mut error = Diagnostic::error(message);
        if let Some(span) = keys.addresses.span() {
            error = error.at(span);
        }
        let label =
            "clients must not depend on an outage for their secrecy; use TLS for all or for none";
        cx.push(error.label(label));
    }
    upstream.tls = tls::upstream(cx, &keys.tls, &upstream.address);
    upstream
}
