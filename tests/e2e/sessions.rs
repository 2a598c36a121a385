//! What outlives a packet: wills, sessions that wait, sessions that are taken over, and many
//! clients at once. The broker is mosquitto; what it makes of them must not depend on the proxy.

use std::net::SocketAddr;

use mproxy_tests::wire::{Connect, Message, Publish, Version, field, frame, puback};
use mproxy_tests::{FakeBroker, Link, Mosquitto, Mproxy, Setup};

/// A client that sees everything that is published, at the broker.
async fn observer(broker: &Mosquitto) -> Link {
    let mut link = Link::client(broker.addr(), Version::V5, "observer").await;
    link.subscribe("#", 1).await;
    link
}

/// Publishes what no will can overtake, and asserts that it is the next message.
async fn nothing_before_a_fence(observer: &mut Link, by: &mut Link) {
    by.send(&Publish::new(by.version(), "fence").bytes(""))
        .await;
    assert_eq!(observer.message().await.topic, "fence");
}

#[tokio::test]
async fn a_will_is_published_when_a_client_breaks_off_and_not_when_it_leaves() {
    let broker = Mosquitto::start().await;
    let mproxy = Setup::before(&broker.url()).websocket().start().await;
    let mut observer = observer(&broker).await;
    let mut other = Link::client(mproxy.addr(), Version::V311, "other").await;

    for version in Version::ALL {
        for websocket in [false, true] {
            let connected = async |client_id: &str| {
                let mut link = if websocket {
                    Link::ws(mproxy.listener("ws")).await
                } else {
                    Link::tcp(mproxy.addr()).await
                };
                let will = Connect::new(version, client_id).will("will", client_id, 1, false);
                link.connect(&will).await;
                link
            };
            let who = format!("{version:?} {websocket}");
            let will = async |observer: &mut Link, payload: &str| {
                let will = observer.message().await;
                assert_eq!((&*will.topic, will.text()), ("will", payload));
                observer.send(&puback(will.id)).await;
            };

            // without a word: the connection ends, or breaks
            let client_id = format!("{who} end");
            drop(connected(&client_id).await);
            will(&mut observer, &client_id).await;
            let client_id = format!("{who} reset");
            connected(&client_id).await.reset();
            will(&mut observer, &client_id).await;

            // with DISCONNECT
            connected(&format!("{who} leaves")).await.leave().await;
            nothing_before_a_fence(&mut observer, &mut other).await;

            // "DISCONNECT with Will Message"
            if version.is_v5() {
                let client_id = format!("{who} 0x04");
                let mut link = connected(&client_id).await;
                link.send(&[0xe0, 0x01, 0x04]).await;
                will(&mut observer, &client_id).await;
                link.closed().await;
            }
        }
    }
}

/// A client that publishes, leaves and closes in one breath has said both, also when it does not
/// wait for anything.
#[tokio::test]
async fn a_last_message_and_disconnect_arrive_although_the_connection_is_closed_at_once() {
    let broker = Mosquitto::start().await;
    let mproxy = Mproxy::before(&broker.url()).await;
    let mut observer = observer(&broker).await;
    for version in Version::ALL {
        let mut bytes = Connect::new(version, "hasty")
            .will("will", "no", 0, false)
            .bytes();
        bytes.extend(Publish::new(version, "last").bytes("words"));
        bytes.extend([0xe0, 0x00]);
        let mut link = Link::tcp(mproxy.addr()).await;
        link.send(&bytes).await;
        drop(link);
        assert_eq!(observer.message().await.text(), "words", "{version:?}");
    }
    let mut other = Link::client(mproxy.addr(), Version::V311, "other").await;
    nothing_before_a_fence(&mut observer, &mut other).await;
}

#[tokio::test]
async fn messages_wait_for_a_session_that_is_away() {
    let broker = Mosquitto::start().await;
    let mproxy = Mproxy::before(&broker.url()).await;
    let mut publisher = Link::client(broker.addr(), Version::V311, "publisher").await;
    for version in Version::ALL {
        let connect = Connect::new(version, &format!("sleeper {version:?}")).persistent();
        let topic = format!("sleep/{version:?}");
        let mut link = Link::tcp(mproxy.addr()).await;
        let connack = link.connect(&connect).await;
        assert_eq!(connack.body()[0], 0, "the session is new");
        link.subscribe(&topic, 1).await;
        link.leave().await;

        for id in 1..=10 {
            let message = Publish::new(Version::V311, &topic).qos(1, id);
            publisher.send(&message.bytes(id.to_string())).await;
            publisher.expect(&puback(id)).await;
        }

        let mut link = Link::tcp(mproxy.addr()).await;
        let connack = link.connect(&connect).await;
        // MQTT 3.1 has no word for it
        let session_present = u8::from(version != Version::V31);
        assert_eq!(connack.body()[0], session_present, "{version:?}");
        for expected in 1..=10 {
            let message = link.message().await;
            assert_eq!((message.qos, message.text()), (1, &*expected.to_string()));
            link.send(&puback(message.id)).await;
        }
        link.leave().await;
    }
}

