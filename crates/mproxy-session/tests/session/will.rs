//! A will is a PUBLISH in advance: whoever judges publications judges it, at CONNECT.

use mproxy_codec::{ReasonCode, Version};
use mproxy_session::{Handler, HandlerLayer, PublishMut, Refusal, SessionInfo};
use tower::Layer;

use crate::support::frames::ConnectParts;
use crate::support::{Frames, Setup, admit_all, hex};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

#[derive(Clone)]
struct Judge;

impl Handler for Judge {
    async fn auth_publish(&self, _: &SessionInfo, publish: &mut PublishMut) -> Result<(), Refusal> {
        if publish.topic().starts_with("denied") {
            return Err(Refusal::new(ReasonCode::NOT_AUTHORIZED));
        }
        if publish.topic() == "named" {
            publish.set_topic("renamed")?;
        }
        if publish.topic() == "paid" {
            publish.set_payload(&b"unpaid"[..]);
        }
        if publish.topic() == "bad" {
            publish.set_topic("bad/#")?;
        }
        Ok(())
    }
}

fn connect(version: Version, topic: &str, payload: &[u8]) -> Vec<u8> {
    Frames(version).connect_with(&ConnectParts {
        client_id: "c",
        keep_alive: 60,
        will: Some((topic, payload)),
        ..Default::default()
    })
}

/// A client that may not publish to a topic could still do so by dying: EMQX had this hole four
/// times, and the original never showed a will to anybody.
#[tokio::test(start_paused = true)]
async fn a_will_on_a_refused_topic_is_refused_at_connect() {
    for version in VERSIONS {
        let pair = Setup::new().start(HandlerLayer::new(Judge).layer(admit_all()));
        pair.client.send(&connect(version, "denied/t", b"x"));
        let wanted = if version.is_v5() {
            "20 03 00 87 00"
        } else {
            "20 02 00 05"
        };
        pair.client.expect(&hex(wanted)).await;
        assert!(pair.client.is_ended());
        assert_eq!(pair.dials(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_will_is_rewritten_like_a_publish() {
    for version in VERSIONS {
        for (sent, received) in [
            (("a", &b"x"[..]), ("a", &b"x"[..])),
            (("named", b"x"), ("renamed", b"x")),
            (("paid", b"x"), ("paid", b"unpaid")),
        ] {
            let pair = Setup::new().start(HandlerLayer::new(Judge).layer(admit_all()));
            pair.client.send(&connect(version, sent.0, sent.1));
            pair.broker
                .expect(&connect(version, received.0, received.1))
                .await;
        }
    }
}

/// A hook cannot make an invalid topic: the callback is told, and with `?` it refuses. 0x83 said nothing of
/// what was wrong.
#[tokio::test(start_paused = true)]
async fn a_will_that_a_hook_makes_invalid_lets_nobody_in() {
    let pair = Setup::new().start(HandlerLayer::new(Judge).layer(admit_all()));
    pair.client.send(&connect(Version::V5, "bad", b"x"));
    pair.client.expect(&hex("20 03 00 90 00")).await;
    assert_eq!(pair.dials(), 0);
}
