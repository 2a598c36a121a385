//! The upgrade: what is served, and what every other request is told.

mod support;

use mproxy_transport::{
    Stream, Subprotocol, WsCause, WsError, WsOptions, WsRefusal, WsRequest, accept_websocket,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use support::{BINARY, KEY, Raw, answer, frame, hex, request, request_with};

/// The names are spelt as in RFC 6455, and as mosquitto spells them. ESP32 devices look for
/// "Sec-WebSocket-Accept" as it stands. They did not find it in the lower case of the HTTP library,
/// gave up, and tried again forever.
#[tokio::test]
async fn switches_protocols() {
    let (response, result) = answer(request().as_bytes(), &WsOptions::default()).await;
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("HTTP/1.1 101 Switching Protocols"));
    let lines: Vec<_> = lines.collect();
    let expected = [
        "Upgrade: websocket",
        "Connection: Upgrade",
        // The answer to the key of RFC 6455 section 1.3.
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        "Sec-WebSocket-Protocol: mqtt",
    ];
    assert_eq!(lines, expected);
    // A byte of a body would be read as a frame.
    assert_eq!(body, "");
    let (stream, request) = result.unwrap();
    assert!(matches!(stream, Stream::WebSocket(_)));
    assert_eq!(request.subprotocol(), Subprotocol::Mqtt);
}

/// The README promised "a well-formed key", and any will do: it is only there to be answered, and
/// some devices send fewer bytes than the 16 of RFC 6455.
#[tokio::test]
async fn any_key_is_answered() {
    for key in ["x", "dGhlIHNhbXBsZQ==", "not base64!"] {
        let (response, result) = answer(
            request().replace(KEY, key).as_bytes(),
            &WsOptions::default(),
        )
        .await;
        let accept = response
            .lines()
            .find_map(|line| line.strip_prefix("Sec-WebSocket-Accept: "));
        assert_eq!(accept.map(str::len), Some(28), "{key}: {response}");
        assert!(result.is_ok());
    }
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
        let line = format!("Sec-WebSocket-Protocol: {chosen}\r\n");
        assert_eq!(response.matches("Sec-WebSocket-Protocol").count(), 1);
        assert!(response.contains(&line), "{lines:?}: {response}");
        assert_eq!(result.unwrap().1.subprotocol(), chosen);
    }
}

#[tokio::test]
async fn a_client_without_a_subprotocol_of_mqtt_is_refused() {
    for lines in ["", "Sec-WebSocket-Protocol: chat\r\n"] {
        let request = request_with(lines);
        let (response, _) = answer(request.as_bytes(), &WsOptions::default()).await;
        assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    }
}

/// They were joined with a comma, which is no separator of cookies: the second was part of the value of the first,
/// and hooks did not find it.
#[tokio::test]
async fn cookies_of_several_headers_are_one_list() {
    for name in ["cookie", "Cookie"] {
        let request = request_with(
            "Sec-WebSocket-Protocol: mqtt\r\nCookie: theme=dark\r\ncookie: session=x; b=c\r\n\
             X-List: a\r\nX-List: b\r\n",
        );
        let options = WsOptions::default().keep_headers([name, "x-list"]);
        let (_, result) = answer(request.as_bytes(), &options).await;
        let request = result.unwrap().1;
        let cookies = request.header("Cookie");
        assert_eq!(cookies, Some("theme=dark; session=x; b=c"));
        assert_eq!(request.header("x-list"), Some("a, b"));
    }
}

