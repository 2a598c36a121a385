//! How connections begin, live and end.

use std::time::{Duration, Instant};

use mproxy_tests::wire::{
    Connect, DISCONNECT, PINGREQ, PINGRESP, Publish, Version, connack, frame, puback, subscribe,
};
use mproxy_tests::{Link, Rest, memory, within};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::interval;

use crate::ground::{
    Ground, WhenUnreachable, both_close, both_end, both_time_out, client, down, fence, sent_away,
    strict, turned_away, up,
};
use crate::packets::{accepted, connect, no_properties};

tests! {
    nothing_but_connect_begins_a_session [r19] in all;
    a_second_connect_is_heard_by_nobody [r20] in all;
    a_broker_answers_with_connack [r21] in all by [when_unreachable];
    a_second_connack_ends_both_sides [r22] in all;
    what_stands_behind_connect_waits [r23] in all;
    what_stands_behind_connect_is_bounded [r23] in all;
    what_stands_behind_a_refused_connect_was_never_said [r24] in all;
    a_refusal_is_the_last_word [r25] in all;
    no_refusal_has_a_session [r26] in all by [when_unreachable];
    an_answer_is_in_the_clients_format [r27] in all;
    a_bridge_is_a_client [r27] in v3 by [bridges];
    disconnect_is_for_those_who_know_it [r28] in all by [when_unreachable drain_notice];
    a_refusal_arrives_whatever_was_sent_behind [r29] in all;
    what_came_before_the_end_of_a_client_is_forwarded [r30] in all;
    what_came_before_the_end_of_a_broker_is_delivered [r31] in all;
    disconnect_is_the_last_word [r32] in all;
    a_lost_client_is_not_excused [r33] in all;
    an_error_is_no_goodbye [r34] in all;
    a_stop_says_goodbye_as_configured [r34] in all by [drain_notice];
    codes_are_those_of_the_tables [r35] in all by [when_unreachable];
    two_connections_of_one_client_are_told_apart [r36] in all by [drain_notice];
    the_brokers_side_ends_before_the_client_is_back [r37] in all;
    pings_go_from_end_to_end [r38] in all;
    a_keep_alive_of_its_own_is_told_and_enforced [r39] in v5;
    a_keep_alive_of_its_own_is_enforced [r39] in v3;
    a_keep_alive_of_the_client_is_the_brokers_to_judge [r39] in all;
    a_client_that_its_broker_forgot_ends_half_a_minute_later [r39] in v5;
    connect_has_a_time [r40] in all;
    connack_and_packets_have_a_time [r40] in all by [when_unreachable];
    a_packet_that_drips_in_has_a_time [r40] in all;
    authentication_gives_connack_time [r40] in v5 by [when_unreachable];
}

async fn nothing_but_connect_begins_a_session(version: Version) {
    let ground = Ground::new().await;
    for listener in ["mqtt", "acl"] {
        for first in [
            connack(version, 0),
            Publish::new(version, "t").bytes("x"),
            subscribe(version, 1, &[("t", 0)]),
            PINGREQ.to_vec(),
            DISCONNECT.to_vec(),
        ] {
            let mut link = ground.link(listener, version).await;
            // a CONNECT behind it is too late
            link.send(&[first, client(version).bytes()].concat()).await;
            link.closed().await;
        }
    }
    ground.nobody_before(version).await;
}

/// First as somebody who may, then as somebody else.
async fn a_second_connect_is_heard_by_nobody(version: Version) {
    let ground = Ground::new().await;
    for listener in ["mqtt", "acl", "map"] {
        for second in [
            client(version),
            Connect::new(version, "admin").username("root"),
            // with something to judge
            client(version).will("denied/w", "", 0, false),
        ] {
            let (mut client, server) = ground.pair(listener, version).await;
            client.send(&second.bytes()).await;
            both_end(client, server, &[0x82]).await;
        }
        // right behind the first
        let mut link = ground.link(listener, version).await;
        let second = Connect::new(version, "admin").bytes();
        link.send(&[client(version).bytes(), second].concat()).await;
        let mut server = ground.broker.session().await;
        server.accept().await;
        let answer = link.packet().await;
        assert_eq!((answer.kind(), answer.body()[1]), (2, 0), "{answer:?}");
        both_end(link, server, &[0x82]).await;
    }
    ground.nobody_before(version).await;
    let metrics = ground.mproxy.metrics().await;
    let judged = metrics.sum("mproxy_auth_decisions_total{action=\"will\"}");
    assert!(judged < 0.5, "a hook has seen it");
}

