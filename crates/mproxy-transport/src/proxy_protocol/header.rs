//! What a header says, from bytes and to bytes.

use std::net::{IpAddr, SocketAddr};

use proxy_header::{ParseConfig, Protocol, ProxiedAddress, ProxyHeader as Wire, SslInfo, Tlv};

use super::ProxyCause;
use crate::addr::ClientAddr;

/// What a header says about a connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ProxyHeader {
    /// The client, and the address that it connected to. `None` if the sender does not know them, or speaks
    /// for itself, as in its health checks (`LOCAL`, `UNKNOWN`).
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// The TLS between the client and the sender, if the header says that there was some.
    pub tls: Option<ProxyTls>,
}

/// TLS that ended at the sender of a header.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ProxyTls {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: String,
    /// The cipher suite.
    pub cipher: String,
    /// The server name that the client asked for (SNI).
    pub server_name: Option<String>,
    /// Whether the client has shown a certificate, which the sender has verified.
    pub is_verified: bool,
    /// The common name (CN) of that certificate.
    pub common_name: Option<String>,
}

/// What is sent in front of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SendProxy {
    /// Nothing.
    #[default]
    Off,
    /// A header of version 1.
    V1,
    /// A header of version 2 with the addresses.
    V2,
    /// A header of version 2 that also says what is known about TLS.
    V2Tls,
}

impl ProxyHeader {
    /// A header for a client that connected to `destination`.
    pub fn new(client: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            addresses: Some((client, destination)),
            tls: None,
        }
    }

    /// Reads a whole header.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ProxyCause> {
        // what else a LOCAL header says must be ignored
        if bytes.get(12) == Some(&LOCAL) && bytes.first() == Some(&b'\r') {
            return Ok(Self::default());
        }
        let parsed = Wire::parse(bytes, ParseConfig::default());
        // the bytes are complete, so that one too short is as wrong as any other
        let (wire, _) = parsed.map_err(|_| ProxyCause::Invalid)?;
        let addresses = match wire.proxied_address() {
            Some(it) if it.protocol == Protocol::Stream => {
                Some((canonical(it.source), canonical(it.destination)))
            }
            Some(_) => return Err(ProxyCause::Invalid),
            None => None,
        };
        let mut header = Self {
            addresses,
            tls: None,
        };
        let mut server_name = None;
        for tlv in wire.tlvs() {
            match tlv.map_err(|_| ProxyCause::Invalid)? {
                Tlv::Authority(name) => server_name = Some(name.into_owned()),
                Tlv::Ssl(info) => header.tls = ProxyTls::parse(&info)?,
                _ => {}
            }
        }
        if let Some(tls) = &mut header.tls {
            tls.server_name = server_name;
        }
        Ok(header)
    }

    /// The bytes to send, without texts that are too long: at most 516 bytes.
    pub fn encode(&self, version: SendProxy) -> Vec<u8> {
        let mut bytes = Vec::new();
        let addresses = self.addresses.map(|(client, destination)| {
            let is_mixed = client.is_ipv4() != destination.is_ipv4();
            let [client, destination] = [client, destination].map(|it| match it.ip() {
                IpAddr::V4(ip) if is_mixed => (ip.to_ipv6_mapped(), it.port()).into(),
                _ => it,
            });
            ProxiedAddress::stream(client, destination)
        });
        let mut wire = Wire::with_tlvs(addresses, []);
        let encoded = match version {
            SendProxy::Off => return bytes,
            SendProxy::V1 => wire.encode_v1(&mut bytes),
            SendProxy::V2 => wire.encode_v2(&mut bytes),
            SendProxy::V2Tls => {
                if let (Some(tls), Some(_)) = (&self.tls, self.addresses) {
                    tls.append_to(&mut wire);
                }
                wire.encode_v2(&mut bytes)
            }
        };
        encoded.expect("two addresses of one family, and bounded texts");
        bytes
    }
}

impl ProxyTls {
    fn parse(info: &SslInfo<'_>) -> Result<Option<Self>, ProxyCause> {
        if info.tlvs().any(|tlv| tlv.is_err()) {
            return Err(ProxyCause::Invalid);
        }
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let has_certificate = info.client_cert_conn() || info.client_cert_sess();
        let is_verified = has_certificate && info.verify() == 0 && info.cn().is_none_or(is_name);
        Ok(info.client_ssl().then(|| Self {
            version: text(info.version()),
            cipher: text(info.cipher()),
            server_name: None,
            is_verified,
            common_name: info.cn().filter(|_| is_verified).map(str::to_owned),
        }))
    }

