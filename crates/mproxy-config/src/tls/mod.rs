//! `[listeners.tls]` and `[upstreams.NAME.tls]`: TLS with clients, and with brokers.

mod place;

pub use place::TlsPlace;

use crate::choice::words;
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::listener::Protocol;
use crate::places::Places;
use crate::scalar::{AnyPath, FilePath, ResponderUrl, Size, Text};
use crate::section::{Listing, Located, Maybe, OptionalSub, Setting, Sub, Tables, section};
use crate::validate::bounds;
use mproxy_transport::{
    Algorithms, ClientAuth, HttpUrl, TlsClientOptions, TlsIdentity, TlsServerOptions, TlsSetting,
    TlsVersion, UpstreamAddr,
};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

section! {
    /// TLS with clients.
    ListenerTls, ListenerTlsKeys in "[listeners.tls]",
        reload "for clients that connect from then on; connected clients stay unless their certificate is no \
                longer trusted"
    {
        /// PEM file: the certificate, followed by those between it and its CA.
        ///
        /// mproxy notices when a file of TLS changes, and reads all of them again. If they do not fit
        /// together, because a second file is still to come, the old ones stay in use.
        cert: Option<PathBuf> as Setting<FilePath> = "";
        /// PEM file: the private key of the certificate, not encrypted.
        key: Option<PathBuf> as Setting<FilePath> = "";
        /// More certificates, for clients that ask for another server name (SNI).
        certificates: Vec<Certificate> as Tables<Certificate>, given certificates;
        /// Whether clients must have a certificate: "off", "optional" or "require".
        ///
        /// optional: a client without a certificate is let in, one with a certificate that is not trusted
        /// is not.
        client_auth: ClientAuth = "off";
        /// PEM files: the CAs that issue the certificates of clients.
        client_ca: Vec<PathBuf> as Listing<AnyPath> = [];
        /// What of the certificate becomes the user name: "off", "cn", "subject", "san-dns" or "san-uri".
        ///
        /// It replaces the user name in the client's CONNECT; the password stays. A client whose certificate
        /// has no such name is refused. cn: the common name; a certificate with several of them has none.
        /// subject: the whole one, as in "CN=device-7,O=Example" and as `openssl x509 -subject -nameopt RFC2253`
        /// prints it. san-dns and san-uri: the first name of that kind; a SPIFFE id is a URI. Rules of an acl
        /// with ${cn} see the common name whatever this is.
        username_from: NameFrom = "off";
        /// What of the certificate the client id must be, with the words of username_from.
        ///
        /// A client with another client id is refused, so that no device can take over the session of
        /// another one.
        client_id_from: NameFrom = "off";
        /// The oldest version of TLS that is accepted: "1.2" or "1.3".
        min_version: TlsVersion = "1.2";
        /// Protocols to agree on (ALPN). [] = "mqtt", on a WebSocket listener "http/1.1".
        ///
        /// A client that offers none of them is let in without one.
        alpn: Vec<String> as Listing<Text> = [];
        /// Cipher suites, by their IANA names, most wanted first. [] = all that are safe.
        ciphers: Vec<String> as Listing<Text> = [];
        /// Key exchange groups, most wanted first. [] = X25519MLKEM768 and the usual curves.
        groups: Vec<String> as Listing<Text> = [];
        /// The most bytes of plaintext in a TLS record to a client, from 512B to 16KiB.
        ///
        /// For devices with less memory than a record of 16 KiB that do not say so in their ClientHello. A
        /// device that does, by max_fragment_length or record_size_limit, gets what it asks for whatever this is.
        max_record_size: usize as Setting<Size> = "16KiB", check bounds::record_size;
        /// File with the keys of session tickets, so that clients can resume a session at any replica.
        ///
        /// It has the format of HAProxy's tls-ticket-keys: at least three lines, each with 80 (or 48) random
        /// bytes in base64. All keys decrypt, the last but one encrypts. To rotate, append a line and remove
        /// the first one. Without it the keys are random and change every six hours. Tickets become void when
        /// client_ca, or a revocation list, changes.
        ticket_key_file: Option<PathBuf> as Setting<FilePath> = "";
        /// For debugging: file for the secrets of all connections, which lets Wireshark decrypt them.
        key_log_file: Option<PathBuf> as Setting<FilePath> = "";
        /// Certificates of clients that were revoked.
        revocation: Revocation as Sub<Revocation>, given revocation;
    }
    also {
        /// Where its keys were written.
        places: Places<TlsSetting>;
    }
}

