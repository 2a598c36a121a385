//! Bounds that keep one client from harming the others, each reached.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use mproxy_tests::pki::Pki;
use mproxy_tests::wire::{
    Connect, Message, PINGREQ, PINGRESP, Publish, Version, connack, field, frame,
};
use mproxy_tests::{
    FakeBroker, Link, Mosquitto, Mproxy, Process, Rest, Setup, connect_from, memory, server_binary,
    tls, until,
};
use tokio::net::TcpStream;

/// The text of `key` in a packet or line is not looked at; that a connection ends is.
async fn turned_away(addr: SocketAddr) {
    Link::tcp(addr).await.closed().await;
}

/// A line said `connection_limit`, which three keys can cause. An operator with 130 browsers behind a
/// TLS terminator raised the wrong two first.
async fn says_which(mproxy: &Mproxy, key: &str, value: f64) {
    let refused = mproxy
        .event("the limit", |event| event["limit"] == key)
        .await;
    assert_eq!(
        (&refused["level"], &refused["event"]),
        (&"WARN".into(), &"refuse".into())
    );
    let found = refused["value"].as_f64().expect("a number");
    assert!((found - value).abs() < f64::EPSILON, "{refused}");
    assert!(refused["remedy"].is_string(), "{refused}");
    let peer = refused["peer"].as_str().expect("an address");
    assert!(peer.parse::<SocketAddr>().is_ok(), "with a port: {refused}");
}

const REFUSED: &str = "mproxy_connections_refused_total{reason=\"connection_limit\"}";

#[tokio::test]
async fn no_more_clients_than_a_listener_and_the_server_take() {
    let broker = Mosquitto::start().await;
    for key in [
        "listeners.mqtt.limits.max_connections",
        "server.max_connections",
    ] {
        let mproxy = Setup::before(&broker.url()).set(key, "2").start().await;
        let one = Link::client(mproxy.addr(), Version::V5, "one").await;
        // a connection counts before it says anything
        let two = Link::tcp(mproxy.addr()).await;
        mproxy
            .metric("mproxy_connections_accepted_total", 2.0)
            .await;
        turned_away(mproxy.addr()).await;
        mproxy.metric(REFUSED, 1.0).await;
        says_which(&mproxy, key, 2.0).await;
        // a place is free as soon as somebody has left
        one.leave().await;
        let ended = "mproxy_connections_closed_total{reason=\"disconnect\"}";
        mproxy.metric(ended, 1.0).await;
        let three = until("a free place", async || {
            let mut link = Link::tcp(mproxy.addr()).await;
            link.speak(Version::V5);
            let asked = link
                .try_send(&Connect::new(Version::V5, "three").bytes())
                .await;
            let answer = link.packet_or_end().await;
            (asked && answer.is_some()).then_some(link)
        })
        .await;
        drop((two, three));
    }
}

#[tokio::test]
async fn no_more_clients_of_one_address_than_it_may_have() {
    let broker = Mosquitto::start().await;
    let setup = Setup::before(&broker.url()).set("listeners.mqtt.bind", "[::]:0");
    let mproxy = setup.limit("max_connections_per_ip", "1").start().await;
    let port = mproxy.addr().port();
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));

    let _first = Link::client(v4, Version::V311, "first").await;
    turned_away(v4).await;
    // another address of this host, and the same port by IPv6
    let second = connect_from([127, 0, 0, 2], v4).await;
    let mut second = Link::over(second.expect("it listens"));
    second.connect(&Connect::new(Version::V311, "second")).await;
    let _third = Link::client(v6, Version::V311, "third").await;
    turned_away(v6).await;
    mproxy.metric(REFUSED, 2.0).await;
    says_which(&mproxy, "listeners.mqtt.limits.max_connections_per_ip", 1.0).await;

    // an IPv4 address is called by its own name on a socket for both
    let connected = |client_id: &'static str| {
        mproxy.event(client_id, move |event| {
            event["client_id"] == client_id && event["message"] == "client connected"
        })
    };
    for (client_id, start) in [
        ("first", "127.0.0.1:"),
        ("second", "127.0.0.2:"),
        ("third", "[::1]:"),
    ] {
        let event = connected(client_id).await;
        let peer = event["peer"].as_str().expect("a peer");
        assert!(peer.starts_with(start), "{event}");
    }
}

