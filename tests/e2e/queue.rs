//! Clients that wait for their turn at a broker: `[upstreams.NAME.admission]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use mproxy_tests::pki::Pki;
use mproxy_tests::wire::{
    Connect, DISCONNECT, PINGREQ, PINGRESP, Publish, Version, connack, field, frame, properties,
    subscribe,
};
use mproxy_tests::{Chance, FakeBroker, Fragile, Link, Mproxy, Port, Setup, connect_from, until};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

const QUEUE: &str = "mproxy_upstream_admission_queue{upstream=\"broker\"}";
const WAITS: &str = "mproxy_upstream_admission_wait_seconds_count{upstream=\"broker\"}";
const REFUSED: &str = "mproxy_upstream_admission_refused_total";

/// What the broker of the storm takes in a second, and at what it falls over.
const TAKES: u32 = 100;
const FALLS: usize = 300;

/// A client that wants to be in, and counts how often it was.
struct Returning {
    addr: SocketAddr,
    connect: Vec<u8>,
    is_resumed: bool,
    let_in: mpsc::Sender<(bool, Instant)>,
    chance: Chance,
}

impl Returning {
    /// Connects again and again, with a pause if it was not let in. Comes back at once to a broker that
    /// had it.
    async fn run(mut self) {
        loop {
            if self.session().await.is_none() {
                let pause = 500 + self.chance.below(1000) as u64;
                sleep(Duration::from_millis(pause)).await;
            }
        }
    }

    /// `Some` if it was in.
    async fn session(&self) -> Option<()> {
        let mut stream = TcpStream::connect(self.addr).await.ok()?;
        stream.write_all(&self.connect).await.ok()?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.ok()?;
        assert_eq!(answer, connack(Version::V311, 0)[..]);
        let now = Instant::now();
        self.let_in.send((self.is_resumed, now)).await.ok()?;
        // until the broker ends it
        let _ = stream.read(&mut answer).await;
        Some(())
    }
}

/// The fleet after the restart.
struct Outcome {
    broker: mproxy_tests::Seen,
    took: Duration,
    let_in: usize,
    /// How long clients waited in the middle: those that continue a session, and the others.
    waits: [Duration; 2],
}

/// All clients are in, and the broker restarts.
async fn storm(clients: usize, with: bool) -> Outcome {
    let broker = Fragile::start(TAKES, FALLS).await;
    let config =
        Setup::head(&broker.url()).replace("[admin]", "admission = { rate = \"0/s\" }\n[admin]");
    let mproxy = Setup::new(&config)
        .set("upstreams.broker.health.check", "off")
        .start()
        .await;
    let (sender, mut let_in) = mpsc::channel(clients);
    let (mut fleet, mut chance) = (JoinSet::new(), Chance::new());
    for index in 0..clients {
        let connect = Connect::new(Version::V311, &format!("c{index}"));
        let is_resumed = index % 2 == 1;
        let connect = if is_resumed {
            connect.persistent()
        } else {
            connect
        };
        let client = Returning {
            addr: mproxy.addr(),
            connect: connect.bytes(),
            is_resumed,
            let_in: sender.clone(),
            chance: chance.fork(),
        };
        fleet.spawn(client.run());
    }
    for _ in 0..clients {
        let_in.recv().await.expect("all are here");
    }
    if with {
        mproxy.edit("\"0/s\"", &format!("\"{TAKES}/s\""));
        mproxy.reload().await;
    }
    let begin = Instant::now();
    broker.restart();
    let limit = bound(clients);
    let mut waits = [Vec::new(), Vec::new()];
    let all = async {
        while waits.iter().map(Vec::len).sum::<usize>() < clients {
            let (is_resumed, at) = let_in.recv().await.expect("all are here");
            waits[usize::from(!is_resumed)].push(at.saturating_duration_since(begin));
        }
    };
    // without admission they never are
    let _ = tokio::time::timeout(limit, all).await;
    let took = begin.elapsed();
    let seen = broker.seen();
    fleet.shutdown().await;
    let middle = |waits: &Vec<Duration>| waits.get(waits.len() / 2).copied().unwrap_or_default();
    Outcome {
        let_in: seen.open,
        took,
        waits: [middle(&waits[0]), middle(&waits[1])],
        broker: seen,
    }
}

