//! Which connections belong to one client.

use std::net::IpAddr;

use mproxy_layers::acl::Network;

use crate::app::networks;

/// The unit of limits per address, and of bans: an IPv4 address, or the part of an
/// IPv6 address that the provider assigns. A customer has all of the rest, at least a /64: counted one
/// by one, its addresses would never reach a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Client(Network);

impl Client {
    /// The client at `address`; of an IPv6 address, its first `prefix` bits, 1 to 128.
    pub(crate) fn of(address: IpAddr, prefix: u8) -> Self {
        let address = address.to_canonical();
        let network = match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(_) => Network::around(address, prefix),
        };
        Self(network.unwrap_or_else(|| address.into()))
    }

    /// The addresses that it may have.
    pub(crate) const fn network(self) -> Network {
        self.0
    }

    /// The address that stands for it.
    pub(crate) fn address(self) -> IpAddr {
        self.0.address()
    }

    /// Its name in the log, which an operator can use to block it.
    pub(super) fn name(self) -> String {
        networks::short(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(address: &str, prefix: u8) -> String {
        Client::of(address.parse().unwrap(), prefix).name()
    }

    #[test]
    fn an_ipv6_address_is_its_prefix() {
        assert_eq!(name("2001:db8:1:2:3:4:5:6", 64), "2001:db8:1:2::/64");
        assert_eq!(name("2001:db8:1:2ff:3:4:5:6", 56), "2001:db8:1:200::/56");
        assert_eq!(name("2001:db8::7", 128), "2001:db8::7");
        assert_eq!(name("ffff::", 1), "8000::/1");
    }

    /// On a listener for both, `[::]`, the system shows an IPv4 client as `::ffff:192.0.2.1`. Cut to
    /// 64 bits, all of IPv4 would be one client.
    #[test]
    fn an_ipv4_address_is_itself_however_it_is_written() {
        for prefix in [1, 64, 96, 128] {
            for address in ["192.0.2.1", "::ffff:192.0.2.1"] {
                assert_eq!(name(address, prefix), "192.0.2.1");
            }
            let of = |text: &str| Client::of(text.parse().unwrap(), prefix);
            assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
            assert_ne!(of("192.0.2.1"), of("::192.0.2.1"));
            assert_ne!(of("192.0.2.1"), of("::fffe:0:1"));
        }
    }
}
