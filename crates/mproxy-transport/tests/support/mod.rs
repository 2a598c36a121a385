//! A raw peer for WebSocket tests: it writes and reads frames byte by byte, so that it can send
//! what no library would.
#![allow(dead_code)] // each test binary uses its own part

use mproxy_transport::{Stream, WsError, WsOptions, WsRequest, accept_websocket};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

/// The key of RFC 6455 section 1.3.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// An upgrade request that is served by default.
pub(crate) fn request() -> String {
    request_with("Sec-WebSocket-Protocol: mqtt\r\n")
}

/// An upgrade request with these lines in place of the subprotocol.
pub(crate) fn request_with(lines: &str) -> String {
    format!(
        "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{lines}\r\n"
    )
}

/// A server's stream and the raw client at its other end.
pub(crate) async fn open(options: &WsOptions) -> (Stream, Raw) {
    let (server, client) = UnixStream::pair().unwrap();
    let mut client = Raw(client);
    client.send(request().as_bytes()).await;
    let (stream, _) = accept_websocket(server, options).await.unwrap();
    assert!(client.head().await.starts_with("HTTP/1.1 101 "));
    (stream, client)
}

/// Sends a request and reads the whole answer to a refusal, or its head if it was served.
pub(crate) async fn answer(
    request: &[u8],
    options: &WsOptions,
) -> (String, Result<(Stream, WsRequest), WsError>) {
    let (server, client) = UnixStream::pair().unwrap();
    let (mut read, mut write) = client.into_split();
    let talk = async {
        let send = async {
            // A server that has refused need not read to the end.
            let _ = write.write_all(request).await;
        };
        let receive = async {
            let mut answer = Vec::new();
            while let Ok(1..) = read.read_buf(&mut answer).await {
                if answer.starts_with(b"HTTP/1.1 101") && answer.ends_with(b"\r\n\r\n") {
                    break;
                }
            }
            String::from_utf8(answer).unwrap()
        };
        // The client stays until it has heard the end.
        let ((), answer) = tokio::join!(send, receive);
        drop(write);
        answer
    };
    tokio::join!(talk, accept_websocket(server, options))
}

pub(crate) struct Raw(pub(crate) UnixStream);

impl Raw {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Reads a response's head, and not a byte more.
    pub(crate) async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    /// Reads one frame: its first byte and its payload, which a client must have masked.
    pub(crate) async fn frame(&mut self) -> (u8, Vec<u8>) {
        let first = self.0.read_u8().await.unwrap();
        let second = self.0.read_u8().await.unwrap();
        let len = match second & 0x7f {
            126 => u64::from(self.0.read_u16().await.unwrap()),
            127 => self.0.read_u64().await.unwrap(),
            len => u64::from(len),
        };
        let mut mask = [0; 4];
        if second & 0x80 != 0 {
            self.0.read_exact(&mut mask).await.unwrap();
        }
        let mut payload = vec![0; len as usize];
        self.0.read_exact(&mut payload).await.unwrap();
        for (byte, key) in payload.iter_mut().zip(mask.into_iter().cycle()) {
            *byte ^= key;
        }
        (first, payload)
    }

    /// Expects a Close frame with this code.
    pub(crate) async fn close_code(&mut self) -> u16 {
        let (first, payload) = self.frame().await;
        assert_eq!(first, CLOSE, "not a close frame: {payload:02x?}");
        u16::from_be_bytes([payload[0], payload[1]])
    }

    /// Expects the end of the socket.
    pub(crate) async fn end(&mut self) {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty(), "after the end: {rest:02x?}");
    }
}

pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;

/// A client's frame, masked.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    frame.extend(mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    frame
}

/// The bytes of a hexadecimal string.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .map(|digit| (digit as char).to_digit(16).unwrap() as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}
