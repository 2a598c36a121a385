//! Time, size and place: what is slow, large, elsewhere, or gone.

use std::time::Duration;

use mproxy_tests::wire::{Connect, Version, connack};
use mproxy_tests::{Link, within};
use tokio::io::AsyncReadExt;
use tokio::time::interval;

use super::{PLACES, Said, Way, ground, hello, link};
use crate::ground::{Ground, fence};

tests! {
    a_connect_may_come_after_twelve_seconds [c12] in [v311];
    any_path_is_served [c16] in all;
    a_connect_of_120_kb_has_a_limit_of_its_own [c17] in all;
    cookies_may_be_long [o3] in [v311];
}

/// Modems that are driven by AT commands take their time between opening a connection and saying
/// something, or within what they say.
async fn a_connect_may_come_after_twelve_seconds(version: Version) {
    let ground = ground(|setup| setup).await;
    let hello = hello(version);
    let mut clients = Vec::new();
    for place in PLACES.into_iter().filter(|(way, _)| *way != Way::Pipelined) {
        for said in [0, 1, 9] {
            let mut client = link(&ground.mproxy, place, version).await;
            client.send(&hello[..said]).await;
            clients.push((client, said));
        }
    }
    let mut ticks = interval(Duration::from_secs(12));
    ticks.tick().await;
    ticks.tick().await;
    for (mut client, said) in clients {
        client.send(&hello[said..]).await;
        let mut server = ground.broker.session().await;
        server.expect(&hello).await;
        server.send(&connack(version, 0)).await;
        client.expect(&connack(version, 0)).await;
        fence(&mut client, &mut server).await;
    }
}

/// What a WebSocket client gets that asks for this path, with more headers, and says CONNECT right
/// behind it; the broker's end if it was let in.
async fn upgraded(
    ground: &Ground,
    listener: &str,
    version: Version,
    path: &str,
    more: &str,
) -> (String, Option<Link>) {
    let addr = ground.mproxy.listener(listener);
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: mqtt\r\n{more}\r\n"
    );
    let hello = hello(version);
    let len = u8::try_from(hello.len()).expect("it is short");
    let frame = [&[0x82, 0x80 | len, 0, 0, 0, 0][..], &hello].concat();
    let mut client = Link::tcp(addr).await;
    client
        .try_send(&[request.as_bytes(), &frame].concat())
        .await;
    let (mut stream, mut answer) = client.into_tcp();
    let reading = async {
        while !answer.windows(4).any(|it| it == b"\r\n\r\n") {
            let read = stream.read_buf(&mut answer).await;
            assert!(read.is_ok_and(|read| read > 0), "{path}");
        }
    };
    within("an answer", reading).await;
    let status = String::from_utf8_lossy(&answer[9..12]).into_owned();
    if status != "101" {
        return (status, None);
    }
    let mut server = ground.broker.session().await;
    server.expect(&hello).await;
    (status, Some(server))
}

async fn any_path_is_served(version: Version) {
    const PATHS: [&str; 7] = [
        "/",
        "/ws",
        "/mqtt/",
        "/mqtt",
        "/mqtt?token=1",
        "/a/b/c",
        "//",
    ];
    let anywhere = ground(|setup| setup).await;
    for path in PATHS {
        for listener in ["ws", "ws-acl"] {
            let (status, server) = upgraded(&anywhere, listener, version, path, "").await;
            assert!(status == "101" && server.is_some(), "{path} at {listener}");
        }
    }
    let listed = ground(|setup| {
        let paths = "[\"/ws\", \"/mqtt/*\"]";
        let setup = setup.set("listeners.ws.paths", paths);
        setup.set("listeners.ws-acl.paths", paths)
    })
    .await;
    for path in PATHS {
        for listener in ["ws", "ws-acl"] {
            let (status, _) = upgraded(&listed, listener, version, path, "").await;
            let served = matches!(path, "/ws" | "/mqtt/");
            assert_eq!(
                status,
                if served { "101" } else { "404" },
                "{path} at {listener}"
            );
        }
    }
}

async fn cookies_may_be_long(version: Version) {
    let ground = ground(|setup| setup).await;
    let cookie = |bytes: usize| format!("Cookie: sso={}\r\n", "c".repeat(bytes));
    let many = "X-Forwarded: a\r\n".repeat(80);
    for listener in ["ws", "ws-acl"] {
        for more in [cookie(8 * 1024), cookie(15 * 1024), many.clone()] {
            let (status, server) = upgraded(&ground, listener, version, "/", &more).await;
            assert!(status == "101" && server.is_some(), "{}", more.len());
        }
        let (status, _) = upgraded(&ground, listener, version, "/", &cookie(17 * 1024)).await;
        assert_eq!(status, "431");
        // the source of the error, and the key
        let line = ground.mproxy.event("a line about it", |event| {
            event["reason"] == "websocket_handshake" && event["listener"] == listener
        });
        let line = line.await;
        let says = |field: &str, part: &str| {
            let text = line[field].as_str().unwrap_or_default();
            assert!(text.contains(part), "{part} in {line}");
        };
        assert_eq!(line["level"], "WARN", "{line}");
        says("remedy", "max_header_size");
        says("detail", "too large");
    }
}

/// It was refused with the advice to raise `max_packet_size`, which was large enough.
async fn a_connect_of_120_kb_has_a_limit_of_its_own(version: Version) {
    let text = "x".repeat(60_000);
    let large = [
        Connect::new(version, "c").credentials(&text, &text),
        Connect::new(version, &text).will("w", &text, 1, false),
    ];
    for (most, is_in) in [("64KiB", false), ("128KiB", true)] {
        for connect in &large {
            let connect = connect.bytes();
            let ground = ground(|setup| {
                let setup = setup.set_listeners("limits.max_packet_size", "16MiB");
                setup.set_listeners("limits.max_connect_size", most)
            })
            .await;
            // 120,000 writes are another matter
            for place in PLACES.into_iter().filter(|(way, _)| *way != Way::Dripped) {
                if is_in {
                    let answer = connack(version, 0);
                    let said = Said::new(&ground, place, version, &connect, &answer, &[]).await;
                    assert!(said.connect == connect, "{place:?}");
                    continue;
                }
                let mut client = link(&ground.mproxy, place, version).await;
                client.send(&connect[..1000]).await;
                client.closed().await;
                let line = ground.mproxy.event("a line about it", |event| {
                    event["listener"] == place.1 && event["event"] == "refuse"
                });
                let line = line.await;
                for field in ["detail", "remedy"] {
                    let text = line[field].as_str().unwrap_or_default();
                    assert!(text.contains("max_connect_size"), "{line}");
                    assert!(!text.contains("max_packet_size"), "{line}");
                }
            }
        }
    }
}
