//! What breaks around the proxy: brokers that are not there, sides that end in the middle of a
//! packet, clients that misbehave.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mproxy_tests::wire::{Connect, Publish, Version, connack, puback, subscribe};
use mproxy_tests::{FakeBroker, Link, Mosquitto, Mproxy, Rest, Setup, Stopped};
use tokio::net::TcpStream;

/// An address at which nobody listens, and nobody begins to: a socket holds it that does not accept.
struct Nowhere {
    _socket: socket2::Socket,
    addr: SocketAddr,
}

impl Nowhere {
    fn new() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.expect("a socket can be made");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).expect("there is a free port");
        let addr = socket.local_addr().expect("it is bound");
        let addr = addr.as_socket().expect("an IP address");
        Self {
            _socket: socket,
            addr,
        }
    }

    fn url(&self) -> String {
        format!("mqtt://{}", self.addr)
    }
}

/// What a client sees when the broker does not answer.
///
/// It used to be a CONNACK in any case. MQTT.js and `mosquitto_sub` take 3 and 0x88 as final, so that
/// a broker that was restarted lost clients that would have come back to it without the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unreachable {
    /// The default.
    Unset,
    Close,
    Connack,
}

impl Unreachable {
    const ALL: [Self; 3] = [Self::Unset, Self::Close, Self::Connack];

    fn set(self, setup: Setup) -> Setup {
        let value = match self {
            Self::Unset => return setup,
            Self::Close => "close",
            Self::Connack => "connack",
        };
        setup.set("upstreams.broker.when_unreachable", value)
    }

    /// What comes before the end of the connection.
    async fn expect(self, link: &mut Link, version: Version) {
        if self == Self::Connack {
            let code = if version.is_v5() { 0x88 } else { 3 };
            link.expect(&connack(version, code)).await;
        } else {
            assert!(link.packet_or_end().await.is_none(), "{version:?}");
        }
    }
}

async fn refused(addr: SocketAddr, version: Version, unreachable: Unreachable) -> Duration {
    let mut link = Link::tcp(addr).await;
    let since = Instant::now();
    link.send(&Connect::new(version, "early").bytes()).await;
    unreachable.expect(&mut link, version).await;
    let waited = since.elapsed();
    link.closed().await;
    waited
}

#[tokio::test]
async fn without_a_broker_clients_are_closed_at_once() {
    for unreachable in Unreachable::ALL {
        without_a_broker(unreachable).await;
    }
}

async fn without_a_broker(unreachable: Unreachable) {
    let nowhere = Nowhere::new();
    let setup = unreachable.set(Setup::before(&nowhere.url()).websocket());
    let mproxy = setup.start().await;
    for version in Version::ALL {
        let waited = refused(mproxy.addr(), version, unreachable).await;
        assert!(waited < Duration::from_secs(1), "{waited:?}");
    }
    let mut link = Link::ws(mproxy.listener("ws")).await;
    link.send(&Connect::new(Version::V5, "early").bytes()).await;
    unreachable.expect(&mut link, Version::V5).await;
    link.closed().await;

    let end = mproxy.end_of("early").await;
    assert_eq!(end["reason"], "upstream_unreachable");
    assert_eq!(end["upstream"], "broker");
    assert!(
        end["detail"]
            .as_str()
            .is_some_and(|it| it.contains("refused")),
        "{end}"
    );
    assert!(
        end["remedy"]
            .as_str()
            .is_some_and(|it| it.contains("upstreams.broker.address")),
        "{end}"
    );
    // what was not said is not counted
    let told = if unreachable == Unreachable::Connack {
        4.0
    } else {
        0.0
    };
    let closed = "mproxy_connections_closed_total{reason=\"upstream_unreachable\"}";
    mproxy.metric(closed, 4.0).await;
    let unavailable = "mproxy_connacks_total{reason_code=\"server_unavailable\"}";
    mproxy.metric(unavailable, told).await;
    mproxy.metric("mproxy_connacks_total", told).await;
}