async fn a_broker_answers_with_connack(version: Version) {
    let answers: [&[u8]; 7] = [
        &PINGRESP,
        &[0x30, 3, 0, 1, b't'],
        &[0x90, 3, 0, 1, 0],
        &[0x10, 0],
        &[0xf0, 0], // AUTH, for which nobody has asked
        &[0xe0, 0],
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ];
    for value in WhenUnreachable::BOTH {
        let ground = Ground::when_unreachable(value).await;
        for listener in ["mqtt", "acl"] {
            for answer in answers {
                let (link, mut server) = ground.asked(listener, &client(version)).await;
                server.send(answer).await;
                value.unavailable(link).await;
                server.closed().await;
            }
            // or not at all
            for reset in [false, true] {
                let (link, server) = ground.asked(listener, &client(version)).await;
                if reset {
                    server.reset();
                } else {
                    drop(server);
                }
                value.unavailable(link).await;
            }
            // or within its answer
            let (link, mut server) = ground.asked(listener, &client(version)).await;
            server.send(&connack(version, 0)[..3]).await;
            drop(server);
            value.unavailable(link).await;
        }
        // nobody listens any more
        let Ground { mproxy, broker } = ground;
        let _address = broker.close();
        let mut link = Link::tcp(mproxy.addr()).await;
        link.speak(version);
        link.send(&client(version).bytes()).await;
        value.unavailable(link).await;
    }
}

async fn a_second_connack_ends_both_sides(version: Version) {
    let ground = Ground::new().await;
    for listener in ["mqtt", "acl"] {
        for code in [0, if version.is_v5() { 0x87 } else { 5 }] {
            let (client, mut server) = ground.pair(listener, version).await;
            server.send(&connack(version, code)).await;
            both_close(client, server).await;
        }
    }
}

async fn what_stands_behind_connect_waits(version: Version) {
    let ground = Ground::new().await;
    let behind = [
        subscribe(version, 1, &[("t", 1)]),
        Publish::new(version, "t").qos(1, 2).bytes("x"),
        PINGREQ.to_vec(),
        DISCONNECT.to_vec(),
    ];
    for listener in ["mqtt", "acl"] {
        let mut link = ground.link(listener, version).await;
        link.send(&[client(version).bytes(), behind.concat()].concat())
            .await;
        let mut server = ground.broker.session().await;
        server.expect(&client(version).bytes()).await;
        // nothing follows while there is no answer: a whole other session comes and goes meanwhile
        let (mut other, mut other_server) = ground.pair(listener, version).await;
        fence(&mut other, &mut other_server).await;
        assert!(server.is_idle(), "something before CONNACK");
        server.send(&connack(version, 0)).await;
        for packet in &behind {
            server.expect(packet).await;
        }
        server.closed().await;
        assert_eq!(link.packet().await.kind(), 2);
    }
}

async fn what_stands_behind_connect_is_bounded(version: Version) {
    const PATIENCE: &str = "2s";
    let ground =
        Ground::with(|setup| setup.set("upstreams.broker.connack_timeout", PATIENCE)).await;
    let (mut link, server) = ground.asked("mqtt", &client(version)).await;
    let message = Publish::new(version, "t").bytes(vec![7; 100_000]);
    let mut taken = 0;
    // to the end of the time for CONNACK, at which the connection breaks
    within("the end", async {
        while link.try_send(&message).await {
            taken += message.len();
        }
    })
    .await;
    server.closed().await;
    // what the kernel holds on both sides counts
    assert!(taken < 16 << 20, "{taken} bytes");
    let peak = memory::peak_kib(ground.mproxy.id());
    assert!(peak < 64 * 1024, "{peak} KiB");
}

async fn what_stands_behind_a_refused_connect_was_never_said(version: Version) {
    let ground = Ground::new().await;
    let behind = [
        Publish::new(version, "t").qos(1, 2).bytes("x"),
        Publish::new(version, "denied/t").bytes("x"),
        subscribe(version, 1, &[("t", 1)]),
    ]
    .concat();
    // refused here
    let hello = client(version).will("denied/will", "", 0, false).bytes();
    let mut link = ground.link("acl", version).await;
    link.send(&[hello, behind.clone()].concat()).await;
    turned_away(link, Some(5), &[0x87]).await;
    ground.nobody_before(version).await;
    let judged = "mproxy_auth_decisions_total{action=\"publish\"}";
    let metrics = ground.mproxy.metrics().await;
    assert!(metrics.sum(judged) < 0.5, "a hook has seen it");

    // refused by the broker
    for listener in ["mqtt", "acl"] {
        let mut link = ground.link(listener, version).await;
        link.send(&[client(version).bytes(), behind.clone()].concat())
            .await;
        let mut server = ground.broker.session().await;
        server.expect(&client(version).bytes()).await;
        let code = if version.is_v5() { 0x87 } else { 5 };
        server.send(&connack(version, code)).await;
        turned_away(link, Some(5), &[0x87]).await;
        server.closed().await;
    }
    let metrics = ground.mproxy.metrics().await;
    assert!(metrics.sum(judged) < 0.5, "a hook has seen it");
}

async fn a_refusal_is_the_last_word(version: Version) {
    let ground = Ground::new().await;
    let codes: &[u8] = if version.is_v5() {
        &[0x80, 0x86, 0x87, 0x89, 0x9f]
    } else {
        &[1, 2, 3, 4, 5]
    };
    for listener in ["mqtt", "acl"] {
        for &code in codes {
            let (link, mut server) = ground.asked(listener, &client(version)).await;
            let more = Publish::new(version, "t").bytes("x");
            server.send(&[connack(version, code), more].concat()).await;
            turned_away(link, Some(code), &[code]).await;
            server.closed().await;
        }
    }
}

