//! `[[listeners]]`: where clients connect, and what mproxy requires of them.

use crate::chain::{self, Chain};
use crate::choice::{Choice, words};
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::limits::Limits;
use crate::proxy_protocol::{ListenerProxy, proxy_protocol};
use crate::scalar::{DurationOrNever, Origin, Size, Text, Token, UrlPath, quoted};
use crate::section::{Flags, Listing, Located, OptionalSub, Reference, Setting, Sub, section};
use crate::tls::{self, ListenerTls};
use crate::upstream::Upstream;
use crate::validate::{Named, bounds, names};
use mproxy_layers::acl::Network;
use mproxy_session::{
    Bridges, Conformance, ControlCharacters, ReceiveMaximum, ServerReference, Versions,
};
use mproxy_transport::ListenAddr;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

section! {
    /// A place where clients connect.
    Listener, ListenerKeys in "[[listeners]]" titled name,
        reload "for clients that connect from then on"
    {
        /// Name in logs and metrics; unique.
        name: String as Setting<Text>, given name,
            reload "at once: one listener closes, another one opens";
        /// IP address and port (0 = any free one), unix:/path, or systemd:NAME.
        ///
        /// The addresses 0.0.0.0 and :: let other hosts connect. The default is 127.0.0.1:1884, and
        /// 127.0.0.1:8083 for "ws". The file of a Unix socket gets the permissions that the umask leaves; a
        /// client must be allowed to write to it. systemd:NAME is the socket of a .socket unit with
        /// FileDescriptorName=NAME; it stays open while mproxy restarts, so no client is refused meanwhile.
        bind: ListenAddr, given bind,
            reload "at once: the old address closes, the new one opens, and connected clients stay";
        /// Networks of the clients that may connect: "10.0.0.0/8", "192.0.2.7". [] = any.
        ///
        /// It is judged before anything is read, and before any limit. Behind a trusted load balancer it is
        /// judged for the client's address, when that is known. Clients of a Unix socket have no
        /// address: the permissions of its file say who may connect.
        allow: Vec<Network> as Listing<Network> = [], reload "at once, for new connections";
        /// Networks of clients that may not connect, although `allow` has them.
        deny: Vec<Network> as Listing<Network> = [], reload "at once, for new connections";
        /// What happens to a connection that these networks turn away: "close" or "drop".
        ///
        /// close: mproxy closes it. drop: mproxy forgets it so that clients beyond the next router hear nothing,
        /// and wait until they give up: a port scan finds no port. Behind a load balancer, which has
        /// the connection, it is closed.
        deny_action: DenyAction = "close", reload "at once, for new connections";
        /// How MQTT arrives: "mqtt" over TCP, "ws" in WebSocket frames.
        protocol: Protocol = "mqtt";
        /// Paths that accept WebSocket upgrades; ws only. [] = any.
        ///
        /// A path is exact, or ends with "/*": "/tenant/*" matches every path that begins with /tenant/, but
        /// not /tenant itself.
        paths: Vec<String> as Listing<UrlPath> = [], shown Self::is_websocket;
        /// Values of the Origin header that may connect; ws only. [] = any.
        origins: Vec<String> as Listing<Origin> = [], shown Self::is_websocket;
        /// Largest head of an upgrade request, 8KiB to 1MiB; ws only.
        ///
        /// Browsers send the cookies of the whole site in it.
        max_header_size: usize as Setting<Size> = "16KiB",
            check bounds::header_size, shown Self::is_websocket;
        /// Whether X-Forwarded-For says who the client is; ws only.
        ///
        /// mproxy believes only peers in proxy_protocol.trusted. The client's address is the last one in the
        /// header that is not trusted itself, because the client may have written those before it. Its port is
        /// that of the connection.
        trust_forwarded_for: bool = false, shown Self::is_websocket;
        /// Headers of the upgrade request that hooks see; ws only.
        ///
        /// They always see Host, Origin, User-Agent and X-Forwarded-For.
        /// Hooks of your own read them from `Peer::upgrade`, to know a user by what a gateway in front of mproxy has
        /// checked. Trust them only if every client comes through that gateway. mproxy never logs their values.
        headers: Vec<String> as Listing<Token> = [], shown Self::is_websocket;
        /// Cookies of the upgrade request that hooks see; ws only.
        cookies: Vec<String> as Listing<Token> = [], shown Self::is_websocket;
        /// Parameters of the query of the upgrade request that hooks see: "token" in /mqtt?token=x; ws only.
        query: Vec<String> as Listing<Text> = [], shown Self::is_websocket;
        /// Idle time before TCP keepalive checks that the client is still there. "0s" = never.
        ///
        /// mproxy notices a client that lost power or network after about twice this time, even if the
        /// client has no keep-alive.
        tcp_keepalive: Option<Duration> as Setting<DurationOrNever> = "60s",
            check bounds::tcp_keepalive;
        /// Let clients use several network paths at once (Multipath TCP): Wi-Fi and a mobile network.
        ///
        /// A connection survives the loss of one of them. Clients of plain TCP connect as before. If the kernel
        /// has no Multipath TCP (`net.mptcp.enabled`), mproxy logs that and uses plain TCP. It does not apply to
        /// Unix sockets, and for a socket of systemd its unit decides: SocketProtocol=mptcp.
        multipath_tcp: bool = false,
            reload "when the listener opens its socket: with another bind, or at a restart";
        /// Name of the broker. May be left out when there is only one.
        upstream: Arc<Upstream> as Reference<Upstream>, given upstream;
        /// Name of the chain of layers.
        chain: Arc<Chain> as Reference<Chain> = "default", given chain,
            reload "at once, for connected clients too";
        /// MQTT versions that clients may use.
        versions: Versions as Flags<Versions> = ["3.1", "3.1.1", "5"];
        /// How strictly mproxy keeps to the standard: "tolerant" or "strict".
        ///
        /// tolerant: mproxy repairs small mistakes with only one possible meaning, so that clients that work
        /// with the broker work through mproxy. These are DUP on QoS 0; session present in the broker's answer
        /// to a clean session, or in a refusal; in MQTT 3.1, flag bits that it does not use, and will flags
        /// without a will. A return code above 5 in the CONNACK of 3.1 or 3.1.1 passes: it is a refusal. strict: the
        /// standard to the letter.
        ///
        /// With both, mproxy closes the connection for anything that the broker and a layer could read
        /// differently. The README of mproxy-session lists these cases.
        conformance: Conformance = "tolerant";
        /// Whether mosquitto bridges are let in: "pass" or "refuse".
        ///
        /// A bridge sets a bit in its protocol level. pass: it is a client like any other. refuse: it gets
        /// return code 1 and reconnects as a plain client, which receives its own messages back.
        bridges: Bridges = "pass";
        /// Who enforces the Receive Maximum of the broker for MQTT 5 clients: "pass" or "enforce".
        ///
        /// pass: the broker. enforce: mproxy, with DISCONNECT 0x93.
        receive_maximum: ReceiveMaximum = "pass";
        /// What happens when the broker redirects a client (Server Reference, MQTT 5): "strip" or "pass".
        ///
        /// strip: mproxy removes the address, because clients usually cannot reach addresses behind the proxy.
        /// pass: it goes to the client.
        server_reference: ServerReference = "strip";
        /// What happens to a packet with control characters in a name or topic: "refuse" or "pass".
        ///
        /// This covers client ids, user names, topics and topic filters. refuse: mproxy closes the sender's
        /// session. pass: the broker decides. Logs show such characters escaped.
        control_characters: ControlCharacters = "refuse";
        /// TLS. Without this table, clients connect in clear text.
        tls: Option<ListenerTls> as OptionalSub<ListenerTls>, given tls;
        /// The PROXY protocol, in which a load balancer in front of mproxy says who the client is.
        proxy_protocol: ListenerProxy as Sub<ListenerProxy>, given proxy;
        /// Limits on what clients may use.
        limits: Limits as Sub<Limits>, given limits;
    }
    renamed {
        "path": "paths = [\"{}\"]", "without the key any path is served";
    }
}

