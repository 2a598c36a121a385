//! The judgement about a client that connects.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use mproxy_transport::{FetchError, HttpUrl, OcspError, OcspQuestion, OcspStatus};
use tokio::time::timeout;

use super::book::{Look, Outcome};
use super::failure::Failure;
use super::responder::Responder;

/// What a listener asks about its clients.
#[derive(Clone)]
pub(crate) struct Check {
    pub(super) responder: Arc<Responder>,
    /// Lets in clients about whom there is no valid answer.
    pub(super) allows: bool,
    /// Maximum time that a client waits for the answers.
    pub(super) timeout: Duration,
    /// Whether the certificates above its own are asked about, too.
    pub(super) whole_chain: bool,
}

/// Why a client is not let in.
#[derive(Debug)]
pub(crate) struct Refusal {
    url: HttpUrl,
    why: Why,
    /// The certificate is not its own, but one above it.
    is_above: bool,
}

#[derive(Debug)]
enum Why {
    Status(OcspStatus),
    Failed(Arc<Failure>),
}

impl Check {
    /// Whether both ask the same responder about the same certificates.
    pub(super) fn asks_like(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.responder, &other.responder) && self.whole_chain == other.whole_chain
    }

    /// Judges the certificates of a client, and waits for answers about them.
    ///
    /// # Errors
    /// One of them was revoked; or there is no valid answer about one, and such clients are not let in.
    ///
    /// # Cancel safety
    /// Requests go on.
    pub(crate) async fn judge(
        &self,
        questions: &Result<Vec<OcspQuestion>, OcspError>,
    ) -> Result<(), Refusal> {
        let questions = match questions {
            Ok(questions) => questions,
            Err(error) => {
                let failure = Failure::from(error.clone());
                return self.unless_allowed(Why::Failed(Arc::new(failure)), false);
            }
        };
        // all are asked about before the first one is waited for
        let looks = questions.iter().map(|it| (it, self.responder.look(it)));
        let looks: Vec<_> = looks.collect();
        // what is known for sure is not waited for
        let revoked = looks.iter().find_map(|(question, look)| match look {
            Look::Known(status @ OcspStatus::Revoked(_)) => Some((*status, question.place() > 0)),
            _ => None,
        });
        if let Some((status, is_above)) = revoked {
            return Err(self.refusal(Why::Status(status), is_above));
        }
        let longest = self.timeout;
        let mut outcomes = Vec::with_capacity(looks.len());
        let waits = async {
            for (question, look) in looks {
                outcomes.push((question.place() > 0, outcome(look).await));
            }
        };
        if timeout(longest, waits).await.is_err() {
            // about those that are missing
            let late = Failure::from(FetchError::TimedOut(longest));
            outcomes.push((false, Err(Arc::new(late))));
        }
        let is_revoked = |it: &(bool, Outcome)| matches!(it.1, Ok(OcspStatus::Revoked(_)));
        // what is known for sure comes first
        outcomes.sort_by_key(|it| !is_revoked(it));
        for (is_above, outcome) in outcomes {
            match outcome {
                Ok(OcspStatus::Good) => {}
                Ok(status @ OcspStatus::Revoked(_)) => {
                    return Err(self.refusal(Why::Status(status), is_above));
                }
                Ok(OcspStatus::Unknown) => {
                    self.unless_allowed(Why::Status(OcspStatus::Unknown), is_above)?;
                }
                Err(failure) => self.unless_allowed(Why::Failed(failure), is_above)?,
            }
        }
        Ok(())
    }

    fn unless_allowed(&self, why: Why, is_above: bool) -> Result<(), Refusal> {
        match self.allows {
            true => Ok(()),
            false => Err(self.refusal(why, is_above)),
        }
    }

    fn refusal(&self, why: Why, is_above: bool) -> Refusal {
        Refusal {
            url: self.responder.url.clone(),
            why,
            is_above,
        }
    }
}

async fn outcome(look: Look) -> Outcome {
    match look {
        Look::Known(status) => Ok(status),
        Look::Failing(why) => Err(why),
        Look::Wait(mut waiter) | Look::Ask(_, mut waiter) => {
            let told = waiter.wait_for(Option::is_some).await;
            let told = told.ok().and_then(|it| it.clone());
            told.unwrap_or_else(|| Err(Arc::new(Failure::Stopped)))
        }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("url", &self.responder.url)
            .field("allows", &self.allows)
            .finish_non_exhaustive()
    }
}

impl Refusal {
    /// Whether the client is to blame, and not the responder.
    pub(crate) fn is_revoked(&self) -> bool {
        matches!(self.why, Why::Status(OcspStatus::Revoked(_)))
    }

    /// What to change, and where; `NAME` is the listener's.
    pub(crate) fn remedy(&self) -> &'static str {
        match &self.why {
            Why::Status(OcspStatus::Revoked(_)) if self.is_above => {
                "the CA of this client was revoked: give the client a certificate of another one"
            }
            Why::Status(status) => remedy(*status),
            Why::Failed(failure) => failure.remedy(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_above {
            f.write_str("about a certificate above its own: ")?;
        }
        match &self.why {
            Why::Status(status) => {
                let url = &self.url;
                let status = *status;
                Told { url, status }.fmt(f)
            }
            Why::Failed(failure) => write!(f, "{}: {failure}", self.url),
        }
    }
}

/// What a responder says about a certificate, for the log.
pub(super) struct Told<'a> {
    pub(super) url: &'a HttpUrl,
    pub(super) status: OcspStatus,
}

impl Told<'_> {
    pub(super) const fn remedy(&self) -> &'static str {
        remedy(self.status)
    }
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.url)?;
        match self.status {
            OcspStatus::Good => f.write_str("the certificate is good"),
            OcspStatus::Unknown => f.write_str("the responder does not know the certificate"),
            OcspStatus::Revoked(since) => {
                f.write_str("the certificate was revoked")?;
                let since = u64::try_from(since).ok().map(Duration::from_secs);
                let since = since.filter(|it| *it <= YEAR_9999);
                match since.and_then(|it| UNIX_EPOCH.checked_add(it)) {
                    Some(at) => write!(f, " at {}", humantime::format_rfc3339_seconds(at)),
                    None => Ok(()),
                }
            }
        }
    }
}

const fn remedy(status: OcspStatus) -> &'static str {
    match status {
        OcspStatus::Revoked(_) => {
            "the certificate was revoked: give the client a new one, or block it"
        }
        OcspStatus::Unknown | OcspStatus::Good => {
            "the responder of listeners.NAME.tls.revocation.ocsp_responder_url must be that of the CA that has \
             issued the certificate, and know it; a new certificate may take some time to get there"
        }
    }
}

/// Later times cannot be written.
const YEAR_9999: Duration = Duration::from_secs(253_402_300_799);
