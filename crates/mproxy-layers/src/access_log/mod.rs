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
//! `deny` lines are written by the layers that deny, which know why; they are rare however often a
//! device tries. Every denial, also that of a layer of somebody else, is counted in `denied` of the
//! `disconnect` line.
//!
//! A SUBSCRIBE is logged when it is answered: `granted` has the filters with their QoS, `refused` those
//! with a reason code, whether a layer refused them or the broker, as the client wrote them.
//!
//! PUBLISH is logged only for who asks for a [sample](AccessLogLayer::publish_sample). What is in it
//! but refused by a layer inside is not logged as `publish`; `bytes` is the length of the payload.
//!
//! Payloads, properties and passwords are never logged. Text that a peer chose (client id, user name,
//! topics) is cut to a bounded length and is otherwise as the peer wrote it. It is a field of the type
//! `&str`, which subscribers put in quotes and escape; one of your own has to do so, too.
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
