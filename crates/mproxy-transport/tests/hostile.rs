//! The hostile cases about WebSocket, with the bytes in one piece, byte by byte and in random
//! pieces.
//!
//! The cases of a plain MQTT listener are the session's: this crate knows no MQTT.

mod support;

#[path = "../../mproxy-codec/tests/data/hostile.rs"]
mod data;

use std::io;

use data::{Case, Cut};
use mproxy_transport::{Stream, WsOptions, WsViolation, accept_websocket};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::Notify,
    task::yield_now,
};

use support::{Raw, open};

/// What an upgrade is answered with.
const STATUS: &[(&str, &str)] = &[
    ("T-015", "400"),
    ("T-017", "101"),
    ("T-018", "426"),
    ("T-020", "431"),
    ("T-022", "400"),
    ("T-023", "403"),
    ("T-025", "426"),
];

/// What frames come to.
#[derive(Clone, Copy, Debug)]
enum End {
    /// A violation, and a Close frame with this code.
    Violation(u16),
    /// The end of the stream, answered by a Close frame with this code.
    Close(u16),
    /// So many bytes of payload, and the stream stays open.
    Payload(usize),
}

const ENDS: &[(&str, End)] = &[
    ("T-027", End::Violation(1002)),
    ("T-028", End::Violation(1002)),
    ("T-030", End::Violation(1002)),
    ("T-032", End::Violation(1002)),
    ("T-033", End::Violation(1002)),
    ("T-035", End::Violation(1009)),
    // the code must not be on the wire, but it is a Close frame
    ("T-037", End::Close(1002)),
    ("T-038", End::Payload(14)),
    // more than 600 frames without payload
    ("T-040", End::Violation(1008)),
];

fn cuts() -> impl Iterator<Item = Cut> {
    let random = std::iter::repeat_with(Cut::random).take(10);
    [Cut::Whole, Cut::ByteByByte].into_iter().chain(random)
}

fn cases(state: &str) -> Vec<Case> {
    let cases = data::transport().into_iter();
    let cases: Vec<_> = cases.filter(|case| case.state == state).collect();
    assert!(!cases.is_empty(), "no case in {state}");
    cases
}

fn expected<T: Copy>(table: &[(&str, T)], case: &Case) -> T {
    let entry = table.iter().find(|(id, _)| *id == case.id);
    entry
        .unwrap_or_else(|| panic!("{} is not known", case.id))
        .1
}

/// Sends pieces, and lets the other side read between them.
async fn send(write: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8], cut: Cut) -> io::Result<()> {
    for piece in cut.pieces(bytes) {
        write.write_all(piece).await?;
        yield_now().await;
    }
    Ok(())
}

#[tokio::test]
async fn every_upgrade_is_answered() {
    // only T-023 has an origin
    let options = WsOptions::default().origins(["https://app.example.com"]);
    for case in cases("ws") {
        let status = expected(STATUS, &case);
        assert_eq!(status == "101", case.verdict == "accept", "{}", case.id);
        for cut in cuts() {
            let (server, client) = UnixStream::pair().unwrap();
            let (mut read, mut write) = client.into_split();
            let talk = async {
                let send = async {
                    // a server that has refused need not read to the end
                    let _ = send(&mut write, &case.bytes, cut).await;
                };
                let receive = async {
                    let mut answer = Vec::new();
                    while let Ok(1..) = read.read_buf(&mut answer).await {
                        if answer.starts_with(b"HTTP/1.1 101") && answer.ends_with(b"\r\n\r\n") {
                            break;
                        }
                    }
                    String::from_utf8(answer).unwrap()
                };
                let ((), answer) = tokio::join!(send, receive);
                drop(write);
                answer
            };
            let (answer, result) = tokio::join!(talk, accept_websocket(server, &options));
            let context = format!("{} {}, {cut:?}: {answer}", case.id, case.name);
            assert_eq!(answer.get(9..12), Some(status), "{context}");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{context}");
            assert_eq!(result.is_ok(), status == "101", "{context}");
            let agreed = "\r\nSec-WebSocket-Protocol: mqtt\r\n";
            assert_eq!(answer.contains(agreed), status == "101", "{context}");
        }
    }
}

/// Reads to the end: the payload, and the code of the violation if there is one.
async fn read_all(stream: &mut Stream) -> (Vec<u8>, Option<u16>) {
    let mut payload = Vec::new();
    let end = stream.read_to_end(&mut payload).await;
    let code = end.err().map(|error| {
        let code = WsViolation::find(&error).expect("a violation").code();
        let kind = match code {
            1008 => io::ErrorKind::QuotaExceeded,
            _ => io::ErrorKind::InvalidData,
        };
        assert_eq!(error.kind(), kind);
        code
    });
    (payload, code)
}

#[tokio::test]
async fn every_frame_is_judged() {
    for case in cases("ws_open") {
        let end = expected(ENDS, &case);
        for cut in cuts() {
            let context = format!("{} {}, {cut:?}", case.id, case.name);
            let (mut stream, Raw(mut client)) = open(&WsOptions::default()).await;
            let ended = Notify::new();
            let talk = async {
                tokio::select! {
                    // an end that was seen may break what comes behind it
                    _ = send(&mut client, &case.bytes, cut) => {}
                    // nobody reads the rest
                    () = ended.notified() => {}
                }
                if matches!(end, End::Payload(_)) {
                    // then one more frame is read as if nothing had been
                    let more = [support::frame(support::BINARY, b"more"), vec![0x88, 0x80]];
                    client.write_all(&more.concat()).await.unwrap();
                    client.write_all(&[0; 4]).await.unwrap();
                }
                Raw(client)
            };
            let listen = async {
                let all = read_all(&mut stream).await;
                ended.notify_one();
                all
            };
            let (mut client, (payload, violation)) = tokio::join!(talk, listen);
            match end {
                End::Violation(code) => {
                    assert_eq!((payload.len(), violation), (0, Some(code)), "{context}");
                    assert_eq!(client.close_code().await, code, "{context}");
                }
                End::Close(code) => {
                    assert_eq!((payload.len(), violation), (0, None), "{context}");
                    assert_eq!(client.close_code().await, code, "{context}");
                }
                End::Payload(len) => {
                    assert_eq!((payload.len(), violation), (len + 4, None), "{context}");
                    assert!(payload.ends_with(b"more"), "{context}");
                }
            }
        }
    }
}