/// The time in which a broker can take so many clients, and a fifth.
fn bound(clients: usize) -> Duration {
    Duration::from_secs(1).mul_f64(1.2 * clients as f64 / f64::from(TAKES))
}

/// A fleet that came back at once brought down the broker that had restarted, again and again.
/// `MPROXY_RETURNING=5000` for a large one, which takes two minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_that_returns_at_once_is_let_in_at_the_pace_of_the_broker() {
    let clients = std::env::var("MPROXY_RETURNING").ok();
    let clients = clients.map_or(500, |it| it.parse().expect("a number of clients"));
    let with = storm(clients, true).await;
    let without = storm(clients, false).await;
    for (how, it) in [("with", &with), ("without", &without)] {
        println!(
            "{how} admission: {} of {clients} in after {:.1} s; broker: {} CONNECTs, {} at most \
             in a second, late by {:?}, fell over {} times; median wait {:.1} s (resumed), {:.1} s (others)",
            it.let_in,
            it.took.as_secs_f64(),
            it.broker.connects.len(),
            it.broker.most,
            it.broker.late,
            it.broker.falls,
            it.waits[0].as_secs_f64(),
            it.waits[1].as_secs_f64(),
        );
    }
    assert_eq!(with.let_in, clients);
    assert_eq!(with.broker.falls, 0);
    // it reads the clock when its thread runs: what came before that counts for the second that follows
    let late = with.broker.late.as_secs_f64() * f64::from(TAKES);
    let most = TAKES as usize + late as usize;
    assert!(with.broker.most <= most, "{}", with.broker.most);
    assert!(with.took < bound(clients), "{:?}", with.took);
    let [resumed, others] = with.waits;
    assert!(resumed < others, "{resumed:?} {others:?}");
    // it would not show anything if the broker took them anyway
    assert!(without.broker.falls > 0);
    assert!(without.broker.most >= FALLS, "{}", without.broker.most);
}

/// One client is at the broker, which does not answer, and the next one has to wait.
struct Waiting {
    broker: FakeBroker,
    mproxy: Mproxy,
    first: Link,
    server: Link,
    second: Link,
}

fn setup(broker: &FakeBroker) -> Setup {
    Setup::before(&broker.url())
        .set("upstreams.broker.admission.concurrent", "1")
        .set("upstreams.broker.health.check", "off")
}

async fn sent(mproxy: &Mproxy, version: Version, client_id: &str) -> Link {
    let mut link = Link::tcp(mproxy.addr()).await;
    link.send(&Connect::new(version, client_id).bytes()).await;
    link
}

impl Waiting {
    async fn new(version: Version, setup: impl FnOnce(Setup) -> Setup) -> Self {
        let broker = FakeBroker::bind().await;
        let mproxy = setup(self::setup(&broker)).start().await;
        let first = sent(&mproxy, version, "first").await;
        let mut server = broker.session().await;
        server.packet().await;
        let second = sent(&mproxy, version, "second").await;
        mproxy.metric(QUEUE, 1.0).await;
        Self {
            broker,
            mproxy,
            first,
            server,
            second,
        }
    }
}

#[tokio::test]
async fn the_next_client_goes_when_the_one_before_has_its_connack() {
    for version in Version::ALL {
        let mut it = Waiting::new(version, |setup| setup).await;
        assert!(it.broker.is_idle(), "{version:?}");
        it.server.send(&connack(version, 0)).await;
        it.first.expect(&connack(version, 0)).await;
        let (mut server, _) = it.broker.accept().await;
        it.second.expect(&connack(version, 0)).await;
        it.second.send(&PINGREQ).await;
        server.expect(&PINGREQ).await;
        server.send(&PINGRESP).await;
        it.second.expect(&PINGRESP).await;
        it.mproxy.metric(QUEUE, 0.0).await;
        it.mproxy.metric(WAITS, 2.0).await;
    }
}

