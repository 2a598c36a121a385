//! A32: a will is published by the broker, where no rule is asked.

use mproxy_tests::wire::{Version, frame};
use mproxy_tests::{Mosquitto, Setup};

use super::{ALL, RULES, Rig, V5, answer_to, ends, heard, observer, turned_away, ways};

#[tokio::test]
async fn a32_a_will_on_a_denied_topic() {
    let rig = Rig::start().await;
    for way in ways(ALL) {
        for topic in [
            "denied/x",
            "open/secret",
            "devices/other/x",
            "$SYS/x",
            "$delayed/1/open/x",
        ] {
            for (qos, retain) in [(0, false), (1, true), (2, false)] {
                let connect = way.connect("d7").will(topic, "no", qos, retain);
                let mut client = way.link(&rig.mproxy).await;
                client.send(&connect.bytes()).await;
                let (packets, _) = client.rest().await;
                let code = packets[0].body()[1];
                let wanted = if way.version.is_v5() { 0x87 } else { 5 };
                assert_eq!((packets[0].kind(), code), (2, wanted), "{way:?} {topic}");
            }
        }
        let own = way.connect("d7").will("devices/d7/x", "yes", 1, true);
        let (client, _server) = rig.session(way, &own).await;
        drop(client);
    }
    rig.nothing_before_a_fence().await;
}

/// What a broker takes is its own business: the proxy passes what it says, and nothing that was sent
/// behind.
#[tokio::test]
async fn a32_a_will_of_a_qos_that_the_broker_does_not_take() {
    let rig = Rig::start().await;
    for way in ways(ALL) {
        let connect = way.connect("d7").will("devices/d7/gone", "no", 2, true);
        let mut bytes = connect.bytes();
        bytes.extend(way.publish("devices/d7/up").qos(2, 1).bytes("no"));
        let mut client = way.link(&rig.mproxy).await;
        client.send(&bytes).await;
        let mut server = rig.broker.session().await;
        server.expect(&connect.bytes()).await;
        let refusal = match way.version {
            Version::V31 | Version::V311 => vec![0x20, 2, 0, 5],
            Version::V5 => frame(0x20, &[0, 0x9b, 0]),
        };
        server.send(&refusal).await;
        let told = ends(client, server).await;
        let told: Vec<_> = told.iter().map(|it| it.bytes().to_vec()).collect();
        assert_eq!(told, [refusal], "{way:?}");
    }

    let broker = Mosquitto::up_to_qos_1().await;
    let setup = Setup::before(&broker.unix_url()).websocket().toml(RULES);
    let mproxy = setup.start().await;
    let mut observer = observer(&broker).await;
    for way in ways(ALL) {
        let mortal = |qos, text| way.connect("d7").will("devices/d7/gone", text, qos, false);
        let mut client = way.link(&mproxy).await;
        client.send(&mortal(2, "no").bytes()).await;
        match way.version {
            // this broker just closes
            Version::V31 | Version::V311 => client.closed().await,
            Version::V5 => turned_away(client, way, [0, 0x9b]).await,
        }
        let mut client = way.link(&mproxy).await;
        client.connect(&mortal(1, "yes")).await;
        client.reset();
        heard(&mut observer, "devices/d7/gone", "yes").await;
    }
}

/// Whoever answers a will publishes where the will says.
#[tokio::test]
async fn a32_a_response_topic_of_a_will_that_is_denied() {
    let checked = |setup: Setup| {
        let setup = setup.toml(RULES);
        setup.set("layers.acl.check_response_topics", "true")
    };
    let stripped = |setup| checked(setup).set("layers.acl.will", "strip");
    let refusing = Rig::with(checked).await;
    let stripping = Rig::with(stripped).await;
    let broker = Mosquitto::start().await;
    let before = || Setup::before(&broker.url()).websocket();
    let (real, real_stripping) = (
        checked(before()).start().await,
        stripped(before()).start().await,
    );
    let mut observer = observer(&broker).await;
    for way in ways(V5) {
        let mortal = |topic: &str, text: &str, qos, retain| {
            let connect = way.connect("d7").will("devices/d7/gone", text, qos, retain);
            connect.will_properties(&answer_to(topic))
        };
        for topic in [
            "denied/x",
            "open/secret",
            "devices/d8/x",
            "$SYS/x",
            "$queue/x",
        ] {
            for (qos, retain) in [(0, false), (1, true), (2, false)] {
                let connect = mortal(topic, "no", qos, retain);
                for mproxy in [&refusing.mproxy, &real] {
                    let mut client = way.link(mproxy).await;
                    client.send(&connect.bytes()).await;
                    turned_away(client, way, [5, 0x87]).await;
                }
                // let in, and mortal no more
                let mut client = way.link(&stripping.mproxy).await;
                client.send(&connect.bytes()).await;
                let mut server = stripping.broker.session().await;
                server.expect(&way.connect("d7").bytes()).await;
                let mut client = way.link(&real_stripping).await;
                client.connect(&connect).await;
                client.reset();
            }
        }
        let own = mortal("devices/d7/answers", "yes", 1, false);
        refusing.session(way, &own).await;
        for mproxy in [&real, &real_stripping] {
            let mut client = way.link(mproxy).await;
            client.connect(&own).await;
            client.reset();
            let message = observer.message().await;
            assert_eq!(
                (&*message.topic, message.text()),
                ("devices/d7/gone", "yes")
            );
            assert_eq!(message.properties, answer_to("devices/d7/answers"));
        }
    }
    refusing.nothing_before_a_fence().await;
}
