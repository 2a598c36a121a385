//! Connections from an address that a test chooses.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

/// Connects from this IPv4 address of the host: all of 127.0.0.0/8 is ours.
///
/// # Errors
/// When the connection is refused or reset.
///
/// # Panics
/// When the address is not one of the host, or has no port left.
pub async fn connect_from(source: impl Into<IpAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4().expect("a socket can be made");
    socket
        .bind(SocketAddr::new(source.into(), 0))
        .expect("all of 127/8 is this host");
    socket.connect(to).await
}