/// Four clients that knew no credentials kept everybody else out, for as long as they sent AUTH.
#[tokio::test]
async fn the_next_client_goes_when_the_broker_waits_for_the_one_before() {
    let broker = FakeBroker::bind().await;
    let mproxy = setup(&broker).start().await;
    let block = properties(&[&[0x15][..], &field("m")].concat());
    let auth = frame(0xf0, &[&[0x18][..], &block].concat());
    let mut first = Link::tcp(mproxy.addr()).await;
    let hello = Connect::new(Version::V5, "first");
    first
        .send(
            &hello
                .properties(&[&[0x15][..], &field("m")].concat())
                .bytes(),
        )
        .await;
    let mut server = broker.session().await;
    server.packet().await;
    let mut second = sent(&mproxy, Version::V5, "second").await;
    mproxy.metric(QUEUE, 1.0).await;
    server.send(&auth).await;
    first.expect(&auth).await;
    let (_server, _) = broker.accept().await;
    second.expect(&connack(Version::V5, 0)).await;
    // the first goes on
    first.send(&auth).await;
    server.expect(&auth).await;
}

/// A broker that refuses a client, or closes its connection, has a place for the next one.
#[tokio::test]
async fn the_next_client_goes_when_the_one_before_is_gone() {
    let it = Waiting::new(Version::V5, |setup| setup).await;
    let Waiting {
        broker, mut server, ..
    } = it;
    server.send(&connack(Version::V5, 0x87)).await;
    let mut server = broker.session().await;
    server.packet().await;
    let _third = sent(&it.mproxy, Version::V5, "third").await;
    it.mproxy.metric(QUEUE, 1.0).await;
    drop(server);
    let (_server, connect) = broker.accept().await;
    assert!(connect.bytes().windows(5).any(|it| it == b"third"));
}

#[tokio::test]
async fn who_cannot_wait_is_turned_away_as_configured() {
    for version in Version::ALL {
        for when_full in ["close", "connack"] {
            let it = Waiting::new(version, |setup| {
                setup
                    .set("upstreams.broker.admission.queue", "1")
                    .set("upstreams.broker.admission.when_full", when_full)
            });
            let it = it.await;
            let third = sent(&it.mproxy, version, "third").await;
            turned_away(third, version, when_full).await;
            let end = it.mproxy.end_of("third").await;
            assert_eq!(end["reason"], "upstream_busy");
            assert_eq!(end["side"], "proxy");
            let remedy = end["remedy"].as_str().expect("a remedy");
            assert!(
                remedy.contains("raise upstreams.broker.admission.queue,"),
                "{remedy}"
            );
            let refused = format!("{REFUSED}{{upstream=\"broker\",reason=\"queue\"}}");
            it.mproxy.metric(&refused, 1.0).await;
        }
    }
}

#[tokio::test]
async fn who_waits_too_long_is_turned_away_as_configured() {
    for version in Version::ALL {
        for when_full in ["close", "connack"] {
            let it = Waiting::new(version, |setup| {
                setup
                    .set("upstreams.broker.admission.queue_timeout", "500ms")
                    .set("upstreams.broker.admission.when_full", when_full)
            })
            .await;
            turned_away(it.second, version, when_full).await;
            let end = it.mproxy.end_of("second").await;
            assert_eq!(end["reason"], "upstream_busy");
            let remedy = end["remedy"].as_str().expect("a remedy");
            assert!(
                remedy.contains("raise upstreams.broker.admission.queue_timeout"),
                "{remedy}"
            );
            it.mproxy.metric(QUEUE, 0.0).await;
            let refused = format!("{REFUSED}{{upstream=\"broker\",reason=\"queue_timeout\"}}");
            it.mproxy.metric(&refused, 1.0).await;
            assert!(it.broker.is_idle());
        }
    }
}