    fn append_to(&self, wire: &mut Wire<'_>) {
        let fits = |text: &&str, max| text.len() <= max;
        let name = self.common_name.as_deref().unwrap_or_default();
        // without its name, the certificate must not count as one
        let is_verified = self.is_verified && fits(&name, MAX_COMMON_NAME) && is_name(name);
        let mut info = SslInfo::new(true, is_verified, is_verified, u32::from(!is_verified));
        if let Some(version) = Some(&*self.version).filter(|it| fits(it, MAX_VERSION)) {
            info.append_tlv(Tlv::SslVersion(version.into()));
        }
        if let Some(cipher) = Some(&*self.cipher).filter(|it| fits(it, MAX_CIPHER)) {
            info.append_tlv(Tlv::SslCipher(cipher.into()));
        }
        if is_verified && !name.is_empty() {
            info.append_tlv(Tlv::SslCn(name.into()));
        }
        wire.append_tlv(Tlv::Ssl(info));
        let server_name = self.server_name.as_deref();
        if let Some(name) = server_name.filter(|it| fits(it, MAX_SERVER_NAME)) {
            wire.append_tlv(Tlv::Authority(name.into()));
        }
    }
}

/// A NUL would end it early for a receiver in C, and make it the name of another client.
fn is_name(name: &str) -> bool {
    !name.contains(char::is_control)
}

/// An IPv4 client of an IPv6 socket is one of IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    ClientAddr::from(address).socket_addr().unwrap_or(address)
}

/// Version 2, command LOCAL.
const LOCAL: u8 = 0x20;

