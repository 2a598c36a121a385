use std::sync::LazyLock;

use mproxy_transport::{
    ClientAuth, FetchError, OcspError, TlsIdentity, TlsServer, TlsServerOptions,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SerialNumber};

use super::*;

/// A CA, and the listener that trusts it.
struct World {
    server: TlsServer,
    issuer: Issuer<'static, KeyPair>,
    /// Of all devices.
    key: KeyPair,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap().pem();
    let mut options = TlsServerOptions::default();
    options.client_auth = ClientAuth::Require;
    options.client_ca = vec![file("ca.crt", cert.clone())];
    options.certificates = vec![TlsIdentity {
        cert: file("own.crt", cert),
        key: file("own.key", key.serialize_pem()),
    }];
    World {
        server: TlsServer::load(&options).unwrap(),
        issuer: Issuer::new(params, key),
        key: KeyPair::generate().unwrap(),
    }
});

/// The question about a device.
pub(in crate::app::ocsp) fn question(serial: u64) -> OcspQuestion {
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from(serial));
    let cert = params.signed_by(&WORLD.key, &WORLD.issuer).unwrap();
    let mut questions = WORLD.server.questions(&[cert.der().clone()]).unwrap();
    questions.remove(0)
}

fn book() -> (Book, Instant) {
    let book = Book {
        refresh: seconds(1000),
        ..Book::default()
    };
    (book, Instant::now())
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

const GOOD: OcspStatus = OcspStatus::Good;
const REVOKED: OcspStatus = OcspStatus::Revoked(7);

fn news(status: OcspStatus, left: u64) -> Result<News, Failure> {
    Ok(News {
        status,
        left: seconds(left),
    })
}

fn of_responder() -> Result<News, Failure> {
    Err(FetchError::TimedOut(seconds(5)).into())
}

fn of_certificate() -> Result<News, Failure> {
    Err(OcspError::BadSignature.into())
}

/// What somebody sees who looks.
fn seen(look: &Look) -> &'static str {
    match look {
        Look::Known(OcspStatus::Good) => "good",
        Look::Known(OcspStatus::Revoked(_)) => "revoked",
        Look::Known(OcspStatus::Unknown) => "unknown",
        Look::Failing(_) => "failing",
        Look::Wait(_) => "wait",
        Look::Ask(..) => "ask",
    }
}

impl Book {
    fn sees(&mut self, question: &OcspQuestion, now: Instant) -> &'static str {
        seen(&self.look(question, now))
    }

    /// Asks, and gets this at once.
    fn asks(
        &mut self,
        question: &OcspQuestion,
        result: Result<News, Failure>,
        now: Instant,
    ) -> Ended {
        assert_eq!(self.sees(question, now), "ask");
        self.ended(question.certificate(), result, now, now, 0.5)
    }
}

#[test]
fn all_wait_for_one_request_and_its_answer_is_used_until_it_ends() {
    let (mut book, start) = book();
    let device = question(1);
    assert_eq!(book.sees(&device, start), "ask");
    assert_eq!(book.sees(&device, start), "wait");
    // the same certificate, asked about anew
    assert_eq!(book.sees(&device.clone(), start), "wait");
    assert_eq!(book.sees(&question(2), start), "ask");
    let later = start + seconds(1);
    book.ended(device.certificate(), news(GOOD, 100), start, later, 0.5);
    assert_eq!(book.sees(&device, later + seconds(99)), "good");
    assert_eq!(book.sees(&device, later + seconds(100)), "ask");
    // no longer than is configured
    let now = later + seconds(100);
    book.ended(device.certificate(), news(REVOKED, 9999), now, now, 0.5);
    assert_eq!(book.sees(&device, now + seconds(999)), "revoked");
    assert_eq!(book.sees(&device, now + seconds(1000)), "ask");
}

