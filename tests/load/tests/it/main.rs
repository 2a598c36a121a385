//! Integration tests of the load tool: over real sockets, and with the real binary.

mod bench;
mod loads;
mod running;
mod sink;
mod websocket;
