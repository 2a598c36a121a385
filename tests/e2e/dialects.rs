//! Brokers that read topics otherwise than the standard says: nothing leads around a layer there.
//!
//! RabbitMQ reads `.` as `/` and `*` as `+`, and takes `$` for a letter like any other; NATS reads
//! `*` as `+` and `>` as `#`. So a rule about `secret/#` said nothing about `secret.x`, which is the
//! same topic to RabbitMQ, and a client that called itself `*` read the devices of all. A witness at
//! the broker sees what arrives there.

use mproxy_tests::peers::PeerBroker;
use mproxy_tests::wire::{
    Connect, Publish, Version, connack, field, frame, properties, puback, suback, subscribe,
    unsubscribe,
};
use mproxy_tests::{FakeBroker, Link, Mproxy, Setup};

/// What both brokers speak.
const VERSION: Version = Version::V311;

const OWN_DEVICES: &str = r#"
[chains.default]
layers = ["acl"]
[layers.acl]
type = "acl"
[[layers.acl.rules]]
allow = ["publish", "subscribe"]
topics = ["devices/${client_id}/#"]
"#;

const OWN_TOPICS: &str = r#"
[chains.default]
layers = ["acl"]
[layers.acl]
type = "acl"
[[layers.acl.rules]]
allow = ["publish", "subscribe"]
topics = ["users/${username}/#"]
"#;

const NO_SECRETS: &str = r##"
[chains.default]
layers = ["acl"]
[layers.acl]
type = "acl"
default = "allow"
[[layers.acl.rules]]
name = "no secrets"
deny = ["publish", "subscribe"]
topics = ["secret/#", "$internal/#"]
[[layers.acl.rules]]
allow = ["publish", "subscribe"]
topics = ["#", "$other/#"]
"##;

const NO_SECRETS_FOR_ACME: &str = r##"
[chains.default]
layers = ["acl"]
[layers.acl]
type = "acl"
default = "allow"
[[layers.acl.rules]]
name = "no secrets"
deny = ["publish", "subscribe"]
topics = ["secret/#"]
usernames = ["acme"]
"##;

const TENANTS: &str = r#"
[chains.default]
layers = ["tenant"]
[layers.tenant]
type = "topic-map"
prefix = "tenants/${username}/"
"#;

/// A broker, and how it reads topics.
struct Subject {
    broker: PeerBroker,
    dialect: &'static str,
    /// Who sees everything that arrives there.
    witness: Link,
    /// Who publishes what everybody may publish there.
    insider: Link,
}

impl Subject {
    async fn new(broker: PeerBroker, dialect: &'static str) -> Self {
        let mut witness = Link::client(broker.addr(), VERSION, "witness").await;
        witness.subscribe("#", 0).await;
        let insider = Link::client(broker.addr(), VERSION, "insider").await;
        Self {
            broker,
            dialect,
            witness,
            insider,
        }
    }

    async fn behind(&self, layers: &str) -> Mproxy {
        let setup = Setup::before(&format!("mqtt://{}", self.broker.addr()));
        let setup = setup.set("upstreams.broker.dialect", self.dialect);
        setup.toml(layers).start().await
    }

    /// Asserts that this is all that arrived at the broker since it was asked last.
    async fn arrived(&mut self, topics: &[&str]) {
        let fence = Publish::new(VERSION, "fence");
        self.insider.send(&fence.bytes("")).await;
        let mut arrived = Vec::new();
        loop {
            match self.witness.message().await.topic {
                topic if topic == "fence" => break,
                topic => arrived.push(topic),
            }
        }
        assert_eq!(arrived, topics, "at the broker");
    }
}

/// Subscribes to one filter: whether it was granted.
async fn granted(client: &mut Link, filter: &str) -> bool {
    client.send(&subscribe(VERSION, 7, &[(filter, 0)])).await;
    let answer = client.packet().await;
    match answer.bytes() {
        granted if granted == suback(VERSION, 7, &[0]) => true,
        refused if refused == suback(VERSION, 7, &[0x80]) => false,
        _ => panic!("no answer to SUBSCRIBE {filter}: {answer:?}"),
    }
}

/// Publishes, and waits for the acknowledgement, which a message that was dropped has as well.
async fn publish(client: &mut Link, topic: &str) {
    let publish = Publish::new(VERSION, topic).qos(1, 9).bytes("");
    client.send(&publish).await;
    client.expect(&puback(9)).await;
}

/// Publishes what comes back to the client itself, with nothing else to wait for.
async fn publish_to_itself(client: &mut Link, topic: &str, delivered: &str) {
    client.send(&Publish::new(VERSION, topic).bytes("")).await;
    assert_eq!(client.message().await.topic, delivered);
}

