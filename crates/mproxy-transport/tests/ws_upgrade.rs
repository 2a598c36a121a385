//! The upgrade: what is served, and what every other request is told.

mod support;

use mproxy_transport::{Stream, Subprotocol, WsError, WsOptions, accept_websocket};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use support::{BINARY, KEY, Raw, answer, frame, hex, request, request_with};

#[tokio::test]
async fn switches_protocols() {
    let (response, result) = answer(request().as_bytes(), &WsOptions::default()).await;
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("HTTP/1.1 101 Switching Protocols"));
    let lines: Vec<_> = lines.map(str::to_ascii_lowercase).collect();
    for line in [
        "connection: upgrade",
        "upgrade: websocket",
        // The answer to the key of RFC 6455 section 1.3.
        "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
        "sec-websocket-protocol: mqtt",
    ] {
        assert!(lines.contains(&line.to_owned()), "{line}: {lines:?}");
    }
    // A byte of a body would be read as a frame.
    assert_eq!(body, "");
    let (stream, request) = result.unwrap();
    assert!(matches!(stream, Stream::WebSocket(_)));
    assert_eq!(request.subprotocol(), Some(Subprotocol::Mqtt));
}

#[tokio::test]
async fn one_offered_subprotocol_is_chosen() {
    for (lines, chosen) in [
        ("Sec-WebSocket-Protocol: mqtt\r\n", Subprotocol::Mqtt),
        ("Sec-WebSocket-Protocol: mqttv3.1\r\n", Subprotocol::MqttV31),
        (
            "Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n",
            Subprotocol::Mqtt,
        ),
        (
            "Sec-WebSocket-Protocol: mqtt,mqttv3.1\r\n",
            Subprotocol::Mqtt,
        ),
        (
            "sec-websocket-protocol: foo ,\tmqttv3.1\r\n",
            Subprotocol::MqttV31,
        ),
        (
            "Sec-WebSocket-Protocol: mqttv3.1\r\nSec-WebSocket-Protocol: mqtt\r\n",
            Subprotocol::Mqtt,
        ),
    ] {
        let request = request_with(lines);
        let (response, result) = answer(request.as_bytes(), &WsOptions::default()).await;
        let line = format!("sec-websocket-protocol: {chosen}\r\n");
        assert_eq!(response.matches("sec-websocket-protocol").count(), 1);
        assert!(response.contains(&line), "{lines:?}: {response}");
        assert_eq!(result.unwrap().1.subprotocol(), Some(chosen));
    }
}

#[tokio::test]
async fn missing_subprotocol_is_served_only_on_request() {
    let lenient = WsOptions::default().allow_missing_subprotocol(true);
    let (response, result) = answer(request_with("").as_bytes(), &lenient).await;
    assert!(response.starts_with("HTTP/1.1 101 "));
    assert!(!response.contains("sec-websocket-protocol"));
    assert_eq!(result.unwrap().1.subprotocol(), None);

    // Offering something else is not "offering none".
    let unknown = request_with("Sec-WebSocket-Protocol: chat\r\n");
    let (response, _) = answer(unknown.as_bytes(), &lenient).await;
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
}

#[tokio::test]
async fn keeps_what_hooks_decide_by() {
    let request = request_with(
        "Sec-WebSocket-Protocol: mqtt\r\nOrigin: https://app.example\r\nUser-Agent: test/1\r\n\
         X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\nAuthorization: Bearer x\r\n\
         Cookie: secret=1\r\nX-Bin: \u{fc}\r\n",
    )
    .replace("/mqtt HTTP", "/mqtt?token=1 HTTP");
    let options = WsOptions::default().keep_headers(["Authorization", "x-bin"]);
    let (_, result) = answer(request.as_bytes(), &options).await;
    let request = result.unwrap().1;
    assert_eq!(request.path(), "/mqtt");
    assert_eq!(request.query(), Some("token=1"));
    assert_eq!(request.host(), Some("x"));
    assert_eq!(request.origin(), Some("https://app.example"));
    assert_eq!(request.user_agent(), Some("test/1"));
    assert_eq!(request.forwarded_for(), Some("192.0.2.1, 192.0.2.2"));
    assert_eq!(request.header("authorization"), Some("Bearer x"));
    assert_eq!(request.header("cookie"), None, "nobody asked for it");
    assert_eq!(request.header("x-bin"), None, "not printable ASCII");
    let debug = format!("{request:?}");
    assert!(
        !debug.contains("Bearer") && !debug.contains("token"),
        "{debug}"
    );
}

