//! One log line for each event in the life of a session.
//!
//! The lines are [tracing] events of the target `mproxy::access`; where they go and what they look
//! like is the business of the subscriber. Each has the fields `event`, `client_id`, `user`, `peer`
//! and `listener`, and:
//!
//! | `event` | level | when | further fields |
//! |---|---|---|---|
//! | `connect` | info | the broker has accepted the client | `version`, `keep_alive` ... |
//! | `refuse` | warn | a layer or the broker does not let a client in | `reason`, `text` ... |
//! | `subscribe`, `unsubscribe` | info | the client has asked for it | `filters` |
//! | `publish` | info | a sampled PUBLISH goes on | `topic`, `qos`, `retain`, `bytes` |
//! | `deny` | warn | a layer of this crate denies something | `action`, `topic`, `reason` ... |
//! | `disconnect` | info | the session is over | `side`, `reason`, totals |
//! | `error` | error | a layer has failed | `error` |
//!
//! `deny` lines are written by the layers that deny, which know why; they are rare however often a
//! device tries. Every denial, also that of a layer of somebody else, is counted in `denied` of the
//! `disconnect` line.
//!
//! PUBLISH is logged only for who asks for a [sample](AccessLogLayer::publish_sample). What is in it
//! but refused by a layer inside is not logged as `publish`; `bytes` is the length of the payload.
//!
//! Payloads, properties and passwords are never logged. What a peer has chosen (client id, user,
//! topics) is cut to a bounded length, and what is not printable in it is escaped.
//!
//! [tracing]: https://docs.rs/tracing

mod layer;
mod line;
mod publish;
mod sample;
mod to_client;
mod to_server;

pub use self::{
    layer::{AccessLogConnect, AccessLogLayer, Events, ResponseFuture},
    to_client::AccessLogToClient,
    to_server::{AccessLogToServer, ToServerFuture},
};
