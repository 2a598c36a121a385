//! Access rules: who may publish and read what.
//!
//! An [`Acl`] is an ordered list of [`Rule`]s; the first one that applies to what a client wants
//! to do decides, and if none does, the default does. It is compiled once and shared by all
//! sessions; a session only adds its own names, which replace `${client_id}`, `${username}` and, if
//! an outer layer has verified a certificate, `${cn}`.
//!
//! # Publishing
//!
//! A rule applies to a PUBLISH, or a will, if one of its topic patterns matches the topic.
//!
//! # Subscribing
//!
//! A filter is for many topics at once, so a rule does not simply match it. In order,
//! * a **deny** rule applies to a filter if one of its patterns *overlaps* it: some topic that
//!   the filter asks for is denied;
//! * an **allow** rule applies to a filter if one of its patterns *covers* it: every topic that
//!   the filter asks for is allowed;
//! * either applies to a filter that its `filters` name: that very filter, whatever it matches.
//!
//! `$share/{group}/` is removed first. If a filter is granted, the rules allow reading every topic
//! that it matches. Proof: let rule *k* grant filter *F*, and let *F* match topic *t*. A deny
//! rule before *k* does not overlap *F*, so it does not match *t*. Hence among the rules up to *k*
//! only allow rules can match *t*, and *k* does, because it covers *F* (or names it, and a filter
//! named in an allow rule allows reading what it matches). So the first rule that matches *t* is an
//! allow rule. If *F* is granted by the default, no deny rule overlaps *F* at all, and the first
//! rule that matches *t*, if there is one, is an allow rule again.
//!
//! # Deliveries
//!
//! A rule for `subscribe` is a rule for reading: it also judges deliveries, if they are checked. A
//! rule for `deliver` judges only deliveries.
//!
//! Checking deliveries does not replace judging a shared subscription: the broker gives each
//! message to one client of the group, and if that client may not read it, the group loses it. So
//! [`SubscribePolicy::FilterDeliveries`] still judges shared subscriptions.
//!
//! # The broker's own topics
//!
//! Only a pattern that itself begins with `$` can allow a topic or filter that begins with `$`. The
//! default does not apply to it, so that `$queue/x`, `$exclusive/x` or `$delayed/5/x` cannot bypass a
//! rule about `x`. A rule that allows `$queue/#` allows everything that the broker makes reachable
//! there. To judge such forms by the topic inside, set the [dialect](AclBuilder::dialect) of the
//! broker: `$delayed/5/x` is then judged as `x`, and rules cannot name the form itself. A form within
//! a form is denied.
//!
//! # Brokers that read topics differently
//!
//! RabbitMQ reads `.` as `/`, `*` as `+` and `$` as a letter, NATS reads `*` as `+` and `>` as `#`.
//! With its [dialect](AclBuilder::dialect), everything is judged as the broker reads it: for
//! RabbitMQ, a client may publish to `devices.d7.up` if `devices/d7/up` is allowed, and not to
//! `secret.x` if `secret/#` is denied. Text that the broker does not read as an MQTT topic is denied.
//! Write rules as the broker reads them; others are an error. With the wrong dialect, clients can get
//! around the rules.
//!
//! # Rules for some clients
//!
//! A rule may be limited to [some clients](Rule): for all others, it does not exist. Everything above
//! holds for the remaining rules, which are determined once, at CONNECT.
//!
//! # Clients without a usable name
//!
//! A client id, user name or common name is not usable if it is missing, empty, or contains `/`, `+`,
//! `#`, U+0000 or characters that the broker reads differently; at the start of a pattern, also if it
//! begins with `$`. An allow rule with a placeholder for such a name does not apply, and a denial by
//! default [names it](Decision::left_out). A deny rule with one cannot know what to protect from this
//! client, so it denies those actions on every topic: an unusable name never gains access.
//!
//! # Examples
//!
//! ```
//! use mproxy_layers::acl::{Acl, Actions, Rule};
//!
//! let mut acl = Acl::builder();
//! acl.rule(Rule::deny(Actions::SUBSCRIBE).name("no secrets").topic("devices/+/key"))?;
//! acl.rule(Rule::allow(Actions::PUBLISH | Actions::SUBSCRIBE).topic("devices/${client_id}/#"))?;
//! let acl = acl.build();
//!
//! let mut rules = acl.for_client("d7", None);
//! assert!(rules.decide_publish("devices/d7/up").allowed());
//! assert!(!rules.decide_publish("devices/d8/up").allowed());
//!
//! assert!(rules.decide_subscribe("devices/d7/config").allowed());
//! let denied = rules.decide_subscribe("devices/d7/#");
//! assert_eq!(denied.to_string(), "denied by rule `no secrets`");
//!
//! // A strange name gains nothing.
//! assert!(!acl.for_client("+", None).decide_publish("devices/d8/up").allowed());
//! # Ok::<(), mproxy_layers::acl::AclError>(())
//! ```

mod builder;
mod compiled;
mod decision;
mod groups;
mod index;
mod layer;
mod memory;
mod read;
mod rule;
mod rule_set;
mod session;
mod shared;
mod to_client;
mod to_server;
mod trie;
mod who;

pub use self::{
    builder::{Acl, AclBuilder, AclError, Problem},
    decision::{Cause, Decision},
    layer::{AclLayer, OnDeny, SubscribePolicy},
    rule::{Actions, Effect, Rule, RuleInfo},
    session::SessionAcl,
    to_client::AclToClient,
    to_server::AclToServer,
    trie::{MAX_LEVELS, written_out},
    who::{Network, NetworkError},
};
