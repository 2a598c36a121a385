//! The attacks: what each needs of a configuration, and how it is run.

mod catalogue;
mod floods;
mod frames;
mod halves;
mod readers;
mod refused;
mod secure;

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;

pub use self::catalogue::{ACL, ALL};
pub use crate::target::Target;

/// One attack with its parameters.
#[derive(Debug, Clone, Copy)]
pub struct Attack {
    /// The name on the command line.
    pub name: &'static str,
    /// What the attackers do.
    pub what: &'static str,
    /// Tables of the configuration.
    pub toml: &'static str,
    /// Keys of every listener, with their values.
    pub keys: &'static [(&'static str, &'static str)],
    /// The memory that the system gives to mproxy.
    pub memory: Memory,
    /// What is done.
    pub kind: Kind,
}

/// What the system does when mproxy takes too much memory.
#[derive(Debug, Clone, Copy)]
pub enum Memory {
    /// Nothing.
    Unlimited,
    /// It kills mproxy beyond so many bytes, as that of a container does.
    Container(u64),
    /// It refuses an allocation beyond so many bytes, which ends mproxy; no privilege is needed.
    Data(u64),
}

/// What the attackers do, and how many they are.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)] // the fields are what the variants say
pub enum Kind {
    /// Nothing: what the good client gets without an attack.
    Nothing,
    /// Each sends all but the last byte of a CONNECT of `size` bytes.
    HalfConnects { sockets: usize, size: usize },
    /// The same over WebSocket.
    HalfConnectsInFrames { sockets: usize, size: usize },
    /// Each is let in, and sends all but the last byte of a SUBSCRIBE of about `size` bytes.
    HalfSubscribes { clients: usize, size: usize },
    /// Holds `held` connections of one address and asks for more without a pause.
    OverOwnLimit { held: usize, tasks: usize },
    /// Silent connections from each of some addresses, made again when they are closed.
    Silence { addresses: u8, each: usize },
    /// WebSockets that send frames without payload before CONNECT.
    EmptyFrames { clients: usize },
    /// Clients that publish what they may not.
    DeniedPublishes { clients: usize },
    /// Clients that subscribe to what they may not, with this many slashes in the filter.
    DeniedSubscribes { clients: usize, slashes: usize },
    /// WebSocket clients that ping and read nothing.
    DeafPings { clients: usize },
    /// WebSocket connections that send nothing.
    IdleWebSockets { sockets: usize },
    /// Connections from this many addresses of one IPv6 /64, so many of each.
    OnePrefix { addresses: u16, each: usize },
    /// Connects, begins a CONNECT and resets, without a pause.
    Resets { tasks: usize },
    /// Each subscribes to what one more client publishes, and reads nothing.
    SlowReaders { clients: usize },
    /// Each sends a ClientHello and nothing else.
    HalfHandshakes { sockets: usize },
    /// Each sends a ClientHello of 16 KiB but for its last bytes.
    HalfHellos { sockets: usize },
    /// Each sends a ClientHello in records of one byte each.
    HelloCrumbs { sockets: usize },
    /// Each ends its handshake and sends nothing.
    SilentHandshakes { sockets: usize },
    /// Each sends a record of 16 KiB but for its last bytes; `are_let_in` says whether after a CONNECT.
    HalfRecords { sockets: usize, are_let_in: bool },
    /// Handshakes without a pause, with or without tickets from earlier ones.
    Handshakes { tasks: usize, resumed: bool },
    /// A ClientHello and a reset, without a pause.
    AbortedHandshakes { tasks: usize },
    /// Each is let in, and changes its keys without a pause.
    KeyUpdates { clients: usize },
    /// Handshakes with a chain of so many certificates, without a pause.
    LongChains { tasks: usize, certificates: usize },
}

impl Kind {
    /// Whether it attacks TLS itself.
    #[must_use]
    pub const fn is_for_tls(self) -> bool {
        matches!(
            self,
            Self::HalfHandshakes { .. }
                | Self::HalfHellos { .. }
                | Self::HelloCrumbs { .. }
                | Self::SilentHandshakes { .. }
                | Self::HalfRecords { .. }
                | Self::Handshakes { .. }
                | Self::AbortedHandshakes { .. }
                | Self::KeyUpdates { .. }
                | Self::LongChains { .. }
        )
    }
}

