#![doc = include_str!("../README.md")]
//!
//! # How a text becomes a configuration
//!
//! ```text
//! files, environment, flags --document--> one tree, every value with its place
//!                           --section---> the tables and keys that exist, as they are written
//!                           --validate--> Config: checked, resolved, plain types
//! ```
//! No step stops at the first problem; all of them end up in one [`Report`](diagnostics::Report).
//!
//! # Where to add something
//!
//! A key is one declaration in the file of its table ([`Listener`], [`Limits`], [`Upstream`] ..): its
//! description, type, default and check. A type of layer is one file in `layer` and one line in
//! [`for_each_layer!`].
#![forbid(unsafe_code)]

mod admin;
mod bans;
mod chain;
mod choice;
mod context;
pub mod diagnostics;
mod diff;
mod document;
mod environment;
mod explain;
mod layer;
mod limits;
mod listener;
mod load;
mod log;
mod places;
mod proxy_protocol;
mod root;
mod scalar;
mod section;
mod server;
mod tls;
mod upstream;
mod validate;

pub use admin::Admin;
pub use bans::{BanMode, BanPoints, Bans, Subject, Subjects};
pub use chain::{Chain, MAX_CHAIN_LAYERS};
pub use choice::Choice;
pub use diff::{Changes, diff};
pub use document::{Content, Contents, Location};
pub use environment::Environment;
pub use explain::{explain, key_paths};
pub use layer::{
    AccessEvent, AccessLog, Acl, AclRule, AclWho, Built, ClientId, ClientIdRequire, Layer,
    LayerConfig, LayerKind, Place, PropertyEdit, PropertyEdits, PublishRule, PublishRules,
    Reauthentication, SuperClients, TopicMap, TopicMapRule,
};
pub use limits::Limits;
pub use listener::{DenyAction, Listener, Protocol};
pub use load::{Loaded, Request, from_text, load, load_text};
pub use log::{Log, LogFormat};
pub use places::Places;
pub use proxy_protocol::ListenerProxy;
pub use root::{Config, show};
pub use scalar::{LogLevel, Problem, Raw, Scalar, Template, log_filter, parse};
pub use server::{DrainNotice, DrainWills, Server};
pub use tls::{
    Certificate, ListenerTls, NameFrom, OnUnavailable, Revocation, RevocationDepth, TlsPlace,
    UpstreamTls,
};
pub use upstream::{HealthCheck, Prefer, Upstream, UpstreamAdmission, UpstreamHealth, WhenFull};

/// The default configuration with every key explained.
pub const DEFAULT_TOML: &str = include_str!("../../../config/mproxy.toml");

/// The JSON schema of the configuration.
#[must_use]
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(root::ConfigKeys)
}
