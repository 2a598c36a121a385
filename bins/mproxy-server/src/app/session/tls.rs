//! What an operator can do about TLS handshakes that fail.

use mproxy_codec::{ConnectGlimpse, Foreign};
use mproxy_transport::{TlsCause, TlsError, TlsFault};

use crate::app::foreign::of_client;

/// What happened, and what to change.
pub(super) fn account(error: &TlsError) -> (String, Option<&'static str>) {
    let first = error.first_bytes();
    if ConnectGlimpse::of(first).level.is_some() {
        return (
            "a CONNECT without TLS".to_owned(),
            Some("set up TLS in the client, or let it connect to a listener without TLS"),
        );
    }
    if let Some(foreign) = Foreign::recognise(first).filter(|it| *it != Foreign::Tls) {
        return (
            format!("{foreign} instead of a TLS handshake"),
            Some(match foreign {
                Foreign::ProxyProtocol => of_client(foreign),
                _ => {
                    "set up TLS in the client: an address that begins with https://, wss:// or mqtts://"
                }
            }),
        );
    }
    let remedy = match error.cause() {
        TlsCause::Violation(violation) => remedy(violation.fault()),
        TlsCause::TimedOut => Some(
            "the client began a handshake and did not finish it: check the network, or raise \
             listeners.NAME.limits.connect_timeout",
        ),
        TlsCause::Closed => Some(
            "the client does not say why; usually it does not trust the certificate of listeners.NAME.tls: \
             give it the CA, and a name that is in the certificate",
        ),
        TlsCause::TooLarge(_) => remedy(TlsFault::LongChain),
        TlsCause::HelloTooLarge(_) | TlsCause::HelloInPieces(_) => Some(
            "no TLS library sends such a ClientHello: find out what the client is, or block it",
        ),
        _ => None,
    };
    (error.to_string(), remedy)
}

/// What to change, and where; `NAME` is the listener's.
const fn remedy(fault: TlsFault) -> Option<&'static str> {
    Some(match fault {
        TlsFault::NoCertificate => {
            "give the client a certificate, or set listeners.NAME.tls.client_auth to \"optional\""
        }
        TlsFault::LongChain => {
            "the client sends too many certificates, or too large ones: only those between its own and \
             the CA belong in its file"
        }
        TlsFault::UnknownIssuer => {
            "the certificate of the client is from a CA that is not in listeners.NAME.tls.client_ca, or a \
             certificate between it and that CA is missing in what the client sends"
        }
        TlsFault::Expired => {
            "renew the certificate of the client, and check the clocks of both sides"
        }
        TlsFault::Revoked => "the certificate was revoked: give the client a new one, or block it",
        TlsFault::UnknownRevocation => {
            "no list of listeners.NAME.tls.revocation (crl_files, crl_urls) says anything about the issuer of \
             this certificate, or the list has expired: renew it, or see why it was not fetched"
        }
        TlsFault::CaCertificate => {
            "the client shows the certificate of a CA (CA:TRUE) as its own: issue another one, with `openssl req -x509` \
             by `-addext basicConstraints=critical,CA:FALSE`; listeners.NAME.tls.client_ca can name this very \
             certificate if there are no revocation lists"
        }
        TlsFault::BadCertificate => {
            "the certificate of the client cannot be used: it must be X.509 version 3, and if it has \
             extended key usages, client authentication among them"
        }
        TlsFault::Version => {
            "update the client, or lower listeners.NAME.tls.min_version if it is \"1.3\""
        }
        TlsFault::NothingInCommon => {
            "client and listener share no cipher suite, group or signature scheme: look at ciphers and groups of \
             listeners.NAME.tls, at the kind of key of its certificate, and at the client"
        }
        TlsFault::ServerName => {
            "the client asks for a server name (SNI) that is not the name of a host: let it ask for the host alone, \
             without scheme, port or wildcard, or for none"
        }
        TlsFault::Told => {
            "the client ended the handshake: it does not trust the certificate of listeners.NAME.tls, \
             mostly; give it the CA, and a name that is in the certificate"
        }
        _ => return None,
    })
}
