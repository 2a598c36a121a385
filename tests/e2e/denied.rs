//! What the last line of a session says about what was denied.

use mproxy_tests::wire::{Connect, Publish, Version, pubrel, subscribe};
use mproxy_tests::{Link, Mosquitto, Setup};

const LAYERS: &str = r##"
[layers.log]
type = "access-log"
[layers.map]
type = "topic-map"
[[layers.map.rules]]
from = "own/"
to = "devices/${client_id}/"
[layers.acl]
type = "acl"
[[layers.acl.rules]]
allow = ["publish", "subscribe"]
topics = ["devices/${client_id}/#"]
"##;

/// One thing that a client does, and how many packets it is that a layer refuses.
struct Case {
    name: &'static str,
    packets: Vec<Vec<u8>>,
    /// How many packets are answered.
    answers: usize,
    denied: u64,
}

fn cases(version: Version, own: &str) -> Vec<Case> {
    let own = format!("{own}/a");
    let case = |name, packets, answers, denied| Case {
        name,
        packets,
        answers,
        denied,
    };
    let filters = |list: &[(&str, u8)]| vec![subscribe(version, 1, list)];
    let publish = |topic: &str, qos, id| Publish::new(version, topic).qos(qos, id).bytes("x");
    vec![
        case("nothing", filters(&[(&own, 0)]), 1, 0),
        case("a SUBSCRIBE", filters(&[("other/#", 0)]), 1, 1),
        case(
            "every filter of a SUBSCRIBE",
            filters(&[("other/#", 0), ("b/#", 1)]),
            1,
            1,
        ),
        case(
            "a part of a SUBSCRIBE",
            filters(&[(&own, 0), ("other/#", 1)]),
            1,
            1,
        ),
        case(
            "two SUBSCRIBE",
            [filters(&[("x", 0)]), filters(&[("y", 0)])].concat(),
            2,
            2,
        ),
        case("QoS 0", vec![publish("other/a", 0, 0)], 0, 1),
        case("QoS 1", vec![publish("other/a", 1, 7)], 1, 1),
        case("QoS 2", vec![publish("other/a", 2, 7), pubrel(7)], 2, 1),
        case(
            "one PUBLISH of two",
            vec![publish(&own, 1, 1), publish("other/a", 1, 2)],
            2,
            1,
        ),
    ]
}

/// Runs every case as a session of its own, each ended by DISCONNECT or by a broken connection.
async fn check(layers: &str, own: &str) {
    let broker = Mosquitto::start().await;
    let chain = format!("[chains.default]\nlayers = [{layers}]\n{LAYERS}");
    let mproxy = Setup::before(&broker.url()).toml(&chain).start().await;
    for version in Version::ALL {
        for says_goodbye in [true, false] {
            for number in 0..cases(version, own).len() {
                let client_id = format!("c{number}-{version:?}-{says_goodbye}");
                let own = own.replace("CLIENT", &client_id);
                let case = cases(version, &own).swap_remove(number);
                let mut client = Link::client(mproxy.addr(), version, &client_id).await;
                for packet in &case.packets {
                    client.send(packet).await;
                }
                for _ in 0..case.answers {
                    client.packet().await;
                }
                if says_goodbye {
                    client.leave().await;
                } else {
                    // what is sent before is read before the end is
                    drop(client);
                }
                let end = mproxy.end_of(&client_id).await;
                assert_eq!(
                    end["denied"], case.denied,
                    "{} of {layers}: {end}",
                    case.name
                );
            }
        }
    }
}

/// A client whose SUBSCRIBE was denied had `denied` 0 in the line that an operator bills and debugs by.
#[tokio::test]
async fn every_packet_of_the_client_that_a_layer_refuses_is_counted() {
    for log in ["", "\"log\", "] {
        check(&format!("{log}\"acl\""), "devices/CLIENT").await;
        check(&format!("{log}\"map\""), "own").await;
    }
}

/// A client that a layer turned away, or whose will it took out, had 0 as well.
#[tokio::test]
async fn a_connect_that_a_layer_refuses_is_counted() {
    let broker = Mosquitto::start().await;
    for (will, denied) in [("refuse", 1), ("strip", 1)] {
        let chain = format!("[chains.default]\nlayers = [\"acl\"]\n{LAYERS}");
        let setup = Setup::before(&broker.url()).toml(&chain);
        let mproxy = setup.set("layers.acl.will", will).start().await;
        for version in Version::ALL {
            let client_id = format!("{version:?}");
            let connect = Connect::new(version, &client_id).will("other/a", "", 0, false);
            let mut client = Link::tcp(mproxy.addr()).await;
            client.send(&connect.bytes()).await;
            client.packet().await;
            drop(client);
            let end = mproxy.end_of(&client_id).await;
            assert_eq!(end["denied"], denied, "{will}: {end}");
        }
    }
    let chain = "[chains.default]\nlayers = [\"ids\"]\n\
                 [layers.ids]\ntype = \"client-id\"\nrequire = \"equals-username\"\n";
    let mproxy = Setup::before(&broker.url()).toml(chain).start().await;
    let mut client = Link::tcp(mproxy.addr()).await;
    client.send(&Connect::new(Version::V5, "c").bytes()).await;
    client.rest().await;
    assert_eq!(mproxy.end_of("c").await["denied"], 1);
}

/// The other direction, and what ends a session.
#[tokio::test]
async fn deliveries_and_the_packet_that_ends_a_session_are_counted() {
    let broker = Mosquitto::start().await;
    let chain = format!("[chains.default]\nlayers = [\"log\", \"acl\"]\n{LAYERS}");
    let setup = || Setup::before(&broker.url()).toml(&chain);
    let mproxy = setup()
        .set("layers.acl.subscribe", "mosquitto")
        .start()
        .await;
    for version in Version::ALL {
        let client_id = format!("r{version:?}");
        let mut client = Link::client(mproxy.addr(), version, &client_id).await;
        client.subscribe("#", 0).await;
        let mut sender = Link::client(broker.addr(), version, "sender").await;
        let own = format!("devices/{client_id}/a");
        for topic in ["other/a", "other/b", &own] {
            sender.send(&Publish::new(version, topic).bytes("x")).await;
        }
        assert_eq!(client.message().await.topic, own);
        client.leave().await;
        let end = mproxy.end_of(&client_id).await;
        assert_eq!(end["denied"], 2, "{end}");
    }

    let mproxy = setup()
        .set("layers.acl.on_deny", "disconnect")
        .start()
        .await;
    for version in Version::ALL {
        for (number, packet) in [
            Publish::new(version, "other/a").bytes("x"),
            Publish::new(version, "other/a").qos(2, 1).bytes("x"),
            subscribe(version, 1, &[("devices/x", 0), ("other/#", 0)]),
        ]
        .iter()
        .enumerate()
        {
            let client_id = format!("d{number}{version:?}");
            let mut client = Link::client(mproxy.addr(), version, &client_id).await;
            client.send(packet).await;
            client.rest().await;
            let end = mproxy.end_of(&client_id).await;
            assert_eq!(end["denied"], 1, "{end}");
        }
    }
}
