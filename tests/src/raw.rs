//! Peers that send the bytes of a connection as they are, in pieces of any size, and stop anywhere.
//!
//! [`Link`](crate::Link) sends frames; what is in one of these is up to the test, down to the first
//! byte of a WebSocket hand-shake.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::chance::Chance;
use crate::deadline::within;

/// What MQTT travels in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Nothing else.
    Tcp,
    /// Frames of a client, which are masked.
    WsClient,
    /// Frames of a server.
    WsServer,
}

/// The masking key; any will do.
const MASK: [u8; 4] = [0xa1, 0x5e, 0x00, 0xff];

/// The request that opens a WebSocket.
pub const UPGRADE: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: proxy\r\nConnection: Upgrade\r\n\
Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
Sec-WebSocket-Protocol: mqtt\r\n\r\n";

impl Framing {
    /// A packet as it is sent. `variant` chooses where frames begin: MQTT does not care
    /// [MQTT-6.0.0-2].
    #[must_use]
    pub fn wrap(self, packet: &[u8], variant: usize) -> Vec<u8> {
        let (first, second) = packet.split_at(packet.len() / 2);
        match (self, variant % 3) {
            (Self::Tcp, _) => packet.to_vec(),
            (_, 0) => self.frame(0x82, packet),
            // two messages
            (_, 1) => [self.frame(0x82, first), self.frame(0x82, second)].concat(),
            // one message in two fragments, with a ping between them
            _ => [
                self.frame(0x02, first),
                self.frame(0x89, b"ping"),
                self.frame(0x80, second),
            ]
            .concat(),
        }
    }

    fn frame(self, first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = if self == Self::WsClient { 0x80 } else { 0 };
        let mut frame = vec![first];
        match u8::try_from(payload.len()) {
            Ok(len @ 0..126) => frame.push(mask | len),
            _ => {
                let len = u16::try_from(payload.len()).expect("recordings have short packets");
                frame.push(mask | 126);
                frame.extend(len.to_be_bytes());
            }
        }
        if self == Self::WsClient {
            frame.extend(MASK);
            let masked = payload.iter().zip(MASK.iter().cycle());
            frame.extend(masked.map(|(byte, mask)| byte ^ mask));
        } else {
            frame.extend_from_slice(payload);
        }
        frame
    }
}

/// How bytes are cut into segments.
#[derive(Debug)]
pub enum Segments {
    /// As few as there can be.
    Whole,
    /// Each byte on its own.
    Bytes,
    /// By chance.
    Random(Chance),
}

/// One end of a TCP connection.
#[derive(Debug)]
pub struct RawPeer {
    stream: TcpStream,
    framing: Framing,
    received: Vec<u8>,
    /// How much of the MQTT in it has been asked for.
    taken: usize,
}

impl RawPeer {
    /// Uses a connection.
    ///
    /// # Panics
    /// If it is broken.
    #[must_use]
    pub fn over(stream: TcpStream, framing: Framing) -> Self {
        stream.set_nodelay(true).expect("a TCP connection");
        Self {
            stream,
            framing,
            received: Vec::new(),
            taken: 0,
        }
    }

