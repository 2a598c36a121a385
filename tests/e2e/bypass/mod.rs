//! The known ways around authentication and rules, each by its number in README.md, over TCP and
//! WebSocket and in every version that has it: not a byte of what is denied reaches the broker.

mod deliveries;
mod identities;
mod resent;
mod wills;

use mproxy_tests::wire::{
    Connect, PINGREQ, PINGRESP, Packet, Publish, Version, connack, field, frame, puback, pubcomp,
    pubrec, pubrel, suback, subscribe, user_property,
};
use mproxy_tests::{FakeBroker, Link, Mosquitto, Mproxy, Rest, Setup, within};
use tokio::io::AsyncReadExt;

const RULES: &str = r##"
[chains.default]
layers = ["ids", "acl"]
[layers.ids]
type = "client-id"
require = "any"
[layers.acl]
type = "acl"
default = "deny"
[[layers.acl.rules]]
name = "what is denied"
deny = ["publish", "subscribe"]
topics = ["denied/#", "open/secret", "open/caf\u00e9"]
[[layers.acl.rules]]
name = "what is open"
allow = ["publish", "subscribe"]
topics = ["open/+", "open/+/+"]
[[layers.acl.rules]]
name = "what is a client's"
allow = ["publish", "subscribe"]
topics = ["devices/${client_id}/#"]
[[layers.acl.rules]]
name = "what is a user's"
allow = ["publish", "subscribe"]
topics = ["users/${username}/#"]
"##;

/// A proxy with rules, before a broker that records.
struct Rig {
    broker: FakeBroker,
    mproxy: Mproxy,
}

/// One way to be a client: a transport and a version.
#[derive(Clone, Copy, Debug)]
struct Way {
    ws: bool,
    version: Version,
}

const ALL: [Version; 3] = Version::ALL;
const V5: [Version; 1] = [Version::V5];

fn ways<const N: usize>(versions: [Version; N]) -> impl Iterator<Item = Way> {
    let ways = versions.map(|version| [false, true].map(|ws| Way { ws, version }));
    ways.into_iter().flatten()
}

impl Way {
    async fn link(self, mproxy: &Mproxy) -> Link {
        if self.ws {
            Link::ws(mproxy.listener("ws")).await
        } else {
            Link::tcp(mproxy.addr()).await
        }
    }

    fn connect(self, client_id: &str) -> Connect {
        Connect::new(self.version, client_id)
    }

    fn publish(self, topic: &str) -> Publish {
        Publish::new(self.version, topic)
    }

    /// What SUBACK says of a filter that is denied.
    const fn no(self) -> u8 {
        if self.version.is_v5() { 0x87 } else { 0x80 }
    }
}

impl Rig {
    async fn start() -> Self {
        Self::with(|setup| setup.toml(RULES)).await
    }

    /// With other layers.
    async fn with(change: impl FnOnce(Setup) -> Setup) -> Self {
        let broker = FakeBroker::bind().await;
        let setup = Setup::before(&broker.url()).websocket();
        let mproxy = change(setup).start().await;
        Self { broker, mproxy }
    }

    /// A session, with Topic Alias Maximum 10 in MQTT 5.0.
    async fn session(&self, way: Way, connect: &Connect) -> (Link, Link) {
        self.answered(way, connect, &accepted(way)).await
    }

    /// The same, with another CONNACK of success.
    async fn answered(&self, way: Way, connect: &Connect, answer: &[u8]) -> (Link, Link) {
        let mut client = way.link(&self.mproxy).await;
        client.speak(way.version);
        client.send(&connect.bytes()).await;
        let mut server = self.broker.session().await;
        server.speak(way.version);
        server.expect(&connect.bytes()).await;
        server.send(answer).await;
        assert_eq!(client.packet().await.body()[1], 0, "{way:?}");
        (client, server)
    }

    /// The next that the broker hears of anybody is a client that begins now.
    async fn nothing_before_a_fence(&self) {
        let connect = Connect::new(Version::V311, "fence");
        let mut client = Link::tcp(self.mproxy.addr()).await;
        client.send(&connect.bytes()).await;
        let mut server = self.broker.session().await;
        server.expect(&connect.bytes()).await;
        server.send(&connack(Version::V311, 0)).await;
        client.expect(&connack(Version::V311, 0)).await;
    }
}

