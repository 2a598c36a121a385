//! Other protocols that arrive on an MQTT connection, recognised by their first bytes.

use core::fmt;

/// A protocol that is not MQTT.
///
/// ```
/// use mproxy_codec::Foreign;
/// let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc";
/// assert_eq!(Foreign::recognise(hello), Some(Foreign::Tls));
/// assert_eq!(Foreign::recognise(b"\x10\x0c\x00\x04MQTT"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Foreign {
    /// A TLS handshake record (RFC 8446 section 5.1).
    Tls,
    /// A TLS alert: a peer that expected TLS.
    TlsAlert,
    /// The PROXY protocol, version 1 or 2, in front of something else.
    ProxyProtocol,
    /// An HTTP request, a WebSocket upgrade too.
    HttpRequest,
    /// An HTTP response.
    HttpResponse,
    /// SSH (RFC 4253 section 4.2).
    Ssh,
}

/// The signature of the PROXY protocol, version 2.
const PROXY_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Methods of HTTP/1.1 and the preface of HTTP/2.
const HTTP_METHODS: [&[u8]; 10] = [
    b"GET ",
    b"POST ",
    b"HEAD ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"TRACE ",
    b"CONNECT ",
    b"PRI * HTTP/2",
];

impl Foreign {
    /// The protocol of these first bytes of a connection; `None` if there are too few of them, or
    /// if it is none of these protocols.
    #[must_use]
    pub fn recognise(first: &[u8]) -> Option<Self> {
        match first {
            [0x16, 3, 0..=4, ..] => Some(Self::Tls),
            [0x15, 3, 0..=4, ..] => Some(Self::TlsAlert),
            [b'S', b'S', b'H', b'-', ..] => Some(Self::Ssh),
            [b'H', b'T', b'T', b'P', b'/', ..] => Some(Self::HttpResponse),
            _ if first.starts_with(b"PROXY ") || first.starts_with(PROXY_V2) => {
                Some(Self::ProxyProtocol)
            }
            _ if HTTP_METHODS.iter().any(|method| first.starts_with(method)) => {
                Some(Self::HttpRequest)
            }
            _ => None,
        }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "a TLS handshake",
            Self::TlsAlert => "a TLS alert",
            Self::ProxyProtocol => "a PROXY protocol header",
            Self::HttpRequest => "an HTTP request",
            Self::HttpResponse => "an HTTP response",
            Self::Ssh => "SSH",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_is_told_by_its_first_bytes() {
        for (first, expected) in [
            (&b"\x16\x03\x01\x02\x00\x01"[..], Some(Foreign::Tls)),
            (b"\x15\x03\x03\x00\x02\x02\x46", Some(Foreign::TlsAlert)),
            (b"PROXY TCP4 192.0.2.1 ", Some(Foreign::ProxyProtocol)),
            (
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11",
                Some(Foreign::ProxyProtocol),
            ),
            (b"GET / HTTP/1.1\r\n", Some(Foreign::HttpRequest)),
            (b"PRI * HTTP/2.0\r\n", Some(Foreign::HttpRequest)),
            (b"CONNECT a:1 HTTP/1.1", Some(Foreign::HttpRequest)),
            (b"HTTP/1.1 400 Bad Request", Some(Foreign::HttpResponse)),
            (b"SSH-2.0-OpenSSH_9.2", Some(Foreign::Ssh)),
            (b"", None),
            (b"\x16", None),
            (b"PROX", None),
            (b"\x10\x0c\x00\x04MQTT", None),
            (b"\x20\x02\x00\x00", None),
        ] {
            assert_eq!(Foreign::recognise(first), expected, "{first:02x?}");
        }
    }

    /// No valid first MQTT packet is mistaken for another protocol.
    #[test]
    fn no_connect_and_no_connack_is_foreign() {
        for first in [0x10, 0x1f, 0x20, 0x2f] {
            for second in 0..=255 {
                assert_eq!(Foreign::recognise(&[first, second, 0, 4, b'M']), None);
            }
        }
    }
}
