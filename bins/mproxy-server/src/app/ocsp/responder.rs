//! A responder: requests to it, and the connected clients that it is asked about.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mproxy_admin::{Metrics, OcspMetrics, OcspResult};
use mproxy_session::SessionHandle;
use mproxy_transport::{
    Content, FetchLimits, HttpUrl, OcspAnswer, OcspCertificate, OcspQuestion, OcspStatus, Resolver,
    post,
};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::{sleep_until, timeout};

use super::book::{Book, Look, News, Teller};
use super::check::Told;
use super::failure::{About, Failure};
use crate::app::distrust;
use crate::app::key_names::fill_listener;

/// Maximum requests to a responder at the same time.
const REQUESTS: usize = 32;

/// Maximum of those that are about clients that are connected already.
const RENEWALS: usize = 8;

/// The largest answer. One with the certificates of its signer has less than 8 KiB.
const MAX_ANSWER: usize = 64 * 1024;

/// How a responder is asked, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// The first listener that names it, for the log.
    pub(super) listener: String,
    pub(super) timeout: Duration,
    pub(super) refresh: Duration,
}

/// A responder, and what it said.
pub(super) struct Responder {
    pub(super) url: HttpUrl,
    settings: Mutex<Settings>,
    book: Mutex<Book>,
    requests: Semaphore,
    /// Notified when a certificate must be asked about sooner than all others.
    sooner: Notify,
    runtime: Handle,
    resolver: Resolver,
    metrics: OcspMetrics,
    renewing: OnceLock<AbortHandle>,
}

impl Responder {
    /// A responder that is asked about connected clients from now on.
    pub(super) fn start(
        url: HttpUrl,
        settings: Settings,
        runtime: &Handle,
        resolver: &Resolver,
        metrics: &Metrics,
    ) -> Arc<Self> {
        let mut book = Book::default();
        book.refresh = settings.refresh;
        let responder = Arc::new(Self {
            metrics: metrics.ocsp(&url.to_string()),
            url,
            settings: Mutex::new(settings),
            book: Mutex::new(book),
            requests: Semaphore::new(REQUESTS),
            sooner: Notify::new(),
            runtime: runtime.clone(),
            resolver: resolver.clone(),
            renewing: OnceLock::new(),
        });
        let renewing = runtime.spawn(Arc::clone(&responder).renew()).abort_handle();
        // once
        let _ = responder.renewing.set(renewing);
        responder
    }

    /// Asks about nobody who is connected any more.
    pub(super) fn stop(&self) {
        if let Some(renewing) = self.renewing.get() {
            renewing.abort();
        }
    }

    pub(super) fn configure(&self, settings: Settings) {
        let refresh = settings.refresh;
        *self.settings_lock() = settings;
        let mut book = self.book();
        if std::mem::replace(&mut book.refresh, refresh) != refresh {
            book.replan(Instant::now());
            drop(book);
            self.sooner.notify_one();
        }
    }

    /// Maximum time for an answer.
    pub(super) fn timeout(&self) -> Duration {
        self.settings_lock().timeout
    }

    /// What is known about the certificate of a client that connects. If nothing is, it is asked about.
    pub(super) fn look(self: &Arc<Self>, question: &OcspQuestion) -> Look {
        let now = Instant::now();
        let look = self.book().look(question, now);
        match look {
            Look::Ask(teller, waiter) => {
                self.ask(question.clone(), teller, now);
                Look::Wait(waiter)
            }
            Look::Known(_) => {
                self.metrics.knew();
                look
            }
            Look::Failing(_) | Look::Wait(_) => look,
        }
    }

    pub(super) fn attend(&self, handle: &SessionHandle, asked: &[OcspQuestion]) {
        let now = Instant::now();
        let mut book = self.book();
        let before = book.next_due();
        let revoked = book.attend(handle, asked, now, fastrand::f64());
        let is_sooner = book.next_due() != before;
        drop(book);
        if is_sooner {
            self.sooner.notify_one();
        }
        if let Some(status) = revoked {
            self.reject(handle, status);
        }
    }

    pub(super) fn leave(&self, session: u64, certificates: &[OcspCertificate]) {
        self.book().leave(session, certificates);
    }

    /// Sends a request, on a task of its own: the clients that wait for it may go away.
    fn ask(self: &Arc<Self>, question: OcspQuestion, teller: Teller, begun: Instant) {
        let mut request = Request {
            responder: Arc::clone(self),
            question,
            // the book has another receiver, and this may be the last sender
            teller: Some(teller),
            begun,
        };
        self.runtime.spawn(async move {
            let result = request.send().await;
            request.end(result);
        });
    }

    fn ended(&self, request: &mut Request, result: Result<OcspAnswer, Failure>) {
        let shown = match result.as_ref().map(|it| it.status) {
            Ok(OcspStatus::Good) => Some(OcspResult::Good),
            Ok(OcspStatus::Revoked(_)) => Some(OcspResult::Revoked),
            Ok(OcspStatus::Unknown) => Some(OcspResult::Unknown),
            // it was not sent
            Err(failure) if failure.about() == About::Us => None,
            Err(_) => Some(OcspResult::Failed),
        };
        if let Some(shown) = shown {
            self.metrics.asked(shown);
        }
        let news = result.map(|answer| News {
            status: answer.status,
            left: remaining(answer.valid_until),
        });
        let (certificate, now) = (request.question.certificate(), Instant::now());
        let ended = self
            .book()
            .ended(certificate, news, request.begun, now, fastrand::f64());
        self.sooner.notify_one();
        if let (Some(retry), Err(why)) = (ended.told, &ended.outcome) {
            self.tell(why, retry);
        }
        if let Ok(status) = ended.outcome {
            for handle in &ended.revoked {
                self.reject(handle, status);
            }
        }
        if let Some(teller) = request.teller.take() {
            // all who waited may have gone away
            let _ = teller.send(Some(ended.outcome));
        }
    }

