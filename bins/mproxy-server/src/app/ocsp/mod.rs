//! OCSP: a responder that is asked whether the certificates of clients were revoked.
//!
//! ```text
//! TLS handshake --> Check::judge --> Book: an answer, a failure that is remembered, or a request under way
//!                                     |  neither
//!                                     v
//!                           one request a certificate --post--> responder
//!                                     |  revoked
//!                                     v
//!                           sessions with this certificate end
//! ```
//! A responder has one [`Book`](book::Book) for all threads. A reload keeps the books of the responders that stay.
//! Answers about connected clients are renewed in the background before they run out; a responder that fails
//! ends no session.

mod book;
mod check;
mod failure;
mod responder;
mod trouble;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mproxy_admin::Metrics;
use mproxy_config::{Config, ListenerTls, OnUnavailable, RevocationDepth};
use mproxy_session::SessionHandle;
use mproxy_transport::{ClientAuth, HttpUrl, OcspCertificate, OcspQuestion, Resolver, TlsServer};
use tokio::runtime::Handle;
use tokio::time::sleep;

pub(super) use self::check::{Check, Refusal};
use self::responder::{Responder, Settings};
use super::distrust::{BATCH, PAUSE};
use super::registry::Sessions;

/// What is remembered of a connected client with one certificate, in bytes, as far as types have a size: an entry of
/// the book with its question and its session.
pub(super) const OCSP_CONNECTION_BYTES: usize = 1024;

/// The responders that the configuration names, and the connected clients that they are asked about. Clones are
/// the same.
#[derive(Clone)]
pub(crate) struct Ocsp(Arc<Shared>);

struct Shared {
    /// Where requests run: not on the threads of the clients that wait for them.
    runtime: Handle,
    resolver: Resolver,
    metrics: Metrics,
    /// Whether a listener has ever asked a responder. Until then no connection takes the lock.
    is_used: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    responders: HashMap<HttpUrl, Arc<Responder>>,
    /// By the names of listeners.
    checks: HashMap<String, Check>,
    /// By the numbers of sessions.
    attended: HashMap<u64, (Arc<Responder>, Vec<OcspCertificate>)>,
}

/// A connection whose certificates responders are asked about until it is dropped.
pub(crate) struct Attended {
    ocsp: Ocsp,
    session: u64,
}

/// The listeners that ask another responder than before; `None` for one that asks none.
pub(super) type Changed = HashMap<String, Option<Check>>;

impl Ocsp {
    /// Must be called on the runtime on which requests are to run.
    pub(super) fn new(resolver: &Resolver, metrics: &Metrics) -> Self {
        Self(Arc::new(Shared {
            runtime: Handle::current(),
            resolver: resolver.clone(),
            metrics: metrics.clone(),
            is_used: AtomicBool::new(false),
            state: Mutex::default(),
        }))
    }

    /// Asks the responders of this configuration from now on, and no others.
    pub(super) fn follow(&self, config: &Config) -> Changed {
        let wanted = wanted(config);
        let mut state = self.lock();
        state.responders.retain(|url, responder| {
            let stays = wanted.contains_key(url);
            if !stays {
                responder.stop();
                let shown = url.to_string();
                // another one may differ in the query, which is not shown
                if !wanted.keys().any(|it| it.to_string() == shown) {
                    self.0.metrics.forget_ocsp(&shown);
                }
            }
            stays
        });
        for (url, settings) in wanted {
            match state.responders.get(&url) {
                Some(responder) => responder.configure(settings),
                None => {
                    let responder = Responder::start(
                        url.clone(),
                        settings,
                        &self.0.runtime,
                        &self.0.resolver,
                        &self.0.metrics,
                    );
                    state.responders.insert(url, responder);
                }
            }
        }
        let checks = asking(config).filter_map(|(name, url, tls)| {
            let responder = Arc::clone(state.responders.get(url)?);
            let check = Check {
                responder,
                allows: tls.revocation.on_unavailable == OnUnavailable::Allow,
                timeout: tls.revocation.ocsp_timeout,
                whole_chain: tls.revocation.depth == RevocationDepth::Chain,
            };
            Some((name.to_owned(), check))
        });
        let checks: HashMap<_, _> = checks.collect();
        if !checks.is_empty() {
            self.0.is_used.store(true, Ordering::Relaxed);
        }
        let before = std::mem::replace(&mut state.checks, checks);
        changed(&before, &state, config)
    }

    /// What a listener asks.
    pub(super) fn check(&self, listener: &str) -> Option<Check> {
        self.lock().checks.get(listener).cloned()
    }

    /// A connection that shows a certificate. Nobody is asked about it yet.
    pub(crate) fn connection(&self, handle: &SessionHandle) -> Attended {
        Attended {
            ocsp: self.clone(),
            session: handle.id().as_u64(),
        }
    }

