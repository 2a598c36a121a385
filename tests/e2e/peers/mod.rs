//! What clients of several makers can do with brokers of several makers, directly and through the
//! proxy: everything that works without it works with it, in every version that both speak.
//!
//! Each broker is first tried directly, at the same time and by the same client. What it does not
//! do then is listed here with its reason, and must not work through the proxy either.

mod cases;
mod programs;
mod rumqttc;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use mproxy_tests::clients::{node_script, python_script};
use mproxy_tests::peers::PeerBroker;
use mproxy_tests::wire::{Connect, Version};
use mproxy_tests::{Link, Mosquitto, Mproxy, Process, Setup};
use tokio::process::Command;

/// What is tried, one after the other.
const FEATURES: [&str; 11] = [
    "qos0",
    "qos1",
    "qos2",
    "empty",
    "large",
    "long_topic",
    "retained",
    "will",
    "takeover",
    "unsubscribe",
    "persistent",
];

/// The ways of a client to a broker.
const WAYS: [&str; 3] = ["direct", "tcp", "ws"];

/// A broker and what it is known for.
struct Subject {
    addr: SocketAddr,
    /// Which versions it speaks.
    versions: &'static [&'static str],
    /// What it does not do, and why.
    cannot: &'static [(&'static str, &'static str)],
    /// What it does now and then, and what it does instead.
    unreliable: &'static [(&'static str, &'static str)],
    /// What is not tried, because of what it does to the rest.
    harmful: &'static [(&'static str, &'static str)],
}

/// A client of somebody else, about to be run with its arguments.
type Client = fn(&Subject, &Mproxy) -> Command;

impl Subject {
    async fn proxy(&self) -> Mproxy {
        Setup::before(&format!("mqtt://{}", self.addr))
            .websocket()
            .start()
            .await
    }

    fn names(&self) -> String {
        let listed = self.cannot.iter().chain(self.unreliable);
        let names = listed.map(|(feature, _)| (*feature).to_owned());
        let untried = self
            .harmful
            .iter()
            .map(|(feature, _)| format!("!{feature}"));
        let names: Vec<_> = names.chain(untried).collect();
        if names.is_empty() {
            "-".to_owned()
        } else {
            names.join(",")
        }
    }

    fn arguments(&self) -> [String; 3] {
        [
            self.addr.port().to_string(),
            self.versions.join(","),
            self.names(),
        ]
    }

    /// Every feature in every version by every way, and nothing else.
    async fn holds(&self, clients: &[(&str, Client)]) {
        let mproxy = self.proxy().await;
        for (name, client) in clients {
            let (code, output) = Process::run(client(self, &mproxy)).await;
            assert_eq!(code, 0, "{name}: {output}");
            self.compare(name, self.versions, &WAYS, &output);
        }
        // one that knows neither 3.1 nor WebSocket
        let versions = self.versions.iter().copied().filter(|it| *it != "3.1");
        let versions: Vec<_> = versions.collect();
        let (broker, proxy) = (self.addr, mproxy.addr());
        let output = rumqttc::run(broker, proxy, &versions, &self.names()).await;
        self.compare("rumqttc", &versions, &WAYS[..2], &output);
        // and two that know no WebSocket
        let output = programs::run(broker, proxy, self.versions, &self.names()).await;
        self.compare(
            "mosquitto_pub, mosquitto_sub",
            self.versions,
            &WAYS[..2],
            &output,
        );
        let metrics = mproxy.metrics().await;
        assert!(metrics.sum("mproxy_session_panics_total") < 0.5);
    }

    fn compare(&self, client: &str, versions: &[&str], ways: &[&str], output: &str) {
        let results: BTreeMap<_, _> = output
            .lines()
            .filter_map(|line| line.split_once(": "))
            .collect();
        for version in versions {
            for way in ways {
                for feature in FEATURES {
                    let cell = format!("{version} {way} {feature}");
                    let result = results.get(&*cell);
                    let result = result.unwrap_or_else(|| panic!("{client}: no {cell}: {output}"));
                    if self.unreliable.iter().any(|(name, _)| *name == feature) {
                        println!("{client}, {cell}: {result}");
                        continue;
                    }
                    let mut reasons = self.cannot.iter().chain(self.harmful);
                    let reason = reasons.find(|(name, _)| *name == feature);
                    assert_eq!(
                        *result == "ok",
                        reason.is_none(),
                        "{client}, {cell}: {result}; {reason:?}"
                    );
                }
            }
        }
    }

