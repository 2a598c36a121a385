//! Checks of things beside each other.

use super::Named;
use super::listener::Placed;
use crate::config::context::Context;
use crate::config::file::{ListenerFile, Located, Setting};
use crate::config::model::{Admin, Chain, Layer, Listener, Upstream, UpstreamAddress};
use crate::config::scalar::AdminBind;
use crate::diagnostics::Diagnostic;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;

/// Listeners have distinct names and addresses, and the admin port another one.
pub(super) fn distinct(
    cx: &mut Context,
    files: &[Located<ListenerFile>],
    listeners: &[Placed],
    admin_bind: &Setting<AdminBind>,
    admin: &Admin,
) {
    for (index, (span, listener)) in listeners.iter().enumerate() {
        let keys = keys_of(files, span);
        for (other_span, other) in listeners.iter().take(index) {
            let others = keys_of(files, other_span);
            if listener.name == other.name {
                let message = format!("two listeners are named `{}`", listener.name);
                let at = keys
                    .and_then(|it| it.name.span())
                    .unwrap_or_else(|| span.clone());
                let first = others.and_then(|it| it.name.span());
                let first = first.unwrap_or_else(|| other_span.clone());
                let error = Diagnostic::error(message)
                    .at(at)
                    .label("choose another name");
                cx.push(error.related(first, "the first one"));
            }
            if collide(listener.bind, other.bind) {
                let message = format!("two listeners on {}", listener.bind);
                let at = keys
                    .and_then(|it| it.bind.span())
                    .unwrap_or_else(|| span.clone());
                let first = others.and_then(|it| it.bind.span());
                let first = first.unwrap_or_else(|| other_span.clone());
                let error = Diagnostic::error(message)
                    .at(at)
                    .label("choose another port");
                cx.push(error.related(first, format!("{} listens here", other.name)));
            }
        }
        if let Some(bind) = admin.bind
            && collide(listener.bind, bind)
        {
            let message = format!("listener `{}` takes the admin port", listener.name);
            let at = keys
                .and_then(|it| it.bind.span())
                .unwrap_or_else(|| span.clone());
            let error = Diagnostic::error(message)
                .at(at)
                .label("choose another port");
            cx.push(match admin_bind.span() {
                Some(span) => error.related(span, "the admin port"),
                None => error.note(format!("admin.bind is {bind} by default")),
            });
        }
    }
}

/// No listener is its own broker.
pub(super) fn loops(cx: &mut Context, listeners: &[Placed], upstreams: &Named<Upstream>) {
    if cx.report.errors() > 0 {
        // A listener with a wrong reference has another upstream than was meant.
        return;
    }
    for (span, listener) in listeners {
        let (UpstreamAddress::Tcp { host, port } | UpstreamAddress::Ws { host, port, .. }) =
            &listener.upstream.address
        else {
            continue;
        };
        let ip = match host.as_str() {
            "localhost" => Some(IpAddr::from(Ipv4Addr::LOCALHOST)),
            other => other.parse().ok(),
        };
        let own = ip.is_some_and(|ip| reaches(SocketAddr::new(ip, *port), listener.bind));
        if !own {
            continue;
        }
        let name = &listener.upstream.name;
        let message = format!("listener `{}` would connect to itself", listener.name);
        let place = upstreams.get(name).and_then(|(_, place)| place.clone());
        let error = Diagnostic::error(message).at(span.clone());
        let error = error.label(format!(
            "upstream `{name}` is {}",
            listener.upstream.address
        ));
        cx.push(match place {
            Some(place) => error.related(place, "this upstream"),
            None => error,
        });
    }
}

/// Ports that others reach, and that nobody decided about.
pub(super) fn open_doors(
    cx: &mut Context,
    files: &[Located<ListenerFile>],
    listeners: &[Placed],
    admin_bind: &Setting<AdminBind>,
    admin: &Admin,
) {
    for (span, listener) in listeners {
        let keys = keys_of(files, span);
        let chosen = keys.is_some_and(|it| it.chain.given.is_some());
        if listener.bind.ip().is_loopback() || chosen || !listener.chain.layers.is_empty() {
            continue;
        }
        let message = format!(
            "listener `{}` is open to other hosts and checks nothing",
            listener.name
        );
        let at = keys
            .and_then(|it| it.bind.span())
            .unwrap_or_else(|| span.clone());
        let warning = Diagnostic::warning(message).at(at);
        let warning = warning.label("the broker alone decides who may do what");
        cx.push(warning.note("add `chain = \"...\"` with an acl; `chain = \"default\"` = wanted"));
    }
    if let (Some(bind), Some(span)) = (admin.bind, admin_bind.span())
        && !bind.ip().is_loopback()
    {
        let message = "admin.bind is not loopback";
        let label = "other hosts can read health, metrics and version";
        cx.push(Diagnostic::warning(message).at(span).label(label));
    }
}

/// What nothing refers to was probably meant to do something.
pub(super) fn unused(
    cx: &mut Context,
    listeners: &[Placed],
    upstreams: &Named<Upstream>,
    chains: &Named<Chain>,
    layers: &Named<Layer>,
) {
    if cx.report.errors() > 0 {
        // What is wrong elsewhere may be what would refer to it.
        return;
    }
    let of = |name: fn(&Listener) -> &str| -> BTreeSet<&str> {
        listeners.iter().map(|(_, it)| name(it)).collect()
    };
    let used_upstreams = of(|it| &it.upstream.name);
    let used_chains = of(|it| &it.chain.name);
    let in_chains = chains.values().flat_map(|(chain, _)| &chain.layers);
    let used_layers = in_chains.map(|layer| layer.name.as_str()).collect();
    warn_unused(cx, upstreams, &used_upstreams, "upstream", "no listener");
    warn_unused(cx, chains, &used_chains, "chain", "no listener");
    warn_unused(cx, layers, &used_layers, "layer", "no chain");
}

fn warn_unused<T>(cx: &mut Context, all: &Named<T>, used: &BTreeSet<&str>, what: &str, by: &str) {
    for (name, (_, span)) in all {
        if let (false, Some(span)) = (used.contains(name.as_str()), span) {
            let warning = Diagnostic::warning(format!("{what} `{name}` is not used"));
            cx.push(warning.at(span.clone()).label(format!("{by} names it")));
        }
    }
}

fn keys_of<'a>(
    files: &'a [Located<ListenerFile>],
    span: &Range<usize>,
) -> Option<&'a ListenerFile> {
    files.iter().find(|it| it.span == *span).map(|it| &it.value)
}

/// True when not both can be listened on.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    let same = a.ip() == b.ip() || (any && a.is_ipv4() == b.is_ipv4());
    same && a.port() == b.port() && a.port() != 0
}

/// True when a connection to `to` from this machine arrives at `bind`.
fn reaches(to: SocketAddr, bind: SocketAddr) -> bool {
    let local = to.ip().is_loopback() || to.ip().is_unspecified();
    let same = to.ip() == bind.ip() || (local && bind.ip().is_unspecified());
    same && to.port() == bind.port()
}
