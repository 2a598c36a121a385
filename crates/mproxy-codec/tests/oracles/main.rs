//! Two independent decoders read what this crate reads: on valid packets they must agree, except
//! where they are known to be wrong. Each exception is spelt out and must show itself.

#[allow(dead_code)] // each test binary uses a part of it
#[path = "../support/mod.rs"]
mod support;

mod mqtt_protocol;
mod mutated;
mod rmqtt;
mod rmqtt_v5;
