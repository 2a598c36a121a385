//! Decides who may use which client id, and which id the broker sees.
//!
//! Brokers do not check client ids: a client that connects with the id of another takes over its
//! session, with all its queued messages. `[MQTT-3.1.4-3]` A proxy that knows the user can require ids
//! that belong to the user ([`Require`]), or make the ids of users differ
//! ([`prefix`](ClientIdsBuilder::prefix)).
//!
//! * The requirement is checked at CONNECT: another id is refused with 0x85 or, in MQTT 3, 2.
//! * The prefix is added to the id on the way to the broker. It is not added to an empty id, because
//!   then all clients without an id would be one. `[MQTT-3.1.3-7]`
//! * An empty id stays empty, and the broker assigns one, unless the proxy
//!   [generates](ClientIdsBuilder::generate) it: an id that fulfils the requirement, with 128 random
//!   bits for `*`, which CONNACK tells an MQTT 5.0 client. `[MQTT-3.2.2-16]`
//! * With a prefix, an MQTT 5.0 client that may have an empty id always gets one from the proxy. An id
//!   assigned by the broker would not have the prefix: the client would reconnect with that id, the
//!   proxy would add the prefix, and the session would not be found. MQTT 3 clients are not told an id
//!   and reconnect without one.
//!
//! # Each id belongs to one user
//!
//! A requirement or prefix is valid only if two users can never have the same id. `${username}${cn}`
//! is not valid, and neither is `${username}*`, where `*` is any text, because user `a` could choose
//! the id `ab`. A placeholder must be followed by a separator, and a client whose name contains the
//! first character of the separator is refused (for a placeholder after `*`, the last character of the
//! separator before it).
//!
//! # Examples
//!
//! ```
//! use mproxy_layers::{Names, client_id::{ClientIds, Require}};
//!
//! let ids = ClientIds::builder().require(Require::template("${username}-*")?).build()?;
//! assert!(ids.check(Names::new("acme-7", Some("acme"))).is_ok());
//! assert!(ids.check(Names::new("other-7", Some("acme"))).is_err());
//! assert!(ids.check(Names::new("acme-7-x", Some("acme-7"))).is_err());
//!
//! assert!(Require::template("${username}*").is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod ids;
mod layer;
mod pattern;
mod to_client;

pub use self::{
    ids::{ClientIds, ClientIdsBuilder, NotOwned, Require},
    layer::ClientIdLayer,
    pattern::PatternError,
    to_client::ClientIdToClient,
};