#[tokio::test]
async fn no_faster_than_the_rate() {
    let broker = Mosquitto::start().await;
    let mproxy = Setup::before(&broker.url())
        .limit("connection_rate", "1/h")
        .start()
        .await;
    let mut first = Link::client(mproxy.addr(), Version::V5, "first").await;
    for _ in 0..100 {
        turned_away(mproxy.addr()).await;
    }
    let refused = "mproxy_connections_refused_total{reason=\"rate_limited\"}";
    mproxy.metric(refused, 100.0).await;
    first.silent().await;
    let per_second = 1.0 / 3600.0;
    says_which(&mproxy, "listeners.mqtt.limits.connection_rate", per_second).await;
    let refused = mproxy.event("the rate", |event| event["detail"] == "1/h");
    refused.await;
    // a flood of connections is no flood of lines
    let lines = mproxy
        .events()
        .into_iter()
        .filter(|it| it["reason"] == "rate_limited");
    let count = lines.count();
    assert!((1..=50).contains(&count), "{count} lines");
}

/// The timer of a TCP connection of this host as the kernel has it: its kind, 2 for keep-alive, and
/// the hundredths of a second until it ends.
fn timer(local: u16, remote: u16) -> (u8, u64) {
    let table = fs::read_to_string("/proc/net/tcp").expect("Linux has it");
    let port = |address: &str| {
        let (_, port) = address.split_once(':').expect("a port");
        u16::from_str_radix(port, 16).expect("a port")
    };
    let row = table.lines().skip(1).find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let ends = (port(fields[1]), port(fields[2]));
        (ends == (local, remote)).then(|| fields[5].to_owned())
    });
    let row = row.unwrap_or_else(|| panic!("no connection of {local} with {remote}: {table}"));
    let (kind, left) = row.split_once(':').expect("a kind and a time");
    (
        kind.parse().expect("a number"),
        u64::from_str_radix(left, 16).expect("a number"),
    )
}

/// A client with a keep-alive of 0 that lost its power was never noticed: its session, and its place
/// under `max_connections`, stayed for good. The kernel looks after it, on both kinds of listener,
/// as it does towards the broker.
#[tokio::test]
async fn the_kernel_looks_after_silent_clients() {
    let broker = FakeBroker::bind().await;
    for (keepalive, seconds) in [(None, 60), (Some("7s"), 7), (Some("0s"), 0)] {
        let mut setup = Setup::before(&broker.url()).websocket();
        for listener in ["mqtt", "ws"] {
            if let Some(keepalive) = keepalive {
                let key = format!("listeners.{listener}.tcp_keepalive");
                setup = setup.set(&key, keepalive);
            }
        }
        let mproxy = setup.start().await;
        for listener in ["mqtt", "ws"] {
            let addr = mproxy.listener(listener);
            let client = TcpStream::connect(addr).await.expect("it listens");
            let port = client.local_addr().expect("it is connected").port();
            let (kind, left) = timer(addr.port(), port);
            if seconds == 0 {
                assert_eq!(kind, 0, "{listener}");
            } else {
                assert_eq!(kind, 2, "{listener}");
                let whole = seconds * 100;
                assert!((whole / 2..=whole).contains(&left), "{listener}: {left}");
            }
        }
    }
}

/// The time is for all of CONNECT, not for each byte of it, and nobody dials the broker before.
#[tokio::test]
async fn whoever_does_not_say_who_they_are_is_sent_away() {
    let broker = FakeBroker::bind().await;
    let setup = Setup::before(&broker.url())
        .websocket()
        .limit("connect_timeout", "500ms");
    let mproxy = setup
        .set("listeners.ws.limits.connect_timeout", "500ms")
        .start()
        .await;
    let since = Instant::now();
    let silent = Link::tcp(mproxy.addr()).await;
    let silent_http = Link::tcp(mproxy.listener("ws")).await;
    let silent_ws = Link::ws(mproxy.listener("ws")).await;
    let mut dripping = Link::tcp(mproxy.addr()).await;
    let connect = Connect::new(Version::V5, &"x".repeat(1000)).bytes();
    let dripped = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        for byte in connect {
            ticks.tick().await;
            if !dripping.try_send(&[byte]).await {
                return;
            }
        }
        panic!("nobody cared");
    };
    tokio::join!(
        silent.closed(),
        silent_http.rest(),
        silent_ws.closed(),
        dripped
    );
    let waited = since.elapsed();
    assert!(
        (Duration::from_millis(450)..Duration::from_secs(5)).contains(&waited),
        "{waited:?}"
    );
    let timed_out = "mproxy_connections_closed_total{reason=\"connect_timeout\"}";
    mproxy.metric(timed_out, 4.0).await;

    // the one session that the broker hears of is this one; what else came were probes, which end
    let (_client, (mut server, _)) = tokio::join!(
        Link::client(mproxy.addr(), Version::V311, "c"),
        broker.accept()
    );
    server.send(&[0xd0, 0]).await;
}

