//! `mproxy-server`: the MQTT proxy, configured by TOML.

#![allow(dead_code, unused_imports)]

mod app;
mod config;

fn main() {}
