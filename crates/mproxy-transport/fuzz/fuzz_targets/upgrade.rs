//! A request gets one answer or none, and becomes a WebSocket only if it asks for MQTT in one.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use mproxy_transport::{WsOptions, accept_websocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

/// The most that a request's head may be, and what came with the last read of it.
const MAX_HEAD: usize = 8 * 1024;

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(
        Builder::new_current_thread().enable_all().build().expect("a runtime"),
    );
}

/// The lines of a head, in lower case; `None` when it has no end.
fn lines(request: &[u8]) -> Option<Vec<String>> {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let mut lines = Vec::new();
    for line in text.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        match line {
            // blank lines before a request are skipped, RFC 9112 section 2.2
            "" if lines.is_empty() => {}
            "" => return Some(lines),
            line => lines.push(line.to_owned()),
        }
    }
    None
}

/// What a request must say to be served, in the words of RFC 6455 section 4.2.1.
fn asks_for_mqtt(request: &[u8]) -> bool {
    let Some(lines) = lines(request) else {
        return false;
    };
    let header = |name: &str, wanted: &str| {
        lines.iter().skip(1).any(|line| {
            line.split_once(':').is_some_and(|(found, value)| {
                found == name && value.split(',').any(|value| value.trim() == wanted)
            })
        })
    };
    let first: Vec<_> = lines[0].split(' ').collect();
    // hyper takes a fragment off, which no client should send
    let is_path = |target: &str| target.split(['?', '#']).next() == Some("/mqtt");
    matches!(&*first, ["get", target, "http/1.1"] if is_path(target))
        && header("upgrade", "websocket")
        && header("connection", "upgrade")
        && header("sec-websocket-version", "13")
        && (header("sec-websocket-protocol", "mqtt")
            || header("sec-websocket-protocol", "mqttv3.1"))
        && lines
            .iter()
            .any(|line| line.starts_with("sec-websocket-key:"))
        && !lines
            .iter()
            .any(|line| line.starts_with("transfer-encoding:"))
}

async fn play(cut: [u8; 2], request: &[u8]) {
    let (server, client) = UnixStream::pair().expect("a pair of sockets");
    let (mut read, mut write) = client.into_split();
    let first = (usize::from(cut[0]) * 8).min(request.len());
    let second = (first + usize::from(cut[1])).min(request.len());
    let talk = async {
        for piece in [
            &request[..first],
            &request[first..second],
            &request[second..],
        ] {
            if !piece.is_empty() && write.write_all(piece).await.is_ok() {
                yield_now().await;
            }
        }
        drop(write);
        let mut answer = Vec::new();
        while let Ok(1..) = read.read_buf(&mut answer).await {
            if answer.starts_with(b"HTTP/1.1 101") && answer.ends_with(b"\r\n\r\n") {
                break;
            }
        }
        answer
    };
    let options = WsOptions::default()
        .paths(["/mqtt"])
        .max_header_size(MAX_HEAD);
    let (answer, result) = tokio::join!(talk, accept_websocket(server, &options));
    let answer = String::from_utf8(answer).expect("the answer is text");
    let served = answer.starts_with("HTTP/1.1 101 ");
    assert_eq!(result.is_ok(), served, "{answer}");
    assert!(answer.matches("HTTP/1.").count() <= 1, "{answer}");
    if served {
        assert!(asks_for_mqtt(request), "{}", request.escape_ascii());
        let head = lines(request).expect("it has a head");
        assert!(head.iter().map(String::len).sum::<usize>() <= MAX_HEAD);
        assert!(
            !answer.to_ascii_lowercase().contains("extensions"),
            "{answer}"
        );
    } else if !answer.is_empty() {
        let refused = ["HTTP/1.0 4", "HTTP/1.1 4"];
        assert!(refused.iter().any(|it| answer.starts_with(it)), "{answer}");
        // what hyper adds for HTTP/1.0 may stand behind it
        assert!(answer.contains("\r\nconnection: close"), "{answer}");
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((cut, request)) = data.split_first_chunk() else {
        return;
    };
    RUNTIME.with_borrow(|runtime| runtime.block_on(play(*cut, request)));
});
