//! The broker over real sockets, in bytes of the standard. Every wait is for bytes or for the end
//! of a stream.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Broker;

const CONNECT_V31: &[u8] = b"\x10\x0f\0\x06MQIsdp\x03\x02\0\0\0\x01a";
const CONNECT_V311: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01b";
const CONNECT_V5: &[u8] = b"\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01c";
const CONNACK_V3: &[u8] = b"\x20\x02\0\0";
/// Session Expiry Interval 0, Maximum Packet Size 2 MiB, no shared subscriptions.
const CONNACK_V5: &[u8] = b"\x20\x0f\0\0\x0c\x11\0\0\0\0\x27\0\x20\0\0\x2a\0";
const DISCONNECT: &[u8] = b"\xe0\0";

struct Peer(TcpStream);

impl Peer {
    async fn connect(broker: &Broker, connect: &[u8]) -> Self {
        let mut peer = Self(TcpStream::connect(broker.address()).await.unwrap());
        peer.send(connect).await;
        peer
    }

    async fn v311(broker: &Broker) -> Self {
        let mut peer = Self::connect(broker, CONNECT_V311).await;
        peer.expect(CONNACK_V3).await;
        peer
    }

    async fn v5(broker: &Broker) -> Self {
        let mut peer = Self::connect(broker, CONNECT_V5).await;
        peer.expect(CONNACK_V5).await;
        peer
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    #[track_caller]
    fn expect(&mut self, bytes: &[u8]) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let mut read = vec![0; bytes.len()];
            self.0.read_exact(&mut read).await.unwrap();
            assert_eq!(read, bytes, "{caller}");
        }
    }

    async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
    }
}

#[tokio::test]
async fn three_versions_share_a_port_and_their_messages() {
    let broker = Broker::start().await.unwrap();
    let mut v31 = Peer::connect(&broker, CONNECT_V31).await;
    v31.expect(CONNACK_V3).await;
    let mut v311 = Peer::v311(&broker).await;
    let mut v5 = Peer::v5(&broker).await;
    v31.send(b"\x82\x08\0\x01\0\x03x/+\0").await;
    v31.expect(b"\x90\x03\0\x01\0").await;
    v311.send(b"\x82\x08\0\x01\0\x03x/#\x01").await;
    v311.expect(b"\x90\x03\0\x01\x01").await;
    // QoS 1, user property k=v
    v5.send(b"\x32\x10\0\x03x/y\0\x07\x07\x26\0\x01k\0\x01vh")
        .await;
    v5.expect(b"\x40\x02\0\x07").await;
    v31.expect(b"\x30\x06\0\x03x/yh").await;
    v311.expect(b"\x32\x08\0\x03x/y\0\x01h").await;
    v311.send(b"\x40\x02\0\x01\xc0\0").await;
    v311.expect(b"\xd0\0").await;
}

#[tokio::test]
async fn qos_2_is_delivered_once() {
    let broker = Broker::start().await.unwrap();
    let mut subscriber = Peer::v311(&broker).await;
    subscriber.send(b"\x82\x06\0\x01\0\x01t\x02").await;
    subscriber.expect(b"\x90\x03\0\x01\x02").await;
    let mut publisher = Peer::v5(&broker).await;
    publisher.send(b"\x34\x07\0\x01t\0\x09\0h").await;
    publisher.expect(b"\x50\x02\0\x09").await;
    // repeated: acknowledged again, delivered no second time
    publisher.send(b"\x3c\x07\0\x01t\0\x09\0h").await;
    publisher.expect(b"\x50\x02\0\x09").await;
    publisher.send(b"\x62\x02\0\x09\x62\x02\0\x09").await;
    // the second PUBREL finds nothing
    publisher.expect(b"\x70\x02\0\x09\x70\x03\0\x09\x92").await;
    subscriber.expect(b"\x34\x06\0\x01t\0\x01h").await;
    subscriber.send(b"\x50\x02\0\x01").await;
    subscriber.expect(b"\x62\x02\0\x01").await;
    subscriber.send(b"\x70\x02\0\x01\xc0\0").await;
    subscriber.expect(b"\xd0\0").await;
}