/// The system takes a connection as long as the queue of a listener has room, so that the queue is
/// filled first: what comes then is not answered at all.
#[tokio::test]
async fn a_broker_that_swallows_packets_costs_the_time_out_and_no_more() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
        .expect("a socket can be made");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).expect("there is a free port");
    socket.listen(0).expect("it is bound");
    let addr = socket.local_addr().expect("it is bound");
    let addr = addr.as_socket().expect("an IP address");
    let mut queue = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(addr)).await
    {
        queue.push(stream);
    }

    for unreachable in Unreachable::ALL {
        let setup = Setup::before(&format!("mqtt://{addr}"))
            .set("upstreams.broker.connect_timeout", "300ms");
        let mproxy = unreachable.set(setup).start().await;
        for version in Version::ALL {
            let waited = refused(mproxy.addr(), version, unreachable).await;
            let expected = Duration::from_millis(300)..Duration::from_secs(5);
            assert!(expected.contains(&waited), "{waited:?}");
        }
        let dials = "mproxy_upstream_connects_total{result=\"timeout\"}";
        mproxy.metric(dials, 3.0).await;
    }
}

/// It takes the connection and then says nothing, or something else than CONNACK.
#[tokio::test]
async fn a_broker_that_does_not_answer_connect_as_a_broker_is_none() {
    for unreachable in Unreachable::ALL {
        for conformance in ["tolerant", "strict"] {
            answers_as_none(unreachable, conformance).await;
        }
    }
}

async fn answers_as_none(unreachable: Unreachable, conformance: &str) {
    let broker = FakeBroker::bind().await;
    let setup = Setup::before(&broker.url())
        .set("upstreams.broker.connack_timeout", "200ms")
        .set("listeners.mqtt.conformance", conformance);
    let mproxy = unreachable.set(setup).start().await;
    let answers: [&[u8]; 6] = [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        &[0xd0, 0x00],             // PINGRESP first
        &[0x30, 0x03, 0, 1, b'a'], // PUBLISH first
        &[0x20, 0x02, 0x02, 0x00], // reserved bits
        &[0xff, 0xff, 0xff, 0xff],
    ];
    for version in Version::ALL {
        for answer in answers {
            let mut client = Link::tcp(mproxy.addr()).await;
            client.send(&Connect::new(version, "c").bytes()).await;
            let mut server = broker.session().await;
            server.packet().await;
            server.send(answer).await;
            unreachable.expect(&mut client, version).await;
            client.closed().await;
            server.closed().await;
        }
    }
}

#[tokio::test]
async fn a_refusal_by_the_broker_is_passed_on_as_it_is() {
    let broker = FakeBroker::bind().await;
    let mproxy = Mproxy::before(&broker.url()).await;
    for version in Version::ALL {
        let code = if version.is_v5() { 0x86 } else { 4 };
        let mut client = Link::tcp(mproxy.addr()).await;
        let client_id = format!("stranger-{version:?}");
        client
            .send(&Connect::new(version, &client_id).bytes())
            .await;
        let mut server = broker.session().await;
        server.packet().await;
        server.send(&connack(version, code)).await;
        client.expect(&connack(version, code)).await;
        client.closed().await;
        server.closed().await;
        let end = mproxy.end_of(&client_id).await;
        assert_eq!(end["reason"], "upstream_refused", "{end}");
    }
}

/// Both sides of one session.
async fn session(mproxy: &Mproxy, broker: &FakeBroker, version: Version) -> (Link, Link) {
    let client = Link::client(mproxy.addr(), version, "c");
    let (client, (server, _)) = tokio::join!(client, broker.accept());
    (client, server)
}

/// The broker ends, or breaks, between packets and in the middle of one, of which the head has
/// passed already because it is large. Never does the client get a packet that is not whole as if
/// it was one, and in no case a word of the proxy's: libmosquitto's loop ends for good at a DISCONNECT,
/// and the 0x80 that was sent here kept such clients away from a broker that was back at once.
#[tokio::test]
async fn a_broker_that_dies_never_leaves_half_a_packet_at_the_client() {
    for conformance in ["tolerant", "strict"] {
        dies(conformance).await;
    }
}