/// mosquitto 2.0.11 does not say why it closes the old connection. A DISCONNECT 0x80 that the proxy
/// said in its place made a take-over look like an error.
#[tokio::test]
async fn a_session_is_taken_over_by_its_clients_next_connection() {
    let broker = Mosquitto::start().await;
    let mproxy = Mproxy::before(&broker.url()).await;
    let mut observer = observer(&broker).await;
    for version in Version::ALL {
        let client_id = format!("twice-{version:?}");
        let mut old = Link::client(mproxy.addr(), version, &client_id).await;
        old.subscribe("mine", 0).await;
        let mut new = Link::client(mproxy.addr(), version, &client_id).await;
        old.closed().await;
        let end = mproxy.end_of(&client_id).await;
        assert_eq!(end["side"], "upstream", "{end}");
        // the new one works
        new.send(&Publish::new(version, "alive").bytes("")).await;
        assert_eq!(observer.message().await.topic, "alive");
        new.leave().await;
    }
    mproxy.metric("mproxy_connections", 0.0).await;
}

/// A broker that says that a session was taken over, as MQTT 5 wants it to, is passed on.
#[tokio::test]
async fn the_word_that_a_session_was_taken_over_reaches_the_old_client() {
    let broker = FakeBroker::bind().await;
    let mproxy = Mproxy::before(&broker.url()).await;
    let (mut client, (mut server, _)) = tokio::join!(
        Link::client(mproxy.addr(), Version::V5, "twice"),
        broker.accept()
    );
    server.send(&[0xe0, 0x01, 0x8e]).await;
    drop(server);
    client.expect(&[0xe0, 0x01, 0x8e]).await;
    client.closed().await;
    let end = mproxy.end_of("twice").await;
    assert_eq!(end["side"], "upstream", "{end}");
    assert_eq!(end["reason"], "session_taken_over", "{end}");
    let closed = "mproxy_connections_closed_total{side=\"upstream\",reason=\"session_taken_over\"}";
    mproxy.metric(closed, 1.0).await;
}

/// Each of 200 clients, of all versions, sends to its neighbour with each QoS and hears from
/// another, all at the same time.
#[tokio::test]
async fn two_hundred_clients_exchange_messages_at_once() {
    const CLIENTS: usize = 200;
    let broker = Mosquitto::start().await;
    let mproxy = Setup::before(&broker.url()).websocket().start().await;
    let (tcp, ws) = (mproxy.addr(), mproxy.listener("ws"));
    let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(CLIENTS));
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(neighbour(number, CLIENTS, tcp, ws, barrier.clone()));
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("every client got its messages");
    }
    let published = "mproxy_publishes_total{direction=\"client_to_broker\"}";
    mproxy.metric(published, 3.0 * CLIENTS as f64).await;
    let delivered = "mproxy_publishes_total{direction=\"broker_to_client\"}";
    mproxy.metric(delivered, 3.0 * CLIENTS as f64).await;
    mproxy.metric("mproxy_connections", 0.0).await;
}

async fn neighbour(
    number: usize,
    count: usize,
    tcp: SocketAddr,
    ws: SocketAddr,
    barrier: std::sync::Arc<tokio::sync::Barrier>,
) {
    let version = Version::ALL[number % 3];
    let mut link = if number.is_multiple_of(2) {
        Link::tcp(tcp).await
    } else {
        Link::ws(ws).await
    };
    link.connect(&Connect::new(version, &format!("n{number}")))
        .await;
    link.subscribe(&format!("to/{number}"), 2).await;
    barrier.wait().await;
    let to = format!("to/{}", (number + 1) % count);
    for qos in 0..3 {
        let message = Publish::new(version, &to).qos(qos, 7 + u16::from(qos));
        link.send(&message.bytes([qos; 100])).await;
    }
    // packets of both of its exchanges come in any order
    let (mut received, mut acknowledged) = (Vec::new(), 0);
    let mut delivered = None;
    while received.len() < 3 || acknowledged < 2 || delivered.is_some() {
        let packet = link.packet().await;
        match packet.kind() {
            3 => {
                let message = Message::of(&packet, version);
                match message.qos {
                    0 => {}
                    1 => link.send(&puback(message.id)).await,
                    _ => {
                        delivered = Some(message.id);
                        link.send(&frame(0x50, &message.id.to_be_bytes())).await;
                    }
                }
                received.push((message.qos, message.payload[0]));
            }
            4 | 7 => acknowledged += 1,
            5 => link.send(&frame(0x62, &packet.id().to_be_bytes())).await,
            6 => {
                assert_eq!(delivered.take(), Some(packet.id()));
                link.send(&frame(0x70, &packet.id().to_be_bytes())).await;
            }
            _ => panic!("{packet:?}"),
        }
    }
    received.sort_unstable();
    assert_eq!(received, [(0, 0), (1, 1), (2, 2)]);
    barrier.wait().await;
    link.leave().await;
}

/// What the broker calls a client that brought no name is the client's to know.
#[tokio::test]
async fn a_client_without_a_name_gets_one_from_the_broker() {
    let broker = Mosquitto::start().await;
    let mproxy = Mproxy::before(&broker.url()).await;
    let mut link = Link::tcp(mproxy.addr()).await;
    let connack = link.connect(&Connect::new(Version::V5, "")).await;
    let body = connack.body();
    let assigned = body.windows(3).position(|it| it[0] == 0x12 && it[1] == 0);
    let at = assigned.expect("an Assigned Client Identifier");
    let name = &body[at + 3..][..usize::from(body[at + 2])];
    assert!(body[at + 1..].starts_with(&field(name)), "{connack:?}");
    assert!(!name.is_empty());
    link.leave().await;

    let mut link = Link::tcp(mproxy.addr()).await;
    link.connect(&Connect::new(Version::V311, "")).await;
    // with a session that stays, it would never find it again
    let mut refused = Link::tcp(mproxy.addr()).await;
    refused
        .send(&Connect::new(Version::V311, "").persistent().bytes())
        .await;
    refused.expect(&[0x20, 2, 0, 2]).await;
    refused.closed().await;
}