async fn no_refusal_has_a_session(version: Version) {
    let code = if version.is_v5() { 0x87 } else { 5 };
    let answer = |flags, code| frame(0x20, &[&[flags, code][..], no_properties(version)].concat());
    let hello = client(version).persistent();
    for value in WhenUnreachable::BOTH {
        let ground = Ground::when_unreachable(value).await;
        // the broker's: the flags are 0 or 1, and 0 in a refusal
        for (flags, code) in [(2, 0), (0x80, 0), (0xff, code), (3, code)] {
            let (link, mut server) = ground.asked("mqtt", &hello).await;
            server.send(&answer(flags, code)).await;
            value.unavailable(link).await;
            server.closed().await;
        }
        let (mut link, mut server) = ground.asked("mqtt", &hello).await;
        server.send(&answer(1, code)).await;
        if strict() {
            value.unavailable(link).await;
        } else {
            // one that has slipped in says no all the same
            link.expect(&answer(0, code)).await;
            link.closed().await;
        }
        server.closed().await;
        // its own, to the byte
        let (link, server) = ground.asked("mqtt", &hello).await;
        drop(server);
        value.unavailable(link).await;
    }
}

async fn an_answer_is_in_the_clients_format(version: Version) {
    let only = match version {
        Version::V31 => "[\"5\", \"3.1.1\"]",
        Version::V311 => "[\"3.1\", \"5\"]",
        Version::V5 => "[\"3.1\", \"3.1.1\"]",
    };
    let ground = Ground::with(|setup| setup.set("listeners.mqtt.versions", only)).await;
    const OLD: &[u8] = &[0x20, 2, 0, 1];
    const NEW: &[u8] = &[0x20, 3, 0, 0x84, 0];
    let mut link = ground.link("mqtt", version).await;
    link.send(&client(version).bytes()).await;
    link.expect(if version.is_v5() { NEW } else { OLD }).await;
    link.closed().await;

    // every level of which nobody knows, or that only goes with another name: a later MQTT knows
    // the form of 5.0, and nothing else does
    let (name, known): (&[u8], &[u8]) = match version {
        Version::V31 => (b"\0\x06MQIsdp", &[3, 0x83]),
        Version::V311 | Version::V5 => (b"\0\x04MQTT", &[4, 5, 0x84]),
    };
    for level in (0..=255).filter(|level| !known.contains(level)) {
        let body = [name, &[level, 2, 0, 0], b"\0\x01c"].concat();
        let mut link = ground.link("acl", version).await;
        link.send(&frame(0x10, &body)).await;
        let is_later = version != Version::V31 && (6..=0x7f).contains(&level);
        link.expect(if is_later { NEW } else { OLD }).await;
        link.closed().await;
    }
    // another protocol
    let level = match version {
        Version::V31 => 3,
        Version::V311 => 4,
        Version::V5 => 5,
    };
    for name in ["MQTTS", "mqtt", "MQIsdP", "HTTP", ""] {
        let mut body = mproxy_tests::wire::field(name);
        body.extend([level, 2, 0, 0]);
        body.extend_from_slice(no_properties(version));
        body.extend(b"\0\x01c");
        let mut link = ground.link("acl", version).await;
        link.send(&frame(0x10, &body)).await;
        link.closed().await;
    }
    ground.nobody_before_at("acl", version).await;
}

/// A CONNECT with mosquitto's bridge bit in its level.
fn bridge(hello: &Connect) -> Vec<u8> {
    let mut bytes = hello.bytes();
    let at = 4 + usize::from(bytes[3]);
    bytes[at] |= 0x80;
    bytes
}

/// mosquitto bridges say that they are bridges: the broker then sends nothing back to where it came
/// from, and leaves RETAIN as it is. Refused, they come back as plain clients, and every message goes
/// round. The bit is no way around a layer.
async fn a_bridge_is_a_client(version: Version) {
    let ground = Ground::new().await;
    let will = client(version).will("w", "bye", 1, true);
    for hello in [client(version), client(version).persistent(), will] {
        for listener in ["mqtt", "acl", "map"] {
            let mut link = ground.link(listener, version).await;
            link.send(&bridge(&hello)).await;
            let mut server = ground.broker.session().await;
            let connect = server.packet().await;
            let level = 2 + usize::from(connect.body()[1]);
            assert_eq!(connect.body()[level] & 0x80, 0x80, "{connect:?}");
            let mapped = client(version).will("tenants/acme/w", "bye", 1, true);
            let has_will = hello.bytes().len() > client(version).bytes().len();
            let sent = if listener == "map" && has_will {
                &mapped
            } else {
                &hello
            };
            assert_eq!(connect.bytes(), bridge(sent));
            server.send(&connack(version, 0)).await;
            link.expect(&connack(version, 0)).await;
            fence(&mut link, &mut server).await;
            let request = subscribe(version, 1, &[("denied/#", 0)]);
            if listener == "acl" {
                link.send(&request).await;
                link.expect(&[0x90, 3, 0, 1, 0x80]).await;
                fence(&mut link, &mut server).await;
            }
        }
    }
    let mut link = ground.link("acl", version).await;
    link.send(&bridge(&client(version).will("denied/w", "", 0, false)))
        .await;
    turned_away(link, Some(5), &[]).await;
    ground.nobody_before(version).await;

    let ground = Ground::with(|setup| setup.set_listeners("bridges", "refuse")).await;
    for listener in ["mqtt", "acl"] {
        let mut link = ground.link(listener, version).await;
        link.send(&bridge(&client(version))).await;
        link.expect(&[0x20, 2, 0, 1]).await;
        link.closed().await;
    }
    ground.nobody_before(version).await;
    let line = ground.mproxy.event("what to do", |event| {
        let remedy = event["remedy"].as_str();
        remedy.is_some_and(|remedy| remedy.contains("bridges"))
    });
    assert_eq!(line.await["level"], "WARN");
}