fn accepted(way: Way) -> Vec<u8> {
    match way.version {
        Version::V31 | Version::V311 => connack(way.version, 0),
        Version::V5 => frame(0x20, &[0, 0, 3, 0x22, 0, 10]),
    }
}

/// The next that the broker gets of this client is a PINGREQ that it sends now. What the client got
/// before the answer.
async fn nothing_arrives(client: &mut Link, server: &mut Link) -> Vec<Packet> {
    client.send(&PINGREQ).await;
    server.expect(&PINGREQ).await;
    server.send(&PINGRESP).await;
    let mut heard = Vec::new();
    loop {
        match client.packet().await {
            packet if packet.bytes() == PINGRESP => return heard,
            packet => heard.push(packet),
        }
    }
}

/// A Response Topic.
fn answer_to(topic: &str) -> Vec<u8> {
    [&[0x08][..], &field(topic)].concat()
}

/// Asserts that a client is not let in, with these codes in MQTT 3 and 5, and that its connection
/// ends.
async fn turned_away(client: Link, way: Way, codes: [u8; 2]) {
    let (packets, _) = client.rest().await;
    let told: Vec<_> = packets.iter().map(|it| (it.kind(), it.body()[1])).collect();
    let code = codes[usize::from(way.version.is_v5())];
    assert_eq!(told, [(2, code)], "{way:?}");
}

/// A client at a real broker that hears everything.
async fn observer(broker: &Mosquitto) -> Link {
    let mut link = Link::client(broker.addr(), Version::V5, "observer").await;
    link.subscribe("#", 0).await;
    link
}

/// Asserts that the next thing that anybody publishes is this.
async fn heard(observer: &mut Link, topic: &str, payload: &str) {
    let message = observer.message().await;
    assert_eq!((&*message.topic, message.text()), (topic, payload));
}

/// Both ends are closed; the broker gets nothing more.
async fn ends(client: Link, server: Link) -> Vec<Packet> {
    assert_eq!(server.rest().await, (Vec::new(), Rest::Clean));
    client.rest().await.0
}

#[tokio::test]
async fn a30_a_second_connect() {
    let rig = Rig::start().await;
    for way in ways(ALL) {
        let guest = way.connect("guest").username("guest");
        let admin = way.connect("admin").credentials("admin", "x");
        for later in [false, true] {
            let mut client = way.link(&rig.mproxy).await;
            client.speak(way.version);
            let mut bytes = guest.bytes();
            if !later {
                bytes.extend(admin.bytes());
                bytes.extend(way.publish("devices/admin/x").bytes("no"));
            }
            client.send(&bytes).await;
            let mut server = rig.broker.session().await;
            server.expect(&guest.bytes()).await;
            server.send(&accepted(way)).await;
            assert_eq!(client.packet().await.kind(), 2, "{way:?}");
            if later {
                client.send(&admin.bytes()).await;
            }
            let packets = ends(client, server).await;
            let farewell: Vec<_> = packets.iter().map(|it| (it.kind(), it.body()[0])).collect();
            let wanted: &[_] = if way.version.is_v5() {
                &[(14, 0x82)]
            } else {
                &[]
            };
            assert_eq!(farewell, wanted, "{way:?} later: {later}");
        }
    }
    rig.nothing_before_a_fence().await;
}

#[tokio::test]
async fn a31_a_publish_behind_a_connect_that_is_refused() {
    let rig = Rig::start().await;
    for way in ways(ALL) {
        // refused for its will; all else would be allowed
        let connect = way.connect("d7").will("denied/will", "no", 1, false);
        let mut bytes = connect.bytes();
        bytes.extend(way.publish("devices/d7/up").qos(1, 1).bytes("no"));
        bytes.extend(subscribe(way.version, 2, &[("devices/d7/#", 1)]));
        let mut client = way.link(&rig.mproxy).await;
        client.send(&bytes).await;
        let (packets, _) = client.rest().await;
        assert_eq!(packets.len(), 1, "{way:?}: {packets:?}");
        assert!(
            packets[0].kind() == 2 && packets[0].body()[1] != 0,
            "{way:?}"
        );
        rig.nothing_before_a_fence().await;
    }
}

fn aliased(way: Way, topic: &str, alias: u16) -> Publish {
    let [high, low] = alias.to_be_bytes();
    way.publish(topic).qos(1, 9).properties(&[0x23, high, low])
}

