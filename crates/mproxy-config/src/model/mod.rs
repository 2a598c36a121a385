//! The validated configuration: plain types that the rest of the program may trust.
//!
//! Every reference is resolved, every default filled in, every bound checked. Nothing in
//! here knows TOML, and nothing outside of [`config`](crate) builds one of these.

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

pub use access_log::{AccessEvent, AccessLog};
pub use acl::{Acl, AclAction, AclDefault, AclOnDeny, AclRule, AclSubscribe, AclWho, DeniedWill};
pub use bind::Bind;
pub use choice::Choice;
pub use client_id::{ClientId, ClientIdRequire};
pub use layer::{Chain, Layer, LayerKind, MAX_CHAIN_LAYERS};
pub use listener::{
    Bridges, Conformance, ControlCharacters, Limits, Listener, MqttVersion, ReceiveMaximum,
    ServerReference, Transport, TransportName,
};
pub use property_edit::{PropertyEdit, PropertyEdits};
pub use rate::Rate;
pub use reauthentication::Reauthentication;
pub use server::{Admin, DrainNotice, DrainWills, Log, LogFormat, Server};
pub use template::{Placeholder, Template};
pub use topic_map::{TopicMap, TopicMapRule};
pub use upstream::{
    Dialect, HealthCheck, Upstream, UpstreamAddress, UpstreamHealth, WhenUnreachable,
};
pub use vendor::VendorForm;

use std::collections::BTreeMap;
use std::sync::Arc;

/// A configuration that was accepted: the proxy can be started from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What concerns the whole process.
    pub server: Server,
    /// Where clients connect; at least one, names and addresses distinct.
    pub listeners: Vec<Listener>,
    /// The brokers, by name.
    pub upstreams: BTreeMap<String, Arc<Upstream>>,
    /// The chains of layers, by name.
    pub chains: BTreeMap<String, Arc<Chain>>,
    /// The layers, by name; those that no chain uses are here as well.
    pub layers: BTreeMap<String, Arc<Layer>>,
    /// Health, metrics and version over HTTP.
    pub admin: Admin,
    /// The log of the process.
    pub log: Log,
}
