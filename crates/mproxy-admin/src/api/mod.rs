//! What the guarded routes need from the proxy, and the JSON of their answers.

mod connections;
mod reload;

use std::fmt;
use std::pin::Pin;

pub use connections::{Connection, Disconnect, Filter, Page, Sort};
pub use reload::{ReloadRefused, Reloaded};

/// The proxy behind the guarded routes.
///
/// A program that runs a proxy implements it and gives it to [`Admin::api`](crate::Admin::api); without
/// it those routes do not exist.
pub trait Api: fmt::Debug + Send + Sync + 'static {
    /// Whether callers from this host need the token as well. Behind a reverse proxy on this host,
    /// all callers seem to come from this host.
    fn needs_token(&self) -> bool;

    /// Whether a caller who sends this as a bearer token may use the guarded routes.
    /// The comparison must take the same time for every wrong token.
    fn is_authorized(&self, token: &str) -> bool;

    /// Reads the configuration again. With `strict`, a change that needs a restart refuses it.
    fn reload(&self, strict: bool) -> BoxFuture<Result<Reloaded, ReloadRefused>>;

    /// The current client connections, in any order.
    fn connections(&self) -> Vec<Connection>;

    /// The client connection with this id.
    fn connection(&self, id: u64) -> Option<Connection>;

    /// Ends a connection; false if there is none with this id.
    fn disconnect(&self, id: u64, how: &Disconnect) -> bool;
}

/// A future with the proxy's answer.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