/// Judged by the length that is announced, before a byte of the rest has come, and before there is
/// room for it.
#[tokio::test]
async fn a_packet_that_is_too_large_ends_its_session_at_its_length() {
    let broker = FakeBroker::bind().await;
    let mproxy = Setup::before(&broker.url())
        .limit("max_packet_size", "1KiB")
        .start()
        .await;
    for version in Version::ALL {
        let mut client = Link::tcp(mproxy.addr()).await;
        client.send(&Connect::new(version, "c").bytes()).await;
        let mut server = broker.session().await;
        server.accept().await;
        let answer = client.packet().await;
        if version.is_v5() {
            // who knows the limit can keep to it: Maximum Packet Size
            assert!(
                answer.bytes().windows(5).any(|it| it == [0x27, 0, 0, 4, 0]),
                "{answer:?}"
            );
        }
        let head = 2 + 3 + usize::from(version.is_v5());
        let fits = Publish::new(version, "t").bytes(vec![7; 1024 - head - 1]);
        assert_eq!(fits.len(), 1024);
        client.send(&fits).await;
        server.expect(&fits).await;
        client.send(&[0x30, 0xff, 0xff, 0xff, 0x7f]).await;
        let (packets, rest) = client.rest().await;
        let told: Vec<_> = packets
            .iter()
            .map(|it| (it.first(), it.body()[0]))
            .collect();
        let expected: &[(u8, u8)] = if version.is_v5() {
            &[(0xe0, 0x95)]
        } else {
            &[]
        };
        assert_eq!((&*told, rest), (expected, Rest::Clean));
        server.closed().await;
    }
    // nor as the first packet of all
    let mut client = Link::tcp(mproxy.addr()).await;
    client.send(&[0x10, 0xff, 0xff, 0xff, 0x7f]).await;
    client.closed().await;
}

/// Firmware and pictures. The limit was 1 MiB, which no broker has: such a client was closed, and came
/// back with the same packet forever.
#[tokio::test]
async fn a_publish_of_five_megabytes_passes_by_default() {
    const PAYLOAD: usize = 5_000_000;
    const ACL: &str = "[chains.default]\nlayers = [\"acl\"]\n[layers.acl]\ntype = \"acl\"\n\
        [[layers.acl.rules]]\nname = \"all\"\nallow = [\"publish\", \"subscribe\"]\n\
        topics = [\"#\"]\n";
    let broker = Mosquitto::start().await;
    for layers in ["", ACL] {
        let setup = Setup::before(&broker.url()).toml(layers).websocket();
        let mproxy = setup.start().await;
        for version in Version::ALL {
            for websocket in [false, true] {
                let mut client = if websocket {
                    Link::ws(mproxy.listener("ws")).await
                } else {
                    Link::tcp(mproxy.addr()).await
                };
                let answer = client.connect(&Connect::new(version, "c")).await;
                if version.is_v5() {
                    // what mosquitto says, byte for byte: Topic Alias Maximum, Receive Maximum
                    let mut direct = Link::tcp(broker.addr()).await;
                    let direct = direct.connect(&Connect::new(version, "direct")).await;
                    assert_eq!(answer.bytes(), direct.bytes());
                }
                client.subscribe("firmware", 1).await;
                let payload = vec![0xa5; PAYLOAD];
                let image = Publish::new(version, "firmware").qos(1, 7);
                client.send(&image.bytes(&payload)).await;
                // its own message may come before the answer
                let mut left = (true, true);
                while left.0 || left.1 {
                    let packet = client.packet().await;
                    match packet.kind() {
                        4 => {
                            assert_eq!(packet.id(), 7);
                            left.0 = false;
                        }
                        _ => {
                            let message = Message::of(&packet, version);
                            assert!(message.payload == payload, "{version:?}");
                            left.1 = false;
                        }
                    }
                }
            }
        }
    }
}

