//! `type = "client-id"`: who may use which client id.

use super::{Choice, Template};
use mproxy_layers::client_id::{ClientIds, PatternError, Require};

/// The settings of the layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientId {
    /// Which ids a client may use.
    pub require: ClientIdRequire,
    /// Whether `require = "any"` was written: nobody else owns the ids, and that is wanted.
    pub any_is_wanted: bool,
    /// What stands behind the user name with `prefix-username`.
    pub separator: String,
    /// What an id looks like with `template`.
    pub template: Option<Template>,
    /// What stands before the id at the broker.
    pub prefix: Option<Template>,
    /// Whether the proxy makes up ids for clients without.
    pub generate: bool,
}

/// Which ids a client may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientIdRequire {
    /// Every one.
    Any,
    /// The user name.
    EqualsUsername,
    /// The user name, or what begins with it and a separator.
    PrefixUsername,
    /// What looks like the template.
    Template,
}

impl Choice for ClientIdRequire {
    const ALL: &'static [(&'static str, Self)] = &[
        ("any", Self::Any),
        ("equals-username", Self::EqualsUsername),
        ("prefix-username", Self::PrefixUsername),
        ("template", Self::Template),
    ];
}

impl ClientId {
    /// Compiles what is required.
    ///
    /// # Errors
    ///
    /// An id would not tell whose it is.
    pub fn required(&self) -> Result<Require, PatternError> {
        match (self.require, &self.template) {
            (ClientIdRequire::Any, _) => Ok(Require::ANY),
            (ClientIdRequire::EqualsUsername, _) => Ok(Require::equals_username()),
            (ClientIdRequire::PrefixUsername, _) => Require::prefix_username(&self.separator),
            (ClientIdRequire::Template, template) => {
                Require::template(template.as_ref().map_or("", Template::as_str))
            }
        }
    }

    /// Compiles the whole.
    ///
    /// # Errors
    ///
    /// As for [`required`](Self::required), or the prefix would make one client of two.
    pub fn compile(&self) -> Result<ClientIds, PatternError> {
        let mut ids = ClientIds::builder()
            .require(self.required()?)
            .generate(self.generate);
        if let Some(prefix) = &self.prefix {
            ids = ids.prefix(prefix.as_str());
        }
        ids.build()
    }
}
