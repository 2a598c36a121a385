//! Tries a configuration on this machine: its ports and brokers.

use crate::app::{Failure, bind_advice, try_upstream};
use mproxy_config::diagnostics::{Class, Diagnostic, Report};
use mproxy_config::{Config, Upstream};
use mproxy_transport::{ListenAddr, ListenOptions, Listener, UpstreamAddr};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::TcpListener;
use tokio::runtime::Runtime;

/// Tries to listen where the proxy would, and to reach its brokers, with TLS and WebSocket where they ask for
/// these.
///
/// A port in use is a warning: the proxy that is running already may be the one that uses
/// it. So is a broker that does not answer: it may be started later. One that answers, and refuses every client
/// in a handshake, is an error.
pub(super) fn probe(
    config: &Config,
    secrets: &BTreeSet<String>,
    report: &mut Report,
    runtime: &Runtime,
) {
    for listener in &config.listeners {
        let what = format!("listener `{}`", listener.name);
        bindable(&what, &listener.bind, report);
    }
    if let Some(bind) = config.admin.bind {
        bindable("the admin port", &bind.into(), report);
    }
    for upstream in config.upstreams.values() {
        let first = (&upstream.address, shown_address(upstream, secrets));
        let is_secret = |secret: &String| secret.starts_with(&others_of(upstream));
        let is_secret = secrets.iter().any(is_secret);
        let shown = |address: &UpstreamAddr| match is_secret {
            true => "***".to_owned(),
            false => address.to_string(),
        };
        let others = upstream.addresses.iter().map(|it| (it, shown(it)));
        let all: Vec<_> = std::iter::once(first).chain(others).collect();
        let addresses: Vec<_> = all.iter().map(|(address, _)| *address).collect();
        let results = runtime.block_on(try_upstream(upstream, &addresses));
        for ((address, shown), result) in all.iter().zip(results) {
            if let Err(failure) = result {
                report.push(unusable(&upstream.name, address, shown, &failure));
            }
        }
    }
}

/// What is wrong with a broker at this address, which is shown like that.
fn unusable(name: &str, address: &UpstreamAddr, shown: &str, failure: &Failure) -> Diagnostic {
    let mut why = failure.to_string();
    if let (Some(host), "***") = (address.host(), shown) {
        // TLS says which name is missing in a certificate
        why = why.replace(&*host, shown);
    }
    let what = match failure.is_reached || failure.is_refusal {
        true => "cannot be used",
        false => "does not answer",
    };
    let message = format!("upstream `{name}` {what} at {shown}: {why}");
    let diagnostic = match failure.is_refusal {
        true => Diagnostic::error(message),
        false => Diagnostic::warning(message),
    };
    let diagnostic = diagnostic.class(Class::Unavailable);
    diagnostic.note(failure.remedy_for(name))
}

fn others_of(upstream: &Upstream) -> String {
    format!("upstreams.{}.addresses", upstream.name)
}

/// The address of a broker, unless it is a secret.
pub(super) fn shown_address(upstream: &Upstream, secrets: &BTreeSet<String>) -> String {
    match secrets.contains(&format!("upstreams.{}.address", upstream.name)) {
        true => "***".to_owned(),
        false => upstream.address.to_string(),
    }
}

fn bindable(what: &str, address: &ListenAddr, report: &mut Report) {
    if address.passed_name().is_some() {
        // only a start by systemd shows whether it is passed
        return;
    }
    let bound = match address.socket_addr() {
        Some(address) => TcpListener::bind(address).map(drop),
        // Like the proxy: a file that nobody listens on is replaced, and removed again.
        None => Listener::bind(address, &ListenOptions::default()).map(drop),
    };
    let Err(error) = bound else {
        return;
    };
    let message = format!("{what} cannot listen on {address}: {error}");
    let diagnostic = match error.kind() {
        ErrorKind::PermissionDenied => Diagnostic::error(message).class(Class::Permission),
        ErrorKind::AddrInUse => Diagnostic::warning(message)
            .class(Class::Unavailable)
            .note("a running mproxy or another program uses it"),
        _ => Diagnostic::error(message).class(Class::Unavailable),
    };
    report.push(match bind_advice(address, &error) {
        Some(advice) => diagnostic.note(advice),
        None => diagnostic,
    });
}
