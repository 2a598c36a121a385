//! Enhanced authentication of MQTT 5.0.

use mproxy_tests::wire::{
    Connect, DISCONNECT, PINGREQ, Publish, Version, connack, field, frame, properties,
};

use crate::ground::{
    Ground, WhenUnreachable, both_close, both_end, client, down, fence, sent_away, strict,
    turned_away, up,
};
use crate::packets::accepted;

tests! {
    authentication_passes_both_ways [r120] in v5;
    nothing_else_comes_before_connack [r120] in v5;
    without_a_method_there_is_no_authentication [r121] in v5 by [when_unreachable];
    the_method_is_the_same_everywhere [r122] in v5 by [when_unreachable];
    a_new_authentication_passes [r123] in v5;
    a_new_authentication_is_refused_where_hooks_would_miss_it [r123] in v5;
    codes_have_a_direction [r124] in v5 by [when_unreachable];
}

/// An Authentication Method with data.
fn block(method: &str, data: &[u8]) -> Vec<u8> {
    [&[0x15][..], &field(method), &[0x16], &field(data)].concat()
}

fn auth(code: u8, method: &str) -> Vec<u8> {
    let block = properties(&block(method, &[0, 0xff, code]));
    frame(0xf0, &[&[code][..], &block].concat())
}

fn hello(method: &str) -> Connect {
    client(Version::V5).properties(&block(method, b"first"))
}

const HERE: [&str; 3] = ["mqtt", "acl", "map"];

async fn authentication_passes_both_ways(_: Version) {
    let ground = Ground::new().await;
    for listener in HERE {
        let (mut link, mut server) = ground.asked(listener, &hello("m")).await;
        for _ in 0..3 {
            down(&mut link, &mut server, &auth(0x18, "m"), &auth(0x18, "m")).await;
            up(&mut link, &mut server, &auth(0x18, "m"), &auth(0x18, "m")).await;
        }
        server.send(&accepted(&block("m", b"last"))).await;
        let connack = link.packet().await;
        let told = block("m", b"last");
        assert!(
            connack.body().windows(told.len()).any(|it| it == told),
            "{connack:?}"
        );
        fence(&mut link, &mut server).await;
        // refused in the middle of it
        let (mut link, mut server) = ground.asked(listener, &hello("m")).await;
        down(&mut link, &mut server, &auth(0x18, "m"), &auth(0x18, "m")).await;
        server.send(&connack_of(0x87)).await;
        turned_away(link, None, &[0x87]).await;
        server.closed().await;
    }
}

fn connack_of(code: u8) -> Vec<u8> {
    connack(Version::V5, code)
}

async fn nothing_else_comes_before_connack(version: Version) {
    let ground = Ground::new().await;
    for listener in HERE {
        for early in [
            Publish::new(version, "t").bytes("x"),
            PINGREQ.to_vec(),
            mproxy_tests::wire::subscribe(version, 1, &[("t", 0)]),
            mproxy_tests::wire::puback(1),
        ] {
            // behind CONNECT, and behind AUTH
            let mut link = ground.link(listener, version).await;
            link.send(&[hello("m").bytes(), early.clone()].concat())
                .await;
            let mut server = ground.broker.session().await;
            server.expect(&hello("m").bytes()).await;
            turned_away(link, None, &[0x82]).await;
            server.closed().await;
            let (mut link, mut server) = ground.asked(listener, &hello("m")).await;
            down(&mut link, &mut server, &auth(0x18, "m"), &auth(0x18, "m")).await;
            link.send(&early).await;
            turned_away(link, None, &[0x82]).await;
            server.closed().await;
        }
        // DISCONNECT may
        let (mut link, mut server) = ground.asked(listener, &hello("m")).await;
        up(&mut link, &mut server, &DISCONNECT, &DISCONNECT).await;
        server.closed().await;
    }
}

async fn without_a_method_there_is_no_authentication(version: Version) {
    for value in WhenUnreachable::BOTH {
        let ground = Ground::when_unreachable(value).await;
        for listener in HERE {
            for auth in [auth(0x18, "m"), auth(0x19, "m"), vec![0xf0, 0]] {
                let (mut link, server) = ground.pair(listener, version).await;
                link.send(&auth).await;
                both_end(link, server, &[0x82]).await;
                let (link, mut server) = ground.pair(listener, version).await;
                server.send(&auth).await;
                both_close(link, server).await;
                let (link, mut server) = ground.asked(listener, &client(version)).await;
                server.send(&auth).await;
                value.unavailable(link).await;
                server.closed().await;
            }
        }
    }
}

async fn the_method_is_the_same_everywhere(_: Version) {
    for value in WhenUnreachable::BOTH {
        let ground = Ground::when_unreachable(value).await;
        the_method_is_the_same_before(&ground, value).await;
    }
}

