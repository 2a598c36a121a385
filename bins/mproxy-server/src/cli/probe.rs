//! Tries a configuration on this machine: its ports and brokers.

use crate::app::bind_advice;
use mproxy_config::diagnostics::{Class, Diagnostic, Report};
use mproxy_config::{Config, Upstream};
use mproxy_transport::{ListenAddr, ListenOptions, Listener};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;

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
        if let Err(error) = reach(upstream) {
            let message = format!(
                "upstream `{}` does not answer at {}: {error}",
                upstream.name,
                shown_address(upstream, secrets)
            );
            report.push(Diagnostic::warning(message).class(Class::Unavailable));
        }
    }
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

fn reach(upstream: &Upstream) -> io::Result<()> {
    let to = &upstream.address;
    if let Some(path) = to.unix_path() {
        return UnixStream::connect(path).map(drop);
    }
    let (Some(host), Some(port)) = (to.host(), to.port()) else {
        return Ok(());
    };
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in (&*host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, upstream.connect_timeout) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}
