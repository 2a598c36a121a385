//! Which layer refused how much of what.

use mproxy_tests::wire::{
    Connect, Publish, Version, field, frame, properties, subscribe, unsubscribe,
};
use mproxy_tests::{FakeBroker, Link, Mproxy, Setup};

const LAYERS: &str = r##"
[layers.ids]
type = "client-id"
require = "equals-username"
[layers.rules]
type = "acl"
subscribe = "mosquitto"
[[layers.rules.rules]]
allow = ["publish", "subscribe"]
topics = ["open/#"]
[layers.map]
type = "topic-map"
prefix = "${username}/"
[layers.stamp]
type = "property-edit"
set = { "x-user" = "${username}${username}" }
"##;

/// A proxy with one layer, and how many denials it has counted.
struct Counted {
    broker: FakeBroker,
    mproxy: Mproxy,
    denials: f64,
}

impl Counted {
    async fn start(layer: &str) -> Self {
        let broker = FakeBroker::bind().await;
        let chain = format!("[chains.default]\nlayers = [\"{layer}\"]\n{LAYERS}");
        let mproxy = Setup::before(&broker.url())
            .toml(&chain)
            .limit("max_filters", "3")
            .limit("max_topic_levels", "9")
            .start()
            .await;
        Self {
            broker,
            mproxy,
            denials: 0.0,
        }
    }

    /// One more action is denied, by this layer, and no other.
    async fn denied(&mut self, layer: &str, action: &str) {
        self.denials += 1.0;
        let family = "mproxy_auth_decisions_total";
        let all = format!("{family}{{decision=\"deny\"}}");
        self.mproxy.metric(&all, self.denials).await;
        let own = format!("{family}{{layer=\"{layer}\",action=\"{action}\",decision=\"deny\"}}");
        assert_eq!(self.mproxy.metrics().await.sum(&own), 1.0, "{own}");
    }

    async fn refuse(&mut self, connect: Connect, layer: &str, action: &str) {
        let mut client = Link::tcp(self.mproxy.addr()).await;
        client.send(&connect.bytes()).await;
        assert_ne!(client.packet().await.body()[1], 0, "it is refused");
        self.denied(layer, action).await;
    }

    /// A client that is let in, and its broker.
    async fn session(&self, connect: Connect) -> (Link, Link) {
        let mut client = Link::tcp(self.mproxy.addr()).await;
        let (connack, (server, _)) = tokio::join!(client.connect(&connect), self.broker.accept());
        assert_eq!((connack.kind(), connack.body()[1]), (2, 0));
        (client, server)
    }
}

fn acme(version: Version) -> Connect {
    Connect::new(version, "acme").username("acme")
}

/// What an operator saw was that somebody was denied something, by an acl or not at all: a fleet with
/// wrong client ids was in no metric but the count of all CONNACKs.
#[tokio::test]
async fn each_refusal_of_each_layer_is_counted_once() {
    for version in Version::ALL {
        let mut ids = Counted::start("ids").await;
        let other = Connect::new(version, "other").username("acme");
        ids.refuse(other, "ids", "connect").await;
        ids.session(acme(version)).await;
        let allowed =
            "mproxy_auth_decisions_total{layer=\"ids\",action=\"connect\",decision=\"allow\"}";
        assert_eq!(ids.mproxy.metrics().await.sum(allowed), 1.0);

        for (layer, wrong) in [("rules", "closed"), ("map", "$SYS/x")] {
            let mut it = Counted::start(layer).await;
            let will = acme(version).will(wrong, "", 0, false);
            it.refuse(will, layer, "will").await;
            let (mut client, mut server) = it.session(acme(version)).await;
            client
                .send(&Publish::new(version, wrong).qos(0, 0).bytes("x"))
                .await;
            it.denied(layer, "publish").await;
            let shared = format!("$share/g/{wrong}");
            client.send(&subscribe(version, 1, &[(&shared, 0)])).await;
            it.denied(layer, "subscribe").await;
            let delivery = Publish::new(version, "closed").qos(0, 0).bytes("x");
            server.send(&delivery).await;
            it.denied(layer, "deliver").await;
            if layer == "map" {
                client.send(&unsubscribe(version, 2, &[wrong])).await;
                it.denied(layer, "unsubscribe").await;
                let nobody = Connect::new(version, "nobody");
                it.refuse(nobody, layer, "connect").await;
            }
        }
    }
    let mut stamp = Counted::start("stamp").await;
    let name = "x".repeat(40_000);
    let long = Connect::new(Version::V5, "long").username(&name);
    stamp.refuse(long, "stamp", "connect").await;
}

/// The session has limits of its own on what layers are asked about.
#[tokio::test]
async fn each_refusal_of_the_session_is_counted_once() {
    for version in Version::ALL {
        let mut it = Counted::start("rules").await;
        let deep = "open/2/3/4/5/6/7/8/9/10";
        let will = acme(version).will(deep, "", 0, false);
        it.refuse(will, "session", "will").await;
        let (_client, mut server) = it.session(acme(version)).await;
        server
            .send(&Publish::new(version, deep).qos(0, 0).bytes("x"))
            .await;
        it.denied("session", "deliver").await;
        let many = [("open/1", 0), ("open/2", 0), ("open/3", 0), ("open/4", 0)];
        for (packet, action) in [
            (Publish::new(version, deep).qos(0, 0).bytes("x"), "publish"),
            (subscribe(version, 1, &many), "subscribe"),
        ] {
            let (mut client, server) = it.session(acme(version)).await;
            client.send(&packet).await;
            server.closed().await;
            it.denied("session", action).await;
        }
    }
}

/// A fleet that renewed its tokens by AUTH was sent away, and no metric said by which layer.
#[tokio::test]
async fn a_client_that_authenticates_again_is_counted_for_the_layer_that_knows_it() {
    let mut it = Counted::start("stamp").await;
    let method = [&[0x15][..], &field("m")].concat();
    let mut client = Link::tcp(it.mproxy.addr()).await;
    client
        .send(&acme(Version::V5).properties(&method).bytes())
        .await;
    let mut server = it.broker.session().await;
    server.packet().await;
    let connack = [&[0, 0][..], &properties(&method)].concat();
    server.send(&frame(0x20, &connack)).await;
    assert_eq!(client.packet().await.kind(), 2);
    let again = [&[0x19][..], &properties(&method)].concat();
    client.send(&frame(0xf0, &again)).await;
    assert_eq!(client.packet().await.kind(), 14);
    it.denied("stamp", "auth").await;
}