async fn the_method_is_the_same_before(ground: &Ground, value: WhenUnreachable) {
    for listener in ["mqtt", "acl"] {
        // the client's fault
        let (mut link, mut server) = ground.asked(listener, &hello("m")).await;
        down(&mut link, &mut server, &auth(0x18, "m"), &auth(0x18, "m")).await;
        link.send(&auth(0x18, "other")).await;
        turned_away(link, None, &[0x82]).await;
        server.closed().await;
        // the broker's
        for answer in [auth(0x18, "other"), accepted(&block("other", b""))] {
            let (link, mut server) = ground.asked(listener, &hello("m")).await;
            server.send(&answer).await;
            value.unavailable(link).await;
            server.closed().await;
        }
        // a method nobody asked for
        let (link, mut server) = ground.asked(listener, &client(Version::V5)).await;
        server.send(&accepted(&block("m", b""))).await;
        value.unavailable(link).await;
        server.closed().await;
        // none at the end, though it is the same: the client may judge that
        let (mut link, mut server) = ground.asked(listener, &hello("m")).await;
        server.send(&accepted(&[])).await;
        if strict() {
            value.unavailable(link).await;
        } else {
            link.expect(&accepted(&[])).await;
            fence(&mut link, &mut server).await;
        }
    }
    // later
    let answer = accepted(&block("m", b""));
    let (mut link, server, _) = ground.open("mqtt", &hello("m"), &answer).await;
    link.send(&auth(0x19, "other")).await;
    both_end(link, server, &[0x82]).await;
    let (mut link, mut server, _) = ground.open("mqtt", &hello("m"), &answer).await;
    up(&mut link, &mut server, &auth(0x19, "m"), &auth(0x19, "m")).await;
    server.send(&auth(0x18, "other")).await;
    both_close(link, server).await;
}

async fn a_new_authentication_passes(version: Version) {
    let ground = Ground::new().await;
    let answer = accepted(&block("m", b""));
    let (mut link, mut server, _) = ground.open("mqtt", &hello("m"), &answer).await;
    for _ in 0..2 {
        up(&mut link, &mut server, &auth(0x19, "m"), &auth(0x19, "m")).await;
        // other things go on meanwhile
        let publish = Publish::new(version, "t").bytes("x");
        up(&mut link, &mut server, &publish, &publish).await;
        down(&mut link, &mut server, &auth(0x18, "m"), &auth(0x18, "m")).await;
        up(&mut link, &mut server, &auth(0x18, "m"), &auth(0x18, "m")).await;
        down(&mut link, &mut server, &auth(0x00, "m"), &auth(0x00, "m")).await;
    }
    // one that fails
    up(&mut link, &mut server, &auth(0x19, "m"), &auth(0x19, "m")).await;
    server.send(&[0xe0, 1, 0x87]).await;
    sent_away(link, &[0x87]).await;
    server.closed().await;
}

/// The client would be somebody else, and the rules would be those of who it was.
async fn a_new_authentication_is_refused_where_hooks_would_miss_it(_: Version) {
    let ground = Ground::with(|setup| setup.toml(BY_NAMES)).await;
    let answer = accepted(&block("m", b""));
    for listener in ["map", "own", "stamped", "logged-own"] {
        let (mut link, server, _) = ground.open(listener, &hello("m"), &answer).await;
        link.send(&auth(0x19, "m")).await;
        both_end(link, server, &[0x8c]).await;
    }
    // a log judges nobody, and rules that are the same for all stay the same; or it is wanted
    for listener in ["acl", "logged", "wanted"] {
        let (mut link, mut server, _) = ground.open(listener, &hello("m"), &answer).await;
        up(&mut link, &mut server, &auth(0x19, "m"), &auth(0x19, "m")).await;
        down(&mut link, &mut server, &auth(0x00, "m"), &auth(0x00, "m")).await;
    }
}

/// Chains with layers that go by the names of a client, and with some that do not.
const BY_NAMES: &str = r##"
[[listeners]]
name = "own"
bind = "127.0.0.1:0"
chain = "own"
[[listeners]]
name = "stamped"
bind = "127.0.0.1:0"
chain = "stamped"
[[listeners]]
name = "logged-own"
bind = "127.0.0.1:0"
chain = "logged-own"
[[listeners]]
name = "logged"
bind = "127.0.0.1:0"
chain = "logged"
[[listeners]]
name = "wanted"
bind = "127.0.0.1:0"
chain = "wanted"
[chains.own]
layers = ["any", "own"]
[chains.stamped]
layers = ["stamp"]
[chains.logged-own]
layers = ["log", "any", "own"]
[chains.logged]
layers = ["log"]
[chains.wanted]
layers = ["log", "any", "wanted"]
[layers.log]
type = "access-log"
[layers.own]
type = "acl"
[[layers.own.rules]]
allow = ["publish", "subscribe"]
topics = ["#"]
usernames = ["acme"]
[layers.wanted]
type = "acl"
reauthentication = "pass"
[[layers.wanted.rules]]
allow = ["publish", "subscribe"]
topics = ["devices/${client_id}/#"]
[layers.stamp]
type = "property-edit"
set = { "x-client" = "${client_id}" }
"##;

async fn codes_have_a_direction(_: Version) {
    for value in WhenUnreachable::BOTH {
        let ground = Ground::when_unreachable(value).await;
        codes_have_a_direction_before(&ground, value).await;
    }
}

async fn codes_have_a_direction_before(ground: &Ground, value: WhenUnreachable) {
    for listener in ["mqtt", "acl"] {
        for code in [0x00, 0x01, 0x17, 0x1a, 0x80, 0x87, 0xff] {
            let (mut link, mut server) = ground.asked(listener, &hello("m")).await;
            down(&mut link, &mut server, &auth(0x18, "m"), &auth(0x18, "m")).await;
            link.send(&auth(code, "m")).await;
            turned_away(link, None, &[0x81, 0x82]).await;
            server.closed().await;
        }
        for code in [0x19, 0x01, 0x17, 0x80, 0x87, 0xff] {
            let (link, mut server) = ground.asked(listener, &hello("m")).await;
            server.send(&auth(code, "m")).await;
            value.unavailable(link).await;
            server.closed().await;
            let answer = accepted(&block("m", b""));
            let (link, mut server, _) = ground.open(listener, &hello("m"), &answer).await;
            server.send(&auth(code, "m")).await;
            both_close(link, server).await;
        }
    }
}
