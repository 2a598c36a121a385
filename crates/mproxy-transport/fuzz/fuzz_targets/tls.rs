//! TLS under the session. Any bytes in any pieces make no handshake, and the same failure. Records of a real
//! client give, in any pieces, the plaintext that was put in, as far as nobody has changed them.
#![no_main]

use std::cell::RefCell;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use mproxy_transport::{TlsCause, TlsIdentity, TlsServer, TlsServerOptions, accept_tls};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;
use tokio_rustls::TlsConnector;

/// The most that a listener without certificates of clients may hold for a connection: a ClientHello, or
/// the beginning of a record.
const MAX_HELD: usize = 16 * 1024 + 2048 + 5;

/// The longest text of one record.
const MAX_TEXT: usize = 16 * 1024;

/// The most that a client does.
const MAX_STEPS: usize = 24;

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(
        Builder::new_current_thread().enable_all().build().expect("a runtime"),
    );
}

/// A listener, and a client that trusts it.
static PEERS: LazyLock<(TlsServer, TlsConnector)> = LazyLock::new(|| {
    let own = rcgen::generate_simple_self_signed(["broker.test".to_owned()]).expect("a key");
    let dir = tempfile::tempdir().expect("a folder");
    let [cert, key] = ["cert", "key"].map(|it| dir.path().join(it));
    std::fs::write(&cert, own.cert.pem()).expect("the folder is ours");
    std::fs::write(&key, own.signing_key.serialize_pem()).expect("the folder is ours");
    let mut options = TlsServerOptions::default();
    options.certificates.push(TlsIdentity { cert, key });
    // the cheapest: it is not the keys that are looked at
    options.algorithms.groups.push("x25519".to_owned());
    let server = TlsServer::load(&options).expect("files that fit");
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).expect("a certificate");
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (server, TlsConnector::from(Arc::new(client)))
});

/// Cuts bytes into pieces of these lengths, again and again.
fn pieces<'a>(lengths: &'a [u8], mut bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut lengths = lengths.iter().cycle();
    std::iter::from_fn(move || {
        let wanted = lengths
            .next()
            .map_or(bytes.len(), |it| 1 + usize::from(*it).pow(2));
        let (piece, rest) = bytes.split_at(wanted.min(bytes.len()));
        bytes = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

async fn send(client: &mut UnixStream, lengths: &[u8], bytes: &[u8]) {
    for piece in pieces(lengths, bytes) {
        let _ = client.write_all(piece).await;
        yield_now().await;
    }
}

/// Why there is no handshake with who sends these bytes.
async fn refused(lengths: &[u8], bytes: &[u8]) -> TlsCause {
    let (server, mut client) = UnixStream::pair().expect("a pair of sockets");
    let talk = async {
        send(&mut client, lengths, bytes).await;
        drop(client);
    };
    let held = |held| assert!(held <= MAX_HELD, "{held}");
    let (accepted, ()) = tokio::join!(accept_tls(server, &PEERS.0, held), talk);
    let error = accepted.expect_err("nobody has a secret");
    assert!(error.received() <= bytes.len() as u64);
    match error.cause() {
        TlsCause::Violation(violation) => TlsCause::Violation(violation.clone()),
        TlsCause::HelloTooLarge(max) => TlsCause::HelloTooLarge(*max),
        TlsCause::HelloInPieces(max) => TlsCause::HelloInPieces(*max),
        // who has gone, or was told by an alert that it could not be sent
        _ => TlsCause::Closed,
    }
}

async fn handshake(lengths: &[u8], bytes: &[u8]) {
    let whole = refused(&[], bytes).await;
    let cut = refused(lengths, bytes).await;
    match (&whole, &cut) {
        // how often it is looked at depends on the pieces
        (_, TlsCause::HelloInPieces(_)) | (TlsCause::HelloInPieces(_), _) => {}
        _ => assert_eq!(whole.to_string(), cut.to_string()),
    }
}

/// Records of the client, and what is in each.
#[derive(Default)]
struct Sent {
    wire: Vec<u8>,
    texts: Vec<(usize, Vec<u8>)>,
}

/// What the client does, by two bytes each: a record with so many bytes, an update of keys, or an end.
fn records(machine: &mut rustls::ClientConnection, plan: &[u8]) -> Sent {
    let mut sent = Sent::default();
    for (number, step) in plan.chunks_exact(2).take(MAX_STEPS).enumerate() {
        let text = match step[0] {
            0 => break,
            1 => {
                machine.refresh_traffic_keys().expect("it may be done");
                Vec::new()
            }
            len => vec![number as u8; (usize::from(len) * usize::from(step[1])).min(MAX_TEXT)],
        };
        machine.writer().write_all(&text).expect("there is room");
        sent.texts.push((sent.wire.len(), text));
        while machine.wants_write() {
            machine.write_tls(&mut sent.wire).expect("there is memory");
        }
    }
    sent
}

async fn established(lengths: &[u8], change: [u8; 3], plan: &[u8]) {
    let (server, client) = UnixStream::pair().expect("a pair of sockets");
    let held = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&held);
    let name = ServerName::try_from("broker.test").expect("a name");
    let (accepted, connected) = tokio::join!(
        accept_tls(server, &PEERS.0, move |it| told
            .store(it, Ordering::Relaxed)),
        PEERS.1.connect(name, client)
    );
    let mut server = accepted.expect("a handshake").0;
    let (mut client, mut machine) = connected.expect("a handshake").into_inner();
    let Sent { mut wire, texts } = records(&mut machine, plan);
    // one byte of one record, behind its header, is another one
    let [record, at, by] = change.map(usize::from);
    let broken = (by != 0 && !texts.is_empty()).then(|| record % texts.len());
    if let Some(broken) = broken {
        let start = texts[broken].0;
        let end = texts.get(broken + 1).map_or(wire.len(), |it| it.0);
        match end.checked_sub(start + 5).filter(|it| *it > 0) {
            Some(len) => wire[start + 5 + at % len] ^= by as u8,
            // an empty text is no record
            None => return,
        }
    }
    let good = broken.unwrap_or(texts.len());
    let expected: Vec<_> = texts[..good].iter().flat_map(|it| &it.1).copied().collect();
    let talk = async {
        send(&mut client, lengths, &wire).await;
        let _ = client.shutdown().await;
        client
    };
    // closed at its end, so that no write waits for ever
    let listen = async move {
        let mut read = Vec::new();
        let mut buf = vec![0; 1 + usize::from(change[1]) * 64];
        loop {
            let result = server.read(&mut buf).await;
            assert!(held.load(Ordering::Relaxed) <= 2 * MAX_HELD + 64 * 1024);
            match result {
                Ok(0) => return (read, Ok(())),
                Ok(len) => read.extend_from_slice(&buf[..len]),
                Err(error) => return (read, Err(error)),
            }
        }
    };
    let (_client, (read, end)) = tokio::join!(talk, listen);
    assert!(
        read == expected,
        "{} instead of {} bytes",
        read.len(),
        expected.len()
    );
    assert_eq!(end.is_err(), broken.is_some(), "{end:?}");
}

fuzz_target!(|data: &[u8]| {
    let [mode, first, second, change @ .., _] =
        data.first_chunk::<7>().copied().unwrap_or_default();
    let Some(bytes) = data.get(6..) else {
        return;
    };
    let lengths = [first, second];
    RUNTIME.with_borrow(|runtime| match mode % 2 {
        0 => runtime.block_on(handshake(&lengths, bytes)),
        _ => runtime.block_on(established(&lengths, change, bytes)),
    });
});
