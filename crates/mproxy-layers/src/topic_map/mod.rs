//! A prefix in front of every topic: each client, or tenant, in a tree of its own.
//!
//! The client sees `a/b`, the broker sees `tenants/7/a/b`. Names that the client publishes to (its
//! will and its Response Topics included) and filters it subscribes to get the prefix; names that
//! are delivered to it lose it. What does not fit into that picture does not pass:
//!
//! * Topics and filters that begin with `$` belong to the broker, and mean nothing behind a prefix:
//!   refused. A delivery that would begin with `$` without its prefix is dropped, because the
//!   client's `#` must not match it. `[MQTT-4.7.2-1]`
//! * A shared subscription, `$share/group/filter`, keeps its group and gets the prefix before the
//!   filter.
//! * A delivery that does not have the prefix, or is nothing else than the prefix, is dropped: a
//!   client's `#` becomes `tenants/7/#`, which also matches `tenants/7`.
//! * A topic that would be longer than 65,535 bytes is refused, never cut. `[MQTT-4.7.3-3]`
//! * A client whose client id or user name is needed in the prefix, and is missing, empty, contains
//!   `/`, `+`, `#` or U+0000, or would make the prefix begin with `$`, is not let in.
//!
//! The map is injective, so that two subscriptions never become one. `[MQTT-3.8.4-3]`
//!
//! # Examples
//!
//! ```
//! use mproxy_layers::topic_map::PrefixMap;
//!
//! let map = PrefixMap::new("tenants/${username}/")?;
//! let map = map.for_client("d7", Some("acme"))?;
//! assert_eq!(map.map_name("up")?, "tenants/acme/up");
//! assert_eq!(map.map_filter("$share/g/+/down")?, "$share/g/tenants/acme/+/down");
//! assert_eq!(map.unmap_name("tenants/acme/7/down"), Some("7/down"));
//! assert_eq!(map.unmap_name("tenants/other/7/down"), None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod layer;
mod prefix;
mod properties;
mod shared;
mod to_client;
mod to_server;

pub use self::{
    layer::{ResponseFuture, TopicMapConnect, TopicMapLayer},
    prefix::{MapError, PrefixError, PrefixMap, SessionMap, UnusableName},
    to_client::{DeliveryFuture, TopicMapToClient},
    to_server::TopicMapToServer,
};
