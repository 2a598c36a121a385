//! mproxy-layers