/// A server of MQTT 3 has no DISCONNECT, and none has one before CONNACK.
async fn disconnect_is_for_those_who_know_it(version: Version) {
    let ground = Ground::new().await;
    // errors before CONNACK
    let mut link = ground.link("mqtt", version).await;
    // an identifier that ends behind the packet
    link.send(&connect(version, 0x02, &[], &[b"\0\x02c"])).await;
    turned_away(link, None, &[0x81]).await;
    for value in WhenUnreachable::BOTH {
        let ground = Ground::when_unreachable(value).await;
        let (mut link, server) = ground.asked("mqtt", &client(version)).await;
        link.send(&Publish::new(version, "t").bytes("x")).await;
        drop(server);
        value.unavailable(link).await;
    }
    // and behind it
    let (mut client_link, server) = ground.pair("mqtt", version).await;
    client_link.send(&[0x00]).await;
    both_end(client_link, server, &[0x81]).await;

    // the end of the process, for a client that is in and one that is not yet
    for notice in NOTICES {
        let ground = Ground::with(|setup| setup.set("server.drain_notice", notice)).await;
        let (waiting, _waiting_server) = ground.asked("mqtt", &client(version)).await;
        let (inside, _inside_server) = ground.pair("mqtt", version).await;
        ground.mproxy.signal(Signal::TERM);
        drained(inside, notice).await;
        if notice == "none" {
            waiting.closed().await;
        } else {
            WhenUnreachable::Connack.unavailable(waiting).await;
        }
    }
}

/// The values of `server.drain_notice`, the default first.
const NOTICES: [&str; 2] = ["none", "disconnect"];

/// Asserts that a client that is in is sent away by a stop.
async fn drained(client: Link, notice: &str) {
    if notice == "none" {
        client.closed().await;
    } else {
        sent_away(client, &[0x8b]).await;
    }
}

/// A close with unread input resets the connection, and a reset takes with it what is on its way.
async fn a_refusal_arrives_whatever_was_sent_behind(version: Version) {
    let ground = Ground::new().await;
    let refused = client(version).will("denied/will", "", 0, false).bytes();
    for (bytes, answer) in [
        (&refused[..], Some(0x20)),
        (&[0x00], version.is_v5().then_some(0xe0)),
    ] {
        // a broker that left first would be why, and the client would be told nothing
        let (mut link, _server) = if answer == Some(0x20) {
            (ground.link("acl", version).await, None)
        } else {
            let (link, server) = ground.pair("mqtt", version).await;
            (link, Some(server))
        };
        link.send(bytes).await;
        let (mut stream, mut received) = link.into_tcp();
        // the last word has been said; what the client has sent meanwhile still comes
        let read = within("the last word", stream.read_to_end(&mut received)).await;
        read.expect("an orderly end");
        assert_eq!(received.first().copied(), answer, "{received:02x?}");
        let mut ticks = interval(Duration::from_millis(50));
        for _ in 0..6 {
            ticks.tick().await;
            let sent = stream.write_all(&[0; 8000]).await;
            sent.expect("it is read, and not answered with a reset");
        }
        stream.shutdown().await.expect("no reset");
        let end = within("the end", stream.read(&mut [0])).await;
        assert_eq!(end.expect("no reset"), 0);
    }
    // all at once
    let mut link = ground.link("acl", version).await;
    link.send(&[&refused[..], &[0; 50_000]].concat()).await;
    let (mut stream, mut received) = link.into_tcp();
    let read = within("the end", stream.read_to_end(&mut received)).await;
    read.expect("no reset");
    assert_eq!(received[0], 0x20);
}

