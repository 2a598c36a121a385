//! The defects of the Go proxy that this one replaces: README.md names, for each, the tests that would
//! fail if this one had it too. Those that fit nowhere else are here.

use std::fs;

use mproxy_tests::wire::{
    Connect, DISCONNECT, Publish, Version, connack, field, frame, subscribe, unsubscribe,
};
use mproxy_tests::{FakeBroker, Link, Mosquitto, Mproxy, Setup, until};
use tokio::net::TcpStream;

#[tokio::test]
async fn nothing_but_one_connect_begins_a_session() {
    let broker = FakeBroker::bind().await;
    let mproxy = Mproxy::before(&broker.url()).await;
    let version = Version::V311;
    let connect = Connect::new(version, "guest").bytes();
    for first in [
        Publish::new(version, "t").bytes("x"),
        subscribe(version, 1, &[("#", 0)]),
        vec![0xc0, 0],
        vec![0xe0, 0],
        vec![0x00],
        vec![0xff; 100],
        // not for this port
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
    ] {
        let mut link = Link::tcp(mproxy.addr()).await;
        link.send(&[first, connect.clone()].concat()).await;
        link.closed().await;
    }

    // the first that the broker hears of; and its second CONNECT, which would be somebody else's
    for version in Version::ALL {
        let (mut link, (server, _)) = tokio::join!(
            Link::client(mproxy.addr(), version, "guest"),
            broker.accept()
        );
        let admin = Connect::new(version, "admin").credentials("admin", "admin");
        let behind = Publish::new(version, "t").bytes("x");
        link.send(&[admin.bytes(), behind].concat()).await;
        let (packets, _) = link.rest().await;
        let told: Vec<_> = packets
            .iter()
            .map(|it| (it.first(), it.body()[0]))
            .collect();
        let expected: &[(u8, u8)] = if version.is_v5() {
            &[(0xe0, 0x82)]
        } else {
            &[]
        };
        assert_eq!(told, expected);
        server.closed().await;
    }
}

/// Of connections that say nothing, or half a CONNECT, the broker hears nothing at all: the first
/// session there is that of somebody who said all of it.
#[tokio::test]
async fn nobody_is_dialled_for_who_does_not_say_who_they_are() {
    let broker = FakeBroker::bind().await;
    let mproxy = Setup::before(&broker.url()).websocket().start().await;
    let connect = Connect::new(Version::V5, "scan").bytes();
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(Link::tcp(mproxy.addr()).await);
        idle.push(Link::ws(mproxy.listener("ws")).await);
        let mut half = Link::tcp(mproxy.addr()).await;
        half.send(&connect[..connect.len() - 1]).await;
        idle.push(half);
    }
    mproxy
        .metric("mproxy_connections_accepted_total", 60.0)
        .await;
    // `accept` looks at connections in their order, and would wait for one that says nothing
    let (_client, (_server, connect)) = tokio::join!(
        Link::client(mproxy.addr(), Version::V311, "who"),
        broker.accept()
    );
    assert_eq!(connect.bytes(), Connect::new(Version::V311, "who").bytes());
    let open = mproxy.metrics().await.sum("mproxy_upstream_connections");
    assert!((open - 1.0).abs() < 0.1, "{open}");
}

#[tokio::test]
async fn fields_that_claim_more_than_there_is_end_the_session() {
    let broker = FakeBroker::bind().await;
    let mproxy = Mproxy::before(&broker.url()).await;

    // in CONNECT: a client id of 1000 bytes of which three are there
    let lying = [&field("MQTT")[..], &[4, 2, 0, 0], &[3, 0xe8], b"abc"].concat();
    let endless = [0x10, 0xff, 0xff, 0xff, 0xff, 0x7f];
    for first in [&frame(0x10, &lying)[..], &endless] {
        let mut link = Link::tcp(mproxy.addr()).await;
        link.send(first).await;
        link.closed().await;
    }

    for packet in [
        // a topic, a filter, and a second filter that are longer than their packets
        frame(0x30, &[0, 200, b't']),
        frame(0x82, &[0, 1, 0, 200, b't', 0]),
        frame(0x82, &[0, 1, 0, 1, b't', 0, 0, 9, b't', 0]),
        // what is there behind the last field
        frame(0xa2, &[0, 1, 0, 1, b't', 0]),
        // an empty filter, at which the original stopped reading
        frame(0xa2, &[0, 1, 0, 1, b't', 0, 0, 0, 1, b'u']),
        // text that is none
        frame(0x30, &[0, 2, 0xc0, 0x80]),
        frame(0x30, &[0, 1, 0]),
    ] {
        let (mut link, (server, _)) = tokio::join!(
            Link::client(mproxy.addr(), Version::V311, "c"),
            broker.accept()
        );
        link.send(&packet).await;
        link.closed().await;
        server.closed().await;
    }
}

