//! The proxy between a client and a broker of the test: where all rules are tried.

use std::cell::Cell;

use mproxy_tests::wire::{Connect, PINGREQ, PINGRESP, Packet, Version, connack};
use mproxy_tests::{FakeBroker, Link, Mproxy, Rest, Setup};

/// One listener for each thing that a proxy may do to packets: nothing, `mqtt`; deny what is below
/// `denied/`, `acl`; the same for deliveries only, `read`; put a prefix before topics, `map`.
const LISTENERS: &str = r##"
[[listeners]]
name = "acl"
bind = "127.0.0.1:0"
chain = "acl"
[[listeners]]
name = "read"
bind = "127.0.0.1:0"
chain = "read"
[[listeners]]
name = "map"
bind = "127.0.0.1:0"
chain = "map"
[[listeners]]
name = "ws"
bind = "127.0.0.1:0"
protocol = "ws"
[chains.default]
layers = []
[chains.acl]
layers = ["acl"]
[chains.read]
layers = ["read"]
[chains.map]
layers = ["any", "map"]
[layers.any]
type = "client-id"
require = "any"
[layers.acl]
type = "acl"
default = "allow"
[[layers.acl.rules]]
name = "denied"
deny = ["publish", "subscribe"]
topics = ["denied/#"]
[layers.read]
type = "acl"
default = "allow"
subscribe = "mosquitto"
[[layers.read.rules]]
name = "denied"
deny = ["subscribe"]
topics = ["denied/#"]
[layers.map]
type = "topic-map"
prefix = "tenants/${username}/"
"##;

/// One more listener, `places`, whose topics go to different places: below `fleet/acme/`, to
/// `public/news/` with everybody, and below the prefix.
pub(crate) const PLACES: &str = r#"
[[listeners]]
name = "places"
bind = "127.0.0.1:0"
chain = "places"
[chains.places]
layers = ["any", "places"]
[layers.places]
type = "topic-map"
prefix = "tenants/${username}/"
vendor = ["queue", "exclusive", "delayed", "oshare"]
[[layers.places.rules]]
from = "news/"
to = "public/news/"
shared = true
writable = true
[[layers.places.rules]]
from = "devices/"
to = "fleet/${username}/"
"#;

/// The prefix of the clients of [`Ground`], where there is one.
pub(crate) const PREFIX: &str = "tenants/acme/";

thread_local! {
    /// That of the test that runs in this thread.
    static CONFORMANCE: Cell<Conformance> = const { Cell::new(Conformance::Tolerant) };
}

/// The key `conformance` of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conformance {
    /// The default.
    Tolerant,
    Strict,
}

impl Conformance {
    /// What [`Ground`] sets in this test from now on.
    pub(crate) fn choose(self) {
        CONFORMANCE.set(self);
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Tolerant => "tolerant",
            Self::Strict => "strict",
        }
    }
}

/// Whether this test runs with `conformance = "strict"`.
pub(crate) fn strict() -> bool {
    CONFORMANCE.get() == Conformance::Strict
}

/// Has the listeners of a proxy keep the standard as this test wants it.
pub(crate) fn conforming(setup: Setup) -> Setup {
    setup.set_listeners("conformance", CONFORMANCE.get().as_str())
}

/// The key `when_unreachable` of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhenUnreachable {
    /// The default.
    Close,
    Connack,
}

impl WhenUnreachable {
    pub(crate) const BOTH: [Self; 2] = [Self::Close, Self::Connack];

    /// Sets it.
    pub(crate) fn when_unreachable(self, setup: Setup) -> Setup {
        let value = match self {
            Self::Close => "close",
            Self::Connack => "connack",
        };
        setup.set("upstreams.broker.when_unreachable", value)
    }

