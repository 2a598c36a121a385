//! MQTT over WebSocket, at the edges of both: upgrades that are none, frames that are not packets.

use futures_util::{SinkExt, StreamExt};
use mproxy_tests::wire::{Connect, PINGREQ, PINGRESP, Publish, Version, connack};
use mproxy_tests::{FakeBroker, Link, Mosquitto, Mproxy, Setup, http, within};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
const UPGRADE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n";
const MQTT: &str = "Sec-WebSocket-Protocol: mqtt\r\n";

async fn start(broker: &str) -> Mproxy {
    Setup::before(broker)
        .websocket()
        .set("listeners.ws.paths", "[\"/mqtt\"]")
        .set("listeners.ws.origins", "[\"https://app.example.com\"]")
        .start()
        .await
}

/// The answer to a request that must not become a WebSocket.
async fn refusal(mproxy: &Mproxy, line: &str, headers: &[&str]) -> http::Answer {
    let addr = mproxy.listener("ws");
    let request = format!(
        "{line} HTTP/1.1\r\nHost: {addr}\r\n{}\r\n",
        headers.concat()
    );
    http::request(addr, &request).await
}

/// The answer and the log both say what to change. An operator who reads "400" alone has to guess
/// which of a thousand clients asked for what.
#[tokio::test]
async fn what_is_no_upgrade_for_mqtt_is_told_what_it_should_be() {
    let broker = FakeBroker::bind().await;
    let mproxy = start(&broker.url()).await;
    let elsewhere = "Origin: https://evil.example.com\r\n";
    // ten lines of a kind are written in a second: first those that are looked at
    for (line, headers, status, why) in [
        (
            "GET /mqtt",
            &[UPGRADE, KEY, MQTT, "Origin: null\r\n"][..],
            403,
            "origin",
        ),
        // somebody with a browser, or a probe
        ("GET /mqtt", &[], 426, "websocket"),
        ("GET /", &[UPGRADE, KEY, MQTT], 404, "path"),
        // the path as it is, and not what begins like it
        ("GET /mqtt/", &[UPGRADE, KEY, MQTT], 404, "path"),
        ("GET /mqttx", &[UPGRADE, KEY, MQTT], 404, "path"),
        ("POST /mqtt", &[UPGRADE, KEY, MQTT], 405, "GET"),
        ("GET /mqtt", &[UPGRADE, MQTT], 426, "version"),
        ("GET /mqtt", &[UPGRADE, KEY], 400, "mqtt"),
        (
            "GET /mqtt",
            &[UPGRADE, KEY, "Sec-WebSocket-Protocol: chat\r\n"],
            400,
            "mqtt",
        ),
        ("GET /mqtt", &[UPGRADE, KEY, MQTT, elsewhere], 403, "origin"),
        (
            "GET /mqtt",
            &[UPGRADE, KEY, MQTT, "Content-Length: 4\r\n"],
            400,
            "body",
        ),
    ] {
        let answer = refusal(&mproxy, line, headers).await;
        assert_eq!(answer.status, status, "{line} {headers:?}: {answer:?}");
        assert!(answer.body.contains(why), "{line} {headers:?}: {answer:?}");
        assert!(
            answer
                .head
                .to_ascii_lowercase()
                .contains("connection: close"),
            "{answer:?}"
        );
    }
    let plain = refusal(&mproxy, "GET /mqtt", &[]).await;
    assert!(
        plain
            .head
            .to_ascii_lowercase()
            .contains("upgrade: websocket"),
        "{plain:?}"
    );
    let refused = "mproxy_connections_refused_total{reason=\"websocket_handshake\"}";
    mproxy.metric(refused, 12.0).await;
    for (error, path, offered, origin, remedy) in [
        (
            "status 404",
            "/mqttx",
            Some("mqtt"),
            None,
            "listeners.ws.paths",
        ),
        (
            "status 403",
            "/mqtt",
            Some("mqtt"),
            Some("null"),
            "listeners.ws.origins",
        ),
        ("status 400", "/mqtt", Some("chat"), None, "subprotocol"),
        ("status 426", "/mqtt", None, None, "health checks"),
    ] {
        let line = mproxy.event(format!("a line about {error}"), |event| {
            let says =
                |field: &str, part: &str| event[field].as_str().is_some_and(|it| it.contains(part));
            event["level"] == "WARN"
                && event["message"] == "WebSocket handshake refused"
                && event["reason"] == "websocket_handshake"
                && event["listener"] == "ws"
                && says("detail", error)
                && says("remedy", remedy)
                && event["path"] == path
                && event["offered"].as_str() == offered
                && event["origin"].as_str() == origin
        });
        line.await;
    }

    // something that never ends
    let endless = format!("GET /mqtt HTTP/1.1\r\nX: {}", "x".repeat(1 << 20));
    let mut link = Link::tcp(mproxy.listener("ws")).await;
    link.try_send(endless.as_bytes()).await;
    let (packets, _) = link.rest().await;
    assert!(
        packets.iter().all(|it| it.bytes().starts_with(b"H")),
        "{packets:?}"
    );
}