async fn what_came_before_the_end_of_a_client_is_forwarded(version: Version) {
    let ground = Ground::new().await;
    let last = Publish::new(version, "t").qos(1, 7).bytes("last words");
    for listener in ["mqtt", "acl"] {
        for goodbye in [&DISCONNECT[..], &[]] {
            // in one breath
            let (link, mut server) = ground.pair(listener, version).await;
            let (mut stream, mut received) = link.into_tcp();
            let words = [&last, goodbye].concat();
            stream.write_all(&words).await.expect("it is taken");
            stream.shutdown().await.expect("it is open");
            server.expect(&last).await;
            if !goodbye.is_empty() {
                server.expect(goodbye).await;
            }
            // half closed: what the broker still has to say arrives
            let end = server.packet_or_end().await;
            assert!(end.is_none(), "{end:?}");
            if goodbye.is_empty() {
                server.send(&puback(7)).await;
            }
            drop(server);
            let read = within("the end", stream.read_to_end(&mut received)).await;
            read.expect("an orderly end");
            if goodbye.is_empty() {
                assert_eq!(received[..4], puback(7));
            }
        }
        // with CONNECT, before anybody has answered
        let mut link = ground.link(listener, version).await;
        let hello = client(version).bytes();
        link.send(&[&hello[..], &last, &DISCONNECT].concat()).await;
        drop(link);
        let (mut server, _) = ground.broker.accept().await;
        server.expect(&last).await;
        server.expect(&DISCONNECT).await;
        server.closed().await;
    }
}

async fn what_came_before_the_end_of_a_broker_is_delivered(version: Version) {
    let ground = Ground::new().await;
    for listener in ["mqtt", "read"] {
        let (mut client_link, mut server) = ground.pair(listener, version).await;
        let messages: Vec<_> = (0..200_u16)
            .map(|number| {
                let payload = [&number.to_be_bytes()[..], &[7; 2000]].concat();
                Publish::new(version, "t").bytes(payload)
            })
            .collect();
        server.send(&messages.concat()).await;
        drop(server);
        for message in &messages {
            client_link.expect(message).await;
        }
        // and no word about it: that of the broker would have come
        client_link.closed().await;
        // nor half a packet
        let (client_link, mut server) = ground.pair(listener, version).await;
        server.send(&messages[0][..100]).await;
        drop(server);
        client_link.closed().await;
    }
    // nobody has dialled in the name of those clients
    ground.nobody_before(version).await;
}

async fn disconnect_is_the_last_word(version: Version) {
    let ground = Ground::new().await;
    let more = Publish::new(version, "t").bytes("too late");
    let mut words = vec![DISCONNECT.to_vec()];
    if version.is_v5() {
        words.push(vec![0xe0, 1, 0x04]);
        words.push(vec![0xe0, 2, 0x00, 0]);
        // Session Expiry Interval, Reason String and a User Property
        let block = b"\x11\0\0\0\x09\x1f\0\x01r\x26\0\x01n\0\x01v";
        let body = [&[0x04, block.len() as u8][..], block].concat();
        words.push(frame(0xe0, &body));
    }
    for listener in ["mqtt", "acl"] {
        for goodbye in &words {
            let hello = client(version).persistent();
            let answer = connack(version, 0);
            let (mut link, mut server, _) = ground.open(listener, &hello, &answer).await;
            link.send(&[&goodbye[..], &more].concat()).await;
            server.expect(goodbye).await;
            server.closed().await;
            link.closed().await;
        }
        if version.is_v5() {
            // the broker's
            let (link, mut server) = ground.pair(listener, version).await;
            server.send(&[&[0xe0, 1, 0x8b][..], &more].concat()).await;
            sent_away(link, &[0x8b]).await;
        }
    }
}

async fn a_lost_client_is_not_excused(version: Version) {
    let ground = Ground::new().await;
    let part = &Publish::new(version, "t").bytes("x")[..4];
    for listener in ["mqtt", "acl"] {
        for reset in [false, true] {
            for half in [&[][..], part, &[0xe0]] {
                let hello = client(version).will("will", "bye", 1, false);
                let answer = connack(version, 0);
                let (mut link, server, _) = ground.open(listener, &hello, &answer).await;
                link.send(half).await;
                if reset {
                    link.reset();
                } else {
                    drop(link);
                }
                server.closed().await;
            }
        }
    }
}

async fn an_error_is_no_goodbye(version: Version) {
    let ground = Ground::with(|setup| {
        let setup = setup.limit("packet_timeout", "300ms");
        setup.set("layers.acl.on_deny", "disconnect")
    })
    .await;
    let hello = || client(version).will("will", "bye", 1, false);
    let denied = Publish::new(version, "denied/x").bytes("x");
    for (listener, bytes, code) in [("mqtt", &[0x00][..], 0x81), ("acl", &denied, 0x87)] {
        let answer = connack(version, 0);
        let (mut link, server, _) = ground.open(listener, &hello(), &answer).await;
        link.send(bytes).await;
        both_end(link, server, &[code]).await;
    }
    // the rest does not come
    let answer = connack(version, 0);
    let (mut link, server, _) = ground.open("mqtt", &hello(), &answer).await;
    link.send(&[0x30, 9]).await;
    both_time_out(link, server, 0x80).await;
}

