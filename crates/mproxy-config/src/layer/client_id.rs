//! `type = "client-id"`: who may use which client id.

use super::{At, Built, LayerConfig, Place};
use crate::choice::{Choice, words};
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::scalar::{Template, Text, TextTemplate};
use crate::section::{Maybe, Setting, section};
use crate::validate::placeholders::{self, Known};
use mproxy_layers::Observer;
use mproxy_layers::client_id::{ClientIdLayer, ClientIdToClient, ClientIds, PatternError, Require};
use mproxy_session::{BoxError, Heads, Tap};

section! {
    /// Who may use which client id, and which id the broker sees.
    ///
    /// A client that connects with the id of another takes over its session, so an id must belong to one
    /// user. mproxy refuses settings that would give one id to two users, and shows an example.
    ClientId, ClientIdKeys in "[layers.NAME] of type \"client-id\"" layer "client-id",
        reload "at once; sessions whose client id would change are closed"
    {
        /// Ids that clients may use: "any", "equals-username", "prefix-username" or "template".
        ///
        /// equals-username: the user name. prefix-username: the user name, alone or followed by the separator
        /// and more. template: ids that match `template`. mproxy refuses other ids with 0x85, or 2 in MQTT 3,
        /// and all clients without a user name; guests.toml has a listener for them.
        ///
        /// any: every client may use every id, as without the key. If you write it, `check` takes it as
        /// intended and does not warn.
        require: ClientIdRequire = "any";
        /// Separator after the user name, with "prefix-username".
        ///
        /// mproxy refuses user names that contain its first character: `a-b` could be the id `b` of user `a`.
        separator: String as Setting<Text> = "-", shown Self::asks_separator;
        /// With "template": ${username} and ${cn} are filled in, one * is any non-empty text.
        template: Option<Template> as Maybe<TextTemplate>;
        /// Prefix of the id at the broker; ${username} and ${cn} are filled in.
        ///
        /// With `${username}`, two users never have the same id there. An MQTT 5 client without an id gets one
        /// from mproxy, as with `generate`: an id assigned by the broker would not have the prefix, and the
        /// client would not find its session again.
        prefix: Option<Template> as Maybe<TextTemplate>;
        /// Generate an id for a client without one, instead of leaving that to the broker.
        ///
        /// CONNACK tells MQTT 5 clients the id. mproxy adds the prefix.
        generate: bool = false;
    }
    also {
        /// Whether `require = "any"` was written: nobody owns the ids, and the operator wants that.
        any_is_wanted: bool;
    }
}

/// Which ids a client may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientIdRequire {
    /// Every one.
    Any,
    /// The user name.
    EqualsUsername,
    /// The user name, alone or followed by a separator and more.
    PrefixUsername,
    /// Ids that match the template.
    Template,
}

words! {
    ClientIdRequire {
        "any": Any, "equals-username": EqualsUsername, "prefix-username": PrefixUsername,
        "template": Template,
    }
}

impl ClientId {
    fn asks_separator(&self) -> bool {
        self.require == ClientIdRequire::PrefixUsername
    }

