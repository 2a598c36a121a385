//! mproxy-admin
