//! MQTT in WebSocket frames.

use futures_util::{SinkExt, StreamExt};
use mproxy_tests::wire::{PINGREQ, PROBE, Packet, Publish, Version, connack};
use mproxy_tests::{FakeBroker, Link, Mproxy, Setup, http, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use crate::ground::{Ground, WhenUnreachable, client, conforming, down, fence, up};

tests! {
    text_is_refused [r125] in all;
    text_of_a_broker_is_refused [r125] in all by [when_unreachable];
    frames_are_a_stream_of_bytes [r126] in all;
    bytes_behind_the_upgrade_are_not_lost [r126] in all;
    a_subprotocol_is_offered_and_named [r127] in all;
    a_broker_is_asked_for_the_subprotocol [r127] in all by [when_unreachable];
}

async fn connected(ground: &Ground, version: Version) -> (Link, Link) {
    let mut link = Link::ws(ground.mproxy.listener("ws")).await;
    let hello = client(version);
    let (_, (server, _)) = tokio::join!(link.connect(&hello), ground.broker.accept());
    (link, server)
}

async fn text_is_refused(version: Version) {
    let ground = Ground::new().await;
    // before CONNECT, and behind it
    for early in [true, false] {
        let (mut link, server) = if early {
            (Link::ws(ground.mproxy.listener("ws")).await, None)
        } else {
            let (link, server) = connected(&ground, version).await;
            (link, Some(server))
        };
        let frames = link.frames();
        // bytes that would be a packet, were they not text
        let text = Frame::Text("\u{10}\u{c}".into());
        frames.send(text).await.expect("it is taken");
        let end = within("the end", frames.next()).await;
        let Some(Ok(Frame::Close(Some(close)))) = end else {
            panic!("no Close frame: {end:?}");
        };
        assert_eq!(close.code, CloseCode::Unsupported);
        if let Some(server) = server {
            server.closed().await;
        }
    }
}

/// A proxy before a broker that is a WebSocket server.
async fn behind(value: WhenUnreachable) -> (Mproxy, FakeBroker) {
    let broker = FakeBroker::bind().await;
    let setup = value.when_unreachable(Setup::before(&broker.ws_url()));
    (conforming(setup).start().await, broker)
}

/// Accepts the upgrade of a session, and not that of a probe: answers with this subprotocol, or
/// with what was asked for. Gives what was asked for too.
async fn accept(
    broker: &FakeBroker,
    answer: Option<&'static str>,
) -> (WebSocketStream<TcpStream>, String) {
    loop {
        let stream = broker.connection().await;
        let mut asked = String::new();
        #[allow(clippy::result_large_err)] // as the library wants it
        let name = |request: &Request, mut response: Response| {
            let offered = request.headers().get("Sec-WebSocket-Protocol");
            if let Some(offered) = offered {
                asked = offered.to_str().expect("text").to_owned();
                let named = answer.map_or_else(|| offered.clone(), HeaderValue::from_static);
                if answer != Some("") {
                    response
                        .headers_mut()
                        .insert("Sec-WebSocket-Protocol", named);
                }
            }
            Ok(response)
        };
        if let Ok(mut stream) = accept_hdr_async(stream, name).await
            && let Some(Ok(Frame::Binary(bytes))) = stream.next().await
        {
            if *bytes != PROBE {
                assert_eq!(bytes[0], 0x10);
                return (stream, asked);
            }
            let answer = Frame::Binary(connack(Version::V311, 0).into());
            // it may have gone
            let _ = stream.send(answer).await;
        }
    }
}

async fn text_of_a_broker_is_refused(version: Version) {
    for value in WhenUnreachable::BOTH {
        let (mproxy, broker) = behind(value).await;
        let mut link = Link::tcp(mproxy.addr()).await;
        link.speak(version);
        link.send(&client(version).bytes()).await;
        let (mut server, _) = within("a session", accept(&broker, None)).await;
        let text = Frame::Text("\u{20}\u{2}".into());
        server.send(text).await.expect("it is taken");
        value.unavailable(link).await;
        let end = within("the end", server.next()).await;
        assert!(!matches!(end, Some(Ok(Frame::Binary(_)))), "{end:?}");
    }
}

async fn frames_are_a_stream_of_bytes(version: Version) {
    let ground = Ground::new().await;
    let mut link = Link::ws(ground.mproxy.listener("ws")).await;
    // a byte a frame, with empty frames and pings between
    let hello = client(version);
    for byte in hello.bytes() {
        link.send(&[byte]).await;
        link.send(&[]).await;
        let ping = Frame::Ping(vec![byte].into());
        link.frames().send(ping).await.expect("it is taken");
    }
    let mut server = ground.broker.session().await;
    server.expect(&hello.bytes()).await;
    server.send(&connack(version, 0)).await;
    assert_eq!(link.packet().await.kind(), 2);
    // a packet over 14 frames, and 14 packets and a half in one
    let packet = Publish::new(version, "t")
        .qos(1, 7)
        .bytes(vec![7; 14_000 - 20]);
    for part in packet.chunks(1000) {
        link.send(part).await;
    }
    server.expect(&packet).await;
    let small = Publish::new(version, "t").qos(1, 7).bytes("x");
    let many = [small.repeat(14), small[..3].to_vec()].concat();
    link.send(&many).await;
    for _ in 0..14 {
        server.expect(&small).await;
    }
    link.send(&small[3..]).await;
    server.expect(&small).await;
    // and back
    let back = [small.repeat(14), packet.clone()].concat();
    server.send(&back).await;
    for _ in 0..14 {
        link.expect(&small).await;
    }
    link.expect(&packet).await;
    fence(&mut link, &mut server).await;
    // a message in fragments
    let large = Publish::new(version, "t").bytes(vec![7; 300_000]);
    up(&mut link, &mut server, &large, &large).await;
    down(&mut link, &mut server, &large, &large).await;
}

/// A frame of a client.
fn masked(bytes: &[u8]) -> Vec<u8> {
    let len = u8::try_from(bytes.len()).expect("short");
    assert!(len < 126, "short");
    let mask = [1, 2, 3, 4];
    let body = bytes
        .iter()
        .zip(mask.iter().cycle())
        .map(|(byte, mask)| byte ^ mask);
    [0x82, 0x80 | len]
        .into_iter()
        .chain(mask)
        .chain(body)
        .collect()
}

async fn bytes_behind_the_upgrade_are_not_lost(version: Version) {
    let ground = Ground::new().await;
    let addr = ground.mproxy.listener("ws");
    let request = format!(
        "GET /mqtt HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: mqtt\r\n\r\n"
    );
    let hello = client(version).bytes();
    let (first, second) = hello.split_at(5);
    let message = Publish::new(version, "t").bytes("x");
    let bytes = [
        request.as_bytes(),
        &masked(first),
        &masked(&[second, &message].concat()),
    ]
    .concat();
    let mut stream = TcpStream::connect(addr).await.expect("it listens");
    stream.write_all(&bytes).await.expect("it is taken");
    let (mut server, connect) = ground.broker.accept().await;
    assert_eq!(connect.bytes(), hello);
    server.expect(&message).await;
    // the answer is an upgrade, and behind it a binary frame with CONNACK
    let mut received = Vec::new();
    let connack = within("CONNACK", async {
        loop {
            let read = stream.read_buf(&mut received).await.expect("it is open");
            assert!(read > 0, "the end");
            let text = received.windows(4).position(|it| it == b"\r\n\r\n");
            let Some(at) = text.map(|at| at + 4).filter(|at| received.len() > at + 1) else {
                continue;
            };
            let frame = &received[at..];
            assert_eq!(frame[0], 0x82, "a binary frame");
            let mut packet = frame[2..].to_vec();
            if let Some(packet) = Packet::take(&mut packet) {
                return packet;
            }
        }
    })
    .await;
    assert_eq!((connack.kind(), connack.body()[1]), (2, 0));
}

async fn a_subprotocol_is_offered_and_named(version: Version) {
    let ground = Ground::new().await;
    let addr = ground.mproxy.listener("ws");
    let upgrade = |offered: &str| {
        format!(
            "GET /mqtt HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{offered}\r\n"
        )
    };
    for offered in [
        "",
        "Sec-WebSocket-Protocol: \r\n",
        "Sec-WebSocket-Protocol: chat\r\n",
        "Sec-WebSocket-Protocol: mqttv5, mqtt5\r\n",
        "Sec-WebSocket-Protocol: xmqtt, mqttx\r\n",
    ] {
        let answer = http::request(addr, &upgrade(offered)).await;
        assert_eq!(answer.status, 400, "{offered}: {answer:?}");
    }
    let names: &[(&str, &str)] = if version == Version::V31 {
        &[("mqttv3.1", "mqttv3.1"), ("chat, mqttv3.1", "mqttv3.1")]
    } else {
        &[
            ("mqtt", "mqtt"),
            ("chat, mqtt", "mqtt"),
            ("mqttv3.1, mqtt", "mqtt"),
        ]
    };
    for (offered, named) in names {
        let header = format!("Sec-WebSocket-Protocol: {offered}\r\n");
        let mut stream = TcpStream::connect(addr).await.expect("it listens");
        let hello = client(version).bytes();
        let bytes = [upgrade(&header).as_bytes(), &masked(&hello)].concat();
        stream.write_all(&bytes).await.expect("it is taken");
        ground.broker.session().await.expect(&hello).await;
        let mut received = vec![0; 2000];
        let read = within("the answer", stream.read(&mut received)).await;
        received.truncate(read.expect("it is open"));
        let head = String::from_utf8_lossy(&received).to_ascii_lowercase();
        let lines: Vec<_> = head
            .lines()
            .filter(|line| line.starts_with("sec-websocket-protocol:"))
            .collect();
        assert_eq!(
            lines,
            [format!("sec-websocket-protocol: {named}")],
            "{offered}"
        );
    }
}

async fn a_broker_is_asked_for_the_subprotocol(version: Version) {
    for value in WhenUnreachable::BOTH {
        a_broker_is_asked(version, value).await;
    }
}

async fn a_broker_is_asked(version: Version, value: WhenUnreachable) {
    let (mproxy, broker) = behind(value).await;
    let name = if version == Version::V31 {
        "mqttv3.1"
    } else {
        "mqtt"
    };
    let mut link = Link::tcp(mproxy.addr()).await;
    link.speak(version);
    link.send(&client(version).bytes()).await;
    let (mut server, asked) = within("a session", accept(&broker, None)).await;
    assert_eq!(asked, name);
    server
        .send(Frame::Binary(connack(version, 0).into()))
        .await
        .expect("it is taken");
    assert_eq!(link.packet().await.kind(), 2);
    link.send(&PINGREQ).await;
    let ping = within("PINGREQ", server.next()).await;
    assert!(
        matches!(&ping, Some(Ok(Frame::Binary(it))) if it[..] == PINGREQ),
        "{ping:?}"
    );
    // one that names nothing, or something else, does not speak MQTT
    for answer in ["", "chat"] {
        let mut link = Link::tcp(mproxy.addr()).await;
        link.speak(version);
        link.send(&client(version).bytes()).await;
        tokio::select! {
            () = value.unavailable(link) => {}
            (_, asked) = accept(&broker, Some(answer)) => panic!("CONNECT was sent: {asked}"),
        }
    }
}
