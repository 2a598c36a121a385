//! Reads a header, and not a byte of what follows it.
//!
//! The bytes are looked at first. What certainly belongs to the header is then taken, so that TLS begins
//! at its first byte, and a peer that sends single bytes wakes the task once per byte.

use std::time::Duration;

use mproxy_patience::timeout;
use tokio::io::AsyncReadExt;

use super::{ProxyCause, ProxyError, ProxyHeader};
use crate::{beginning::Beginning, stream::Stream};

/// Which headers are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AcceptProxy {
    /// None: nothing is read.
    #[default]
    Off,
    /// Either version, and connections without a header.
    Optional,
    /// Version 1 only.
    V1,
    /// Version 2 only.
    V2,
    /// Either version.
    Required,
}

/// Reads the header at the beginning of a connection; `None` if there is none, and none is required.
///
/// The first byte decides whether there is one: nothing else that a listener serves begins with the `P` of
/// version 1 or the carriage return of version 2. A header has at most 107 bytes in version 1, and 16 and at
/// most 536 more in version 2.
///
/// # Errors
/// A header that is missing, incomplete, not valid or not accepted. What was read of it is lost, so the
/// connection is of no further use.
///
/// # Cancel safety
/// Not cancel-safe: a part of the header may be lost.
pub fn read_proxy_header(
    stream: &mut Stream,
    accept: AcceptProxy,
    patience: Duration,
) -> impl Future<Output = Result<Option<ProxyHeader>, ProxyError>> + Send {
    // Boxed: the caller's task is kept for the session's life.
    Box::pin(async move {
        if accept == AcceptProxy::Off {
            return Ok(None);
        }
        let mut beginning = Beginning::default();
        let read = read(stream, accept, &mut beginning);
        match timeout(patience, read)
            .await
            .unwrap_or(Err(ProxyCause::TimedOut))
        {
            Ok(header) => Ok(Some(header)),
            Err(ProxyCause::Missing) if accept == AcceptProxy::Optional => Ok(None),
            Err(cause) => Err(ProxyError::new(cause, beginning)),
        }
    })
}

async fn read(
    stream: &mut Stream,
    accept: AcceptProxy,
    beginning: &mut Beginning,
) -> Result<ProxyHeader, ProxyCause> {
    let mut room = [0; MAX_V2];
    let mut len = 0;
    loop {
        let seen = len
            + stream
                .peek(&mut room[len..])
                .await
                .map_err(ProxyCause::Io)?;
        if seen == len {
            return Err(ProxyCause::Closed);
        }
        let extent = extent(&room[..seen], accept);
        let extent = extent.inspect_err(|_| beginning.add(&room[len..seen]))?;
        let (Extent::Part(end) | Extent::Whole(end)) = extent;
        // not into more room than it fills: tokio would take the socket for empty
        let taken = stream.read(&mut room[len..end]).await;
        let taken = taken.map_err(ProxyCause::Io)?;
        beginning.add(&room[len..len + taken]);
        len += taken;
        if extent == Extent::Whole(len) {
            return ProxyHeader::parse(&room[..len]);
        }
    }
}

/// How many of the bytes that were seen belong to a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// All of it has come.
    Whole(usize),
    /// There is more to come.
    Part(usize),
}

/// Finds the end of the header that `bytes` begin with; there is at least one byte.
fn extent(bytes: &[u8], accept: AcceptProxy) -> Result<Extent, ProxyCause> {
    let (signature, version) = match bytes.first() {
        Some(b'P') => (&b"PROXY "[..], 1),
        Some(b'\r') => (&b"\r\n\r\n\0\r\nQUIT\n"[..], 2),
        _ => return Err(ProxyCause::Missing),
    };
    if !bytes.starts_with(&signature[..signature.len().min(bytes.len())]) {
        return Err(ProxyCause::Invalid);
    }
    match (accept, version) {
        (AcceptProxy::V1, 2) | (AcceptProxy::V2, 1) => return Err(ProxyCause::Version(version)),
        _ => {}
    }
    if version == 1 {
        let line = &bytes[..bytes.len().min(MAX_V1)];
        return match line.iter().position(|&byte| byte == b'\n') {
            Some(end) => Ok(Extent::Whole(end + 1)),
            None if line.len() == MAX_V1 => Err(ProxyCause::TooLarge(MAX_V1)),
            None => Ok(Extent::Part(line.len())),
        };
    }
    let Some([.., high, low]) = bytes.first_chunk::<HEAD_V2>() else {
        return Ok(Extent::Part(bytes.len()));
    };
    let end = HEAD_V2 + usize::from(u16::from_be_bytes([*high, *low]));
    match bytes.len() {
        _ if end > MAX_V2 => Err(ProxyCause::TooLarge(MAX_V2)),
        len if len < end => Ok(Extent::Part(len)),
        _ => Ok(Extent::Whole(end)),
    }
}