    /// As a server: answers the request that opens a WebSocket.
    ///
    /// # Panics
    /// If none comes.
    pub async fn upgrade(&mut self) {
        within("a request", async {
            while !self.received.ends_with(b"\r\n\r\n") {
                assert!(self.fill().await, "the end before the request");
            }
        })
        .await;
        let request = String::from_utf8_lossy(&self.received).into_owned();
        let header = |wanted: &str| {
            let mut lines = request.lines().filter_map(|line| line.split_once(": "));
            let found = lines.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.unwrap_or_else(|| panic!("no {wanted}: {request}")).1
        };
        let accept = derive_accept_key(header("sec-websocket-key").as_bytes());
        // "mqttv3.1" for that version
        let protocol = header("sec-websocket-protocol");
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
        );
        self.send(answer.as_bytes(), &mut Segments::Whole).await;
    }

    /// Sends bytes.
    ///
    /// # Panics
    /// If they are not taken.
    pub async fn send(&mut self, bytes: &[u8], segments: &mut Segments) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = match segments {
                Segments::Whole => rest.len(),
                Segments::Bytes => 1,
                Segments::Random(chance) => 1 + chance.below(rest.len().min(64)),
            };
            let (segment, behind) = rest.split_at(len);
            within("bytes to be taken", self.stream.write_all(segment))
                .await
                .expect("the connection is open");
            // gives the other side a chance to see each of them
            tokio::task::yield_now().await;
            rest = behind;
        }
    }

    async fn fill(&mut self) -> bool {
        self.received.reserve(16 * 1024);
        matches!(self.stream.read_buf(&mut self.received).await, Ok(1..))
    }

    /// Waits for the answer to the request that opened a WebSocket.
    ///
    /// # Panics
    /// If it is a refusal.
    pub async fn upgraded(&mut self) {
        within("the answer", async {
            while head(&self.received).is_none() {
                assert!(self.fill().await, "the end before the answer");
            }
        })
        .await;
        assert!(self.received.starts_with(b"HTTP/1.1 101"));
    }

    /// The MQTT in what was received.
    ///
    /// # Panics
    /// If there is something else than MQTT: a frame of text, a part of a frame at the end.
    fn mqtt(&self, at_end: bool) -> Vec<u8> {
        if self.framing == Framing::Tcp {
            return self.received.clone();
        }
        let mut mqtt = Vec::new();
        let Some(head) = head(&self.received) else {
            assert!(
                !at_end || self.received.is_empty(),
                "a part of a head of HTTP"
            );
            return mqtt;
        };
        let mut rest = &self.received[head..];
        while let Some((first, payload, behind)) = take_frame(rest) {
            match first & 0x0f {
                0 | 2 => mqtt.extend(payload),
                8..=10 => {}
                _ => panic!("a frame of another kind: {first:#x}"),
            }
            rest = behind;
        }
        assert!(!at_end || rest.is_empty(), "a part of a frame: {rest:02x?}");
        mqtt
    }

    /// Waits for the first MQTT; false when the connection ends without any.
    ///
    /// # Panics
    /// If neither comes.
    pub async fn speaks(&mut self) -> bool {
        within("a first byte", async {
            while self.mqtt(false).is_empty() {
                if !self.fill().await {
                    return false;
                }
            }
            true
        })
        .await
    }

    /// Waits for `len` bytes of MQTT, or the end.
    ///
    /// # Panics
    /// If neither comes.
    pub async fn take(&mut self, len: usize) -> Vec<u8> {
        within(format!("{len} bytes"), async {
            loop {
                let mqtt = self.mqtt(false);
                if mqtt.len() >= self.taken + len || !self.fill().await {
                    let new = mqtt[self.taken..].to_vec();
                    self.taken = mqtt.len();
                    return new;
                }
            }
        })
        .await
    }

    /// Waits for the end: the MQTT that had not been taken. A WebSocket that is closed is closed
    /// from this side too, as it should be.
    ///
    /// # Panics
    /// If it does not come.
    pub async fn rest(&mut self) -> Vec<u8> {
        within("the end of the connection", async {
            let mut closed = false;
            loop {
                // it may have come together with the last packet
                if !closed && self.has_close_frame() {
                    closed = true;
                    let close = self.framing.frame(0x88, &[]);
                    // the other side may be gone already
                    let _ = self.stream.write_all(&close).await;
                    let _ = self.stream.shutdown().await;
                }
                if !self.fill().await {
                    break;
                }
            }
        })
        .await;
        self.mqtt(true)[self.taken..].to_vec()
    }

    fn has_close_frame(&self) -> bool {
        let head = head(&self.received).filter(|_| self.framing != Framing::Tcp);
        let Some(mut rest) = head.map(|head| &self.received[head..]) else {
            return false;
        };
        while let Some((first, _, behind)) = take_frame(rest) {
            if first & 0x0f == 8 {
                return true;
            }
            rest = behind;
        }
        false
    }

    /// Asserts that the connection ends, and that no MQTT comes before.
    ///
    /// # Panics
    /// If some comes, or it stays open.
    pub async fn closed(&mut self) {
        let rest = self.rest().await;
        assert!(rest.is_empty(), "before the end: {rest:02x?}");
    }

    /// Ends its own direction.
    ///
    /// # Panics
    /// If the connection broke before.
    pub async fn finish(&mut self) {
        self.stream
            .shutdown()
            .await
            .expect("the connection is open");
    }

    /// Breaks the connection off.
    ///
    /// # Panics
    /// If the system does not do it.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .expect("a socket lingers as it is told");
    }
}

/// Where the head of an HTTP message ends.
fn head(bytes: &[u8]) -> Option<usize> {
    let end = b"\r\n\r\n";
    let at = bytes.windows(end.len()).position(|it| it == end)?;
    Some(at + end.len())
}

/// The first byte of a frame, its payload, and what follows.
fn take_frame(bytes: &[u8]) -> Option<(u8, Vec<u8>, &[u8])> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (len, mut at) = match second & 0x7f {
        127 => panic!("recordings have short packets"),
        126 => (
            usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])),
            4,
        ),
        len => (usize::from(len), 2),
    };
    let mut mask = [0; 4];
    if second & 0x80 != 0 {
        mask.copy_from_slice(bytes.get(at..at + 4)?);
        at += 4;
    }
    let payload = bytes.get(at..at + len)?.iter().zip(mask.iter().cycle());
    let payload = payload.map(|(byte, mask)| byte ^ mask).collect();
    Some((first, payload, &bytes[at + len..]))
}
