//! Why there is no answer about a certificate, and what to do.

use std::sync::Arc;

use mproxy_transport::{DialCause, FetchError, OcspError};

/// Why there is no valid answer about a certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Answer(#[from] OcspError),
    /// So many requests are under way that this one did not get its turn in time.
    #[error("{0} requests are under way, and none ended in time")]
    Crowded(usize),
    /// The responder has failed while this request waited for its turn.
    #[error("{0}")]
    Same(Arc<Self>),
    #[error("the request has ended without a result")]
    Stopped,
}

/// Whom a failure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// The responder: it answers nobody, for now.
    Responder,
    /// The certificate. Its client must not be able to keep the responder from being asked about others.
    Certificate,
    /// Neither.
    Us,
}

impl Failure {
    pub(super) fn about(&self) -> About {
        match self {
            Self::Fetch(FetchError::Status(status)) => {
                let is_busy = status.is_server_error() || status.as_u16() == TOO_MANY_REQUESTS;
                match is_busy {
                    true => About::Responder,
                    false => About::Certificate,
                }
            }
            Self::Fetch(FetchError::TooLarge(_)) => About::Certificate,
            Self::Fetch(_) => About::Responder,
            Self::Answer(error) if error.is_busy() => About::Responder,
            Self::Answer(_) => About::Certificate,
            Self::Crowded(_) | Self::Same(_) | Self::Stopped => About::Us,
        }
    }

    /// Whether no connection came about, which no certificate can be the cause of.
    pub(super) const fn is_of_network(&self) -> bool {
        matches!(self, Self::Fetch(FetchError::Dial(_)))
    }

    /// What to change, and where; `NAME` is the listener's.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::Fetch(FetchError::Dial(DialCause::Tls(_))) => {
                "the responder needs a certificate for its name, of a CA that the system trusts"
            }
            Self::Fetch(FetchError::Dial(_) | FetchError::TimedOut(_)) => {
                "check listeners.NAME.tls.revocation.ocsp_responder_url, the responder, and the network between \
                 mproxy and it"
            }
            Self::Fetch(_) => {
                "correct listeners.NAME.tls.revocation.ocsp_responder_url, or have the responder answer there"
            }
            Self::Answer(OcspError::NotAnAnswer) => {
                "listeners.NAME.tls.revocation.ocsp_responder_url must be the URL of a responder: see what it answers"
            }
            Self::Answer(OcspError::Busy(_)) => "look at the log of the responder",
            Self::Answer(OcspError::Expired(_) | OcspError::NotYetValid(_)) => {
                "have the responder sign newer answers, and check the clocks of both sides"
            }
            Self::Answer(OcspError::NoIssuer | OcspError::Unreadable) => {
                "add the certificate of the issuer to listeners.NAME.tls.client_ca, or have the client send it"
            }
            Self::Answer(_) => {
                "the responder of listeners.NAME.tls.revocation.ocsp_responder_url must be that of the CA in \
                 listeners.NAME.tls.client_ca, and sign with the key of the certificate's issuer, or with a \
                 certificate for OCSP signing from that issuer"
            }
            Self::Crowded(_) => {
                "the responder is too slow for so many clients: see whether it caches its answers, or raise \
                 listeners.NAME.tls.revocation.ocsp_timeout"
            }
            Self::Same(first) => first.remedy(),
            Self::Stopped => "please report it with this line",
        }
    }
}

/// RFC 6585, section 4.
const TOO_MANY_REQUESTS: u16 = 429;
