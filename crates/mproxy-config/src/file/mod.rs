//! The configuration file as serde sees it: the keys, their descriptions, their types.
//!
//! This is the only list of keys. The reader takes the known keys from it, the JSON schema
//! is generated from it. Values are [`Setting`]s: unchecked, with their place in the text.

mod client_id;
mod layer;
mod listener;
mod property_edit;
mod server;
mod setting;
mod topic_map;
mod upstream;

pub(crate) use client_id::ClientIdFile;
pub(crate) use layer::{AccessLogFile, AclFile, ChainFile, LayerFile, RuleFile};
pub(crate) use listener::{LimitsFile, ListenerFile};
pub(crate) use property_edit::{PropertyEditFile, ToClientFile};
pub(crate) use server::{AdminFile, LogFile, ServerFile};
pub(crate) use setting::{Listing, Located, Setting};
pub(crate) use topic_map::{MapRuleFile, SuperFile, TopicMapFile};
pub(crate) use upstream::{HealthFile, UpstreamFile};

use super::scalar::FormatVersion;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Configuration of mproxy-server. Everything has a default: an empty file is a proxy from
/// 127.0.0.1:1884 to mqtt://127.0.0.1:1883.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "mproxy.toml")]
pub(crate) struct File {
    /// Version of the configuration format.
    #[schemars(extend("default" = 1))]
    pub version: Setting<FormatVersion>,
    /// What concerns the whole process.
    pub server: ServerFile,
    /// Where clients connect. Without any: one named `mqtt`.
    pub listeners: Vec<Located<ListenerFile>>,
    /// The brokers, by name. Without any: `broker`, mqtt://127.0.0.1:1883.
    pub upstreams: BTreeMap<String, Located<UpstreamFile>>,
    /// Chains of layers, by name. Without any: `default`, which is empty.
    pub chains: BTreeMap<String, Located<ChainFile>>,
    /// Layers, by name.
    pub layers: BTreeMap<String, Located<LayerFile>>,
    /// Health, metrics and version over HTTP.
    pub admin: AdminFile,
    /// The log of the process.
    pub log: LogFile,
}
