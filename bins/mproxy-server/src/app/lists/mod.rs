//! Revocation lists that are fetched by their URLs.
//!
//! ```text
//! configuration --follow--> a task for each list: fetch, check, keep, wait
//!                                   |  another one than before
//!                                   v
//!                   Event::Reload -> Plan, with the lists that are kept -> sessions are judged
//! ```
//! A list is received in memory of the budget, and large ones one after the other: what a server sends is not
//! known before it is checked. Handshakes wait for none of it: they look into the list that is there.

mod fetcher;
mod files;
mod kept;
mod landing;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mproxy_admin::Metrics;
use mproxy_config::{Config, ListenerTls};
use mproxy_transport::{ClientAuth, HttpUrl, Resolver};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use self::fetcher::Fetcher;
pub(crate) use self::files::ListFiles;
pub(crate) use self::kept::Lists;
use self::landing::Large;
use super::event::Sender;
use super::memory::Memory;

/// How long the start waits for lists, so that clients that come at once are not refused for want of one.
const FIRST: Duration = Duration::from_secs(3);

/// A list: where it is, and who may have signed it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Source {
    url: HttpUrl,
    client_ca: Vec<PathBuf>,
}

/// When a list is fetched, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pace {
    /// The listeners that name it: one at least.
    listeners: Vec<String>,
    refresh: Duration,
    timeout: Duration,
}

impl Source {
    /// The lists of a listener, in the order of its URLs.
    fn of(tls: &ListenerTls) -> impl Iterator<Item = Self> {
        let urls = match tls.client_auth {
            ClientAuth::Off => &[][..],
            _ => &tls.revocation.crl_urls,
        };
        urls.iter().map(|url| Self {
            url: url.clone(),
            client_ca: tls.client_ca.clone(),
        })
    }
}

/// Fetches the lists that the configuration names.
#[derive(Debug)]
pub(super) struct Fetchers {
    pub(super) lists: Lists,
    resolver: Resolver,
    metrics: Metrics,
    events: Sender,
    memory: Arc<Memory>,
    large: Large,
    running: HashMap<Source, (Pace, AbortHandle)>,
}

impl Fetchers {
    /// Fetches the lists of this configuration from now on. Waits until each was fetched, or could not be,
    /// but no longer than [`FIRST`].
    pub(super) async fn start(
        config: &Config,
        resolver: &Resolver,
        metrics: &Metrics,
        events: &Sender,
        memory: &Arc<Memory>,
    ) -> Self {
        let mut fetchers = Self {
            lists: Lists::default(),
            resolver: resolver.clone(),
            metrics: metrics.clone(),
            events: events.clone(),
            memory: Arc::clone(memory),
            large: Large::default(),
            running: HashMap::new(),
        };
        fetchers.follow(config);
        if timeout(FIRST, fetchers.lists.tried()).await.is_err() {
            tracing::warn!(
                target: "mproxy::server",
                event = "error",
                detail = fetchers.lists.untried().join(", "),
                remedy = "see why the server is slow; if it stays so, a line follows when the time for a fetch is over",
                "revocation lists are not here yet: they come into effect when they are, and \
                 on_unavailable decides about clients until then"
            );
        }
        fetchers
    }

    /// Fetches the lists of this configuration from now on, and no others.
    pub(super) fn follow(&mut self, config: &Config) {
        let wanted = wanted(config);
        self.running.retain(|source, (pace, task)| {
            let stays = wanted.get(source) == Some(pace);
            if !stays {
                task.abort();
            }
            stays
        });
        self.lists.keep(&wanted);
        for (source, pace) in wanted {
            if !self.running.contains_key(&source) {
                let fetcher = Fetcher {
                    source: source.clone(),
                    pace: pace.clone(),
                    lists: self.lists.clone(),
                    resolver: self.resolver.clone(),
                    metrics: self.metrics.clone(),
                    events: self.events.clone(),
                    memory: Arc::clone(&self.memory),
                    large: self.large.clone(),
                };
                let task = tokio::spawn(fetcher.run()).abort_handle();
                self.running.insert(source, (pace, task));
            }
        }
        self.metrics.set_fetched_lists(self.lists.shown());
    }
}

impl Drop for Fetchers {
    fn drop(&mut self) {
        for (_, task) in self.running.values() {
            task.abort();
        }
    }
}

impl Pace {
    /// The first listener that names it, for the log.
    fn listener(&self) -> &str {
        self.listeners.first().map_or("", String::as_str)
    }
}

/// The lists of a configuration. One that several listeners have is fetched as often as one of them
/// wants it.
fn wanted(config: &Config) -> HashMap<Source, Pace> {
    let mut wanted = HashMap::new();
    let with_tls = config.listeners.iter();
    let with_tls = with_tls.filter_map(|it| Some((&it.name, it.tls.as_ref()?)));
    for (name, tls) in with_tls {
        let own = Pace {
            listeners: Vec::new(),
            refresh: tls.revocation.crl_refresh,
            timeout: tls.revocation.crl_timeout,
        };
        for source in Source::of(tls) {
            let pace = wanted.entry(source).or_insert_with(|| own.clone());
            pace.listeners.push(name.clone());
            pace.refresh = pace.refresh.min(own.refresh);
            pace.timeout = pace.timeout.max(own.timeout);
        }
    }
    wanted
}