async fn dies(conformance: &str) {
    let broker = FakeBroker::bind().await;
    let mproxy = Setup::before(&broker.url())
        .set("listeners.mqtt.conformance", conformance)
        .start()
        .await;
    let whole = Publish::new(Version::V5, "t").bytes("whole");
    for reset in [false, true] {
        let end = |server: Link| if reset { server.reset() } else { drop(server) };

        // between packets: MQTT 5 has a word for it, which the broker did not say
        let (mut client, mut server) = session(&mproxy, &broker, Version::V5).await;
        server.send(&whole).await;
        client.expect(&whole).await;
        end(server);
        client.closed().await;

        for version in Version::ALL {
            // in a small one: not a byte of it
            let small = Publish::new(version, "t").bytes([7; 1000]);
            for cut in [1, 2, 3, 10, small.len() - 1] {
                let (mut client, mut server) = session(&mproxy, &broker, version).await;
                let first = Publish::new(version, "t").bytes("first");
                server.send(&first).await;
                client.expect(&first).await;
                server.send(&small[..cut]).await;
                end(server);
                let nothing = (Vec::new(), Rest::Clean);
                assert_eq!(client.rest().await, nothing, "cut at {cut}");
            }

            // in a large one, which was on its way before its end was there
            let large = Publish::new(version, "t").bytes(vec![7; 900_000]);
            let (client, mut server) = session(&mproxy, &broker, version).await;
            server.send(&large[..500_000]).await;
            end(server);
            let (packets, rest) = client.rest().await;
            assert!(packets.is_empty(), "{packets:?}");
            // nothing of it, or what came of it and nothing behind that
            if let Rest::Partial(part) = rest {
                assert!(large.starts_with(&part), "{} bytes", part.len());
            }
        }
    }
}

/// The same in the other direction: a client that dies in the middle of a packet.
#[tokio::test]
async fn a_client_that_dies_never_leaves_half_a_packet_at_the_broker() {
    let broker = FakeBroker::bind().await;
    let mproxy = Mproxy::before(&broker.url()).await;
    for version in Version::ALL {
        for reset in [false, true] {
            let small = Publish::new(version, "t").qos(1, 9).bytes([7; 1000]);
            for cut in [1, 2, 3, 10, small.len() - 1] {
                let (mut client, mut server) = session(&mproxy, &broker, version).await;
                let first = Publish::new(version, "t").qos(1, 8).bytes("first");
                client.send(&first).await;
                server.expect(&first).await;
                client.send(&small[..cut]).await;
                if reset {
                    client.reset()
                } else {
                    drop(client)
                }
                // no DISCONNECT either: the will is to be published
                server.closed().await;
            }

            let large = Publish::new(version, "t").qos(1, 9).bytes(vec![7; 900_000]);
            let (mut client, server) = session(&mproxy, &broker, version).await;
            client.send(&large[..500_000]).await;
            if reset {
                client.reset()
            } else {
                drop(client)
            }
            let (packets, rest) = server.rest().await;
            assert!(packets.is_empty(), "{packets:?}");
            if let Rest::Partial(part) = rest {
                assert!(large.starts_with(&part), "{} bytes", part.len());
            }
        }
    }
}

/// A real broker that is stopped under its clients and comes back.
#[tokio::test]
async fn clients_are_sent_away_when_the_broker_stops_and_let_in_when_it_is_back() {
    for unreachable in Unreachable::ALL {
        stops_and_is_back(unreachable).await;
    }
}