    /// Asserts that a client which waits for its CONNACK is closed because the broker is of no use:
    /// without a word, or with the code for it.
    #[track_caller]
    pub(crate) fn unavailable(self, client: Link) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        let told: &[&[u8]] = match (self, client.version().is_v5()) {
            (Self::Close, _) => &[],
            (Self::Connack, true) => &[&[0x20, 3, 0, 0x88, 0]],
            (Self::Connack, false) => &[&[0x20, 2, 0, 3]],
        };
        async move {
            let (packets, rest) = client.rest().await;
            let packets: Vec<_> = packets.iter().map(Packet::bytes).collect();
            assert_eq!((&*packets, rest), (told, Rest::Clean), "{caller}: {self:?}");
        }
    }
}

/// A running proxy and its broker.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) mproxy: Mproxy,
    pub(crate) broker: FakeBroker,
}

impl Ground {
    pub(crate) async fn new() -> Self {
        Self::with(|setup| setup).await
    }

    /// With a value of the key `when_unreachable`.
    pub(crate) async fn when_unreachable(value: WhenUnreachable) -> Self {
        Self::with(|setup| value.when_unreachable(setup)).await
    }

    /// With other settings.
    pub(crate) async fn with(change: impl FnOnce(Setup) -> Setup) -> Self {
        let broker = FakeBroker::bind().await;
        let setup = Setup::before(&broker.url()).toml(LISTENERS);
        let mproxy = conforming(change(setup)).start().await;
        Self { mproxy, broker }
    }

    /// A connection on which nothing was said.
    pub(crate) async fn link(&self, listener: &str, version: Version) -> Link {
        let mut link = Link::tcp(self.mproxy.listener(listener)).await;
        link.speak(version);
        link
    }

    /// A client `c` and the broker's end of its session.
    pub(crate) async fn pair(&self, listener: &str, version: Version) -> (Link, Link) {
        let (client, server, _) = self
            .open(listener, &client(version), &connack(version, 0))
            .await;
        (client, server)
    }

    /// A client that sends this CONNECT, which the broker answers with this; what the client got.
    pub(crate) async fn open(
        &self,
        listener: &str,
        connect: &Connect,
        answer: &[u8],
    ) -> (Link, Link, Packet) {
        let (mut client, mut server) = self.asked(listener, connect).await;
        server.send(answer).await;
        let connack = client.packet().await;
        assert_eq!(connack.kind(), 2, "no CONNACK: {connack:?}");
        (client, server, connack)
    }

    /// A client that sends this CONNECT, of which the broker gets that one, and accepts it; what the
    /// client got.
    pub(crate) async fn open_as(
        &self,
        listener: &str,
        sent: &Connect,
        received: &Connect,
    ) -> (Link, Link, Packet) {
        let version = sent.version();
        let mut client = self.link(listener, version).await;
        client.send(&sent.bytes()).await;
        let mut server = self.broker.session().await;
        server.speak(version);
        server.expect(&received.bytes()).await;
        server.send(&connack(version, 0)).await;
        let answer = client.packet().await;
        assert_eq!(answer.kind(), 2, "no CONNACK: {answer:?}");
        (client, server, answer)
    }

    /// A client whose CONNECT the broker has read and not answered.
    pub(crate) async fn asked(&self, listener: &str, connect: &Connect) -> (Link, Link) {
        let mut client = self.link(listener, connect.version()).await;
        client.send(&connect.bytes()).await;
        let mut server = self.broker.session().await;
        server.speak(connect.version());
        let packet = server.packet().await;
        assert_eq!(packet.kind(), 1, "no CONNECT: {packet:?}");
        (client, server)
    }

    /// Asserts that the broker has heard of nobody so far: the next session is that of a client
    /// that comes now.
    pub(crate) async fn nobody_before(&self, version: Version) {
        self.nobody_before_at("mqtt", version).await;
    }

    /// The same, at another listener.
    pub(crate) async fn nobody_before_at(&self, listener: &str, version: Version) {
        let mut late = self.link(listener, version).await;
        let connect = Connect::new(version, "late");
        late.send(&connect.bytes()).await;
        let mut server = self.broker.session().await;
        server.expect(&connect.bytes()).await;
        server.send(&connack(version, 0)).await;
        assert_eq!(late.packet().await.kind(), 2);
    }
}

/// CONNECT of the client `c` of the user `acme`.
pub(crate) fn client(version: Version) -> Connect {
    Connect::new(version, "c").username("acme")
}

