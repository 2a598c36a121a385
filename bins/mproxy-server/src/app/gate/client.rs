//! Which connections belong to one client.

use std::net::{IpAddr, Ipv6Addr};

/// The unit of limits per address: an IPv4 address, or the part of an
/// IPv6 address that the provider assigns. A customer has all of the rest, at least a /64: counted one
/// by one, its addresses would never reach a limit.
///
/// IPv4 addresses are kept as IPv4-mapped IPv6 addresses, which no prefix of another
/// address is equal to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Client(Ipv6Addr);

impl Client {
    /// The client at `address`; of an IPv6 address, its first `prefix` bits, 1 to 128.
    pub(crate) fn of(address: IpAddr, prefix: u8) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => {
                let rest = 128_u32.saturating_sub(prefix.into());
                // a shift by all 128 bits would overflow
                let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
                Ipv6Addr::from_bits(address.to_bits() & mask)
            }
        })
    }

    /// Its name in the log, which an operator can use to block it.
    pub(super) fn name(self, prefix: u8) -> String {
        match IpAddr::from(self.0).to_canonical() {
            IpAddr::V6(address) if prefix < 128 => format!("{address}/{prefix}"),
            address => address.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(address: &str, prefix: u8) -> String {
        Client::of(address.parse().unwrap(), prefix).name(prefix)
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
