//! What is written is true: the commands and configurations of README.md and `docs` are run, their
//! links lead somewhere, their tables are those of the program, and nothing in the repository belongs
//! to one machine only.
//!
//! The Rust of README.md is compiled as a documentation example of this crate's library.

mod commands;
mod hooks;
mod log_lines;
mod log_tables;
mod markdown;
mod metrics;
mod outside;
mod readme;
mod repository;
mod shell;