/// A health check asks for `/`, at a listener with `paths = ["/mqtt"]`. To add the path was the remedy;
/// an operator who did got 426 for 404.
#[tokio::test]
async fn a_request_without_an_upgrade_has_a_remedy_that_helps() {
    let broker = FakeBroker::bind().await;
    let mproxy = start(&broker.url()).await;
    for (headers, remedy) in [
        (&[][..], "health checks should use /readyz"),
        (&[UPGRADE, KEY, MQTT], "add the path to listeners.ws.paths"),
    ] {
        let answer = refusal(&mproxy, "GET /", headers).await;
        assert_eq!(answer.status, 404, "{answer:?}");
        let line = mproxy.event(remedy, |event| {
            let says = |field: &str, part: &str| {
                let text = event[field].as_str();
                text.is_some_and(|it| it.contains(part))
            };
            says("detail", "status 404") && says("remedy", remedy)
        });
        line.await;
    }
}

/// Load balancers look whether the port is open, scanners too, and browsers open connections that
/// they may need. 300 of them were 300 lines and 300 refusals, which fed an alert.
#[tokio::test]
async fn a_connection_without_a_byte_is_not_refused() {
    let broker = FakeBroker::bind().await;
    let mproxy = Setup::before(&broker.url())
        .websocket()
        .set("listeners.ws.limits.connect_timeout", "500ms")
        .log_level("debug")
        .start()
        .await;
    let connected = async || {
        let stream = TcpStream::connect(mproxy.listener("ws")).await;
        stream.expect("it listens")
    };
    drop(connected().await);
    let reset = connected().await;
    reset.set_zero_linger().expect("a TCP connection");
    drop(reset);
    let _silent = connected().await;
    for (side, reason) in [
        ("client", "eof"),
        ("client", "reset"),
        ("proxy", "connect_timeout"),
    ] {
        let ended = format!(
            "mproxy_connections_closed_total{{listener=\"ws\",side=\"{side}\",reason=\"{reason}\"}}"
        );
        mproxy.metric(&ended, 1.0).await;
        let line = mproxy.event(reason, |event| {
            event["reason"] == reason && event["listener"] == "ws"
        });
        let line = line.await;
        assert_eq!(line["level"], "DEBUG", "{line}");
        assert_eq!(line["side"], side, "{line}");
    }
    let metrics = mproxy.metrics().await;
    assert!(metrics.sum("mproxy_connections_refused_total") < 0.5);

    // a byte is a beginning, and then it is a request that did not come
    let mut link = Link::tcp(mproxy.listener("ws")).await;
    link.send(b"G").await;
    link.closed().await;
    mproxy
        .metric(
            "mproxy_connections_refused_total{reason=\"websocket_handshake\"}",
            1.0,
        )
        .await;
    let line = mproxy.event("a line", |event| event["reason"] == "websocket_handshake");
    let line = line.await;
    assert_eq!(line["level"], "WARN", "{line}");
    let remedy = line["remedy"].as_str();
    assert!(
        remedy.is_some_and(|it| it.contains("listeners.ws.limits.connect_timeout")),
        "{line}"
    );
}