/// Modems that are driven by AT commands take twelve seconds from TCP to CONNECT; ten were allowed.
#[tokio::test]
async fn a_slow_modem_has_half_a_minute() {
    let dir = tempfile::TempDir::new().expect("a temporary folder can be made");
    let mut command = tokio::process::Command::new(server_binary());
    command
        .args(["config", "show"])
        .current_dir(dir.path())
        .env_clear();
    let (code, shown) = Process::run(command).await;
    assert_eq!(code, 0, "{shown}");
    for line in [
        "connect_timeout = \"30s\"",
        "connack_timeout = \"30s\"",
        "max_packet_size = \"256MiB\"",
        "max_connect_size = \"64KiB\"",
        "max_held_packet = \"1MiB\"",
        "max_replies = \"64KiB\"",
        "conformance = \"tolerant\"",
        "bridges = \"pass\"",
        "receive_maximum = \"pass\"",
        "when_unreachable = \"close\"",
        "drain_notice = \"none\"",
        "tcp_keepalive = \"1m\"",
    ] {
        assert!(
            shown.lines().any(|it| it.starts_with(line)),
            "{line}: {shown}"
        );
    }
}

/// 1,000 clients that announce the largest packet there is cost next to nothing.
#[tokio::test]
async fn a_length_reserves_no_memory() {
    let broker = FakeBroker::bind().await;
    let mproxy = Setup::before(&broker.url())
        .limit("max_packet_size", "256MiB")
        .start()
        .await;
    let (mut client, (mut server, _)) = tokio::join!(
        Link::client(mproxy.addr(), Version::V311, "c"),
        broker.accept()
    );
    let before = memory::used_kib(mproxy.id());
    let mut links = Vec::new();
    for _ in 0..500 {
        let mut link = Link::tcp(mproxy.addr()).await;
        // the head of a CONNECT; refused, because no CONNECT is that long
        link.send(&[0x10, 0xff, 0xff, 0xff, 0x7f]).await;
        links.push(link);
    }
    for link in links {
        link.closed().await;
    }
    client
        .send(&[0x30, 0xff, 0xff, 0xff, 0x3f, 0, 1, b't'])
        .await;
    server.send(&[0xd0, 0]).await;
    client.expect(&[0xd0, 0]).await;
    let grown = memory::used_kib(mproxy.id()).saturating_sub(before);
    assert!(grown < 4 * 1024, "{grown} KiB");
}

/// The proxy judges the keep alive at once where it is strict or set the time itself; only to the
/// letter it says so.
#[tokio::test]
async fn silence_longer_than_the_keep_alive_is_an_end() {
    for (conformance, key) in [
        ("strict", None),
        ("tolerant", Some("max_keepalive")),
        ("strict", Some("max_keepalive")),
    ] {
        let broker = FakeBroker::bind().await;
        let mut setup = Setup::before(&broker.url());
        if let Some(key) = key {
            setup = setup.limit(key, "1s");
        }
        let setup = setup.set("listeners.mqtt.conformance", conformance);
        let mproxy = setup.start().await;
        for version in [Version::V311, Version::V5] {
            let mut client = Link::tcp(mproxy.addr()).await;
            let asked = if key.is_some() { 600 } else { 1 };
            let connect = Connect::new(version, "c").keep_alive(asked);
            let (_, (server, _)) = tokio::join!(client.connect(&connect), broker.accept());
            let since = Instant::now();
            if version.is_v5() && conformance == "strict" {
                client.expect(&[0xe0, 0x01, 0x8d]).await;
            }
            client.closed().await;
            let waited = since.elapsed();
            assert!((1400..5000).contains(&waited.as_millis()), "{waited:?}");
            // the will is to be published: nothing says goodbye in the client's name
            server.closed().await;
        }
    }
}

