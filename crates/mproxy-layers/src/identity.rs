//! The names of a client, for rules and topics.

use std::net::IpAddr;

use mproxy_codec::topic::Dialect;
use mproxy_session::{Connect, Identity};

/// The names of a client: its own, and the one in a verified certificate; and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Names<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) username: Option<&'a str>,
    pub(crate) common_name: Option<&'a str>,
    pub(crate) listener: Option<&'a str>,
    pub(crate) address: Option<IpAddr>,
}

impl<'a> Names<'a> {
    /// A client id, which may be empty, and a user name.
    pub const fn new(client_id: &'a str, username: Option<&'a str>) -> Self {
        Self {
            client_id,
            username,
            common_name: None,
            listener: None,
            address: None,
        }
    }

    /// Adds the common name of a verified client certificate.
    #[must_use]
    pub const fn common_name(mut self, name: &'a str) -> Self {
        self.common_name = Some(name);
        self
    }

    /// Adds the name of the listener that accepted the client.
    #[must_use]
    pub const fn listener(mut self, name: &'a str) -> Self {
        self.listener = Some(name);
        self
    }

    /// Adds the client's address.
    #[must_use]
    pub const fn address(mut self, address: IpAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Returns a name as it is, however it was chosen.
    pub(crate) const fn get(self, placeholder: Placeholder) -> Option<&'a str> {
        match placeholder {
            Placeholder::Username => self.username,
            Placeholder::ClientId => Some(self.client_id),
            Placeholder::CommonName => self.common_name,
        }
    }

    /// The names in a CONNECT, and in the [identity](Connect::identity) that a layer outside found
    /// out; and the listener and the address that it came from.
    pub fn of(connect: &'a Connect) -> Self {
        let packet = connect.packet();
        let peer = connect.peer();
        Self {
            client_id: packet.client_id(),
            username: packet.user_name(),
            common_name: connect.identity().map(name),
            listener: Some(&peer.listener),
            address: peer.address.map(|address| address.ip()),
        }
    }
}

fn name(identity: &Identity) -> &str {
    &identity.name
}

/// A placeholder for a name of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Placeholder {
    /// `${username}`
    Username,
    /// `${client_id}`
    ClientId,
    /// `${cn}`
    CommonName,
}

impl Placeholder {
    pub(crate) const ALL: [Self; 3] = [Self::Username, Self::ClientId, Self::CommonName];

    /// The placeholder with this name between `${` and `}`.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "username" => Self::Username,
            "client_id" => Self::ClientId,
            "cn" => Self::CommonName,
            _ => return None,
        })
    }

    /// The placeholder as it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Username => "${username}",
            Self::ClientId => "${client_id}",
            Self::CommonName => "${cn}",
        }
    }

    /// A description of its value.
    pub(crate) const fn what(self) -> &'static str {
        match self {
            Self::Username => "user name",
            Self::ClientId => "client id",
            Self::CommonName => "common name",
        }
    }
}

/// Says whether the broker reads a user name as another: to RabbitMQ `/:acme` is the user `acme` of the
/// virtual host `/`, unless it was told not to look for one.
pub(crate) fn is_of_virtual_host(username: &str, dialect: Dialect) -> bool {
    dialect == Dialect::Amqp && username.contains(':')
}

/// The values of one client for placeholders.
///
/// A value is usable only as a part of *one* topic level. A client id `#` or `a/b` must not change
/// which topics a rule with `${client_id}` applies to (CVE-2017-7650), nor must `*` or `a.b` before a
/// broker that reads them as wildcards and separators. A client without a user name must not turn
/// `users/${username}/#` into `users//#`. An unusable value is kept as "no value", and the place of
/// the placeholder decides what that means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Values {
    client_id: Option<Box<str>>,
    username: Option<Box<str>>,
    common_name: Option<Box<str>>,
}

impl Values {
    /// Those of a client that has no usable name.
    pub(crate) const NONE: Self = Self {
        client_id: None,
        username: None,
        common_name: None,
    };

    /// Those of a client with these names, for topics that are read like this.
    pub(crate) fn new(names: Names<'_>, dialect: Dialect) -> Self {
        let usable = |name: &str| dialect.is_literal(name).then(|| name.into());
        let username = names
            .username
            .filter(|name| !is_of_virtual_host(name, dialect));
        Self {
            client_id: usable(names.client_id),
            username: username.and_then(usable),
            common_name: names.common_name.and_then(usable),
        }
    }

    /// Bytes of data from the client in it.
    pub(crate) fn size(&self) -> usize {
        let values = [&self.client_id, &self.username, &self.common_name];
        values.into_iter().flatten().map(|value| value.len()).sum()
    }

    /// Returns the value of a placeholder, `None` if the client has none that is usable.
    ///
    /// `leading` says that the placeholder is the first thing in a topic. There a value that begins
    /// with `$` would name the broker's own topics, so it is not usable.
    pub(crate) fn value(&self, placeholder: Placeholder, leading: bool) -> Option<&str> {
        let value = match placeholder {
            Placeholder::ClientId => self.client_id.as_deref(),
            Placeholder::Username => self.username.as_deref(),
            Placeholder::CommonName => self.common_name.as_deref(),
        };
        value.filter(|value| !(leading && value.starts_with('$')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, dialect: Dialect) -> Values {
        Values::new(Names::new(name, Some(name)).common_name(name), dialect)
    }

    #[test]
    fn values_that_are_not_a_piece_of_one_level_are_unusable() {
        for value in ["", "#", "+", "a/b", "../x", "/", "a#", "+a", "a\0b"] {
            let values = of(value, Dialect::MQTT);
            for placeholder in Placeholder::ALL {
                assert_eq!(values.value(placeholder, false), None, "{value:?}");
            }
        }
        let values = Values::new(Names::new("c", None), Dialect::MQTT);
        for placeholder in [Placeholder::Username, Placeholder::CommonName] {
            assert_eq!(values.value(placeholder, false), None);
        }
    }

    #[test]
    fn other_values_are_taken_byte_for_byte() {
        for value in ["c", "..", "%u", "${username}", "A b ", "é", "e\u{301}"] {
            let values = of(value, Dialect::MQTT);
            for placeholder in Placeholder::ALL {
                assert_eq!(
                    values.value(placeholder, true),
                    Some(value).filter(|value| !value.starts_with('$'))
                );
                assert_eq!(values.value(placeholder, false), Some(value));
            }
        }
    }

    /// A client that called itself `*` read the devices of all before RabbitMQ, and one that called
    /// itself `dev1.key` wrote below those of `dev1`.
    #[test]
    fn values_that_the_broker_reads_otherwise_are_unusable() {
        for (value, dialect) in [
            ("*", Dialect::Amqp),
            ("dev1.key", Dialect::Amqp),
            ("a*", Dialect::Amqp),
            ("*", Dialect::Nats),
            (">", Dialect::Nats),
        ] {
            let values = of(value, dialect);
            for placeholder in Placeholder::ALL {
                assert_eq!(values.value(placeholder, false), None, "{value:?}");
            }
        }
        for placeholder in Placeholder::ALL {
            let values = of("dev1.key", Dialect::Nats);
            assert_eq!(values.value(placeholder, true), Some("dev1.key"));
        }
    }

    #[test]
    fn placeholders_are_known_by_their_words() {
        for placeholder in Placeholder::ALL {
            let word = placeholder.name().trim_matches(['$', '{', '}']);
            assert_eq!(Placeholder::from_word(word), Some(placeholder));
        }
        assert_eq!(Placeholder::from_word("clientid"), None);
    }
}
