//! A42: who connects with the id of another ends its connection and takes its session over.

use mproxy_tests::wire::{DISCONNECT, Publish, Version, puback, suback, subscribe};
use mproxy_tests::{Link, Mosquitto, Mproxy, Setup};

use super::{ALL, Rig, Way, heard, observer, turned_away, ways};

/// What is required of ids, and the id by which the user `acme` keeps to it.
const REQUIRED: [(&str, &str); 3] = [
    ("require = \"equals-username\"", "acme"),
    ("require = \"prefix-username\"", "acme-1"),
    (
        "require = \"template\"\ntemplate = \"dev-${username}-*\"",
        "dev-acme-1",
    ),
];

/// Ids that are put below their user's name instead.
const PREFIXED: &str = "prefix = \"${username}:\"";

/// Users who are not `acme`.
const THIEVES: [&str; 6] = ["other", "", "acm", "ACME", "acme ", "acme-1"];

fn ids(setup: Setup, keys: &str) -> Setup {
    setup.toml(&format!(
        "[chains.default]\nlayers = [\"ids\"]\n[layers.ids]\ntype = \"client-id\"\n{keys}\n"
    ))
}

#[tokio::test]
async fn a42_the_id_of_another() {
    for (keys, own) in REQUIRED {
        let rig = Rig::with(|setup| ids(setup, keys)).await;
        for way in ways(ALL) {
            for thief in THIEVES {
                stolen(&rig.mproxy, way, own, thief).await;
            }
            let mut nobody = way.link(&rig.mproxy).await;
            nobody.send(&way.connect(own).bytes()).await;
            turned_away(nobody, way, [2, 0x85]).await;
            // the first of whom the broker hears
            let owner = way.connect(own).username("acme");
            rig.session(way, &owner).await;
        }
    }
    // no two users have the same id there, whatever they say
    let rig = Rig::with(|setup| ids(setup, PREFIXED)).await;
    for way in ways(ALL) {
        for (id, user, there) in [
            ("1", "acme", "acme:1"),
            ("1", "other", "other:1"),
            ("acme:1", "other", "other:acme:1"),
            (":1", "other", "other::1"),
            ("cme:1", "a", "a:cme:1"),
        ] {
            let mut client = way.link(&rig.mproxy).await;
            client.send(&way.connect(id).username(user).bytes()).await;
            let mut server = rig.broker.session().await;
            server
                .expect(&way.connect(there).username(user).bytes())
                .await;
        }
        for (id, user) in [("", "acme:1"), ("1", "acme:"), ("1", ""), ("1", "acme:1")] {
            if id.is_empty() && way.version == Version::V31 {
                continue; // not an id there
            }
            let mut client = way.link(&rig.mproxy).await;
            client.send(&way.connect(id).username(user).bytes()).await;
            turned_away(client, way, [2, 0x85]).await;
        }
    }
}

/// Comes with the id of another, takes what there is and has the will forgotten; all in vain.
async fn stolen(mproxy: &Mproxy, way: Way, id: &str, thief: &str) {
    if id == thief {
        return; // whose own id it is, by the rule that both be the same
    }
    let connect = way.connect(id).username(thief).persistent();
    let mut bytes = connect.bytes();
    bytes.extend(subscribe(way.version, 1, &[("#", 1)]));
    bytes.extend(DISCONNECT);
    let mut client = way.link(mproxy).await;
    client.send(&bytes).await;
    turned_away(client, way, [2, 0x85]).await;
}

/// At a broker that would obey: the owner stays, its will is not published, and it finds its letters.
#[tokio::test]
async fn a42_at_a_broker_that_hands_sessions_over() {
    let broker = Mosquitto::start().await;
    let mut observer = observer(&broker).await;
    for (keys, own) in REQUIRED.into_iter().chain([(PREFIXED, "1")]) {
        let prefixed = keys == PREFIXED;
        let mproxy = ids(Setup::before(&broker.url()).websocket(), keys);
        let mproxy = mproxy.start().await;
        for way in ways(ALL) {
            let connect = way.connect(own).username("acme").persistent();
            let mortal = connect.clone().will("gone", "no", 0, false);
            let mut owner = way.link(&mproxy).await;
            owner.connect(&mortal).await;
            owner
                .send(&subscribe(way.version, 1, &[("letters", 1)]))
                .await;
            owner.expect(&suback(way.version, 1, &[1])).await;
            if prefixed {
                let mut other = way.link(&mproxy).await;
                other.connect(&way.connect(own).username("other")).await;
                other.silent().await;
                other.leave().await;
            } else {
                for thief in THIEVES {
                    stolen(&mproxy, way, own, thief).await;
                }
            }
            owner.silent().await;
            owner.leave().await;

            // and when the owner is away
            let mut sender = Link::client(broker.addr(), Version::V5, "sender").await;
            let letter = Publish::new(Version::V5, "letters").qos(1, 1);
            sender.send(&letter.bytes("for acme")).await;
            sender.packet().await;
            heard(&mut observer, "letters", "for acme").await;
            if !prefixed {
                for thief in THIEVES {
                    stolen(&mproxy, way, own, thief).await;
                }
            }
            let mut owner = way.link(&mproxy).await;
            owner.connect(&connect).await;
            let message = owner.message().await;
            assert_eq!(message.text(), "for acme", "{way:?}");
            owner.send(&puback(message.id)).await;
            owner.silent().await;
            owner.leave().await;
            // for good, for the next
            let mut owner = way.link(&mproxy).await;
            owner.connect(&way.connect(own).username("acme")).await;
            owner.leave().await;
        }
    }
    observer.silent().await;
}
