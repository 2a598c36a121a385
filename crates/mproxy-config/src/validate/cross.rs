//! Checks of sections against each other.

use super::{Named, names};
use crate::admin::Admin;
use crate::chain::Chain;
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::layer::Layer;
use crate::layer::{LayerKeys, Layers};
use crate::listener::Listener;
use crate::listener::ListenerKeys;
use crate::listener::Placed;
use crate::scalar::AdminBind;
use crate::section::{Located, Setting};
use crate::upstream::Upstream;
use mproxy_transport::{ClientAuth, ListenAddr, UpstreamAddr};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;

/// Listeners must have distinct names and addresses, and differ from the admin port.
pub(super) fn distinct(
    cx: &mut Context,
    files: &[Located<ListenerKeys>],
    listeners: &[Placed],
    admin_bind: &Setting<AdminBind>,
    admin: &Admin,
) {
    let mut names: BTreeMap<&str, &Placed> = BTreeMap::new();
    let mut taken = Taken::default();
    for placed in listeners {
        if let Some(first) = names.get(&*placed.listener.name) {
            let message = format!("two listeners are named `{}`", placed.listener.name);
            let name = |it: &Placed| place_of(files, it, |keys| keys.name.span());
            let error = Diagnostic::error(message).at(name(placed));
            let error = error.label("choose another name");
            cx.push(error.related(name(first), "the first one"));
        } else {
            names.insert(&placed.listener.name, placed);
        }
        if let Some(other) = taken.by(placed) {
            let bind = &placed.listener.bind;
            let first = format!("{} listens here", other.listener.name);
            let error = Diagnostic::error(format!("two listeners on {bind}"));
            let error = error.at(bind_of(files, placed));
            let error = error.label(match (bind.unix_path(), bind.passed_name()) {
                (Some(_), _) => "choose another path",
                (None, Some(_)) => "choose another socket",
                (None, None) => "choose another port",
            });
            cx.push(error.related(bind_of(files, other), first));
        }
        taken.add(placed);
        if let Some(bind) = admin.bind
            && placed.addressed
            && collide(&placed.listener.bind, &bind.into())
        {
            let message = format!(
                "listener `{}` uses the address of the admin port",
                placed.listener.name
            );
            let error = Diagnostic::error(message).at(bind_of(files, placed));
            let error = error.label("choose another port");
            cx.push(match admin_bind.span() {
                Some(span) => error.related(span, "the admin port"),
                None => error.note(format!("admin.bind is {bind} by default")),
            });
        }
    }
}

/// The addresses of listeners, and the first listener at each.
#[derive(Default)]
struct Taken<'a> {
    exactly: HashMap<&'a ListenAddr, &'a Placed>,
    /// By family and port: a listener on all addresses, and any listener.
    on_all: HashMap<(bool, u16), &'a Placed>,
    on_any: HashMap<(bool, u16), &'a Placed>,
}

impl<'a> Taken<'a> {
    fn add(&mut self, placed: &'a Placed) {
        if !placed.addressed {
            return;
        }
        let bind = &placed.listener.bind;
        self.exactly.entry(bind).or_insert(placed);
        if let Some(address) = bind.socket_addr() {
            let key = (address.is_ipv4(), address.port());
            self.on_any.entry(key).or_insert(placed);
            if address.ip().is_unspecified() {
                self.on_all.entry(key).or_insert(placed);
            }
        }
    }

    /// A listener with which this one [collides](collide).
    fn by(&self, placed: &Placed) -> Option<&'a Placed> {
        let bind = &placed.listener.bind;
        let wide = match bind.socket_addr() {
            None => None,
            Some(address) => {
                let key = (address.is_ipv4(), address.port());
                match address.ip().is_unspecified() {
                    true => self.on_any.get(&key),
                    false => self.on_all.get(&key),
                }
            }
        };
        let found = self.exactly.get(bind).into_iter().chain(wide);
        let found = found.filter(|it| placed.addressed && collide(bind, &it.listener.bind));
        found.min_by_key(|it| it.number).copied()
    }
}

/// A listener must not be its own broker.
pub(super) fn loops(cx: &mut Context, listeners: &[Placed], upstreams: &Named<Upstream>) {
    if cx.report.errors() > 0 {
        // A listener with a wrong reference has a stand-in upstream.
        return;
    }
    for Placed { span, listener, .. } in listeners {
        let upstream = &listener.upstream;
        let mut addresses = std::iter::once(&upstream.address).chain(&upstream.addresses);
        let Some(address) = addresses.find(|it| reaches(it, &listener.bind)) else {
            continue;
        };
        let name = &upstream.name;
        let message = format!("listener `{}` would connect to itself", listener.name);
        let place = upstreams.get(name).and_then(|(_, place)| place.clone());
        let error = Diagnostic::error(message).at(span.clone());
        let error = error.label(format!("upstream `{name}` is {address}"));
        cx.push(error.related(place, "this upstream"));
    }
}

