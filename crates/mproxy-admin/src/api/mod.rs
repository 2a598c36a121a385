//! What the guarded routes need from the proxy, and the JSON of their answers.

mod bans;
mod connections;
mod crls;
mod drain;
mod reload;

use std::fmt;
use std::pin::Pin;

pub use bans::{BanEntry, BanFilter, BanList, BanQuery, BanRefused, Bannable, NewBan, ScoreEntry};
pub use connections::{Connection, Disconnect, Filter, Page, Sort};
pub(crate) use crls::Crls;
pub use crls::{Crl, CrlFetch, CrlState};
pub use drain::{Drain, DrainHow, DrainRefused, DrainState};
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

    /// Sends all clients away, and lets no more in. The process stays. Answers when it has begun; a
    /// second request finds the first one, and changes nothing.
    fn drain(&self, how: &DrainHow) -> BoxFuture<Result<Drain, DrainRefused>>;

    /// How far the drain is.
    fn drain_state(&self) -> Drain;

    /// Lets clients in again.
    fn undo_drain(&self) -> BoxFuture<Result<Drain, DrainRefused>>;

    /// The current client connections, in any order.
    fn connections(&self) -> Vec<Connection>;

    /// The client connection with this id.
    fn connection(&self, id: u64) -> Option<Connection>;

    /// Ends a connection, and bans its client identifier if `how` says so; false if there is none with this
    /// id.
    fn disconnect(&self, id: u64, how: &Disconnect) -> bool;

    /// All bans and scores.
    fn bans(&self) -> BanList;

    /// Bans a subject, for `new.for_s`, and ends its connections. Returns how many these were.
    ///
    /// # Errors
    /// Why nothing is banned.
    fn ban(&self, subject: Bannable<'_>, new: &NewBan) -> Result<usize, BanRefused>;

    /// Lifts a ban and forgets the points of its subject; false if there was neither.
    ///
    /// # Errors
    /// The text is not an address or a network.
    fn lift(&self, subject: Bannable<'_>) -> Result<bool, BanRefused>;

    /// The revocation lists.
    fn crls(&self) -> Vec<Crl>;

    /// Fetches each revocation list that has a URL, and answers when all were tried and are in effect: those.
    fn fetch_crls(&self) -> BoxFuture<Vec<Crl>>;
}

/// A future with the proxy's answer.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
