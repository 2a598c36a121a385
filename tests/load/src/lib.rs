#![doc = include_str!("../README.md")]

pub mod load;
pub mod net;
pub mod sink;

mod error;
mod stop;
mod wire;

pub use error::Error;
pub use stop::Stop;
