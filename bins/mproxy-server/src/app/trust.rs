//! Whose word about the address of a client a listener takes.

use std::net::{IpAddr, SocketAddr};

use mproxy_config::{self as config};
use mproxy_layers::acl::Network;
use mproxy_transport::AcceptProxy;

/// The load balancers that a listener trusts, and how they say who the client is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    /// In headers of the PROXY protocol.
    pub(crate) accept: AcceptProxy,
    /// In X-Forwarded-For, on a WebSocket listener.
    pub(crate) reads_forwarded: bool,
    networks: Vec<Network>,
}

impl Trust {
    pub(crate) fn of(listener: &config::Listener) -> Self {
        Self {
            accept: listener.proxy_protocol.accept,
            reads_forwarded: listener.trust_forwarded_for && listener.is_websocket(),
            networks: listener.proxy_protocol.trusted.clone(),
        }
    }

    /// Whether this peer may speak for clients. A Unix socket, which has no address, admits whom the
    /// permissions of its file admit.
    pub(crate) fn has(&self, peer: Option<SocketAddr>) -> bool {
        peer.is_none_or(|peer| self.networks.iter().any(|it| it.contains(peer.ip())))
    }

    /// Whether the address of an accepted connection may be that of a load balancer, so that limits per
    /// address must wait until the client's is known.
    pub(crate) fn defers(&self, peer: Option<SocketAddr>) -> bool {
        (self.accept != AcceptProxy::Off || self.reads_forwarded) && self.has(peer)
    }

    /// The client of a trusted peer with this X-Forwarded-For. Each proxy appends whom it serves, so it is
    /// read from its end, and only as far as those who wrote it are trusted.
    pub(crate) fn forwarded(&self, header: &str, peer: Option<SocketAddr>) -> Option<SocketAddr> {
        let port = peer.map_or(0, |peer| peer.port());
        let mut client = peer;
        for text in header.rsplit(',') {
            let Some(address) = address(text.trim(), port) else {
                break;
            };
            client = Some(address);
            if !self.has(client) {
                break;
            }
        }
        client
    }
}

/// An address as proxies write it, most of them without a port.
fn address(text: &str, port: u16) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let ip = bare.unwrap_or(text).parse::<IpAddr>();
    let address = match ip {
        Ok(ip) => SocketAddr::new(ip, port),
        Err(_) => text.parse().ok()?,
    };
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust(networks: &[&str]) -> Trust {
        Trust {
            networks: networks.iter().map(|it| it.parse().unwrap()).collect(),
            ..Trust::default()
        }
    }

    /// A client may send the header itself: what it writes stands before what the proxy appends.
    #[test]
    fn the_last_address_that_is_not_trusted_is_the_client() {
        let trust = trust(&["10.0.0.0/8", "fd00::/8"]);
        let peer = "10.0.0.1:4000".parse().ok();
        for (header, client) in [
            ("192.0.2.7", "192.0.2.7:4000"),
            ("127.0.0.1, 192.0.2.7", "192.0.2.7:4000"),
            ("10.9.9.9, 192.0.2.7", "192.0.2.7:4000"),
            ("192.0.2.6, 192.0.2.7 , 10.0.0.2", "192.0.2.7:4000"),
            ("192.0.2.6,fd00::1,10.0.0.2", "192.0.2.6:4000"),
            ("10.0.0.3, 10.0.0.2", "10.0.0.3:4000"),
            ("192.0.2.7:5000", "192.0.2.7:5000"),
            ("2001:db8::7", "[2001:db8::7]:4000"),
            ("[2001:db8::7]", "[2001:db8::7]:4000"),
            ("[2001:db8::7]:5000", "[2001:db8::7]:5000"),
            ("::ffff:192.0.2.7", "192.0.2.7:4000"),
            // those who wrote it do not know the client
            ("", "10.0.0.1:4000"),
            ("unknown", "10.0.0.1:4000"),
            ("192.0.2.7, unknown, 10.0.0.2", "10.0.0.2:4000"),
        ] {
            let found = trust.forwarded(header, peer);
            assert_eq!(found, client.parse().ok(), "{header}");
        }
        let of_unix = trust.forwarded("192.0.2.7", None);
        assert_eq!(of_unix, "192.0.2.7:0".parse().ok());
    }

    #[test]
    fn only_a_trusted_network_is_waited_for() {
        let mut trust = trust(&["127.0.0.1/32"]);
        let peers = ["127.0.0.1:1", "127.0.0.2:1"].map(|it| it.parse().ok());
        assert_eq!(peers.map(|it| trust.defers(it)), [false, false]);
        trust.accept = AcceptProxy::Optional;
        assert_eq!(peers.map(|it| trust.defers(it)), [true, false]);
        assert!(trust.defers(None), "a Unix socket");
    }
}
