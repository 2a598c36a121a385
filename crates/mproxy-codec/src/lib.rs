//! mproxy-codec

pub mod topic;
