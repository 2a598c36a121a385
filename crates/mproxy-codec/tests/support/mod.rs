//! What the tests compare the codec with: a model of every packet, an encoder that shares no line
//! with the crate, and strategies that make valid packets of all types and versions.

pub(crate) mod from_view;
pub(crate) mod model;
pub(crate) mod strategies;
pub(crate) mod table;