impl Listener {
    /// Whether MQTT arrives in WebSocket frames.
    pub fn is_websocket(&self) -> bool {
        self.protocol == Protocol::Ws
    }
}

/// What happens to a connection from a network that may not connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DenyAction {
    /// It is closed.
    #[default]
    Close,
    /// It is forgotten without a packet that passes a router.
    Drop,
}

words! {
    DenyAction { "close": Close, "drop": Drop, }
}

/// How MQTT arrives at a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Plain MQTT.
    Mqtt,
    /// MQTT in binary WebSocket frames.
    Ws,
}

words! {
    Protocol {
        "mqtt": Mqtt, "ws": Ws,
        elsewhere
            "mqtts": "write \"mqtt\", and add a table [listeners.tls]",
            "wss": "write \"ws\", and add a table [listeners.tls]"
    }
}

impl Protocol {
    const fn port(self) -> u16 {
        match self {
            Self::Mqtt => 1884,
            Self::Ws => 8083,
        }
    }
}

/// A listener with the place where it was written.
#[derive(Debug)]
pub(crate) struct Placed {
    /// Which one it is in the file, from 0.
    pub(crate) number: usize,
    pub(crate) span: Range<usize>,
    pub(crate) listener: Listener,
    /// False if the address is wrong and was replaced by the default.
    pub(crate) addressed: bool,
}

