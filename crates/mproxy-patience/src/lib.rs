#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod deadline;
mod gate;
mod looks;
mod timeout;
mod turn;

pub use self::{
    deadline::Deadline,
    gate::{Gate, Place, Turn},
    looks::Looks,
    timeout::{Patient, timeout, timeout_at},
    turn::yield_turn,
};
