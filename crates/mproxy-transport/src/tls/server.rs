//! The server's side: what a listener offers, and whom it trusts.

use std::{collections::HashMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, UnixTime},
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
        danger::ClientCertVerifier,
    },
    sign::CertifiedKey,
};

#[cfg(feature = "ocsp")]
use super::ocsp::{Issuers, OcspError, OcspQuestion};
use super::{
    CertificateNames, RevocationFile, TlsFileError, TlsFileErrors, TlsIdentity, TlsSetting,
    TlsVersion, TlsViolation, UnlistedCa,
    algorithms::{Algorithms, provider},
    alpn::alpn,
    chain::Bounded,
    client_auth::{ClientAuth, unused},
    files::{Lists, Roots, roots},
    key_log::KeyLog,
    pinned::Pinned,
    problems::Problems,
    records::{MAX_RECORD, fragment_size},
    revocation::RevocationList,
    tickets::{Tickets, Trusted, trusted},
};

/// What a listener offers, and whom it trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsServerOptions {
    /// Certificates with their keys. A client that names a server (SNI) gets the first one that is made
    /// out to this name, any other client the first of all.
    pub certificates: Vec<TlsIdentity>,
    /// Whether clients are asked for a certificate; not, by default.
    pub client_auth: ClientAuth,
    /// PEM files with the certificates of those who may issue clients' certificates. With them, and with
    /// lists, [`client_auth`](Self::client_auth) must not be [`Off`](ClientAuth::Off).
    pub client_ca: Vec<PathBuf>,
    /// Lists of revoked certificates: files, PEM or DER, or directories of them.
    pub revocation_lists: Vec<PathBuf>,
    /// Lists that somebody else keeps, one for each that there should be; `None` for one that is not there
    /// yet.
    pub kept_lists: Vec<Option<RevocationList>>,
    /// Whether the whole chain of a client is looked up in the lists, and not only its own certificate.
    pub checks_whole_chain: bool,
    /// Lets in clients about whose certificate no list says anything, or only one that is out of date.
    pub allows_unknown_revocation: bool,
    /// Protocols that are agreed on if a client offers one of them (ALPN). A client that offers only
    /// others, or none, gets no answer about it.
    pub alpn: Vec<String>,
    /// The oldest version; TLS 1.2 by default.
    pub min_version: TlsVersion,
    /// Cipher suites and key exchange groups; all that are safe, by default.
    pub algorithms: Algorithms,
    /// Keys of session tickets, to be shared by replicas: a file as for HAProxy's `tls-ticket-keys`.
    /// Without it, they are random, change every six hours, and are the same for all listeners of the process, so
    /// that a reload keeps tickets. A ticket of one listener is of use at another only if both trust the same
    /// clients ([`trusts_like`](TlsServer::trusts_like)): the others cannot read it.
    pub ticket_key_file: Option<PathBuf>,
    /// Where the secrets of all connections are written, for Wireshark.
    pub key_log_file: Option<PathBuf>,
    /// The time for a handshake; 30 s by default.
    pub handshake_timeout: Duration,
    /// The most bytes of plaintext in a record to a client, from 512 to 16384, its default. A client gets smaller
    /// records if it asks for them by `max_fragment_length` or `record_size_limit`.
    pub max_record_size: usize,
}

/// A listener's side of TLS, with everything read from its files. Cheap to clone.
#[derive(Clone)]
pub struct TlsServer(Arc<Inner>);

struct Inner {
    /// For clients that offer one of the protocols, and for others.
    with_alpn: Arc<ServerConfig>,
    without_alpn: Arc<ServerConfig>,
    alpn: Vec<String>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    requires_certificates: bool,
    trusted: Trusted,
    handshake_timeout: Duration,
    certificates: Vec<CertificateNames>,
    #[cfg(feature = "ocsp")]
    issuers: Issuers,
    revocation_files: Vec<RevocationFile>,
    unlisted: Vec<UnlistedCa>,
}

// ===== impl TlsServerOptions =====

