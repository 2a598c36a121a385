//! TOML to a validated [`Config`].
//!
//! ```text
//! files, environment, flags --document--> one tree, every value with its place
//!                           --read------> File: the tables and keys that exist
//!                           --validate--> Config: checked, resolved, plain types
//! ```
//! No step stops at the first problem; all of them end up in one
//! [`Report`](crate::diagnostics::Report).

mod context;
mod document;
mod environment;
mod file;
mod load;
mod model;
mod read;
mod scalar;
mod show;
mod validate;

pub(crate) use document::Location;
pub(crate) use environment::Environment;
#[cfg(feature = "demo")]
pub(crate) use load::from_text;
pub(crate) use load::{Loaded, Request, load};
#[allow(unused_imports)] // the whole vocabulary of a configuration, whoever uses which word
pub(crate) use model::{
    AccessEvent, AccessLog, Acl, AclAction, AclDefault, AclOnDeny, AclRule, AclSubscribe, Admin,
    Bind, Bridges, Chain, Choice, ClientId, ClientIdRequire, Config, Conformance,
    ControlCharacters, DeniedWill, Dialect, DrainNotice, DrainWills, HealthCheck, Layer, LayerKind,
    Limits, Listener, Log, LogFormat, MAX_CHAIN_LAYERS, MqttVersion, Placeholder, PropertyEdit,
    PropertyEdits, Rate, Reauthentication, ReceiveMaximum, Server, ServerReference, Template,
    TopicMap, TopicMapRule, Transport, TransportName, Upstream, UpstreamAddress, VendorForm,
    WhenUnreachable,
};
pub(crate) use scalar::{LogLevel, log_filter, parse};
pub(crate) use show::show;

/// The default configuration with every key explained.
pub(crate) const DEFAULT_TOML: &str = include_str!("../../../../config/mproxy.toml");

/// The JSON schema of the configuration.
pub(crate) fn schema() -> schemars::Schema {
    schemars::schema_for!(file::File)
}