    /// Compiles what is required.
    ///
    /// # Errors
    ///
    /// Two users could have the same id.
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
    /// As for [`required`](Self::required), or the prefix would give two clients the same id.
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

impl ClientId {
    /// Checks the rules for client ids, and that two users cannot have the same id.
    pub(super) fn check(cx: &mut Context, at: At<'_>, keys: &ClientIdKeys) -> Option<Self> {
        let header = at.header;
        let any_is_wanted = keys.require.text() == Some(ClientIdRequire::Any.word());
        let ids = Self::read(cx, keys, any_is_wanted);
        for (template, setting) in [(&ids.template, &keys.template), (&ids.prefix, &keys.prefix)] {
            if let (Some(template), Some(span)) = (template, setting.span()) {
                placeholders::check(cx, template, &span, Known::Owner);
            }
        }
        if misplaced(cx, keys, ids.require) {
            // Other problems of the layer may follow from the missing key.
            return None;
        }
        if ids.require == ClientIdRequire::Template && keys.template.given.is_none() {
            let message = "`require = \"template\"` without `template`";
            let span = keys.require.span().unwrap_or_else(|| header.clone());
            let label = "add, for example, `template = \"${username}-*\"`";
            cx.push(Diagnostic::error(message).at(span).label(label));
            return None;
        }
        if ids.template.is_some() != keys.template.given.is_some()
            || ids.prefix.is_some() != keys.prefix.given.is_some()
        {
            return None;
        }
        let required = ids.required();
        let wrong = match &required {
            Err(error) => Some((error.clone(), keys.template.span())),
            Ok(_) => ids.compile().err().map(|error| (error, keys.prefix.span())),
        };
        if let Some((error, span)) = wrong {
            let span = span.unwrap_or_else(|| header.clone());
            let label = remedy(&error);
            cx.push(Diagnostic::error(error.to_string()).at(span).label(label));
            return None;
        }
        let nobody = required.is_ok_and(|required| required.names_nobody());
        let idle = !ids.any_is_wanted && ids.prefix.is_none() && !ids.generate;
        if let (true, Some(span)) = (nobody, keys.template.span()) {
            let message =
                "`template` is the same for every client, so an id does not belong to anyone";
            let label = "add `${username}` or `${cn}`";
            cx.push(Diagnostic::warning(message).at(span).label(label));
        } else if nobody && idle {
            let message = "a client-id layer that does nothing";
            cx.idle(header, message, "add `require`, `prefix` or `generate`");
        }
        Some(ids)
    }
}

/// Reports keys that only another value of `require` uses.
fn misplaced(cx: &mut Context, keys: &ClientIdKeys, require: ClientIdRequire) -> bool {
    let mut misplaced = false;
    for (span, wanted, key) in [
        (keys.template.span(), ClientIdRequire::Template, "template"),
        (
            keys.separator.span(),
            ClientIdRequire::PrefixUsername,
            "separator",
        ),
    ] {
        if let Some(span) = span
            && require != wanted
        {
            misplaced = true;
            let message = format!("`{key}` has no effect here");
            let label = match wanted {
                ClientIdRequire::Template => "add `require = \"template\"`, or remove this key",
                _ => "add `require = \"prefix-username\"`, or remove this key",
            };
            cx.push(Diagnostic::error(message).at(span).label(label));
        }
    }
    misplaced
}

fn remedy(error: &PatternError) -> &'static str {
    match error {
        PatternError::Ambiguous { .. } => "add a separator after it, such as `-` or `:`",
        PatternError::Wildcard => "remove `*`",
        PatternError::ClientId => "use `${username}` or `${cn}`",
        PatternError::Empty => "remove the key",
        PatternError::Repeated(_) => "remove the second one",
        _ => "not a pattern of client ids",
    }
}

impl LayerConfig for ClientId {
    const TYPE: &'static str = "client-id";
    type Layer<O: Observer> = ClientIdLayer<O>;
    type ToServer<S, O: Observer> = S;
    type ToClient<S, O: Observer> = Heads<ClientIdToClient<Tap<S>>>;

    fn describe(&self) -> String {
        let require = self.require.word();
        match self.require {
            ClientIdRequire::Any => "client-id".to_owned(),
            ClientIdRequire::EqualsUsername => format!("client-id, require = {require}"),
            ClientIdRequire::PrefixUsername => format!(
                "client-id, require = {require}, separator = {}",
                self.separator
            ),
            ClientIdRequire::Template => format!(
                "client-id, require = {require}, template = {}",
                self.template.as_ref().map_or("", Template::as_str)
            ),
        }
    }

    fn build<O: Observer>(&self, place: Place<O>) -> Result<Built<ClientIdLayer<O>>, BoxError> {
        let layer = ClientIdLayer::new(self.compile()?);
        Ok(Built::indifferent(layer.observer(place.observer)))
    }
}
