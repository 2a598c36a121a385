//! The Rust of README.md, compiled as documentation examples.

#[doc = include_str!("../../README.md")]
#[derive(Debug)]
pub struct Readme;
