//! What the session refuses by itself is reported, or an operator would look for a layer that did it.

use std::sync::{Arc, Mutex};

use mproxy_codec::{Direction, Kind, KindSet, PropertyId, ReasonCode, Value, Version, encode_auth};
use mproxy_session::{Batch, Counters, Events, Forward, Hooks, Tap};

use crate::support::frames::{ConnectParts, properties};
use crate::support::{Frames, Setup, admit};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

#[derive(Default)]
struct Refusals(Mutex<Vec<(Direction, Kind)>>);

impl Counters for Refusals {
    fn record(&self, _: Direction, _: &Batch) {}
}

impl Events for Refusals {
    fn refused(&self, direction: Direction, kind: Kind) {
        self.0.lock().unwrap().push((direction, kind));
    }
}

impl Refusals {
    fn take(&self) -> Vec<(Direction, Kind)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn setup(refusals: &Arc<Refusals>) -> Setup {
    Setup::new().recorder(Arc::clone(refusals) as _)
}

/// A packet of the client.
type Case = (fn(Frames) -> Vec<u8>, Kind);

fn deep() -> String {
    vec!["l"; 129].join("/")
}

/// A device that subscribed to 17,000 filters was closed, and the only count of it was one of all broken
/// rules of the protocol together.
#[tokio::test(start_paused = true)]
async fn what_is_more_than_hooks_are_asked_about_is_reported_once() {
    let packets: [Case; 5] = [
        (|f| f.publish(&deep(), 1, 1, b""), Kind::Publish),
        (|f| f.subscribe(1, &["a", &deep()]), Kind::Subscribe),
        (|f| f.unsubscribe(1, &["a", &deep()]), Kind::Unsubscribe),
        (|f| f.subscribe(1, &vec!["f"; 16_385]), Kind::Subscribe),
        (|f| f.unsubscribe(1, &vec!["f"; 16_385]), Kind::Unsubscribe),
    ];
    for version in VERSIONS {
        let f = Frames(version);
        let refusals = Arc::new(Refusals::default());
        let hooked = || {
            let tap = || Tap::only(KindSet::ALL, Forward);
            admit(move |_| Hooks::new(tap(), tap()))
        };
        for (packet, kind) in packets {
            let pair = setup(&refusals).connected(version, hooked()).await;
            assert_eq!(refusals.take(), []);
            pair.client.send(&packet(f));
            pair.broker.expect(b"").await;
            assert_eq!(refusals.take(), [(Direction::ToServer, kind)], "{version}");
            pair.client.take().await;
            pair.end().await;
        }
        let pair = setup(&refusals).connected(version, hooked()).await;
        pair.broker.send(&f.publish(&deep(), 1, 7, b""));
        pair.broker.expect(&f.puback(7)).await;
        assert_eq!(refusals.take(), [(Direction::ToClient, Kind::Publish)]);

        let pair = setup(&refusals).start(hooked());
        pair.client.send(&f.connect_with(&ConnectParts {
            client_id: "c",
            will: Some((&deep(), b"")),
            ..ConnectParts::default()
        }));
        pair.client.take().await;
        pair.client.finish();
        pair.summary().await;
        assert_eq!(refusals.take(), [(Direction::ToServer, Kind::Connect)]);
    }
}

/// A fleet whose tokens were renewed by AUTH was sent away by a layer, which counted nothing.
#[tokio::test(start_paused = true)]
async fn an_auth_that_is_refused_for_hooks_is_reported_and_a_wrong_one_is_not() {
    let f = Frames(Version::V5);
    let method = |name| properties(&[(PropertyId::AuthenticationMethod, Value::Str(name))]);
    let connect = f.connect_with(&ConnectParts {
        client_id: "c",
        properties: &method("m"),
        ..ConnectParts::default()
    });
    for (name, expected) in [
        ("m", vec![(Direction::ToServer, Kind::Auth)]),
        // a mistake of the client
        ("other", vec![]),
    ] {
        let refusals = Arc::new(Refusals::default());
        let hooks = admit(|_| Hooks::new(Tap::only(KindSet::PUBLISH, Forward), Tap::none()));
        let pair = setup(&refusals).start(hooks);
        pair.open(&connect, &f.connack_with(0, &method("m"))).await;
        let again = encode_auth(Version::V5, ReasonCode::REAUTHENTICATE, &method(name));
        let again = again.expect("an AUTH");
        pair.client.send(&again);
        pair.broker.expect(b"").await;
        pair.client.take().await;
        pair.end().await;
        assert_eq!(refusals.take(), expected);
    }
}