section! {
    /// A certificate for clients that ask for its name.
    Certificate, CertificateKeys in "[[listeners.tls.certificates]]" {
        /// PEM file: the certificate, followed by those between it and its CA.
        cert: Option<PathBuf> as Setting<FilePath> = "";
        /// PEM file: the private key of the certificate, not encrypted.
        key: Option<PathBuf> as Setting<FilePath> = "";
    }
}

section! {
    /// Certificates of clients that were revoked.
    Revocation, RevocationKeys in "[listeners.tls.revocation]",
        reload "at once: clients whose certificate was revoked are closed"
    {
        /// Revocation lists (CRLs): files, PEM or DER, or directories of them. [] = nothing is checked.
        crl_files: Vec<PathBuf> as Listing<AnyPath> = [];
        /// URLs of revocation lists, http:// or https://, PEM or DER, which mproxy fetches. [] = none.
        ///
        /// mproxy fetches them in the background, and never a URL from a certificate. A list must be signed
        /// by a CA in client_ca. It stays in use until it expires, also while no newer one can be fetched;
        /// after that, and before the first fetch, on_unavailable decides. No more than 16.
        crl_urls: Vec<HttpUrl> as Listing<HttpUrl> = [];
        /// The longest time between two fetches of a list. One that expires sooner is fetched sooner.
        crl_refresh: Duration = "1h", check bounds::crl_refresh;
        /// Maximum time for fetching a list.
        crl_timeout: Duration = "30s", check bounds::timeout;
        /// URL of an OCSP responder, http:// or https://, which mproxy asks about each client. "" = none.
        ///
        /// mproxy asks after the TLS handshake, and keeps the answers for all connections; it never asks at a
        /// URL from a certificate. The issuer of the client's certificate must have signed the answer, or a
        /// responder to which that issuer gave a certificate for OCSP signing. If there is no valid answer, or
        /// if the responder does not know the certificate, on_unavailable decides. With revocation lists
        /// too, a client must pass both.
        ocsp_responder_url: Option<HttpUrl> as Setting<ResponderUrl> = "";
        /// Maximum time for an answer of the responder. A client that connects waits as long.
        ocsp_timeout: Duration = "5s", check bounds::timeout;
        /// The longest time that an answer is used. One that expires sooner is used for a shorter time.
        ocsp_refresh: Duration = "1h", check bounds::ocsp_refresh;
        /// What is checked: "leaf", the certificate of the client, or "chain", those above it too.
        depth: RevocationDepth = "leaf";
        /// What happens to clients about whom no valid list or answer says anything: "deny" or "allow".
        on_unavailable: OnUnavailable = "deny";
    }
    reserved {
        "methods": "remove it; mproxy checks what crl_files, crl_urls and ocsp_responder_url name";
        "cache_ttl": "use crl_refresh, or ocsp_refresh";
    }
}

section! {
    /// TLS with a broker whose address begins with mqtts:// or wss://.
    UpstreamTls, UpstreamTlsKeys in "[upstreams.NAME.tls]",
        reload "for clients that connect from then on; connected clients keep their broker"
    {
        /// PEM files: the CAs that issue the certificate of the broker. [] = those of the system.
        ca: Vec<PathBuf> as Listing<AnyPath> = [];
        /// The name that the broker's certificate must have. The default is the host of the address.
        server_name: Option<String> as Maybe<Text>;
        /// PEM file: the certificate that mproxy shows to the broker. "" = none.
        cert: Option<PathBuf> as Setting<FilePath> = "";
        /// PEM file: the private key of that certificate, not encrypted.
        key: Option<PathBuf> as Setting<FilePath> = "";
        /// Revocation lists (CRLs): files, PEM or DER, or directories of them. [] = nothing is checked.
        crl_files: Vec<PathBuf> as Listing<AnyPath> = [];
        /// The oldest version of TLS that is accepted: "1.2" or "1.3".
        min_version: TlsVersion = "1.2";
        /// Protocols to ask for (ALPN). Brokers of some clouds need one.
        alpn: Vec<String> as Listing<Text> = [];
        /// Cipher suites, by their IANA names, most wanted first. [] = all that are safe.
        ciphers: Vec<String> as Listing<Text> = [];
        /// Key exchange groups, most wanted first. [] = X25519MLKEM768 and the usual curves.
        groups: Vec<String> as Listing<Text> = [];
        /// For debugging: file for the secrets of all connections, which lets Wireshark decrypt them.
        key_log_file: Option<PathBuf> as Setting<FilePath> = "";
    }
    also {
        /// Where its keys were written.
        places: Places<TlsSetting>;
    }
    reserved {
        "insecure_skip_verify": "name the CA of the broker in ca; a certificate nobody checks is no protection";
    }
}

/// More URLs of revocation lists than a listener may have.
const MAX_URLS: usize = 17;

