//! A map of topics, undone on the way back: each client, or tenant, in a place of its own.
//!
//! The client sees `a/b`, the broker sees `tenants/7/a/b`. Names that the client publishes to (its
//! will and its Response Topics included) and filters it subscribes to are mapped; names that are
//! delivered to it, and the Response Information in CONNACK, are mapped back. What does not fit into
//! that picture does not pass:
//!
//! * Topics and filters that begin with `$` belong to the broker, and have no place in a map:
//!   refused, but for the forms of the [dialect](TopicMapBuilder::dialect) of the broker, in which the
//!   topic inside is mapped. A delivery that would begin with `$` for the client is dropped, because
//!   the client's `#` must not match it. `[MQTT-4.7.2-1]`
//! * A delivery that has no name for the client is dropped: a client's `#` becomes `tenants/7/#`,
//!   which also matches `tenants/7`. A Response Topic or Response Information that has none is left
//!   out.
//! * A topic that the broker does not read as a topic of MQTT, which depends on its
//!   [dialect](TopicMapBuilder::dialect), is refused, and a delivery of one dropped. Others are mapped
//!   as the broker reads them: before RabbitMQ, to which `.` is `/`, `a.b` becomes `tenants/7/a/b`.
//!   Without the dialect, there are ways into the place of another client.
//! * A topic that would be longer than 65,535 bytes is refused, never cut. `[MQTT-4.7.3-3]`
//! * A client whose client id, user name or common name is needed in the map, and is missing, empty,
//!   contains `/`, `+`, `#`, U+0000 or what the broker reads otherwise, or would make a topic begin with `$`, is not let in.
//!
//! # Rules
//!
//! A prefix is a map with one [rule](MapRule). With several, the first whose `from` a topic begins
//! with replaces that by its `to`; topics that no rule covers are refused. A filter is mapped
//! if all that it matches is mapped alike, and refused otherwise: with a rule about `devices/`, the
//! filter `#` asks for two places at once, unless the rule about everything else would have put
//! `devices/` there, too.
//!
//! A map is only built if it can be undone, for all topics and all clients: no two topics, of one
//! client or of two, become one at the broker. Rules that do not fulfil that are refused with an
//! [example](Collision). So two subscriptions never become one, `[MQTT-3.8.4-3]`, and what belongs to
//! one client is never reached by another. For the second, a rule whose `to` has no placeholder has to
//! say that it is [shared](MapRule::shared), if others have one. There all clients may read; to
//! publish there, also by a will or a Response Topic, is refused unless the rule is
//! [writable](MapRule::writable).
//!
//! # Shared subscriptions
//!
//! `$share/group/filter` and `$oshare/group/filter` keep their form, and what stands behind the group
//! is mapped. The group is put under the name of the tenant, so that tenants do not take each other's
//! messages: `workers` of the user `acme` becomes `acme:workers`. In front of the colon are the values
//! of the placeholders that all rules have in common (or, if they have none in common, of all that
//! there are), user name before client id before common name, each followed by a colon; `%` and `:` in
//! them are written `%25` and `%3A`. So the first colons tell where the values end, whatever the
//! client calls its group, and no two tenants have a group in common. It can be
//! [turned off](TopicMapBuilder::tenant_groups).
//!
//! # Clients that see everything
//!
//! [Named](TopicMapBuilder::super_usernames) clients are not mapped at all: they see the broker as it
//! is, all tenants included. User name and client id are what layers outside made of them; a layer
//! that checks them belongs there, because anybody can claim a name.
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
