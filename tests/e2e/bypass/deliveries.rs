//! A41: what a client gets by a subscription that no rule was asked about, because it was made
//! before, or past the proxy.

use mproxy_tests::wire::{
    Connect, Publish, Version, puback, pubcomp, pubrec, pubrel, suback, subscribe, unsubscribe,
};
use mproxy_tests::{Link, Mosquitto, Mproxy, Setup};

use super::{ALL, RULES, Rig, Way, nothing_arrives, ways};

/// More than a broker has in flight for one client: what is dropped has to be acknowledged.
const MANY: usize = 40;

/// Rules for deliveries too.
fn judged(setup: Setup) -> Setup {
    setup.toml(RULES).set("layers.acl.subscribe", "mosquitto")
}

/// Rules for subscriptions, which say all there is to say about deliveries.
fn strict(setup: Setup) -> Setup {
    setup.toml(RULES)
}

/// A client's topics below a prefix.
fn mapped(setup: Setup) -> Setup {
    setup.toml(
        "[chains.default]\nlayers = [\"map\"]\n[layers.map]\ntype = \"topic-map\"\n\
         prefix = \"tenants/${username}/\"\n",
    )
}

/// Has a session of this CONNECT subscribe to everything, where no rule is asked.
async fn subscribe_past_the_proxy(broker: &Mosquitto, connect: &Connect) {
    let mut link = Link::tcp(broker.addr()).await;
    link.connect(connect).await;
    link.subscribe("#", 1).await;
    link.leave().await;
}

async fn publish(publisher: &mut Link, publish: Publish, payload: &str) {
    publisher.send(&publish.qos(1, 1).bytes(payload)).await;
    assert_eq!(publisher.packet().await.kind(), 4);
}

/// Of each QoS, what must not be read is dropped, and acknowledged to its end.
#[tokio::test]
async fn a41_deliveries_that_nobody_asked_for() {
    let (rules, map) = (Rig::with(judged).await, Rig::with(mapped).await);
    for way in ways(ALL) {
        let connect = way.connect("d7").username("acme");
        for (rig, denied, own, told) in [
            (
                &rules,
                ["denied/x", "open/secret", "devices/d8/x", "$SYS/x", "x"],
                "devices/d7/x",
                "devices/d7/x",
            ),
            (
                &map,
                [
                    "x",
                    "tenants/other/x",
                    "tenants/acme",
                    "tenants/acme/$x",
                    "$SYS/x",
                ],
                "tenants/acme/x",
                "x",
            ),
        ] {
            let (mut client, mut server) = rig.session(way, &connect).await;
            for topic in denied {
                let denied = |qos, id| way.publish(topic).qos(qos, id).retain().bytes("no");
                server.send(&denied(0, 0)).await;
                server.send(&denied(1, 1)).await;
                server.expect(&puback(1)).await;
                server.send(&denied(2, 2)).await;
                server.expect(&pubrec(2)).await;
                server.send(&pubrel(2)).await;
                server.expect(&pubcomp(2)).await;
            }
            assert!(nothing_arrives(&mut client, &mut server).await.is_empty());
            server.send(&way.publish(own).qos(1, 3).bytes("yes")).await;
            let message = client.message().await;
            assert_eq!((&*message.topic, message.text()), (told, "yes"), "{way:?}");
        }
    }
}

/// A proxy sees no subscription that was made before, or past it. At first only `subscribe =
/// "mosquitto"` judged what such a one brings, and with strict rules a client that resumed its
/// session was given everything.
#[tokio::test]
async fn a41_a_subscription_that_nobody_asked_about() {
    for rules in [judged, strict] {
        let broker = Mosquitto::start().await;
        let mproxy = rules(Setup::before(&broker.url()).websocket());
        let mproxy = mproxy.start().await;
        resumes_past_the_rules(&broker, &mproxy).await;
    }
}

async fn resumes_past_the_rules(broker: &Mosquitto, mproxy: &Mproxy) {
    let mut publisher = Link::client(broker.addr(), Version::V5, "publisher").await;
    for way in ways(ALL) {
        let client_id = format!("reader-{:?}-{}", way.version, way.ws);
        let connect = way.connect(&client_id).persistent();
        // made where no rule is asked, and then left
        let mut before = Link::tcp(broker.addr()).await;
        before.connect(&connect).await;
        before.subscribe("#", 1).await;
        before.leave().await;
        let own = format!("devices/{client_id}/down");
        // more of what is denied than a broker has in flight for one client
        for number in 0..40 {
            let topic = if number % 2 == 0 {
                "denied/x"
            } else {
                "open/secret"
            };
            let secret = Publish::new(Version::V5, topic).qos(1, 1).bytes("no");
            publisher.send(&secret).await;
            publisher.packet().await;
        }
        publisher
            .send(&Publish::new(Version::V5, &own).qos(1, 1).bytes("yes"))
            .await;
        publisher.packet().await;

        let mut client = way.link(mproxy).await;
        let answer = client.connect(&connect).await;
        let present = way.version != Version::V31;
        assert_eq!(answer.body()[0] == 1, present, "{way:?}: {answer:?}");
        let message = client.message().await;
        assert_eq!((&*message.topic, message.text()), (&*own, "yes"), "{way:?}");
        client.send(&puback(message.id)).await;
        // and while it listens
        publisher
            .send(&Publish::new(Version::V5, "denied/x").bytes("no"))
            .await;
        publisher
            .send(&Publish::new(Version::V5, &own).bytes("yes"))
            .await;
        let message = client.message().await;
        assert_eq!((&*message.topic, message.text()), (&*own, "yes"), "{way:?}");
        client.leave().await;
    }
}