/// `Duration::MAX` stands for no limit, and was a panic: no clock goes as far.
#[tokio::test]
async fn an_upgrade_may_have_any_time() {
    let options = WsOptions::default().handshake_timeout(std::time::Duration::MAX);
    let request = request_with("Sec-WebSocket-Protocol: mqtt\r\n");
    let (_, result) = answer(request.as_bytes(), &options).await;
    result.unwrap();
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

/// A proxy appends the address of its client to what the client itself has sent. With a byte that is not
/// printable, the client made all of it vanish.
#[tokio::test]
async fn a_client_cannot_hide_what_a_proxy_appends() {
    let lines = "Sec-WebSocket-Protocol: mqtt\r\nX-Forwarded-For: \u{fc}, 192.0.2.1\r\n";
    let request = request_with(lines);
    let (_, result) = answer(request.as_bytes(), &WsOptions::default()).await;
    let request = result.unwrap().1;
    let kept = request.forwarded_for().unwrap();
    assert_eq!(kept.rsplit(", ").next(), Some("192.0.2.1"));
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
        (swap("/mqtt", "/%6dqtt"), 404, "connection: close"),
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
        (swap(KEY, ""), 400, "connection: close"),
        (
            swap(KEY, &format!("{KEY}\r\nSec-WebSocket-Key: {KEY}")),
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
        let options = WsOptions::default().paths(["/mqtt"]);
        let (response, result) = answer(request.as_bytes(), &options).await;
        let head = response.split("\r\n\r\n").next().unwrap();
        assert_eq!(response[9..12].parse(), Ok(status), "{request}{response}");
        for header in [header, "connection: close", "content-type: text/plain"] {
            assert!(head.contains(header), "{header:?}: {request}{response}");
        }
        assert!(
            response.contains("mqtt.connect(\"ws://HOST:PORT/mqtt\")"),
            "{response}"
        );
        let error = result.expect_err("it was refused");
        let WsCause::Refused(refusal) = error.cause() else {
            panic!("{request}: {error:?}");
        };
        assert_eq!(refusal.status(), status);
        let message = format!("refused with status {status}: {refusal}");
        assert_eq!(error.to_string(), message);
        assert!(response.contains(&refusal.to_string()), "{response}");
    }
}

/// What clients and gateways write differently, and mosquitto's listener takes, is taken here too.
#[tokio::test]
async fn other_spellings_of_a_good_request_are_served() {
    let good = request();
    let swap = |from: &str, to: &str| {
        assert!(good.contains(from));
        good.replace(from, to)
    };
    let add = |line: &str| request_with(&format!("Sec-WebSocket-Protocol: mqtt\r\n{line}\r\n"));
    for request in [
        // Firefox
        swap("Connection: Upgrade", "Connection: keep-alive, Upgrade"),
        swap("Connection: Upgrade", "Connection: upgrade,keep-alive"),
        swap(
            "Connection: Upgrade",
            "Connection: keep-alive\r\nConnection: Upgrade",
        ),
        swap("Upgrade: websocket", "Upgrade: WebSocket"),
        swap("Sec-WebSocket-", "SEC-WEBSOCKET-"),
        swap("Sec-WebSocket-", "sec-websocket-"),
        swap("Version: 13", "Version:  13 "),
        swap("Host: x\r\n", ""),
        // No base64 of 16 bytes
        swap(KEY, "short"),
        swap(KEY, "dGhlIHNhbXBsZSBub25jZQ"),
        good.replace("\r\n", "\n"),
        add("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"),
        add("Sec-WebSocket-Protocol: "),
        add("Expect: 100-continue"),
        add("Content-Length: 0"),
        add("Content-Type: text/plain"),
        add("Origin: null"),
        add("X-Empty:"),
        add("X-Latin: \u{fc}"),
        add("x_underscore: y"),
    ] {
        let (response, _) = answer(request.as_bytes(), &WsOptions::default()).await;
        assert!(response.starts_with("HTTP/1.1 101 "), "{request}{response}");
        assert!(
            !response.to_ascii_lowercase().contains("extensions"),
            "{response}"
        );
    }
}

/// A second request right behind a refused one is not looked at.
#[tokio::test]
async fn refusal_ends_the_connection() {
    let two = format!("GET / HTTP/1.1\r\nHost: x\r\n\r\n{}", request());
    let options = WsOptions::default().paths(["/mqtt"]);
    let (response, _) = answer(two.as_bytes(), &options).await;
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

/// What is not even HTTP/1.1 gets hyper's own answer, if any, and an error that keeps how the
/// client began: by that the log can say what it was.
#[tokio::test]
async fn what_is_not_http_is_refused_and_remembered() {
    for (request, status, why) in [
        (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], "", "HTTP version"),
        (
            b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02hz\r\n\r\n",
            "400",
            "invalid HTTP",
        ),
        (&hex("16030100050100000103"), "400", "invalid HTTP"),
        (
            b"GET /mqtt HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
            "400",
            "header",
        ),
        (b"GET /mqtt HT", "", "before message completed"),
    ] {
        let (response, result) = hang_up_after(request).await;
        let error = result.expect_err("it was refused");
        assert!(matches!(error.cause(), WsCause::Http(_)), "{error:?}");
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(
            response.get(9..12).unwrap_or(""),
            status,
            "{request:02x?}: {response}"
        );
        assert_eq!(error.received(), request.len() as u64);
        let first = &request[..request.len().min(32)];
        assert_eq!(error.first_bytes(), first);
        assert_eq!(error.path(), None);
    }
}

/// Sends this and hangs up, but for the answer.
async fn hang_up_after(request: &[u8]) -> (String, Result<(Stream, WsRequest), WsError>) {
    let (server, client) = UnixStream::pair().unwrap();
    let mut client = Raw(client);
    let options = WsOptions::default();
    let mut response = String::new();
    let talk = async {
        client.send(request).await;
        client.0.shutdown().await.unwrap();
        client.0.read_to_string(&mut response).await.unwrap();
    };
    let (result, ()) = tokio::join!(accept_websocket(server, &options), talk);
    (response, result)
}

/// Browsers send the cookies of the whole site, which single sign-on fills with kilobytes, and
/// gateways add headers of their own. 8 KiB and 100 headers were not enough for them.
#[tokio::test]
async fn large_cookies_and_many_headers_pass() {
    let cookie = |size| format!("Cookie: {}\r\n", "c".repeat(size));
    let many = |count| (0..count).map(|it| format!("X-{it}: y\r\n")).collect();
    let kib = 1024;
    let default = WsOptions::default();
    let small = WsOptions::default().max_header_size(8 * kib);
    let large = WsOptions::default().max_header_size(64 * kib);
    for (lines, options, status) in [
        (cookie(8 * kib), &default, "101"),
        (cookie(15 * kib), &default, "101"),
        (cookie(16 * kib), &default, "431"),
        (cookie(7 * kib), &small, "101"),
        (cookie(8 * kib), &small, "431"),
        (cookie(60 * kib), &large, "101"),
        // Five headers are those of the request itself.
        (many(194), &default, "101"),
        (many(200), &default, "431"),
    ] {
        let lines = format!("Sec-WebSocket-Protocol: mqtt\r\n{lines}");
        let (response, result) = answer(request_with(&lines).as_bytes(), options).await;
        assert_eq!(&response[9..12], status, "{} bytes", lines.len());
        if status == "431" {
            let error = result.expect_err("it was refused");
            assert!(matches!(error.cause(), WsCause::TooLarge(_)), "{error:?}");
        }
    }
    // Less than the HTTP library can do is what it can do, and not a panic.
    let tiny = WsOptions::default().max_header_size(1);
    let (response, _) = answer(request().as_bytes(), &tiny).await;
    assert!(response.starts_with("HTTP/1.1 101 "), "{response}");
}

/// MQTT.js asks for `/`, others for `/ws` or `/mqtt/`, and the listeners of brokers serve them all.
/// The one path `/mqtt` turned them away.
#[tokio::test]
async fn any_path_is_served_unless_some_are_listed() {
    let any = WsOptions::default();
    let some = WsOptions::default().paths(["/mqtt", "/tenant/*"]);
    for (target, by_default, if_listed) in [
        ("/mqtt", "101", "101"),
        ("/mqtt?token=/x", "101", "101"),
        ("http://x/mqtt", "101", "101"),
        ("/tenant/a/b", "101", "101"),
        ("/", "101", "404"),
        ("/ws", "101", "404"),
        ("/mqtt/", "101", "404"),
        ("/tenant", "101", "404"),
        ("//mqtt", "101", "404"),
        ("http://x", "101", "404"),
        ("/m\u{fc}qtt", "101", "404"),
    ] {
        for (options, status) in [(&any, by_default), (&some, if_listed)] {
            let request = request().replace("/mqtt HTTP", &format!("{target} HTTP"));
            let (response, _) = answer(request.as_bytes(), options).await;
            assert_eq!(&response[9..12], status, "{target}: {response}");
        }
    }
}

/// "404" alone does not lead an operator to the client that asked. The error says what it asked
/// for, in a length that a client cannot choose, and never the query, which may be a password.
#[tokio::test]
async fn a_refusal_knows_what_was_asked_for() {
    let lines = "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: v2\r\n\
                 Origin: https://app.example\r\n";
    let request = request_with(lines).replace("/mqtt HTTP", "/x/mqtt?password=1 HTTP");
    let (_, result) = answer(request.as_bytes(), &WsOptions::default()).await;
    let error = result.expect_err("it was refused");
    assert!(
        matches!(error.cause(), WsCause::Refused(WsRefusal::Subprotocol)),
        "{error:?}"
    );
    assert_eq!(error.path(), Some("/x/mqtt"));
    assert_eq!(error.offered(), Some("chat, v2"));
    assert_eq!(error.origin(), Some("https://app.example"));
    assert!(!format!("{error} {error:?}").contains("password=1"));

    let long = "\u{e4}".repeat(4_000);
    let lines = format!("Sec-WebSocket-Protocol: {long}\r\nOrigin: {long}\r\n");
    let request = request_with(&lines).replace("/mqtt HTTP", &format!("/{long} HTTP"));
    let options = WsOptions::default().max_header_size(64 * 1024);
    let (_, result) = answer(request.as_bytes(), &options).await;
    let error = result.expect_err("it was refused");
    for text in [error.path(), error.offered(), error.origin()] {
        let text = text.unwrap();
        assert!(text.len() <= 132 && text.ends_with('\u{2026}'), "{text}");
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
    let error = result.expect_err("it is over");
    assert!(matches!(error.cause(), WsCause::TimedOut), "{error:?}");
    assert!(request().as_bytes().starts_with(error.first_bytes()));
    // a byte a second until the deadline, and in this clock another one with each look at the sockets
    let kept = error.first_bytes().len() as u64;
    assert_eq!(kept, error.received().min(32));
    assert!(error.received() > 5, "{error:?}");
    assert!(started.elapsed() < std::time::Duration::from_secs(60));
}

/// A port scan, the TCP check of a load balancer, or a browser's spare connection asks for nothing,
/// and can be told from a client that is refused.
#[tokio::test]
async fn a_connection_without_a_byte_asked_for_nothing() {
    let (server, client) = UnixStream::pair().unwrap();
    drop(client);
    let result = accept_websocket(server, &WsOptions::default()).await;
    let error = result.expect_err("it is over");
    assert!(matches!(error.cause(), WsCause::Closed), "{error:?}");
    assert_eq!((error.received(), error.first_bytes()), (0, &[][..]));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
    let client = client.await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    client.set_zero_linger().unwrap();
    drop(client);
    let result = accept_websocket(server, &WsOptions::default()).await;
    let error = result.expect_err("it is over");
    let WsCause::Io(cause) = error.cause() else {
        panic!("{error:?}");
    };
    assert_eq!(cause.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(error.received(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_times_out_without_a_byte() {
    let (server, _client) = UnixStream::pair().unwrap();
    let result = accept_websocket(server, &WsOptions::default()).await;
    let error = result.expect_err("it is over");
    assert!(matches!(error.cause(), WsCause::TimedOut), "{error:?}");
    assert_eq!(error.received(), 0);
}

#[tokio::test]
async fn no_websocket_inside_a_websocket() {
    let (stream, _client) = support::open(&WsOptions::default()).await;
    let result = accept_websocket(stream, &WsOptions::default()).await;
    let error = result.expect_err("it is a websocket");
    assert!(
        matches!(error.cause(), WsCause::AlreadyUpgraded),
        "{error:?}"
    );
}
