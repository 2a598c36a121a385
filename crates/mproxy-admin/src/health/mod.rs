//! Whether this process should get traffic: what `/readyz` reports.
//!
//! The rest of the proxy writes facts (a listener is bound, the broker answered, draining began),
//! and the admin port and the gauges `mproxy_listener_up`, `mproxy_upstream_up` and
//! `mproxy_draining` read them. Nothing here probes anything by itself, and `/livez` never looks
//! here: a broker that is down must not get the proxy restarted.

mod check;
mod readiness;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::info;

pub use check::CheckHandle;
pub use readiness::Readiness;

use check::{Check, Kind, State};

/// The shared health of one proxy process; clones share it.
///
/// Ready means: at least one listener is registered, every listener and every check is ok, and the
/// process is not draining. A registered check that was never set is not ok, so that
/// readiness waits for the first probe.
///
/// ```
/// use mproxy_admin::Health;
///
/// let health = Health::new();
/// let listener = health.listener("mqtt");
/// let broker = health.upstream("broker");
/// assert!(!health.readiness().is_ready());
///
/// listener.ok();
/// broker.ok();
/// assert!(health.readiness().is_ready());
///
/// broker.fail("connection refused");
/// assert!(health.readiness().to_string().contains("[-]upstream broker: connection refused\n"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Health {
    inner: Arc<Inner>,
}

/// The checks that a configuration has, by the names that they were registered with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// Those of [`Health::listener`].
    pub listeners: Vec<String>,
    /// Those of [`Health::upstream`].
    pub upstreams: Vec<String>,
    /// Those of [`Health::connack`].
    pub connacks: Vec<String>,
}

#[derive(Debug, Default)]
struct Inner {
    draining: AtomicBool,
    /// A handful, named by the configuration; looked up by position.
    checks: Mutex<Vec<Check>>,
}

impl Health {
    /// A process with nothing registered, which is not ready.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a listener that is not up yet; the same name gives the same check.
    #[must_use]
    pub fn listener(&self, name: &str) -> CheckHandle {
        self.register(Kind::Listener, name)
    }

    /// Registers a broker that was not reached yet; the same name gives the same check.
    #[must_use]
    pub fn upstream(&self, name: &str) -> CheckHandle {
        self.register(Kind::Upstream, name)
    }

    /// Registers that a broker answers CONNECT, which is not known yet; the same name gives the same
    /// check. The gauge `mproxy_upstream_up` of the broker is 1 only if this check passes, too.
    #[must_use]
    pub fn connack(&self, name: &str) -> CheckHandle {
        self.register(Kind::Connack, name)
    }

    /// Removes the checks of all other listeners and brokers: a configuration that replaces
    /// another one may not have them. Their handles have no effect any more.
    pub fn keep(&self, named: &Named) {
        self.checks().retain(|check| {
            let names = match check.kind {
                Kind::Listener => &named.listeners,
                Kind::Upstream => &named.upstreams,
                Kind::Connack => &named.connacks,
            };
            names.iter().any(|name| **name == *check.name)
        });
    }

    /// Sets whether the process is draining. While it is, it is alive but not ready.
    pub fn set_draining(&self, draining: bool) {
        if self.inner.draining.swap(draining, Ordering::Relaxed) != draining {
            info!(
                target: "mproxy::health",
                event = "drain",
                draining,
                "readiness follows the drain"
            );
        }
    }

