//! Who may use which client id, and what the broker sees of it.
//!
//! Nobody checks a client id: a client that connects with the id of another takes over its
//! session, with all that is queued in it. `[MQTT-3.1.4-3]` So a proxy that knows the user may say which
//! ids are whose ([`Require`]), or make two users' ids different ([`prefix`](ClientIdsBuilder::prefix)).
//!
//! * What is required is decided on CONNECT: another id is refused, 0x85 or, in MQTT 3, 2.
//! * A prefix stands before the id on the way to the broker. It is not put before an empty id, which
//!   would make one client of all that have none. `[MQTT-3.1.3-7]`
//! * An empty id stays empty, and the broker assigns one, unless the proxy is to
//!   [generate](ClientIdsBuilder::generate) it. Then it is one that is required, with 128 random bits
//!   where anything may stand, and a client of MQTT 5.0 is told. `[MQTT-3.2.2-16]`
//! * With a prefix, a client of MQTT 5.0 that may have an empty id always gets one from the proxy. One
//!   that the broker assigned would not have the prefix: the client would come back with the prefix
//!   before it, and not find its session. A client of MQTT 3 is told no id and comes back without one.
//!
//! # Whose id it is
//!
//! Both are only built if an id tells who may use it: `${username}${cn}` does not, and neither does
//! `${username}*`, where `*` is anything, because `ab` may be what `a` chose. Behind a placeholder stands
//! a separator, and a client whose name contains its first character (in front of it, behind the `*`:
//! its last) is not let in.
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
