//! `[layers.NAME]` of type `client-id`.

use super::Setting;
use crate::model::ClientIdRequire;
use crate::scalar::{Text, TextTemplate};
use schemars::JsonSchema;
use serde::Deserialize;

/// `type = "client-id"`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub(crate) struct ClientIdFile {
    /// Which ids a client may use; others are refused. prefix-username: the user name, or what
    /// begins with it and the separator; template: what looks like `template`.
    #[schemars(extend("default" = "any"))]
    pub require: Setting<ClientIdRequire>,
    /// What stands behind the user name with prefix-username. User names that hold its first
    /// character are refused.
    #[schemars(extend("default" = "-"))]
    pub separator: Setting<Text>,
    /// ${username} and ${cn} are filled in, one * stands for anything that is not empty.
    pub template: Setting<TextTemplate>,
    /// What stands before the id at the broker; ${username} and ${cn} are filled in. An MQTT 5
    /// client without an id gets one from mproxy then.
    pub prefix: Setting<TextTemplate>,
    /// Make up an id for a client without one, instead of leaving that to the broker.
    #[schemars(extend("default" = false))]
    pub generate: Setting<bool>,
}
