//! User Properties that the proxy vouches for.
//!
//! A User Property says what its sender wrote; a program that reads `x-tenant` in a message has to
//! know that it was not the device that chose it. This layer takes named User Properties out of
//! what a client sends, sets others, or adds them, and the same for what is delivered:
//!
//! * [strip](EditsBuilder::strip) takes all properties of a name out.
//! * [set](EditsBuilder::set) takes them out and appends one.
//! * [add](EditsBuilder::add) appends one, whatever there is.
//!
//! What is appended comes last, in the order in which it was said; everything else keeps its order,
//! duplicates included, and its bytes. `[MQTT-3.3.2-18]` Names are compared byte by byte. `${username}`,
//! `${client_id}` and `${cn}` stand for those of the client where the layer stands; a property for which
//! one is missing is not appended, but those of its name are taken out all the same.
//!
//! What the client sends is edited in CONNECT, will, PUBLISH and SUBSCRIBE, what it receives in
//! PUBLISH. MQTT before 5.0 has no properties, and is left alone.

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
