//! Rules of the standard that no configuration of the program reaches: what hooks may do. The list
//! in `tests/rules/catalogue.rs` names these tests.

use std::time::Duration;

use mproxy_codec::{Direction, KindSet, PropertyId, ReasonCode, Value, Version};
use mproxy_session::{
    Connect, ConnectRefusal, Handler, HandlerLayer, Hooks, PublishMut, Refusal, SessionInfo, Tap,
};
use tower::Layer;

use crate::support::frames::{ConnectParts, properties};
use crate::support::hooks::{Gate, Seen, by_topic};
use crate::support::{Frames, Pair, Setup, admit, admit_all, settle};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

/// A connected pair whose publications wait for the gate below `held/`.
async fn held(version: Version) -> (Pair, Gate, Seen) {
    let (gate, seen) = (Gate::new(), Seen::default());
    let hook = by_topic(&gate, &seen);
    let hooks = admit(move |_| {
        Hooks::new(
            Tap::only(KindSet::PUBLISH, hook.clone()),
            Tap::only(KindSet::PUBLISH, hook.clone()),
        )
    });
    (Setup::new().connected(version, hooks).await, gate, seen)
}

/// R70: what follows waits, in either direction, and nobody is asked out of turn.
#[tokio::test(start_paused = true)]
async fn no_publish_overtakes_one_that_a_hook_holds() {
    for version in VERSIONS {
        for direction in [Direction::ToServer, Direction::ToClient] {
            let f = Frames(version);
            let (pair, gate, seen) = held(version).await;
            let (from, to) = match direction {
                Direction::ToServer => (&pair.client, &pair.broker),
                Direction::ToClient => (&pair.broker, &pair.client),
            };
            let sent: Vec<_> = [
                ("a/0", 0),
                ("held/1", 1),
                ("a/2", 2),
                ("held/3", 2),
                ("a/4", 1),
                ("a/5", 0),
            ]
            .iter()
            .enumerate()
            .map(|(id, (topic, qos))| f.publish(topic, *qos, id as u16 + 1, b"x"))
            .collect();
            from.send(&sent.concat());
            to.expect(&sent[0]).await;
            assert_eq!(seen.take(), ["a/0", "held/1"]);
            // more that comes meanwhile
            let late = f.publish("a/6", 0, 0, b"x");
            from.send(&late);
            to.expect(b"").await;
            gate.open(1);
            to.expect(&sent[1..3].concat()).await;
            assert_eq!(seen.take(), ["a/2", "held/3"]);
            gate.open(1);
            to.expect(&[sent[3..].concat(), late].concat()).await;
        }
    }
}

/// R38: a hook that takes its time in one direction holds up no PINGREQ, PINGRESP or
/// acknowledgement of the other, and the client that waits for it is not taken for silent.
#[tokio::test(start_paused = true)]
async fn a_hook_that_waits_starves_no_keep_alive() {
    for version in VERSIONS {
        let f = Frames(version);
        let (gate, seen) = (Gate::new(), Seen::default());
        let hook = by_topic(&gate, &seen);
        let setup = Setup::new().limits(|limits| limits.hook_timeout = Duration::from_secs(60));
        let hooks = admit(move |_| {
            Hooks::new(
                Tap::only(KindSet::PUBLISH, hook.clone()),
                Tap::only(KindSet::PUBLISH, hook.clone()),
            )
        });
        let pair = setup.start(hooks);
        let connect = f.connect_with(&ConnectParts {
            client_id: "c",
            keep_alive: 10,
            ..ConnectParts::default()
        });
        pair.open(&connect, &f.connack()).await;
        // of the broker
        pair.broker.send(&f.publish("held/1", 0, 0, b"x"));
        pair.client.expect(b"").await;
        for _ in 0..4 {
            tokio::time::advance(Duration::from_secs(9)).await;
            pair.client.send(&f.pingreq());
            pair.broker.expect(&f.pingreq()).await;
        }
        gate.open(1);
        pair.client.expect(&f.publish("held/1", 0, 0, b"x")).await;
        // of the client, which is not read meanwhile
        pair.client.send(&f.publish("held/2", 0, 0, b"x"));
        pair.broker.expect(b"").await;
        for _ in 0..4 {
            tokio::time::advance(Duration::from_secs(9)).await;
            pair.broker.send(&f.pingresp());
            pair.client.expect(&f.pingresp()).await;
        }
        gate.open(1);
        pair.broker.expect(&f.publish("held/2", 0, 0, b"x")).await;
        assert!(pair.is_running());
    }
}

/// Sets credentials by the client identifier, whatever is in them.
#[derive(Clone, Debug)]
struct Credentials;

