//! `[[listeners]]`.

use super::{Named, bounds, chain, names};
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::file::{LimitsFile, ListenerFile, Located};
use crate::model::{
    Bind, Bridges, Chain, Choice, Conformance, ControlCharacters, Limits, Listener, MqttVersion,
    Rate, ReceiveMaximum, ServerReference, Transport, TransportName, Upstream,
};
use crate::scalar::quoted;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use toml::Spanned;

/// The most levels of a topic that layers look at.
const LEVELS: NonZeroUsize = NonZeroUsize::new(128).unwrap();

/// The most filters of a request that layers look at.
const FILTERS: NonZeroUsize = NonZeroUsize::new(16 * 1024).unwrap();

/// So often a client may be refused.
const DENIALS: Rate = Rate {
    count: NonZeroU32::new(600).unwrap(),
    period: Duration::from_secs(60),
};

/// A listener with the place where it was written.
#[derive(Debug)]
pub(super) struct Placed {
    /// Which one it is in the file, from 0.
    pub(super) number: usize,
    pub(super) span: Range<usize>,
    pub(super) listener: Listener,
    /// False when the address is wrong and the default stands in for it.
    pub(super) addressed: bool,
}

/// Checks a listener. When what it refers to does not exist, which was reported then, it
/// gets something else, so that the rest can be checked.
pub(super) fn listener(
    cx: &mut Context,
    number: usize,
    file: &Located<ListenerFile>,
    upstreams: &Named<Upstream>,
    chains: &Named<Chain>,
) -> Option<Placed> {
    let keys = &file.value;
    let any_upstream = upstreams.values().map(|(it, _)| it.clone()).next();
    let any_chain = chains.values().map(|(it, _)| it.clone()).next();
    let protocol = cx.value(&keys.protocol, TransportName::Mqtt);
    let name = cx.value(&keys.name, protocol.word().to_owned());
    let port = match protocol {
        TransportName::Mqtt => 1884,
        TransportName::Ws => 8083,
    };
    let loopback = Bind::from(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let given = cx.given(&keys.bind);
    let addressed = given.is_some() || keys.bind.given.is_none();
    let transport = transport(cx, keys, protocol);
    let versions = versions(cx, keys);
    let limits = limits(cx, &keys.limits);
    let minute = Duration::from_secs(60);
    let keepalive = cx.checked(&keys.tcp_keepalive, minute, bounds::tcp_keepalive);
    let upstream = upstream_of(cx, file, &name, upstreams);
    let chain = chain_of(cx, file, &name, chains);
    let bind = given.unwrap_or(loopback);
    let listener = Listener {
        name,
        bind,
        transport,
        tcp_keepalive: Some(keepalive).filter(|it| !it.is_zero()),
        upstream: upstream.or(any_upstream)?,
        chain: chain.or(any_chain)?,
        versions,
        conformance: cx.value(&keys.conformance, Conformance::Tolerant),
        bridges: cx.value(&keys.bridges, Bridges::Pass),
        receive_maximum: cx.value(&keys.receive_maximum, ReceiveMaximum::Pass),
        server_reference: cx.value(&keys.server_reference, ServerReference::Strip),
        control_characters: cx.value(&keys.control_characters, ControlCharacters::Refuse),
        limits,
    };
    Some(Placed {
        number,
        span: file.span.clone(),
        listener,
        addressed,
    })
}

fn transport(cx: &mut Context, keys: &ListenerFile, protocol: TransportName) -> Transport {
    let paths = cx.list(&keys.paths).unwrap_or_default();
    let origins = cx.list(&keys.origins).unwrap_or_default();
    let header = cx.checked(&keys.max_header_size, 16 << 10, bounds::header_size);
    match protocol {
        TransportName::Ws => Transport::Ws {
            paths: paths.into_iter().map(Spanned::into_inner).collect(),
            origins: origins.into_iter().map(Spanned::into_inner).collect(),
            max_header_size: usize::try_from(header).unwrap_or(usize::MAX),
        },
        TransportName::Mqtt => {
            let given = [
                ("paths", keys.paths.span()),
                ("origins", keys.origins.span()),
                ("max_header_size", keys.max_header_size.span()),
            ];
            for (key, span) in given {
                if let Some(span) = span {
                    let message = format!("`{key}` is for WebSocket listeners");
                    let label = "add `protocol = \"ws\"`, or remove this";
                    cx.push(Diagnostic::error(message).at(span).label(label));
                }
            }
            Transport::Mqtt
        }
    }
}

fn versions(cx: &mut Context, keys: &ListenerFile) -> Vec<MqttVersion> {
    let all = || {
        MqttVersion::ALL
            .iter()
            .map(|(_, version)| *version)
            .collect()
    };
    let Some(given) = cx.list(&keys.versions) else {
        return all();
    };
    let mut versions: Vec<_> = given.into_iter().map(Spanned::into_inner).collect();
    versions.sort_unstable();
    versions.dedup();
    if versions.is_empty() && !keys.versions.is_empty() {
        // what is in it was reported: it is wrong, and not missing
        return all();
    }
    if let (true, Some(span)) = (versions.is_empty(), keys.versions.span()) {
        let message = "a listener without versions lets nobody in";
        let label = "at least one of \"3.1\", \"3.1.1\", \"5\"";
        cx.push(Diagnostic::error(message).at(span).label(label));
    }
    versions
}

fn limits(cx: &mut Context, keys: &LimitsFile) -> Limits {
    let seconds = Duration::from_secs;
    let (kibibyte, mebibyte) = (1 << 10, 1 << 20);
    let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    let packet = cx.checked(&keys.max_packet_size, 256 * mebibyte, bounds::packet_size);
    let connect = cx.checked(&keys.max_connect_size, 64 * kibibyte, bounds::connect_size);
    let held = cx.checked(&keys.max_held_packet, mebibyte, bounds::packet_size);
    let replies = cx.checked(&keys.max_replies, 64 * kibibyte, bounds::buffer_size);
    let keepalive = cx.checked(&keys.max_keepalive, Duration::ZERO, bounds::keepalive);
    Limits {
        connect_timeout: cx.checked(&keys.connect_timeout, seconds(30), bounds::timeout),
        packet_timeout: cx.checked(&keys.packet_timeout, seconds(120), bounds::timeout),
        write_timeout: cx.checked(&keys.write_timeout, seconds(120), bounds::timeout),
        max_packet_size: u32::try_from(packet).unwrap_or(u32::MAX),
        max_connect_size: bytes(connect),
        max_held_packet: bytes(held),
        max_connections: cx.value(&keys.max_connections, None),
        max_connections_per_ip: cx.value(&keys.max_connections_per_ip, None),
        connection_rate_per_ip: cx.value(&keys.connection_rate_per_ip, None),
        max_pending_per_ip: cx.value(&keys.max_pending_per_ip, None),
        ipv6_prefix: cx.value(&keys.ipv6_prefix, 64),
        max_pending: cx.value(&keys.max_pending, None),
        connection_rate: cx.value(&keys.connection_rate, None),
        keepalive_grace: cx.checked(&keys.keepalive_grace, 1.5, bounds::keepalive_grace),
        max_keepalive: u16::try_from(keepalive.as_secs()).unwrap_or(u16::MAX),
        max_replies: bytes(replies),
        max_topic_levels: cx.value(&keys.max_topic_levels, LEVELS),
        max_filters: cx.value(&keys.max_filters, FILTERS),
        max_denials: cx.value(&keys.max_denials, Some(DENIALS)),
    }
}

fn upstream_of(
    cx: &mut Context,
    file: &Located<ListenerFile>,
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
        let message = format!("listener `{listener}` does not say which upstream it is for");
        let label = format!("add `upstream = \"...\"`; there are {all}");
        cx.push(
            Diagnostic::error(message)
                .at(file.span.clone())
                .label(label),
        );
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
    file: &Located<ListenerFile>,
    listener: &str,
    chains: &Named<Chain>,
) -> Option<Arc<Chain>> {
    let key = &file.value.chain;
    let Some(span) = key.span() else {
        let default = chains.get(chain::DEFAULT_NAME);
        if default.is_none() {
            // Without one it would run without any layer: fail closed.
            let all = quoted(chains.keys().map(String::as_str));
            let message = format!("listener `{listener}` does not say which chain it runs");
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