/// The longest line of version 1, by its definition.
const MAX_V1: usize = 107;

/// What every header of version 2 has: signature, version and command, family, length.
const HEAD_V2: usize = 16;

/// The longest header of version 2. Addresses have 36 bytes, or 216 of Unix sockets; HAProxy with all its
/// options adds less than 300.
const MAX_V2: usize = HEAD_V2 + 536;

#[cfg(test)]
mod tests {
    use super::*;

    /// What is taken of a beginning, as if it had come byte by byte.
    fn end(bytes: &[u8]) -> Result<usize, String> {
        for len in 1..=bytes.len() {
            match extent(&bytes[..len], AcceptProxy::Required).map_err(|it| it.to_string())? {
                Extent::Whole(end) => return Ok(end),
                Extent::Part(part) => assert_eq!(part, len, "a byte was left"),
            }
        }
        Err("more to come".to_owned())
    }

    #[test]
    fn a_header_ends_where_it_says() {
        let v1 = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n\x10\x0c\0\x04MQTT";
        assert_eq!(end(v1), Ok(36));
        assert_eq!(end(b"PROXY UNKNOWN\r\n\x10"), Ok(15));
        assert_eq!(end(b"PROXY TCP4 192.0.2.1 "), Err("more to come".into()));
        let v2 = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\x03abc\x10";
        assert_eq!(end(v2), Ok(19));
        for bytes in [&v1[..], v2] {
            // all at once: the rest is left
            let whole = extent(bytes, AcceptProxy::Required).ok();
            assert_eq!(whole, end(bytes).ok().map(Extent::Whole));
        }
    }

    #[test]
    fn a_header_has_a_bound() {
        let line = [&b"PROXY UNKNOWN "[..], &[b'a'; 91], b"\r\n"].concat();
        assert_eq!((line.len(), end(&line)), (MAX_V1, Ok(MAX_V1)));
        let too_long = "the PROXY protocol header has more than 107 bytes";
        let line = [&b"PROXY UNKNOWN "[..], &[b'a'; 200]].concat();
        assert_eq!(end(&line), Err(too_long.into()));
        let head = |len: u16| [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11"[..], &len.to_be_bytes()].concat();
        // known before any of it has come
        let too_long = "the PROXY protocol header has more than 552 bytes";
        assert_eq!(end(&head(537)), Err(too_long.into()));
        assert_eq!(end(&head(u16::MAX)), Err(too_long.into()));
        assert_eq!(end(&head(536)), Err("more to come".into()));
    }

    #[test]
    fn only_the_accepted_version_is_read() {
        let (v1, v2) = (&b"PROXY"[..], &b"\r\n\r\n"[..]);
        let refused = |bytes: &[u8], accept| match extent(bytes, accept) {
            Ok(_) => None,
            Err(cause) => Some(cause.to_string()),
        };
        let of = |version| Some(format!("a PROXY protocol header of version {version}"));
        assert_eq!(refused(v1, AcceptProxy::V1), None);
        assert_eq!(refused(v2, AcceptProxy::V1), of(2));
        assert_eq!(refused(v1, AcceptProxy::V2), of(1));
        assert_eq!(refused(v2, AcceptProxy::V2), None);
        for accept in [AcceptProxy::Optional, AcceptProxy::Required] {
            assert_eq!((refused(v1, accept), refused(v2, accept)), (None, None));
            for other in [&b"\x10\x0c\0\x04MQTT"[..], b"\x16\x03\x01", b"GET /mqtt"] {
                let missing = ProxyCause::Missing.to_string();
                assert_eq!(refused(other, accept), Some(missing));
            }
            for other in [&b"POST / HTTP/1.1"[..], b"\r\nGET /mqtt"] {
                let invalid = ProxyCause::Invalid.to_string();
                assert_eq!(refused(other, accept), Some(invalid));
            }
        }
    }
}
