//! Limits on new connections that have no effect.

use super::cross::keys_of;
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::limits::Limits;
use crate::limits::LimitsKeys;
use crate::listener::ListenerKeys;
use crate::listener::Placed;
use crate::section::Located;
use crate::server::Server;
use crate::server::ServerKeys;
use mproxy_session::Rate;
use mproxy_transport::AcceptProxy;
use std::fmt::Display;
use std::ops::Range;

/// Warns about limits per address where clients have no address, and about limits that are never
/// reached because another one is reached first.
pub(super) fn check(
    cx: &mut Context,
    files: &[Located<ListenerKeys>],
    listeners: &[Placed],
    server_file: &ServerKeys,
    server: &Server,
) {
    for placed in listeners {
        let Some(keys) = keys_of(files, placed) else {
            continue;
        };
        let (keys, limits) = (&keys.limits, &placed.listener.limits);
        let is_nameless = placed.listener.proxy_protocol.accept == AcceptProxy::Off
            && !placed.listener.trust_forwarded_for;
        if placed.addressed && is_nameless && placed.listener.bind.unix_path().is_some() {
            without_address(cx, keys, limits);
        }
        macro_rules! limit {
            ($key:ident) => {
                written(stringify!($key), limits.$key, keys.$key.span())
            };
        }
        let of_server = written(
            "server.max_connections",
            server.max_connections,
            server_file.max_connections.span(),
        );
        let (pending, all) = (limit!(max_pending), limit!(max_connections));
        let (pending_per_ip, per_ip) = (limit!(max_pending_per_ip), limit!(max_connections_per_ip));
        let (rate_per_ip, rate) = (limit!(connection_rate_per_ip), limit!(connection_rate));
        let by_count = |a: &Written<_>, b: &Written<_>| a.value >= b.value;
        unreached(cx, &pending, &all, by_count);
        unreached(cx, &pending, &of_server, by_count);
        // a single listener may well have the limit of the server
        unreached(cx, &all, &of_server, |a, b| a.value > b.value);
        unreached(cx, &pending_per_ip, &pending, by_count);
        unreached(cx, &pending_per_ip, &per_ip, by_count);
        unreached(cx, &per_ip, &all, by_count);
        unreached(cx, &rate_per_ip, &rate, |a, b| {
            per_second(a.value) >= per_second(b.value)
        });
    }
}

fn without_address(cx: &mut Context, keys: &LimitsKeys, limits: &Limits) {
    let given = [
        (
            "max_connections_per_ip",
            limits.max_connections_per_ip.is_some(),
            keys.max_connections_per_ip.span(),
            "max_connections",
        ),
        (
            "connection_rate_per_ip",
            limits.connection_rate_per_ip.is_some(),
            keys.connection_rate_per_ip.span(),
            "connection_rate",
        ),
        (
            "max_pending_per_ip",
            limits.max_pending_per_ip.is_some(),
            keys.max_pending_per_ip.span(),
            "max_pending",
        ),
    ];
    for (key, is_set, span, instead) in given {
        if let (true, Some(span)) = (is_set, span) {
            let message = format!("{key} does nothing on a Unix socket");
            let label = format!("its clients have no address; use {instead}");
            cx.push(Diagnostic::warning(message).at(span).label(label));
        }
    }
}

/// A limit that was written.
struct Written<T> {
    key: &'static str,
    value: T,
    span: Range<usize>,
}

fn written<T>(
    key: &'static str,
    value: Option<T>,
    span: Option<Range<usize>>,
) -> Option<Written<T>> {
    let (value, span) = (value?, span?);
    Some(Written { key, value, span })
}

/// Warns about `limit` if it is not less than `other`.
fn unreached<T: Display>(
    cx: &mut Context,
    limit: &Option<Written<T>>,
    other: &Option<Written<T>>,
    is_unreached: impl Fn(&Written<T>, &Written<T>) -> bool,
) {
    let (Some(limit), Some(other)) = (limit, other) else {
        return;
    };
    if !is_unreached(limit, other) {
        return;
    }
    let message = format!("`{} = {}` is never reached", limit.key, limit.value);
    let label = format!("{} is {}: choose a lower value", other.key, other.value);
    let warning = Diagnostic::warning(message).at(limit.span.clone());
    let related = format!("{} is reached first", other.key);
    cx.push(warning.label(label).related(other.span.clone(), related));
}

fn per_second(rate: Rate) -> f64 {
    f64::from(rate.count.get()) / rate.period.as_secs_f64()
}
