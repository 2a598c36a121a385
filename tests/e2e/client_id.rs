//! The layer `client-id`: nobody takes over the session of another.

use mproxy_tests::tools::root;
use mproxy_tests::wire::{
    Connect, Message, Publish, Version, connack, field, frame, properties, suback, subscribe,
    user_property,
};
use mproxy_tests::{FakeBroker, Link, Mosquitto, Mproxy, Setup};

fn ids(upstream: &str, keys: &str) -> Setup {
    Setup::before(upstream).toml(&format!(
        "[chains.default]\nlayers = [\"ids\"]\n[layers.ids]\ntype = \"client-id\"\n{keys}\n"
    ))
}

/// Connects, and asserts that it is not let in, with this code in MQTT 5.
async fn refused(mproxy: &Mproxy, connect: &Connect) {
    let mut client = Link::tcp(mproxy.addr()).await;
    client.send(&connect.bytes()).await;
    let answer = client.packet().await;
    match connect.version() {
        Version::V31 | Version::V311 => assert_eq!(answer.bytes(), connack(connect.version(), 2)),
        Version::V5 => assert_eq!((answer.kind(), answer.body()[1]), (2, 0x85)),
    }
    client.closed().await;
}

/// Whatever is required: the id of another is refused, and the broker does not hear of it.
#[tokio::test]
async fn another_users_id_is_refused() {
    for (keys, good, bad) in [
        (
            "require = \"equals-username\"",
            &[("acme", "acme")][..],
            &[("acme", "other"), ("acme-7", "acme"), ("acme", "")][..],
        ),
        (
            "require = \"prefix-username\"",
            &[("acme", "acme"), ("acme-7", "acme")],
            &[
                ("acme-7", "acm"),
                ("acme7", "acme"),
                ("a-b-7", "a-b"),
                ("acme-7", "other"),
            ],
        ),
        (
            "require = \"template\"\ntemplate = \"dev-${username}.*\"",
            &[("dev-acme.7", "acme")],
            &[
                ("dev-acme.", "acme"),
                ("acme.7", "acme"),
                ("dev-a.b.7", "a.b"),
                ("dev-a.7", "b"),
            ],
        ),
    ] {
        let broker = FakeBroker::bind().await;
        let mproxy = ids(&broker.url(), keys).start().await;
        for version in Version::ALL {
            for (id, username) in bad {
                let mut connect = Connect::new(version, id);
                if !username.is_empty() {
                    connect = connect.username(username);
                }
                refused(&mproxy, &connect).await;
            }
            // the first that the broker hears of anybody
            for (id, username) in good {
                let connect = Connect::new(version, id).username(username);
                let mut client = Link::tcp(mproxy.addr()).await;
                let (_, (_, seen)) = tokio::join!(client.connect(&connect), broker.accept());
                assert_eq!(seen.bytes(), connect.bytes());
            }
        }
    }
}

/// A client without a user name took over the session of a user, whose queued messages were lost. The
/// example for guests keeps them apart, whatever a guest calls itself.
#[tokio::test]
async fn a_guest_is_never_taken_for_a_user() {
    let broker = FakeBroker::bind().await;
    let example = std::fs::read_to_string(root().join("config/guests.toml")).expect("an example");
    let mproxy = Setup::new(&example)
        .set_listeners("bind", "127.0.0.1:0")
        .set("admin.bind", "127.0.0.1:0")
        .set("upstreams.broker.address", &broker.url())
        .start()
        .await;
    let addr = |name| mproxy.listener(name);
    for version in Version::ALL {
        for (id, seen_as) in [("7", ":7"), ("acme:7", ":acme:7"), (":7", "::7")] {
            let sent = Connect::new(version, id);
            let mut guest = Link::tcp(addr("guests")).await;
            let (_, (_, seen)) = tokio::join!(guest.connect(&sent), broker.accept());
            assert_eq!(seen.bytes(), Connect::new(version, seen_as).bytes());
        }
        let user = |id| Connect::new(version, id).username("acme");
        let mut client = Link::tcp(addr("mqtt")).await;
        let sent = user("7");
        let (_, (_, seen)) = tokio::join!(client.connect(&sent), broker.accept());
        assert_eq!(seen.bytes(), user("acme:7").bytes());
        // an empty user name is none
        for connect in [
            Connect::new(version, "7"),
            Connect::new(version, "7").username(""),
        ] {
            let mut client = Link::tcp(addr("mqtt")).await;
            client.send(&connect.bytes()).await;
            assert_eq!(client.packet().await.kind(), 2);
            client.closed().await;
        }
    }
}

