//! The client's side: what a broker is asked for, and when it is trusted.

use std::{fmt, path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    client::WebPkiServerVerifier,
    crypto::CryptoProvider,
    pki_types::{IpAddr, ServerName},
    sign::SingleCertAndKey,
};

use super::{
    CertificateNames, RevocationFile, TlsFileError, TlsFileErrors, TlsIdentity, TlsSetting,
    TlsVersion, UnlistedCa,
    algorithms::{Algorithms, provider},
    alpn::alpn,
    files::{Lists, Roots, roots},
    key_log::KeyLog,
    pinned::{Brokers, Pinned},
    problems::Problems,
};

/// How a broker is trusted, and what it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TlsClientOptions {
    /// PEM files with the certificates of those who may issue the broker's; those of the system, if
    /// there are none.
    pub ca: Vec<PathBuf>,
    /// Lists of revoked certificates: files, PEM or DER, or directories of them.
    pub revocation_lists: Vec<PathBuf>,
    /// The name in the broker's certificate; the host of its address, by default.
    pub server_name: Option<String>,
    /// A certificate to be shown to the broker.
    pub identity: Option<TlsIdentity>,
    /// Protocols to ask for (ALPN).
    pub alpn: Vec<String>,
    /// The oldest version; TLS 1.2 by default.
    pub min_version: TlsVersion,
    /// Cipher suites and key exchange groups.
    pub algorithms: Algorithms,
    /// Where the secrets of all connections are written, for Wireshark.
    pub key_log_file: Option<PathBuf>,
}

/// A dialler's side of TLS, with everything read from its files. Cheap to clone.
#[derive(Clone)]
pub struct TlsClient {
    pub(super) config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
    certificate: Option<Arc<CertificateNames>>,
    revocation_files: Arc<[RevocationFile]>,
    unlisted: Arc<[UnlistedCa]>,
}

impl TlsClient {
    /// Reads all files. Blocks.
    ///
    /// # Errors
    /// Files are missing or are not what they should be, or settings do not fit together. It has all of these.
    pub fn load(options: &TlsClientOptions) -> Result<Self, TlsFileErrors> {
        let mut problems = Problems::default();
        let provider = Arc::new(provider(&options.algorithms, &mut problems));
        let alpn = alpn(&options.alpn, &mut problems);
        let lists = Lists::load(&options.revocation_lists, &[], &mut problems);
        let roots = roots(&options.ca, &mut problems);
        let verifier = verifier(options, &roots, &lists, &provider, &mut problems);
        let identity = options.identity.as_ref();
        let identity = identity.and_then(|it| it.load(0, &provider, &mut problems));
        let key_log = options.key_log_file.as_deref().map(KeyLog::open);
        let key_log = problems.take(TlsSetting::KeyLog, key_log.transpose());
        let server_name = options.server_name.as_deref().map(|name| {
            ServerName::try_from(name.to_owned()).map_err(|_| {
                TlsFileError::general(format_args!("`{name}` is not the name of a host"))
            })
        });
        let server_name = problems.take(TlsSetting::ServerName, server_name.transpose());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(options.min_version.and_newer());
        let builder = builder.map_err(TlsFileError::general);
        let builder = problems.take(TlsSetting::Ciphers, builder);
        problems.none()?;
        // each is there, or there was a problem
        let (Some(builder), Some(verifier)) = (builder, verifier) else {
            return Err(TlsFileError::general("TLS cannot be set up").into());
        };
        let pinned = match lists.ders.is_empty() {
            true => Pinned::new(&roots.ders),
            false => Pinned::default(),
        };
        // rustls calls each verifier so that is not its own
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Brokers { verifier, pinned }));
        let (mut config, certificate) = match identity {
            None => (builder.with_no_client_auth(), None),
            Some((certified, names)) => {
                let resolver = Arc::new(SingleCertAndKey::from(certified));
                let config = builder.with_client_cert_resolver(resolver);
                (config, Some(Arc::new(names)))
            }
        };
        config.alpn_protocols = alpn;
        if let Some(key_log) = key_log.flatten() {
            config.key_log = Arc::new(key_log);
        }
        Ok(Self {
            config: Arc::new(config),
            server_name: server_name.flatten(),
            certificate,
            unlisted: roots.unlisted(&lists).into(),
            revocation_files: lists.files.into(),
        })
    }

    /// What the certificate says that is shown to the broker; `None` without one.
    pub fn certificate(&self) -> Option<&CertificateNames> {
        self.certificate.as_deref()
    }

    /// The files of its revocation lists, in the order of the options.
    pub fn revocation_files(&self) -> &[RevocationFile] {
        &self.revocation_files
    }

    /// The CAs of the broker that no list is from, in the order of the options; none if there are no lists, or if
    /// the CAs are those of the system.
    pub fn unlisted_cas(&self) -> &[UnlistedCa] {
        &self.unlisted
    }

    /// The name that the certificate of a broker at `host` must have. `None`: there is no host, as for a
    /// Unix socket, and no name is set.
    pub(crate) fn server_name(&self, host: Option<&str>) -> Option<ServerName<'static>> {
        if let Some(name) = &self.server_name {
            return Some(name.clone());
        }
        let host = host?;
        let host = host.strip_suffix('.').unwrap_or(host);
        match IpAddr::try_from(host) {
            Ok(address) => Some(ServerName::IpAddress(address)),
            Err(_) => ServerName::try_from(host.to_owned()).ok(),
        }
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

fn verifier(
    options: &TlsClientOptions,
    roots: &Roots,
    lists: &Lists,
    provider: &Arc<CryptoProvider>,
    problems: &mut Problems,
) -> Option<Arc<WebPkiServerVerifier>> {
    let before = problems.len();
    let mut store = RootCertStore::empty();
    let of_system;
    let trusted = match options.ca.is_empty() {
        false => {
            if roots.ders.is_empty() {
                // why was said
                return None;
            }
            store.add_parsable_certificates(roots.ders.iter().cloned());
            &roots.ders
        }
        true => {
            let found = rustls_native_certs::load_native_certs();
            // some systems have old ones among them that nothing can be done with
            of_system = found.certs;
            let (added, _) = store.add_parsable_certificates(of_system.iter().cloned());
            if added == 0 {
                let what = "the system has no certificates of CAs; name a file of them";
                problems.push(TlsSetting::Ca(0), TlsFileError::general(what));
                return None;
            }
            &of_system
        }
    };
    let verifier = WebPkiServerVerifier::builder_with_provider(store.into(), Arc::clone(provider))
        .with_crls(lists.ders.iter().cloned())
        .enforce_revocation_expiration()
        .build();
    if let Err(error) = &verifier {
        lists.unusable(trusted, problems);
        if problems.len() == before {
            let what = format_args!("brokers cannot be verified: {error}");
            problems.push(TlsSetting::Ca(0), TlsFileError::general(what));
        }
    }
    verifier.ok()
}