/// The CA may have issued it a second ago.
#[test]
fn that_a_responder_does_not_know_a_certificate_counts_a_short_time() {
    let (mut book, start) = book();
    let device = question(1);
    book.asks(&device, news(OcspStatus::Unknown, 9999), start);
    assert_eq!(book.sees(&device, start + seconds(29)), "unknown");
    assert_eq!(book.sees(&device, start + UNKNOWN), "ask");
}

/// A dead responder would cost each client the time out.
#[test]
fn a_responder_that_fails_is_tried_by_one_client_at_a_time_less_and_less_often() {
    let (mut book, start) = book();
    let [one, other, known] = [1, 2, 3].map(question);
    book.asks(&known, news(GOOD, 900), start);
    // both were under way when it failed
    assert_eq!(book.sees(&one, start), "ask");
    assert_eq!(book.sees(&other, start), "ask");
    let now = start + seconds(5);
    let first = book.ended(one.certificate(), of_responder(), start, now, 0.5);
    assert_eq!(first.told, Some(seconds(1)));
    // it may be due to the certificate, until it fails about another one
    assert!(book.failed_since(start).is_none());
    let second = book.ended(other.certificate(), of_responder(), start, now, 0.5);
    assert_eq!(second.told, Some(seconds(1)));
    // one that waited for its turn is not sent any more
    assert!(book.failed_since(start).is_some());
    assert!(book.failed_since(now).is_none());
    for device in [&one, &other, &question(4)] {
        assert_eq!(book.sees(device, now), "failing");
    }
    assert_eq!(book.sees(&known, now), "good");
    let now = now + seconds(1);
    assert_eq!(book.sees(&one, now), "ask");
    assert_eq!(book.sees(&other, now), "failing");
    let again = book.ended(one.certificate(), of_responder(), now, now, 0.5);
    assert_eq!(again.told, Some(seconds(2)));
    let now = now + seconds(2);
    book.asks(&other, news(GOOD, 900), now);
    assert_eq!(book.sees(&question(5), now), "ask");
}

/// Otherwise a client with a certificate of a CA that the responder does not serve could keep out all others.
#[test]
fn a_certificate_without_an_answer_keeps_nobody_else_out() {
    let (mut book, start) = book();
    let [strange, other] = [1, 2].map(question);
    let first = book.asks(&strange, of_certificate(), start);
    assert_eq!(first.told, Some(seconds(1)));
    assert_eq!(book.sees(&strange, start), "failing");
    assert_eq!(book.sees(&other, start), "ask");
    // told once in a while, for all certificates together
    let now = start + seconds(1);
    let second = book.asks(&strange, of_certificate(), now);
    assert!(second.told.is_none());
    let third = book.asks(&strange, of_certificate(), start + TOLD);
    assert!(third.told.is_some());
}

/// A responder that hangs, or fails, over one certificate answered nobody else: its client came again and again.
#[test]
fn a_certificate_over_which_the_responder_fails_keeps_nobody_else_out() {
    let (mut book, mut now) = book();
    let bad = question(0);
    for number in 1..5 {
        assert_eq!(book.sees(&bad, now), "ask");
        let begun = now;
        now += seconds(5);
        // also while it hangs
        book.asks(&question(number), news(GOOD, 900), now);
        let ended = book.ended(bad.certificate(), of_responder(), begun, now, 0.5);
        assert!(ended.outcome.is_err());
        assert_eq!(book.sees(&bad, now), "failing");
        book.asks(&question(10 + number), news(GOOD, 900), now);
        now += seconds(60);
        let ended = book.asks(&bad, of_responder(), now);
        assert!(ended.outcome.is_err());
        book.asks(&question(20 + number), news(GOOD, 900), now);
        now += seconds(60);
    }
}

#[test]
fn a_request_that_did_not_get_its_turn_says_nothing_about_the_responder() {
    let (mut book, start) = book();
    let device = question(1);
    let ended = book.asks(&device, Err(Failure::Crowded(1)), start);
    assert!(ended.told.is_none() && ended.outcome.is_err());
    assert_eq!(book.sees(&device, start), "ask");
    book.ended(device.certificate(), of_responder(), start, start, 0.5);
    let now = start + seconds(1);
    // who tries, and does not get that far, leaves it to the next one
    book.asks(&device, Err(Failure::Stopped), now);
    assert_eq!(book.sees(&device, now), "ask");
}

