//! Who the client says it is, as far as a rule or a prefix may use it.

/// A name for a value that differs from client to client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Placeholder {
    /// `${client_id}`
    ClientId,
    /// `${username}`
    Username,
}

/// The values of one client that may stand in for placeholders.
///
/// A value is only usable as a piece of *one* topic level: a client that calls itself `#` or `a/b`
/// must not widen or move what a rule written with `${client_id}` speaks about (CVE-2017-7650), and
/// one that sends no user name must not turn `users/${username}/#` into `users//#`. Whoever holds
/// an unusable value is kept as "no value", and what that means is decided where the placeholder
/// stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Values {
    client_id: Option<Box<str>>,
    username: Option<Box<str>>,
}

impl Values {
    /// Those of a client that has no usable name.
    pub(crate) const NONE: Self = Self {
        client_id: None,
        username: None,
    };

    pub(crate) fn new(client_id: &str, username: Option<&str>) -> Self {
        Self {
            client_id: usable(client_id),
            username: username.and_then(usable),
        }
    }

    /// Returns the value of a placeholder, `None` if the client has none that is usable.
    ///
    /// `leading` says that the placeholder is the first thing in a topic. There a value that begins
    /// with `$` would name the broker's own topics, so it is not usable.
    pub(crate) fn value(&self, placeholder: Placeholder, leading: bool) -> Option<&str> {
        let value = match placeholder {
            Placeholder::ClientId => self.client_id.as_deref(),
            Placeholder::Username => self.username.as_deref(),
        };
        value.filter(|value| !(leading && value.starts_with('$')))
    }
}

fn usable(value: &str) -> Option<Box<str>> {
    let fits = !value.is_empty() && !value.contains(['/', '+', '#', '\0']);
    fits.then(|| value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_not_a_piece_of_one_level_are_unusable() {
        for value in ["", "#", "+", "a/b", "../x", "/", "a#", "+a", "a\0b"] {
            let values = Values::new(value, Some(value));
            assert_eq!(
                values.value(Placeholder::ClientId, false),
                None,
                "{value:?}"
            );
            assert_eq!(
                values.value(Placeholder::Username, false),
                None,
                "{value:?}"
            );
        }
        assert_eq!(
            Values::new("c", None).value(Placeholder::Username, false),
            None
        );
    }

    #[test]
    fn other_values_are_taken_byte_for_byte() {
        for value in ["c", "..", "%u", "${username}", "A b ", "é", "e\u{301}"] {
            let values = Values::new(value, None);
            assert_eq!(
                values.value(Placeholder::ClientId, true),
                Some(value).filter(|value| !value.starts_with('$'))
            );
            assert_eq!(values.value(Placeholder::ClientId, false), Some(value));
        }
    }
}