#[tokio::test]
async fn who_was_refused_was_never_connected() {
    let broker = FakeBroker::bind().await;
    let log = "[chains.default]\nlayers = [\"log\"]\n[layers.log]\ntype = \"access-log\"\n";
    for (more, connected) in [("", "client connected"), (log, "client connected")] {
        let mproxy = Setup::before(&broker.url()).toml(more).start().await;
        let mut client = Link::tcp(mproxy.addr()).await;
        client
            .send(&Connect::new(Version::V311, "stranger").bytes())
            .await;
        let mut server = broker.session().await;
        server.packet().await;
        // nothing is said as long as the broker has not
        client.send(&[]).await;
        assert!(mproxy.events().iter().all(|it| it["message"] != connected));
        server.send(&connack(Version::V311, 5)).await;
        client.expect(&connack(Version::V311, 5)).await;
        drop(server);
        client.closed().await;
        // one who says nothing, and a probe that goes again
        drop(Link::tcp(mproxy.addr()).await);
        mproxy.end_of("stranger").await;
        let closed = "mproxy_connections_closed_total";
        mproxy.metric(closed, 2.0).await;
        let (link, (server, _)) = tokio::join!(
            Link::client(mproxy.addr(), Version::V311, "friend"),
            broker.accept()
        );
        let friend = mproxy
            .event("the friend", |it| it["message"] == connected)
            .await;
        assert_eq!(friend["client_id"], "friend");
        drop((link, server));
        mproxy.end_of("friend").await;
        let of = |message: &str| {
            let events = mproxy.events().into_iter();
            let count = events.filter(|it| it["message"] == message).count();
            (message.to_owned(), count)
        };
        assert_eq!(of(connected).1, 1);
        assert_eq!(of("client disconnected").1, 1);
    }
}

#[tokio::test]
async fn an_end_is_written_down_as_what_it_was() {
    let broker = FakeBroker::bind().await;
    let mproxy = Mproxy::before(&broker.url()).await;
    let version = Version::V311;
    for (client_id, side, reason, level) in [
        ("leaves", "client", "disconnect", "INFO"),
        ("ends", "client", "eof", "INFO"),
        ("breaks", "client", "reset", "INFO"),
        ("is left", "upstream", "upstream_eof", "INFO"),
        ("errs", "client", "malformed", "WARN"),
        ("is misled", "upstream", "upstream_protocol_error", "WARN"),
    ] {
        let (mut client, (mut server, _)) = tokio::join!(
            Link::client(mproxy.addr(), version, client_id),
            broker.accept()
        );
        match client_id {
            "leaves" => {
                client.send(&DISCONNECT).await;
                server.expect(&DISCONNECT).await;
                server.closed().await;
                client.closed().await;
            }
            "ends" => {
                drop(client);
                server.closed().await;
            }
            "breaks" => {
                client.reset();
                server.closed().await;
            }
            "is left" => {
                drop(server);
                client.closed().await;
            }
            "errs" => {
                client.send(&[0x36, 0]).await;
                tokio::join!(client.closed(), server.closed());
            }
            _ => {
                server.send(&[0x82, 0]).await;
                tokio::join!(client.closed(), server.closed());
            }
        }
        let end = mproxy.end_of(client_id).await;
        let found = [&end["side"], &end["reason"], &end["level"]];
        assert_eq!(found, [side, reason, level], "{end}");
    }
}

