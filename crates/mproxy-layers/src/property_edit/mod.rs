//! User Properties that receivers can trust.
//!
//! Any device can write any User Property, so a program that reads `x-tenant` in a message must know
//! that the device did not set it. This layer removes, sets or adds named User Properties in what a
//! client sends, and in what it receives:
//!
//! * [strip](EditsBuilder::strip) removes all properties of a name.
//! * [set](EditsBuilder::set) removes them and appends one.
//! * [add](EditsBuilder::add) appends one and keeps existing ones.
//!
//! Appended properties come last, in the order of the edits; all others keep their order and their
//! bytes, including duplicates. `[MQTT-3.3.2-18]` Names are compared byte by byte. `${username}`,
//! `${client_id}` and `${cn}` are those of the client at the place of the layer. If one is missing, the
//! property is not appended, but those of its name are still removed.
//!
//! The layer edits CONNECT, will, PUBLISH and SUBSCRIBE from the client, and PUBLISH to it. MQTT before
//! 5.0 has no properties, so these packets are not changed.

mod edits;
mod layer;
mod to_client;
mod to_server;

pub use self::{
    edits::{Edits, EditsBuilder, EditsError},
    layer::PropertyEditLayer,
    to_client::PropertyEditToClient,
    to_server::PropertyEditToServer,
};