const REFUSED: [u8; 5] = [0x40, 3, 0, 9, 0x87];

#[tokio::test]
async fn a33_an_alias_bound_by_a_denied_publish() {
    let rig = Rig::start().await;
    for way in ways(V5) {
        let (mut client, mut server) = rig.session(way, &way.connect("d7")).await;
        client.send(&aliased(way, "denied/x", 1).bytes("no")).await;
        client.expect(&REFUSED).await;
        client.send(&aliased(way, "", 1).bytes("no")).await;
        client.expect(&REFUSED).await;
        assert!(nothing_arrives(&mut client, &mut server).await.is_empty());
    }
}

#[tokio::test]
async fn a33_an_alias_bound_again_by_a_denied_publish() {
    let rig = Rig::start().await;
    for way in ways(V5) {
        let (mut client, mut server) = rig.session(way, &way.connect("d7")).await;
        let allowed = aliased(way, "open/x", 1).bytes("yes");
        client.send(&allowed).await;
        let message = server.message().await;
        assert_eq!((&*message.topic, message.text()), ("open/x", "yes"));
        server.send(&puback(9)).await;
        client.expect(&puback(9)).await;
        for topic in ["denied/x", "", ""] {
            client.send(&aliased(way, topic, 1).bytes("no")).await;
            client.expect(&REFUSED).await;
        }
        assert!(nothing_arrives(&mut client, &mut server).await.is_empty());
        // and back
        client.send(&aliased(way, "open/y", 1).bytes("yes")).await;
        assert_eq!(server.message().await.topic, "open/y");
        client.send(&aliased(way, "", 1).bytes("yes")).await;
        let message = server.message().await;
        assert!(["open/y", ""].contains(&&*message.topic), "{message:?}");
    }
}

/// Before CONNACK no alias is allowed, and 0 and what is above the maximum never are.
#[tokio::test]
async fn a33_an_alias_that_nobody_offered() {
    let rig = Rig::start().await;
    for way in ways(V5) {
        for alias in [0, 11, 65_535] {
            let (mut client, server) = rig.session(way, &way.connect("d7")).await;
            client
                .send(&aliased(way, "open/x", alias).bytes("no"))
                .await;
            let packets = ends(client, server).await;
            assert_eq!(
                (packets[0].kind(), packets[0].body()[0]),
                (14, 0x94),
                "{way:?} {alias}"
            );
        }
        // one that was never bound
        let (mut client, server) = rig.session(way, &way.connect("d7")).await;
        client.send(&aliased(way, "", 2).bytes("no")).await;
        let packets = ends(client, server).await;
        assert_eq!(
            (packets[0].kind(), packets[0].body()[0]),
            (14, 0x82),
            "{way:?}"
        );
        // behind CONNECT
        let connect = way.connect("d7");
        let mut client = way.link(&rig.mproxy).await;
        let early = aliased(way, "denied/x", 1).bytes("no");
        client
            .send(&[connect.bytes(), early, PINGREQ.to_vec()].concat())
            .await;
        let mut server = rig.broker.session().await;
        server.expect(&connect.bytes()).await;
        server.send(&accepted(way)).await;
        let next = server.packet_or_end().await;
        let harmless = next.as_ref().is_none_or(|packet| packet.bytes() == PINGREQ);
        assert!(harmless, "{way:?}: {next:?}");
    }
}

#[tokio::test]
async fn a34_dup_on_a_first_send() {
    let rig = Rig::start().await;
    for way in ways(ALL) {
        let (mut client, mut server) = rig.session(way, &way.connect("d7")).await;
        let denied = |qos, id| way.publish("denied/x").qos(qos, id).dup().bytes("no");
        client
            .send(&[denied(1, 1), denied(2, 2), denied(2, 2)].concat())
            .await;
        let heard = nothing_arrives(&mut client, &mut server).await;
        let heard: Vec<_> = heard.iter().map(|it| it.bytes().to_vec()).collect();
        let refused = |first, id| vec![first, 3, 0, id, 0x87];
        let wanted = if way.version.is_v5() {
            vec![refused(0x40, 1), refused(0x50, 2), refused(0x50, 2)]
        } else {
            vec![puback(1), pubrec(2), pubrec(2)]
        };
        assert_eq!(heard, wanted, "{way:?}");
        if !way.version.is_v5() {
            client.send(&pubrel(2)).await;
            client.expect(&pubcomp(2)).await;
            assert!(nothing_arrives(&mut client, &mut server).await.is_empty());
        }
    }
}

