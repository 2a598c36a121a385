//! From a host name to addresses, for any number of clients that come at once.
//!
//! The system is asked (`getaddrinfo`), not a DNS server: `/etc/hosts`, `nsswitch.conf`, search domains
//! and the `ndots` of Kubernetes mean what they mean for every other program on the machine. The price
//! is that a question blocks a thread, for as long as half a minute when no server answers, and that
//! nobody tells how long an answer holds.
//!
//! ```text
//!           lookup, lookup, lookup ...           (any thread, any runtime)
//!                 |
//!   kept a second: at once     otherwise: one question, one thread, and all wait for it
//!                                  |
//!                 answered: for all who wait, and who come within a second
//!                 not yet, or failed: the last good answer, for some minutes
//! ```

use std::{
    collections::HashMap,
    fmt, io,
    net::{SocketAddr, ToSocketAddrs},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::timeout};

/// How long an answer or a failure is kept. `getaddrinfo` does not say how long an answer is valid; a
/// second is short enough that clients find a broker that has moved, and long enough that a thousand
/// clients per second cause one lookup.
const KEPT: Duration = Duration::from_secs(1);

/// How long the last good answer is used if the system fails or is silent. As long as a DNS server
/// takes to restart; after a longer time, another host may have the address.
const STALE: Duration = Duration::from_secs(300);

/// How long to wait for a lookup if there is an older answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Finds the addresses of host names, and remembers them for a moment.
///
/// All clones share their answers: a name is looked up once at a time, by one thread, whatever the
/// number of waiting tasks. So a resolver that does not answer costs one thread per name. Names are kept
/// forever; they come from a configuration, not from clients.
#[derive(Clone)]
pub struct Resolver(Arc<Shared>);

struct Shared {
    lookup: Box<Lookup>,
    now: Box<dyn Fn() -> Instant + Send + Sync>,
    names: Mutex<HashMap<String, Arc<Name>>>,
}

type Lookup = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// The outcome of a lookup.
type Outcome = Result<Arc<[SocketAddr]>, Failure>;

/// Addresses, in the order in which they are to be tried; the port is 0.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) addrs: Arc<[SocketAddr]>,
    /// Why these may be outdated: the error of the system.
    pub(super) doubt: Option<Failure>,
}

/// An error shared by all waiting tasks.
#[derive(Debug, Clone)]
pub(super) struct Failure(Arc<io::Error>);

/// The state of a name.
#[derive(Debug, Default)]
struct Name {
    state: Mutex<State>,
    /// Notified when a lookup has finished.
    answered: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Since when a lookup is running.
    asked: Option<Instant>,
    /// The outcome of the last lookup, and its time.
    last: Option<(Instant, Outcome)>,
    /// The last good answer, and its time.
    good: Option<(Instant, Arc<[SocketAddr]>)>,
}

/// A running lookup, on its thread. If it is dropped without an answer, because the lookup panicked,
/// it counts as failed; otherwise nobody would look up the name again.
struct Question {
    shared: Arc<Shared>,
    name: Arc<Name>,
    is_answered: bool,
}

// ===== impl Resolver =====