impl Default for TlsServerOptions {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            client_auth: ClientAuth::Off,
            client_ca: Vec::new(),
            revocation_lists: Vec::new(),
            kept_lists: Vec::new(),
            checks_whole_chain: false,
            allows_unknown_revocation: false,
            alpn: Vec::new(),
            min_version: TlsVersion::Tls12,
            algorithms: Algorithms::default(),
            ticket_key_file: None,
            key_log_file: None,
            handshake_timeout: Duration::from_secs(30),
            max_record_size: MAX_RECORD,
        }
    }
}

// ===== impl TlsServer =====

impl TlsServer {
    /// Reads all files. Blocks.
    ///
    /// # Errors
    /// Files are missing or are not what they should be, a key is not that of its certificate, or settings
    /// do not fit together. It has all of these.
    pub fn load(options: &TlsServerOptions) -> Result<Self, TlsFileErrors> {
        let mut problems = Problems::default();
        let provider = Arc::new(provider(&options.algorithms, &mut problems));
        let (names, certificates) = Names::load(&options.certificates, &provider, &mut problems);
        let alpn = alpn(&options.alpn, &mut problems);
        let trust = Trust::load(options, &mut problems);
        let verifier = trust.verifier(options, &provider, &mut problems);
        let trusted = trusted(&trust.parts(options));
        let tickets = Tickets::new(options.ticket_key_file.as_deref(), trusted);
        let tickets = problems.take(TlsSetting::TicketKeys, tickets);
        let key_log = options.key_log_file.as_deref().map(KeyLog::open);
        let key_log = problems.take(TlsSetting::KeyLog, key_log.transpose());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(options.min_version.and_newer());
        let builder = builder.map_err(TlsFileError::general);
        let builder = problems.take(TlsSetting::Ciphers, builder);
        problems.none()?;
        // each is there, or there was a problem
        let (Some(builder), Some(tickets)) = (builder, tickets) else {
            return Err(TlsFileError::general("TLS cannot be set up").into());
        };
        let builder = match &verifier {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(names));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Arc::new(tickets);
        // a device has one connection; each connection brings the ticket for the next
        config.send_tls13_tickets = 1;
        if options.max_record_size < MAX_RECORD {
            config.max_fragment_size = Some(fragment_size(options.max_record_size));
        }
        if let Some(key_log) = key_log.flatten() {
            config.key_log = Arc::new(key_log);
        }
        let without_alpn = Arc::new(config.clone());
        config.alpn_protocols = alpn;
        Ok(Self(Arc::new(Inner {
            with_alpn: Arc::new(config),
            without_alpn,
            alpn: options.alpn.clone(),
            verifier,
            requires_certificates: options.client_auth == ClientAuth::Require,
            trusted,
            handshake_timeout: options.handshake_timeout,
            certificates,
            #[cfg(feature = "ocsp")]
            issuers: Issuers::new(&trust.roots.ders, options.checks_whole_chain),
            unlisted: trust.unlisted(options),
            revocation_files: trust.lists.files,
        })))
    }

    /// The files of its revocation lists, in the order of the options; without lists that somebody else
    /// keeps.
    pub fn revocation_files(&self) -> &[RevocationFile] {
        &self.0.revocation_files
    }

    /// The CAs of clients that no list in use is from, in the order of the options; none if there are no lists, or
    /// as long as one that somebody else keeps is missing.
    pub fn unlisted_cas(&self) -> &[UnlistedCa] {
        &self.0.unlisted
    }

    /// What the certificates say, in the order of the options.
    pub fn certificates(&self) -> &[CertificateNames] {
        &self.0.certificates
    }

    /// Whether both trust the same clients: the same CAs, the same lists, and both ask for certificates
    /// alike.
    pub fn trusts_like(&self, other: &Self) -> bool {
        self.0.trusted == other.0.trusted
    }

