//! Which key a setting of the transport comes from, and where it stands.

use super::{ListenerTls, ListenerTlsKeys, UpstreamTls, UpstreamTlsKeys};
use crate::diagnostics::Diagnostic;
use crate::places::Places;
use crate::section::Listing;
use mproxy_transport::{TlsFileError, TlsSetting};
use std::io::ErrorKind;
use std::ops::Range;

/// The key that a file of TLS, or a setting, comes from.
#[derive(Clone, Debug)]
pub struct TlsPlace {
    /// As an operator writes it: `listeners.mqtts.tls.cert`.
    pub key: String,
    /// Where it stands, if it was written.
    pub span: Option<Range<usize>>,
}

impl TlsPlace {
    /// The problem that a file cannot be used.
    #[must_use]
    pub fn error(self, error: &TlsFileError) -> Diagnostic {
        let diagnostic = Diagnostic::error(format!("`{}` cannot be used: {error}", self.key));
        let diagnostic = self.point(diagnostic);
        match error.io_kind() {
            Some(ErrorKind::NotFound) => diagnostic.note("correct the path, or put the file there"),
            Some(ErrorKind::PermissionDenied) => diagnostic
                .note("allow the user that mproxy runs as to read it and to enter its directories"),
            _ => diagnostic,
        }
    }

    /// The problem that what a file has is of no use now, and what to do about it.
    #[must_use]
    pub fn warning(self, what: &str, remedy: impl Into<String>) -> Diagnostic {
        let diagnostic = Diagnostic::warning(format!("`{}`: {what}", self.key));
        self.point(diagnostic).note(remedy)
    }

    fn point(self, diagnostic: Diagnostic) -> Diagnostic {
        match self.span {
            Some(span) => diagnostic.at(span),
            None => diagnostic,
        }
    }
}

impl ListenerTls {
    /// The key of a setting of [`options`](Self::options). `listener` is the name of the listener.
    #[must_use]
    pub fn place(&self, listener: &str, setting: TlsSetting) -> TlsPlace {
        let key = match setting {
            TlsSetting::Cert(0) => ".cert",
            TlsSetting::Key(0) => ".key",
            TlsSetting::Cert(_) => ".certificates.cert",
            TlsSetting::Key(_) => ".certificates.key",
            TlsSetting::Ca(_) => ".client_ca",
            TlsSetting::RevocationLists(_) => ".revocation.crl_files",
            TlsSetting::TicketKeys => ".ticket_key_file",
            other => common(other),
        };
        TlsPlace {
            key: format!("listeners.{listener}.tls{key}"),
            span: found(&self.places, setting),
        }
    }
}

impl UpstreamTls {
    /// The key of a setting of [`options`](Self::options), in the table of this broker, if there is one.
    #[must_use]
    pub fn place(table: Option<&Self>, upstream: &str, setting: TlsSetting) -> TlsPlace {
        let key = match setting {
            TlsSetting::Cert(_) => ".cert",
            TlsSetting::Key(_) => ".key",
            TlsSetting::Ca(_) => ".ca",
            TlsSetting::RevocationLists(_) => ".crl_files",
            other => common(other),
        };
        TlsPlace {
            key: format!("upstreams.{upstream}.tls{key}"),
            span: table.and_then(|it| found(&it.places, setting)),
        }
    }
}

const fn common(setting: TlsSetting) -> &'static str {
    match setting {
        TlsSetting::Ciphers => ".ciphers",
        TlsSetting::Groups => ".groups",
        TlsSetting::Alpn(_) => ".alpn",
        TlsSetting::KeyLog => ".key_log_file",
        TlsSetting::ServerName => ".server_name",
        _ => "",
    }
}

/// Where the setting was written, or at least its table.
fn found(places: &Places<TlsSetting>, setting: TlsSetting) -> Option<Range<usize>> {
    places.of(&setting).or_else(|| places.of(&TlsSetting::Any))
}

/// Where the settings of a listener are written; `table` is its table.
pub(super) fn of_listener(keys: &ListenerTlsKeys, table: &Range<usize>) -> Places<TlsSetting> {
    let mut places = Places::default();
    places.insert(TlsSetting::Any, Some(table.clone()));
    places.insert(TlsSetting::Cert(0), keys.cert.span());
    places.insert(TlsSetting::Key(0), keys.key.span());
    for (index, more) in (1..).zip(keys.certificates.iter()) {
        places.insert(TlsSetting::Cert(index), more.value.cert.span());
        places.insert(TlsSetting::Key(index), more.value.key.span());
    }
    each(&mut places, &keys.client_ca, TlsSetting::Ca);
    let lists = &keys.revocation.crl_files;
    each(&mut places, lists, TlsSetting::RevocationLists);
    places.insert(TlsSetting::Ciphers, keys.ciphers.span());
    places.insert(TlsSetting::Groups, keys.groups.span());
    each(&mut places, &keys.alpn, TlsSetting::Alpn);
    places.insert(TlsSetting::TicketKeys, keys.ticket_key_file.span());
    places.insert(TlsSetting::KeyLog, keys.key_log_file.span());
    places
}

/// Where the settings of a broker are written; `table` is its table.
pub(super) fn of_upstream(keys: &UpstreamTlsKeys, table: &Range<usize>) -> Places<TlsSetting> {
    let mut places = Places::default();
    places.insert(TlsSetting::Any, Some(table.clone()));
    places.insert(TlsSetting::Cert(0), keys.cert.span());
    places.insert(TlsSetting::Key(0), keys.key.span());
    each(&mut places, &keys.ca, TlsSetting::Ca);
    each(&mut places, &keys.crl_files, TlsSetting::RevocationLists);
    places.insert(TlsSetting::Ciphers, keys.ciphers.span());
    places.insert(TlsSetting::Groups, keys.groups.span());
    each(&mut places, &keys.alpn, TlsSetting::Alpn);
    places.insert(TlsSetting::KeyLog, keys.key_log_file.span());
    places.insert(TlsSetting::ServerName, keys.server_name.span());
    places
}

/// The places of the elements of an array; of one that was written as one text, all have its place.
fn each<T>(
    places: &mut Places<TlsSetting>,
    elements: &Listing<T>,
    setting: impl Fn(usize) -> TlsSetting,
) {
    for (index, span) in elements.spans().into_iter().enumerate() {
        places.insert(setting(index), Some(span));
    }
}
