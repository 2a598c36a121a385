//! mproxy-codec