    /// Judges the certificates of a client again, its own first: those of a session that began before
    /// these files were read.
    ///
    /// # Errors
    /// They are not trusted (any more), or there are none and they are required.
    pub fn judge(&self, certificates: &[CertificateDer<'_>]) -> Result<(), TlsViolation> {
        let (Some(verifier), Some((own, others))) = (&self.0.verifier, certificates.split_first())
        else {
            return match self.0.requires_certificates && certificates.is_empty() {
                true => Err(TlsViolation(rustls::Error::NoCertificatesPresented)),
                false => Ok(()),
            };
        };
        let verified = verifier.verify_client_cert(own, others, UnixTime::now());
        verified.map(drop).map_err(TlsViolation)
    }

    /// What a responder of OCSP is to be asked about the certificates of a client, its own first, which this
    /// listener trusts: about its own, and about those above it too if
    /// [the whole chain is checked](TlsServerOptions::checks_whole_chain).
    ///
    /// # Errors
    /// A certificate cannot be asked about.
    #[cfg(feature = "ocsp")]
    pub fn questions(
        &self,
        certificates: &[CertificateDer<'_>],
    ) -> Result<Vec<OcspQuestion>, OcspError> {
        self.0.issuers.questions(certificates)
    }

    /// Whether clients may have certificates.
    pub(super) fn asks_for_certificates(&self) -> bool {
        self.0.verifier.is_some()
    }

    pub(super) fn handshake_timeout(&self) -> Duration {
        self.0.handshake_timeout
    }

    /// Whether the key of the certificate for this client can sign by a scheme that the client knows. The state machine
    /// judges a client that names none.
    pub(super) fn can_sign_for(&self, hello: ClientHello<'_>) -> bool {
        let schemes = hello.signature_schemes().to_vec();
        let certified = self.0.without_alpn.cert_resolver.resolve(hello);
        schemes.is_empty() || certified.is_none_or(|it| it.key.choose_scheme(&schemes).is_some())
    }

    /// What is used for a client that said hello like this, and can read records with so many bytes of
    /// plaintext.
    pub(super) fn config_for(
        &self,
        hello: Option<ClientHello<'_>>,
        max_record: Option<usize>,
    ) -> Arc<ServerConfig> {
        let config = self.with_protocol(hello);
        let wanted = max_record.map(fragment_size);
        match (wanted, config.max_fragment_size) {
            (Some(wanted), ours) if ours.is_none_or(|ours| wanted < ours) => {
                // only handles of what is large in it; the copy ends with the handshake
                let mut config = ServerConfig::clone(config);
                config.max_fragment_size = Some(wanted);
                Arc::new(config)
            }
            _ => Arc::clone(config),
        }
    }

    /// The one that a client that offers these protocols gets.
    fn with_protocol(&self, hello: Option<ClientHello<'_>>) -> &Arc<ServerConfig> {
        let offered = hello.and_then(|it| it.alpn()).into_iter().flatten();
        let mut offered = offered.filter_map(|it| std::str::from_utf8(it).ok());
        match offered.any(|it| self.0.alpn.iter().any(|ours| ours == it)) {
            true => &self.0.with_alpn,
            false => &self.0.without_alpn,
        }
    }
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsServer")
            .field("certificates", &self.0.certificates)
            .finish_non_exhaustive()
    }
}

/// Certificates by the names that they are made out to.
#[derive(Debug)]
struct Names {
    /// At least one.
    all: Vec<Arc<CertifiedKey>>,
    /// In lower case; `*.example.com` for all names with one more label.
    by_name: HashMap<String, usize>,
}

impl Names {
    /// The certificates, and what each says, in the order of `identities`.
    fn load(
        identities: &[TlsIdentity],
        provider: &CryptoProvider,
        problems: &mut Problems,
    ) -> (Self, Vec<CertificateNames>) {
        let mut described = Vec::new();
        let mut names = Self {
            all: Vec::new(),
            by_name: HashMap::new(),
        };
        for (index, identity) in identities.iter().enumerate() {
            let Some((certified, own)) = identity.load(index, provider, problems) else {
                continue;
            };
            let index = names.all.len();
            names.all.push(Arc::new(certified));
            for name in &own.dns_names {
                names
                    .by_name
                    .entry(name.to_ascii_lowercase())
                    .or_insert(index);
            }
            described.push(own);
        }
        if identities.is_empty() {
            let what = "a certificate and its key are needed";
            problems.push(TlsSetting::Cert(0), TlsFileError::general(what));
        }
        (names, described)
    }

