//! Ports for programs that are stopped and started again.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// A port of loopback that the system gives to nobody else while this value lives, because a socket is
/// bound to it. That socket never listens, so a server that sets `SO_REUSEADDR` can listen there, stop,
/// and listen again. Meanwhile connections are refused.
#[derive(Debug)]
pub struct Port {
    _socket: Socket,
    addr: SocketAddr,
}

impl Port {
    /// Takes a free one.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn reserve() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("a socket option");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).expect("there is a free port");
        let addr = socket.local_addr().expect("it is bound");
        Self {
            _socket: socket,
            addr: addr.as_socket().expect("an address of IPv4"),
        }
    }

    /// The address.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }
}
