//! What is known about the certificates of one responder: it sends nothing and reads no clock.
//!
//! ```text
//! look --> Known, Failing, Wait: nobody asks
//!      `-> Ask ---- request ----> ended: kept, and told to all who wait
//! ```

#[cfg(test)]
pub(super) mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mproxy_session::SessionHandle;
use mproxy_transport::{OcspCertificate, OcspQuestion, OcspStatus};
use tokio::sync::watch;

use super::failure::{About, Failure};
use super::trouble::Trouble;

/// Maximum certificates that are remembered without a connected client. Each takes about half a KiB.
const MAX_IDLE: usize = 16 * 1024;

/// How many of them are compared to find one to forget.
const COMPARED: usize = 32;

/// How long it counts that the responder does not know a certificate: it may be so new that the responder has not
/// heard of it yet.
const UNKNOWN: Duration = Duration::from_secs(30);

/// The time over which questions about clients that are connected already are spread.
const SPREAD: Duration = Duration::from_secs(60);

/// The time over which those are spread that cannot wait.
const SOON: Duration = Duration::from_secs(1);

/// How often failures that are about single certificates are told.
const TOLD: Duration = Duration::from_secs(30);

/// What came of a request.
pub(super) type Outcome = Result<OcspStatus, Arc<Failure>>;

/// Tells an outcome to those who wait for it.
pub(super) type Teller = watch::Sender<Option<Outcome>>;

/// Waits for it.
pub(super) type Waiter = watch::Receiver<Option<Outcome>>;

/// What is known about a certificate.
pub(super) enum Look {
    /// Its status.
    Known(OcspStatus),
    /// It was asked about in vain, a short time ago.
    Failing(Arc<Failure>),
    /// It is asked about now.
    Wait(Waiter),
    /// Nothing, so it must be asked about now.
    Ask(Teller, Waiter),
}

/// An answer that came, and for how long it is in force.
#[derive(Clone, Copy, Debug)]
pub(super) struct News {
    pub(super) status: OcspStatus,
    pub(super) left: Duration,
}

/// What follows from the end of a request.
pub(super) struct Ended {
    /// What those who wait are told.
    pub(super) outcome: Outcome,
    /// The sessions whose certificate was revoked.
    pub(super) revoked: Vec<SessionHandle>,
    /// When it is asked again, if the failure is to be told.
    pub(super) told: Option<Duration>,
}

/// What is known about the certificates of one responder.
#[derive(Default)]
pub(super) struct Book {
    entries: HashMap<OcspCertificate, Entry>,
    /// How many of them have sessions.
    used: usize,
    /// When to ask about which certificate again. The number makes places of the same time differ.
    due: BTreeMap<(Instant, u64), OcspCertificate>,
    places: u64,
    /// The responder fails.
    trouble: Option<Trouble>,
    /// When it last answered.
    answered: Option<Instant>,
    /// The certificate about which it has failed since: a client must not keep it from being asked about others.
    suspect: Option<OcspCertificate>,
    /// When a failure about a single certificate was last told.
    told: Option<Instant>,
    /// The longest time that an answer is used.
    pub(super) refresh: Duration,
}

struct Entry {
    question: OcspQuestion,
    answer: Option<Kept>,
    trouble: Option<Trouble>,
    flight: Option<Waiter>,
    sessions: HashMap<u64, SessionHandle>,
    due: Option<(Instant, u64)>,
}

#[derive(Clone, Copy)]
struct Kept {
    status: OcspStatus,
    since: Instant,
    /// Until when the answer is in force.
    until: Instant,
}

impl Book {
    /// What is known about a certificate. With [`Look::Ask`], the caller must ask about it.
    pub(super) fn look(&mut self, question: &OcspQuestion, now: Instant) -> Look {
        let entry = self.entries.get(question.certificate());
        let kept = entry.and_then(|it| it.answer);
        match kept.filter(|it| now < it.end(self.refresh)) {
            Some(kept) => Look::Known(kept.status),
            None => self.renew(question, now),
        }
    }