#[tokio::test]
async fn origins_are_checked_when_listed() {
    let options = WsOptions::default().origins(["https://app.example/", "http://localhost:3000"]);
    for (origin, status) in [
        ("Origin: https://app.example\r\n", "101"),
        ("Origin: HTTPS://App.Example\r\n", "101"),
        ("Origin: http://localhost:3000\r\n", "101"),
        // Not a browser.
        ("", "101"),
        ("Origin: https://evil.example\r\n", "403"),
        ("Origin: https://app.example.evil.example\r\n", "403"),
        ("Origin: http://app.example\r\n", "403"),
        ("Origin: null\r\n", "403"),
        (
            "Origin: https://app.example\r\nOrigin: https://evil.example\r\n",
            "403",
        ),
        ("Origin: \u{fc}\r\n", "403"),
    ] {
        let request = request_with(&format!("Sec-WebSocket-Protocol: mqtt\r\n{origin}"));
        let (response, _) = answer(request.as_bytes(), &options).await;
        assert_eq!(&response[9..12], status, "{origin:?}: {response}");
    }
}

/// Each refusal: the status, a header, and a reason that the operator finds in the error.
#[tokio::test]
async fn other_requests_hear_what_is_wrong() {
    let good = request();
    let swap = |from: &str, to: &str| {
        assert!(good.contains(from));
        good.replace(from, to)
    };
    for (request, status, header) in [
        (swap("/mqtt", "/"), 404, "connection: close"),
        (swap("/mqtt", "/mqtt/"), 404, "connection: close"),
        (swap("/mqtt", "/MQTT"), 404, "connection: close"),
        (swap("GET", "POST"), 405, "allow: GET"),
        (swap("GET", "OPTIONS"), 405, "allow: GET"),
        (
            "GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            426,
            "upgrade: websocket",
        ),
        (swap("HTTP/1.1", "HTTP/1.0"), 426, "upgrade: websocket"),
        (
            swap("Connection: Upgrade", "Connection: keep-alive"),
            426,
            "upgrade: websocket",
        ),
        (
            swap("Upgrade: websocket", "Upgrade: h2c"),
            426,
            "upgrade: websocket",
        ),
        (
            swap("Version: 13", "Version: 12"),
            426,
            "sec-websocket-version: 13",
        ),
        (
            swap("Version: 13", "Version: 8, 13"),
            426,
            "sec-websocket-version: 13",
        ),
        (
            swap("Sec-WebSocket-Version: 13\r\n", ""),
            426,
            "sec-websocket-version: 13",
        ),
        (swap(KEY, "short"), 400, "connection: close"),
        (
            swap(KEY, "dGhlIHNhbXBsZSBub25jZ!=="),
            400,
            "connection: close",
        ),
        (
            swap(&format!("Sec-WebSocket-Key: {KEY}\r\n"), ""),
            400,
            "connection: close",
        ),
        (
            request_with("Sec-WebSocket-Protocol: chat\r\n"),
            400,
            "connection: close",
        ),
        (
            request_with("Sec-WebSocket-Protocol: MQTT\r\n"),
            400,
            "connection: close",
        ),
        (
            request_with("Sec-WebSocket-Protocol:\r\n"),
            400,
            "connection: close",
        ),
        (
            request_with("Sec-WebSocket-Protocol: mqtt\r\nContent-Length: 3\r\n") + "abc",
            400,
            "connection: close",
        ),
        (
            request_with("Sec-WebSocket-Protocol: mqtt\r\nTransfer-Encoding: chunked\r\n")
                + "3\r\nabc\r\n0\r\n\r\n",
            400,
            "connection: close",
        ),
    ] {
        let (response, result) = answer(request.as_bytes(), &WsOptions::default()).await;
        let head = response.split("\r\n\r\n").next().unwrap();
        assert_eq!(response[9..12].parse(), Ok(status), "{request}{response}");
        for header in [header, "connection: close", "content-type: text/plain"] {
            assert!(head.contains(header), "{header:?}: {request}{response}");
        }
        assert!(response.contains("mqtt.connect("), "{response}");
        let Err(WsError::Refused { status: told, .. }) = result else {
            panic!("{request}: {result:?}");
        };
        assert_eq!(told, status);
    }
}

#[tokio::test]
async fn firefox_connection_header_is_understood() {
    let request = request().replace("Connection: Upgrade", "Connection: keep-alive, Upgrade");
    let (response, _) = answer(request.as_bytes(), &WsOptions::default()).await;
    assert!(response.starts_with("HTTP/1.1 101 "), "{response}");
}

/// A second request right behind a refused one is not looked at.
#[tokio::test]
async fn refusal_ends_the_connection() {
    let two = format!("GET / HTTP/1.1\r\nHost: x\r\n\r\n{}", request());
    let (response, _) = answer(two.as_bytes(), &WsOptions::default()).await;
    assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "{response}");
    assert!(response.starts_with("HTTP/1.1 404 "));
}

/// A body that nobody reads must not destroy the answer.
#[tokio::test]
async fn refusal_arrives_despite_unread_input() {
    let mut post = b"POST /mqtt HTTP/1.1\r\nHost: x\r\nContent-Length: 40000\r\n\r\n".to_vec();
    post.resize(post.len() + 40_000, b'x');
    let (response, _) = answer(&post, &WsOptions::default()).await;
    assert!(response.starts_with("HTTP/1.1 405 "), "{response}");
}

