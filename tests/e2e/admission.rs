//! Who gets in while somebody else wants to keep everybody out: no limit becomes the weapon.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use mproxy_tests::tools::root;
use mproxy_tests::wire::{Connect, Version};
use mproxy_tests::{Link, Mosquitto, Mproxy, Setup, connect_from, until};
use tokio::task::JoinSet;

/// Where those come from who mean no good; good clients are 127.0.0.1.
const ATTACKERS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 66)),
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 67)),
];

/// How many good clients come, one after the other.
const GOOD: usize = 16;

/// The time after which a silent connection has to make room, and some.
const SILENCE: Duration = Duration::from_millis(1_100);

/// A connection from another address of this host. It may be refused at any time.
async fn from(source: IpAddr, addr: SocketAddr) -> Option<Link> {
    connect_from(source, addr).await.ok().map(Link::over)
}

/// Connects as a good client does, once; whether it got in.
async fn gets_in(addr: SocketAddr, client_id: &str) -> Option<Link> {
    let mut link = Link::tcp(addr).await;
    link.speak(Version::V311);
    let connect = Connect::new(Version::V311, client_id).bytes();
    if !link.try_send(&connect).await {
        return None;
    }
    link.packet_or_end().await.map(|_| link)
}

/// How many good clients get in, of [`GOOD`]; all that did stay.
async fn good_clients(addr: SocketAddr) -> Vec<Link> {
    let mut links = Vec::new();
    for number in 0..GOOD {
        links.extend(gets_in(addr, &format!("good-{number}")).await);
    }
    links
}

/// Waits until a counter is as large as this.
async fn at_least(mproxy: &Mproxy, sample: &str, value: f64) {
    until(format!("{sample} >= {value}"), async || {
        (mproxy.metrics().await.sum(sample) >= value).then_some(())
    })
    .await;
}

fn refused(limit: &str) -> String {
    format!("mproxy_connections_refused_total{{listener=\"mqtt\",limit=\"{limit}\"}}")
}

/// An attacker held as many connections as one address may have, and tried for more without a pause. Of
/// 16 good connects, 16 were refused: each try took one of the connections that the listener lets in
/// per second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_one_address_keeps_nobody_else_out() {
    let broker = Mosquitto::start().await;
    for (key, value, held) in [
        ("max_connections_per_ip", "20", 20),
        ("max_pending_per_ip", "20", 20),
        ("connection_rate_per_ip", "20/h", 1),
    ] {
        let mproxy = Setup::before(&broker.url())
            .limit(key, value)
            .limit("connection_rate", "60/s")
            .start()
            .await;
        let addr = mproxy.addr();
        let mut holding = Vec::new();
        for _ in 0..held {
            holding.push(from(ATTACKERS[0], addr).await.expect("it listens"));
        }
        mproxy
            .metric("mproxy_connections_accepted_total", f64::from(held))
            .await;
        let mut flood = JoinSet::new();
        for _ in 0..4 {
            flood.spawn(async move {
                loop {
                    if let Some(link) = from(ATTACKERS[0], addr).await {
                        link.reset();
                    }
                }
            });
        }
        // many times the connections that all may make in a second
        at_least(&mproxy, &refused(key), 500.0).await;
        // the address of good clients has a rate of its own, which 16 in a row would exceed
        let good = match key {
            "connection_rate_per_ip" => {
                let mut links = Vec::new();
                for last in 1..=GOOD {
                    let source = Ipv4Addr::new(127, 0, 1, u8::try_from(last).expect("few"));
                    let mut link = from(source.into(), addr).await.expect("it listens");
                    let connect = Connect::new(Version::V311, &format!("good-{last}"));
                    link.connect(&connect).await;
                    links.push(link);
                }
                links
            }
            _ => good_clients(addr).await,
        };
        assert_eq!(good.len(), GOOD, "beside {key}");
        flood.shutdown().await;
        let metrics = mproxy.metrics().await;
        for other in ["connection_rate", "max_pending", "max_connections"] {
            assert!(metrics.sum(&refused(other)) < 1.0, "{other} beside {key}");
        }
        let line = mproxy
            .event("the limit", |event| event["event"] == "refuse")
            .await;
        assert_eq!(line["limit"], format!("listeners.mqtt.limits.{key}"));
        let peer = line["peer"].as_str().expect("an address");
        assert!(peer.starts_with("127.0.0.66:"), "{line}");
    }
}