impl Resolver {
    /// A resolver that asks the system.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|host| Ok((host, 0).to_socket_addrs()?.collect()))
    }

    /// A resolver that calls this function on a separate thread. It may block. The ports of the
    /// addresses are not used.
    #[must_use]
    pub fn new(
        lookup: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self::with_clock(lookup, Instant::now)
    }

    fn with_clock(
        lookup: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
        now: impl Fn() -> Instant + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Shared {
            lookup: Box::new(lookup),
            now: Box::new(now),
            names: Mutex::default(),
        }))
    }

    /// Finds the addresses of a name. Waits without limit for the first answer, but if there is an older
    /// one, at most `patience` for a new one.
    ///
    /// # Errors
    ///
    /// The system has none, or no thread can be started; and there is no answer that is
    /// younger than [`STALE`].
    ///
    /// # Cancel safety
    ///
    /// The lookup goes on if the future is dropped. Its answer serves the next call.
    pub(super) async fn lookup(&self, host: &str, patience: Duration) -> Result<Answer, Failure> {
        let name = self.0.name(host);
        let (asked, waiting) = {
            let mut state = name.lock();
            let now = (self.0.now)();
            if let Some(outcome) = state.fresh(now) {
                return outcome;
            }
            let asked = match state.asked {
                Some(asked) => asked,
                None => {
                    if let Err(error) = self.ask(&name, host) {
                        return state.settle(now, Err(error.into()));
                    }
                    state.asked = Some(now);
                    now
                }
            };
            // before the lock is released, so that no notification is missed
            (asked, name.answered.notified())
        };
        let now = (self.0.now)();
        let is_answered = if name.lock().has_good(now) {
            let left = PATIENCE
                .min(patience)
                .saturating_sub(now.saturating_duration_since(asked));
            timeout(left, waiting).await.is_ok()
        } else {
            waiting.await;
            true
        };
        let state = name.lock();
        let now = (self.0.now)();
        match &state.last {
            Some((_, outcome)) if is_answered => state.settle(now, outcome.clone()),
            _ => state.settle(now, Err(io::Error::from(io::ErrorKind::TimedOut).into())),
        }
    }

    /// Starts a thread for a lookup. Not the runtime's own pool: that panics if no thread can be
    /// started, and dropping a runtime waits for it.
    fn ask(&self, name: &Arc<Name>, host: &str) -> io::Result<()> {
        let (shared, name, host) = (Arc::clone(&self.0), Arc::clone(name), host.to_owned());
        let thread = thread::Builder::new().name("resolve".to_owned());
        thread.spawn(move || {
            let question = Question {
                shared: Arc::clone(&shared),
                name,
                is_answered: false,
            };
            question.answer((shared.lookup)(&host));
        })?;
        Ok(())
    }
}

impl Default for Resolver {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

// ===== impl Shared =====

impl Shared {
    fn name(&self, host: &str) -> Arc<Name> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = names.get(host) {
            return Arc::clone(name);
        }
        Arc::clone(names.entry(host.to_owned()).or_default())
    }
}

// ===== impl Name =====

impl Name {
    fn lock(&self) -> MutexGuard<'_, State> {
        // the changes are independent assignments, so a panic leaves no invalid state
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// ===== impl State =====

impl State {
    /// The outcome of the last lookup, if it is recent enough.
    fn fresh(&self, now: Instant) -> Option<Result<Answer, Failure>> {
        let (at, outcome) = self.last.as_ref()?;
        let is_fresh = now.saturating_duration_since(*at) < KEPT;
        is_fresh.then(|| self.settle(now, outcome.clone()))
    }

    /// The outcome, or the last good answer instead of a failure.
    fn settle(&self, now: Instant, outcome: Outcome) -> Result<Answer, Failure> {
        match (outcome, &self.good) {
            (Ok(addrs), _) => Ok(Answer { addrs, doubt: None }),
            (Err(failure), Some((_, addrs))) if self.has_good(now) => Ok(Answer {
                addrs: Arc::clone(addrs),
                doubt: Some(failure),
            }),
            (Err(failure), _) => Err(failure),
        }
    }

    /// True if there is an older answer that can be used.
    fn has_good(&self, now: Instant) -> bool {
        let good = self.good.as_ref();
        good.is_some_and(|(at, _)| now.saturating_duration_since(*at) < STALE)
    }
}

// ===== impl Question =====

impl Question {
    fn answer(mut self, outcome: io::Result<Vec<SocketAddr>>) {
        self.settle(match outcome {
            Ok(mut addrs) => {
                addrs.dedup();
                match addrs.is_empty() {
                    false => Ok(addrs.into()),
                    true => Err(io::Error::new(
                        io::ErrorKind::NotFound,
                        "the name has no address",
                    )),
                }
            }
            Err(error) => Err(error),
        });
    }

    fn settle(&mut self, outcome: io::Result<Arc<[SocketAddr]>>) {
        self.is_answered = true;
        let now = (self.shared.now)();
        let mut state = self.name.lock();
        if let Ok(addrs) = &outcome {
            state.good = Some((now, Arc::clone(addrs)));
        }
        state.last = Some((now, outcome.map_err(Failure::from)));
        state.asked = None;
        drop(state);
        self.name.answered.notify_waiters();
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        if !self.is_answered {
            self.settle(Err(io::Error::other("the lookup panicked")));
        }
    }
}

// ===== impl Failure =====

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(Arc::new(error))
    }
}

impl From<Failure> for io::Error {
    /// A copy for one of the waiting tasks.
    fn from(Failure(error): Failure) -> Self {
        match error.raw_os_error() {
            Some(code) => Self::from_raw_os_error(code),
            None => Self::new(error.kind(), error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