async fn turned_away(mut client: Link, version: Version, when_full: &str) {
    if when_full == "connack" {
        let code = if version.is_v5() { 0x89 } else { 3 };
        client.expect(&connack(version, code)).await;
    }
    assert!(client.packet_or_end().await.is_none(), "{version:?}");
}

/// Nobody looked at the client while it waited, so that the broker got the CONNECT of one that had
/// given up.
#[tokio::test]
async fn who_leaves_is_out_of_the_queue_at_once() {
    let it = Waiting::new(Version::V5, |setup| setup).await;
    drop(it.second);
    it.mproxy.metric(QUEUE, 0.0).await;
    let end = it.mproxy.end_of("second").await;
    assert_eq!(end["reason"], "eof");
    // only a whole message keeps the place of a client that is gone
    let publish = Publish::new(Version::V5, "t").bytes("1");
    let half = publish.split_last().expect("it is not empty").1;
    for behind in [&DISCONNECT, &PINGREQ, half] {
        let mut third = sent(&it.mproxy, Version::V5, "third").await;
        it.mproxy.metric(QUEUE, 1.0).await;
        third.send(behind).await;
        drop(third);
        it.mproxy.metric(QUEUE, 0.0).await;
    }
    assert!(it.broker.is_idle());
}

/// A sensor connects, publishes, and does not wait for answers.
#[tokio::test]
async fn what_a_client_has_published_arrives_though_it_has_gone() {
    let mut it = Waiting::new(Version::V311, |setup| setup).await;
    let publish = Publish::new(Version::V311, "t").bytes("1");
    it.second.send(&publish).await;
    it.second.send(&DISCONNECT).await;
    drop(it.second);
    it.server.send(&connack(Version::V311, 0)).await;
    let (mut server, _) = it.broker.accept().await;
    server.expect(&publish).await;
    server.expect(&DISCONNECT).await;
}

/// It kept its turn as long as the broker was waited for, and nobody else had one.
#[tokio::test]
async fn who_leaves_while_the_broker_is_waited_for_keeps_no_turn() {
    let port = Port::reserve();
    let mproxy = Setup::before(&format!("mqtt://{}", port.addr()))
        .set("upstreams.broker.admission.concurrent", "1")
        .set("upstreams.broker.health.check", "off")
        .set("upstreams.broker.connect_timeout", "10m")
        .set("upstreams.broker.retry_for", "10m")
        .start()
        .await;
    let first = sent(&mproxy, Version::V5, "first").await;
    mproxy.metric(WAITS, 1.0).await;
    let _second = sent(&mproxy, Version::V5, "second").await;
    mproxy.metric(QUEUE, 1.0).await;
    drop(first);
    mproxy.metric(WAITS, 2.0).await;
    let end = mproxy.end_of("first").await;
    assert_eq!(
        (&end["side"], &end["reason"]),
        (&"client".into(), &"eof".into())
    );
}