#[test]
fn an_answer_about_a_connected_client_is_renewed_before_it_ends() {
    let (mut book, start) = book();
    let device = question(1);
    let handle = SessionHandle::new();
    book.asks(&device, news(GOOD, 100), start);
    assert!(book.next_due().is_none());
    book.attend(&handle, std::slice::from_ref(&device), start, 0.0);
    let due = start + seconds(80);
    assert_eq!(book.next_due(), Some(due));
    assert!(book.take_due(due - seconds(1)).is_none());
    let asked = book.take_due(due).unwrap();
    assert_eq!(asked.certificate(), device.certificate());
    assert_eq!(seen(&book.renew(&asked, due)), "ask");
    // meanwhile clients are let in by the old one
    assert_eq!(book.sees(&device, due), "good");
    let failed = book.ended(device.certificate(), of_responder(), due, due, 0.5);
    assert!(failed.revoked.is_empty());
    assert_eq!(book.sees(&device, due), "good");
    // later, and not at once: a loop would take all there is
    let retry = book.next_due().unwrap();
    assert_eq!(retry, due + Duration::from_millis(1500));
    let asked = book.take_due(retry).unwrap();
    assert_eq!(seen(&book.renew(&asked, retry)), "ask");
    let ended = book.ended(device.certificate(), news(REVOKED, 100), retry, retry, 0.5);
    assert_eq!(ended.revoked, std::slice::from_ref(&handle));
    assert!(book.next_due().is_none());
    // one that comes too late to be ended with the others
    let late = book.attend(
        &SessionHandle::new(),
        std::slice::from_ref(&device),
        retry,
        0.5,
    );
    assert_eq!(late, Some(REVOKED));
    book.leave(handle.id().as_u64(), &[device.certificate().clone()]);
}

#[test]
fn clients_that_were_connected_before_are_asked_about_over_some_time() {
    let (mut book, start) = book();
    for (serial, chance) in [(1, 0.0), (2, 0.5), (3, 1.0)] {
        let handle = SessionHandle::new();
        book.attend(&handle, &[question(serial)], start, chance);
    }
    let due: Vec<_> = book.due.keys().map(|(at, _)| *at - start).collect();
    assert_eq!(due, [0, 30, 60].map(seconds));
}

#[test]
fn certificates_without_a_client_are_forgotten_beyond_so_many() {
    let (mut book, start) = book();
    let device = question(1);
    let certificates = [device.certificate().clone()];
    let handles = [(); 2].map(|()| SessionHandle::new());
    for handle in &handles {
        book.attend(handle, std::slice::from_ref(&device), start, 0.5);
    }
    assert_eq!(book.used, 1);
    for serial in 2..12 {
        book.asks(&question(serial), news(GOOD, serial), start);
    }
    let flying = question(12);
    assert_eq!(book.sees(&flying, start), "ask");
    book.trim(3);
    // the two that last longest, one that is asked about, and that of the client
    assert_eq!(book.entries.len(), 4);
    for serial in [10, 11] {
        assert_eq!(book.sees(&question(serial), start), "good");
    }
    assert_eq!(book.sees(&flying, start), "wait");
    let [first, second] = handles.map(|it| it.id().as_u64());
    book.leave(first, &certificates);
    assert_eq!(
        (book.used, book.due.len()),
        (1, 1),
        "another session has it"
    );
    book.leave(second, &certificates);
    book.leave(second, &certificates);
    assert_eq!((book.used, book.due.len()), (0, 0));
    // more than nothing can be under way
    book.trim(0);
    assert_eq!(book.sees(&flying, start), "wait");
    assert_eq!(book.entries.len(), 1);
}
