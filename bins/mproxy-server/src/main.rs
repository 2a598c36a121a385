//! `mproxy-server`: the MQTT proxy, configured by TOML.

#![allow(dead_code, unused_imports)]

mod app;
mod config;
#[cfg(feature = "demo")]
mod demo;

fn main() {}
