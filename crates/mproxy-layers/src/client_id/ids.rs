//! The rules about client ids, without any packets.

use std::sync::Arc;

use thiserror::Error;

use super::pattern::{Pattern, PatternError, Unusable};
use crate::identity::Names;

/// Which client ids a client may use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Require(Kind);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Kind {
    #[default]
    Any,
    /// The user name alone is enough, too.
    Prefix(Pattern, Pattern),
    Template(Pattern),
}

impl Require {
    /// Any id.
    pub const ANY: Self = Self(Kind::Any);

    /// The user name.
    pub fn equals_username() -> Self {
        Self(Kind::Template(Pattern::username()))
    }

    /// The user name, alone or followed by this separator and more.
    ///
    /// # Errors
    ///
    /// The separator is empty, so the id `ab` could belong to `a` or to `ab`.
    pub fn prefix_username(separator: &str) -> Result<Self, PatternError> {
        // the template is only asked about ids with a separator, which the name itself has not
        let longer = Pattern::prefix(&["${username}", separator].concat())?;
        Ok(Self(Kind::Prefix(Pattern::username(), longer)))
    }

    /// Ids that match this template: `${username}` and `${cn}` are those of the client, one `*` is
    /// any non-empty text.
    ///
    /// # Errors
    ///
    /// The text is not valid, or two users could have the same id.
    pub fn template(text: &str) -> Result<Self, PatternError> {
        Pattern::template(text).map(Kind::Template).map(Self)
    }

    /// Whether the requirement is the same for all clients, so that ids do not belong to users.
    pub fn names_nobody(&self) -> bool {
        match &self.0 {
            Kind::Any => true,
            Kind::Prefix(..) => false,
            Kind::Template(pattern) => pattern.names_nobody(),
        }
    }

    fn allows(&self, names: Names<'_>) -> Result<bool, Unusable> {
        let id = names.client_id;
        match &self.0 {
            Kind::Any => Ok(true),
            Kind::Prefix(name, longer) => {
                Ok(longer.matches(names, id)? || name.matches(names, id)?)
            }
            Kind::Template(pattern) => pattern.matches(names, id),
        }
    }

    /// Returns an id that is allowed, made of something random.
    fn generate(&self, names: Names<'_>, random: &str) -> Result<String, Unusable> {
        match &self.0 {
            Kind::Any => Ok(random.to_owned()),
            Kind::Prefix(_, pattern) | Kind::Template(pattern) => pattern.fill(names, random),
        }
    }
}

/// Rules for client ids. Cloning is cheap.
///
/// See the [module documentation](super) for an example.
#[derive(Debug, Clone)]
pub struct ClientIds(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    require: Require,
    prefix: Option<Pattern>,
    generate: bool,
}

/// Builds [`ClientIds`].
#[derive(Debug, Clone, Default)]
pub struct ClientIdsBuilder {
    require: Require,
    prefix: Option<String>,
    generate: bool,
}

impl ClientIdsBuilder {
    /// Sets which ids a client may use; any by default.
    #[must_use]
    pub fn require(mut self, require: Require) -> Self {
        self.require = require;
        self
    }

    /// Adds this prefix to the id on the way to the broker; `${username}` and `${cn}` are those of
    /// the client.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Sets whether a client without an id gets one from the proxy. By default the broker assigns it,
    /// but with a [prefix](Self::prefix) an MQTT 5.0 client always gets it from the proxy, because an
    /// id assigned by the broker would not have the prefix.
    #[must_use]
    pub const fn generate(mut self, generate: bool) -> Self {
        self.generate = generate;
        self
    }

    /// Finishes the rules.
    ///
    /// # Errors
    ///
    /// The prefix is not valid, or would give two clients the same id.
    pub fn build(self) -> Result<ClientIds, PatternError> {
        let prefix = self.prefix.as_deref().map(Pattern::prefix).transpose()?;
        Ok(ClientIds(Arc::new(Rules {
            require: self.require,
            prefix,
            generate: self.generate,
        })))
    }
}

/// Why a client may not use its id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct NotOwned(String);

impl From<Unusable> for NotOwned {
    fn from(unusable: Unusable) -> Self {
        Self(match unusable {
            Unusable::Missing(name) => {
                format!("a client without a {} has no client id here", name.what())
            }
            Unusable::Separator(name, separator) => format!(
                "{} contains `{separator}`, which ends the user name in a client id",
                name.what()
            ),
        })
    }
}

/// The ids of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Called {
    /// At the broker.
    pub(super) at_broker: String,
    /// As the client uses it; empty if the broker assigns an id.
    pub(super) itself: String,
}

impl ClientIds {
    /// Starts to build rules.
    pub fn builder() -> ClientIdsBuilder {
        ClientIdsBuilder::default()
    }

    /// Decides whether a client may use its id.
    ///
    /// # Errors
    ///
    /// Says why it may not.
    pub fn check(&self, names: Names<'_>) -> Result<(), NotOwned> {
        self.call(names, "", false).map(drop)
    }