/// Brokers look every few seconds and close such a client without a word; the proxy used to be the
/// first, with a word that some clients take as final. It is the second now, half a minute later.
#[tokio::test]
async fn the_broker_judges_the_keep_alive_first() {
    let broker = FakeBroker::bind().await;
    let mproxy = Mproxy::before(&broker.url()).await;
    let silent = async |version, client_id: &str| {
        let mut client = Link::tcp(mproxy.addr()).await;
        let connect = Connect::new(version, client_id).keep_alive(1);
        let (_, (server, _)) = tokio::join!(client.connect(&connect), broker.accept());
        let since = Instant::now();
        (client, server, since)
    };
    let (old, old_server, since) = silent(Version::V311, "old").await;
    let (mut new, new_server, _) = silent(Version::V5, "new").await;
    // a broker that waits longer than the standard says: its client is still served
    let (mut late, mut late_server, _) = silent(Version::V5, "late").await;
    tokio::time::timeout(Duration::from_secs(6), new.packet_or_end())
        .await
        .expect_err("four times what the standard gives, and nothing happens");
    late.send(&PINGREQ).await;
    late_server.expect(&PINGREQ).await;
    late_server.send(&PINGRESP).await;
    late.expect(&PINGRESP).await;

    old.closed().await;
    let waited = since.elapsed();
    assert!((31_400..40_000).contains(&waited.as_millis()), "{waited:?}");
    tokio::join!(new.closed(), old_server.closed(), new_server.closed());
    assert_eq!(mproxy.end_of("old").await["reason"], "keepalive_timeout");
}

/// A packet that is begun must be finished: bytes alone are no sign of life.
#[tokio::test]
async fn a_packet_that_is_not_finished_ends_its_session() {
    let broker = FakeBroker::bind().await;
    let mproxy = Setup::before(&broker.url())
        .limit("packet_timeout", "300ms")
        .start()
        .await;
    let strict = Setup::before(&broker.url())
        .limit("packet_timeout", "300ms")
        .set("listeners.mqtt.conformance", "strict")
        .start()
        .await;
    let (mut client, (server, _)) = tokio::join!(
        Link::client(strict.addr(), Version::V5, "c"),
        broker.accept()
    );
    client.send(&[0x30, 4]).await;
    // to the letter the client is told
    let told = client.packet().await;
    assert_eq!((told.first(), told.body()[0]), (0xe0, 0x80), "{told:?}");
    tokio::join!(client.closed(), server.closed());

    let (mut client, (mut server, _)) = tokio::join!(
        Link::client(mproxy.addr(), Version::V5, "c"),
        broker.accept()
    );
    // between packets there is all the time in the world
    let whole = Publish::new(Version::V5, "t").bytes("x");
    client.send(&whole).await;
    server.expect(&whole).await;
    client.send(&whole[..4]).await;
    client.closed().await;
    server.closed().await;
    assert_eq!(mproxy.end_of("c").await["reason"], "packet_timeout");
}

/// A client that takes nothing for a while is gone, though its PINGREQs still come: without that,
/// it would keep its session and its queue forever.
#[tokio::test]
async fn a_client_that_does_not_read_is_given_up() {
    let broker = FakeBroker::bind().await;
    let mproxy = Setup::before(&broker.url())
        .limit("write_timeout", "500ms")
        .start()
        .await;
    let (mut client, (mut server, _)) = tokio::join!(
        Link::client(mproxy.addr(), Version::V311, "c"),
        broker.accept()
    );
    let message = Publish::new(Version::V311, "t").bytes(vec![7; 100_000]);
    let offering = async { while server.try_send(&message).await {} };
    let pinging = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        while client.try_send(&[0xc0, 0]).await {
            ticks.tick().await;
        }
    };
    tokio::join!(offering, pinging);
    let end = mproxy.end_of("c").await;
    assert_eq!(end["reason"], "write_timeout", "{end}");
}

#[tokio::test]
async fn versions_that_are_not_served_are_told_so() {
    let broker = FakeBroker::bind().await;
    let setup = Setup::before(&broker.url());
    let only = setup
        .set("listeners.mqtt.versions", "[\"3.1.1\"]")
        .start()
        .await;
    for version in [Version::V31, Version::V5] {
        let mut client = Link::tcp(only.addr()).await;
        client.send(&Connect::new(version, "c").bytes()).await;
        let code = if version.is_v5() { 0x84 } else { 1 };
        let answer = client.packet().await;
        assert_eq!((answer.kind(), answer.body()[1]), (2, code), "{answer:?}");
        client.closed().await;
    }
    // a version of the future in words of MQTT 5, and what is none in those of the past
    for (name, level, answer) in [
        ("MQTT", 0x06, &[0x20, 3, 0, 0x84, 0][..]),
        ("MQTT", 0x7f, &[0x20, 3, 0, 0x84, 0]),
        ("MQTT", 0x00, &[0x20, 2, 0, 1]),
        ("MQTT", 0x03, &[0x20, 2, 0, 1]),
        ("MQTT", 0x80, &[0x20, 2, 0, 1]),
        ("MQTT", 0x85, &[0x20, 2, 0, 1]),
        ("MQTT", 0xff, &[0x20, 2, 0, 1]),
        ("MQIsdp", 0x06, &[0x20, 2, 0, 1]),
    ] {
        let mut body = field(name);
        body.extend([level, 2, 0, 0, 0, 0, 1, b'c']);
        let mut client = Link::tcp(only.addr()).await;
        client.send(&frame(0x10, &body)).await;
        client.expect(answer).await;
        client.closed().await;
    }
}

