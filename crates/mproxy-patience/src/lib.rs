#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod deadline;
mod looks;
mod timeout;
mod turn;

pub use self::{
    deadline::Deadline,
    looks::Looks,
    timeout::{Patient, timeout, timeout_at},
    turn::yield_turn,
};
