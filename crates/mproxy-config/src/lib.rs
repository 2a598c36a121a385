#![doc = include_str!("../README.md")]
//!
//! # How a text becomes a configuration
//!
//! ```text
//! files, environment, flags --document--> one tree, every value with its place
//!                           --read------> File: the tables and keys that exist
//!                           --validate--> Config: checked, resolved, plain types
//! ```
//! No step stops at the first problem; all of them end up in one [`Report`](diagnostics::Report).

mod context;
pub mod diagnostics;
mod diff;
mod document;
mod environment;
mod file;
mod load;
mod model;
mod read;
mod scalar;
mod show;
mod validate;

pub use diff::{Changes, diff};
pub use document::{Content, Contents, Location};
pub use environment::Environment;
pub use load::{Loaded, Request, from_text, load, load_text};
pub use model::{
    AccessEvent, AccessLog, Acl, AclAction, AclDefault, AclOnDeny, AclRule, AclSubscribe, AclWho,
    Admin, Bind, Bridges, Chain, Choice, ClientId, ClientIdRequire, Config, Conformance,
    ControlCharacters, DeniedWill, Dialect, DrainNotice, DrainWills, HealthCheck, Layer, LayerKind,
    Limits, Listener, Log, LogFormat, MAX_CHAIN_LAYERS, MqttVersion, Placeholder, PropertyEdit,
    PropertyEdits, Rate, Reauthentication, ReceiveMaximum, Server, ServerReference, Template,
    TopicMap, TopicMapRule, Transport, TransportName, Upstream, UpstreamAddress, UpstreamHealth,
    VendorForm, WhenUnreachable,
};
pub use scalar::{LogLevel, Problem, Raw, Scalar, log_filter, parse};
pub use show::show;

/// The default configuration with every key explained.
pub const DEFAULT_TOML: &str = include_str!("../../../config/mproxy.toml");

/// The JSON schema of the configuration.
#[must_use]
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(file::File)
}