#[tokio::test]
async fn retained_messages_wait_for_subscribers() {
    let broker = Broker::start().await.unwrap();
    let mut peer = Peer::v311(&broker).await;
    peer.send(b"\x31\x05\0\x02r1k\x31\x05\0\x02r2k\x31\x04\0\x02r2")
        .await;
    peer.send(b"\x82\x06\0\x01\0\x01#\0").await;
    peer.expect(b"\x90\x03\0\x01\0").await;
    // r2 was removed by its empty payload
    peer.expect(b"\x31\x05\0\x02r1k").await;
    peer.send(b"\xc0\0").await;
    peer.expect(b"\xd0\0").await;
    // to a subscription that is there already, the flag is not set
    peer.send(b"\x31\x05\0\x02r1n").await;
    peer.expect(b"\x30\x05\0\x02r1n").await;
}

#[tokio::test]
async fn retain_handling_and_retain_as_published_are_respected() {
    let broker = Broker::start().await.unwrap();
    let mut peer = Peer::v5(&broker).await;
    peer.send(b"\x31\x05\0\x01r\0k").await;
    // 0x20: never; 0x10: only when new; 0x08: the flag as it was published
    peer.send(b"\x82\x07\0\x01\0\0\x01r\x28").await;
    peer.expect(b"\x90\x04\0\x01\0\0").await;
    peer.send(b"\x82\x07\0\x02\0\0\x01r\x18").await;
    peer.expect(b"\x90\x04\0\x02\0\0").await;
    peer.send(b"\x31\x05\0\x01r\0n").await;
    peer.expect(b"\x31\x05\0\x01r\0n").await;
}

#[tokio::test]
async fn a_will_is_published_unless_taken_back() {
    let broker = Broker::start().await.unwrap();
    let mut watcher = Peer::v5(&broker).await;
    watcher.send(b"\x82\x07\0\x01\0\0\x01w\0").await;
    watcher.expect(b"\x90\x04\0\x01\0\0").await;
    let with_will = |payload: &[u8; 1]| {
        let mut connect = b"\x10\x13\0\x04MQTT\x04\x06\0\0\0\x01d\0\x01w\0\x01".to_vec();
        connect.extend_from_slice(payload);
        connect
    };
    let mut polite = Peer::connect(&broker, &with_will(b"1")).await;
    polite.expect(CONNACK_V3).await;
    polite.send(DISCONNECT).await;
    polite.expect_end().await;
    let mut abrupt = Peer::connect(&broker, &with_will(b"2")).await;
    abrupt.expect(CONNACK_V3).await;
    drop(abrupt);
    watcher.expect(b"\x30\x05\0\x01w\x002").await;
}

#[tokio::test]
async fn a_client_identifier_belongs_to_the_latest_connection() {
    let broker = Broker::start().await.unwrap();
    let mut old = Peer::v5(&broker).await;
    let mut new = Peer::v5(&broker).await;
    old.expect(b"\xe0\x01\x8e").await;
    old.expect_end().await;
    new.send(b"\xc0\0").await;
    new.expect(b"\xd0\0").await;
}