/// The listeners that rules name must exist: otherwise the rule would never apply.
pub(super) fn listeners_of_rules(cx: &mut Context, layers: &Layers, listeners: &[Placed]) {
    let all: Named<()> = listeners
        .iter()
        .map(|it| (it.listener.name.clone(), (Arc::default(), None)))
        .collect();
    let mut named: BTreeMap<&str, Vec<&Placed>> = BTreeMap::new();
    let mut in_use = BTreeSet::new();
    for placed in listeners {
        named.entry(&placed.listener.name).or_default().push(placed);
        let layers = placed.listener.chain.layers.iter();
        in_use.extend(layers.map(|it| &*it.name));
    }
    for (layer_name, layer) in layers.iter() {
        let LayerKeys::Acl(acl) = &layer.value else {
            continue;
        };
        let runs = |it: &Placed| {
            let mut layers = it.listener.chain.layers.iter();
            layers.any(|it| it.name == *layer_name)
        };
        let used = in_use.contains(&**layer_name);
        let without = |name: &str| {
            let mut named = named.get(name)?.iter();
            named.find(|it| !runs(it)).copied()
        };
        for rule in acl.rules.iter() {
            for (name, span) in rule.value.listeners.texts() {
                if !all.contains_key(name) {
                    names::missing(cx, "listener", name, span, &all);
                } else if let (true, Some(other)) = (used, without(name)) {
                    let message = format!("listener `{name}` does not run `{layer_name}`");
                    let chain = &other.listener.chain.name;
                    let label =
                        format!("the rule does not apply to its clients, who use chain `{chain}`");
                    cx.push(Diagnostic::warning(message).at(span).label(label));
                }
            }
        }
    }
}

/// Ports that are open to other hosts without an explicit decision.
pub(super) fn open_doors(
    cx: &mut Context,
    files: &[Located<ListenerKeys>],
    listeners: &[Placed],
    admin_bind: &Setting<AdminBind>,
    admin: &Admin,
) {
    for placed in listeners {
        let listener = &placed.listener;
        let chosen = keys_of(files, placed).is_some_and(|it| it.chain.given.is_some());
        let tls = listener.tls.as_ref();
        let knows_clients = tls.is_some_and(|tls| tls.client_auth == ClientAuth::Require);
        let is_guarded = chosen || knows_clients || !listener.chain.layers.is_empty();
        if !is_open(&listener.bind) || is_guarded {
            continue;
        }
        // where a socket of systemd listens, only its unit knows
        let is = match listener.bind.passed_name() {
            None => "is",
            Some(_) => "may be",
        };
        let message = format!(
            "listener `{}` {is} open to other hosts and checks nothing",
            listener.name
        );
        let warning = Diagnostic::warning(message).at(bind_of(files, placed));
        let warning = warning.label("the broker alone decides who may do what");
        cx.push(warning.note(
            "add `chain = \"...\"` with an acl; write `chain = \"default\"` if this is intended",
        ));
    }
    if let (Some(bind), Some(span)) = (admin.bind, admin_bind.span())
        && !bind.ip().is_loopback()
    {
        let message = "admin.bind is not loopback";
        let label = "other hosts can read health, metrics and version";
        cx.push(Diagnostic::warning(message).at(span).label(label));
    }
}

/// Sections that nothing refers to: they were probably meant to do something.
pub(super) fn unused(
    cx: &mut Context,
    listeners: &[Placed],
    upstreams: &Named<Upstream>,
    chains: &Named<Chain>,
    layers: &Named<Layer>,
) {
    if cx.report.errors() > 0 {
        // A section with an error elsewhere may refer to it.
        return;
    }
    let of = |name: fn(&Listener) -> &str| -> BTreeSet<&str> {
        listeners.iter().map(|it| name(&it.listener)).collect()
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

/// A listener as written.
pub(super) fn keys_of<'a>(
    files: &'a [Located<ListenerKeys>],
    placed: &Placed,
) -> Option<&'a ListenerKeys> {
    files.get(placed.number).map(|it| &it.value)
}

/// The place of a key of a listener, or of the listener.
fn place_of(
    files: &[Located<ListenerKeys>],
    placed: &Placed,
    key: impl Fn(&ListenerKeys) -> Option<Range<usize>>,
) -> Range<usize> {
    let span = keys_of(files, placed).and_then(key);
    span.unwrap_or_else(|| placed.span.clone())
}

fn bind_of(files: &[Located<ListenerKeys>], placed: &Placed) -> Range<usize> {
    place_of(files, placed, |keys| keys.bind.span())
}

/// True when other hosts can connect, or nobody here knows.
fn is_open(bind: &ListenAddr) -> bool {
    let is_far = |it: SocketAddr| !it.ip().is_loopback();
    bind.socket_addr().is_some_and(is_far) || bind.passed_name().is_some()
}

/// True if mproxy cannot listen on both.
fn collide(a: &ListenAddr, b: &ListenAddr) -> bool {
    let (Some(a), Some(b)) = (a.socket_addr(), b.socket_addr()) else {
        return a == b;
    };
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    let same = a.ip() == b.ip() || (any && a.is_ipv4() == b.is_ipv4());
    same && a.port() == b.port() && a.port() != 0
}

/// True when a connection to `to` from this machine arrives at `bind`.
fn reaches(to: &UpstreamAddr, bind: &ListenAddr) -> bool {
    let Some(bind) = bind.socket_addr() else {
        return to.unix_path().is_some() && to.unix_path() == bind.unix_path();
    };
    let ip = match to.host().as_deref() {
        Some("localhost") => Some(IpAddr::from(Ipv4Addr::LOCALHOST)),
        other => other.and_then(|it| it.parse().ok()),
    };
    ip.is_some_and(|ip| {
        let local = ip.is_loopback() || ip.is_unspecified();
        let same = ip == bind.ip() || (local && bind.ip().is_unspecified());
        same && to.port() == Some(bind.port())
    })
}
