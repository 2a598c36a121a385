//! One log line for each event in the life of a session.
//!
//! The lines are [tracing] events of the target `mproxy::access`; the subscriber decides where they
//! go and what they look like. Each has the fields `event`, `listener`, `peer`, `client_id`,
//! `username` and `version`, and:
//!
//! | `event` | level | when | further fields |
//! |---|---|---|---|
//! | `connect` | info | the broker has accepted the client | `keep_alive_s`, `clean_start` |
//! | `refuse` | warn, info | a layer or the broker does not let a client in (warn), or it left before that | `side`, `reason`, `reason_code`, `detail` ... |
//! | `subscribe` | info | a SUBSCRIBE is answered, or was not when the session ended | `granted`, `refused`, or `filters` |
//! | `unsubscribe` | info | the client has asked for it | `filters` |
//! | `publish` | info | a sampled PUBLISH goes on | `topic`, `qos`, `retain`, `bytes` |
//! | `deny` | warn | a layer of this crate denies something | `action`, `topic`, `detail`, `suppressed` |
//! | `disconnect` | info | the session is over | `side`, `reason`, `reason_code`, `detail`, totals |
//! | `error` | error | a layer has failed | `detail` |
//!
//! The program `mproxy-server` describes all fields in its `docs/logs.md`.
//!
//! The layers that deny write the `deny` lines, because they know why, and limit them however often a
//! device tries. `denied` in the `disconnect` line counts every denial, also by layers of other crates.
//!
//! A SUBSCRIBE is logged when it is answered: `granted` has the filters with their QoS, `refused` the
//! filters that a layer or the broker refused, with their reason codes, as the client wrote them.
//!
//! PUBLISH is logged only if you set a [sample](AccessLogLayer::publish_sample). A sampled PUBLISH that
//! an inner layer refuses has no `publish` line; `bytes` is the length of the payload.
//!
//! Payloads, properties and passwords are never logged. Text from a peer (client id, user name, topics)
//! is cut to a bounded length and otherwise unchanged. It is a field of type `&str`, which subscribers
//! put in quotes and escape; your own subscriber must do so, too.
//!
//! [tracing]: https://docs.rs/tracing

mod layer;
mod line;
mod publish;
mod sample;
mod subscribe;
mod to_client;
mod to_server;

pub use self::{
    layer::{AccessLogConnect, AccessLogLayer, Events},
    to_client::AccessLogToClient,
    to_server::AccessLogToServer,
};