    fn find(&self, name: &str) -> Option<usize> {
        let name = name.to_ascii_lowercase();
        let wildcard = || {
            let (_, rest) = name.split_once('.')?;
            self.by_name.get(&format!("*.{rest}"))
        };
        self.by_name.get(&name).or_else(wildcard).copied()
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.find(name));
        self.all.get(named.unwrap_or_default()).cloned()
    }
}

/// Whom a listener trusts.
#[derive(Default)]
struct Trust {
    roots: Roots,
    lists: Lists,
}

impl Trust {
    fn load(options: &TlsServerOptions, problems: &mut Problems) -> Self {
        if options.client_auth == ClientAuth::Off {
            unused(options, problems);
            return Self::default();
        }
        let lists = Lists::load(&options.revocation_lists, &options.kept_lists, problems);
        Self {
            roots: roots(&options.client_ca, problems),
            lists,
        }
    }

    fn verifier(
        &self,
        options: &TlsServerOptions,
        provider: &Arc<CryptoProvider>,
        problems: &mut Problems,
    ) -> Option<Arc<dyn ClientCertVerifier>> {
        if options.client_auth == ClientAuth::Off {
            return None;
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.roots.ders.iter().cloned());
        let is_missing = roots.is_empty() && !options.client_ca.is_empty();
        let mut builder =
            WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(provider));
        if options.client_auth == ClientAuth::Optional {
            builder = builder.allow_unauthenticated();
        }
        builder = builder.with_crls(self.lists.ders.iter().cloned());
        if !options.checks_whole_chain {
            builder = builder.only_check_end_entity_revocation();
        }
        builder = match options.allows_unknown_revocation {
            true => builder.allow_unknown_revocation_status(),
            false => builder.enforce_revocation_expiration(),
        };
        let verifier = match builder.build() {
            Ok(verifier) => verifier,
            // why no CA is there was said
            Err(_) if is_missing => return None,
            Err(error) => {
                let before = problems.len();
                self.lists.unusable(&self.roots.ders, problems);
                if problems.len() == before {
                    let what = format_args!("clients cannot be verified: {error}");
                    problems.push(TlsSetting::Ca(0), TlsFileError::general(what));
                }
                return None;
            }
        };
        let looks_up = !self.lists.ders.is_empty() || !options.kept_lists.is_empty();
        // without any list, webpki would check nothing
        let is_blind = self.lists.ders.is_empty() && !options.kept_lists.is_empty();
        Some(Arc::new(Bounded {
            verifier,
            pinned: match looks_up {
                true => Pinned::default(),
                false => Pinned::new(&self.roots.ders),
            },
            knows_nothing: is_blind && !options.allows_unknown_revocation,
        }))
    }

    fn unlisted(&self, options: &TlsServerOptions) -> Vec<UnlistedCa> {
        // a list that is not there yet may be that of any CA
        match options.kept_lists.iter().all(Option::is_some) {
            true => self.roots.unlisted(&self.lists),
            false => Vec::new(),
        }
    }

    /// What a session ticket is bound to.
    fn parts(&self, options: &TlsServerOptions) -> Vec<&[u8]> {
        let mode: &[u8] = match options.client_auth {
            ClientAuth::Off => b"off",
            ClientAuth::Optional => b"optional",
            ClientAuth::Require => b"require",
        };
        let roots = self.roots.ders.iter().map(AsRef::as_ref);
        let lists = self.lists.ders.iter().map(AsRef::as_ref);
        let between: &[u8] = b"";
        let parts = std::iter::once(mode).chain(roots);
        parts.chain([between]).chain(lists).collect()
    }
}
