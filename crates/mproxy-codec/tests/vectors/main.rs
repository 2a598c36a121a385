//! Bytes and what they mean, packet by packet: examples of the standard, the limits of every field,
//! and each way to break a rule, with the error that names it.

#[allow(dead_code)] // each test binary uses a part of it
#[path = "../support/mod.rs"]
mod support;

mod ack;
mod common;
mod connack;
mod connect;
mod connect_builder;
mod disconnect;
mod edit;
mod errors;
mod glimpse;
mod head;
mod ping;
mod properties;
mod publish;
mod setters;
mod suback;
mod subscribe;
