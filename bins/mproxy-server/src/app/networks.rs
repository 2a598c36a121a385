//! Which addresses a listener serves.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use mproxy_config::{self as config, DenyAction};
use mproxy_layers::acl::Network;

/// The networks of a listener.
#[derive(Clone, Debug, Default)]
pub(crate) struct Networks {
    /// `None` = every network.
    allow: Option<NetworkMap<()>>,
    deny: NetworkMap<()>,
    pub(crate) action: DenyAction,
}

/// Why an address is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unserved {
    /// It is in this network of `deny`.
    Denied(Network),
    /// It is in no network of `allow`.
    NotAllowed,
}

impl Networks {
    pub(crate) fn of(listener: &config::Listener) -> Self {
        let map = |networks: &[Network]| networks.iter().map(|it| (*it, ())).collect();
        Self {
            allow: (!listener.allow.is_empty()).then(|| map(&listener.allow)),
            deny: map(&listener.deny),
            action: listener.deny_action,
        }
    }

    /// Whether a client at this address is served.
    ///
    /// # Errors
    /// Why it is not.
    pub(crate) fn check(&self, address: IpAddr) -> Result<(), Unserved> {
        if let Some((network, ())) = self.deny.find(address) {
            return Err(Unserved::Denied(network));
        }
        match &self.allow {
            Some(allow) if allow.find(address).is_none() => Err(Unserved::NotAllowed),
            _ => Ok(()),
        }
    }
}

/// A network as an operator writes it: that of a single address is the address.
pub(crate) fn short(network: Network) -> String {
    let text = network.to_string();
    let bits = if text.contains(':') { "/128" } else { "/32" };
    text.strip_suffix(bits).unwrap_or(&text).to_owned()
}

/// Values by network. A lookup takes one step for each length of prefix among them, however many networks
/// there are: block lists are long.
#[derive(Clone, Debug)]
pub(crate) struct NetworkMap<T> {
    values: HashMap<Network, T>,
    /// How many networks have a prefix of this length.
    lengths: BTreeMap<u8, usize>,
}

impl<T> Default for NetworkMap<T> {
    fn default() -> Self {
        Self {
            values: HashMap::new(),
            lengths: BTreeMap::new(),
        }
    }
}

impl<T> FromIterator<(Network, T)> for NetworkMap<T> {
    fn from_iter<I: IntoIterator<Item = (Network, T)>>(entries: I) -> Self {
        let mut map = Self::default();
        for (network, value) in entries {
            map.insert(network, value);
        }
        map
    }
}

impl<T> NetworkMap<T> {
    /// The smallest network that has this address, and its value.
    pub(crate) fn find(&self, address: IpAddr) -> Option<(Network, &T)> {
        self.find_where(address, |_| true)
    }

    /// The smallest network with this address whose value fits.
    pub(crate) fn find_where(
        &self,
        address: IpAddr,
        fits: impl Fn(&T) -> bool,
    ) -> Option<(Network, &T)> {
        let lengths = self.lengths.keys().rev();
        let mut around = lengths.filter_map(|&prefix| Network::around(address, prefix));
        around.find_map(|network| {
            let value = self.values.get(&network)?;
            fits(value).then_some((network, value))
        })
    }

    pub(crate) fn get(&self, network: &Network) -> Option<&T> {
        self.values.get(network)
    }

    pub(crate) fn insert(&mut self, network: Network, value: T) {
        if self.values.insert(network, value).is_none() {
            *self.lengths.entry(network.prefix()).or_default() += 1;
        }
    }

    pub(crate) fn remove(&mut self, network: &Network) -> Option<T> {
        let value = self.values.remove(network)?;
        if let Some(count) = self.lengths.get_mut(&network.prefix()) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&network.prefix());
            }
        }
        Some(value)
    }

    /// Removes what does not fit.
    pub(crate) fn retain(&mut self, fits: impl Fn(&T) -> bool) {
        self.values.retain(|_, value| fits(value));
        self.lengths.clear();
        for network in self.values.keys() {
            *self.lengths.entry(network.prefix()).or_default() += 1;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Network, &T)> {
        self.values.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(networks: &[&str]) -> NetworkMap<()> {
        let networks = networks.iter().map(|it| (it.parse().unwrap(), ()));
        networks.collect()
    }

    fn networks(allow: Option<&[&str]>, deny: &[&str]) -> Networks {
        Networks {
            allow: allow.map(map),
            deny: map(deny),
            action: DenyAction::Close,
        }
    }

    #[test]
    fn a_denied_network_is_denied_even_if_a_larger_one_is_allowed() {
        let networks = networks(Some(&["10.0.0.0/8", "fd00::/8"]), &["10.9.0.0/16"]);
        let check = |address: &str| networks.check(address.parse().unwrap());
        for served in ["10.1.2.3", "::ffff:10.1.2.3", "fd00::7"] {
            assert_eq!(check(served), Ok(()), "{served}");
        }
        let denied = Unserved::Denied("10.9.0.0/16".parse().unwrap());
        assert_eq!(check("10.9.0.1"), Err(denied));
        for other in ["192.0.2.1", "::1", "11.0.0.0"] {
            assert_eq!(check(other), Err(Unserved::NotAllowed), "{other}");
        }
    }

    #[test]
    fn without_networks_everybody_is_served() {
        let networks = networks(None, &[]);
        for address in ["192.0.2.1", "2001:db8::1"] {
            assert_eq!(networks.check(address.parse().unwrap()), Ok(()));
        }
    }

    #[test]
    fn only_a_single_address_is_written_without_its_prefix() {
        for (text, short_form) in [
            ("192.0.2.7/32", "192.0.2.7"),
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("2001:db8::7/128", "2001:db8::7"),
            ("2001:db8::/32", "2001:db8::/32"),
        ] {
            assert_eq!(short(text.parse().unwrap()), short_form);
        }
    }

    #[test]
    fn the_smallest_network_is_found_and_a_removed_one_is_not() {
        let mut map = map(&["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "::/0"]);
        let find = |map: &NetworkMap<()>, address: &str| {
            let found = map.find(address.parse().unwrap());
            found.map(|(network, ())| network.to_string())
        };
        for (address, network) in [
            ("10.1.2.3", Some("10.1.2.3/32")),
            ("10.1.2.4", Some("10.1.0.0/16")),
            ("10.2.0.0", Some("10.0.0.0/8")),
            ("11.0.0.0", None),
            ("fd00::", Some("::/0")),
        ] {
            assert_eq!(find(&map, address).as_deref(), network, "{address}");
        }
        assert_eq!(map.remove(&"10.1.0.0/16".parse().unwrap()), Some(()));
        assert_eq!(find(&map, "10.1.2.4").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(map.lengths.len(), 3);
        assert_eq!(map.iter().count(), 3);
    }
}
