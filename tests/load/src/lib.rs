#![doc = include_str!("../README.md")]

pub mod bench;
pub mod load;
pub mod measure;
pub mod net;
pub mod peer;
pub mod reloads;
pub mod sink;

mod error;
mod stop;
mod wire;

pub use error::Error;
pub use stop::Stop;