/// What mosquitto's listener serves is served by default: any path (MQTT.js asks for `/`), and
/// cookies of a size that single sign-on makes. Each is a session, and not only an upgrade.
#[tokio::test]
async fn what_brokers_serve_is_served_by_default() {
    let broker = Mosquitto::start().await;
    let mproxy = Setup::before(&broker.url()).websocket().start().await;
    let addr = mproxy.listener("ws");
    let cookie = format!("Cookie: sso={}\r\n", "c".repeat(8 * 1024));
    for (target, more) in [
        ("/", ""),
        ("/ws", ""),
        ("/mqtt/", ""),
        ("/mqtt?token=1", ""),
        ("http://broker.example.com/mqtt", ""),
        ("/mqtt", "Sec-WebSocket-Protocol: mqttv3.1\r\n"),
        ("/mqtt", "Sec-WebSocket-Extensions: permessage-deflate\r\n"),
        ("/mqtt", "Expect: 100-continue\r\n"),
        ("/mqtt", cookie.as_str()),
    ] {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: {addr}\r\n{UPGRADE}{KEY}{MQTT}{more}\r\n");
        let mut link = Link::tcp(addr).await;
        link.send(request.as_bytes()).await;
        // CONNECT in a masked frame, right behind the request; the mask is nothing but zeros
        let connect = Connect::new(Version::V311, "c").bytes();
        let len = u8::try_from(connect.len()).expect("it is short");
        link.send(&[&[0x82, 0x80 | len, 0, 0, 0, 0][..], &connect].concat())
            .await;
        let (mut stream, mut answer) = link.into_tcp();
        let connack = [&[0x82, 4][..], &connack(Version::V311, 0)].concat();
        let reading = async {
            while !answer.ends_with(&connack) {
                if stream.read_buf(&mut answer).await.expect("it is open") == 0 {
                    panic!("{target} {more}: {}", String::from_utf8_lossy(&answer));
                }
            }
        };
        within("a CONNACK", reading).await;
        assert!(answer.starts_with(b"HTTP/1.1 101 "), "{target}");
    }
}

/// The subprotocol is one that was offered, `mqtt` before `mqttv3.1`; extensions are not agreed on.
#[tokio::test]
async fn the_answer_names_what_was_offered() {
    let broker = FakeBroker::bind().await;
    let mproxy = start(&broker.url()).await;
    for (offered, chosen) in [
        ("mqtt", "mqtt"),
        ("mqttv3.1", "mqttv3.1"),
        ("mqttv3.1, mqtt", "mqtt"),
        ("chat, mqttv3.1", "mqttv3.1"),
    ] {
        let addr = mproxy.listener("ws");
        let request = format!(
            "GET /mqtt HTTP/1.1\r\nHost: {addr}\r\n{UPGRADE}{KEY}\
             Sec-WebSocket-Protocol: {offered}\r\nOrigin: https://app.example.com\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
        );
        // no WebSocket library here: what matters are the bytes
        let mut link = Link::tcp(addr).await;
        link.send(request.as_bytes()).await;
        // a masked Close frame, so that the connection ends
        link.send(&[0x88, 0x80, 1, 2, 3, 4]).await;
        let (mut stream, mut text) = link.into_tcp();
        let read = stream.read_to_end(&mut text);
        within("the end", read).await.expect("an orderly end");
        let text = String::from_utf8_lossy(&text).to_ascii_lowercase();
        assert!(text.starts_with("http/1.1 101 "), "{text}");
        let protocol = format!("sec-websocket-protocol: {chosen}\r\n");
        assert!(text.contains(&protocol), "{offered}: {text}");
        assert!(
            text.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"),
            "{text}"
        );
        assert!(!text.contains("extensions"), "{text}");
    }
}