async fn stops_and_is_back(unreachable: Unreachable) {
    let broker = Mosquitto::start().await;
    let setup = unreachable.set(Setup::before(&broker.url()));
    let mproxy = setup.start().await;
    mproxy.until_ready(true).await;
    let mut clients = Vec::new();
    for version in Version::ALL {
        let mut link = Link::tcp(mproxy.addr()).await;
        let connect = Connect::new(version, &format!("{version:?}")).persistent();
        link.connect(&connect).await;
        link.subscribe("t", 1).await;
        clients.push((link, connect));
    }
    let stopped: Stopped = broker.stop().await;
    for (link, connect) in &mut clients {
        let old = std::mem::replace(link, Link::tcp(mproxy.addr()).await);
        // mosquitto 2.0.11 says nothing when it stops
        old.closed().await;
        link.send(&connect.bytes()).await;
        unreachable.expect(link, connect.version()).await;
    }
    mproxy.until_ready(false).await;

    let broker = stopped.start().await;
    mproxy.until_ready(true).await;
    let mut publisher = Link::client(broker.addr(), Version::V311, "publisher").await;
    for (link, connect) in &mut clients {
        *link = Link::tcp(mproxy.addr()).await;
        link.connect(connect).await;
        let hello = Publish::new(Version::V311, "t").qos(1, 5).bytes("hello");
        publisher.send(&hello).await;
        publisher.expect(&puback(5)).await;
        assert_eq!(link.message().await.text(), "hello");
    }
}

/// A SUBSCRIBE that the broker never answers is nobody's business but the client's: nothing of the
/// session waits for it.
#[tokio::test]
async fn what_the_broker_does_not_answer_holds_up_nothing() {
    let broker = FakeBroker::bind().await;
    let mproxy = Mproxy::before(&broker.url()).await;
    let (mut client, mut server) = session(&mproxy, &broker, Version::V311).await;
    let unanswered = subscribe(Version::V311, 1, &[("a", 0)]);
    client.send(&unanswered).await;
    server.expect(&unanswered).await;
    for number in 0..100 {
        let message = Publish::new(Version::V311, "t").bytes(number.to_string());
        client.send(&message).await;
        server.expect(&message).await;
        server.send(&message).await;
        client.expect(&message).await;
    }
}

/// Clients that are in order do not notice those that are not.
#[tokio::test]
async fn a_good_client_is_served_while_others_misbehave() {
    const ROUNDS: u16 = 300;
    let broker = Mosquitto::start().await;
    let mproxy = Setup::before(&broker.url()).websocket().start().await;
    let (tcp, ws) = (mproxy.addr(), mproxy.listener("ws"));
    let mut good = Link::client(tcp, Version::V5, "good").await;
    good.subscribe("good", 0).await;
    // some do not read what they subscribed to
    let mut deaf = Vec::new();
    for number in 0..10 {
        let mut link = Link::client(tcp, Version::V311, &format!("deaf{number}")).await;
        link.subscribe("flood", 0).await;
        deaf.push(link);
    }
    let attacks = async {
        let mut idle = Vec::new();
        let mut flooding = Link::client(tcp, Version::V311, "flood").await;
        let flood = Publish::new(Version::V311, "flood").bytes(vec![7; 50_000]);
        loop {
            let mut half = Link::tcp(tcp).await;
            half.try_send(&Connect::new(Version::V5, "half").bytes()[..9])
                .await;
            idle.push(half);
            let mut wrong = Link::tcp(tcp).await;
            wrong.try_send(&[0xff; 64]).await;
            wrong.reset();
            let mut cut = Link::client(tcp, Version::V311, "cut").await;
            cut.try_send(&[0x30, 0xff, 0x7f, 0]).await;
            drop(cut);
            drop(Link::ws(ws).await);
            flooding.send(&flood).await;
        }
    };
    let served = async {
        let mut longest = Duration::ZERO;
        for round in 1..=ROUNDS {
            let since = Instant::now();
            let message = Publish::new(Version::V5, "good").bytes(round.to_be_bytes());
            good.send(&message).await;
            assert_eq!(good.message().await.payload, round.to_be_bytes());
            longest = longest.max(since.elapsed());
        }
        longest
    };
    let longest = tokio::select! {
        longest = served => longest,
        () = attacks => unreachable!("attacks do not end"),
    };
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    drop(deaf);
}
