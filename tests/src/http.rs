//! A client of HTTP that sends what it is told to.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::deadline::within;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The status line and the header lines.
    pub head: String,
    /// What follows them.
    pub body: String,
}

/// Asks for `path`.
///
/// # Panics
/// If there is no answer in time.
pub async fn get(addr: SocketAddr, path: &str) -> Answer {
    // 1.0: the end of the body is the end of the connection
    request(
        addr,
        &format!("GET {path} HTTP/1.0\r\nHost: {addr}\r\n\r\n"),
    )
    .await
}

/// Sends a request as it stands, and reads to the end of the connection.
///
/// # Panics
/// If there is no answer in time, or it is not HTTP.
pub async fn request(addr: SocketAddr, request: &str) -> Answer {
    let exchange = async {
        let mut stream = TcpStream::connect(addr).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = within("an answer", exchange).await;
    let answer = answer.unwrap_or_else(|error| panic!("{addr}: {error}\n{request}"));
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).expect("a status line");
    Answer {
        status: status.parse().expect("a status code"),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}