/// Sessions of all kinds, begun and ended in all ways, many times: sockets, tasks and memory are
/// given back.
#[tokio::test]
async fn nothing_is_left_of_sessions_that_are_over() {
    let broker = Mosquitto::start().await;
    let mproxy = Setup::before(&broker.url()).websocket().start().await;
    mproxy.until_ready(true).await;
    let (tcp, ws) = (mproxy.addr(), mproxy.listener("ws"));
    let open = || {
        let folder = fs::read_dir(format!("/proc/{}/fd", mproxy.id()));
        folder.expect("the process runs").count()
    };
    let round = async || {
        let mut links = Vec::new();
        for version in Version::ALL {
            for end in 0..4 {
                let mut link = if end % 2 == 0 {
                    Link::tcp(tcp).await
                } else {
                    Link::ws(ws).await
                };
                link.connect(&Connect::new(version, &format!("{version:?}{end}")))
                    .await;
                link.subscribe("t", 1).await;
                links.push((end, link));
            }
        }
        for (end, link) in links {
            match end {
                0 | 1 => link.leave().await,
                2 => link.reset(),
                _ => drop(link),
            }
        }
        // and some that never became one
        let mut half = Link::tcp(tcp).await;
        half.send(&[0x10, 0x20, 0]).await;
        drop((half, Link::ws(ws).await, TcpStream::connect(ws).await));
        let mut wrong = Link::tcp(tcp).await;
        wrong.send(&[0xff; 8]).await;
        wrong.closed().await;
    };
    let idle = async |before: usize| {
        until("all descriptors to be given back", async || {
            let none = mproxy.metrics().await.sum("mproxy_connections") < 0.1;
            // the probe of the broker may be under way
            (none && open() <= before).then_some(())
        })
        .await;
    };
    let before = open();
    for _ in 0..3 {
        round().await;
    }
    idle(before).await;
    let memory = mproxy_tests::memory::used_kib(mproxy.id());
    for _ in 0..10 {
        round().await;
    }
    idle(before).await;
    let grown = mproxy_tests::memory::used_kib(mproxy.id()).saturating_sub(memory);
    assert!(grown < 1024, "{grown} KiB");
}

#[tokio::test]
async fn an_empty_file_is_a_proxy() {
    let broker = Mosquitto::start().await;
    let mproxy = Setup::new("")
        // it would be at the usual ports, which may be taken here
        .set("listeners.mqtt.bind", "127.0.0.1:0")
        .set("upstreams.broker.address", &broker.url())
        .set("admin.bind", "127.0.0.1:0")
        .start()
        .await;
    Link::client(mproxy.addr(), Version::V5, "c")
        .await
        .leave()
        .await;
}

/// Under hooks that look at all of it, and without any.
#[tokio::test]
async fn what_is_not_changed_arrives_byte_for_byte() {
    let broker = FakeBroker::bind().await;
    let acl = "[chains.default]\nlayers = [\"log\", \"acl\"]\n[layers.log]\ntype = \"access-log\"\n\
               [layers.acl]\ntype = \"acl\"\nsubscribe = \"mosquitto\"\ndefault = \"allow\"\n";
    let version = Version::V5;
    for more in ["", acl] {
        let mproxy = Setup::before(&broker.url()).toml(more).start().await;
        let (mut client, (mut server, _)) =
            tokio::join!(Link::client(mproxy.addr(), version, "c"), broker.accept());
        // properties in no order, and more than once where that is allowed
        let odd = [
            &[0x26][..],
            &field("b"),
            &field(""),
            &[0x01, 1, 0x26],
            &field("a"),
            &field("\u{1f980}"),
            &[0x26],
            &field("b"),
            &field("2"),
            &[0x02, 0, 0, 0, 9, 0x03],
            &field("text/plain"),
        ]
        .concat();
        let publish = Publish::new(version, "a//\u{e9}/")
            .qos(2, 0xffff)
            .retain()
            .properties(&odd);
        let packets = [
            publish.bytes([0, 0xff, 0x10]),
            publish.clone().dup().bytes(""),
            unsubscribe(version, 2, &["a", "b/#", "$share/g/+", "+/+//"]),
            // the longest form of an acknowledgement, and the shortest
            frame(0x62, &[0xff, 0xff, 0, 0]),
            frame(0x62, &[0xff, 0xff]),
            frame(0x40, &[0, 9, 0x10, 5, 0x1f, 0, 2, b'o', b'k']),
        ];
        for packet in &packets {
            client.send(packet).await;
            server.expect(packet).await;
        }
        // an identifier is free again when its request was answered
        let answer = frame(0xb0, &[0, 2, 0, 0, 0, 0x11, 0]);
        server.send(&answer).await;
        client.expect(&answer).await;
        let all = packets.concat();
        client.send(&all).await;
        for packet in &packets {
            server.expect(packet).await;
        }
        for packet in [&packets[0], &packets[1], &packets[3], &packets[5]] {
            server.send(packet).await;
            client.expect(packet).await;
        }
    }
}
