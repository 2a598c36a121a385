//! What happens to bytes once the handshake is done.

use std::{
    io::{self, Write},
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll},
    time::Duration,
};

use mproxy_transport::{Stream, TlsServer, TlsViolation, accept_tls};
use rustls::{
    ClientConnection, ConnectionTrafficSecrets, ContentType, ProtocolVersion, SupportedCipherSuite,
    crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage},
    pki_types::ServerName,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, copy, split},
    net::UnixStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::support::{Ca, connected, options, shake};

/// Echoes until the end, and says what came of it.
async fn echo(stream: Stream) -> io::Result<u64> {
    let (mut read, mut write) = split(stream);
    let copied = copy(&mut read, &mut write).await?;
    write.shutdown().await?;
    Ok(copied)
}

/// A stream of the client that passes one byte a call, in both directions.
struct Dribble(UnixStream);

impl AsyncRead for Dribble {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Dribble {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, &buf[..buf.len().min(1)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn all_lengths_come_back() {
    let (server, mut client) = connected().await;
    let server = tokio::spawn(echo(server));
    let mut total = 0;
    for len in (1..=200).chain([16_383, 16_384, 16_385, 40_000, 70_000]) {
        let bytes: Vec<u8> = (0..len).map(|it| it as u8).collect();
        let mut back = vec![0; len];
        let (mut read, mut write) = split(&mut client);
        let send = async {
            write.write_all(&bytes).await.unwrap();
            write.flush().await.unwrap();
        };
        let (_, received) = tokio::join!(send, read.read_exact(&mut back));
        received.unwrap();
        assert_eq!(back, bytes);
        total += len as u64;
    }
    client.shutdown().await.unwrap();
    // the answer of close_notify comes behind all data
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(server.await.unwrap().unwrap(), total);
}

#[tokio::test]
async fn every_byte_alone_is_enough() {
    let ca = Ca::new();
    let leaf = ca.issue(&["broker.test"]);
    let server = TlsServer::load(&options(&leaf)).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let name = ServerName::try_from("broker.test").unwrap();
    let client = TlsConnector::from(std::sync::Arc::new(ca.client(None)));
    let (accepted, client) = tokio::join!(
        accept_tls(ours, &server, |_| {}),
        client.connect(name, Dribble(theirs))
    );
    let server = tokio::spawn(echo(accepted.unwrap().0));
    let mut client = client.unwrap();
    let mut back = [0; 500];
    client.write_all(&[7; 500]).await.unwrap();
    client.flush().await.unwrap();
    client.read_exact(&mut back).await.unwrap();
    assert_eq!(back, [7; 500]);
    client.shutdown().await.unwrap();
    assert_eq!(server.await.unwrap().unwrap(), 500);
}

/// Half a record, and then silence: it waits without holding up the thread, and is told as memory that is
/// held. Its other half is enough, whenever it comes.
#[tokio::test(start_paused = true)]
async fn half_a_record_waits() {
    let ca = Ca::new();
    let server = TlsServer::load(&options(&ca.issue(&["broker.test"]))).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let name = ServerName::try_from("broker.test").unwrap();
    let client = TlsConnector::from(std::sync::Arc::new(ca.client(None)));
    let held = std::sync::Arc::new(AtomicUsize::new(0));
    let told = std::sync::Arc::clone(&held);
    let (accepted, client) = tokio::join!(
        accept_tls(ours, &server, move |it| told.store(it, Ordering::Relaxed)),
        client.connect(name, theirs)
    );
    let (mut server, mut client) = (accepted.unwrap().0, client.unwrap());
    let (raw, machine) = client.get_mut();
    machine.writer().write_all(&[7; 1000]).unwrap();
    let mut record = Vec::new();
    machine.write_tls(&mut record).unwrap();
    let (half, rest) = record.split_at(500);
    raw.write_all(half).await.unwrap();
    let mut piece = [0; 1000];
    let day = Duration::from_secs(86_400);
    timeout(day, server.read(&mut piece)).await.unwrap_err();
    assert_eq!(held.load(Ordering::Relaxed), 500);
    raw.write_all(rest).await.unwrap();
    server.read_exact(&mut piece).await.unwrap();
    assert_eq!(piece, [7; 1000]);
    assert_eq!(held.load(Ordering::Relaxed), 0);
}

/// A reader that is slow leaves ciphertext behind, which must go out in order and before close_notify.
#[tokio::test]
async fn a_slow_reader_gets_all() {
    let (mut server, mut client) = connected().await;
    let len = 6 << 20;
    let send = tokio::spawn(async move {
        let bytes: Vec<u8> = (0..len).map(|it| (it / 1000) as u8).collect();
        server.write_all(&bytes).await.unwrap();
        server.shutdown().await.unwrap();
        // the reading side stays open
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).await.unwrap();
        answer
    });
    let mut received = Vec::new();
    let mut piece = [0; 3000];
    loop {
        match client.read(&mut piece).await.unwrap() {
            0 => break,
            len => received.extend_from_slice(&piece[..len]),
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(received.len(), len);
    assert!(
        received
            .iter()
            .enumerate()
            .all(|(at, it)| *it == (at / 1000) as u8)
    );
    client.write_all(b"and back").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(send.await.unwrap(), b"and back");
}

/// Devices just close the socket; that is an end and no failure, as with HAProxy and nginx.
#[tokio::test]
async fn an_end_without_close_notify_is_an_end() {
    let (mut server, client) = connected().await;
    let (mut socket, _) = client.into_inner();
    socket.shutdown().await.unwrap();
    assert_eq!(server.read(&mut [0; 10]).await.unwrap(), 0);
    assert_eq!(server.read(&mut [0; 10]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_record_that_was_changed_on_its_way_ends_the_connection_with_an_alert() {
    let (mut server, client) = connected().await;
    let (mut socket, _) = client.into_inner();
    let mut record = vec![23, 3, 3, 0, 40];
    record.extend([0x55; 40]);
    socket.write_all(&record).await.unwrap();
    let error = server.read(&mut [0; 10]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let violation = TlsViolation::find(&error).unwrap();
    assert_eq!(*violation.error(), rustls::Error::DecryptError);
    // an alert in a record of its own
    let mut head = [0; 5];
    socket.read_exact(&mut head).await.unwrap();
    assert_eq!(head[0], 23, "encrypted as all else");
    drop(server);
}

/// Whatever comes in one read with it: what is in front of a broken record is delivered. It was lost.
#[tokio::test]
async fn what_stands_in_front_of_a_broken_record_is_read() {
    for room in [1, 100, 10_000] {
        let (mut server, mut client) = connected().await;
        let (raw, machine) = client.get_mut();
        let mut wire = Vec::new();
        for text in [&[7; 1000][..], &[8; 100]] {
            machine.writer().write_all(text).unwrap();
            machine.write_tls(&mut wire).unwrap();
        }
        let last = wire.len() - 1;
        wire[last] ^= 1;
        raw.write_all(&wire).await.unwrap();
        let mut read = Vec::new();
        let mut piece = vec![0; room];
        let error = loop {
            match server.read(&mut piece).await {
                Ok(0) => panic!("a clean end"),
                Ok(len) => read.extend_from_slice(&piece[..len]),
                Err(error) => break error,
            }
        };
        assert_eq!(read, [7; 1000]);
        assert!(TlsViolation::find(&error).is_some(), "{error}");
    }
}

#[tokio::test]
async fn a_record_that_is_too_long_ends_the_connection() {
    let (mut server, client) = connected().await;
    let (mut socket, _) = client.into_inner();
    socket.write_all(&[23, 3, 3, 0xff, 0xff]).await.unwrap();
    let error = server.read(&mut [0; 10]).await.unwrap_err();
    assert!(TlsViolation::find(&error).is_some(), "{error}");
}

/// Keys are renewed within a connection, by either side.
#[tokio::test]
async fn keys_can_be_updated() {
    let (server, mut client) = connected().await;
    let server = tokio::spawn(echo(server));
    for round in 0..5 {
        client.get_mut().1.refresh_traffic_keys().unwrap();
        client.write_all(&[round; 100]).await.unwrap();
        client.flush().await.unwrap();
        let mut back = [0; 100];
        client.read_exact(&mut back).await.unwrap();
        assert_eq!(back, [round; 100]);
    }
    client.shutdown().await.unwrap();
    assert_eq!(server.await.unwrap().unwrap(), 500);
}

/// What belongs together is one record, and an empty write is none.
#[tokio::test]
async fn a_vectored_write_is_one_record() {
    let (mut server, client) = connected().await;
    let (mut socket, _) = client.into_inner();
    // what the handshake has left: tickets
    let mut scrap = [0; 4096];
    while socket.try_read(&mut scrap).is_ok() {}
    let parts = [b"head".as_slice(), b"", b"payload"].map(io::IoSlice::new);
    assert_eq!(server.write_vectored(&parts).await.unwrap(), 11);
    assert_eq!(server.write_vectored(&[]).await.unwrap(), 0);
    server.flush().await.unwrap();
    let mut head = [0; 5];
    socket.read_exact(&mut head).await.unwrap();
    let len = usize::from(u16::from_be_bytes([head[3], head[4]]));
    assert_eq!(len, 11 + 1 + 16, "content, its type, and the tag");
    let mut record = vec![0; len];
    socket.read_exact(&mut record).await.unwrap();
    assert!(socket.try_read(&mut scrap).is_err(), "nothing more");
}

/// What a client is made to send as records of the handshake, after it.
const STRAY: [(&str, &[&[u8]]); 6] = [
    (
        "two messages in a record",
        &[&[24, 0, 0, 1, 0, 24, 0, 0, 1, 0]],
    ),
    (
        "three",
        &[&[24, 0, 0, 1, 0, 24, 0, 0, 1, 0, 24, 0, 0, 1, 0]],
    ),
    ("half a message", &[&[24, 0]]),
    ("a message and a half", &[&[24, 0, 0, 1, 0, 24]]),
    (
        "unknown messages",
        &[&[99, 0, 0, 0], &[99, 0, 0, 0], &[99, 0, 0, 0]],
    ),
    ("an empty record", &[&[]]),
];

/// Any client could make its session panic, before CONNECT: the state machine looks again, at each write, for bytes that
/// it has seen and that were held, and they were not shown to it. So no line of the log named the client, and nothing
/// counted against it.
#[tokio::test(start_paused = true)]
async fn pieces_of_the_handshake_after_it_are_no_panic() {
    for (what, payloads) in STRAY {
        for text_first in [true, false] {
            let ca = Ca::new();
            let server = TlsServer::load(&options(&ca.issue(&["broker.test"]))).unwrap();
            let mut client = ca.client(None);
            client.enable_secret_extraction = true;
            let (accepted, connected) = shake(&server, client, "broker.test").await;
            let mut stream = accepted.unwrap().0;
            let (mut socket, machine) = connected.unwrap().into_inner();
            let mut sealed = Sealed::of(machine);
            let mut bytes = Vec::new();
            if text_first {
                bytes.extend(sealed.record(ContentType::ApplicationData, b"text"));
            }
            for payload in payloads {
                bytes.extend(sealed.record(ContentType::Handshake, payload));
            }
            socket.write_all(&bytes).await.unwrap();
            let mut room = [0; 64];
            if text_first {
                assert_eq!(stream.read(&mut room).await.unwrap(), 4, "{what}");
            } else {
                // it looks at what has come, and waits or is told of the mistake
                let _ = timeout(Duration::from_millis(50), stream.read(&mut room)).await;
            }
            // whether it is written depends on whether the client has made a mistake
            let written = stream.write_all(b"answer").await;
            let is_waited_for = ["half a message", "an empty record"].contains(&what);
            assert_eq!(written.is_ok(), is_waited_for, "{what}: {written:?}");
            let _ = stream.shutdown().await;
            drop(socket);
            let _ = stream.read_to_end(&mut Vec::new()).await;
            let _ = stream.shutdown().await;
        }
    }
}

/// The keys of a client, with which it sends whatever a test wants.
struct Sealed {
    encrypter: Box<dyn MessageEncrypter>,
    number: u64,
}

impl Sealed {
    fn of(machine: ClientConnection) -> Self {
        let Some(SupportedCipherSuite::Tls13(suite)) = machine.negotiated_cipher_suite() else {
            panic!("a suite of TLS 1.3");
        };
        let (number, secrets) = machine.dangerous_extract_secrets().unwrap().tx;
        let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else {
            panic!("another suite");
        };
        let encrypter = suite.aead_alg.encrypter(key, iv);
        Self { encrypter, number }
    }

    fn record(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
        let plain = OutboundPlainMessage {
            typ,
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(payload),
        };
        let sealed = self.encrypter.encrypt(plain, self.number).unwrap();
        self.number += 1;
        sealed.encode()
    }
}