/// Silent sockets of two addresses had all places there are, and took each that became free: good
/// clients stayed out. Whatever kind of silence it is, the oldest makes room.
#[tokio::test]
async fn silent_connections_make_room_for_clients() {
    const PLACES: usize = 24;
    let broker = Mosquitto::start().await;
    for (key, of) in [
        ("listeners.mqtt.limits.max_pending", "mqtt"),
        ("listeners.mqtt.limits.max_connections", "mqtt"),
        ("listeners.ws.limits.max_connections", "ws"),
        ("server.max_connections", "both"),
    ] {
        let mproxy = Setup::before(&broker.url())
            .websocket()
            .set(key, &PLACES.to_string())
            .start()
            .await;
        let (mqtt, ws) = (mproxy.addr(), mproxy.listener("ws"));
        let mut silent = Vec::new();
        for number in 0..PLACES {
            let source = ATTACKERS[number % 2];
            let over_ws = of == "ws" || (of == "both" && number < PLACES / 2);
            let link = if !over_ws {
                let mut link = from(source, mqtt).await.expect("it listens");
                if number % 3 == 0 {
                    // a CONNECT that was begun is none
                    link.send(&[0x10]).await;
                }
                link
            } else if number % 3 == 0 {
                Link::ws(ws).await
            } else {
                from(source, ws).await.expect("it listens")
            };
            silent.push(link);
        }
        let places = f64::from(u32::try_from(PLACES).expect("few"));
        mproxy.metric("mproxy_connections_pending", places).await;
        // it is the time that the rule is about
        tokio::time::sleep(SILENCE).await;

        let mut good = Vec::new();
        for number in 0..GOOD {
            let client_id = format!("good-{number}");
            if of == "ws" {
                let mut link = Link::ws(ws).await;
                link.connect(&Connect::new(Version::V311, &client_id)).await;
                good.push(link);
            } else {
                good.extend(gets_in(mqtt, &client_id).await);
            }
        }
        assert_eq!(good.len(), GOOD, "{key}");
        let refused = mproxy
            .metrics()
            .await
            .sum("mproxy_connections_refused_total");
        assert!(refused < 1.0, "{refused} with {key}");
        let open = "mproxy_connections";
        mproxy
            .metric(open, f64::from(u32::try_from(GOOD).expect("few")))
            .await;
        if key.ends_with("max_connections") {
            let evicted = "mproxy_connections_closed_total{side=\"proxy\",reason=\"evicted\"}";
            mproxy
                .metric(evicted, f64::from(u32::try_from(GOOD).expect("few")))
                .await;
            // they went without a word; the others are as they were
            let mut ends = JoinSet::new();
            for link in silent {
                ends.spawn(link.rest());
            }
            for _ in 0..GOOD {
                let (packets, _) = ends
                    .join_next()
                    .await
                    .expect("one a client")
                    .expect("an end");
                assert!(packets.is_empty(), "{packets:?}");
            }
            let pending = f64::from(u32::try_from(ends.len()).expect("few"));
            assert!(pending > 0.0);
            mproxy.metric("mproxy_connections_pending", pending).await;
        }
        let line = mproxy
            .event("who made room", |event| event["event"] == "evict")
            .await;
        assert_eq!(
            (&line["limit"], &line["reason"]),
            (&key.into(), &"evicted".into())
        );
        assert_eq!(line["value"].as_f64(), Some(places));
        let text = |field: &str| line[field].as_str().expect("text").to_owned();
        assert!(text("peer").starts_with("127.0.0."), "{line}");
        assert!(
            text("detail").contains(" connections without a CONNECT are from 127.0.0."),
            "{line}"
        );
        assert!(!text("remedy").is_empty());
        let told = mproxy.events().into_iter();
        let told = told.filter(|event| event["event"] == "evict").count();
        assert!((1..=GOOD).contains(&told), "{told}");
    }
}

/// Where each address has a limit of its own, attackers that come back whenever they are sent away
/// cannot even make anybody wait for a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attackers_that_come_back_do_not_fill_what_all_share() {
    let broker = Mosquitto::start().await;
    let mproxy = Setup::before(&broker.url())
        .limit("max_pending_per_ip", "10")
        .limit("max_pending", "30")
        .start()
        .await;
    let addr = mproxy.addr();
    let mut attack = JoinSet::new();
    for source in ATTACKERS {
        for _ in 0..20 {
            attack.spawn(async move {
                loop {
                    if let Some(link) = from(source, addr).await {
                        link.rest().await;
                    }
                }
            });
        }
    }
    at_least(&mproxy, &refused("max_pending_per_ip"), 200.0).await;
    let good = good_clients(addr).await;
    assert_eq!(good.len(), GOOD);
    let metrics = mproxy.metrics().await;
    assert!(metrics.sum(&refused("max_pending")) < 1.0);
    let evicted = "mproxy_connections_closed_total{reason=\"evicted\"}";
    assert!(metrics.sum(evicted) < 1.0, "nobody had to make room");
    attack.shutdown().await;
}