/// What of a certificate is the name of its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameFrom {
    /// Nothing.
    Off,
    /// The common name of the subject.
    CommonName,
    /// The whole subject.
    Subject,
    /// The first DNS name among the alternative names.
    SanDns,
    /// The first URI among them.
    SanUri,
}

/// Which certificates are looked for in revocation lists, or asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationDepth {
    /// The client's own.
    Leaf,
    /// Those above it too.
    Chain,
}

/// What happens to clients about whom no valid list or answer says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnavailable {
    /// They are refused.
    Deny,
    /// They are let in.
    Allow,
}

words! {
    ClientAuth { "off": Off, "optional": Optional, "require": Require, }
    TlsVersion { "1.2": Tls12, "1.3": Tls13, }
    NameFrom {
        "off": Off, "cn": CommonName, "subject": Subject, "san-dns": SanDns, "san-uri": SanUri,
    }
    RevocationDepth { "leaf": Leaf, "chain": Chain, }
    OnUnavailable { "deny": Deny, "allow": Allow, }
}

impl ListenerTls {
    /// The settings for the transport.
    #[must_use]
    pub fn options(&self, protocol: Protocol) -> TlsServerOptions {
        let mut options = TlsServerOptions::default();
        let first = identity(&self.cert, &self.key);
        let more = self.certificates.iter();
        let more = more.filter_map(|it| identity(&it.cert, &it.key));
        options.certificates = first.into_iter().chain(more).collect();
        options.client_auth = self.client_auth;
        options.client_ca.clone_from(&self.client_ca);
        let revocation = &self.revocation;
        options.revocation_lists.clone_from(&revocation.crl_files);
        options.checks_whole_chain = revocation.depth == RevocationDepth::Chain;
        options.allows_unknown_revocation = revocation.on_unavailable == OnUnavailable::Allow;
        options.alpn = match (self.alpn.is_empty(), protocol) {
            (false, _) => self.alpn.clone(),
            (true, Protocol::Mqtt) => vec!["mqtt".to_owned()],
            (true, Protocol::Ws) => vec!["http/1.1".to_owned()],
        };
        options.min_version = self.min_version;
        options.algorithms = algorithms(&self.ciphers, &self.groups);
        options.max_record_size = self.max_record_size;
        options.ticket_key_file.clone_from(&self.ticket_key_file);
        options.key_log_file.clone_from(&self.key_log_file);
        options
    }

    /// The files and directories that it is read from.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let certificates = self.certificates.iter();
        let certificates = certificates.flat_map(|it| [&it.cert, &it.key]);
        let single = [&self.cert, &self.key, &self.ticket_key_file];
        let lists = [&self.client_ca, &self.revocation.crl_files];
        let single = single.into_iter().chain(certificates).flatten();
        single.chain(lists.into_iter().flatten())
    }
}

impl UpstreamTls {
    /// The settings with which the transport trusts the broker.
    #[must_use]
    pub fn options(&self) -> TlsClientOptions {
        let mut options = TlsClientOptions::default();
        options.ca.clone_from(&self.ca);
        options.revocation_lists.clone_from(&self.crl_files);
        options.server_name.clone_from(&self.server_name);
        options.identity = identity(&self.cert, &self.key);
        options.alpn.clone_from(&self.alpn);
        options.min_version = self.min_version;
        options.algorithms = algorithms(&self.ciphers, &self.groups);
        options.key_log_file.clone_from(&self.key_log_file);
        options
    }

    /// The files and directories that it is read from.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let single = [&self.cert, &self.key].into_iter().flatten();
        single.chain(&self.ca).chain(&self.crl_files)
    }
}

fn identity(cert: &Option<PathBuf>, key: &Option<PathBuf>) -> Option<TlsIdentity> {
    Some(TlsIdentity {
        cert: cert.clone()?,
        key: key.clone()?,
    })
}

fn algorithms(ciphers: &[String], groups: &[String]) -> Algorithms {
    Algorithms {
        ciphers: ciphers.to_owned(),
        groups: groups.to_owned(),
    }
}

/// Checks the table of a listener, if it is there.
pub(crate) fn listener(cx: &mut Context, keys: &OptionalSub<ListenerTls>) -> Option<ListenerTls> {
    let Located { span, value: keys } = keys.as_ref()?;
    let certificates = certificates(cx, keys);
    let revocation = Revocation::read(cx, &keys.revocation);
    let tls = ListenerTls::read(
        cx,
        keys,
        place::of_listener(keys, span),
        certificates,
        revocation,
    );
    complete(cx, &tls, span);
    few_urls(cx, &keys.revocation, &tls.revocation);
    clients(cx, keys, &tls, span);
    if let (Some(file), Some(span)) = (&tls.key_log_file, keys.key_log_file.span()) {
        let file = file.display();
        let message = format!("the secrets of all connections are written to `{file}`");
        let warning = Diagnostic::warning(message).at(span);
        cx.push(warning.label("for debugging only: who has the file can read the traffic"));
    }
    tls.files().for_each(|file| cx.reads(file));
    Some(tls)
}

