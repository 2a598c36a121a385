//! `[layers.NAME]` of type `property-edit`.

use super::{Listing, Setting};
use crate::model::Reauthentication;
use crate::scalar::{Text, TextTemplate};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// `type = "property-edit"`: what is done to User Properties of MQTT 5 that clients send.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub(crate) struct PropertyEditFile {
    /// Names of properties that are taken out.
    #[schemars(extend("default" = []))]
    pub strip: Listing<Text>,
    /// Properties that take the place of all others of their name; ${username}, ${client_id} and
    /// ${cn} are filled in.
    pub set: BTreeMap<String, Setting<TextTemplate>>,
    /// Properties that are appended, whatever else there is.
    pub add: BTreeMap<String, Setting<TextTemplate>>,
    /// A client that authenticates again while it is connected (AUTH 0x19), if the layer goes by
    /// names. refuse: it is closed with 0x8C; pass: the names stay those of CONNECT.
    #[schemars(extend("default" = "refuse"))]
    pub reauthentication: Setting<Reauthentication>,
    /// The same for what clients receive.
    pub to_client: ToClientFile,
}

/// What is done to User Properties that clients receive.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub(crate) struct ToClientFile {
    /// Names of properties that are taken out.
    #[schemars(extend("default" = []))]
    pub strip: Listing<Text>,
    /// Properties that take the place of all others of their name.
    pub set: BTreeMap<String, Setting<TextTemplate>>,
    /// Properties that are appended, whatever else there is.
    pub add: BTreeMap<String, Setting<TextTemplate>>,
}
