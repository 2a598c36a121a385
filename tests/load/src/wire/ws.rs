//! The client's half of WebSocket, made by hand so that it costs the generator next to nothing.
//!
//! Outgoing frames are masked once, when a message is prepared, and sent many times. Incoming
//! payload is handed on in place.

use super::ScanError;

/// The mask of every frame. Random masks protect proxies from hostile pages, which a generator
/// is not; the receiver's work is the same.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Key of RFC 6455, 1.3, and the answer that it must get.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The longest answer to the upgrade that is read.
const MAX_RESPONSE: usize = 16 * 1024;

const BINARY: u8 = 2;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;

/// What the server did wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WsError {
    #[error("the upgrade was answered by `{0}`")]
    Refused(String),
    #[error("the server sent a text, a masked or an overlong frame")]
    Frame,
    #[error(transparent)]
    Scan(#[from] ScanError),
}

/// The HTTP request that opens a WebSocket for MQTT.
pub(crate) fn upgrade_request(path: &str, host: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: mqtt\r\n\r\n"
    )
    .into_bytes()
}

/// Appends one masked binary frame.
pub(crate) fn client_frame(out: &mut Vec<u8>, payload: &[u8]) {
    out.push(0x80 | BINARY);
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len @ 126..0x1_0000 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
}

/// Gathers the answer to the upgrade request.
#[derive(Debug, Default)]
pub(crate) struct Handshake(Vec<u8>);

impl Handshake {
    /// Takes bytes; once the answer is complete, gives back what came behind it.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, WsError> {
        self.0.extend_from_slice(bytes);
        let Some(end) = self.0.windows(4).position(|window| window == b"\r\n\r\n") else {
            return if self.0.len() > MAX_RESPONSE {
                Err(self.refused())
            } else {
                Ok(None)
            };
        };
        let head = &self.0[..end];
        let accepted = head.windows(ACCEPT.len()).any(|window| window == ACCEPT);
        if !head.starts_with(b"HTTP/1.1 101 ") || !accepted {
            return Err(self.refused());
        }
        Ok(Some(self.0.split_off(end + 4)))
    }

    fn refused(&self) -> WsError {
        let line = self
            .0
            .split(|&byte| byte == b'\r')
            .next()
            .unwrap_or_default();
        WsError::Refused(line.escape_ascii().to_string())
    }
}

/// Takes the frames off what a server sends.
#[derive(Debug, Default)]
pub(crate) struct Deframer {
    /// A frame head that is not complete.
    head: Vec<u8>,
    /// Payload bytes to come of the current frame.
    left: u64,
    /// The current frame is a ping, a pong or a close: its payload is no MQTT.
    control: bool,
}

impl Deframer {
    /// Calls `on` with each run of payload.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut on: impl FnMut(&[u8]) -> Result<(), ScanError>,
    ) -> Result<(), WsError> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let len = usize::try_from(self.left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                let (payload, rest) = bytes.split_at(len);
                if !self.control {
                    on(payload)?;
                }
                self.left -= len as u64;
                bytes = rest;
                continue;
            }
            self.head.push(bytes[0]);
            bytes = &bytes[1..];
            if let Some((opcode, len)) = frame_head(&self.head)? {
                self.control = opcode >= 8;
                self.left = len;
                self.head.clear();
            }
        }
        Ok(())
    }
}

/// Opcode and payload length, once the head is complete.
fn frame_head(head: &[u8]) -> Result<Option<(u8, u64)>, WsError> {
    let &[first, second, ref rest @ ..] = head else {
        return Ok(None);
    };
    let opcode = first & 0x0f;
    let known = matches!(opcode, BINARY | CONTINUATION | 8..=10);
    if opcode == TEXT || !known || second & 0x80 != 0 {
        return Err(WsError::Frame);
    }
    Ok(match second {
        126 => rest
            .first_chunk()
            .map(|len| (opcode, u16::from_be_bytes(*len).into())),
        127 => rest
            .first_chunk()
            .map(|len| (opcode, u64::from_be_bytes(*len))),
        len => Some((opcode, len.into())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_masked_and_of_every_length_form() {
        for (len, head) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let mut out = Vec::new();
            client_frame(&mut out, &payload);
            assert_eq!(out.len(), head + 4 + len, "payload of {len}");
            let unmasked: Vec<u8> = out[head + 4..]
                .iter()
                .zip(out[head..head + 4].iter().cycle())
                .map(|(byte, mask)| byte ^ mask)
                .collect();
            assert_eq!(unmasked, payload);
        }
    }

    #[test]
    fn payload_is_the_same_however_the_stream_is_cut() {
        let mut stream = b"\x82\x03abc\x89\x01!\x02\x7e\x00\x80".to_vec();
        stream.extend_from_slice(&[b'd'; 128]);
        stream.extend_from_slice(b"\x80\x7f\x00\x00\x00\x00\x00\x00\x00\x01e");
        let expected = [b"abc".as_slice(), &[b'd'; 128], b"e"].concat();
        for piece in 1..stream.len() {
            let mut deframer = Deframer::default();
            let mut seen = Vec::new();
            for bytes in stream.chunks(piece) {
                deframer
                    .feed(bytes, |payload| {
                        seen.extend_from_slice(payload);
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(seen, expected, "pieces of {piece}");
        }
        let text = Deframer::default().feed(b"\x81\x01a", |_| Ok(()));
        assert_eq!(text, Err(WsError::Frame));
    }

    #[test]
    fn the_upgrade_is_checked() {
        let mut handshake = Handshake::default();
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: \
            s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nrest";
        assert_eq!(handshake.feed(&answer[..40]), Ok(None));
        assert_eq!(handshake.feed(&answer[40..]), Ok(Some(b"rest".to_vec())));
        let refused = Handshake::default().feed(b"HTTP/1.1 404 Not Found\r\n\r\n");
        assert_eq!(
            refused,
            Err(WsError::Refused("HTTP/1.1 404 Not Found".to_owned()))
        );
    }
}
