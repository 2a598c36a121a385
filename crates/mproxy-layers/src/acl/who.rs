//! Which clients a rule applies to.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use thiserror::Error;

use crate::Names;

/// The clients that a rule applies to: all, or those that match each of these. A set that is given but
/// empty matches nobody.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Who {
    pub(super) usernames: Option<BTreeSet<String>>,
    pub(super) client_ids: Option<BTreeSet<String>>,
    pub(super) anonymous: Option<bool>,
    pub(super) listeners: Option<BTreeSet<String>>,
    pub(super) networks: Option<Vec<Network>>,
}

impl Who {
    pub(super) const EVERYBODY: Self = Self {
        usernames: None,
        client_ids: None,
        anonymous: None,
        listeners: None,
        networks: None,
    };

    pub(super) fn is_everybody(&self) -> bool {
        *self == Self::EVERYBODY
    }

    /// Says whether a client with other names could be another one.
    pub(super) fn goes_by_names(&self) -> bool {
        self.usernames.is_some() || self.client_ids.is_some() || self.anonymous.is_some()
    }

    /// Says whether a client with a user name would have to be anonymous.
    pub(super) fn contradicts_itself(&self) -> bool {
        self.anonymous == Some(true) && self.usernames.is_some()
    }

    /// Returns the set that was given without anything in it, by its name in a [`Rule`](super::Rule).
    pub(super) fn empty_set(&self) -> Option<&'static str> {
        let none_of = |set: &Option<BTreeSet<String>>| set.as_ref().is_some_and(BTreeSet::is_empty);
        [
            ("usernames", none_of(&self.usernames)),
            ("client_ids", none_of(&self.client_ids)),
            ("listeners", none_of(&self.listeners)),
            (
                "networks",
                self.networks.as_ref().is_some_and(Vec::is_empty),
            ),
        ]
        .into_iter()
        .find_map(|(key, empty)| empty.then_some(key))
    }

    /// Whether a client is one of these. An unknown value does not match.
    pub(super) fn has(&self, names: Names<'_>) -> bool {
        let username = names.username.filter(|name| !name.is_empty());
        let among = |set: &Option<BTreeSet<String>>, text: Option<&str>| {
            set.as_ref()
                .is_none_or(|set| text.is_some_and(|text| set.contains(text)))
        };
        among(&self.usernames, username)
            && among(&self.client_ids, Some(names.client_id))
            && among(&self.listeners, names.listener)
            && self.anonymous.is_none_or(|it| it == username.is_none())
            && self.networks.as_ref().is_none_or(|networks| {
                let inside = |address| networks.iter().any(|network| network.contains(address));
                names.address.is_some_and(inside)
            })
    }
}

/// A range of IP addresses, `10.0.0.0/8`, or a single one, `192.0.2.7`.
///
/// ```
/// use mproxy_layers::acl::Network;
///
/// let network: Network = "10.0.0.0/8".parse()?;
/// assert!(network.contains("10.1.2.3".parse()?));
/// // an IPv4 client of a socket for both
/// assert!(network.contains("::ffff:10.1.2.3".parse()?));
/// assert!(!network.contains("192.0.2.7".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The network of this many bits that an address is in; `None` if the address has fewer bits.
    pub fn around(address: IpAddr, prefix: u8) -> Option<Self> {
        let address = masked(address.to_canonical(), prefix)?;
        Some(Self { address, prefix })
    }

    /// Its first address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// How many bits of an address say that it is in the network.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Says whether an address is in the range. An IPv4 address that is written as one of IPv6
    /// (`::ffff:192.0.2.7`) is one of IPv4.
    pub fn contains(self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.prefix) == Some(self.address)
    }
}

/// The network of a single address.
impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        Self { address, prefix }
    }
}

/// Returns the address with all bits behind the prefix 0, `None` if it has fewer bits than that.
fn masked(address: IpAddr, prefix: u8) -> Option<IpAddr> {
    let prefix = u32::from(prefix);
    Some(match address {
        IpAddr::V4(address) => {
            let behind = Ipv4Addr::BITS.checked_sub(prefix)?;
            let mask = u32::MAX.checked_shl(behind).unwrap_or_default();
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let behind = Ipv6Addr::BITS.checked_sub(prefix)?;
            let mask = u128::MAX.checked_shl(behind).unwrap_or_default();
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    })
}

/// Why a text is not a [`Network`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// It is neither an address nor an address with the length of a prefix.
    #[error("`{0}` is not an IP address, nor a network such as `10.0.0.0/8`")]
    Invalid(String),
    /// The address has bits behind the prefix.
    #[error("`{written}` is an address in the network `{network}`")]
    HostBits {
        /// The text as written.
        written: String,
        /// The network that it is in.
        network: Network,
    },
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let invalid = || NetworkError::Invalid(text.to_owned());
        let (written, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let written: IpAddr = written.parse().map_err(|_| invalid())?;
        let all = if written.is_ipv4() { 32 } else { 128 };
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = match prefix {
            Some(prefix) if digits(prefix) => prefix.parse().map_err(|_| invalid())?,
            Some(_) => return Err(invalid()),
            None => all,
        };
        let address = masked(written, prefix).ok_or_else(invalid)?;
        let network = match (address.to_canonical(), prefix.checked_sub(96)) {
            // a network of mapped addresses is one of IPv4
            (address @ IpAddr::V4(_), Some(prefix)) if written.is_ipv6() => {
                Self { address, prefix }
            }
            _ => Self { address, prefix },
        };
        if address != written {
            return Err(NetworkError::HostBits {
                written: text.to_owned(),
                network,
            });
        }
        Ok(network)
    }
}

/// Writes it as it is read.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        let network: Network = network.parse().expect("a network");
        network.contains(address.parse().expect("an address"))
    }

    #[test]
    fn networks_are_ranges_of_addresses() {
        for (network, address, inside) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("10.0.0.0/8", "a00::", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("0.0.0.0/0", "192.0.2.7", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("::/0", "192.0.2.7", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
            ("::1", "::1", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "11.1.2.3", false),
        ] {
            assert_eq!(contains(network, address), inside, "{network} {address}");
        }
    }

    #[test]
    fn what_is_not_a_network_is_said_to_be_none() {
        for text in [
            "",
            "/",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "::/256",
            "10.0.0.0/+8",
            "10.0.0/8",
            "localhost",
            "10.0.0.0/255.0.0.0",
            "10.0.0.0/8/8",
        ] {
            let error = text.parse::<Network>().expect_err(text);
            assert!(matches!(error, NetworkError::Invalid(_)), "{text}");
        }
        let error = "10.1.2.3/8".parse::<Network>().expect_err("host bits");
        assert_eq!(
            error.to_string(),
            "`10.1.2.3/8` is an address in the network `10.0.0.0/8`"
        );
    }

    #[test]
    fn what_is_not_known_of_a_client_is_nothing_that_it_has() {
        let text = |text: &str| Some(BTreeSet::from([text.to_owned()]));
        let unknown = Names::new("c", None);
        for who in [
            Who {
                usernames: text("u"),
                ..Who::default()
            },
            Who {
                listeners: text("l"),
                ..Who::default()
            },
            Who {
                networks: Some(vec!["0.0.0.0/0".parse().expect("a network")]),
                ..Who::default()
            },
            Who {
                anonymous: Some(false),
                ..Who::default()
            },
        ] {
            assert!(!who.has(unknown), "{who:?}");
            assert!(!who.is_everybody());
        }
        assert!(Who::default().has(unknown));
    }
}