/// More connections than there are descriptors: the proxy waits for free ones without spinning, and
/// without a line for each try, and goes on when there are.
#[tokio::test]
async fn without_descriptors_it_waits_and_goes_on() {
    let broker = Mosquitto::start().await;
    without_descriptors(Setup::before(&broker.url()), None).await;
}

/// The same with a crowd of 500 clients, which have begun their handshakes.
#[tokio::test]
async fn without_descriptors_it_waits_and_goes_on_over_tls() {
    let (broker, pki) = (Mosquitto::start().await, Pki::new());
    pki.server("server", 1);
    let setup = Setup::before(&broker.url())
        .toml("[[listeners]]\nname = \"mqtts\"\nbind = \"127.0.0.1:0\"\n")
        .toml(&tls::table(&pki));
    without_descriptors(setup, Some(&pki)).await;
}

/// `pki` for a listener `mqtts`, and a crowd before it.
async fn without_descriptors(setup: Setup, pki: Option<&Pki>) {
    const DESCRIPTORS: usize = 64;
    const CROWD: usize = 500;
    let mproxy = setup
        .by([
            mproxy_tests::tools::tool("prlimit").to_str().expect("text"),
            "--nofile=64:64",
        ])
        .start()
        .await;
    let open = || {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", mproxy.id()));
        descriptors.expect("the process runs").count()
    };
    // the admin port takes connections too, and nothing is asked on these
    let mut held = Vec::new();
    until("the last descriptor", async || {
        held.push(
            TcpStream::connect(mproxy.admin())
                .await
                .expect("it listens"),
        );
        (open() >= DESCRIPTORS).then_some(())
    })
    .await;
    // more wait, for a descriptor that is free for a moment
    for _ in 0..10 {
        held.push(
            TcpStream::connect(mproxy.admin())
                .await
                .expect("it listens"),
        );
    }

    let mut late = Link::tcp(mproxy.addr()).await;
    late.send(&Connect::new(Version::V311, "late").bytes())
        .await;
    let mut crowd = Vec::new();
    if let Some(pki) = pki {
        let hello = tls::hello(pki);
        for _ in 0..CROWD {
            let mut link = Link::tcp(mproxy.listener("mqtts")).await;
            link.send(&hello).await;
            crowd.push(link);
        }
    }
    let exhausted = |suppressed: bool| {
        mproxy.event("a word about it", move |event| {
            let message = event["message"].as_str().unwrap_or_default();
            message.starts_with("cannot accept") && event["suppressed"].is_u64() == suppressed
        })
    };
    // the first try says it at once; then it is said once a second, with the number of tries
    let watched = async {
        exhausted(false).await;
        let ticks = memory::cpu_ticks(mproxy.id());
        exhausted(true).await;
        memory::cpu_ticks(mproxy.id()) - ticks
    };
    let ticks = watched.await;
    // of a second, a twentieth
    assert!(ticks <= 5, "{ticks} ticks");
    let lines = mproxy.process().lines();
    let lines = lines
        .iter()
        .filter(|line| line.contains("cannot accept"))
        .count();
    assert!(lines <= 8, "{lines} lines");

    drop(held);
    // it is let in; or closed, if it was too early for the broker, and the next one is let in
    if let Some(answer) = late.packet_or_end().await {
        assert_eq!(answer.bytes(), connack(Version::V311, 0));
    }
    drop(late);
    drop(crowd);
    until("a client that is let in", async || {
        let mut link = match pki {
            // a handshake may be refused as well
            Some(pki) => Link::try_tls(mproxy.listener("mqtts"), pki).await?,
            None => Link::tcp(mproxy.addr()).await,
        };
        let asked = link
            .try_send(&Connect::new(Version::V311, "next").bytes())
            .await;
        let answer = link.packet_or_end().await;
        (asked && answer.is_some_and(|it| it.body()[1] == 0)).then_some(())
    })
    .await;
}