/// The same id of two users is two clients, byte for byte.
#[tokio::test]
async fn a_prefix_is_put_on() {
    let broker = FakeBroker::bind().await;
    let mproxy = ids(&broker.url(), "prefix = \"${username}:\"")
        .start()
        .await;
    for version in Version::ALL {
        for (id, username, seen_as) in [
            ("7", "acme", "acme:7"),
            ("7", "other", "other:7"),
            ("acme:7", "other", "other:acme:7"),
        ] {
            let connect = |id| {
                Connect::new(version, id)
                    .credentials(username, "secret")
                    .will("gone", "bye", 1, true)
                    .keep_alive(60)
            };
            let mut client = Link::tcp(mproxy.addr()).await;
            let sent = connect(id);
            let (_, (_, seen)) = tokio::join!(client.connect(&sent), broker.accept());
            assert_eq!(seen.bytes(), connect(seen_as).bytes());
        }
        // whose own name would end elsewhere
        refused(&mproxy, &Connect::new(version, "7").username("acme:7")).await;
        refused(&mproxy, &Connect::new(version, "7")).await;
    }
    // empty stays empty where the client cannot be told
    let connect = Connect::new(Version::V311, "").username("acme");
    let mut client = Link::tcp(mproxy.addr()).await;
    let (_, (_, seen)) = tokio::join!(client.connect(&connect), broker.accept());
    assert_eq!(seen.bytes(), connect.bytes());
}

/// Reads the Assigned Client Identifier of a CONNACK whose other properties have the types that the
/// tests send.
fn assigned_id(body: &[u8]) -> Option<String> {
    let mut block = &body[3..];
    loop {
        let len = match block.first()? {
            0x12 => {
                let len = usize::from(u16::from_be_bytes([block[1], block[2]]));
                let id = block[3..3 + len].to_vec();
                return Some(String::from_utf8(id).expect("an id is text"));
            }
            0x13 | 0x21 | 0x22 => 3,
            0x27 => 5,
            0x24 | 0x25 | 0x28 | 0x29 | 0x2a => 2,
            other => panic!("property {other:#x} in {body:02x?}"),
        };
        block = &block[len..];
    }
}

/// With `generate`, or with a `prefix`, a client without an id has one of its own, comes back with it,
/// and finds what it left. With a prefix alone the broker assigned the id, which came back with the
/// prefix before it: the session and all that was queued were lost.
#[tokio::test]
async fn a_generated_id_is_told_and_finds_its_session_again() {
    let prefix = "prefix = \"${username}:\"";
    for (keys, begins) in [
        (
            format!("require = \"prefix-username\"\n{prefix}\ngenerate = true"),
            "acme-mproxy-",
        ),
        (format!("{prefix}\ngenerate = true"), "mproxy-"),
        (prefix.to_owned(), "mproxy-"),
    ] {
        finds_its_session_again(&keys, begins).await;
    }
}

async fn finds_its_session_again(keys: &str, begins: &str) {
    let broker = Mosquitto::start().await;
    let mproxy = ids(&broker.url(), keys).start().await;
    let nameless = Connect::new(Version::V5, "").username("acme").persistent();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut client = Link::tcp(mproxy.addr()).await;
        let answer = client.connect(&nameless).await;
        let id = assigned_id(answer.body()).expect("an id");
        assert!(id.starts_with(begins), "{id}");
        client.subscribe("news", 1).await;
        client.leave().await;
        ids.push(id);
    }
    assert_ne!(ids[0], ids[1]);
    let mut publisher = Link::client(broker.addr(), Version::V311, "publisher").await;
    publisher
        .send(&Publish::new(Version::V311, "news").qos(1, 1).bytes("late"))
        .await;
    assert_eq!(publisher.packet().await.kind(), 4);
    for id in &ids {
        let mut client = Link::tcp(mproxy.addr()).await;
        let again = Connect::new(Version::V5, id).username("acme").persistent();
        let answer = client.connect(&again).await;
        assert_eq!(answer.body()[0], 1, "the session is there");
        assert_eq!(assigned_id(answer.body()), None);
        assert_eq!(client.message().await.text(), "late");
        // and is nobody else's
        let thief = Connect::new(Version::V5, id).username("other");
        if keys.contains("require") {
            refused(&mproxy, &thief).await;
        } else {
            let mut other = Link::tcp(mproxy.addr()).await;
            let answer = other.connect(&thief.persistent()).await;
            assert_eq!(answer.body()[0], 0, "a session of its own");
        }
    }
    // MQTT 3.1.1 has no word for it
    let mut client = Link::tcp(mproxy.addr()).await;
    let nameless = Connect::new(Version::V311, "").username("acme");
    assert_eq!(
        client.connect(&nameless).await.bytes(),
        connack(Version::V311, 0)
    );
}