#[tokio::test]
async fn a_slow_receiver_gets_what_it_asked_for() {
    let broker = Broker::start().await.unwrap();
    // Receive Maximum 1
    let connect = b"\x10\x11\0\x04MQTT\x05\x02\0\0\x03\x21\0\x01\0\x01c";
    let mut peer = Peer::connect(&broker, connect).await;
    peer.expect(CONNACK_V5).await;
    // subscription identifier 5
    peer.send(b"\x82\x09\0\x01\x02\x0b\x05\0\x01t\x01").await;
    peer.expect(b"\x90\x04\0\x01\0\x01").await;
    peer.send(b"\x32\x07\0\x01t\0\x01\x001\x32\x07\0\x01t\0\x02\x002\xc0\0")
        .await;
    // the order of answers and deliveries is free, but the second delivery has to wait
    let delivery = b"\x32\x09\0\x01t\0\x01\x02\x0b\x051";
    let mut first = vec![0; delivery.len() + 4 + 4 + 2];
    peer.0.read_exact(&mut first).await.unwrap();
    for expected in [
        &delivery[..],
        b"\x40\x02\0\x01",
        b"\x40\x02\0\x02",
        b"\xd0\0",
    ] {
        let is_there = first
            .windows(expected.len())
            .any(|window| window == expected);
        assert!(is_there, "{expected:?} in {first:?}");
    }
    peer.send(b"\x40\x02\0\x01").await;
    peer.expect(b"\x32\x09\0\x01t\0\x02\x02\x0b\x052").await;
}

#[tokio::test]
async fn what_it_cannot_do_it_says() {
    let broker = Broker::start().await.unwrap();
    let mut peer = Peer::v5(&broker).await;
    peer.send(b"\x82\x0e\0\x01\0\0\x08$share/g\0").await;
    // not a shared subscription, which has a filter behind the group
    peer.expect(b"\xe0\x01\x8f").await;
    peer.expect_end().await;
    let mut peer = Peer::v5(&broker).await;
    peer.send(b"\x82\x10\0\x01\0\0\x0a$share/g/f\0").await;
    peer.expect(b"\x90\x04\0\x01\0\x9e").await;
    peer.send(b"\xa2\x06\0\x02\0\0\x01f").await;
    peer.expect(b"\xb0\x04\0\x02\0\x11").await;
    // topic alias 1
    peer.send(b"\x30\x08\0\x01t\x03\x23\0\x01h").await;
    peer.expect(b"\xe0\x01\x94").await;
    peer.expect_end().await;
    for (connect, connack) in [
        (
            &b"\x10\x0d\0\x04MQTT\x06\x02\0\0\0\x01b"[..],
            &b"\x20\x03\0\x84\0"[..],
        ),
        // authentication method "m"
        (
            b"\x10\x12\0\x04MQTT\x05\x02\0\0\x04\x15\0\x01m\0\x01c",
            b"\x20\x03\0\x8c\0",
        ),
    ] {
        let mut peer = Peer::connect(&broker, connect).await;
        peer.expect(connack).await;
        peer.expect_end().await;
    }
}

#[tokio::test]
async fn a_nameless_client_is_given_a_name() {
    let broker = Broker::start().await.unwrap();
    let connect = b"\x10\x0d\0\x04MQTT\x05\x02\0\0\0\0\0";
    let mut peer = Peer::connect(&broker, connect).await;
    peer.expect(b"\x20\x18\0\0\x15\x11\0\0\0\0\x27\0\x20\0\0\x2a\0\x12\0\x06demo-1")
        .await;
}

#[tokio::test]
async fn stops_when_it_is_dropped() {
    let broker = Broker::start().await.unwrap();
    let mut peer = Peer::v311(&broker).await;
    drop(broker);
    peer.expect_end().await;
}

#[tokio::test]
async fn garbage_ends_its_own_connection_only() {
    let broker = Broker::start().await.unwrap();
    let mut peer = Peer::v5(&broker).await;
    for garbage in [
        &b"\0\0"[..],
        b"\x30\x02\0\x01",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xc0\0",
    ] {
        let mut stranger = Peer::connect(&broker, garbage).await;
        // a reset is as good an end as any
        let mut rest = Vec::new();
        let _ = stranger.0.read_to_end(&mut rest).await;
        assert_eq!(rest, b"", "{garbage:?}");
    }
    let mut second = Peer::connect(&broker, b"\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01d").await;
    second.expect(CONNACK_V5).await;
    second.send(CONNECT_V5).await;
    second.expect(b"\xe0\x01\x82").await;
    peer.send(b"\xc0\0").await;
    peer.expect(b"\xd0\0").await;
}