/// The longest texts that are sent, in bytes. With these, a header stays below the 500 bytes that mosquitto
/// accepts behind the first 16.
const MAX_COMMON_NAME: usize = 255;
const MAX_SERVER_NAME: usize = 120;
const MAX_CIPHER: usize = 48;
const MAX_VERSION: usize = 7;

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "192.0.2.1:5000";
    const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    fn header(client: &str, destination: &str) -> ProxyHeader {
        ProxyHeader::new(client.parse().unwrap(), destination.parse().unwrap())
    }

    fn parse(bytes: &[u8]) -> Option<ProxyHeader> {
        ProxyHeader::parse(bytes).ok()
    }

    /// A header of version 2: command, family, and what follows the length.
    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [V2, &[command, family], &len, rest].concat()
    }

    #[test]
    fn what_is_written_can_be_read() {
        for (client, destination) in [
            (CLIENT, "192.0.2.2:1883"),
            ("[2001:db8::1]:1", "[2001:db8::2]:65535"),
        ] {
            let header = header(client, destination);
            for version in [SendProxy::V1, SendProxy::V2, SendProxy::V2Tls] {
                assert_eq!(parse(&header.encode(version)), Some(header.clone()));
            }
        }
        let nobody = ProxyHeader::default();
        assert_eq!(nobody.encode(SendProxy::Off), b"");
        assert_eq!(nobody.encode(SendProxy::V1), b"PROXY UNKNOWN\r\n");
        assert_eq!(nobody.encode(SendProxy::V2), v2(0x20, 0, b""));
    }

    /// A client whose address comes from X-Forwarded-For may be of another family than the listener.
    #[test]
    fn addresses_of_two_families_are_written_as_ipv6() {
        let header = header(CLIENT, "[2001:db8::2]:1883");
        let v1 = header.encode(SendProxy::V1);
        assert_eq!(v1, b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 5000 1883\r\n");
        for version in [SendProxy::V1, SendProxy::V2] {
            assert_eq!(parse(&header.encode(version)), Some(header.clone()));
        }
    }

    #[test]
    fn tls_is_written_as_mosquitto_reads_it() {
        let mut sent = header(CLIENT, "192.0.2.2:1883");
        sent.tls = Some(ProxyTls {
            version: "TLSv1.3".to_owned(),
            cipher: "TLS_AES_128_GCM_SHA256".to_owned(),
            server_name: Some("mqtt.example.com".to_owned()),
            is_verified: true,
            common_name: Some("device-7".to_owned()),
        });
        let addresses = [192, 0, 2, 1, 192, 0, 2, 2, 0x13, 0x88, 0x07, 0x5b];
        let tls = b"\x20\0\x33\x07\0\0\0\0\x21\0\x07TLSv1.3\x23\0\x16TLS_AES_128_GCM_SHA256\
                    \x22\0\x08device-7\x02\0\x10mqtt.example.com";
        let expected = v2(0x21, 0x11, &[&addresses[..], tls].concat());
        assert_eq!(sent.encode(SendProxy::V2Tls), expected);
        assert_eq!(parse(&expected), Some(sent.clone()));
        sent.tls = None;
        let plain = v2(0x21, 0x11, &addresses);
        assert_eq!(sent.encode(SendProxy::V2Tls), plain);
    }

    /// The broker would take a certificate without a name for one, and let the client choose its user name.
    #[test]
    fn a_name_that_does_not_fit_is_no_certificate() {
        let tls = |len| ProxyTls {
            version: "TLSv1.3".to_owned(),
            cipher: "c".repeat(MAX_CIPHER),
            server_name: Some("s".repeat(MAX_SERVER_NAME)),
            is_verified: true,
            common_name: Some("n".repeat(len)),
        };
        let mut sent = header("[2001:db8::1]:1", "[2001:db8::2]:2");
        sent.tls = Some(tls(MAX_COMMON_NAME));
        let bytes = sent.encode(SendProxy::V2Tls);
        assert!(bytes.len() <= 16 + 500, "{}", bytes.len());
        assert_eq!(parse(&bytes), Some(sent.clone()));
        sent.tls = Some(tls(MAX_COMMON_NAME + 1));
        let told = parse(&sent.encode(SendProxy::V2Tls)).unwrap().tls.unwrap();
        assert_eq!((told.is_verified, told.common_name), (false, None));
    }

    /// A version of 70,000 bytes, which a library user had set, was a panic, and one of 600 made a header that
    /// mosquitto refuses.
    #[test]
    fn a_header_has_at_most_516_bytes_whatever_its_texts_are() {
        let mut sent = header("[2001:db8::1]:1", "[2001:db8::2]:2");
        for len in [8, 255, 600, 70_000] {
            sent.tls = Some(ProxyTls {
                version: "v".repeat(len),
                cipher: "c".repeat(len),
                server_name: Some("s".repeat(len)),
                is_verified: true,
                common_name: Some("n".repeat(len)),
            });
            for version in [SendProxy::V1, SendProxy::V2, SendProxy::V2Tls] {
                let bytes = sent.encode(version);
                assert!(bytes.len() <= 16 + 500, "{len}: {}", bytes.len());
                assert!(parse(&bytes).is_some());
            }
        }
    }

    /// `admin\0.device-7` is `admin` for a receiver in C.
    #[test]
    fn a_name_with_control_characters_is_no_certificate() {
        let mut sent = header(CLIENT, "192.0.2.2:1883");
        sent.tls = Some(ProxyTls {
            is_verified: true,
            common_name: Some("admin\0.device-7".to_owned()),
            ..ProxyTls::default()
        });
        let told = parse(&sent.encode(SendProxy::V2Tls)).unwrap().tls.unwrap();
        assert_eq!((told.is_verified, told.common_name), (false, None));
        let tlv = b"\x20\0\x0c\x07\0\0\0\0\x22\0\x04a\0bc";
        let read = parse(&v2(0x21, 0x11, &[&[0; 12], &tlv[..]].concat())).unwrap();
        let told = read.tls.unwrap();
        assert_eq!((told.is_verified, told.common_name), (false, None));
    }

    #[test]
    fn a_certificate_that_was_not_verified_has_no_name() {
        let ssl = |client: u8, verify: u8| {
            let cn = b"\x22\0\x03cn1";
            let tlv = [&[0x20, 0, 11, client, 0, 0, 0, verify], &cn[..]].concat();
            let header = v2(0x21, 0x11, &[&[0; 12], &tlv[..]].concat());
            parse(&header)
                .unwrap()
                .tls
                .map(|it| (it.is_verified, it.common_name))
        };
        let name = Some("cn1".to_owned());
        assert_eq!(ssl(7, 0), Some((true, name.clone())));
        assert_eq!(ssl(5, 0), Some((true, name)));
        assert_eq!(ssl(7, 1), Some((false, None)));
        assert_eq!(ssl(1, 0), Some((false, None)));
        assert_eq!(ssl(0, 0), None);
    }

    #[test]
    fn an_address_of_both_families_is_one_of_ipv4() {
        let v1 = b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 5000 1883\r\n";
        assert_eq!(parse(v1), Some(header(CLIENT, "192.0.2.2:1883")));
    }

    #[test]
    fn a_sender_need_not_know_the_client() {
        for bytes in [
            b"PROXY UNKNOWN\r\n".to_vec(),
            b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
            v2(0x20, 0, b""),
            // what a LOCAL header says of addresses is to be ignored
            v2(0x20, 0x11, &[1; 12]),
            v2(0x20, 0x11, b""),
            v2(0x21, 0, b""),
            // Unix sockets
            v2(0x21, 0x31, &[0; 216]),
        ] {
            assert_eq!(parse(&bytes), Some(ProxyHeader::default()), "{bytes:?}");
        }
    }

    #[test]
    fn what_breaks_the_protocol_is_refused() {
        let tlv = |tlv: &[u8]| v2(0x21, 0x11, &[&[1; 12], tlv].concat());
        for bytes in [
            b"PROXY \r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n".to_vec(),
            b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(),
            b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(),
            // another version, another command, an unknown family, datagrams
            v2(0x31, 0x11, &[1; 12]),
            v2(0x22, 0x11, &[1; 12]),
            v2(0x21, 0x41, &[1; 12]),
            v2(0x21, 0x12, &[1; 12]),
            // too short for their family
            v2(0x21, 0x11, &[1; 11]),
            v2(0x21, 0x21, &[1; 12]),
            v2(0x21, 0x31, &[1; 215]),
            // fields that run past the end, also those within the field about TLS
            tlv(&[4]),
            tlv(&[4, 0, 1]),
            tlv(&[3, 0, 1, 1]),
            tlv(&[0x20, 0, 4, 1, 0, 0, 0]),
            tlv(&[0x20, 0, 8, 1, 0, 0, 0, 0, 0x22, 0, 1]),
        ] {
            assert_eq!(parse(&bytes), None, "{}", bytes.escape_ascii());
        }
        assert!(parse(&tlv(&[4, 0, 0])).is_some());
    }
}
