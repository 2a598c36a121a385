//! The validated configuration: plain types that the rest of the program may trust.
//!
//! Every reference is resolved, every default filled in, every bound checked. Nothing in
//! here knows TOML, and nothing outside of [`config`](crate::config) builds one of these.

mod access_log;
mod acl;
mod bind;
mod choice;
mod client_id;
mod layer;
mod listener;
mod property_edit;
mod rate;
mod reauthentication;
mod server;
mod template;
mod topic_map;
mod upstream;
mod vendor;

pub(crate) use access_log::{AccessEvent, AccessLog};
pub(crate) use acl::{
    Acl, AclAction, AclDefault, AclOnDeny, AclRule, AclSubscribe, AclWho, DeniedWill,
};
pub(crate) use bind::Bind;
pub(crate) use choice::Choice;
pub(crate) use client_id::{ClientId, ClientIdRequire};
pub(crate) use layer::{Chain, Layer, LayerKind, MAX_CHAIN_LAYERS};
pub(crate) use listener::{
    Bridges, Conformance, ControlCharacters, Limits, Listener, MqttVersion, ReceiveMaximum,
    ServerReference, Transport, TransportName,
};
pub(crate) use property_edit::{PropertyEdit, PropertyEdits};
pub(crate) use rate::Rate;
pub(crate) use reauthentication::Reauthentication;
pub(crate) use server::{Admin, DrainNotice, DrainWills, Log, LogFormat, Server};
pub(crate) use template::{Placeholder, Template};
pub(crate) use topic_map::{TopicMap, TopicMapRule};
pub(crate) use upstream::{
    Dialect, HealthCheck, Upstream, UpstreamAddress, UpstreamHealth, WhenUnreachable,
};
pub(crate) use vendor::VendorForm;

use std::collections::BTreeMap;
use std::sync::Arc;

/// A configuration that was accepted: the proxy can be started from it.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// What concerns the whole process.
    pub(crate) server: Server,
    /// Where clients connect; at least one, names and addresses distinct.
    pub(crate) listeners: Vec<Listener>,
    /// The brokers, by name.
    pub(crate) upstreams: BTreeMap<String, Arc<Upstream>>,
    /// The chains of layers, by name.
    pub(crate) chains: BTreeMap<String, Arc<Chain>>,
    /// The layers, by name; those that no chain uses are here as well.
    pub(crate) layers: BTreeMap<String, Arc<Layer>>,
    /// Health, metrics and version over HTTP.
    pub(crate) admin: Admin,
    /// The log of the process.
    pub(crate) log: Log,
}
