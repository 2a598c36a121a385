//! The task that fetches one list.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mproxy_admin::Metrics;
use mproxy_transport::{
    DialCause, FetchError, FetchLimits, Fetched, ListError, Resolver, RevocationList, Validators,
    fetch,
};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::landing::{Landing, Large};
use super::{Lists, Pace, Source};
use crate::app::event::{Asker, Event, Reload, ReloadError, Sender};
use crate::app::key_names::fill_listener;
use crate::app::memory::{Memory, Room};

/// The largest list: a million revoked certificates take about 40 MB.
pub(super) const MAX_LIST: usize = 64 << 20;

/// A list that is about to expire is fetched as often as this, at most.
const SOON: Duration = Duration::from_secs(10);

/// The pause after a first failure, and the longest one; it doubles in between.
const BACK_OFF: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(300)];

/// All pauses vary by this share, so that replicas that started together do not stay together.
const JITTER: f64 = 0.1;

/// Fetches a list again and again.
pub(super) struct Fetcher {
    pub(super) source: Source,
    pub(super) pace: Pace,
    pub(super) lists: Lists,
    pub(super) resolver: Resolver,
    pub(super) metrics: Metrics,
    pub(super) events: Sender,
    pub(super) memory: Arc<Memory>,
    pub(super) large: Large,
}

/// Why there is no newer list.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    List(#[from] ListError),
    #[error("older than the list in use, by {0} s")]
    Older(i64),
    #[error("the check has failed")]
    Panicked,
}

impl Fetcher {
    /// Runs until it is aborted.
    pub(super) async fn run(self) {
        let mut validators = Validators::default();
        let mut failures = 0;
        loop {
            let round = self.lists.begin(&self.source);
            let (pause, error) = match self.fetch(&mut validators).await {
                Ok((list, is_new)) => {
                    failures = 0;
                    let error = match is_new {
                        true => self.bring_into_effect().await.err(),
                        false => None,
                    };
                    (after_success(self.pace.refresh, remaining(&list)), error)
                }
                Err(failure) => {
                    failures += 1;
                    let pause = after_failure(self.pace.refresh, failures);
                    self.lists.failed(&self.source);
                    self.tell(&failure, pause);
                    (pause, Some(failure.to_string()))
                }
            };
            self.metrics.set_fetched_lists(self.lists.shown());
            let pause = pause.mul_f64(1.0 - JITTER + 2.0 * JITTER * fastrand::f64());
            let next = Instant::now() + pause;
            self.lists.ended(&self.source, round, error, next);
            tokio::select! {
                () = sleep(pause) => {}
                () = self.lists.wanted(&self.source, round) => {}
            }
        }
    }

