//! The client's side: what a broker is asked for, and when it is trusted.

use std::{fmt, path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    client::WebPkiServerVerifier,
    crypto::CryptoProvider,
    pki_types::{IpAddr, ServerName},
};

use super::{
    TlsFileError, TlsIdentity, TlsVersion,
    algorithms::{Algorithms, provider},
    files::{certificates, key, lists},
    key_log::KeyLog,
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
}

impl TlsClient {
    /// Reads all files. Blocks.
    ///
    /// # Errors
    /// A file is missing or is not what it should be, or settings do not fit together.
    pub fn load(options: &TlsClientOptions) -> Result<Self, TlsFileError> {
        let provider = Arc::new(provider(&options.algorithms)?);
        let verifier = verifier(options, &provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(options.min_version.and_newer())
            .map_err(TlsFileError::general)?
            .with_webpki_verifier(verifier);
        let mut config = match &options.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(certificates(&identity.cert)?, key(&identity.key)?)
                .map_err(|error| TlsFileError::of(&identity.key, error))?,
        };
        let protocols = options.alpn.iter();
        config.alpn_protocols = protocols.map(|it| it.clone().into_bytes()).collect();
        if let Some(file) = &options.key_log_file {
            config.key_log = Arc::new(KeyLog::open(file)?);
        }
        let server_name = options.server_name.as_deref().map(|name| {
            ServerName::try_from(name.to_owned()).map_err(|_| {
                TlsFileError::general(format_args!("`{name}` is not the name of a host"))
            })
        });
        Ok(Self {
            config: Arc::new(config),
            server_name: server_name.transpose()?,
        })
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
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, TlsFileError> {
    let mut roots = RootCertStore::empty();
    match options.ca.is_empty() {
        false => {
            for file in &options.ca {
                for root in certificates(file)? {
                    roots
                        .add(root)
                        .map_err(|error| TlsFileError::of(file, error))?;
                }
            }
        }
        true => {
            let found = rustls_native_certs::load_native_certs();
            // some systems have old ones among them that nothing can be done with
            let (added, _) = roots.add_parsable_certificates(found.certs);
            if added == 0 {
                return Err(TlsFileError::general(
                    "the system has no certificates of CAs; name a file of them",
                ));
            }
        }
    }
    let mut all = Vec::new();
    for path in &options.revocation_lists {
        all.extend(lists(path)?);
    }
    WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(provider))
        .with_crls(all)
        .enforce_revocation_expiration()
        .build()
        .map_err(|error| TlsFileError::general(format_args!("brokers cannot be verified: {error}")))
}
