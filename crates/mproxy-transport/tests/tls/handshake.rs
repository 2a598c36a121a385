//! What is agreed on, and what clients do wrong before that.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use mproxy_transport::{
    HandshakePlace, TlsCause, TlsError, TlsFault, TlsServer, TlsVersion, accept_tls,
    accept_tls_admitted,
};
use rustls::{
    ClientConnection, SignatureScheme,
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    task::JoinSet,
    time::Instant,
};

use crate::support::{Ca, options, shake};

fn with_versions(
    ca: &Ca,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.cert.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[tokio::test]
async fn both_versions_are_served_and_told() {
    let ca = Ca::new();
    let leaf = ca.issue(&["broker.test"]);
    let server = TlsServer::load(&options(&leaf)).unwrap();
    for (versions, name, cipher, group) in [
        (
            &[&TLS13][..],
            "TLSv1.3",
            "TLS_AES_256_GCM_SHA384",
            "X25519MLKEM768",
        ),
        (
            &[&TLS12],
            "TLSv1.2",
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "X25519",
        ),
    ] {
        let client = with_versions(&ca, versions);
        let (accepted, connected) = shake(&server, client, "broker.test").await;
        connected.unwrap();
        let (_, info) = accepted.unwrap();
        assert_eq!(info.version, name);
        assert_eq!(info.cipher, cipher);
        assert_eq!(info.group.as_deref(), Some(group));
        assert_eq!(info.server_name.as_deref(), Some("broker.test"));
        assert!(info.certificates.is_empty() && !info.is_resumed);
    }
}

#[tokio::test]
async fn versions_and_algorithms_can_be_restricted() {
    let ca = Ca::new();
    let leaf = ca.issue(&["broker.test"]);
    let mut restricted = options(&leaf);
    restricted.min_version = TlsVersion::Tls13;
    restricted.algorithms.ciphers = vec!["TLS_AES_128_GCM_SHA256".to_owned()];
    restricted.algorithms.groups = vec!["secp256r1".to_owned()];
    let server = TlsServer::load(&restricted).unwrap();
    let (accepted, _) = shake(&server, ca.client(None), "broker.test").await;
    let (_, info) = accepted.unwrap();
    assert_eq!(info.cipher, "TLS_AES_128_GCM_SHA256");
    assert_eq!(info.group.as_deref(), Some("secp256r1"));
    let (accepted, connected) = shake(&server, with_versions(&ca, &[&TLS12]), "broker.test").await;
    let error = accepted.unwrap_err();
    assert!(matches!(error.cause(), TlsCause::Violation(_)), "{error}");
    let told = connected.unwrap_err().to_string();
    assert!(told.contains("ProtocolVersion"), "{told}");

    restricted.algorithms.ciphers = vec!["TLS_RSA_WITH_RC4_128_MD5".to_owned()];
    let error = TlsServer::load(&restricted).unwrap_err().to_string();
    assert!(
        error.contains("no cipher suite `TLS_RSA_WITH_RC4_128_MD5`; there are TLS_"),
        "{error}"
    );
    restricted.algorithms.ciphers.clear();
    restricted.algorithms.groups = vec!["brainpool".to_owned()];
    let error = TlsServer::load(&restricted).unwrap_err().to_string();
    assert!(error.contains("X25519MLKEM768"), "{error}");
}

/// A client that offers other protocols only goes on without one: mosquitto looks at none, and rustls
/// alone would refuse clients that have worked until now.
#[tokio::test]
async fn a_protocol_is_agreed_on_if_it_is_offered_and_nothing_else_is_refused() {
    let ca = Ca::new();
    let leaf = ca.issue(&["broker.test"]);
    let mut options = options(&leaf);
    options.alpn = vec!["mqtt".to_owned(), "x-amzn-mqtt-ca".to_owned()];
    let server = TlsServer::load(&options).unwrap();
    for (offered, expected) in [
        (&["mqtt"][..], Some("mqtt")),
        (&["h2", "x-amzn-mqtt-ca"], Some("x-amzn-mqtt-ca")),
        (&["h2", "http/1.1"], None),
        (&[], None),
    ] {
        let mut client = ca.client(None);
        client.alpn_protocols = offered.iter().map(|it| it.as_bytes().to_vec()).collect();
        let (accepted, connected) = shake(&server, client, "broker.test").await;
        assert_eq!(accepted.unwrap().1.alpn.as_deref(), expected, "{offered:?}");
        let connected = connected.unwrap();
        let told = connected.get_ref().1.alpn_protocol();
        assert_eq!(told, expected.map(str::as_bytes), "{offered:?}");
    }
}

/// Sends bytes to a listener, and reads its answer to the end.
async fn raw(bytes: &[u8]) -> (TlsError, Vec<u8>) {
    let ca = Ca::new();
    let leaf = ca.issue(&["broker.test"]);
    let mut options = options(&leaf);
    options.handshake_timeout = Duration::from_secs(5);
    let server = TlsServer::load(&options).unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let talk = async {
        theirs.write_all(bytes).await.unwrap();
        theirs.shutdown().await.unwrap();
        let mut answer = Vec::new();
        theirs.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let (accepted, answer) = tokio::join!(accept_tls(ours, &server, |_| {}), talk);
    (accepted.unwrap_err(), answer)
}

#[tokio::test]
async fn other_protocols_are_told_by_an_alert_and_their_bytes_are_known() {
    for foreign in [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".as_slice(),
        b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0",
        b"\x16\x03\x01\0\x05\x02\0\0\x01x",
    ] {
        let (error, answer) = raw(foreign).await;
        assert!(matches!(error.cause(), TlsCause::Violation(_)), "{error}");
        assert_eq!(error.first_bytes(), &foreign[..foreign.len().min(32)]);
        assert_eq!(error.received(), foreign.len() as u64);
        assert_eq!(answer.first(), Some(&21), "an alert: {answer:?}");
        assert_eq!(answer.len(), 7);
    }
}

#[tokio::test]
async fn an_end_within_the_handshake_is_told() {
    for sent in [&[][..], &[22], &[22, 3, 1, 2, 0, 1]] {
        let (error, answer) = raw(sent).await;
        assert!(matches!(error.cause(), TlsCause::Closed), "{error}");
        assert_eq!(error.received(), sent.len() as u64);
        assert_eq!(answer, b"");
    }
}

/// Nothing in rustls bounds a message of the handshake that never ends: 16 MB could be announced, and
/// each record of it would be kept.
#[tokio::test]
async fn a_hello_without_end_is_not_gathered() {
    let ca = Ca::new();
    let leaf = ca.issue(&["broker.test"]);
    let server = TlsServer::load(&options(&leaf)).unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let most = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&most);
    let told = move |held| {
        seen.fetch_max(held, Ordering::Relaxed);
    };
    let flood = async {
        // records of 100 bytes, of a ClientHello of 65,000
        let mut record = vec![22, 3, 1, 0, 100, 1, 0, 0xfd, 0xe8];
        record.resize(5 + 100, 3);
        loop {
            if theirs.write_all(&record).await.is_err() {
                break;
            }
            record = vec![22, 3, 1, 0, 100];
            record.resize(5 + 100, 3);
        }
    };
    let accepted = async move {
        // and closed, so that the flood ends
        accept_tls(ours, &server, told).await.unwrap_err()
    };
    let (error, ()) = tokio::join!(accepted, flood);
    assert!(
        matches!(error.cause(), TlsCause::HelloTooLarge(16_384)),
        "{error}"
    );
    assert!(most.load(Ordering::Relaxed) <= 16_384);
}

/// Each record was a reason to look at all of them again: 16 KiB took a third of a second.
#[tokio::test]
async fn a_hello_in_crumbs_is_not_looked_at_again_and_again() {
    let ca = Ca::new();
    let leaf = ca.issue(&["broker.test"]);
    let server = TlsServer::load(&options(&leaf)).unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let crumbs = async {
        // a ClientHello of 65,000 bytes
        for byte in [1, 0, 0xfd, 0xe8].into_iter().chain(std::iter::repeat(3)) {
            if theirs.write_all(&[22, 3, 1, 0, 1, byte]).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    let seen = Arc::new(AtomicUsize::new(0));
    let most = Arc::clone(&seen);
    let told = move |held| {
        most.fetch_max(held, Ordering::Relaxed);
    };
    let (accepted, ()) = tokio::join!(async move { accept_tls(ours, &server, told).await }, crumbs);
    let error = accepted.unwrap_err();
    assert!(
        matches!(error.cause(), TlsCause::HelloInPieces(8)),
        "{error}"
    );
    assert!(seen.load(Ordering::Relaxed) < 1000, "after a few records");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_its_time() {
    let ca = Ca::new();
    let leaf = ca.issue(&["broker.test"]);
    let mut options = options(&leaf);
    options.handshake_timeout = Duration::from_secs(7);
    let server = TlsServer::load(&options).unwrap();
    // nothing, and half of a record of a ClientHello
    for sent in [&[][..], &[22, 3, 1, 2, 0, 1, 0, 1, 0xfc]] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(sent).await.unwrap();
        let start = Instant::now();
        let error = accept_tls(ours, &server, |_| {}).await.unwrap_err();
        assert!(matches!(error.cause(), TlsCause::TimedOut));
        assert_eq!(start.elapsed().as_secs(), 7);
        assert_eq!(error.received(), sent.len() as u64);
    }
}

/// Notes whose handshake has taken a step.
struct Noted(IpAddr, Arc<Mutex<Vec<IpAddr>>>);

impl HandshakePlace for Noted {
    fn leave(&mut self) {
        self.1.lock().unwrap().push(self.0);
    }

    fn come_back(&mut self) {}
}

/// An address that began a thousand handshakes was served first, and everybody else waited for a third of a
/// second.
#[tokio::test]
async fn a_handshake_waits_for_one_of_each_other_client() {
    let ca = Ca::new();
    let leaf = ca.issue(&["broker.test"]);
    let server = TlsServer::load(&options(&leaf)).unwrap();
    let name = "broker.test".try_into().unwrap();
    let mut hello = Vec::new();
    ClientConnection::new(Arc::new(ca.client(None)), name)
        .unwrap()
        .write_tls(&mut hello)
        .unwrap();
    let [many, few, one] = [1, 2, 3].map(|last| IpAddr::from([192, 0, 2, last]));
    let steps = Arc::new(Mutex::new(Vec::new()));
    let (mut handshakes, mut peers) = (JoinSet::new(), Vec::new());
    for (client, count) in [(many, 60), (few, 20), (one, 1)] {
        for _ in 0..count {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(&hello).await.unwrap();
            peers.push(theirs);
            let noted = Noted(client, Arc::clone(&steps));
            let server = server.clone();
            handshakes.spawn(async move {
                let begin = || Some(noted);
                accept_tls_admitted(ours, &server, Some(client), |_| {}, begin).await
            });
        }
    }
    for peer in &mut peers {
        // the answer
        peer.read_u8().await.unwrap();
    }
    drop(peers);
    while let Some(ended) = handshakes.join_next().await {
        assert!(ended.unwrap().is_err(), "they have left");
    }
    let steps = steps.lock().unwrap();
    let place = |client| steps.iter().position(|it| *it == client).unwrap();
    // the first ones had a turn before anybody else was there
    assert!(place(few) < 10 && place(one) < 10, "{steps:?}");
    // and from then on one after the other
    let last = steps.iter().rposition(|it| *it == few).unwrap();
    assert!(last < 60, "{steps:?}");
}

/// `Duration::MAX` stands for no limit.
#[tokio::test]
async fn a_handshake_may_have_any_time() {
    let ca = Ca::new();
    let mut options = options(&ca.issue(&["broker.test"]));
    options.handshake_timeout = Duration::MAX;
    let server = TlsServer::load(&options).unwrap();
    shake(&server, ca.client(None), "broker.test")
        .await
        .0
        .unwrap();
}

/// In TLS 1.2, the connection was closed without an alert, and the log spoke of an unexpected error.
#[tokio::test]
async fn a_client_that_knows_no_signature_of_the_key_is_told() {
    let ca = Ca::new();
    let leaf = ca.issue(&["broker.test"]);
    let server = TlsServer::load(&options(&leaf)).unwrap();
    for version in [&TLS12, &TLS13] {
        let client = without_ecdsa_p256(version);
        let (accepted, connected) = shake(&server, client, "broker.test").await;
        let error = accepted.unwrap_err();
        assert_eq!(fault(&error), TlsFault::NothingInCommon, "{error}");
        let told = connected.unwrap_err().to_string();
        assert!(told.contains("HandshakeFailure"), "{told}");
    }
}

/// The log said that the client had closed the connection, if it was gone before the alert could be sent: a scanner does
/// not wait. That the certificate does not fit is what the operator must hear.
#[tokio::test]
async fn what_a_client_did_wrong_is_known_when_it_does_not_wait_for_the_alert() {
    let ca = Ca::new();
    let leaf = ca.issue(&["broker.test"]);
    let server = TlsServer::load(&options(&leaf)).unwrap();
    for version in [&TLS12, &TLS13] {
        let mut hello = Vec::new();
        let name = "broker.test".try_into().unwrap();
        let client = Arc::new(without_ecdsa_p256(version));
        let mut client = ClientConnection::new(client, name).unwrap();
        client.write_tls(&mut hello).unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&hello).await.unwrap();
        drop(theirs);
        let error = accept_tls(ours, &server, |_| {}).await.unwrap_err();
        assert_eq!(fault(&error), TlsFault::NothingInCommon, "{error}");
    }
}

/// A client that cannot verify what the key of these tests, one of P-256, signs.
fn without_ecdsa_p256(version: &'static rustls::SupportedProtocolVersion) -> rustls::ClientConfig {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    let schemes = &mut provider.signature_verification_algorithms;
    schemes.mapping = &schemes.mapping[..1];
    assert_ne!(schemes.mapping[0].0, SignatureScheme::ECDSA_NISTP256_SHA256);
    rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

fn fault(error: &TlsError) -> TlsFault {
    match error.cause() {
        TlsCause::Violation(violation) => violation.fault(),
        _ => panic!("{error}"),
    }
}