    /// Has listeners look into the list that is kept now.
    ///
    /// # Errors
    /// Why they do not.
    async fn bring_into_effect(&self) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        let reload = Reload {
            answer: Some(answer),
            ..Reload::by(Asker::Lists)
        };
        self.events.send(Event::Reload(reload)).await;
        match answered.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(ReloadError::Draining)) => {
                Err("fetched, and in effect when the drain is undone".to_owned())
            }
            Ok(Err(error)) => Err(format!("fetched, and not in effect: {error}")),
            Err(_) => Err("mproxy ends".to_owned()),
        }
    }

    /// Fetches the list once. Returns it, and whether it is another one than before.
    async fn fetch(&self, validators: &mut Validators) -> Result<(RevocationList, bool), Failure> {
        let limits = FetchLimits {
            timeout: self.pace.timeout,
            max_size: MAX_LIST,
        };
        let before = self.lists.get(&self.source);
        let known = match &before {
            Some(list) if !remaining(list).is_zero() => validators.clone(),
            // what the server has must be looked at
            _ => Validators::default(),
        };
        let mut landing = Landing::new(self.memory.room(), &self.large);
        let url = &self.source.url;
        let fetched = fetch(url, limits, &self.resolver, &known, &mut landing).await?;
        match (fetched, before) {
            (Fetched::Unchanged, Some(list)) => {
                self.lists.unchanged(&self.source);
                Ok((list, false))
            }
            (Fetched::Unchanged, None) => Err(ListError::NotAList.into()),
            (Fetched::Body(body, new), before) => {
                let (list, room) = self.check(body, landing).await?;
                let older = before
                    .as_ref()
                    .map(|it| it.this_update() - list.this_update());
                if let Some(older @ 1..) = older {
                    return Err(Failure::Older(older));
                }
                *validators = new;
                self.lists.fetched(&self.source, list.clone(), room);
                let is_new = before.as_ref() != Some(&list);
                Ok((list, is_new))
            }
        }
    }

    /// Checks a list. The landing goes along: when this task is aborted, the check goes on.
    async fn check(
        &self,
        body: Vec<u8>,
        landing: Landing,
    ) -> Result<(RevocationList, Room), Failure> {
        let (client_ca, listeners) = (self.source.client_ca.clone(), self.pace.listeners.len());
        let is_first = self.lists.get(&self.source).is_none();
        let check = move || {
            let list = RevocationList::check(body, &client_ca, SystemTime::now())?;
            let room = landing.keep(&list, listeners, is_first)?;
            Ok::<_, Failure>((list, room))
        };
        let checked = tokio::task::spawn_blocking(check).await;
        checked.map_err(|_| Failure::Panicked)?
    }

    fn tell(&self, failure: &Failure, pause: Duration) {
        let list = self.lists.get(&self.source);
        let list = list.or_else(|| self.lists.before(&self.source));
        let left = list.as_ref().map(remaining).filter(|it| !it.is_zero());
        let named = |text: &str| fill_listener(text, self.pace.listener());
        tracing::warn!(
            target: "mproxy::server",
            event = "error",
            detail = format_args!("{}: {failure}", self.source.url),
            retry_in_s = pause.as_secs_f64(),
            remedy = named(failure.remedy()),
            "{}",
            named(match left {
                Some(_) => "a revocation list was not fetched: the one before stays in use until it expires",
                None => "a revocation list was not fetched, and there is none in use: \
                         listeners.NAME.tls.revocation.on_unavailable decides about clients",
            })
        );
    }
}

impl Failure {
    const fn remedy(&self) -> &'static str {
        match self {
            Self::Fetch(FetchError::Dial(DialCause::Tls(_))) => {
                "the server needs a certificate for its name, of a CA that the system trusts"
            }
            Self::Fetch(FetchError::Dial(_) | FetchError::TimedOut(_)) => {
                "check listeners.NAME.tls.revocation.crl_urls, the name and the network between mproxy and this server"
            }
            Self::Fetch(FetchError::NoRoom { .. }) => {
                "raise server.memory or the memory limit of the container, or have the CA publish a smaller list"
            }
            Self::Fetch(_) => {
                "correct listeners.NAME.tls.revocation.crl_urls, or have the server give out the list there"
            }
            Self::List(ListError::UnknownIssuer(_)) => {
                "add the certificate of the list's issuer to listeners.NAME.tls.client_ca, or correct \
                 listeners.NAME.tls.revocation.crl_urls"
            }
            _ => {
                "have the CA publish a list that is valid now, or correct \
                 listeners.NAME.tls.revocation.crl_urls"
            }
        }
    }
}

/// For how long a list is still valid.
fn remaining(list: &RevocationList) -> Duration {
    let until = u64::try_from(list.next_update()).unwrap_or(0);
    let until = UNIX_EPOCH.checked_add(Duration::from_secs(until));
    let left = until.and_then(|until| until.duration_since(SystemTime::now()).ok());
    left.unwrap_or_default()
}

/// The pause after a fetch: half of what remains, so that there are several tries before it expires.
fn after_success(refresh: Duration, left: Duration) -> Duration {
    refresh.min((left / 2).max(SOON))
}

/// The pause after so many failures, one or more.
fn after_failure(refresh: Duration, failures: u32) -> Duration {
    let [first, longest] = BACK_OFF;
    let doubled = first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(longest).min(refresh)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_fetched_before_it_expires_and_failures_are_not_hammered() {
        let s = Duration::from_secs;
        let hour = s(3600);
        for (left, pause) in [
            (7 * 86_400, 3600),
            (7200, 3600),
            (600, 300),
            (15, 10),
            (0, 10),
        ] {
            assert_eq!(after_success(hour, s(left)), s(pause), "{left}");
        }
        assert_eq!(after_success(s(1), s(0)), s(1));
        for (failures, pause) in [
            (1, 5),
            (2, 10),
            (3, 20),
            (6, 160),
            (7, 300),
            (u32::MAX, 300),
        ] {
            assert_eq!(after_failure(hour, failures), s(pause), "{failures}");
        }
        assert_eq!(after_failure(s(60), 7), s(60));
    }
}