    /// As [`look`](Self::look), for an answer that is about to run out: it is used until there is another one.
    pub(super) fn renew(&mut self, question: &OcspQuestion, now: Instant) -> Look {
        if let Some(entry) = self.entries.get(question.certificate()) {
            if let Some(flight) = &entry.flight {
                return Look::Wait(flight.clone());
            }
            if let Some(trouble) = entry.trouble.as_ref().filter(|it| now < it.retry) {
                return Look::Failing(Arc::clone(&trouble.why));
            }
        }
        if let Some(trouble) = &mut self.trouble {
            if trouble.is_tried || now < trouble.retry {
                return Look::Failing(Arc::clone(&trouble.why));
            }
            trouble.is_tried = true;
        }
        let (teller, waiter) = watch::channel(None);
        self.entry(question).flight = Some(waiter.clone());
        self.trim(MAX_IDLE);
        Look::Ask(teller, waiter)
    }

    /// Why a request that began at this time need not be sent any more: the responder has failed since.
    pub(super) fn failed_since(&self, begun: Instant) -> Option<Arc<Failure>> {
        let trouble = self.trouble.as_ref().filter(|it| begun < it.since);
        trouble.map(|it| Arc::clone(&it.why))
    }

    /// A request has ended that began at this time. `chance` is from 0 to 1.
    pub(super) fn ended(
        &mut self,
        certificate: &OcspCertificate,
        result: Result<News, Failure>,
        begun: Instant,
        now: Instant,
        chance: f64,
    ) -> Ended {
        let result = result.map_err(Arc::new);
        let about = result.as_ref().err().map(|it| it.about());
        let mut told = None;
        let is_of_one = match (&result, about) {
            (Err(why), Some(About::Responder)) => self.is_about_one(why, certificate, begun),
            _ => false,
        };
        match (&result, about) {
            _ if is_of_one => {}
            (Err(why), Some(About::Responder)) => {
                let trouble = Trouble::after(self.trouble.as_ref(), why, begun, now, chance);
                if let Some(trouble) = trouble {
                    told = Some(trouble.retry.saturating_duration_since(now));
                    self.trouble = Some(trouble);
                }
            }
            (_, Some(About::Us)) => {
                if let Some(trouble) = &mut self.trouble {
                    trouble.is_tried = false;
                }
            }
            // it answers
            _ => {
                self.trouble = None;
                self.suspect = None;
                self.answered = Some(now);
            }
        }
        let mut ended = Ended {
            outcome: result.clone().map(|it| it.status),
            revoked: Vec::new(),
            told: None,
        };
        let Some(entry) = self.entries.get_mut(certificate) else {
            return ended;
        };
        entry.flight = None;
        match &result {
            Ok(news) => {
                entry.trouble = None;
                entry.answer = Some(Kept {
                    status: news.status,
                    since: now,
                    until: now + news.left,
                });
                if matches!(news.status, OcspStatus::Revoked(_)) {
                    ended.revoked = entry.sessions.values().cloned().collect();
                }
            }
            Err(_) if about == Some(About::Us) => {}
            Err(why) => {
                let trouble = Trouble::after(entry.trouble.as_ref(), why, begun, now, chance);
                entry.trouble = trouble.or_else(|| entry.trouble.take());
                let is_own = is_of_one || about == Some(About::Certificate);
                let is_silent = self.told.is_none_or(|it| now >= it + TOLD);
                if is_own && is_silent {
                    let retry = entry.trouble.as_ref().map(|it| it.retry);
                    told = retry.map(|it| it.saturating_duration_since(now));
                    self.told = Some(now);
                }
            }
        }
        ended.told = told;
        self.plan(certificate, now, chance);
        ended
    }

    /// Whether a failure of the responder may be due to this certificate: it has answered about others, or not
    /// failed about another one.
    fn is_about_one(
        &mut self,
        why: &Failure,
        certificate: &OcspCertificate,
        begun: Instant,
    ) -> bool {
        if why.is_of_network() || self.trouble.is_some() {
            return false;
        }
        if self.answered.is_some_and(|at| begun < at) {
            return true;
        }
        let suspect = self.suspect.get_or_insert_with(|| certificate.clone());
        suspect == certificate
    }

    /// Asks about these certificates for the session, from now on.
    pub(super) fn attend(
        &mut self,
        handle: &SessionHandle,
        asked: &[OcspQuestion],
        now: Instant,
        chance: f64,
    ) -> Option<OcspStatus> {
        let mut revoked = None;
        for question in asked {
            let entry = self.entry(question);
            let is_first = entry.sessions.is_empty();
            entry.sessions.insert(handle.id().as_u64(), handle.clone());
            let status = entry.answer.map(|it| it.status);
            if let Some(OcspStatus::Revoked(_)) = status {
                revoked = status;
            }
            if is_first {
                self.used += 1;
                self.plan(question.certificate(), now, chance);
            }
        }
        revoked
    }