/// The broker is asked for the name that belongs to the client's version.
#[tokio::test]
async fn a_broker_behind_websocket_is_asked_for_the_clients_subprotocol() {
    let broker = FakeBroker::bind().await;
    let url = broker.url().replace("mqtt://", "ws://") + "/some/where?x=1";
    let mproxy = Mproxy::before(&url).await;
    for (version, name) in [
        (Version::V31, "mqttv3.1"),
        (Version::V311, "mqtt"),
        (Version::V5, "mqtt"),
    ] {
        let mut client = Link::tcp(mproxy.addr()).await;
        client.send(&Connect::new(version, "c").bytes()).await;
        let mut asked = Vec::new();
        let asking = async {
            // the probes of the proxy ask too, for 3.1.1
            loop {
                let mut stream = broker.connection().await;
                let mut text = Vec::new();
                while !text.ends_with(b"\r\n\r\n")
                    && matches!(stream.read_buf(&mut text).await, Ok(1..))
                {}
                asked.push(String::from_utf8_lossy(&text).to_ascii_lowercase());
            }
        };
        // it goes away instead of answering, and so does the proxy
        tokio::select! {
            answer = client.packet_or_end() => assert!(answer.is_none(), "{answer:?}"),
            () = asking => {}
        }
        let name = format!("sec-websocket-protocol: {name}\r\n");
        let request = asked.iter().find(|text| text.contains(&name));
        let request = request.unwrap_or_else(|| panic!("no {name} in {asked:?}"));
        assert!(
            request.starts_with("get /some/where?x=1 http/1.1\r\n"),
            "{request}"
        );
    }
}

/// Frames are a stream of bytes: packets need not begin or end where they do.
#[tokio::test]
async fn packets_and_frames_need_not_fit_each_other() {
    let broker = Mosquitto::start().await;
    let mproxy = start(&broker.url()).await;
    let mut link = Link::ws(mproxy.listener("ws")).await;
    // a byte a frame, with empty frames and pings between
    for byte in Connect::new(Version::V5, "c").bytes() {
        link.send(&[byte]).await;
        link.send(&[]).await;
        let ping = Frame::Ping(vec![byte].into());
        link.frames().send(ping).await.expect("it is taken");
    }
    assert_eq!(link.packet().await.kind(), 2);
    link.speak(Version::V5);
    link.subscribe("t", 0).await;
    // many packets in a frame
    let mut many = Vec::new();
    for number in 0..100 {
        many.extend(Publish::new(Version::V5, "t").bytes(number.to_string()));
    }
    many.extend(PINGREQ);
    link.send(&many).await;
    let mut received = 0;
    loop {
        let packet = link.packet().await;
        if packet.bytes() == PINGRESP {
            break;
        }
        received += 1;
    }
    // the answer to PINGREQ may overtake none of what the broker had to deliver before it
    while received < 100 {
        link.message().await;
        received += 1;
    }
}

#[tokio::test]
async fn frames_that_mqtt_does_not_have_end_the_connection_with_a_word() {
    let broker = FakeBroker::bind().await;
    let mproxy = start(&broker.url()).await;
    let connected = async || {
        let mut link = Link::ws(mproxy.listener("ws")).await;
        let connect = Connect::new(Version::V311, "c");
        let (_, (server, _)) = tokio::join!(link.connect(&connect), broker.accept());
        (link, server)
    };

    // a text frame, whatever is in it
    let (mut link, server) = connected().await;
    link.frames()
        .send(Frame::Text("hello".into()))
        .await
        .expect("it is taken");
    let close = within("the end", link.frames().next()).await;
    let Some(Ok(Frame::Close(Some(close)))) = close else {
        panic!("no Close frame: {close:?}");
    };
    assert_eq!(close.code, CloseCode::Unsupported);
    server.closed().await;

    // a ping is answered, also between CONNECT and whatever follows
    let (mut link, _server) = connected().await;
    link.frames()
        .send(Frame::Ping("x".into()))
        .await
        .expect("it is taken");
    let pong = within("a pong", link.frames().next()).await;
    assert!(
        matches!(&pong, Some(Ok(Frame::Pong(it))) if &**it == b"x"),
        "{pong:?}"
    );

    // a Close frame is answered, and is no DISCONNECT: the will is published
    let (mut link, server) = connected().await;
    link.frames()
        .send(Frame::Close(None))
        .await
        .expect("it is taken");
    let close = within("the end", link.frames().next()).await;
    assert!(matches!(close, Some(Ok(Frame::Close(_)))), "{close:?}");
    server.closed().await;
}

/// Whoever is sent away gets a Close frame, and not the silence that browsers call 1006.
#[tokio::test]
async fn the_end_is_said_in_frames_too() {
    for notice in ["none", "disconnect"] {
        ends_in_frames(notice).await;
    }
}