fn certificates(cx: &mut Context, keys: &ListenerTlsKeys) -> Vec<Certificate> {
    let mut certificates = Vec::new();
    for file in keys.certificates.iter() {
        let certificate = Certificate::read(cx, &file.value);
        if certificate.cert.is_none() || certificate.key.is_none() {
            let error = Diagnostic::error("a certificate without `cert` or `key`");
            cx.push(error.at(file.span.clone()).label("write both"));
        }
        certificates.push(certificate);
    }
    certificates
}

/// The listener has a certificate and its key.
fn complete(cx: &mut Context, tls: &ListenerTls, span: &Range<usize>) {
    let (missing, file) = match (&tls.cert, &tls.key) {
        (Some(_), Some(_)) => return,
        (None, _) => ("cert", "tls.crt"),
        (_, None) => ("key", "tls.key"),
    };
    let error = Diagnostic::error(format!("TLS without `{missing}`")).at(span.clone());
    let error = error.label(format!("write `{missing} = \"/path/of/{file}\"`"));
    let note = "without a certificate the listener cannot be served, and mproxy never serves it without TLS \
                instead";
    cx.push(error.note(note));
}

/// Each list is a task and a connection.
fn few_urls(cx: &mut Context, keys: &RevocationKeys, revocation: &Revocation) {
    let count = revocation.crl_urls.len();
    if let (Some(span), MAX_URLS..) = (keys.crl_urls.span(), count) {
        let error = Diagnostic::error(format!("{} URLs of revocation lists", count)).at(span);
        cx.push(error.label(format!("at most {}", MAX_URLS - 1)));
    }
}

/// What is said about certificates of clients goes together.
fn clients(cx: &mut Context, keys: &ListenerTlsKeys, tls: &ListenerTls, span: &Range<usize>) {
    if tls.client_auth != ClientAuth::Off {
        if tls.client_ca.is_empty() {
            let at = keys.client_auth.span().unwrap_or_else(|| span.clone());
            let message = "clients need a certificate, and no CA is trusted for it";
            let error = Diagnostic::error(message).at(at);
            cx.push(error.label("add `client_ca = [\"/path/of/ca.crt\"]`"));
        }
        return;
    }
    let (files, urls) = (&keys.revocation.crl_files, &keys.revocation.crl_urls);
    let responder = &keys.revocation.ocsp_responder_url;
    let has_responder = tls.revocation.ocsp_responder_url.is_some();
    let listed = [
        tls.revocation.crl_files.len(),
        tls.revocation.crl_urls.len(),
    ]
    .map(|it| it > 0);
    let named = [tls.username_from, tls.client_id_from].map(|it| it != NameFrom::Off);
    let idle = [
        (
            "client_ca",
            keys.client_ca.span(),
            !tls.client_ca.is_empty(),
        ),
        ("username_from", keys.username_from.span(), named[0]),
        ("client_id_from", keys.client_id_from.span(), named[1]),
        ("crl_files", files.span(), listed[0]),
        ("crl_urls", urls.span(), listed[1]),
        ("ocsp_responder_url", responder.span(), has_responder),
    ];
    for (key, span, is_set) in idle {
        if let (Some(span), true) = (span, is_set) {
            let message =
                format!("`{key}` does nothing while clients are asked for no certificate");
            let error = Diagnostic::error(message).at(span);
            cx.push(error.label("add `client_auth = \"require\"` (or \"optional\")"));
        }
    }
}

/// Checks the table of a broker, if it is there.
pub(crate) fn upstream(
    cx: &mut Context,
    keys: &OptionalSub<UpstreamTls>,
    address: &UpstreamAddr,
) -> Option<UpstreamTls> {
    let Located { span, value: keys } = keys.as_ref()?;
    let tls = UpstreamTls::read(cx, keys, place::of_upstream(keys, span));
    if !address.is_tls() {
        let message = format!("TLS is set up, and the address `{address}` does not use it");
        let error = Diagnostic::error(message).at(span.clone());
        cx.push(error.label("write `mqtts://` or `wss://` in the address, or remove this table"));
    }
    if tls.cert.is_some() != tls.key.is_some() {
        let error = Diagnostic::error("`cert` and `key` belong together").at(span.clone());
        cx.push(error.label("write both, or none"));
    }
    tls.files().for_each(|file| cx.reads(file));
    Some(tls)
}
