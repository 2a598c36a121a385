#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod looks;
mod timeout;
mod turn;

pub use self::{
    looks::Looks,
    timeout::{Patient, timeout, timeout_at},
    turn::yield_turn,
};