/// Asserts that a client is not let in.
async fn is_refused(mproxy: &Mproxy, connect: Connect) {
    let mut client = Link::tcp(mproxy.addr()).await;
    client.send(&connect.bytes()).await;
    client.expect(&connack(VERSION, 5)).await;
    client.closed().await;
}

async fn is_refused_with_will(mproxy: &Mproxy, client_id: &str, topic: &str) {
    let connect = Connect::new(VERSION, client_id).will(topic, "", 0, false);
    is_refused(mproxy, connect).await;
}

async fn user(mproxy: &Mproxy, client_id: &str, username: &str) -> Link {
    let mut link = Link::tcp(mproxy.addr()).await;
    let connect = Connect::new(VERSION, client_id).credentials(username, "secret");
    link.connect(&connect).await;
    link
}

/// All cases in one test: the broker takes its time to start.
#[tokio::test]
async fn rabbitmq_reads_nothing_that_the_layers_did_not_judge() {
    let broker = PeerBroker::rabbitmq_with_users(&["acme", "acme.eu"]).await;
    let mut subject = Subject::new(broker, "amqp").await;

    // devices own what is theirs, and no more
    let mproxy = subject.behind(OWN_DEVICES).await;
    let mut star = Link::client(mproxy.addr(), VERSION, "*").await;
    for filter in ["devices/*/#", "devices/*/up", "devices.*.up", "*/*/*"] {
        assert!(!granted(&mut star, filter).await, "{filter}");
    }
    publish(&mut star, "devices/*/up").await;
    let mut dotted = Link::client(mproxy.addr(), VERSION, "dev1.key").await;
    assert!(!granted(&mut dotted, "devices/dev1.key/#").await);
    publish(&mut dotted, "devices/dev1.key/up").await;
    for client_id in ["dev1.key", "*"] {
        is_refused_with_will(&mproxy, client_id, &format!("devices/{client_id}/gone")).await;
    }
    subject.arrived(&[]).await;
    // a device that writes dots for slashes goes on as before: to the broker it is the same
    let mut dev1 = Link::client(mproxy.addr(), VERSION, "dev1").await;
    assert!(granted(&mut dev1, "devices.dev1.down").await);
    publish(&mut dev1, "devices.dev1.up").await;
    publish(&mut dev1, "devices/dev1.up").await;
    subject
        .arrived(&["devices/dev1/up", "devices/dev1/up"])
        .await;
    for topic in ["devices.dev2.down", "devices.dev1.down"] {
        let publish = Publish::new(VERSION, topic).bytes("");
        subject.insider.send(&publish).await;
    }
    assert_eq!(dev1.message().await.topic, "devices/dev1/down");
    for link in [&mut star, &mut dotted, &mut dev1] {
        link.silent().await;
    }
    subject
        .arrived(&["devices/dev2/down", "devices/dev1/down"])
        .await;

    // what is denied is denied, however it is spelled
    let mproxy = subject.behind(NO_SECRETS).await;
    let mut client = Link::client(mproxy.addr(), VERSION, "c").await;
    for filter in [
        "secret.x",
        "secret/x",
        "*/x",
        "*.x",
        "#",
        "+/x",
        "$internal.x",
        "$share/g/other",
    ] {
        assert!(!granted(&mut client, filter).await, "{filter}");
    }
    for topic in [
        "secret.x",
        "secret.",
        "secret/x.y",
        "other/*",
        "$internal.x",
    ] {
        publish(&mut client, topic).await;
        is_refused_with_will(&mproxy, "w", topic).await;
    }
    subject.arrived(&[]).await;
    assert!(granted(&mut client, "other.x").await);
    publish_to_itself(&mut client, "other.x", "other/x").await;
    subject.arrived(&["other/x"]).await;
    // what the broker kept is no other way in
    let kept = Publish::new(VERSION, "secret.kept").retain().bytes("");
    subject.insider.send(&kept).await;
    subject.arrived(&["secret/kept"]).await;
    assert!(!granted(&mut client, "secret.kept").await);
    client.silent().await;

    // a user of a virtual host is that user
    let mproxy = subject.behind(NO_SECRETS_FOR_ACME).await;
    let connect = Connect::new(VERSION, "host").credentials("/:acme", "secret");
    is_refused(&mproxy, connect).await;
    let mut acme = user(&mproxy, "acme", "acme").await;
    assert!(!granted(&mut acme, "secret/#").await);
    publish(&mut acme, "secret/acme").await;

    // a tenant is no other tenant's department
    let mproxy = subject.behind(TENANTS).await;
    let connect = Connect::new(VERSION, "eu").credentials("acme.eu", "secret");
    is_refused(&mproxy, connect).await;
    let mut acme = user(&mproxy, "acme", "acme").await;
    assert!(granted(&mut acme, "*.x").await);
    for topic in ["tenants.acme.eu.x", "tenants.acme/y.x"] {
        let publish = Publish::new(VERSION, topic).bytes("");
        subject.insider.send(&publish).await;
    }
    for topic in ["eu/x", "y/x"] {
        assert_eq!(acme.message().await.topic, topic);
    }
    publish_to_itself(&mut acme, "a.x", "a/x").await;
    publish(&mut acme, "a/*").await;
    acme.silent().await;
    subject
        .arrived(&["tenants/acme/eu/x", "tenants/acme/y/x", "tenants/acme/a/x"])
        .await;
}

