//! The admin port over real sockets.

mod api;
mod bounds;
mod routes;
mod scrape;
mod support;
