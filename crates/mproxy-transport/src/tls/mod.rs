//! TLS, with rustls and aws-lc-rs.
//!
//! ```text
//! Stream --accept--> ClientHello --Names, ALPN--> ServerConfig --steps, in turns--> TlsStream
//!                        |                             |
//!                        +-- not one: alert, linger    +-- not trusted: alert, linger
//! ```
//!
//! rustls is used without its own buffers, which would take 4 KiB of every connection: records are
//! decrypted and encrypted in buffers of the thread ([`scratch`]), and an idle connection owns its keys,
//! the state machine and no byte more. Of a record that has come in part, [`stream`] holds that part.

mod accept;
mod algorithms;
mod alpn;
mod certificate;
mod chain;
mod client;
mod client_auth;
mod connect;
mod error;
mod files;
mod identity;
mod info;
mod key_log;
mod machine;
mod name;
#[cfg(feature = "ocsp")]
mod ocsp;
mod pinned;
mod problems;
mod records;
mod refused;
mod rest;
mod revocation;
mod scratch;
mod server;
mod signature;
mod stream;
mod tickets;
mod unlisted;

pub(crate) use self::connect::connect_tls;
#[cfg(feature = "ocsp")]
pub use self::ocsp::{OcspAnswer, OcspCertificate, OcspError, OcspQuestion, OcspStatus};
pub use self::{
    accept::{HandshakePlace, accept_tls, accept_tls_admitted},
    algorithms::{Algorithms, TlsVersion, tls_provider},
    certificate::{CertificateError, CertificateNames},
    client::{TlsClient, TlsClientOptions},
    client_auth::ClientAuth,
    error::{TlsCause, TlsError, TlsFault, TlsViolation},
    files::RevocationFile,
    identity::TlsIdentity,
    info::TlsInfo,
    machine::TlsMachine,
    problems::{TlsFileError, TlsFileErrors, TlsSetting},
    refused::RefusedCertificate,
    revocation::{ListError, RevocationList},
    server::{TlsServer, TlsServerOptions},
    stream::{TLS_CONNECTION_BYTES, TlsStream},
    unlisted::UnlistedCa,
};