/// What is not even HTTP/1.1 gets hyper's own answer, if any, and an error.
#[tokio::test]
async fn malformed_requests_are_refused() {
    let many_headers = request_with(&format!(
        "Sec-WebSocket-Protocol: mqtt\r\n{}",
        "X: y\r\n".repeat(95)
    ));
    let long_header = request_with(&format!("X-A: {}\r\n", "a".repeat(8 * 1024)));
    for (request, status) in [
        (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], ""),
        (
            b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02hz\r\n\r\n",
            "400",
        ),
        (&hex("16030100050100000103"), "400"),
        (many_headers.as_bytes(), "431"),
        (long_header.as_bytes(), "431"),
        (b"GET /mqtt HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", "400"),
    ] {
        let (server, client) = UnixStream::pair().unwrap();
        let mut client = Raw(client);
        client.send(request).await;
        client.0.shutdown().await.unwrap();
        let options = WsOptions::default();
        let mut response = String::new();
        let (result, _) = tokio::join!(
            accept_websocket(server, &options),
            client.0.read_to_string(&mut response),
        );
        assert!(matches!(result, Err(WsError::Http(_))), "{result:?}");
        assert_eq!(
            response.get(9..12).unwrap_or(""),
            status,
            "{request:02x?}: {response}"
        );
    }
}

/// Frames in the same segment as the request are the first thing that is read. Clients that
/// pipeline their CONNECT exist, and proxies gather segments.
#[tokio::test]
async fn bytes_behind_the_request_are_not_lost() {
    for extra in [0, 10, 2_000, 100_000] {
        let payload: Vec<u8> = (0..extra).map(|i| i as u8).collect();
        let mut bytes = request().into_bytes();
        bytes.extend(frame(BINARY, b"early"));
        bytes.extend(frame(BINARY, &payload));
        // Half a frame header may be caught by the upgrade as well.
        let last = frame(BINARY, b"late");
        bytes.push(last[0]);
        let (server, client) = UnixStream::pair().unwrap();
        let (mut read, mut write) = client.into_split();
        let client = async move {
            write.write_all(&bytes).await.unwrap();
            let mut head = [0; 12];
            read.read_exact(&mut head).await.unwrap();
            assert_eq!(&head, b"HTTP/1.1 101");
            write.write_all(&last[1..]).await.unwrap();
            write.shutdown().await.unwrap();
            read
        };
        let server = async {
            let options = WsOptions::default();
            let (mut stream, _) = accept_websocket(server, &options).await.unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).await.unwrap();
            received
        };
        let (_open, received) = tokio::join!(client, server);
        assert_eq!(received, [b"early", &payload[..], b"late"].concat());
    }
}

#[tokio::test]
async fn early_bytes_when_the_request_comes_byte_by_byte() {
    let (server, client) = UnixStream::pair().unwrap();
    let mut client = Raw(client);
    let mut bytes = request().into_bytes();
    bytes.extend(frame(BINARY, b"early"));
    let options = WsOptions::default();
    let mut received = [0; 5];
    let serve = async {
        let (mut stream, _) = accept_websocket(server, &options).await.unwrap();
        stream.read_exact(&mut received).await.unwrap();
    };
    let send = async {
        for byte in bytes {
            client.send(&[byte]).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(serve, send);
    assert_eq!(&received, b"early");
}

/// Slowloris: a byte now and then does not move the deadline.
#[tokio::test(start_paused = true)]
async fn the_whole_upgrade_has_one_deadline() {
    let (server, client) = UnixStream::pair().unwrap();
    let mut client = Raw(client);
    let options = WsOptions::default();
    let started = tokio::time::Instant::now();
    let trickle = async {
        for byte in request().into_bytes() {
            // The server's end closes at the deadline.
            if client.0.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
        }
    };
    let (result, ()) = tokio::join!(accept_websocket(server, &options), trickle);
    assert!(matches!(result, Err(WsError::TimedOut)), "{result:?}");
    assert!(started.elapsed() < std::time::Duration::from_secs(60));
}

#[tokio::test]
async fn closed_without_a_request() {
    let (server, client) = UnixStream::pair().unwrap();
    drop(client);
    let result = accept_websocket(server, &WsOptions::default()).await;
    assert!(matches!(result, Err(WsError::Closed)), "{result:?}");
}

#[tokio::test]
async fn no_websocket_inside_a_websocket() {
    let (stream, _client) = support::open(&WsOptions::default()).await;
    let result = accept_websocket(stream, &WsOptions::default()).await;
    assert!(
        matches!(result, Err(WsError::AlreadyUpgraded)),
        "{result:?}"
    );
}
