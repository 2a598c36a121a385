//! TOML to a validated [`Config`].

mod model;

pub(crate) use model::*;