    /// Versions that it does not speak are refused by it, and not by the proxy: in the same bytes, or
    /// by a connection that is closed.
    async fn refuses_other_versions(&self) {
        let mproxy = self.proxy().await;
        for (version, name) in [
            (Version::V31, "3.1"),
            (Version::V311, "3.1.1"),
            (Version::V5, "5"),
        ] {
            let answer = async |addr| {
                let mut link = Link::tcp(addr).await;
                link.send(&Connect::new(version, "stranger").bytes()).await;
                let packet = link.packet_or_end().await;
                packet.map(|packet| packet.bytes().to_vec())
            };
            let (direct, proxied) = (answer(self.addr).await, answer(mproxy.addr()).await);
            let accepted = direct.as_ref().is_some_and(|it| it[3] == 0);
            assert_eq!(accepted, self.versions.contains(&name), "{name}");
            // also a refusal in the words of MQTT 3 to a client of MQTT 5
            assert_eq!(proxied, direct, "{name}");
        }
    }
}

fn paho(subject: &Subject, mproxy: &Mproxy) -> Command {
    let mut command = python_script("paho_features.py");
    command.args(subject.arguments()).args([
        format!("direct=tcp:{}", subject.addr.port()),
        format!("tcp=tcp:{}", mproxy.addr().port()),
        format!("ws=websockets:{}", mproxy.listener("ws").port()),
    ]);
    command
}

fn mqttjs(subject: &Subject, mproxy: &Mproxy) -> Command {
    let mut command = node_script("mqttjs_features.js");
    command.args(subject.arguments()).args([
        format!("direct=mqtt://{}", subject.addr),
        format!("tcp=mqtt://{}", mproxy.addr()),
        format!("ws=ws://{}/mqtt", mproxy.listener("ws")),
    ]);
    command
}

const CLIENTS: [(&str, Client); 2] = [("paho", paho), ("MQTT.js", mqttjs)];

#[tokio::test]
async fn mosquitto() {
    let broker = Mosquitto::start().await;
    let subject = Subject {
        addr: broker.addr(),
        versions: &["3.1", "3.1.1", "5"],
        cannot: &[],
        unreliable: &[],
        harmful: &[],
    };
    subject.holds(&CLIENTS).await;
    subject.refuses_other_versions().await;
}

#[tokio::test]
async fn aedes() {
    let broker = PeerBroker::aedes().await;
    let subject = Subject {
        addr: broker.addr(),
        versions: &["3.1", "3.1.1"],
        cannot: &[],
        unreliable: &[],
        harmful: &[],
    };
    subject.holds(&CLIENTS).await;
    subject.refuses_other_versions().await;
}

#[tokio::test]
async fn amqtt() {
    let broker = PeerBroker::amqtt().await;
    let subject = Subject {
        addr: broker.addr(),
        versions: &["3.1.1"],
        cannot: &[("takeover", "leaves the old connection of a client open")],
        unreliable: &[(
            "persistent",
            "sends what waited in another order, or not at all",
        )],
        harmful: &[(
            "retained",
            "delivers retained messages to subscriptions of other topics",
        )],
    };
    subject.holds(&CLIENTS).await;
    subject.refuses_other_versions().await;
}

#[tokio::test]
async fn rabbitmq() {
    let broker = PeerBroker::rabbitmq().await;
    let subject = Subject {
        addr: broker.addr(),
        versions: &["3.1", "3.1.1"],
        cannot: &[("qos2", "makes it QoS 1")],
        unreliable: &[],
        harmful: &[],
    };
    subject.holds(&CLIENTS).await;
    subject.refuses_other_versions().await;
}
