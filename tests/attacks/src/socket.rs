//! Connections of attackers: from an address of their own, and without any manners.

use std::io;
use std::net::SocketAddr;

use mproxy_tests::wire::{Connect, Version, frame as packet};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Connects from this address of the loopback interface: 127.0.0.0/8 is all ours.
///
/// # Errors
/// When the connection is refused, or the system has no more sockets.
pub async fn connect(to: SocketAddr, from: [u8; 4]) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

/// Upgrades to a WebSocket.
///
/// # Errors
/// When the connection breaks, or the answer is not 101.
pub async fn upgrade(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    stream.write_all(UPGRADE).await?;
    stream.flush().await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    if head.starts_with(b"HTTP/1.1 101") {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Says CONNECT and waits for a CONNACK with code 0.
pub(crate) async fn log_in(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    client_id: &str,
) -> io::Result<()> {
    stream
        .write_all(&Connect::new(Version::V311, client_id).bytes())
        .await?;
    stream.flush().await?;
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).await?;
    if connack == [0x20, 2, 0, 0] {
        Ok(())
    } else {
        Err(io::ErrorKind::ConnectionRefused.into())
    }
}

/// A client's frame. The mask is 0, so that the payload stands there as it is.
pub(crate) fn ws_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).expect("frames of attackers are short");
    assert!(len < 126, "frames of attackers are short");
    [&[first, 0x80 | len, 0, 0, 0, 0], payload].concat()
}

/// The head of a client's frame of so many bytes. The mask is 0.
pub(crate) fn ws_head(len: usize) -> Vec<u8> {
    let mut head = vec![0x82, 0x80 | 127];
    head.extend((len as u64).to_be_bytes());
    head.extend([0; 4]);
    head
}

/// A CONNECT of this many bytes, nearly all of it a password.
pub(crate) fn large_connect(client_id: &str, len: usize) -> Vec<u8> {
    let head = |password: usize| {
        let filler = "p".repeat(password);
        Connect::new(Version::V311, client_id)
            .credentials("u", &filler)
            .bytes()
    };
    let spare = len - head(0).len() - 2;
    let connect = head(spare);
    assert!(
        connect.len() <= len && connect.len() + 4 > len,
        "{}",
        connect.len()
    );
    connect
}

/// A SUBSCRIBE of about this many bytes, with filters of 60,000 bytes.
pub(crate) fn large_subscribe(len: usize) -> Vec<u8> {
    let filter = format!("{}\0", "f".repeat(60_000)).into_bytes();
    let mut body = vec![0, 1];
    while body.len() + filter.len() + 7 <= len {
        body.extend(60_000_u16.to_be_bytes());
        body.extend(&filter);
    }
    packet(0x82, &body)
}

/// Lets this process and those that it starts open as many sockets as the system allows.
///
/// # Errors
/// When the system refuses.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX)
}

const UPGRADE: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