/// Checks a listener. A missing reference is reported and replaced by any existing one, so that the
/// rest can still be checked.
pub(crate) fn listener(
    cx: &mut Context,
    number: usize,
    file: &Located<ListenerKeys>,
    upstreams: &Named<Upstream>,
    chains: &Named<Chain>,
) -> Option<Placed> {
    let keys = &file.value;
    let protocol = Choice::from_word(keys.protocol.text().unwrap_or_default());
    let protocol: Protocol = protocol.unwrap_or(Protocol::Mqtt);
    let name = cx.given(&keys.name);
    let name = name.unwrap_or_else(|| protocol.word().to_owned());
    let given = cx.given(&keys.bind);
    let addressed = given.is_some() || keys.bind.given.is_none();
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, protocol.port()));
    let upstream = upstream_of(cx, file, &name, upstreams);
    let chain = chain_of(cx, file, &name, chains);
    let upstream = upstream.or_else(|| any(upstreams))?;
    let chain = chain.or_else(|| any(chains))?;
    let tls = tls::listener(cx, &keys.tls);
    let proxy = proxy_protocol(cx, keys);
    let limits = Limits::read(cx, &keys.limits);
    let bind = given.unwrap_or_else(|| loopback.into());
    let listener = Listener::read(cx, keys, name, bind, upstream, chain, tls, proxy, limits);
    websocket_only(cx, keys, &listener);
    tls_only(cx, keys, &listener);
    if let (true, Some(span)) = (listener.versions == Versions::NONE, keys.versions.span()) {
        let message = "a listener without versions accepts no client";
        let label = "at least one of \"3.1\", \"3.1.1\", \"5\"";
        cx.push(Diagnostic::error(message).at(span).label(label));
    }
    Some(Placed {
        number,
        span: file.span.clone(),
        listener,
        addressed,
    })
}

fn any<T>(all: &Named<T>) -> Option<Arc<T>> {
    all.values().next().map(|(it, _)| it.clone())
}

fn websocket_only(cx: &mut Context, keys: &ListenerKeys, listener: &Listener) {
    let given = [
        ("paths", keys.paths.span()),
        ("origins", keys.origins.span()),
        ("max_header_size", keys.max_header_size.span()),
        ("trust_forwarded_for", keys.trust_forwarded_for.span()),
        ("headers", keys.headers.span()),
        ("cookies", keys.cookies.span()),
        ("query", keys.query.span()),
    ];
    let given = given.into_iter().filter(|_| !listener.is_websocket());
    for (key, span) in given {
        if let Some(span) = span {
            let message = format!("`{key}` is for WebSocket listeners");
            let label = "add `protocol = \"ws\"`, or remove this";
            cx.push(Diagnostic::error(message).at(span).label(label));
        }
    }
}

fn tls_only(cx: &mut Context, keys: &ListenerKeys, listener: &Listener) {
    let (limits, keys) = (&listener.limits, &keys.limits);
    let limited = [
        (
            "handshake_rate_per_ip",
            limits.handshake_rate_per_ip.is_some(),
            keys.handshake_rate_per_ip.span(),
        ),
        (
            "max_handshakes_per_ip",
            limits.max_handshakes_per_ip.is_some(),
            keys.max_handshakes_per_ip.span(),
        ),
        (
            "handshake_rate",
            limits.handshake_rate.is_some(),
            keys.handshake_rate.span(),
        ),
        (
            "max_handshakes",
            limits.max_handshakes.is_some(),
            keys.max_handshakes.span(),
        ),
    ];
    let limited = limited.into_iter().filter(|_| listener.tls.is_none());
    for (key, is_set, span) in limited {
        if let (true, Some(span)) = (is_set, span) {
            let message = format!("`{key}` has no effect: the listener has no TLS");
            let label = "add a table [listeners.tls], or remove this";
            cx.push(Diagnostic::warning(message).at(span).label(label));
        }
    }
}

fn upstream_of(
    cx: &mut Context,
    file: &Located<ListenerKeys>,
    listener: &str,
    upstreams: &Named<Upstream>,
) -> Option<Arc<Upstream>> {
    let key = &file.value.upstream;
    if key.given.is_none() {
        let mut all = upstreams.values();
        if let (Some((only, _)), None) = (all.next(), all.next()) {
            return Some(only.clone());
        }
        let all = quoted(upstreams.keys().map(String::as_str));
        let message =
            format!("listener `{listener}` has no `upstream`, and there is more than one");
        let label = format!("add `upstream = \"...\"`; there are {all}");
        let error = Diagnostic::error(message).at(file.span.clone());
        cx.push(error.label(label));
        return None;
    }
    let name = cx.given(key)?;
    let found = upstreams.get(&name).map(|(upstream, _)| upstream.clone());
    if found.is_none() {
        names::missing(cx, "upstream", &name, key.span()?, upstreams);
    }
    found
}

fn chain_of(
    cx: &mut Context,
    file: &Located<ListenerKeys>,
    listener: &str,
    chains: &Named<Chain>,
) -> Option<Arc<Chain>> {
    let key = &file.value.chain;
    let Some(span) = key.span() else {
        let default = chains.get(chain::DEFAULT_NAME);
        if default.is_none() {
            // Without a chain, it would run without any layer: fail closed.
            let all = quoted(chains.keys().map(String::as_str));
            let message = format!("listener `{listener}` has no `chain`");
            let label = format!("add `chain = \"...\"`; there are {all}");
            let note = "only a chain named `default` would be its default";
            let error = Diagnostic::error(message).at(file.span.clone());
            cx.push(error.label(label).note(note));
        }
        return default.map(|(chain, _)| chain.clone());
    };
    let name = cx.given(key)?;
    let found = chains.get(&name).map(|(chain, _)| chain.clone());
    if found.is_none() {
        names::missing(cx, "chain", &name, span, chains);
    }
    found
}
