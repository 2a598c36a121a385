//! The session between a scripted client and a scripted broker: one module a theme.

#[path = "../support/mod.rs"]
mod support;

mod aliases;
mod announced;
mod authentication;
mod backpressure;
mod blocking;
mod bridges;
mod closing;
mod connect;
mod cuts;
mod denials;
mod errors;
mod expiry;
mod forwarded;
mod forwarding;
mod handle;
mod handler;
mod heads;
mod latency;
mod layers;
mod levels;
mod limits;
mod lowered;
mod memory;
mod ordering;
mod panics;
mod permits;
mod properties;
mod quota;
mod recall;
mod recordings;
mod refused;
mod requests;
mod rules;
mod sizes;
mod slips;
mod slow;
mod strangers;
mod streaming;
mod summary;
mod tower;
mod turns;
mod verdicts;
mod will;