/// More behind CONNECT than is read of a client that waits kept the place of one without a socket.
#[tokio::test]
async fn who_leaves_is_out_of_the_queue_however_much_it_has_sent() {
    let broker = FakeBroker::bind().await;
    let pki = Pki::new();
    let [crt, key] = pki.server("server", 1);
    let tls = format!(
        "[[listeners]]\nname = \"tls\"\nbind = \"127.0.0.1:0\"\n\
         tls = {{ cert = \"{}\", key = \"{}\" }}\n",
        crt.display(),
        key.display()
    );
    let mproxy = setup(&broker).websocket().toml(&tls).start().await;
    let mut first = Link::tcp(mproxy.addr()).await;
    first
        .send(&Connect::new(Version::V5, "first").bytes())
        .await;
    let _server = broker.session().await;
    // more than mproxy reads, and less than sockets hold
    let filter = "x".repeat(20_000);
    let subscribe = subscribe(Version::V5, 1, &[(&filter, 0)]);
    let behind = [Connect::new(Version::V5, "second").bytes(), subscribe].concat();
    for over in ["tcp", "ws", "tls"] {
        for end in ["half-close", "close", "reset"] {
            let mut second = match over {
                "ws" => Link::ws(mproxy.listener("ws")).await,
                "tls" => Link::tls(mproxy.listener("tls"), &pki).await,
                _ => Link::tcp(mproxy.addr()).await,
            };
            second.send(&behind).await;
            mproxy.metric(QUEUE, 1.0).await;
            let kept = match end {
                "reset" => {
                    second.reset();
                    None
                }
                "half-close" => {
                    second.half_close();
                    Some(second)
                }
                _ => {
                    drop(second);
                    None
                }
            };
            mproxy.metric(QUEUE, 0.0).await;
            drop(kept);
        }
    }
    assert!(broker.is_idle());
}

/// One address filled the queue: everybody else was refused, or waited behind all of it.
#[tokio::test]
async fn an_address_that_fills_the_queue_delays_another_one_by_a_turn() {
    const FILLS: usize = 20;
    let attacker: IpAddr = Ipv4Addr::new(127, 0, 0, 66).into();
    let broker = FakeBroker::bind().await;
    let setup = setup(&broker).set("upstreams.broker.admission.queue", &FILLS.to_string());
    let mproxy = setup.start().await;
    let from = async |source: IpAddr, connect: Connect| {
        let stream = connect_from(source, mproxy.addr()).await;
        let mut link = Link::over(stream.expect("it listens"));
        link.send(&connect.bytes()).await;
        link
    };
    let mut held = Vec::new();
    for number in 0..=FILLS {
        // however it gets ahead of others
        let connect = Connect::new(Version::V311, &format!("attacker-{number}"));
        held.push(from(attacker, connect.persistent()).await);
    }
    let mut server = broker.session().await;
    server.packet().await;
    mproxy.metric(QUEUE, FILLS as f64).await;
    let mut good = Vec::new();
    for last in 1..=3 {
        let connect = Connect::new(Version::V311, &format!("good-{last}"));
        good.push(from(Ipv4Addr::new(127, 0, 1, last).into(), connect).await);
    }
    // they had room
    let made_room = format!("{REFUSED}{{upstream=\"broker\",reason=\"queue\"}}");
    mproxy.metric(&made_room, 3.0).await;
    mproxy.metric(QUEUE, FILLS as f64).await;
    let mut order = Vec::new();
    for _ in 0..8 {
        server.send(&connack(Version::V311, 0)).await;
        server = broker.session().await;
        let connect = server.packet().await;
        order.push(connect.bytes().windows(5).any(|it| it == b"good-"));
    }
    let turns = order.iter().filter(|is_good| **is_good).count();
    assert_eq!(turns, 3, "{order:?}");
    assert!(order[..3].contains(&true), "{order:?}");
    for mut link in good {
        link.expect(&connack(Version::V311, 0)).await;
    }
    // with nobody else, it has all turns
    for _ in 0..4 {
        server.send(&connack(Version::V311, 0)).await;
        server = broker.session().await;
        server.packet().await;
    }
}

