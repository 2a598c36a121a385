//! mproxy-session
