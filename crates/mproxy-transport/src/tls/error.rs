//! Why there is no TLS connection, or no more of it.

use std::{error::Error, fmt, io};

use super::{RefusedCertificate, chain::LongChain, pinned::CaAsPeer};
use crate::beginning::Beginning;

/// A handshake that failed, the first bytes of the peer, and its certificate if that was refused.
pub struct TlsError(Box<Failed>);

#[derive(Debug)]
struct Failed {
    cause: TlsCause,
    beginning: Beginning,
    refused: Option<RefusedCertificate>,
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsCause {
    /// The peer broke the protocol, has nothing in common with this side, or is not trusted. It was told
    /// by an alert.
    #[error(transparent)]
    Violation(TlsViolation),
    /// The handshake took longer than it may.
    #[error("the TLS handshake took too long")]
    TimedOut,
    /// The peer's first message is larger than it may be, in bytes.
    #[error("the ClientHello is larger than {0} bytes")]
    HelloTooLarge(usize),
    /// Its end had not come after so many reads with a whole record of it.
    #[error("the ClientHello is cut into more than {0} pieces")]
    HelloInPieces(u32),
    /// The peer sends more than a handshake may have, in bytes: what is large in it are certificates.
    #[error("the peer's part of the TLS handshake is larger than {0} bytes")]
    TooLarge(usize),
    /// The connection failed under it.
    #[error("the connection failed: {0}")]
    Io(#[source] io::Error),
    /// It was not let begin.
    #[error("the TLS handshake was not let begin")]
    NotAdmitted,
    /// The peer closed the connection.
    #[error("closed during the TLS handshake")]
    Closed,
}

/// What the peer did wrong, or why it is not trusted. After the handshake it is found inside an
/// [`io::Error`] of kind [`InvalidData`](io::ErrorKind::InvalidData).
#[derive(Debug, Clone, PartialEq)]
pub struct TlsViolation(pub(super) rustls::Error);

// ===== impl TlsError =====

impl TlsError {
    pub(super) fn new(
        cause: TlsCause,
        beginning: Beginning,
        refused: Option<RefusedCertificate>,
    ) -> Self {
        Self(Box::new(Failed {
            cause,
            beginning,
            refused,
        }))
    }

    /// Why it failed.
    pub fn cause(&self) -> &TlsCause {
        &self.0.cause
    }

    /// How many bytes the peer sent. With 0 it asked for nothing: it was a port scan, or the TCP check of
    /// a load balancer.
    pub fn received(&self) -> u64 {
        self.0.beginning.received()
    }

    /// The first bytes that the peer sent, at most 32: enough to recognise another protocol.
    pub fn first_bytes(&self) -> &[u8] {
        self.0.beginning.first()
    }

    /// The certificate of the client, if that is why it was refused. `None` also if it could not be read, or
    /// was [too large](TlsCause::TooLarge) to be.
    pub fn refused_certificate(&self) -> Option<&RefusedCertificate> {
        self.0.refused.as_ref()
    }
}

impl fmt::Debug for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.cause.fmt(f)
    }
}

/// The source is what is below [`cause`](TlsError::cause), whose message this one has. Messages include those of
/// their sources.
impl Error for TlsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.cause.source()
    }
}

// ===== impl TlsViolation =====

impl TlsViolation {
    /// The violation inside an error of a [`Stream`](crate::Stream), if it is one.
    pub fn find(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// What rustls says.
    pub fn error(&self) -> &rustls::Error {
        &self.0
    }

    /// What it is about, for those who tell an operator what to do.
    pub fn fault(&self) -> TlsFault {
        use rustls::{
            CertificateError as Bad, Error, PeerIncompatible as Lacks, PeerMisbehaved as Wrong,
        };
        match &self.0 {
            Error::NoCertificatesPresented => TlsFault::NoCertificate,
            Error::InvalidCertificate(bad) => match bad {
                Bad::UnknownIssuer | Bad::BadSignature => TlsFault::UnknownIssuer,
                Bad::Expired
                | Bad::ExpiredContext { .. }
                | Bad::NotValidYet
                | Bad::NotValidYetContext { .. } => TlsFault::Expired,
                Bad::Revoked => TlsFault::Revoked,
                Bad::UnknownRevocationStatus
                | Bad::ExpiredRevocationList
                | Bad::ExpiredRevocationListContext { .. } => TlsFault::UnknownRevocation,
                Bad::NotValidForName | Bad::NotValidForNameContext { .. } => TlsFault::WrongName,
                Bad::Other(other) if other.0.is::<LongChain>() => TlsFault::LongChain,
                Bad::Other(other) if other.0.is::<CaAsPeer>() => TlsFault::CaCertificate,
                _ => TlsFault::BadCertificate,
            },
            Error::PeerIncompatible(lacks) => match lacks {
                Lacks::SupportedVersionsExtensionRequired
                | Lacks::Tls12NotOffered
                | Lacks::Tls12NotOfferedOrEnabled
                | Lacks::SignatureAlgorithmsExtensionRequired => TlsFault::Version,
                _ => TlsFault::NothingInCommon,
            },
            Error::PeerMisbehaved(Wrong::ServerNameMustContainOneHostName) => TlsFault::ServerName,
            Error::AlertReceived(_) => TlsFault::Told,
            _ => TlsFault::Protocol,
        }
    }
}

/// What a [`TlsViolation`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsFault {
    /// The peer has no certificate, and needs one.
    NoCertificate,
    /// It sends more certificates than it may.
    LongChain,
    /// Nobody who is trusted has issued its certificate.
    UnknownIssuer,
    /// Its certificate is not valid any more, or not yet.
    Expired,
    /// Its certificate was revoked.
    Revoked,
    /// No list says whether its certificate was revoked, or it has expired.
    UnknownRevocation,
    /// Its certificate is not for the name that it should have.
    WrongName,
    /// It shows the certificate of a CA as its own.
    CaCertificate,
    /// Its certificate cannot be used otherwise.
    BadCertificate,
    /// It has only older versions.
    Version,
    /// It has no cipher suite, group or signature in common with this side.
    NothingInCommon,
    /// It asks for a server by something else than the name of a host.
    ServerName,
    /// It has ended the handshake by an alert of its own.
    Told,
    /// It broke the protocol.
    Protocol,
}

impl fmt::Display for TlsViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            // an error of this crate, which rustls would show as Rust does
            rustls::Error::InvalidCertificate(rustls::CertificateError::Other(own)) => {
                write!(f, "TLS: {}", own.0)
            }
            error => write!(f, "TLS: {error}"),
        }
    }
}

impl Error for TlsViolation {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

// ===== conversions =====

impl From<TlsViolation> for io::Error {
    fn from(violation: TlsViolation) -> Self {
        Self::new(io::ErrorKind::InvalidData, violation)
    }
}

impl From<TlsViolation> for TlsCause {
    fn from(violation: TlsViolation) -> Self {
        Self::Violation(violation)
    }
}

impl From<io::Error> for TlsCause {
    fn from(error: io::Error) -> Self {
        match error.downcast() {
            Ok(violation) => Self::Violation(violation),
            Err(error) => Self::Io(error),
        }
    }
}