async fn a_stop_says_goodbye_as_configured(version: Version) {
    for notice in NOTICES {
        for (wills, goodbye) in [("suppress", &[0xe0, 0][..]), ("publish", &[])] {
            let ground = Ground::with(|setup| {
                let setup = setup.set("server.drain_wills", wills);
                setup.set("server.drain_notice", notice)
            })
            .await;
            let hello = client(version).will("will", "bye", 1, false);
            let answer = connack(version, 0);
            let (link, server, _) = ground.open("mqtt", &hello, &answer).await;
            ground.mproxy.signal(Signal::TERM);
            drained(link, notice).await;
            let (packets, rest) = server.rest().await;
            let bytes: Vec<_> = packets.iter().flat_map(|it| it.bytes().to_vec()).collect();
            assert_eq!((&*bytes, rest), (goodbye, Rest::Clean), "{wills}");
        }
    }
}

async fn codes_are_those_of_the_tables(version: Version) {
    let ground = Ground::new().await;
    // what a broker must not say in CONNACK
    let (good, bad): (&[u8], &[u8]) = if version.is_v5() {
        (
            &[
                0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95,
                0x97, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f,
            ],
            &[
                0x01, 0x04, 0x18, 0x7f, 0x8b, 0x8d, 0x8e, 0x91, 0x93, 0xa0, 0xa2, 0xff,
            ],
        )
    } else if strict() {
        (&[1, 2, 3, 4, 5], &[6, 0x80, 0x87, 0xff])
    } else {
        // those of the broker's own refuse, too
        (&[1, 2, 3, 4, 5, 6, 0x80, 0x87, 0xff], &[])
    };
    for &code in good {
        let (link, mut server) = ground.asked("mqtt", &client(version)).await;
        server.send(&connack(version, code)).await;
        turned_away(link, Some(code), &[code]).await;
    }
    for value in WhenUnreachable::BOTH {
        let ground = Ground::when_unreachable(value).await;
        for &code in bad {
            let (link, mut server) = ground.asked("mqtt", &client(version)).await;
            server.send(&connack(version, code)).await;
            value.unavailable(link).await;
            server.closed().await;
        }
    }
    if !version.is_v5() {
        return;
    }
    // DISCONNECT: who may say what
    for code in 0..=255 {
        let client_may = matches!(code, 0 | 4 | 0x80..=0x83 | 0x90 | 0x93..=0x99);
        let (mut link, mut server) = ground.pair("mqtt", version).await;
        link.send(&[0xe0, 1, code]).await;
        if client_may {
            server.expect(&[0xe0, 1, code]).await;
        } else {
            both_end(link, server, &[0x81, 0x82]).await;
        }
        let server_may = matches!(code,
            0 | 0x80..=0x83 | 0x87 | 0x89 | 0x8b | 0x8d..=0x90 | 0x93..=0xa2)
            // with which a re-authentication fails
            || code == 0x8c;
        let (mut link, mut server) = ground.pair("mqtt", version).await;
        server.send(&[0xe0, 1, code]).await;
        if server_may {
            link.expect(&[0xe0, 1, code]).await;
        } else {
            both_close(link, server).await;
        }
    }
}

async fn two_connections_of_one_client_are_told_apart(version: Version) {
    for notice in NOTICES {
        let ground = Ground::with(|setup| setup.set("server.drain_notice", notice)).await;
        // the broker ends the old one, and says so or does not: mosquitto 2.0.11 just closes
        for is_told in [false, version.is_v5()] {
            let (old, mut old_server) = ground.pair("acl", version).await;
            let (mut new, mut new_server) = ground.pair("acl", version).await;
            fence(&mut new, &mut new_server).await;
            if is_told {
                old_server.send(&[0xe0, 1, 0x8e]).await;
                drop(old_server);
                sent_away(old, &[0x8e]).await;
            } else {
                drop(old_server);
                old.closed().await;
            }
            ground.mproxy.metric("mproxy_connections", 1.0).await;
            fence(&mut new, &mut new_server).await;
            new.send(&DISCONNECT).await;
            new_server.expect(&DISCONNECT).await;
            new_server.closed().await;
        }
        let (old, old_server) = ground.pair("acl", version).await;
        let (new, mut new_server) = ground.pair("acl", version).await;
        drop(old_server);
        old.closed().await;
        ground.mproxy.metric("mproxy_connections", 1.0).await;
        // the new one is still known: it hears of the end, and its will is taken back
        ground.mproxy.signal(Signal::TERM);
        drained(new, notice).await;
        new_server.expect(&DISCONNECT).await;
        new_server.closed().await;
    }
}

