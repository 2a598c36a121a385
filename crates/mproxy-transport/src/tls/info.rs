//! What a handshake has agreed on.

use rustls::{HandshakeKind, ProtocolVersion, pki_types::CertificateDer};

use super::algorithms::cipher_name;

/// What a handshake has agreed on, and who the peer is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsInfo {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite, by its name of IANA.
    pub cipher: String,
    /// The key exchange group, likewise; none in a resumed session of TLS 1.2.
    pub group: Option<String>,
    /// The server that the client has asked for (SNI).
    pub server_name: Option<Box<str>>,
    /// The protocol that was agreed on (ALPN).
    pub alpn: Option<String>,
    /// Whether an earlier session was resumed.
    pub is_resumed: bool,
    /// The certificates of the peer in DER, its own first. They are verified.
    pub certificates: Vec<CertificateDer<'static>>,
}

impl TlsInfo {
    pub(super) fn of(connection: &rustls::CommonState, server_name: Option<Box<str>>) -> Self {
        let alpn = connection.alpn_protocol();
        let suite = connection.negotiated_cipher_suite();
        let group = connection.negotiated_key_exchange_group();
        Self {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                _ => "TLSv1.2",
            },
            cipher: suite.map_or_else(String::new, |it| cipher_name(it.suite())),
            group: group.map(|it| format!("{:?}", it.name())),
            server_name,
            alpn: alpn.map(|it| String::from_utf8_lossy(it).into_owned()),
            is_resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            certificates: connection.peer_certificates().unwrap_or_default().to_vec(),
        }
    }
}