/// The same with a map: what is not below the client's prefix is none of its topics.
#[tokio::test]
async fn a41_a_subscription_from_before_the_map() {
    let broker = Mosquitto::start().await;
    let mproxy = mapped(Setup::before(&broker.url()).websocket());
    let mproxy = mproxy.start().await;
    let mut publisher = Link::client(broker.addr(), Version::V5, "publisher").await;
    for way in ways(ALL) {
        let connect = way.connect(&name(way)).username("acme").persistent();
        subscribe_past_the_proxy(&broker, &connect).await;
        for number in 0..MANY {
            let topic = ["x", "tenants/other/x", "tenants/acme"][number % 3];
            publish(&mut publisher, Publish::new(Version::V5, topic), "no").await;
        }
        let own = Publish::new(Version::V5, "tenants/acme/x");
        publish(&mut publisher, own, "yes").await;
        let mut client = way.link(&mproxy).await;
        client.connect(&connect).await;
        let message = client.message().await;
        assert_eq!((&*message.topic, message.text()), ("x", "yes"), "{way:?}");
        client.send(&puback(message.id)).await;
        client.silent().await;
        client.leave().await;
        forget(&broker, way).await;
    }
}

/// What was published while that was allowed, and kept.
#[tokio::test]
async fn a41_retained_messages_of_topics_that_are_denied_by_now() {
    let broker = Mosquitto::start().await;
    let before = || Setup::before(&broker.url()).websocket();
    let rules = judged(before()).start().await;
    let strict = before().toml(RULES).start().await;
    let map = mapped(before()).start().await;
    let mut publisher = Link::client(broker.addr(), Version::V5, "publisher").await;
    for topic in ["denied/x", "open/secret", "x"] {
        let kept = Publish::new(Version::V5, topic).retain();
        publish(&mut publisher, kept, "no").await;
    }
    for topic in ["open/x", "tenants/acme/open/x"] {
        let kept = Publish::new(Version::V5, topic).retain();
        publish(&mut publisher, kept, "yes").await;
    }
    for way in ways(ALL) {
        for (mproxy, asked) in [
            (&rules, &["#", "denied/#", "open/x"][..]),
            (&strict, &["open/x"]),
            (&map, &["#"]),
        ] {
            let mut client = way.link(mproxy).await;
            client.connect(&way.connect("d7").username("acme")).await;
            for filter in asked {
                client.subscribe(filter, 0).await;
                if *filter == "denied/#" {
                    continue;
                }
                let message = client.message().await;
                assert_eq!(
                    (&*message.topic, message.text()),
                    ("open/x", "yes"),
                    "{way:?}"
                );
                assert!(message.retain);
            }
            client.silent().await;
            client.leave().await;
        }
    }
}

/// A subscription from before the rules cannot be made again, and everybody may leave it, which
/// ends it.
#[tokio::test]
async fn a41_strict_rules_renew_no_subscription() {
    let broker = Mosquitto::start().await;
    let strict = Setup::before(&broker.url()).websocket().toml(RULES);
    let strict = strict.start().await;
    let mut publisher = Link::client(broker.addr(), Version::V5, "publisher").await;
    for way in ways(ALL) {
        let connect = way.connect(&name(way)).persistent();
        subscribe_past_the_proxy(&broker, &connect).await;
        let mut client = way.link(&strict).await;
        client.connect(&connect).await;
        client.send(&subscribe(way.version, 1, &[("#", 1)])).await;
        client.expect(&suback(way.version, 1, &[way.no()])).await;
        client.send(&unsubscribe(way.version, 2, &["#"])).await;
        assert_eq!(client.packet().await.kind(), 11, "{way:?}");
        publish(&mut publisher, Publish::new(Version::V5, "denied/x"), "no").await;
        client.silent().await;
        client.leave().await;
        // nor while it is away
        publish(&mut publisher, Publish::new(Version::V5, "denied/x"), "no").await;
        let mut client = way.link(&strict).await;
        client.connect(&connect).await;
        client.silent().await;
        client.leave().await;
        forget(&broker, way).await;
    }
}

/// A client of each way, with a session of its own.
fn name(way: Way) -> String {
    format!("reader-{:?}-{}", way.version, way.ws)
}

/// Has the broker keep nothing more for it.
async fn forget(broker: &Mosquitto, way: Way) {
    let client = Link::client(broker.addr(), way.version, &name(way)).await;
    client.leave().await;
}
