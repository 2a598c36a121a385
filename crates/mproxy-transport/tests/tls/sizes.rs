//! How large the records are that a client is sent.

use std::sync::Arc;

use mproxy_transport::{TlsServer, accept_tls};
use rustls::{ClientConnection, SupportedProtocolVersion, pki_types::ServerName, version};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::support::{Ca, options, shake};

/// The lengths of the records in these bytes.
fn lengths(mut wire: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let Some(([_, 3, 3, high, low], rest)) = wire.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        lengths.push(len);
        wire = &rest[len..];
    }
    assert_eq!(wire, b"", "whole records");
    lengths
}

/// The ClientHello of rustls, which knows neither extension, with one of them in it.
fn hello(
    ca: &Ca,
    version: &'static SupportedProtocolVersion,
    kind: u16,
    content: &[u8],
) -> Vec<u8> {
    let provider = ca.client(None).crypto_provider().clone();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("broker.test").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    // record 5, message 4, version and random 34, session id, suites, compression
    let session_id = usize::from(hello[43]);
    let suites = usize::from(u16::from_be_bytes([
        hello[44 + session_id],
        hello[45 + session_id],
    ]));
    let at = 44 + session_id + 2 + suites + 2;
    let mut extension = kind.to_be_bytes().to_vec();
    extension.extend((content.len() as u16).to_be_bytes());
    extension.extend(content);
    let more = extension.len();
    hello.splice(at + 2..at + 2, extension);
    for length in [3, 7, at] {
        let old = u16::from_be_bytes([hello[length], hello[length + 1]]);
        let new = old + more as u16;
        hello[length..length + 2].copy_from_slice(&new.to_be_bytes());
    }
    hello
}

/// Devices with small buffers lost the connection: a record of the handshake, or of several packets, was larger than
/// the limit in their ClientHello, which mosquitto keeps.
#[tokio::test]
async fn a_client_gets_records_as_small_as_it_asks_for() {
    let ca = Ca::new();
    let many = (0..60)
        .map(|it| format!("device-{it}.broker.test"))
        .collect::<Vec<_>>();
    let many = many.iter().map(String::as_str).collect::<Vec<_>>();
    let server = TlsServer::load(&options(&ca.issue(&many))).unwrap();
    let asked: [(u16, &[u8], usize); 5] = [
        (1, &[1], 512),
        (1, &[2], 1024),
        (28, &[0, 64], 63),
        (28, &[1, 0], 255),
        (99, &[1], 16_384),
    ];
    for version in [&version::TLS12, &version::TLS13] {
        for (kind, content, limit) in asked {
            let hello = hello(&ca, version, kind, content);
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(&hello).await.unwrap();
            theirs.shutdown().await.unwrap();
            let mut flight = Vec::new();
            let (accepted, read) = tokio::join!(
                accept_tls(ours, &server, |_| {}),
                theirs.read_to_end(&mut flight)
            );
            accepted.unwrap_err();
            read.unwrap();
            let lengths = lengths(&flight);
            // the type of the content, and the tag
            let overhead = 17;
            let longest = *lengths.iter().max().unwrap();
            assert!(
                longest <= limit + overhead,
                "{kind} {content:?}: {lengths:?}"
            );
            // the certificate alone is longer than each limit
            assert!(
                longest >= limit.min(1400),
                "{kind} {content:?}: {lengths:?}"
            );
        }
    }
}

/// For devices that do not say what they can read.
#[tokio::test]
async fn a_listener_has_a_largest_record() {
    let ca = Ca::new();
    let mut options = options(&ca.issue(&["broker.test"]));
    for (limit, count) in [(512, 79), (1000, 40), (16_384, 3)] {
        options.max_record_size = limit;
        let server = TlsServer::load(&options).unwrap();
        let (accepted, connected) = shake(&server, ca.client(None), "broker.test").await;
        let (mut server, (mut socket, _)) = (accepted.unwrap().0, connected.unwrap().into_inner());
        // what the handshake has left: tickets
        let mut scrap = [0; 4096];
        while socket.try_read(&mut scrap).is_ok() {}
        let send = async {
            server.write_all(&[7; 40_000]).await.unwrap();
            server.flush().await.unwrap();
            drop(server);
        };
        let mut wire = Vec::new();
        let (_, read) = tokio::join!(send, socket.read_to_end(&mut wire));
        read.unwrap();
        let lengths = lengths(&wire);
        assert_eq!(lengths.iter().sum::<usize>(), 40_000 + 17 * lengths.len());
        assert!(lengths.iter().all(|it| *it <= limit + 17), "{lengths:?}");
        assert!((count..=count + 1).contains(&lengths.len()), "{lengths:?}");
    }
}