    /// Returns the ids of the client; `random` is used to generate an id that it does not
    /// have. `told` says that the client can be told its id.
    pub(super) fn call(
        &self,
        names: Names<'_>,
        random: &str,
        told: bool,
    ) -> Result<Called, NotOwned> {
        let rules = &*self.0;
        let itself = if names.client_id.is_empty() && rules.generate {
            rules.require.generate(names, random)?
        } else if !rules.require.allows(names)? {
            return Err(NotOwned("the client id belongs to another user".to_owned()));
        } else if names.client_id.is_empty() && rules.prefix.is_some() && told {
            // with one of the broker's it would come back as somebody else, behind the prefix
            random.to_owned()
        } else {
            names.client_id.to_owned()
        };
        let prefix = match &rules.prefix {
            Some(prefix) => prefix.fill(names, "")?,
            None => String::new(),
        };
        let at_broker = match itself.as_str() {
            // every client without an id would be the same one
            "" => String::new(),
            id => [&prefix, id].concat(),
        };
        Ok(Called { at_broker, itself })
    }

    /// Returns what a client without an id was called before, if it is this at the broker and may be.
    pub(super) fn recall(&self, names: Names<'_>, at_broker: &str) -> Option<Called> {
        let prefix = match &self.0.prefix {
            Some(prefix) => prefix.fill(names, "").ok()?,
            None => String::new(),
        };
        let client_id = at_broker.strip_prefix(&prefix)?;
        let names = Names { client_id, ..names };
        let called = self.call(names, "", false).ok()?;
        (called.at_broker == at_broker).then_some(called)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<'a>(id: &'a str, username: &'a str) -> Names<'a> {
        Names::new(id, Some(username).filter(|name| !name.is_empty()))
    }

    fn ids(require: Require) -> ClientIds {
        let ids = ClientIds::builder().require(require);
        ids.build().expect("no prefix")
    }

    #[test]
    fn what_is_required_is_checked() {
        let equals = ids(Require::equals_username());
        for (id, username, allowed) in [
            ("acme", "acme", true),
            ("a/b+c", "a/b+c", true),
            ("Acme", "acme", false),
            ("acme2", "acme", false),
            ("", "acme", false),
            ("", "", false),
            ("acme", "", false),
        ] {
            assert_eq!(
                equals.check(names(id, username)).is_ok(),
                allowed,
                "{id} {username}"
            );
        }
        let prefix = ids(Require::prefix_username("-").expect("a pattern"));
        for (id, username, allowed) in [
            ("acme", "acme", true),
            ("acme-7", "acme", true),
            ("acme-7-8", "acme", true),
            ("acme7", "acme", false),
            ("acme-", "acme", false),
            ("acme-7", "acm", false),
            ("acme-7", "acme-7", false),
            ("acme-7-8", "acme-7", false),
            ("", "acme", false),
        ] {
            assert_eq!(
                prefix.check(names(id, username)).is_ok(),
                allowed,
                "{id} {username}"
            );
        }
        assert!(Require::prefix_username("").is_err());
        for (require, nobody) in [
            (Require::ANY, true),
            (Require::template("dev-*").expect("a pattern"), true),
            (Require::template("${cn}").expect("a pattern"), false),
        ] {
            assert_eq!(require.names_nobody(), nobody);
        }
    }

    #[test]
    fn a_prefix_makes_two_users_ids_different() {
        let ids = ClientIds::builder().prefix("${username}:").build();
        let ids = ids.expect("a prefix");
        let at_broker = |id: &str, username: &str| {
            ids.call(names(id, username), "r", false)
                .map(|called| called.at_broker)
                .ok()
        };
        assert_eq!(at_broker("x", "acme").as_deref(), Some("acme:x"));
        assert_eq!(
            at_broker("acme:x", "other").as_deref(),
            Some("other:acme:x")
        );
        // the broker assigns one, if the client cannot be told of it
        assert_eq!(at_broker("", "acme").as_deref(), Some(""));
        let told = ids.call(names("", "acme"), "r", true).expect("an id");
        assert_eq!((&*told.at_broker, &*told.itself), ("acme:r", "r"));
        let own = ClientIds::builder().prefix("${username}:");
        let own = own.require(Require::equals_username()).build();
        let own = own.expect("a prefix").call(names("", "acme"), "r", true);
        assert!(own.is_err(), "an empty id is not the one that is required");
        for username in ["", "acme:x", ":"] {
            assert_eq!(at_broker("x", username), None, "{username}");
        }
        for prefix in ["${username}", "", "${client_id}:", "*:"] {
            assert!(
                ClientIds::builder().prefix(prefix).build().is_err(),
                "{prefix}"
            );
        }
    }

    #[test]
    fn generated_ids_are_ones_that_are_required() {
        for (require, itself) in [
            (Require::ANY, "r"),
            (Require::equals_username(), "acme"),
            (Require::prefix_username("-").expect("a pattern"), "acme-r"),
            (
                Require::template("x*y${username}").expect("a pattern"),
                "xryacme",
            ),
        ] {
            let ids = ClientIds::builder()
                .require(require)
                .prefix("${username}:")
                .generate(true);
            let ids = ids.build().expect("a prefix");
            let called = ids.call(names("", "acme"), "r", false).expect("an id");
            assert_eq!(called.itself, itself);
            assert_eq!(called.at_broker, format!("acme:{itself}"));
            // and the client may come back with it
            let again = ids.call(names(itself, "acme"), "s", false);
            assert_eq!(again, Ok(called));
        }
    }

    #[test]
    fn refusals_say_why() {
        let ids = ids(Require::prefix_username("-").expect("a pattern"));
        for (id, username, expected) in [
            ("x", "acme", "the client id belongs to another user"),
            (
                "x",
                "",
                "a client without a user name has no client id here",
            ),
            (
                "x",
                "a-b",
                "user name contains `-`, which ends the user name in a client id",
            ),
        ] {
            let error = ids.check(names(id, username)).expect_err("no id");
            assert_eq!(error.to_string(), expected);
        }
    }
}