#[tokio::test]
async fn nats_reads_nothing_that_the_layers_did_not_judge() {
    let mut subject = Subject::new(PeerBroker::nats().await, "nats").await;

    // NATS lets nobody call itself `*`: a user name is not looked at. Nor does it let in one that
    // takes over its own session too often, so that here each has a name of its own.
    let mproxy = subject.behind(OWN_TOPICS).await;
    for (client_id, username) in [("star", "*"), ("arrow", ">")] {
        let mut client = user(&mproxy, client_id, username).await;
        let own = format!("users/{username}");
        for filter in ["users/*/#", "users/*/up", "users/>", ">", "*/*/up"] {
            assert!(!granted(&mut client, filter).await, "{username}: {filter}");
        }
        publish(&mut client, &own).await;
        let connect = Connect::new(VERSION, "w").credentials(username, "secret");
        is_refused(&mproxy, connect.will(&own, "", 0, false)).await;
    }
    subject.arrived(&[]).await;
    // here a dot is a letter
    let mut dotted = user(&mproxy, "dotted", "dev1.key").await;
    assert!(granted(&mut dotted, "users/dev1.key/>").await);
    publish_to_itself(&mut dotted, "users/dev1.key/up", "users/dev1.key/up").await;
    subject.arrived(&["users/dev1.key/up"]).await;

    let mproxy = subject.behind(NO_SECRETS).await;
    let mut client = Link::client(mproxy.addr(), VERSION, "c").await;
    for filter in ["secret/>", "*/x", ">", "#", "$internal/>", "$share/g/other"] {
        assert!(!granted(&mut client, filter).await, "{filter}");
    }
    for topic in ["secret/x.y", "other/*", "other/>", "$internal/x"] {
        publish(&mut client, topic).await;
        is_refused_with_will(&mproxy, "w", topic).await;
    }
    subject.arrived(&[]).await;
    publish(&mut client, "secret.x").await;
    subject.arrived(&["secret.x"]).await;

    let mproxy = subject.behind(TENANTS).await;
    for username in ["*", ">"] {
        let connect = Connect::new(VERSION, "t").credentials(username, "secret");
        is_refused(&mproxy, connect).await;
    }
    let mut acme = user(&mproxy, "acme", "acme").await;
    let mut branch = user(&mproxy, "branch", "acme.eu").await;
    for client in [&mut acme, &mut branch] {
        assert!(granted(client, ">").await);
    }
    publish_to_itself(&mut branch, "a.x", "a.x").await;
    publish(&mut branch, "a/*").await;
    acme.silent().await;
    subject.arrived(&["tenants/acme.eu/a.x"]).await;
}

