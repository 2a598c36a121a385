//! A reversible map of topics: each client, or tenant, has its own topics at the broker.
//!
//! The client sees `a/b`, the broker sees `tenants/7/a/b`. The layer maps names that the client
//! publishes to (including its will and Response Topics) and filters that it subscribes to. It maps
//! back names that are delivered to the client, and the Response Information in CONNACK. Everything
//! else is refused or dropped:
//!
//! * Topics and filters that begin with `$` belong to the broker, and are refused, except for the
//!   vendor forms of the [dialect](TopicMapBuilder::dialect), in which the topic inside is mapped. A
//!   delivery that would begin with `$` for the client is dropped, because the client's `#` must not
//!   match it. `[MQTT-4.7.2-1]`
//! * A delivery that has no name for the client is dropped: a client's `#` becomes `tenants/7/#`,
//!   which also matches `tenants/7`. A Response Topic or Response Information without one is removed.
//! * A topic that the broker does not read as an MQTT topic, according to its
//!   [dialect](TopicMapBuilder::dialect), is refused, and such a delivery is dropped. Other topics are
//!   mapped as the broker reads them: for RabbitMQ, which reads `.` as `/`, `a.b` becomes
//!   `tenants/7/a/b`. With the wrong dialect, clients can reach topics of other clients.
//! * A topic that would be longer than 65,535 bytes is refused, never cut. `[MQTT-4.7.3-3]`
//! * A client is not let in if the map needs its client id, user name or common name, and this name is
//!   missing, empty, contains `/`, `+`, `#`, U+0000 or characters that the broker reads differently, or
//!   would make a topic begin with `$`.
//!
//! # Rules
//!
//! A prefix is a map with one [rule](MapRule). With several rules, the first one whose `from` a topic
//! begins with replaces it by its `to`; topics that no rule covers are refused. A filter is mapped only
//! if every topic that it can match falls under the same rule: with a rule for `devices/`, the filter
//! `#` is refused, unless the rule for all other topics would map `devices/` to the same place.
//!
//! A map is built only if it can be reversed, for all topics and all clients: no two topics, of one
//! client or of two, become one at the broker. Other rules are refused with an [example](Collision). So
//! two subscriptions never become one, `[MQTT-3.8.4-3]`, and one client never reaches topics of
//! another. For the latter, a rule whose `to` has no placeholder must be [shared](MapRule::shared) if
//! other rules have one. All clients may read there; publishing there, also by a will or a Response
//! Topic, is refused unless the rule is [writable](MapRule::writable).
//!
//! # Shared subscriptions
//!
//! `$share/group/filter` and `$oshare/group/filter` keep their form, and the filter after the group
//! is mapped. The group gets the name of the tenant, so that tenants do not take each other's
//! messages: `workers` of the user `acme` becomes `acme:workers`. In front of the colon are the values
//! of the placeholders that all rules have in common (or, if they have none in common, of all that
//! there are), user name before client id before common name, each followed by a colon; `%` and `:` in
//! them are written `%25` and `%3A`. So the first colons tell where the values end, whatever the
//! client calls its group, and no two tenants have a group in common. It can be
//! [turned off](TopicMapBuilder::tenant_groups).
//!
//! # Clients that see everything
//!
//! [Super clients](TopicMapBuilder::super_usernames) are not mapped: they see the broker as it is,
//! all tenants included. They are found by user name and client id as the outer layers left them.
//! Put a layer that checks these names outside, because any client can claim a name.
//!
//! # Examples
//!
//! ```
//! use mproxy_layers::{Names, topic_map::{MapRule, TopicMap}};
//!
//! let map = TopicMap::prefix("tenants/${username}/")?;
//! let map = map.for_client(Names::new("d7", Some("acme")))?;
//! assert_eq!(map.map_name("up")?, "tenants/acme/up");
//! assert_eq!(map.map_filter("$share/g/+/down")?, "$share/acme:g/tenants/acme/+/down");
//! assert_eq!(map.unmap_name("tenants/acme/7/down").as_deref(), Some("7/down"));
//! assert_eq!(map.unmap_name("tenants/other/7/down"), None);
//!
//! let map = TopicMap::builder()
//!     .rule(MapRule::new("news/", "public/news/").shared(true))
//!     .rule(MapRule::new("", "tenants/${username}/"))
//!     .build()?;
//! let map = map.for_client(Names::new("d7", Some("acme")))?;
//! assert_eq!(map.map_filter("news/#")?, "public/news/#");
//! assert!(map.map_filter("#").is_err());
//!
//! let unsafe_map = TopicMap::prefix("${username}${client_id}/");
//! assert!(unsafe_map.is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod builder;
mod error;
mod layer;
mod map;
mod proof;
mod properties;
mod rule;
mod shared;
mod to_client;
mod to_server;

pub use self::{
    builder::TopicMapBuilder,
    error::{Collision, MapError, MapProblem, Named, TopicMapError, UnusableName},
    layer::TopicMapLayer,
    map::{SessionMap, TopicMap},
    rule::MapRule,
    to_client::TopicMapToClient,
    to_server::TopicMapToServer,
};