async fn the_brokers_side_ends_before_the_client_is_back(version: Version) {
    let ground = Ground::new().await;
    let tail = Publish::new(version, "t").qos(1, 7).bytes([7; 5000]);
    for listener in ["mqtt", "acl"] {
        for reset in [false, true] {
            let (mut old, mut old_server) = ground.pair(listener, version).await;
            old.send(&tail).await;
            if reset {
                // what was sent may be lost with a reset
                old_server.expect(&tail).await;
                old.reset();
            } else {
                drop(old);
            }
            let since = Instant::now();
            if !reset {
                old_server.expect(&tail).await;
            }
            // though nobody has closed it from the other end
            let end = old_server.packet_or_end().await;
            let waited = since.elapsed();
            assert!(end.is_none(), "{end:?}");
            assert!(waited < Duration::from_secs(1), "{waited:?}");
            let (mut new, mut new_server) = ground.pair(listener, version).await;
            fence(&mut new, &mut new_server).await;
        }
    }
}

async fn pings_go_from_end_to_end(version: Version) {
    let ground = Ground::new().await;
    for listener in ["mqtt", "acl", "map"] {
        let (mut link, mut server) = ground.pair(listener, version).await;
        up(&mut link, &mut server, &PINGREQ, &PINGREQ).await;
        // not answered in the broker's name
        let topic = if listener == "map" {
            "tenants/acme/t"
        } else {
            "t"
        };
        let message = Publish::new(version, topic).bytes("x");
        server.send(&message).await;
        assert_eq!(link.packet().await.kind(), 3);
        down(&mut link, &mut server, &PINGRESP, &PINGRESP).await;
        // nor asked for in the client's: the broker sees a client that is silent
        fence(&mut link, &mut server).await;
        // while there is a large packet on its way in one direction, the other is not held up
        let large = Publish::new(version, "large").bytes(vec![7; 500_000]);
        link.send(&large[..200_000]).await;
        server.begin().await;
        down(&mut link, &mut server, &PINGRESP, &PINGRESP).await;
    }
}

/// 5.0 has a word for it.
async fn a_keep_alive_of_its_own_is_told_and_enforced(version: Version) {
    let ground = Ground::with(|setup| setup.limit("max_keepalive", "10s")).await;
    for (asked, forwarded) in [(0, 10), (60, 10), (65_535, 10), (11, 10), (10, 10), (7, 7)] {
        let mut link = ground.link("mqtt", version).await;
        link.send(&client(version).keep_alive(asked).bytes()).await;
        let mut server = ground.broker.session().await;
        server
            .expect(&client(version).keep_alive(forwarded).bytes())
            .await;
        server.send(&connack(version, 0)).await;
        let answer = link.packet().await;
        let told = [0x13, 0, forwarded as u8];
        let is_told = answer.body().windows(3).any(|it| it == told);
        assert!(is_told || asked == forwarded, "{asked}: {answer:?}");
    }
    // the broker's own is kept if it is lower, and never raised above
    for (broker, told) in [(5, 5), (300, 10)] {
        let hello = client(version).keep_alive(60);
        let [high, low] = u16::to_be_bytes(broker);
        let answer = accepted(&[0x13, high, low]);
        let (_link, _server, connack) = ground.open("mqtt", &hello, &answer).await;
        let property = [0x13, 0, told];
        let count = connack
            .body()
            .windows(3)
            .filter(|it| *it == property)
            .count();
        assert_eq!(count, 1, "{connack:?}");
    }
    let ground = Ground::with(|setup| setup.limit("max_keepalive", "1s")).await;
    let (link, server) = ground.pair("mqtt", version).await;
    let since = Instant::now();
    both_time_out(link, server, 0x8d).await;
    let waited = since.elapsed();
    assert!((1400..5000).contains(&waited.as_millis()), "{waited:?}");
}

/// A broker that wants to wait longer may: it has told the client what it keeps. A tolerant proxy
/// looks half a minute later whether there is still a connection for nothing.
async fn a_keep_alive_of_the_client_is_the_brokers_to_judge(version: Version) {
    let ground = Ground::new().await;
    let hello = client(version).keep_alive(1);
    for listener in ["mqtt", "acl"] {
        let answer = connack(version, 0);
        let (mut link, mut server, _) = ground.open(listener, &hello, &answer).await;
        let since = Instant::now();
        if strict() {
            both_time_out(link, server, 0x8d).await;
            let waited = since.elapsed();
            assert!((1400..5000).contains(&waited.as_millis()), "{waited:?}");
        } else {
            let mut ticks = interval(Duration::from_millis(2500));
            ticks.tick().await;
            ticks.tick().await;
            fence(&mut link, &mut server).await;
            // the broker closes: so is the client's side, without a word
            drop(server);
            link.closed().await;
        }
    }
}

/// A broker that judges nothing must not keep a vanished client forever.
async fn a_client_that_its_broker_forgot_ends_half_a_minute_later(version: Version) {
    if strict() {
        return; // it ends at 1.5 times its keep alive: see above
    }
    let ground = Ground::new().await;
    let hello = client(version).keep_alive(1);
    let answer = connack(version, 0);
    let (link, server, _) = ground.open("mqtt", &hello, &answer).await;
    let since = Instant::now();
    let mut ticks = interval(Duration::from_secs(25));
    ticks.tick().await;
    ticks.tick().await;
    both_close(link, server).await;
    let waited = since.elapsed();
    assert!((31_400..40_000).contains(&waited.as_millis()), "{waited:?}");
}