/// The bytes on both wires, in every version.
#[tokio::test]
async fn what_the_broker_reads_is_judged_in_every_version() {
    let broker = FakeBroker::bind().await;
    let setup = Setup::before(&broker.url()).toml(NO_SECRETS);
    let setup = setup.set("upstreams.broker.dialect", "amqp");
    let setup = setup.set("layers.acl.check_response_topics", "true");
    let mproxy = setup.start().await;
    for version in Version::ALL {
        let denied = if version.is_v5() { 0x87 } else { 0x80 };
        let unreadable = if version.is_v5() { 0x8f } else { 0x80 };
        let client = Link::client(mproxy.addr(), version, "c");
        let (mut client, (mut server, _)) = tokio::join!(client, broker.accept());

        let filters = [("other.*", 0), ("secret.x", 0), ("a*", 0), ("*", 0)];
        client.send(&subscribe(version, 1, &filters)).await;
        // as it was written: the acl judges, and changes nothing
        server.expect(&subscribe(version, 1, &filters[..1])).await;
        server.send(&suback(version, 1, &[0])).await;
        let codes = [0, denied, unreadable, denied];
        client.expect(&suback(version, 1, &codes)).await;

        for topic in ["secret.x", "a/*"] {
            let publish = Publish::new(version, topic).qos(1, 2).bytes("no");
            client.send(&publish).await;
            let answer = client.packet().await;
            assert_eq!((answer.kind(), answer.id()), (4, 2));
            assert_eq!(answer.body().get(2), version.is_v5().then_some(&0x87));
        }
        if version.is_v5() {
            let response = [&[8][..], &field("secret.x")].concat();
            let publish = Publish::new(version, "other").qos(1, 2);
            client
                .send(&publish.properties(&response).bytes("no"))
                .await;
            assert_eq!(client.packet().await.body().get(2), Some(&0x87));
        }
        let fence = Publish::new(version, "other.x").bytes("yes");
        client.send(&fence).await;
        server.expect(&fence).await;

        let mut refused = Link::tcp(mproxy.addr()).await;
        let connect = Connect::new(version, "w").will("secret.x", "no", 0, false);
        refused.send(&connect.bytes()).await;
        let code = refused.packet().await.body()[1];
        assert_eq!(code, if version.is_v5() { 0x87 } else { 5 });
    }
}

/// A delivery that a broker spells otherwise than it should is judged like the others.
#[tokio::test]
async fn deliveries_are_judged_as_the_broker_reads_them() {
    let broker = FakeBroker::bind().await;
    let setup = Setup::before(&broker.url()).toml(NO_SECRETS);
    let setup = setup.set("upstreams.broker.dialect", "amqp");
    let setup = setup.set("layers.acl.subscribe", "mosquitto");
    let mproxy = setup.start().await;
    for version in Version::ALL {
        let client = Link::client(mproxy.addr(), version, "c");
        let (mut client, (mut server, _)) = tokio::join!(client, broker.accept());
        for topic in ["secret/x", "secret.x", "$internal/x", "a*"] {
            server.send(&Publish::new(version, topic).bytes("no")).await;
        }
        let fence = Publish::new(version, "other/x").bytes("yes");
        server.send(&fence).await;
        client.expect(&fence).await;
    }
}

#[tokio::test]
async fn topics_are_mapped_as_the_broker_reads_them() {
    let broker = FakeBroker::bind().await;
    let setup = Setup::before(&broker.url()).toml(TENANTS);
    let setup = setup.set("upstreams.broker.dialect", "amqp");
    let mproxy = setup.start().await;
    for version in Version::ALL {
        let connect = Connect::new(version, "c").username("acme");
        let asked = connect.clone().will("a.gone", "bye", 0, false);
        let mapped = connect.will("tenants/acme/a/gone", "bye", 0, false);
        let mut client = Link::tcp(mproxy.addr()).await;
        let (_, (mut server, packet)) = tokio::join!(client.connect(&asked), broker.accept());
        assert_eq!(packet.bytes(), mapped.bytes());

        client.send(&Publish::new(version, "a.b").bytes("1")).await;
        let mapped = Publish::new(version, "tenants/acme/a/b").bytes("1");
        server.expect(&mapped).await;
        client.send(&subscribe(version, 1, &[("a.*", 0)])).await;
        let mapped = subscribe(version, 1, &[("tenants/acme/a/+", 0)]);
        server.expect(&mapped).await;
        client.send(&unsubscribe(version, 2, &["a.*"])).await;
        let mapped = unsubscribe(version, 2, &["tenants/acme/a/+"]);
        server.expect(&mapped).await;
        for (topic, seen) in [("tenants/acme/eu/x", "eu/x"), ("tenants.acme.eu.x", "eu/x")] {
            server.send(&Publish::new(version, topic).bytes("2")).await;
            let seen = Publish::new(version, seen).bytes("2");
            client.expect(&seen).await;
        }

        let mut refused = Link::tcp(mproxy.addr()).await;
        let connect = Connect::new(version, "eu").username("acme.eu");
        refused.send(&connect.bytes()).await;
        let reason = "the client has no user name that can stand in a topic of this broker, to which \
                      `.` is `/` and `*` is `+`";
        let expected = match version {
            Version::V31 | Version::V311 => connack(version, 5),
            Version::V5 => {
                let reason = properties(&[&[0x1f][..], &field(reason)].concat());
                frame(0x20, &[&[0, 0x87][..], &reason].concat())
            }
        };
        refused.expect(&expected).await;
    }
}
