//! The admin port over real sockets.

mod bounds;
mod routes;
mod scrape;
mod support;