    /// Whether the process is draining.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.inner.draining.load(Ordering::Relaxed)
    }

    /// The state of every check at this moment.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        Readiness::new(self.is_draining(), &self.checks())
    }

    /// The listeners and whether each is up.
    pub(crate) fn listeners(&self) -> Vec<(Arc<str>, bool)> {
        self.states_of(&[Kind::Listener])
    }

    /// The brokers and whether each can be reached and, if that is checked, answers CONNECT.
    pub(crate) fn upstreams(&self) -> Vec<(Arc<str>, bool)> {
        self.states_of(&[Kind::Upstream, Kind::Connack])
    }

    /// The names that have checks of these kinds, and whether all of them pass.
    fn states_of(&self, kinds: &[Kind]) -> Vec<(Arc<str>, bool)> {
        let mut states: Vec<(Arc<str>, bool)> = Vec::new();
        for check in &*self.checks() {
            if !kinds.contains(&check.kind) {
                continue;
            }
            let passes = check.state == State::Ok;
            match states.iter_mut().find(|(name, _)| *name == check.name) {
                Some((_, all)) => *all &= passes,
                None => states.push((Arc::clone(&check.name), passes)),
            }
        }
        states
    }

    fn register(&self, kind: Kind, name: &str) -> CheckHandle {
        let mut checks = self.checks();
        let known = checks.iter().find(|check| check.is(kind, name));
        let name = known.map_or_else(|| name.into(), |check| Arc::clone(&check.name));
        if known.is_none() {
            let (name, state) = (Arc::clone(&name), State::Pending);
            checks.push(Check {
                kind,
                name,
                state,
                note: None,
            });
        }
        drop(checks);
        CheckHandle {
            health: self.clone(),
            kind,
            name,
        }
    }

    fn checks(&self) -> MutexGuard<'_, Vec<Check>> {
        // The vector is valid between any two statements, so a panic elsewhere spoils nothing.
        self.inner
            .checks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_name_is_the_same_check() {
        let health = Health::new();
        health.listener("mqtt").ok();
        health.listener("mqtt").fail("gone");
        assert_eq!(health.listeners(), [("mqtt".into(), false)]);
        // The kinds are separate name spaces.
        health.upstream("mqtt").ok();
        assert_eq!(health.upstreams(), [("mqtt".into(), true)]);
        assert_eq!(health.listeners(), [("mqtt".into(), false)]);
    }

    /// A broker that accepts connections and answers no CONNECT was up: every client was refused,
    /// and no alert fired.
    #[test]
    fn a_broker_that_does_not_answer_connect_is_not_up() {
        let health = Health::new();
        health.upstream("broker").ok();
        health.connack("broker").fail("timed out");
        assert_eq!(health.upstreams(), [("broker".into(), false)]);
        health.connack("broker").ok();
        assert_eq!(health.upstreams(), [("broker".into(), true)]);
        health.connack("broker").skip("no connection");
        health.upstream("broker").fail("connection refused");
        assert_eq!(health.upstreams(), [("broker".into(), false)]);
    }

    /// A reload that takes a listener out would have left the process not ready forever.
    #[test]
    fn what_is_not_configured_any_more_is_not_asked_for() {
        let health = Health::new();
        health.listener("mqtt").ok();
        health.listener("old").fail("closed");
        let named = Named {
            listeners: vec!["mqtt".to_owned()],
            ..Named::default()
        };
        health.keep(&named);
        assert!(health.readiness().is_ready());
        assert_eq!(health.listeners(), [("mqtt".into(), true)]);
        // back again, and not heard of yet
        let old = health.listener("old");
        assert!(!health.readiness().is_ready());
        old.ok();
        health.keep(&named);
        old.fail("closed");
        assert_eq!(health.listeners(), [("mqtt".into(), true)]);
    }

    /// The gauge of a listener that a drain had closed was 1.
    #[test]
    fn a_listener_that_a_drain_closed_is_not_up_until_it_is_open_again() {
        let health = Health::new();
        let listener = health.listener("mqtt");
        listener.ok();
        listener.close("closed by the drain");
        assert_eq!(health.listeners(), [("mqtt".into(), false)]);
        let lines = health.readiness().to_string();
        let line = "[-]listener mqtt: closed by the drain\n";
        assert!(lines.starts_with(line), "{lines}");
        listener.ok();
        assert_eq!(health.listeners(), [("mqtt".into(), true)]);
    }

    #[test]
    fn nothing_registered_is_not_ready() {
        assert!(!Health::new().readiness().is_ready());
    }

    #[test]
    fn draining_overrides_everything_and_can_be_undone() {
        let health = Health::new();
        health.listener("mqtt").ok();
        health.upstream("broker").ok();
        assert!(health.readiness().is_ready());
        health.set_draining(true);
        assert!(!health.readiness().is_ready());
        health.set_draining(false);
        assert!(health.readiness().is_ready());
    }
}