impl Handler for Credentials {
    async fn auth_connect(&self, connect: &mut Connect) -> Result<(), ConnectRefusal> {
        let long = "x".repeat(65_536);
        let (name, password): (Option<&str>, Option<&[u8]>) = match connect.packet().client_id() {
            "both" => (Some("u"), Some(&[0, 0xff])),
            "name" => (Some("u"), None),
            "none" => (None, None),
            "nul" => (Some("a\0b"), None),
            "control" => (Some("a\u{1}b"), None),
            "long-name" => (Some(&long), None),
            "long-password" => (Some("u"), Some(long.as_bytes())),
            _ => return Ok(()),
        };
        let set = connect.packet_mut().set_credentials(name, password);
        set.map_err(|_| ConnectRefusal::new(ReasonCode::BAD_USER_NAME_OR_PASSWORD))
    }
}

fn hello(version: Version, client_id: &str, credentials: (Option<&str>, Option<&[u8]>)) -> Vec<u8> {
    Frames(version).connect_with(&ConnectParts {
        client_id,
        keep_alive: 60,
        will: Some(("w", b"bye")),
        user_name: credentials.0,
        password: credentials.1,
        ..ConnectParts::default()
    })
}

/// R42, R54: flags and fields come and go together, and stay within their bounds.
#[tokio::test(start_paused = true)]
async fn hooks_replace_credentials_within_their_bounds() {
    for version in VERSIONS {
        let given = [
            (None, None),
            (Some("old"), None),
            (Some("old"), Some(&b"secret"[..])),
        ];
        for given in given {
            for (client_id, set) in [
                ("both", (Some("u"), Some(&[0, 0xff][..]))),
                ("name", (Some("u"), None)),
                ("none", (None, None)),
            ] {
                let pair = Setup::new().start(HandlerLayer::new(Credentials).layer(admit_all()));
                pair.client.send(&hello(version, client_id, given));
                pair.broker.expect(&hello(version, client_id, set)).await;
            }
            for client_id in ["nul", "control", "long-name", "long-password"] {
                let pair = Setup::new().start(HandlerLayer::new(Credentials).layer(admit_all()));
                pair.client.send(&hello(version, client_id, given));
                let answer = pair.client.take().await;
                let code = if version.is_v5() { 0x86 } else { 4 };
                assert_eq!((answer[0], answer[3]), (0x20, code), "{client_id}");
                settle().await;
                assert_eq!(pair.dials(), 0, "{client_id}");
            }
        }
    }
}

/// Writes the payload that the topic names.
#[derive(Clone, Debug)]
struct Payloads;

impl Handler for Payloads {
    async fn auth_publish(&self, _: &SessionInfo, publish: &mut PublishMut) -> Result<(), Refusal> {
        let payload: Option<Vec<u8>> = match publish.topic() {
            "empty" => Some(Vec::new()),
            "longer" => Some(vec![b'x'; 200]),
            "binary" => Some(vec![0xff, 0x80, 0]),
            _ => None,
        };
        if let Some(payload) = payload {
            publish.set_payload(payload);
        }
        Ok(())
    }
}

/// R76: the length is the shortest.
#[tokio::test(start_paused = true)]
async fn a_rewritten_payload_has_its_own_length() {
    for version in VERSIONS {
        let f = Frames(version);
        let stage = HandlerLayer::new(Payloads).layer(admit_all());
        let pair = Setup::new().connected(version, stage).await;
        for qos in 0..3 {
            let id = 7 + u16::from(qos);
            for (topic, payload) in [("empty", &[][..]), ("longer", &[b'x'; 200]), ("t", b"same")] {
                let sent = f.publish(topic, qos, id, if topic == "t" { payload } else { b"old" });
                pair.client.send(&sent);
                pair.broker
                    .expect(&f.publish(topic, qos, id, payload))
                    .await;
            }
        }
    }
}

/// R76: what is said to be text is text.
#[tokio::test(start_paused = true)]
async fn a_rewritten_payload_has_its_own_format() {
    let f = Frames(Version::V5);
    let stage = HandlerLayer::new(Payloads).layer(admit_all());
    let pair = Setup::new().connected(Version::V5, stage).await;
    let text = properties(&[(PropertyId::PayloadFormatIndicator, Value::Byte(1))]);
    let sent = |topic| f.publish_with(topic, 0, 0, &text, b"old");
    let said = |received: &[u8]| received.windows(3).any(|it| it == [2, 1, 1]);
    pair.client.send(&sent("longer"));
    assert!(said(&pair.broker.take().await));
    pair.client.send(&sent("binary"));
    let received = pair.broker.take().await;
    assert!(!received.is_empty());
    assert!(!said(&received), "it is not text any more: {received:02x?}");
}