/// What the attackers came to.
#[derive(Debug, Default)]
pub struct Tally {
    opened: AtomicUsize,
    cut: AtomicUsize,
}

impl Tally {
    /// Connections that were opened, or sessions that were let in.
    #[must_use]
    pub fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    /// Connections that mproxy closed, or did not let in.
    #[must_use]
    pub fn cut(&self) -> usize {
        self.cut.load(Ordering::Relaxed)
    }

    pub(crate) fn count_opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_cut(&self) {
        self.cut.fetch_add(1, Ordering::Relaxed);
    }
}

impl Kind {
    /// Attacks for as long as it is polled.
    pub async fn run(self, target: &Target, tally: &Tally) {
        match self {
            Self::Nothing => std::future::pending().await,
            Self::HalfConnects { sockets, size } => {
                halves::connects(target, tally, sockets, size).await;
            }
            Self::HalfConnectsInFrames { sockets, size } => {
                halves::connects_in_frames(target, tally, sockets, size).await;
            }
            Self::HalfSubscribes { clients, size } => {
                halves::subscribes(target, tally, clients, size).await;
            }
            Self::OverOwnLimit { held, tasks } => {
                floods::over_own_limit(target, tally, held, tasks).await;
            }
            Self::Silence { addresses, each } => {
                floods::silence(target, tally, addresses, each).await;
            }
            Self::EmptyFrames { clients } => frames::empty(target, tally, clients).await,
            Self::DeniedPublishes { clients } => refused::publishes(target, tally, clients).await,
            Self::DeniedSubscribes { clients, slashes } => {
                refused::subscribes(target, tally, clients, slashes).await;
            }
            Self::DeafPings { clients } => frames::deaf_pings(target, tally, clients).await,
            Self::IdleWebSockets { sockets } => floods::idle(target, tally, sockets).await,
            Self::OnePrefix { addresses, each } => {
                floods::one_prefix(target, tally, addresses, each).await;
            }
            Self::Resets { tasks } => floods::resets(target, tally, tasks).await,
            Self::SlowReaders { clients } => readers::slow(target, tally, clients).await,
            Self::HalfHandshakes { sockets } => {
                secure::half_handshakes(target, tally, sockets).await;
            }
            Self::HalfHellos { sockets } => secure::half_hellos(target, tally, sockets).await,
            Self::HelloCrumbs { sockets } => secure::crumbs(target, tally, sockets).await,
            Self::SilentHandshakes { sockets } => secure::silence(target, tally, sockets).await,
            Self::HalfRecords {
                sockets,
                are_let_in,
            } => secure::half_records(target, tally, sockets, are_let_in).await,
            Self::Handshakes { tasks, resumed } => {
                secure::handshakes(target, tally, tasks, resumed).await;
            }
            Self::AbortedHandshakes { tasks } => secure::aborts(target, tally, tasks).await,
            Self::KeyUpdates { clients } => secure::key_updates(target, tally, clients).await,
            Self::LongChains {
                tasks,
                certificates,
            } => secure::long_chains(target, tally, tasks, certificates).await,
        }
    }
}

/// Runs `count` futures side by side, each made with its number, until all have ended.
pub(crate) async fn side_by_side<F>(count: usize, make: impl FnMut(usize) -> F)
where
    F: Future<Output = ()>,
{
    join_all((0..count).map(make)).await;
}

/// Makes `count` attempts side by side, each with its number, and each again after a pause when it was cut,
/// however that was.
pub(crate) async fn again_and_again<F, T>(
    count: usize,
    tally: &Tally,
    pause: Duration,
    attempt: impl Fn(usize) -> F,
) where
    F: Future<Output = io::Result<T>>,
{
    let attempt = &attempt;
    side_by_side(count, |number| async move {
        loop {
            let _ = attempt(number).await;
            tally.count_cut();
            sleep(pause).await;
        }
    })
    .await;
}