    /// The session has ended.
    pub(super) fn leave(&mut self, session: u64, certificates: &[OcspCertificate]) {
        for certificate in certificates {
            let Some(entry) = self.entries.get_mut(certificate) else {
                continue;
            };
            let was_there = entry.sessions.remove(&session).is_some();
            if was_there && entry.sessions.is_empty() {
                self.used -= 1;
                if let Some(place) = entry.due.take() {
                    self.due.remove(&place);
                }
            }
        }
        self.trim(MAX_IDLE);
    }

    /// When a certificate of a connected client must be asked about next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes a certificate that must be asked about now.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<OcspQuestion> {
        let first = self.due.first_entry().filter(|it| it.key().0 <= now)?;
        let certificate = first.remove();
        let entry = self.entries.get_mut(&certificate)?;
        entry.due = None;
        Some(entry.question.clone())
    }

    /// Plans when a certificate is asked about again, if a client is connected with it.
    pub(super) fn plan(&mut self, certificate: &OcspCertificate, now: Instant, chance: f64) {
        let (refresh, responder) = (self.refresh, self.trouble.as_ref().map(|it| it.retry));
        let Some(entry) = self.entries.get_mut(certificate) else {
            return;
        };
        if let Some(place) = entry.due.take() {
            self.due.remove(&place);
        }
        let answer = entry.answer.filter(|it| now < it.end(refresh));
        let is_over = matches!(answer.map(|it| it.status), Some(OcspStatus::Revoked(_)));
        if entry.sessions.is_empty() || entry.flight.is_some() || is_over {
            return;
        }
        let own = entry.trouble.as_ref().map(|it| it.retry);
        let retry = own.max(responder).filter(|it| now < *it);
        let at = match (retry, answer) {
            (Some(retry), _) => retry + SOON.mul_f64(chance),
            (None, Some(kept)) => kept
                .renewal(refresh, chance)
                .max(now + SOON.mul_f64(chance)),
            (None, None) => now + SPREAD.min(refresh).mul_f64(chance),
        };
        self.places += 1;
        let place = (at, self.places);
        entry.due = Some(place);
        self.due.insert(place, certificate.clone());
    }

    /// Plans anew when each certificate of a connected client is asked about: answers are used for another time.
    pub(super) fn replan(&mut self, now: Instant) {
        let used = self
            .entries
            .iter()
            .filter(|(_, it)| !it.sessions.is_empty());
        let used: Vec<_> = used.map(|(certificate, _)| certificate.clone()).collect();
        for certificate in used {
            self.plan(&certificate, now, fastrand::f64());
        }
    }

    fn entry(&mut self, question: &OcspQuestion) -> &mut Entry {
        let entry = self.entries.entry(question.certificate().clone());
        entry.or_insert_with(|| Entry {
            question: question.clone(),
            answer: None,
            trouble: None,
            flight: None,
            sessions: HashMap::new(),
            due: None,
        })
    }

    /// Forgets certificates without a connected client, beyond so many; of some, the one whose answer ends first.
    fn trim(&mut self, most: usize) {
        while self.entries.len() - self.used > most {
            let entries = self.entries.iter();
            let idle = entries.filter(|(_, it)| it.sessions.is_empty() && it.flight.is_none());
            let first = idle
                .take(COMPARED)
                .min_by_key(|(_, it)| it.answer.map(|it| it.until));
            let Some((certificate, _)) = first else {
                return;
            };
            let certificate = certificate.clone();
            self.entries.remove(&certificate);
        }
    }
}

impl Kept {
    /// Until when it is used.
    fn end(&self, refresh: Duration) -> Instant {
        let longest = match self.status {
            OcspStatus::Unknown => refresh.min(UNKNOWN),
            OcspStatus::Good | OcspStatus::Revoked(_) => refresh,
        };
        self.until.min(self.since + longest)
    }

    /// When it is renewed: from 80 % to 95 % of the time that it is used.
    fn renewal(&self, refresh: Duration, chance: f64) -> Instant {
        let used = self.end(refresh).saturating_duration_since(self.since);
        self.since + used.mul_f64(0.8 + 0.15 * chance)
    }
}
