//! What the standards oblige a proxy to do, rule by rule, on the wire.
//!
//! [`catalogue`] lists the rules and the versions in which they apply, [`above`] what mproxy does
//! instead of them by default, and [`found`] what other programs send. Every test names the rules
//! that it holds the real binary to, and is run for each version that it names, with both values of
//! the key `conformance`; [`registry`] compares them without running anything, and holds
//! `tests/RULES.md` to the result.
//!
//! ```text
//! catalogue: rule, wording, versions ---.
//! above: choice, default, key, rules ---+
//! modules: tests! { name [r62 r66] in v5 } --> registry --> a rule without a test fails
//!                                                      `--> RULES.md
//! ```
//!
//! A test is called `module::name::rules::conformance::version`: `-E 'test(::r62::)'` runs what
//! there is for a rule.

#[macro_use]
mod registry;
mod above;
mod catalogue;
mod ground;
mod packets;

mod alias;
mod auth;
mod connect;
mod deliver;
mod found;
mod framing;
mod life;
mod publish;
mod sizes;
mod subscribe;
mod websocket;
