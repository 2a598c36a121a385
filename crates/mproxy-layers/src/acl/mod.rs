//! Access rules: who may publish and read what.
//!
//! An [`Acl`] is an ordered list of [`Rule`]s; the first one that applies to what a client wants
//! to do decides, and if none does, the default does. It is compiled once and shared by all
//! sessions; a session adds no more than its own names, which stand in for `${client_id}`,
//! `${username}` and, if a layer outside verified a certificate, `${cn}`.
//!
//! # Publishing
//!
//! A rule applies to a PUBLISH, or a will, if one of its topic patterns matches the topic.
//!
//! # Subscribing
//!
//! A filter asks for many topics at once, so "which rule matches" is the wrong question for it. In
//! order,
//! * a **deny** rule applies to a filter if one of its patterns *overlaps* it: some topic that
//!   the filter asks for is denied;
//! * an **allow** rule applies to a filter if one of its patterns *covers* it: every topic that
//!   the filter asks for is allowed;
//! * either applies to a filter that its `filters` name: that very filter, whatever it matches.
//!
//! `$share/{group}/` is taken off first. If the filter is granted, every topic it matches may be
//! read by the rules. Proof: let rule *k* grant filter *F*, and let *F* match topic *t*. A deny
//! rule before *k* does not overlap *F*, so it does not match *t*. Hence among the rules up to *k*
//! only allow rules can match *t*, and *k* does, because it covers *F* (or names it, and a filter
//! named in an allow rule allows reading what it matches). So the first rule that matches *t* is an
//! allow rule. If *F* is granted by the default, no deny rule overlaps *F* at all, and the first
//! rule that matches *t*, if there is one, is an allow rule again.
//!
//! # Deliveries
//!
//! A rule for `subscribe` is a rule for reading: it also judges what is delivered, wherever
//! deliveries are checked. A rule for `deliver` judges deliveries only.
//!
//! Checking deliveries does not replace judging a shared subscription: the broker gives each
//! message to one client of the group, and a client that may not read it would swallow it. So
//! [`SubscribePolicy::FilterDeliveries`] still judges those.
//!
//! # The broker's own topics
//!
//! A topic or filter that begins with `$` is only ever allowed by a pattern that begins with a
//! written `$`. The default does not apply to it, so that `$queue/x`, `$exclusive/x` or
//! `$delayed/5/x` do not lead around a rule about `x`. Who allows `$queue/#` allows everything that
//! the broker makes reachable there. To allow such forms as far as the rules allow what they are
//! about, name the [dialect](AclBuilder::dialect) of the broker: `$delayed/5/x` is judged as `x` then,
//! and rules cannot name the form itself. A form within a form is denied.
//!
//! # Brokers that read topics otherwise
//!
//! RabbitMQ reads `.` as `/`, `*` as `+` and `$` as a letter, NATS reads `*` as `+` and `>` as `#`.
//! With its [dialect](AclBuilder::dialect), everything is judged as the broker reads it: before
//! RabbitMQ, `devices.d7.up` may be published where `devices/d7/up` may, and `secret.x` not where
//! `secret/#` is denied. What the broker does not read as a topic of MQTT is denied. Rules are written
//! as the broker reads them; others are an error. Without the dialect, there are ways around the rules.
//!
//! # Rules for some clients
//!
//! A rule may say [whom it is about](Rule): for all other clients it is as if it were not there. So
//! everything above holds for the rules that are left. Which these are is decided once, at CONNECT.
//!
//! # Clients without a usable name
//!
//! A client id, user name or common name that is missing, empty, or contains `/`, `+`, `#` or U+0000, or what
//! the broker reads otherwise, fills no placeholder; at the beginning of a pattern neither does one that begins with `$`. An allow rule
//! that would need it says nothing, and a denial by default [names it](Decision::left_out). A deny rule that would need it cannot know what to protect from
//! this client, so it denies those actions on every topic: an unusable name never
//! gains access.
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
//! // Nobody gains anything by choosing a strange name.
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