#[tokio::test]
async fn a35_filters_that_are_wider_than_they_look() {
    let rig = Rig::start().await;
    for way in ways(ALL) {
        let (mut client, mut server) = rig.session(way, &way.connect("d7")).await;
        for filter in [
            "#",
            "/#",
            "+/#",
            "+",
            "+/+",
            "+/secret",
            "open/#",
            "open/+", // among them open/secret
            "open/secret/#",
            "denied",
            "denied/#",
            "denied/+/#",
            "devices/#",
            "devices/+/up",
            "$share/g/#",
            "$share/g/denied/#",
            "$share/denied/denied/x",
            "$share/g/open/secret",
            "$share/g/$share/g/open/x",
            "$queue/open/x",
            "$queue/denied/#",
            "$exclusive/denied/x",
            "$delayed/1/denied/x",
            "$local/denied/x",
            "$SYS/#",
            "$CONTROL/#",
        ] {
            client
                .send(&subscribe(way.version, 7, &[(filter, 1)]))
                .await;
            let heard = nothing_arrives(&mut client, &mut server).await;
            assert_eq!(heard.len(), 1, "{way:?} {filter}");
            let code = *heard[0].body().last().expect("a code");
            let allowed = [way.no(), 0x8f];
            assert!(allowed.contains(&code), "{way:?} {filter}: {code:#x}");

            // next to one that is allowed
            let both = [(filter, 1), ("devices/d7/down", 1)];
            client.send(&subscribe(way.version, 8, &both)).await;
            let left = subscribe(way.version, 8, &[("devices/d7/down", 1)]);
            server.expect(&left).await;
            server.send(&suback(way.version, 8, &[1])).await;
            let codes = client.packet().await;
            assert!(
                codes.bytes().ends_with(&[code, 1]),
                "{way:?} {filter}: {codes:?}"
            );
        }
        // names of the same kind
        for topic in [
            "$delayed/1/open/x",
            "$queue/open/x",
            "$share/g/open/x",
            "$CONTROL/x",
        ] {
            client.send(&way.publish(topic).bytes("no")).await;
        }
        assert!(nothing_arrives(&mut client, &mut server).await.is_empty());
    }
}