/// A load balancer is many clients, if it says who they are.
#[tokio::test]
async fn behind_a_load_balancer_the_turns_are_those_of_its_clients() {
    let broker = FakeBroker::bind().await;
    let proxied = "[[listeners]]\nname = \"proxied\"\nbind = \"127.0.0.1:0\"\n\
        proxy_protocol = { accept = \"required\", trusted = [\"127.0.0.1\"] }\n";
    let mproxy = setup(&broker).toml(proxied).start().await;
    let sent = async |source: &str, client_id: String| {
        let mut link = Link::tcp(mproxy.listener("proxied")).await;
        let header = format!("PROXY TCP4 {source} 203.0.113.1 5000 1883\r\n");
        let connect = Connect::new(Version::V311, &client_id).bytes();
        link.send(&[header.as_bytes(), &connect].concat()).await;
        link
    };
    let mut held = vec![sent("192.0.2.66", "first".to_owned()).await];
    let mut server = broker.session().await;
    server.packet().await;
    for number in 0..5 {
        held.push(sent("192.0.2.66", format!("attacker-{number}")).await);
    }
    mproxy.metric(QUEUE, 5.0).await;
    held.push(sent("192.0.2.1", "good".to_owned()).await);
    mproxy.metric(QUEUE, 6.0).await;
    let mut order = Vec::new();
    for _ in 0..2 {
        server.send(&connack(Version::V311, 0)).await;
        server = broker.session().await;
        let connect = server.packet().await;
        order.push(connect.bytes().ends_with(b"good"));
    }
    assert_eq!(order, [false, true]);
}

#[tokio::test]
async fn an_order_ends_a_client_that_waits() {
    let mut it = Waiting::new(Version::V5, |setup| setup.set("server.drain_timeout", "5s")).await;
    it.mproxy.signal(Signal::TERM);
    let packet = it.second.packet_or_end().await;
    drop(it.second);
    if let Some(packet) = packet {
        assert_eq!(packet.kind(), 2, "{packet:?}");
    }
    let end = it.mproxy.end_of("second").await;
    assert_eq!(end["reason"], "drain");
}

/// Whoever had set too low a rate had to let all wait, or to restart.
#[tokio::test]
async fn a_new_rate_counts_for_those_who_wait() {
    let broker = FakeBroker::bind().await;
    let config =
        Setup::head(&broker.url()).replace("[admin]", "admission = { rate = \"1/h\" }\n[admin]");
    let setup = Setup::new(&config).set("upstreams.broker.health.check", "off");
    let mproxy = setup.start().await;
    let mut first = sent(&mproxy, Version::V5, "first").await;
    let (_server, _) = broker.accept().await;
    first.expect(&connack(Version::V5, 0)).await;
    let mut second = sent(&mproxy, Version::V5, "second").await;
    mproxy.metric(QUEUE, 1.0).await;
    mproxy.edit("1/h", "1000/s");
    let reload = mproxy.reload().await;
    assert_eq!(reload["applied"], "upstreams.broker.admission.rate");
    let (_server, _) = broker.accept().await;
    second.expect(&connack(Version::V5, 0)).await;

    mproxy.edit("1000/s", "1/h");
    mproxy.reload().await;
    let mut third = sent(&mproxy, Version::V5, "third").await;
    let (_server, _) = broker.accept().await;
    third.expect(&connack(Version::V5, 0)).await;
    let mut fourth = sent(&mproxy, Version::V5, "fourth").await;
    mproxy.metric(QUEUE, 1.0).await;
    mproxy.edit("1/h", "0/s");
    mproxy.reload().await;
    let (_server, _) = broker.accept().await;
    fourth.expect(&connack(Version::V5, 0)).await;
}

/// A queue is no sign that the broker is ill: mproxy asked it meanwhile, and said that it was.
#[tokio::test]
async fn a_client_that_waits_says_nothing_about_the_broker() {
    let broker = FakeBroker::bind().await;
    let mproxy = Setup::before(&broker.url())
        .set("upstreams.broker.admission.rate", "1/h")
        .set("upstreams.broker.admission.queue_timeout", "1s")
        .set("upstreams.broker.health.interval", "100ms")
        .start()
        .await;
    broker.probed().await;
    mproxy.until_ready(true).await;
    // the probe was one
    let client = sent(&mproxy, Version::V5, "client").await;
    mproxy.metric(QUEUE, 1.0).await;
    client.closed().await;
    assert!(broker.is_idle(), "asked again");
    assert_eq!(mproxy.ready().await.0, 200);
    until("the end of the queue", async || {
        (mproxy.metrics().await.sum(QUEUE) == 0.0).then_some(())
    })
    .await;
}