/// Before, there is none: it happens.
async fn a_keep_alive_of_its_own_is_enforced(version: Version) {
    let ground = Ground::with(|setup| setup.limit("max_keepalive", "1s")).await;
    for asked in [0, 60] {
        let hello = client(version).keep_alive(asked);
        let mut link = ground.link("mqtt", version).await;
        link.send(&hello.bytes()).await;
        let mut server = ground.broker.session().await;
        server.expect(&hello.bytes()).await;
        server.send(&connack(version, 0)).await;
        link.expect(&connack(version, 0)).await;
        let since = Instant::now();
        both_time_out(link, server, 0x8d).await;
        let waited = since.elapsed();
        assert!((1400..5000).contains(&waited.as_millis()), "{waited:?}");
    }
}

/// All of it, and not each byte.
async fn connect_has_a_time(version: Version) {
    let ground = Ground::with(|setup| {
        let setup = setup.limit("connect_timeout", "500ms");
        setup.set("listeners.ws.limits.connect_timeout", "500ms")
    })
    .await;
    let since = Instant::now();
    let silent = ground.link("mqtt", version).await;
    let half_way = Link::tcp(ground.mproxy.listener("ws")).await;
    let upgraded = Link::ws(ground.mproxy.listener("ws")).await;
    let mut dripping = ground.link("mqtt", version).await;
    let hello = Connect::new(version, &"x".repeat(1000)).bytes();
    let drip = async {
        let mut ticks = interval(Duration::from_millis(50));
        for byte in hello {
            ticks.tick().await;
            if !dripping.try_send(&[byte]).await {
                return;
            }
        }
        panic!("nobody cared");
    };
    tokio::join!(silent.closed(), half_way.rest(), upgraded.closed(), drip);
    let waited = since.elapsed();
    let expected = Duration::from_millis(450)..Duration::from_secs(5);
    assert!(expected.contains(&waited), "{waited:?}");
    ground.nobody_before(version).await;
}

async fn connack_and_packets_have_a_time(version: Version) {
    let ground = Ground::with(|setup| setup.limit("packet_timeout", "300ms")).await;
    let (mut link, server) = ground.pair("mqtt", version).await;
    link.send(&Publish::new(version, "t").bytes([7; 1000])[..9])
        .await;
    both_time_out(link, server, 0x80).await;
    let (link, mut server) = ground.pair("mqtt", version).await;
    server.send(&[0x90, 5]).await;
    both_time_out(link, server, 0x80).await;
    for value in WhenUnreachable::BOTH {
        let ground = Ground::with(|setup| {
            let setup = value.when_unreachable(setup);
            setup.set("upstreams.broker.connack_timeout", "300ms")
        })
        .await;
        let (link, server) = ground.asked("mqtt", &client(version)).await;
        value.unavailable(link).await;
        server.closed().await;
    }
}

/// Bytes are no sign of life, at whatever time they come.
async fn a_packet_that_drips_in_has_a_time(version: Version) {
    let ground = Ground::with(|setup| setup.limit("packet_timeout", "300ms")).await;
    let packet = Publish::new(version, "t").bytes(vec![7; 40_000]);
    let mut drips = Vec::new();
    for _ in 0..16 {
        let (mut link, server) = ground.pair("mqtt", version).await;
        let packet = packet.clone();
        drips.push(async move {
            let mut ticks = interval(Duration::from_millis(1));
            let drip = async {
                for byte in packet {
                    ticks.tick().await;
                    if !link.try_send(&[byte]).await {
                        return;
                    }
                }
            };
            let since = Instant::now();
            let closed = async {
                server.closed().await;
                since.elapsed()
            };
            tokio::join!(drip, closed).1
        });
    }
    for waited in futures_util::future::join_all(drips).await {
        assert!(waited < Duration::from_secs(10), "{waited:?}");
    }
}

async fn authentication_gives_connack_time(version: Version) {
    for value in WhenUnreachable::BOTH {
        let ground = Ground::with(|setup| {
            let setup = value.when_unreachable(setup);
            setup.set("upstreams.broker.connack_timeout", "600ms")
        })
        .await;
        authentication_takes_longer(version, &ground, value).await;
    }
}

async fn authentication_takes_longer(version: Version, ground: &Ground, value: WhenUnreachable) {
    let hello = client(version).properties(b"\x15\0\x01m");
    let (mut link, mut server) = ground.asked("mqtt", &hello).await;
    let auth = frame(0xf0, b"\x18\x04\x15\0\x01m");
    let mut ticks = interval(Duration::from_millis(200));
    // longer than the time for CONNACK, and never that long without a word
    for round in 0..8 {
        ticks.tick().await;
        if round % 2 == 0 {
            server.send(&auth).await;
            link.expect(&auth).await;
        } else {
            link.send(&auth).await;
            server.expect(&auth).await;
        }
    }
    // and then no longer
    value.unavailable(link).await;
    server.closed().await;
}