/// At a broker that closes the old session when a new one has its id: without the layer, whoever
/// knows an id ends and inherits the session behind it.
#[tokio::test]
async fn nobody_takes_over_the_session_of_another() {
    let broker = Mosquitto::start().await;
    let open = Setup::before(&broker.url()).start().await;
    let required = ids(&broker.url(), "require = \"prefix-username\"")
        .start()
        .await;
    let prefixed = ids(&broker.url(), "prefix = \"${username}:\"")
        .start()
        .await;
    for version in Version::ALL {
        let victim = |id: &str| Connect::new(version, id).username("acme").persistent();
        let thief = |id: &str| Connect::new(version, id).username("other").persistent();

        // the hole: as anybody can see for themselves
        let mut client = Link::tcp(open.addr()).await;
        client.connect(&victim("acme-1")).await;
        let mut other = Link::tcp(open.addr()).await;
        other.connect(&thief("acme-1")).await;
        client.rest().await;
        other.leave().await;

        for (mproxy, let_in) in [(&required, false), (&prefixed, true)] {
            let id = &format!("acme-{version:?}");
            let mut client = Link::tcp(mproxy.addr()).await;
            client.connect(&victim(id)).await;
            let request = subscribe(version, 9, &[("letters", 1)]);
            client.send(&request).await;
            client.expect(&suback(version, 9, &[1])).await;
            if let_in {
                let mut other = Link::tcp(mproxy.addr()).await;
                let answer = other.connect(&thief(id)).await;
                assert_eq!(answer.body()[0], 0, "a session of its own");
                other.silent().await;
                other.leave().await;
            } else {
                refused(mproxy, &thief(id)).await;
            }
            // still there, and still the one who gets the letters
            let mut sender = Link::client(broker.addr(), version, "sender").await;
            sender
                .send(&Publish::new(version, "letters").bytes("yours"))
                .await;
            let packet = client.packet().await;
            assert_eq!(Message::of(&packet, version).text(), "yours");
            client.silent().await;
            // gone for good, for the next version
            client.leave().await;
            let mut end = Link::tcp(mproxy.addr()).await;
            end.connect(&Connect::new(version, id).username("acme"))
                .await;
            end.leave().await;
        }
    }
}

/// Inside, a client is who the layers outside made of it: in rules, in stamps, in topics; and CONNACK
/// comes back through all of them.
#[tokio::test]
async fn layers_inside_know_a_client_by_its_new_id() {
    let broker = FakeBroker::bind().await;
    let mproxy = Setup::before(&broker.url())
        .toml(
            r#"
[chains.default]
layers = ["log", "ids", "stamp", "acl", "tenant"]
[layers.log]
type = "access-log"
[layers.ids]
type = "client-id"
prefix = "${username}:"
generate = true
[layers.stamp]
type = "property-edit"
set = { "x-client" = "${client_id}" }
[layers.acl]
type = "acl"
[[layers.acl.rules]]
allow = ["publish", "subscribe"]
topics = ["${client_id}/#"]
[layers.tenant]
type = "topic-map"
prefix = "tenants/${username}/"
"#,
        )
        .start()
        .await;
    for version in Version::ALL {
        let connect = Connect::new(version, "7").username("acme");
        let mut client = Link::tcp(mproxy.addr()).await;
        let (_, (mut server, _)) = tokio::join!(client.connect(&connect), broker.accept());
        client
            .send(&Publish::new(version, "7/up").bytes("no"))
            .await;
        client
            .send(&Publish::new(version, "acme:7/up").bytes("yes"))
            .await;
        let stamp = user_property("x-client", "acme:7");
        let mut stamped = Publish::new(version, "tenants/acme/acme:7/up");
        if version.is_v5() {
            stamped = stamped.properties(&stamp);
        }
        server.expect(&stamped.bytes("yes")).await;
        server
            .send(&Publish::new(version, "tenants/acme/acme:7/down").bytes("x"))
            .await;
        assert_eq!(client.message().await.topic, "acme:7/down");
    }
    let mut client = Link::tcp(mproxy.addr()).await;
    let nameless = Connect::new(Version::V5, "").username("acme");
    client.send(&nameless.bytes()).await;
    let mut server = broker.session().await;
    assert_eq!(server.packet().await.kind(), 1);
    let block = [&[0x1a][..], &field("tenants/acme/answers"), &[0x13, 0, 9]].concat();
    server
        .send(&frame(0x20, &[&[0, 0][..], &properties(&block)].concat()))
        .await;
    let answer = client.packet().await;
    let told = [&[0x1a][..], &field("answers"), &[0x13, 0, 9]].concat();
    let body = answer.body();
    assert!(body[3..].starts_with(&told), "{answer:?}");
    let rest = &body[3 + told.len()..];
    assert!(
        rest.windows(10).any(|id| id == b"\x12\0\x27mproxy-"),
        "{answer:?}"
    );
}
