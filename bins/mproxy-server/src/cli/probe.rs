//! Tries a configuration on this machine: its ports and brokers.

use crate::app::bind_advice;
use mproxy_config::diagnostics::{Class, Diagnostic, Report};
use mproxy_config::{Config, Upstream};
use mproxy_transport::{ListenAddr, ListenOptions, Listener, UpstreamAddr};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Tries to listen where the proxy would, and to reach its brokers.
///
/// A port in use is a warning: the proxy that is running already may be the one that uses
/// it. So is a broker that does not answer: it may be started later.
pub(super) fn probe(config: &Config, secrets: &BTreeSet<String>, report: &mut Report) {
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
        for (address, shown) in std::iter::once(first).chain(others) {
            if let Err(error) = reach(address, upstream.connect_timeout) {
                let name = &upstream.name;
                let message = format!("upstream `{name}` does not answer at {shown}: {error}");
                report.push(Diagnostic::warning(message).class(Class::Unavailable));
            }
        }
    }
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

fn reach(to: &UpstreamAddr, patience: Duration) -> io::Result<()> {
    if let Some(path) = to.unix_path() {
        return UnixStream::connect(path).map(drop);
    }
    let (Some(host), Some(port)) = (to.host(), to.port()) else {
        return Ok(());
    };
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in (&*host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}