#[tokio::test]
async fn a36_a_name_that_means_something_in_a_filter() {
    let rig = Rig::start().await;
    for way in ways(ALL) {
        for name in ["#", "+", "../d8", "a/b", "%u", "d8/#", "$SYS"] {
            let connect = way.connect(name).username(name);
            let (mut client, mut server) = rig.session(way, &connect).await;
            let topics = [
                "devices/d8/up",
                "devices/a/b/up",
                "users/admin/x",
                "devices//x",
                "users//x",
            ];
            for topic in topics {
                // a client may be called as it likes, and own what is called the same
                if !topic.starts_with(&format!("devices/{name}/")) || name.contains('/') {
                    client.send(&way.publish(topic).bytes("no")).await;
                }
            }
            for filter in [
                "devices/#",
                "devices/+/up",
                "users/#",
                "users/+/x",
                "devices/d8/#",
            ] {
                client
                    .send(&subscribe(way.version, 7, &[(filter, 0)]))
                    .await;
            }
            for packet in nothing_arrives(&mut client, &mut server).await {
                assert_eq!(
                    packet.bytes(),
                    suback(way.version, 7, &[way.no()]),
                    "{way:?} {name}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a37_a_user_name_that_was_not_sent() {
    let rig = Rig::start().await;
    for way in ways(ALL) {
        for connect in [way.connect("d7"), way.connect("d7").username("")] {
            let (mut client, mut server) = rig.session(way, &connect).await;
            for topic in ["users//x", "users/x", "users/${username}/x", "users/d7/x"] {
                client.send(&way.publish(topic).bytes("no")).await;
                client.send(&subscribe(way.version, 7, &[(topic, 0)])).await;
            }
            let heard = nothing_arrives(&mut client, &mut server).await;
            assert_eq!(heard.len(), 4, "{way:?}");
            for packet in heard {
                assert_eq!(
                    packet.bytes(),
                    suback(way.version, 7, &[way.no()]),
                    "{way:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a38_names_that_look_the_same() {
    let rig = Rig::start().await;
    for way in ways(ALL) {
        let (mut client, mut server) = rig.session(way, &way.connect("d7")).await;
        // what is allowed is so byte by byte
        for topic in [
            "Devices/d7/x",
            "devices/D7/x",
            "devices/d7 /x",
            " devices/d7/x",
            "/devices/d7/x",
            "devices//d7/x",
            "devices/d7x",
            "devices/d\u{ff17}/x",
            "open",
            "/open/x",
        ] {
            client.send(&way.publish(topic).bytes("no")).await;
        }
        // and so is what is denied: these are other topics
        assert!(nothing_arrives(&mut client, &mut server).await.is_empty());
        for topic in ["open/Secret", "open/secret ", "open/cafe\u{301}", "open//"] {
            let publish = way.publish(topic).bytes("yes");
            client.send(&publish).await;
            server.expect(&publish).await;
        }
        client
            .send(&way.publish("open/caf\u{e9}").bytes("no"))
            .await;
        assert!(nothing_arrives(&mut client, &mut server).await.is_empty());
        // '/' in two bytes: no text at all
        let block: &[u8] = if way.version.is_v5() { &[0] } else { &[] };
        let overlong = [&field(b"open\xc0\xafx")[..], block, b"no"].concat();
        client.send(&frame(0x30, &overlong)).await;
        ends(client, server).await;
    }
}

/// A request says where it wants its answer, and somebody else would publish that.
#[tokio::test]
async fn a46_a_response_topic_that_is_denied() {
    let checked = |setup: Setup| {
        let setup = setup.toml(RULES);
        setup.set("layers.acl.check_response_topics", "true")
    };
    let rig = Rig::with(checked).await;
    for way in ways(V5) {
        let (mut client, mut server) = rig.session(way, &way.connect("d7")).await;
        let request = |topic: &str| {
            let publish = way.publish("open/request").qos(1, 9);
            publish.properties(&answer_to(topic))
        };
        for topic in ["denied/x", "open/secret", "devices/d8/x", "$SYS/x"] {
            client.send(&request(topic).bytes("no")).await;
            client.expect(&REFUSED).await;
        }
        assert!(nothing_arrives(&mut client, &mut server).await.is_empty());
        let allowed = request("devices/d7/answers").bytes("yes");
        client.send(&allowed).await;
        server.expect(&allowed).await;
    }

    let broker = Mosquitto::start().await;
    let mproxy = checked(Setup::before(&broker.url()).websocket());
    let mproxy = mproxy.start().await;
    let mut observer = observer(&broker).await;
    for way in ways(V5) {
        let mut client = way.link(&mproxy).await;
        client.connect(&way.connect("d7")).await;
        // the longer the block, the better something might be hidden in it
        let padding = user_property("padding", &"x".repeat(200));
        for topic in ["denied/x", "devices/d8/x", "devices/d7/answers"] {
            let block = [&padding[..], &answer_to(topic)].concat();
            let request = way.publish("open/request").properties(&block);
            client.send(&request.bytes(topic)).await;
        }
        let message = observer.message().await;
        assert_eq!(message.text(), "devices/d7/answers", "{way:?}");
        let own = [padding, answer_to("devices/d7/answers")].concat();
        assert_eq!(message.properties.len(), own.len());
    }
    observer.silent().await;
}

/// A header that says where a client comes from, on a listener where nobody may say so: no CONNECT.
#[tokio::test]
async fn a44_an_address_that_a_client_claims() {
    let rig = Rig::start().await;
    let v1 = b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n".to_vec();
    let unknown = b"PROXY UNKNOWN\r\n".to_vec();
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\0\0\x01\x0a\0\0\x02\0\x01\0\x02".to_vec();
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec();
    for way in ways(ALL) {
        for header in [&v1, &unknown, &v2, &local] {
            // as part of the stream; what stands before an upgrade is no HTTP either
            let mut client = way.link(&rig.mproxy).await;
            let connect = way.connect("d7").bytes();
            client.send(&[&header[..], &connect].concat()).await;
            assert!(client.rest().await.0.is_empty(), "{way:?} {header:02x?}");
        }
    }
    for header in [v1, unknown, v2, local] {
        let mut client = Link::tcp(rig.mproxy.listener("ws")).await;
        let upgrade = b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
        client.send(&[&header[..], upgrade].concat()).await;
        let (mut stream, _) = client.into_tcp();
        let mut answer = Vec::new();
        // an end or a reset
        let _ = within("the end", stream.read_to_end(&mut answer)).await;
        assert!(!answer.starts_with(b"HTTP/1.1 101"), "{answer:?}");
    }
    rig.nothing_before_a_fence().await;
}

/// The same in words of HTTP, which are nobody's but the client's.
#[tokio::test]
async fn a45_an_address_that_a_header_claims() {
    let rig = Rig::start().await;
    let claims = [
        ("X-Forwarded-For", "10.9.8.7"),
        ("X-Real-IP", "10.9.8.7"),
        ("Forwarded", "for=10.9.8.7"),
        ("True-Client-IP", "10.9.8.7"),
    ];
    for version in ALL {
        let client_id = format!("claims-{version:?}");
        let connect = Connect::new(version, &client_id);
        let mut client = Link::ws_with(rig.mproxy.listener("ws"), &claims).await;
        client.send(&connect.bytes()).await;
        let mut server = rig.broker.session().await;
        server.expect(&connect.bytes()).await;
        server.send(&connack(version, 0)).await;
        assert_eq!(client.packet().await.body()[1], 0);
        drop((client, server));
        let event = rig.mproxy.end_of(&client_id).await;
        let peer = event["peer"].as_str().expect("an address");
        assert!(peer.starts_with("127.0.0.1:"), "{event}");
    }
    let events = rig.mproxy.events();
    let told = events.iter().any(|it| it.to_string().contains("10.9.8.7"));
    assert!(!told, "{events:?}");
}

/// All of it before a broker that would obey: whoever listens to everything hears what is allowed.
#[tokio::test]
async fn no_trick_reaches_a_real_broker() {
    let broker = Mosquitto::start().await;
    let setup = Setup::before(&broker.url()).websocket().toml(RULES);
    let mproxy = setup.start().await;
    let mut observer = observer(&broker).await;
    for way in ways(ALL) {
        let allowed = way.publish("open/fence").bytes(format!("{way:?}"));
        // whose will must not be published
        let mut denied = way.link(&mproxy).await;
        let will = way.connect("d7").will("denied/will", "no", 0, true);
        denied.send(&will.bytes()).await;
        denied.rest().await;
        // who is somebody else on second thoughts
        let mut twice = way.link(&mproxy).await;
        let admin = way.connect("admin").username("admin");
        let mut bytes = [way.connect("d7").bytes(), admin.bytes()].concat();
        bytes.extend(way.publish("users/admin/x").bytes("no"));
        twice.send(&bytes).await;
        twice.rest().await;

        let mut client = way.link(&mproxy).await;
        client.connect(&way.connect("#").username("#")).await;
        let mut burst = Vec::new();
        for topic in [
            "denied/x",
            "denied",
            "open/secret",
            "Open/x",
            "devices/d8/x",
            "devices/x",
            "users//x",
            "$delayed/1/open/x",
            "open",
        ] {
            for qos in 0..3 {
                let publish = way.publish(topic).qos(qos, 40 + u16::from(qos)).retain();
                burst.extend(publish.clone().bytes("no"));
                if qos > 0 {
                    burst.extend(publish.dup().bytes("no"));
                }
            }
        }
        if way.version.is_v5() {
            let hidden = way
                .publish("denied/x")
                .properties(&user_property("topic", "open/x"));
            burst.extend(hidden.bytes("no"));
        }
        burst.extend(&allowed);
        client.send(&burst).await;
        let message = observer.message().await;
        assert_eq!(
            (&*message.topic, message.text()),
            ("open/fence", &*format!("{way:?}"))
        );
    }
    // aliases, as far as this broker offers them
    for way in ways(V5) {
        let mut client = way.link(&mproxy).await;
        client.connect(&way.connect("d7")).await;
        let mut burst = Vec::new();
        for topic in ["open/x", "denied/x", ""] {
            burst.extend(aliased(way, topic, 1).bytes(topic));
        }
        burst.extend(way.publish("open/fence").bytes("alias"));
        client.send(&burst).await;
        for wanted in ["open/x", "open/fence"] {
            assert_eq!(observer.message().await.topic, wanted, "{way:?}");
        }
    }
}