/// Asserts that nothing is on its way in either direction.
pub(crate) async fn fence(client: &mut Link, server: &mut Link) {
    client.send(&PINGREQ).await;
    server.expect(&PINGREQ).await;
    server.send(&PINGRESP).await;
    client.expect(&PINGRESP).await;
}

/// Asserts that bytes of the client arrive at the broker.
pub(crate) async fn up(client: &mut Link, server: &mut Link, sent: &[u8], received: &[u8]) {
    client.send(sent).await;
    server.expect(received).await;
}

/// Asserts that bytes of the broker arrive at the client.
pub(crate) async fn down(client: &mut Link, server: &mut Link, sent: &[u8], received: &[u8]) {
    up(server, client, sent, received).await;
}

/// Asserts that a client that is in is sent away for what it did: in 5.0 with this reason, or one of
/// these, before that without a word.
#[track_caller]
pub(crate) fn sent_away(client: Link, codes: &[u8]) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    let version = client.version();
    let codes = codes.to_vec();
    async move {
        let (packets, rest) = client.rest().await;
        assert_eq!(rest, Rest::Clean, "{caller}");
        let told: Vec<_> = packets
            .iter()
            .map(|it| (it.first(), it.body().first().copied().unwrap_or(0)))
            .collect();
        let right = match &*told {
            [] => !version.is_v5(),
            [(0xe0, code)] => version.is_v5() && codes.contains(code),
            _ => false,
        };
        assert!(
            right,
            "{caller}: {version:?} told {told:02x?}, not {codes:02x?}"
        );
    }
}

/// Asserts that both sides are closed, that the client is told why, and that the broker hears
/// nothing more, not even DISCONNECT.
#[track_caller]
pub(crate) fn both_end(client: Link, server: Link, codes: &[u8]) -> impl Future<Output = ()> {
    let client = sent_away(client, codes);
    let server = server.closed();
    async move {
        client.await;
        server.await;
    }
}

/// Asserts that both sides are closed without a word: neither is told what the other did, nor by
/// whom.
#[track_caller]
pub(crate) fn both_close(client: Link, server: Link) -> impl Future<Output = ()> {
    let client = client.closed();
    let server = server.closed();
    async move {
        // behind a goodbye, the proxy waits for the broker to close first
        tokio::join!(client, server);
    }
}

/// Asserts that both sides are closed because the proxy lost patience: a strict one tells the client
/// in 5.0.
#[track_caller]
pub(crate) fn both_time_out(client: Link, server: Link, code: u8) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    let told: Vec<_> = if strict() && client.version().is_v5() {
        vec![(0xe0, code)]
    } else {
        Vec::new()
    };
    let server = server.closed();
    async move {
        let (packets, rest) = client.rest().await;
        let said: Vec<_> = packets
            .iter()
            .map(|it| (it.first(), it.body().first().copied().unwrap_or(0)))
            .collect();
        assert_eq!((said, rest), (told, Rest::Clean), "{caller}");
        server.await;
    }
}

/// Asserts that a client is not let in: with `v3` as the code of 3.x, if there is one, or one of
/// `v5`.
#[track_caller]
pub(crate) fn turned_away(client: Link, v3: Option<u8>, v5: &[u8]) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    let version = client.version();
    let v5 = v5.to_vec();
    async move {
        let (packets, rest) = client.rest().await;
        assert_eq!(rest, Rest::Clean, "{caller}");
        if version.is_v5() {
            let told: Vec<_> = packets
                .iter()
                .map(|it| (it.first(), it.body()[0]))
                .collect();
            assert_eq!(told, [(0x20, 0)], "{caller}: {packets:?}");
            let code = packets[0].body()[1];
            assert!(v5.contains(&code), "{caller}: {packets:?}, not {v5:02x?}");
        } else {
            let told: Vec<_> = packets.iter().map(|it| it.bytes().to_vec()).collect();
            let expected: Vec<_> = v3.map(|code| vec![0x20, 2, 0, code]).into_iter().collect();
            assert_eq!(told, expected, "{caller}");
        }
    }
}