    fn reject(&self, handle: &SessionHandle, status: OcspStatus) {
        let told = Told {
            url: &self.url,
            status,
        };
        distrust::reject(handle, &told, Some(told.remedy()));
    }

    fn tell(&self, failure: &Failure, retry: Duration) {
        let listener = self.settings_lock().listener.clone();
        let named = |text: &str| fill_listener(text, &listener);
        tracing::warn!(
            target: "mproxy::server",
            event = "error",
            detail = format_args!("{}: {failure}", self.url),
            retry_in_s = retry.as_secs_f64(),
            remedy = named(failure.remedy()),
            "{}",
            named("an OCSP responder gave no valid answer: \
                   listeners.NAME.tls.revocation.on_unavailable decides about clients")
        );
    }

    /// Asks about connected clients again before answers run out, until it is aborted.
    async fn renew(self: Arc<Self>) {
        let renewals = Arc::new(Semaphore::new(RENEWALS));
        loop {
            let sooner = self.sooner.notified();
            let due = self.book().next_due();
            match due {
                Some(due) if due <= Instant::now() => {}
                Some(due) => {
                    tokio::select! {
                        () = sooner => {}
                        () = sleep_until(due.into()) => {}
                    }
                    continue;
                }
                None => {
                    sooner.await;
                    continue;
                }
            }
            let Ok(renewal) = Arc::clone(&renewals).acquire_owned().await else {
                return;
            };
            let now = Instant::now();
            let mut book = self.book();
            let Some(question) = book.take_due(now) else {
                continue;
            };
            match book.renew(&question, now) {
                Look::Ask(teller, mut waiter) => {
                    drop(book);
                    self.ask(question, teller, now);
                    tokio::spawn(async move {
                        // an error is the end of the request as well
                        let _ = waiter.changed().await;
                        drop(renewal);
                    });
                }
                Look::Known(_) | Look::Failing(_) => {
                    book.plan(question.certificate(), now, fastrand::f64());
                }
                // planned when it has ended
                Look::Wait(_) => {}
            }
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // nothing that can panic lies between two changes that belong together
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settings_lock(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way. It always ends, even if its task does not.
struct Request {
    responder: Arc<Responder>,
    question: OcspQuestion,
    /// `None` when it has ended.
    teller: Option<Teller>,
    begun: Instant,
}

impl Request {
    async fn send(&self) -> Result<OcspAnswer, Failure> {
        let responder = &self.responder;
        let limits = FetchLimits {
            timeout: responder.timeout(),
            max_size: MAX_ANSWER,
        };
        let turn = timeout(limits.timeout, responder.requests.acquire()).await;
        let turn = turn.map_err(|_| Failure::Crowded(REQUESTS))?;
        let _turn = turn.map_err(|_| Failure::Stopped)?;
        // those that waited would cost the time out one after the other
        if let Some(why) = responder.book().failed_since(self.begun) {
            return Err(Failure::Same(why));
        }
        let content = Content {
            media_type: "application/ocsp-request",
            accept: "application/ocsp-response",
            body: self.question.request()?,
        };
        let body = post(&responder.url, limits, &responder.resolver, content).await?;
        Ok(self.question.check(&body, SystemTime::now())?)
    }

    fn end(&mut self, result: Result<OcspAnswer, Failure>) {
        if self.teller.is_some() {
            let responder = Arc::clone(&self.responder);
            responder.ended(self, result);
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.end(Err(Failure::Stopped));
    }
}

/// For how long an answer is still in force.
fn remaining(valid_until: i64) -> Duration {
    let until = u64::try_from(valid_until).unwrap_or(0);
    let until = UNIX_EPOCH.checked_add(Duration::from_secs(until));
    let left = until.and_then(|until| until.duration_since(SystemTime::now()).ok());
    left.unwrap_or_default().min(LONGEST)
}

/// Longer than any answer is used, and short enough to be added to a time.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use mproxy_admin::{BuildInfo, Health};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::super::book::tests::question;
    use super::*;

    /// A fleet that returns would otherwise open a connection a device.
    #[tokio::test]
    async fn a_responder_gets_so_many_requests_at_a_time_and_each_has_its_turn() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let settings = Settings {
            listener: "mqtts".to_owned(),
            timeout: Duration::from_secs(300),
            refresh: Duration::from_secs(3600),
        };
        let build = BuildInfo::new("mproxy", "0");
        let metrics = Metrics::new(&build, &Health::new(), NonZeroUsize::MIN);
        let responder = Responder::start(
            url.parse().unwrap(),
            settings,
            &Handle::current(),
            &Resolver::system(),
            &metrics,
        );
        let questions: Vec<_> = (1..=40).map(question).collect();
        let looks = questions.iter().map(|it| responder.look(it));
        let looks: Vec<_> = looks.collect();
        let mut open = Vec::new();
        for _ in 0..40 {
            if open.len() == REQUESTS {
                let is_next = timeout(Duration::from_millis(20), listener.accept()).await;
                assert!(is_next.is_err(), "one more than it may get");
                let (mut stream, _): (TcpStream, _) = open.remove(0);
                let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
                stream.read_u8().await.unwrap();
                stream.write_all(answer).await.unwrap();
            }
            open.push(listener.accept().await.unwrap());
        }
        // those that were not sent would never end
        drop((open, listener));
        for look in looks {
            let Look::Wait(mut waiter) = look else {
                panic!("nobody has asked about it");
            };
            let outcome = waiter.wait_for(Option::is_some).await.unwrap().clone();
            outcome.unwrap().unwrap_err();
        }
        responder.stop();
    }
}