    /// Asks about a connected client from now on, in the background, and at no other responder any more. If
    /// its certificate was revoked, its session ends.
    pub(crate) fn attend(&self, handle: &SessionHandle, check: &Check, asked: &[OcspQuestion]) {
        let session = handle.id().as_u64();
        self.leave(session);
        let certificates = asked.iter().map(|it| it.certificate().clone());
        let attended = (Arc::clone(&check.responder), certificates.collect());
        self.lock().attended.insert(session, attended);
        check.responder.attend(handle, asked);
    }

    fn leave(&self, session: u64) {
        if !self.is_used() {
            return;
        }
        let attended = self.lock().attended.remove(&session);
        if let Some((responder, certificates)) = attended {
            responder.leave(session, &certificates);
        }
    }

    /// Has the clients of a worker asked about where their listeners, which have `changed`, ask now.
    pub(super) async fn follow_sessions(
        self,
        sessions: Arc<Sessions>,
        changed: Arc<Changed>,
        servers: Arc<HashMap<String, TlsServer>>,
    ) {
        let mut looked = 0;
        for handle in sessions.running() {
            let Some(peer) = handle.info().map(|info| info.peer()) else {
                continue;
            };
            let Some(check) = changed.get(&*peer.listener) else {
                continue;
            };
            // one that has ended is not attended to
            if handle.is_closed() {
                continue;
            }
            self.follow_session(&handle, check.as_ref(), servers.get(&*peer.listener));
            looked += 1;
            if looked % BATCH == 0 {
                sleep(PAUSE).await;
            }
        }
    }

    /// A reload finds this connection from now on: asks about it where one that came before would have had it
    /// asked about.
    pub(crate) fn catch_up(&self, handle: &SessionHandle, server: &TlsServer) {
        let Some(peer) = handle.info().map(|info| info.peer()) else {
            return;
        };
        if peer.certificate().is_none() || !self.is_used() {
            return;
        }
        let state = self.lock();
        let check = state.checks.get(&*peer.listener).cloned();
        let attended = state.attended.get(&handle.id().as_u64());
        let is_followed = match (&check, attended) {
            (Some(check), Some((responder, _))) => Arc::ptr_eq(&check.responder, responder),
            // of a listener that is gone, it is asked about as before
            (None, _) => true,
            (Some(_), None) => false,
        };
        drop(state);
        if !is_followed {
            self.follow_session(handle, check.as_ref(), Some(server));
        }
    }

    fn follow_session(
        &self,
        handle: &SessionHandle,
        check: Option<&Check>,
        server: Option<&TlsServer>,
    ) {
        let certificate = handle.info().and_then(|info| info.peer().certificate());
        match (check, server, certificate) {
            (Some(check), Some(server), Some(certificate)) => {
                let chain = certificate.chain.iter();
                let chain: Vec<_> = chain.map(|der| (**der).into()).collect();
                if let Ok(questions) = server.questions(&chain) {
                    self.attend(handle, check, &questions);
                }
            }
            _ => self.leave(handle.id().as_u64()),
        }
    }

    fn is_used(&self) -> bool {
        self.0.is_used.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // nothing that can panic lies between two changes that belong together
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        self.ocsp.leave(self.session);
    }
}

impl fmt::Debug for Ocsp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ocsp").finish_non_exhaustive()
    }
}

impl fmt::Debug for Attended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attended")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// The listeners that ask a responder.
fn asking(config: &Config) -> impl Iterator<Item = (&str, &HttpUrl, &ListenerTls)> {
    let with_tls = config.listeners.iter();
    let with_tls = with_tls.filter_map(|it| Some((it.name.as_str(), it.tls.as_ref()?)));
    with_tls.filter_map(|(name, tls)| {
        let url = tls.revocation.ocsp_responder_url.as_ref()?;
        (tls.client_auth != ClientAuth::Off).then_some((name, url, tls))
    })
}

/// The responders of a configuration. One that several listeners have is asked as often as one of them wants.
fn wanted(config: &Config) -> HashMap<HttpUrl, Settings> {
    let mut wanted = HashMap::new();
    for (name, url, tls) in asking(config) {
        let own = Settings {
            listener: name.to_owned(),
            timeout: tls.revocation.ocsp_timeout,
            refresh: tls.revocation.ocsp_refresh,
        };
        let settings = wanted.entry(url.clone()).or_insert_with(|| own.clone());
        settings.timeout = settings.timeout.max(own.timeout);
        settings.refresh = settings.refresh.min(own.refresh);
    }
    wanted
}

fn changed(before: &HashMap<String, Check>, now: &State, config: &Config) -> Changed {
    let gone = before.iter().filter(|(name, check)| {
        let is_listener = config.listeners.iter().any(|it| it.name == **name);
        let is_asked = now.responders.contains_key(&check.responder.url);
        // sessions of a listener that has another name now, or none, are asked about as before
        !now.checks.contains_key(*name) && (is_listener || !is_asked)
    });
    let gone = gone.map(|(name, _)| (name.clone(), None));
    let other = now.checks.iter().filter(|(name, check)| {
        let known = before.get(*name);
        known.is_none_or(|it| !it.asks_like(check))
    });
    let other = other.map(|(name, check)| (name.clone(), Some(check.clone())));
    gone.chain(other).collect()
}
