//! mproxy-transport