async fn ends_in_frames(notice: &str) {
    let broker = FakeBroker::bind().await;
    let mproxy = Setup::before(&broker.url())
        .websocket()
        .set("server.drain_notice", notice)
        .start()
        .await;
    let mut sessions = Vec::new();
    for version in Version::ALL {
        let mut link = Link::ws(mproxy.listener("ws")).await;
        let connect = Connect::new(version, "c");
        let (_, server) = tokio::join!(link.connect(&connect), broker.accept());
        sessions.push((version, link, server));
    }
    mproxy.signal(Signal::TERM);
    for (version, mut link, _server) in sessions {
        if version.is_v5() && notice == "disconnect" {
            link.expect(&[0xe0, 1, 0x8b]).await;
        }
        let close = within("the end", link.frames().next()).await;
        assert!(
            matches!(close, Some(Ok(Frame::Close(_)))),
            "{version:?}: {close:?}"
        );
    }
    assert_eq!(mproxy.ended().await.0, 0);
}

/// A client that pings and reads no pongs was never cut, whatever `write_timeout` said: nothing of a
/// session waited for it, and each ping told that it lives.
#[tokio::test]
async fn a_websocket_that_reads_no_pongs_is_cut() {
    let broker = Mosquitto::for_load().await;
    // A Unix socket holds a few hundred pongs, TCP tens of thousands.
    let dir = TempDir::new().expect("a temporary folder can be made");
    let path = dir.path().join("ws.sock");
    let mproxy = Setup::before(&broker.url())
        .toml(&format!(
            "[[listeners]]\nname = \"ws\"\nbind = \"unix:{}\"\nprotocol = \"ws\"\n",
            path.display()
        ))
        .set("listeners.ws.limits.write_timeout", "1s")
        .start()
        .await;
    let mut client = Link::unix_ws(&path).await;
    client.connect(&Connect::new(Version::V311, "deaf")).await;
    // A message in between that nobody answers: this is not about pings alone.
    let message = Publish::new(Version::V311, "t").bytes(b"x");
    let flood = tokio::spawn(async move {
        let frames = client.unix_frames();
        loop {
            let ping = frames.send(Frame::Ping(vec![0; 125].into())).await;
            let data = frames.send(Frame::Binary(message.clone().into())).await;
            if ping.and(data).is_err() {
                break;
            }
        }
    });
    let end = mproxy.end_of("deaf").await;
    assert_eq!(end["reason"], "write_timeout", "{end}");
    assert_eq!(end["side"], "proxy", "{end}");
    assert_eq!(end["detail"], "the client accepts no data", "{end}");
    let remedy = end["remedy"].as_str().expect("what to do");
    assert!(
        remedy.contains("listeners.ws.limits.write_timeout"),
        "{end}"
    );
    within("the end of the connection", flood)
        .await
        .expect("no panic");
}

/// A client that sent empty frames had a core for itself, before it said who it is.
#[tokio::test]
async fn a_websocket_that_sends_frames_without_payload_is_cut() {
    let broker = FakeBroker::bind().await;
    let mproxy = start(&broker.url()).await;
    let mut client = Link::ws(mproxy.listener("ws")).await;
    let frames = client.frames();
    // what is sent after the end may fail
    while frames.send(Frame::Binary(Vec::new().into())).await.is_ok() {
        if mproxy
            .metrics()
            .await
            .sum("mproxy_connections_closed_total")
            >= 1.0
        {
            break;
        }
        for _ in 0..100 {
            let _ = frames.feed(Frame::Binary(Vec::new().into())).await;
        }
    }
    let end = mproxy.event("its end", |event| {
        let detail = event["detail"].as_str().unwrap_or_default();
        detail.contains("closed with code 1008")
    });
    let end = end.await;
    assert_eq!(end["side"], "proxy", "{end}");
    assert_eq!(end["reason"], "rate_limited", "{end}");
    let remedy = end["remedy"].as_str().unwrap_or_default();
    assert!(remedy.contains(".limits.max_denials"), "{end}");
    let close = within("a Close frame", frames.next()).await;
    match close {
        Some(Ok(Frame::Close(Some(close)))) => assert_eq!(close.code, CloseCode::Policy),
        other => panic!("{other:?}"),
    }
}
