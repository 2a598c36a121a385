//! mproxy-tests