/// The limits that `deploy/` comes with, as they are there: one address that floods, and two that hold
/// whatever they get, keep no client out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limits_of_deploy_hold() {
    let broker = Mosquitto::start().await;
    for file in [
        "docker/mproxy.toml",
        "kustomize/components/sidecar/mproxy.toml",
        "systemd/mproxy.toml",
    ] {
        let path = root().join("deploy").join(file);
        let config = fs::read_to_string(&path).expect("it is in the repository");
        let mut setup = Setup::new(&config)
            .set("listeners.mqtt.bind", "127.0.0.1:0")
            .set("upstreams.broker.address", &broker.url())
            .set("admin.bind", "127.0.0.1:0");
        if config.contains("\"ws\"") {
            setup = setup.set("listeners.ws.bind", "127.0.0.1:0");
        }
        let mproxy = setup.start().await;
        let addr = mproxy.addr();
        let mut attack = JoinSet::new();
        for source in ATTACKERS {
            for _ in 0..300 {
                attack.spawn(async move {
                    loop {
                        if let Some(link) = from(source, addr).await {
                            link.rest().await;
                        }
                    }
                });
            }
        }
        at_least(&mproxy, "mproxy_connections_pending", 2.0 * 100.0).await;
        at_least(&mproxy, "mproxy_connections_refused_total", 500.0).await;
        assert_eq!(good_clients(addr).await.len(), GOOD, "{file}");
        attack.shutdown().await;
    }
}

/// A modem that takes seconds from TCP to CONNECT is closed only when its place is needed.
#[tokio::test]
async fn a_slow_modem_keeps_its_place_while_there_is_room() {
    let broker = Mosquitto::start().await;
    let mproxy = Setup::before(&broker.url())
        .limit("max_pending", "2")
        .limit("max_connections", "10")
        .start()
        .await;
    let mut modem = Link::tcp(mproxy.addr()).await;
    mproxy.metric("mproxy_connections_pending", 1.0).await;
    // it is the time that the rule is about
    tokio::time::sleep(SILENCE).await;
    let mut others = Vec::new();
    for number in 0..5 {
        others.extend(gets_in(mproxy.addr(), &format!("quick-{number}")).await);
    }
    assert_eq!(others.len(), 5);
    modem.connect(&Connect::new(Version::V5, "modem")).await;
    mproxy.metric("mproxy_connections_pending", 0.0).await;
    let evicted = mproxy
        .metrics()
        .await
        .sum("mproxy_connections_closed_total");
    assert!(evicted < 1.0, "{evicted}");
}

/// Attackers that held many connections took the places of slow modems, whose connections were older. Who
/// holds most loses one.
#[tokio::test]
async fn a_slow_modem_keeps_its_place_beside_an_address_that_holds_many() {
    const PLACES: usize = 8;
    let broker = Mosquitto::start().await;
    for key in [
        "listeners.mqtt.limits.max_pending",
        "server.max_connections",
    ] {
        let mproxy = Setup::before(&broker.url())
            .set(key, &PLACES.to_string())
            .start()
            .await;
        let addr = mproxy.addr();
        let mut modem = Link::tcp(addr).await;
        mproxy.metric("mproxy_connections_pending", 1.0).await;
        let mut silent = Vec::new();
        for _ in 1..PLACES {
            silent.push(from(ATTACKERS[0], addr).await.expect("it listens"));
        }
        let places = f64::from(u32::try_from(PLACES).expect("few"));
        mproxy.metric("mproxy_connections_pending", places).await;
        // it is the time that the rule is about
        tokio::time::sleep(SILENCE).await;
        let mut others = Vec::new();
        for source in [ATTACKERS[0], ATTACKERS[1], ATTACKERS[0]] {
            others.push(from(source, addr).await.expect("it listens"));
        }
        let evicted = "mproxy_connections_closed_total{side=\"proxy\",reason=\"evicted\"}";
        mproxy.metric(evicted, 3.0).await;
        modem.connect(&Connect::new(Version::V5, "modem")).await;
        let lines = mproxy.events().into_iter();
        let lines: Vec<_> = lines.filter(|line| line["event"] == "evict").collect();
        assert!(!lines.is_empty());
        for line in lines {
            let peer = line["peer"].as_str().expect("an address");
            assert!(peer.starts_with("127.0.0.66:"), "{line}");
            let remedy = line["remedy"].as_str().expect("text");
            assert!(remedy.contains("or lower it"), "{line}");
        }
    }
}

/// On a socket for IPv4 and IPv6, the system shows IPv4 clients as IPv6 addresses of one /64. Each is
/// counted as the IPv4 address that it is.
#[tokio::test]
async fn ipv4_clients_of_a_socket_for_both_are_counted_one_by_one() {
    let broker = Mosquitto::start().await;
    let mproxy = Setup::before(&broker.url())
        .set("listeners.mqtt.bind", "[::]:0")
        .limit("connection_rate_per_ip", "1/h")
        .limit("max_pending_per_ip", "1")
        .start()
        .await;
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, mproxy.addr().port()));
    let mut links = Vec::new();
    for source in ATTACKERS {
        let mut link = from(source, addr).await.expect("it listens");
        let connect = Connect::new(Version::V311, &source.to_string());
        link.connect(&connect).await;
        links.push(link);
    }
    let again = from(ATTACKERS[0], addr).await.expect("it listens");
    again.rest().await;
    mproxy.metric(&refused("connection_rate_per_ip"), 1.0).await;
}
