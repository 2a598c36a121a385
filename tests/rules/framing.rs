//! Fixed headers, fields and properties: what is refused by how it looks.

use mproxy_tests::wire::{
    Connect, DISCONNECT, PINGREQ, PINGRESP, Publish, Version, connack, field, frame, properties,
    puback, pubcomp, pubrec, pubrel, suback, subscribe, unsubscribe, user_property,
};
use mproxy_tests::{Link, Setup, memory};

use crate::ground::{
    Ground, PREFIX, WhenUnreachable, both_close, both_end, client, down, fence, sent_away, strict,
    turned_away, up,
};
use crate::packets::{PROPERTIES, accepted, ack, body, connect, swap};

tests! {
    a_length_is_judged_when_it_is_complete [r1] in all by [max_packet_size];
    a_length_reserves_nothing [r1] in all;
    lengths_are_as_short_as_they_can_be [r2] in all;
    what_is_no_connect_ends_at_its_first_byte [r3 r5 r19] in all;
    a_first_byte_of_a_client_is_judged_alone [r3 r4 r5 r6] in all;
    a_first_byte_of_a_broker_is_judged_alone [r3 r4 r5 r6] in all;
    dup_of_other_packets_is_not_forwarded [r4] in [v31];
    flags_that_3_1_does_not_use_are_repaired [r3 r4] in [v31];
    dup_of_qos_0_is_repaired [r3 r60] in all;
    a_body_of_a_client_is_used_up [r7] in all;
    a_body_of_a_broker_is_used_up [r7] in all by [when_unreachable];
    strings_of_a_client_are_utf_8_without_nul [r8 r9] in all;
    strings_of_a_broker_are_utf_8_without_nul [r8 r9] in all by [when_unreachable];
    a_byte_order_mark_is_a_character [r10] in all;
    names_have_no_control_characters [r11] in all;
    control_characters_go_on_where_that_is_wanted [r11] in all;
    topics_are_bytes [r12] in all;
    binary_is_no_text [r13] in all;
    properties_of_a_client_belong_where_they_are [r14] in v5;
    properties_of_a_broker_belong_where_they_are [r14] in v5 by [when_unreachable];
    a_property_in_the_wrong_packet_is_malformed [r14] in v5;
    a_property_comes_once [r14] in v5 by [when_unreachable];
    properties_have_a_length [r15] in v5 by [when_unreachable];
    an_unknown_property_is_not_waited_for [r16] in v5 by [when_unreachable];
    what_is_forwarded_is_what_came [r17] in all;
    own_packets_wait_for_the_end_of_a_large_one [r18] in all;
}

/// The listeners on which packets are looked at, or not.
const LISTENERS: [&str; 2] = ["mqtt", "acl"];

async fn a_length_is_judged_when_it_is_complete(version: Version) {
    let ground = Ground::new().await;
    // the fourth byte asks for a fifth
    let mut link = ground.link("mqtt", version).await;
    link.send(&[0x10, 0xff, 0xff, 0xff, 0x80]).await;
    link.closed().await;
    for listener in LISTENERS {
        for first in [0x30, 0x82, 0xc0] {
            let (mut client, server) = ground.pair(listener, version).await;
            client.send(&[first, 0xff, 0xff, 0xff, 0xff]).await;
            both_end(client, server, &[0x81]).await;
        }
        // what must be whole and is larger than it may be: judged although nothing of it is there
        let (mut client, server) = ground.pair(listener, version).await;
        client.send(&[0x82, 0xff, 0xff, 0xff, 0x7f]).await;
        both_end(client, server, &[0x95]).await;
        // a PUBLISH streams, and has no limit unless one is set
        let (mut client, mut server) = ground.pair(listener, version).await;
        client.send(&[0x30, 0xff, 0xff, 0xff, 0x7f]).await;
        client.send(&[0, 1]).await;
        down(&mut client, &mut server, &PINGRESP, &PINGRESP).await;
        let (client, mut server) = ground.pair(listener, version).await;
        server.send(&[0x90, 0xff, 0xff, 0xff, 0xff]).await;
        both_close(client, server).await;
    }
    let ground = Ground::with(|setup| setup.set_listeners("limits.max_packet_size", "1MiB")).await;
    for listener in LISTENERS {
        let (mut client, server) = ground.pair(listener, version).await;
        client.send(&[0x30, 0xff, 0xff, 0xff, 0x7f]).await;
        both_end(client, server, &[0x95]).await;
    }
}

async fn a_length_reserves_nothing(version: Version) {
    let ground = Ground::with(|setup| {
        let setup = setup.set_listeners("limits.max_packet_size", "256MiB");
        setup.set_listeners("limits.max_held_packet", "256MiB")
    })
    .await;
    let mut pairs = Vec::new();
    for listener in LISTENERS {
        for _ in 0..20 {
            pairs.push(ground.pair(listener, version).await);
        }
    }
    let before = memory::used_kib(ground.mproxy.id());
    for (client, _) in &mut pairs {
        // a SUBSCRIBE must be whole before it goes on
        client.send(&[0x82, 0xff, 0xff, 0xff, 0x7f, 0, 1]).await;
    }
    let received = "mproxy_connections";
    ground.mproxy.metric(received, 40.0).await;
    // the heads have been read when what is sent behind them has been, elsewhere
    let (mut client, mut server) = ground.pair("acl", version).await;
    fence(&mut client, &mut server).await;
    let grown = memory::used_kib(ground.mproxy.id()).saturating_sub(before);
    assert!(grown < 4 * 1024, "{grown} KiB for 40 announcements");
}

/// Packets whose length is longer than it must be, and what they should have been.
async fn lengths_are_as_short_as_they_can_be(version: Version) {
    let ground = Ground::new().await;
    let longer = |packet: &[u8]| {
        assert!(packet[1] < 0x80, "a length of one byte");
        [&[packet[0], packet[1] | 0x80, 0x80, 0][..], &packet[2..]].concat()
    };
    let to_server = [
        PINGREQ.to_vec(),
        Publish::new(version, "t").qos(1, 7).bytes("x"),
        subscribe(version, 8, &[("t", 1)]),
    ];
    let to_client = [
        PINGRESP.to_vec(),
        Publish::new(version, "t").qos(1, 7).bytes("x"),
        puback(7),
    ];
    let hello = client(version).bytes();
    let mut link = ground.link("mqtt", version).await;
    link.send(&longer(&hello)).await;
    if version.is_v5() {
        turned_away(link, None, &[0x81]).await;
    } else {
        ground.broker.session().await.expect(&hello).await;
    }
    for listener in LISTENERS {
        if !version.is_v5() {
            // forwarded in the one form about which nobody can have another opinion
            let (mut client, mut server) = ground.pair(listener, version).await;
            for packet in &to_server {
                up(&mut client, &mut server, &longer(packet), packet).await;
            }
            for packet in &to_client {
                down(&mut client, &mut server, &longer(packet), packet).await;
            }
            continue;
        }
        for packet in &to_server {
            let (mut client, server) = ground.pair(listener, version).await;
            client.send(&longer(packet)).await;
            both_end(client, server, &[0x81]).await;
        }
        for packet in &to_client {
            let (client, mut server) = ground.pair(listener, version).await;
            server.send(&longer(packet)).await;
            both_close(client, server).await;
        }
        // the length of properties, an identifier of a property, a Subscription Identifier
        let inside = [
            frame(0x30, &[&field("t")[..], &[0x80, 0], b"x"].concat()),
            frame(0x30, &[&field("t")[..], &[3, 0x81, 0, 1], b"x"].concat()),
            frame(
                0x82,
                &[&[0, 1, 3, 0x0b, 0x81, 0][..], &field("t"), &[0]].concat(),
            ),
        ];
        for packet in inside {
            let (mut client, server) = ground.pair(listener, version).await;
            client.send(&packet).await;
            both_end(client, server, &[0x81]).await;
        }
    }
}

async fn what_is_no_connect_ends_at_its_first_byte(version: Version) {
    let ground = Ground::new().await;
    for first in (0..=255_u8).filter(|first| first >> 4 != 1) {
        let mut link = ground.link("mqtt", version).await;
        link.send(&[first]).await;
        link.closed().await;
    }
    for listener in ["acl", "map", "ws"] {
        for first in [0x00, 0x30, 0xc0, 0xe0, 0xf0] {
            let mut link = if listener == "ws" {
                Link::ws(ground.mproxy.listener(listener)).await
            } else {
                ground.link(listener, version).await
            };
            link.send(&[first]).await;
            link.closed().await;
        }
    }
    // flags of CONNECT, which MQTT 3.1 does not look at
    if version != Version::V31 {
        for first in 0x11..=0x1f {
            let mut hello = client(version).bytes();
            hello[0] = first;
            let mut link = ground.link("mqtt", version).await;
            link.send(&hello).await;
            let (packets, _) = link.rest().await;
            assert!(packets.iter().all(|it| it.body()[1] > 0), "{packets:?}");
        }
    }
    ground.nobody_before(version).await;
}

/// The first bytes that may come from a side, in a version and with the conformance of the test.
fn allowed(version: Version, from_client: bool) -> Vec<u8> {
    let mut allowed = vec![0x40, 0x50, 0x62, 0x70];
    // PUBLISH: DUP goes with QoS 1 and 2 only
    allowed.extend([0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x3a, 0x3b, 0x3c, 0x3d]);
    if from_client {
        allowed.extend([0x82, 0xa2, 0xc0, 0xe0]);
    } else {
        allowed.extend([0x90, 0xb0, 0xd0]);
    }
    if !strict() {
        // DUP with QoS 0
        allowed.extend([0x38, 0x39]);
    }
    match version {
        // flags that are not used there
        Version::V31 if !strict() => {
            let own: &[u8] = if from_client {
                &[0x80, 0xa0, 0xc0, 0xe0]
            } else {
                &[0x90, 0xb0, 0xd0]
            };
            for kind in [0x40, 0x50, 0x60, 0x70].iter().chain(own) {
                allowed.extend(*kind..=kind | 0x0f);
            }
        }
        Version::V31 => {
            allowed.push(0x6a);
            if from_client {
                allowed.extend([0x8a, 0xaa]);
            }
        }
        Version::V311 => {}
        Version::V5 if from_client => {}
        Version::V5 => allowed.push(0xe0),
    }
    allowed
}

async fn a_first_byte_of_a_client_is_judged_alone(version: Version) {
    let ground = Ground::new().await;
    let allowed = allowed(version, true);
    for first in (0..=255).filter(|first| !allowed.contains(first)) {
        let listener = LISTENERS[usize::from(first & 1)];
        let (mut client, server) = ground.pair(listener, version).await;
        client.send(&[first]).await;
        both_end(client, server, &[0x81, 0x82]).await;
    }
    // those that are allowed are waited for
    let (mut client, mut server) = ground.pair("mqtt", version).await;
    for packet in [puback(1), pubrel(2), pubcomp(3), PINGREQ.to_vec()] {
        client.send(&packet[..1]).await;
        client.send(&packet[1..]).await;
        server.expect(&packet).await;
    }
}

async fn a_first_byte_of_a_broker_is_judged_alone(version: Version) {
    let ground = Ground::new().await;
    let allowed = allowed(version, false);
    for first in (0..=255).filter(|first| !allowed.contains(first)) {
        let listener = LISTENERS[usize::from(first & 1)];
        let (client, mut server) = ground.pair(listener, version).await;
        server.send(&[first]).await;
        // it is not the client that did something wrong
        both_close(client, server).await;
    }
}

async fn dup_of_other_packets_is_not_forwarded(version: Version) {
    let ground = Ground::new().await;
    for listener in LISTENERS {
        let (mut client, mut server) = ground.pair(listener, version).await;
        for packet in [
            pubrel(1),
            subscribe(version, 2, &[("t", 1)]),
            unsubscribe(version, 3, &["t"]),
        ] {
            let mut again = packet.clone();
            again[0] |= 0x08;
            up(&mut client, &mut server, &again, &packet).await;
        }
        let mut again = pubrel(1);
        again[0] |= 0x08;
        down(&mut client, &mut server, &again, &pubrel(1)).await;
    }
}

/// Every flag nibble of every packet that a side may send in MQTT 3.1: "not used" there, so a
/// receiver does not look. A client that says goodbye with `E1 00` has said goodbye.
async fn flags_that_3_1_does_not_use_are_repaired(version: Version) {
    let ground = Ground::new().await;
    let both = [puback(1), pubrec(2), pubrel(3), pubcomp(4)];
    let mut to_server = both.to_vec();
    to_server.extend([
        subscribe(version, 5, &[("t", 1)]),
        unsubscribe(version, 6, &["t"]),
        PINGREQ.to_vec(),
        DISCONNECT.to_vec(),
    ]);
    let mut to_client = both.to_vec();
    to_client.extend([
        suback(version, 5, &[1]),
        vec![0xb0, 2, 0, 6],
        PINGRESP.to_vec(),
    ]);
    for listener in LISTENERS {
        for (packets, from_client) in [(&to_server, true), (&to_client, false)] {
            for packet in packets {
                for flags in 0..16 {
                    let (mut client, mut server) = ground.pair(listener, version).await;
                    let mut flagged = packet.clone();
                    flagged[0] = packet[0] & 0xf0 | flags;
                    let is_dup = packet[0] & 0x0f == 2 && flags == 0x0a;
                    let passes = !strict() || flagged == *packet || is_dup;
                    let (sender, receiver) = if from_client {
                        (&mut client, &mut server)
                    } else {
                        (&mut server, &mut client)
                    };
                    if passes {
                        up(sender, receiver, &flagged, packet).await;
                    } else {
                        sender.send(&flagged).await;
                        both_close(client, server).await;
                    }
                }
            }
        }
    }
}

/// In both directions, whatever stands before and behind it: the bit is cleared, nothing else.
async fn dup_of_qos_0_is_repaired(version: Version) {
    let ground = Ground::new().await;
    let publish = |payload: usize| Publish::new(version, "t").bytes(vec![7; payload]);
    let flagged = |packet: &[u8], flags: u8| [&[packet[0] | flags][..], &packet[1..]].concat();
    for listener in ["mqtt", "acl", "read"] {
        for from_client in [true, false] {
            // alone, with RETAIN, empty, and so large that it streams
            for (size, flags) in [(1, 0x08), (1, 0x09), (0, 0x08), (200_000, 0x08)] {
                let (mut client, mut server) = ground.pair(listener, version).await;
                let (sender, receiver) = if from_client {
                    (&mut client, &mut server)
                } else {
                    (&mut server, &mut client)
                };
                let right = flagged(&publish(size), flags & 1);
                let before = Publish::new(version, "t").qos(1, 7).dup().bytes("before");
                let sent = [&before[..], &flagged(&publish(size), flags), &before].concat();
                sender.send(&sent).await;
                receiver.expect(&before).await;
                if !strict() {
                    receiver.expect(&right).await;
                    receiver.expect(&before).await;
                } else if from_client {
                    both_end(client, server, &[0x81]).await;
                } else {
                    both_close(client, server).await;
                }
            }
        }
    }
}

/// A packet with one byte more in its body, and with one byte less.
fn off_by_one(packet: &[u8]) -> [Vec<u8>; 2] {
    let body = body(packet);
    let less = &body[..body.len().saturating_sub(1)];
    [
        frame(packet[0], &[body, &[0]].concat()),
        frame(packet[0], less),
    ]
}

async fn a_body_of_a_client_is_used_up(version: Version) {
    let ground = Ground::new().await;
    // CONNECT
    for connect in [
        client(version),
        client(version).will("w", "bye", 1, true),
        client(version).credentials("u", "p"),
    ] {
        for wrong in off_by_one(&connect.bytes()) {
            let mut link = ground.link("mqtt", version).await;
            link.send(&wrong).await;
            turned_away(link, None, &[0x81]).await;
        }
    }
    // a field of PUBLISH that ends behind the packet
    let mut wrong = vec![frame(0x30, &[0, 9, b't']), frame(0x32, &[0, 1, b't', 0])];
    let mut packets = vec![
        puback(1),
        pubrec(1),
        pubrel(1),
        pubcomp(1),
        PINGREQ.to_vec(),
        DISCONNECT.to_vec(),
    ];
    if version.is_v5() {
        wrong.push(frame(0x30, &[0, 1, b't', 9, 1, 1]));
        packets.clear();
        wrong.push(frame(0x40, &[0]));
        wrong.push(frame(0xc0, &[0]));
        for first in [0x40, 0x50, 0x62, 0x70] {
            packets.push(ack(first, 1, 0, &user_property("a", "b")));
        }
        packets.push(frame(
            0xe0,
            &[&[0][..], &properties(&user_property("a", "b"))].concat(),
        ));
    }
    packets.push(subscribe(version, 1, &[("t", 1)]));
    packets.push(unsubscribe(version, 1, &["t"]));
    for packet in packets {
        wrong.extend(off_by_one(&packet).into_iter().filter(|it| *it != packet));
    }
    for (number, wrong) in wrong.into_iter().enumerate() {
        let (mut client, server) = ground.pair(LISTENERS[number % 2], version).await;
        client.send(&wrong).await;
        both_end(client, server, &[0x81, 0x82]).await;
    }
    ground.nobody_before(version).await;
}

async fn a_body_of_a_broker_is_used_up(version: Version) {
    let ground = Ground::new().await;
    let unsuback = |codes: &[u8]| {
        let mut packet = suback(version, 1, codes);
        packet[0] = 0xb0;
        packet
    };
    let mut wrong = vec![frame(0x30, &[0, 9, b't']), frame(0x32, &[0, 1, b't', 0])];
    let mut packets = vec![PINGRESP.to_vec()];
    if version.is_v5() {
        wrong.push(frame(0x30, &[0, 1, b't', 9, 1, 1]));
        for first in [0x40, 0x50, 0x62, 0x70] {
            packets.push(ack(first, 1, 0, &user_property("a", "b")));
        }
        packets.push(frame(
            0xe0,
            &[&[0][..], &properties(&user_property("a", "b"))].concat(),
        ));
    } else {
        packets.extend([puback(1), pubrec(1), pubrel(1), pubcomp(1), unsuback(&[])]);
    }
    for packet in packets {
        wrong.extend(off_by_one(&packet).into_iter().filter(|it| *it != packet));
    }
    for (number, wrong) in wrong.into_iter().enumerate() {
        let (client, mut server) = ground.pair(LISTENERS[number % 2], version).await;
        server.send(&wrong).await;
        both_close(client, server).await;
    }
    for value in WhenUnreachable::BOTH {
        let ground = Ground::when_unreachable(value).await;
        for wrong in off_by_one(&connack(version, 0)) {
            let (link, mut server) = ground.asked("mqtt", &client(version)).await;
            server.send(&wrong).await;
            value.unavailable(link).await;
            server.closed().await;
        }
    }
}

/// What stands in a string of a test, to be replaced.
const MARK: &[u8] = b"MaRk";

/// Four bytes that are no UTF-8, or hold U+0000.
const NO_TEXT: [&[u8; 4]; 8] = [
    b"a\xffbc",
    b"a\x80bc",
    b"\xc0\x80bc",       // U+0000 in two bytes
    b"\xe0\x80\xaf/",    // `/` in three
    b"a\xed\xa0\x80",    // half of a surrogate pair
    b"\xf4\x90\x80\x80", // above U+10FFFF
    b"abc\xc3",          // ends within a character
    b"a\0bc",
];

/// CONNECTs with a mark in each of their strings.
fn marked_connects(version: Version) -> Vec<Vec<u8>> {
    let connect = Connect::new(version, "c");
    let mut marked = vec![
        Connect::new(version, "MaRk").bytes(),
        connect.clone().username("MaRk").bytes(),
        connect.clone().will("MaRk", "", 0, false).bytes(),
    ];
    if version.is_v5() {
        let blocks = [
            user_property("MaRk", "v"),
            user_property("n", "MaRk"),
            [&[0x15][..], &field("MaRk")].concat(),
        ];
        marked.extend(blocks.map(|block| connect.clone().properties(&block).bytes()));
        let blocks = [
            user_property("MaRk", "v"),
            user_property("n", "MaRk"),
            [&[0x03][..], &field("MaRk")].concat(),
            [&[0x08][..], &field("MaRk")].concat(),
        ];
        for block in blocks {
            let payload = [
                &field("c")[..],
                &properties(&block),
                &field("w"),
                &field("x"),
            ];
            marked.push(self::connect(version, 0x06, &[], &payload));
        }
    }
    marked
}

/// Other packets of a client with a mark in each of their strings.
fn marked_to_server(version: Version) -> Vec<Vec<u8>> {
    let mut marked = vec![
        Publish::new(version, "MaRk").bytes("x"),
        subscribe(version, 1, &[("a", 0), ("MaRk", 0)]),
        unsubscribe(version, 1, &["a", "MaRk"]),
    ];
    if version.is_v5() {
        let blocks = [
            user_property("MaRk", "v"),
            user_property("n", "MaRk"),
            [&[0x03][..], &field("MaRk")].concat(),
            [&[0x08][..], &field("MaRk")].concat(),
        ];
        for block in blocks {
            marked.push(Publish::new(version, "t").properties(&block).bytes("x"));
        }
        let reason = [&[0x1f][..], &field("MaRk")].concat();
        marked.push(ack(0x40, 1, 0, &reason));
        marked.push(frame(0xe0, &[&[0][..], &properties(&reason)].concat()));
        for first in [0x50, 0x62, 0x70] {
            marked.push(ack(first, 1, 0, &user_property("n", "MaRk")));
        }
        let user = properties(&user_property("n", "MaRk"));
        marked.push(frame(
            0x82,
            &[&[0, 1][..], &user, &field("t"), &[0]].concat(),
        ));
        marked.push(frame(0xa2, &[&[0, 1][..], &user, &field("t")].concat()));
    }
    marked
}

async fn strings_of_a_client_are_utf_8_without_nul(version: Version) {
    let ground = Ground::new().await;
    for marked in marked_connects(version) {
        for text in NO_TEXT {
            let mut link = ground.link("mqtt", version).await;
            link.send(&swap(&marked, MARK, text)).await;
            turned_away(link, None, &[0x81]).await;
        }
    }
    ground.nobody_before(version).await;
    for marked in marked_to_server(version) {
        for (number, text) in NO_TEXT.into_iter().enumerate() {
            let (mut client, server) = ground.pair(LISTENERS[number % 2], version).await;
            client.send(&swap(&marked, MARK, text)).await;
            both_end(client, server, &[0x81]).await;
        }
    }
}

async fn strings_of_a_broker_are_utf_8_without_nul(version: Version) {
    let ground = Ground::new().await;
    let mut marked = vec![Publish::new(version, "MaRk").bytes("x")];
    if version.is_v5() {
        let reason = [&[0x1f][..], &field("MaRk")].concat();
        let blocks = [
            user_property("MaRk", "v"),
            user_property("n", "MaRk"),
            [&[0x03][..], &field("MaRk")].concat(),
            [&[0x08][..], &field("MaRk")].concat(),
        ];
        for block in blocks {
            marked.push(Publish::new(version, "t").properties(&block).bytes("x"));
        }
        marked.push(ack(0x40, 1, 0, &reason));
        marked.push(frame(0xe0, &[&[0x80][..], &properties(&reason)].concat()));
    }
    for marked in marked {
        for (number, text) in NO_TEXT.into_iter().enumerate() {
            let (client, mut server) = ground.pair(LISTENERS[number % 2], version).await;
            server.send(&swap(&marked, MARK, text)).await;
            both_close(client, server).await;
        }
    }
    if !version.is_v5() {
        return;
    }
    for value in WhenUnreachable::BOTH {
        let ground = Ground::when_unreachable(value).await;
        for id in [0x12, 0x1a, 0x1c, 0x1f] {
            for text in NO_TEXT {
                let answer = accepted(&[&[id][..], &field("MaRk")].concat());
                let (link, mut server) = ground.asked("mqtt", &client(version)).await;
                server.send(&swap(&answer, MARK, text)).await;
                value.unavailable(link).await;
                server.closed().await;
            }
        }
    }
}

async fn a_byte_order_mark_is_a_character(version: Version) {
    let ground = Ground::new().await;
    let text = b"\xef\xbb\xbfa";
    for marked in marked_connects(version) {
        let sent = swap(&marked, MARK, text);
        let mut link = ground.link("mqtt", version).await;
        link.send(&sent).await;
        ground.broker.session().await.expect(&sent).await;
    }
    for listener in LISTENERS {
        for marked in marked_to_server(version) {
            let (mut client, mut server) = ground.pair(listener, version).await;
            let sent = swap(&marked, MARK, text);
            up(&mut client, &mut server, &sent, &sent).await;
        }
    }
}

/// Four bytes with a character that the standard discourages.
const CONTROLS: [&[u8; 4]; 7] = [
    b"a\x01bc",
    b"a\x1fbc",
    b"a\x7fbc",
    b"a\xc2\x80b",
    b"a\xc2\x9fb",
    b"a\xef\xbf\xbe",    // U+FFFE
    b"\xf0\x9f\xbf\xbf", // U+1FFFF
];

/// As a receiver may do, and as it is better: they end up in logs and on terminals.
async fn names_have_no_control_characters(version: Version) {
    let ground = Ground::new().await;
    let names = marked_connects(version).into_iter().take(3);
    for marked in names {
        for text in CONTROLS {
            let mut link = ground.link("mqtt", version).await;
            link.send(&swap(&marked, MARK, text)).await;
            turned_away(link, None, &[0x81, 0x85]).await;
        }
    }
    ground.nobody_before(version).await;
    for marked in marked_to_server(version).into_iter().take(3) {
        for (number, text) in CONTROLS.into_iter().enumerate() {
            let (mut client, server) = ground.pair(LISTENERS[number % 2], version).await;
            client.send(&swap(&marked, MARK, text)).await;
            both_end(client, server, &[0x81, 0x90]).await;
        }
    }
    for marked in marked_publishes(version) {
        for (number, text) in CONTROLS.into_iter().enumerate() {
            for from_client in [true, false] {
                let (mut client, mut server) = ground.pair(LISTENERS[number % 2], version).await;
                let sender = if from_client {
                    &mut client
                } else {
                    &mut server
                };
                sender.send(&swap(&marked, MARK, text)).await;
                if from_client {
                    both_end(client, server, &[0x81]).await;
                } else {
                    both_close(client, server).await;
                }
            }
        }
    }
}

/// PUBLISH with a mark as topic name, and as Response Topic.
fn marked_publishes(version: Version) -> Vec<Vec<u8>> {
    let mut marked = vec![Publish::new(version, "MaRk").bytes("x")];
    if version.is_v5() {
        let block = [&[0x08][..], &field("MaRk")].concat();
        marked.push(Publish::new(version, "t").properties(&block).bytes("x"));
    }
    marked
}

/// Some devices have them in their names, and some brokers do not mind. Whether somebody looks at
/// the packets or changes them makes no difference.
async fn control_characters_go_on_where_that_is_wanted(version: Version) {
    let ground = Ground::with(|setup| {
        let listeners = ["mqtt", "acl", "map"];
        let pass = |setup: Setup, name: &str| {
            setup.set(&format!("listeners.{name}.control_characters"), "pass")
        };
        listeners.into_iter().fold(setup, pass)
    })
    .await;
    for marked in marked_connects(version) {
        for text in CONTROLS {
            let sent = swap(&marked, MARK, text);
            let mut link = ground.link("mqtt", version).await;
            link.send(&sent).await;
            ground.broker.session().await.expect(&sent).await;
        }
    }
    for listener in LISTENERS {
        for text in CONTROLS {
            for marked in marked_to_server(version) {
                let (mut client, mut server) = ground.pair(listener, version).await;
                let sent = swap(&marked, MARK, text);
                up(&mut client, &mut server, &sent, &sent).await;
            }
            let (mut client, mut server) = ground.pair(listener, version).await;
            for marked in marked_publishes(version) {
                let sent = swap(&marked, MARK, text);
                down(&mut client, &mut server, &sent, &sent).await;
            }
        }
    }
    for text in CONTROLS {
        let name = str::from_utf8(text).expect("a name");
        let mapped_name = format!("{PREFIX}{name}");
        let (mut client, mut server) = ground.pair("map", version).await;
        let own = Publish::new(version, name).bytes("x");
        let mapped = Publish::new(version, &mapped_name).bytes("x");
        up(&mut client, &mut server, &own, &mapped).await;
        down(&mut client, &mut server, &mapped, &own).await;
        let filters = |prefix: &str| {
            [("a", 0), (name, 1)].map(|(filter, qos)| (format!("{prefix}{filter}"), qos))
        };
        let [own, mapped] = ["", PREFIX].map(|prefix| {
            let filters = filters(prefix);
            let filters: Vec<_> = filters.iter().map(|(name, qos)| (&**name, *qos)).collect();
            subscribe(version, 1, &filters)
        });
        up(&mut client, &mut server, &own, &mapped).await;
        if version.is_v5() {
            let response = [&[0x08][..], &field(name)].concat();
            let own = Publish::new(version, "t").properties(&response).bytes("x");
            let response = [&[0x08][..], &field(&mapped_name)].concat();
            let mapped = Publish::new(version, &format!("{PREFIX}t"));
            let mapped = mapped.properties(&response).bytes("x");
            up(&mut client, &mut server, &own, &mapped).await;
            // and an alias that is bound to one
            let aliases = [0x22, 0, 10];
            let hello = self::client(version).properties(&aliases);
            let answer = accepted(&aliases);
            let (mut client, mut server, _) = ground.open("map", &hello, &answer).await;
            for topic in [name, ""] {
                let alias = Publish::new(version, topic).properties(&[0x23, 0, 1]);
                client.send(&alias.bytes("x")).await;
                assert_eq!(server.message().await.topic, mapped_name);
            }
        }
    }
    // and a log line is one line
    for line in ground.mproxy.process().lines() {
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

async fn topics_are_bytes(version: Version) {
    // the same letter in one code point and in two, and in capitals
    let (composed, decomposed) = ("caf\u{e9}", "cafe\u{301}");
    let ground = Ground::with(|setup| {
        setup.toml(&format!(
            "[[layers.acl.rules]]\nname = \"composed\"\ndeny = [\"publish\", \"subscribe\"]\n\
             topics = [\"{composed}/#\"]\n"
        ))
    })
    .await;
    let (mut client, mut server) = ground.pair("acl", version).await;
    for name in [decomposed, "CAF\u{c9}", "caf\u{c9}", "cafe"] {
        let topic = format!("{name}/x");
        let publish = Publish::new(version, &topic).bytes("x");
        up(&mut client, &mut server, &publish, &publish).await;
        let request = subscribe(version, 1, &[(&*topic, 0)]);
        up(&mut client, &mut server, &request, &request).await;
        server.send(&suback(version, 1, &[0])).await;
        client.expect(&suback(version, 1, &[0])).await;
    }
    client
        .send(&Publish::new(version, &format!("{composed}/x")).bytes("x"))
        .await;
    fence(&mut client, &mut server).await;
    // behind a prefix too
    let (mut client, mut server) = ground.pair("map", version).await;
    for name in [composed, decomposed] {
        let mapped = Publish::new(version, &format!("tenants/acme/{name}")).bytes("x");
        let own = Publish::new(version, name).bytes("x");
        up(&mut client, &mut server, &own, &mapped).await;
        down(&mut client, &mut server, &mapped, &own).await;
    }
}

async fn binary_is_no_text(version: Version) {
    let ground = Ground::new().await;
    let all: Vec<u8> = (0..=255).collect();
    let mut will = vec![field("c")];
    if version.is_v5() {
        will.push(properties(&[&[0x09][..], &field(&all)].concat()));
    }
    will.extend([field("w"), field(&all), field("acme"), field(&all)]);
    let parts: Vec<_> = will.iter().map(|part| &**part).collect();
    let block = if version.is_v5() {
        [&[0x15][..], &field("m"), &[0x16], &field(&all)].concat()
    } else {
        Vec::new()
    };
    let hello = connect(version, 0xc6, &block, &parts);
    for listener in ["mqtt", "acl", "map"] {
        let mut link = ground.link(listener, version).await;
        link.send(&hello).await;
        let mut server = ground.broker.session().await;
        let received = server.packet().await;
        if listener == "map" {
            // longer by the prefix of the will, and the same otherwise
            let count = received
                .bytes()
                .windows(256)
                .filter(|it| *it == all)
                .count();
            assert_eq!(count, if version.is_v5() { 4 } else { 2 });
        } else {
            assert_eq!(received.bytes(), hello);
        }
    }
    let block = if version.is_v5() {
        [&[0x09][..], &field(&all)].concat()
    } else {
        Vec::new()
    };
    for listener in ["mqtt", "acl", "map"] {
        let (mut client, mut server) = ground.pair(listener, version).await;
        let topic = if listener == "map" {
            "tenants/acme/t"
        } else {
            "t"
        };
        let own = Publish::new(version, "t").properties(&block).bytes(&all);
        let mapped = Publish::new(version, topic).properties(&block).bytes(&all);
        up(&mut client, &mut server, &own, &mapped).await;
        down(&mut client, &mut server, &mapped, &own).await;
    }
}

/// A packet of a place, by the letters of [`PROPERTIES`].
fn with_properties(place: char, block: &[u8]) -> Vec<u8> {
    let v5 = Version::V5;
    let block_of = properties(block);
    match place {
        'C' => Connect::new(v5, "c").properties(block).bytes(),
        'W' => {
            let payload = [&field("c")[..], &block_of, &field("w"), &field("x")];
            connect(v5, 0x06, &[], &payload)
        }
        'A' => accepted(block),
        'P' | 'p' => Publish::new(v5, "t").properties(block).bytes("x"),
        'k' => ack(0x40, 1, 0, block),
        'S' => frame(0x82, &[&[0, 1][..], &block_of, &field("t"), &[0]].concat()),
        's' => frame(0x90, &[&[0, 1][..], &block_of, &[0]].concat()),
        'U' => frame(0xa2, &[&[0, 2][..], &block_of, &field("t")].concat()),
        'u' => frame(0xb0, &[&[0, 1][..], &block_of, &[0]].concat()),
        'D' | 'd' => frame(0xe0, &[&[0][..], &block_of].concat()),
        _ => unreachable!("no such place"),
    }
}

/// What to send before a property is judged, so that it is not what stands beside it.
fn company(place: char, property: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    if property[0] == 0x16 && matches!(place, 'C' | 'A') {
        // Authentication Data is nothing without a method
        block.extend([0x15, 0, 1, b'm']);
    }
    block.extend(property);
    block
}

/// Sends a packet of a client at its place in a session; true if it reached the broker as it is.
async fn passes_up(
    ground: &Ground,
    place: char,
    packet: &[u8],
) -> Result<(), (Link, Option<Link>)> {
    if matches!(place, 'C' | 'W') {
        let mut link = ground.link("mqtt", Version::V5).await;
        link.send(packet).await;
        // the broker hears of it, or the client hears no
        tokio::select! {
            mut server = ground.broker.session() => {
                server.expect(packet).await;
                return Ok(());
            }
            answer = link.packet() => assert_eq!(answer.kind(), 2),
        }
        return Err((link, None));
    }
    let hello = client(Version::V5).properties(&[0x11, 0, 0, 0, 5]);
    let answer = accepted(&[0x22, 0, 9]);
    let (mut client, mut server, _) = ground.open("mqtt", &hello, &answer).await;
    client.send(packet).await;
    match server.packet_or_end().await {
        Some(received) => {
            assert_eq!(received.bytes(), packet);
            Ok(())
        }
        None => Err((client, Some(server))),
    }
}

async fn properties_of_a_client_belong_where_they_are(_: Version) {
    let ground = Ground::new().await;
    for place in "CWPkSUD".chars() {
        for (property, places) in PROPERTIES {
            let packet = with_properties(place, &company(place, property));
            let passed = passes_up(&ground, place, &packet).await.is_ok();
            let allowed = places.contains(place);
            assert_eq!(passed, allowed, "{:#04x} in {place}", property[0]);
        }
        // none of these is a property
        for id in [
            0x00, 0x04, 0x0a, 0x0c, 0x10, 0x14, 0x1b, 0x1d, 0x1e, 0x20, 0x2b, 0x7f,
        ] {
            let packet = with_properties(place, &[id, 0, 0, 0, 0]);
            if let Err((client, Some(_))) = passes_up(&ground, place, &packet).await {
                sent_away(client, &[0x81]).await;
            } else {
                assert!(matches!(place, 'C' | 'W'), "{id:#04x} in {place}");
            }
        }
        // a property that ends behind the block
        let packet = with_properties(place, &[0x26, 0, 1, b'n', 0]);
        assert!(passes_up(&ground, place, &packet).await.is_err(), "{place}");
    }
}

async fn properties_of_a_broker_belong_where_they_are(version: Version) {
    for value in WhenUnreachable::BOTH {
        let ground = Ground::when_unreachable(value).await;
        let places = match value {
            WhenUnreachable::Close => "Apksud",
            WhenUnreachable::Connack => "A",
        };
        properties_of_a_broker(version, &ground, value, places).await;
    }
}

async fn properties_of_a_broker(
    version: Version,
    ground: &Ground,
    value: WhenUnreachable,
    places: &str,
) {
    for place in places.chars() {
        let unknown = [(&[0x7f, 0][..], ""), (&[0x2b, 0], ""), (&[0x26, 0, 1], "")];
        for (property, places) in PROPERTIES.into_iter().chain(unknown) {
            let allowed = places.contains(place);
            let packet = with_properties(place, &company(place, property));
            let hello = client(version).properties(&[0x22, 0, 9]);
            // the method of CONNECT is that of CONNACK
            let hello = if allowed && matches!(property[0], 0x15 | 0x16) {
                hello.properties(&[0x15, 0, 1, b'm'])
            } else {
                hello
            };
            let (mut link, mut server) = ground.asked("mqtt", &hello).await;
            if place == 'A' {
                server.send(&packet).await;
                if allowed {
                    let answer = link.packet().await;
                    assert_eq!(answer.body()[1], 0, "{property:02x?}: {answer:?}");
                } else {
                    value.unavailable(link).await;
                }
                continue;
            }
            server.send(&connack(version, 0)).await;
            link.packet().await;
            let request = match place {
                's' => subscribe(version, 1, &[("t", 0)]),
                'u' => unsubscribe(version, 1, &["t"]),
                _ => PINGREQ.to_vec(),
            };
            up(&mut link, &mut server, &request, &request).await;
            server.send(&packet).await;
            if property[0] == 0x1c && allowed {
                // whether it is passed on is another question
                assert_eq!(link.packet().await.first(), packet[0]);
            } else if allowed {
                link.expect(&packet).await;
            } else {
                both_close(link, server).await;
            }
        }
    }
}

/// Section 2.2.2.2: an identifier that is not valid for its packet makes it malformed.
async fn a_property_in_the_wrong_packet_is_malformed(version: Version) {
    let ground = Ground::new().await;
    for place in "PkSUD".chars() {
        for (property, places) in PROPERTIES {
            // for which there is a rule of its own
            let own = place == 'P' && property[0] == 0x0b;
            if own || places.contains(place) {
                continue;
            }
            let (mut client, server) = ground.pair("mqtt", version).await;
            client.send(&with_properties(place, property)).await;
            both_end(client, server, &[0x81]).await;
        }
    }
}

async fn a_property_comes_once(version: Version) {
    for value in WhenUnreachable::BOTH {
        let ground = Ground::when_unreachable(value).await;
        a_property_comes_once_before(version, &ground, value).await;
    }
}

async fn a_property_comes_once_before(version: Version, ground: &Ground, value: WhenUnreachable) {
    for (property, places) in PROPERTIES {
        // only CONNACK has to do with that key
        let others = value == WhenUnreachable::Close;
        for place in places.chars().filter(|place| others || *place == 'A') {
            let mut block = company(place, property);
            block.extend(property);
            let packet = with_properties(place, &block);
            let may = property[0] == 0x26 || place == 'p' && property[0] == 0x0b;
            if place == 'A' {
                let hello = client(version);
                let (mut link, mut server) = ground.asked("mqtt", &hello).await;
                server.send(&packet).await;
                if may {
                    let answer = link.packet().await;
                    assert_eq!(answer.body()[1], 0, "{property:02x?}: {answer:?}");
                } else {
                    value.unavailable(link).await;
                }
            } else if "psud".contains(place) {
                let hello = client(version).properties(&[0x22, 0, 9]);
                let answer = connack(version, 0);
                let (mut link, mut server, _) = ground.open("mqtt", &hello, &answer).await;
                let request = match place {
                    's' => subscribe(version, 1, &[("t", 0)]),
                    'u' => unsubscribe(version, 1, &["t"]),
                    _ => PINGREQ.to_vec(),
                };
                up(&mut link, &mut server, &request, &request).await;
                server.send(&packet).await;
                if may {
                    link.expect(&packet).await;
                } else {
                    both_close(link, server).await;
                }
            } else if matches!(place, 'C' | 'W') && !may {
                let mut link = ground.link("mqtt", version).await;
                link.send(&packet).await;
                turned_away(link, None, &[0x82]).await;
            } else {
                match passes_up(ground, place, &packet).await {
                    Ok(()) => assert!(may, "{property:02x?} twice in {place}"),
                    Err((client, server)) => {
                        assert!(!may, "{property:02x?} twice in {place}");
                        sent_away(client, &[0x82]).await;
                        drop(server);
                    }
                }
            }
        }
    }
}

async fn properties_have_a_length(version: Version) {
    let ground = Ground::new().await;
    // CONNECT that ends behind its keep alive, or a will without properties
    let hello = frame(0x10, &[&field("MQTT")[..], &[5, 2, 0, 0]].concat());
    let mut link = ground.link("mqtt", version).await;
    link.send(&hello).await;
    turned_away(link, None, &[0x81]).await;
    for wrong in [
        frame(0x30, &field("t")),
        frame(0x32, &[&field("t")[..], &[0, 1]].concat()),
        frame(0x82, &[0, 1]),
        frame(0xa2, &[0, 1]),
    ] {
        let (mut client, server) = ground.pair("mqtt", version).await;
        client.send(&wrong).await;
        both_end(client, server, &[0x81, 0x82]).await;
    }
    for value in WhenUnreachable::BOTH {
        let ground = Ground::when_unreachable(value).await;
        let (link, mut server) = ground.asked("mqtt", &client(version)).await;
        server.send(&[0x20, 2, 0, 0]).await;
        value.unavailable(link).await;
        server.closed().await;
    }
    for first in [0x90, 0xb0] {
        let (mut link, mut server) = ground.pair("mqtt", version).await;
        let request = if first == 0x90 {
            subscribe(version, 1, &[("t", 0)])
        } else {
            unsubscribe(version, 1, &["t"])
        };
        up(&mut link, &mut server, &request, &request).await;
        server.send(&frame(first, &[0, 1])).await;
        both_close(link, server).await;
    }
    // these may leave it out, and the reason with it
    let (mut client, mut server) = ground.pair("acl", version).await;
    for first in [0x40, 0x50, 0x62, 0x70] {
        for short in [frame(first, &[0, 1]), frame(first, &[0, 1, 0])] {
            up(&mut client, &mut server, &short, &short).await;
            down(&mut client, &mut server, &short, &short).await;
        }
    }
    up(&mut client, &mut server, &[0xe0, 1, 4], &[0xe0, 1, 4]).await;
}

async fn an_unknown_property_is_not_waited_for(version: Version) {
    let ground = Ground::new().await;
    for block in [&[0x7f][..], &[0x7f, 0, 0, 0], &[0x21, 0, 9, 0x04]] {
        for value in WhenUnreachable::BOTH {
            let ground = Ground::when_unreachable(value).await;
            let (link, mut server) = ground.asked("mqtt", &client(version)).await;
            server.send(&accepted(block)).await;
            value.unavailable(link).await;
            server.closed().await;
        }
        // in a CONNECT, where more may follow
        let mut link = ground.link("mqtt", version).await;
        link.send(&Connect::new(version, "c").properties(block).bytes())
            .await;
        turned_away(link, None, &[0x81]).await;
        if block[0] == 0x21 {
            continue;
        }
        // in a PUBLISH whose payload is still to come
        let publish = Publish::new(version, "t").properties(block).head(1_000_000);
        let (mut client, server) = ground.pair("mqtt", version).await;
        client.send(&publish).await;
        both_end(client, server, &[0x81]).await;
    }
}

async fn what_is_forwarded_is_what_came(version: Version) {
    let ground = Ground::new().await;
    let everything = |place: char| -> Vec<u8> {
        let fit = |(property, places): &(&[u8], &str)| {
            // aliases and references to other servers have rules of their own
            let own = matches!(property[0], 0x1c | 0x23);
            (places.contains(place) && !own).then(|| property.to_vec())
        };
        if version.is_v5() {
            PROPERTIES.iter().filter_map(fit).flatten().collect()
        } else {
            Vec::new()
        }
    };
    let publish = |place| {
        let full = Publish::new(version, "t").properties(&everything(place));
        vec![
            full.clone().bytes(""),
            full.clone().retain().bytes("payload"),
            full.clone().qos(1, 65_535).dup().bytes([0xff; 300]),
            full.qos(2, 1).retain().bytes(vec![7; 70_000]),
        ]
    };
    let mut to_server = publish('P');
    to_server.extend([
        subscribe(version, 9, &[("a/+", 0), ("b/#", 1), ("$share/g/t", 2)]),
        unsubscribe(version, 10, &["a/+", "b/#"]),
        PINGREQ.to_vec(),
    ]);
    let mut to_client = publish('p');
    to_client.extend([suback(version, 9, &[0, 1, 2]), PINGRESP.to_vec()]);
    let mut unsuback = suback(version, 10, if version.is_v5() { &[0, 0x11] } else { &[] });
    unsuback[0] = 0xb0;
    to_client.push(unsuback);
    for first in [0x40, 0x50, 0x62, 0x70] {
        let short = frame(first, &[0, 3]);
        let long = if version.is_v5() {
            ack(first, 4, 0, &everything('k'))
        } else {
            frame(first, &[0xff, 0xff])
        };
        to_server.extend([short.clone(), long.clone()]);
        to_client.extend([short, long]);
    }
    let mut bye = DISCONNECT.to_vec();
    if version.is_v5() {
        to_server.push(with_properties('S', &everything('S')));
        to_server.push(with_properties('U', &everything('U')));
        to_client.push(with_properties('s', &everything('s')));
        bye = with_properties('D', &everything('D'));
    }
    for listener in ["mqtt", "acl", "read"] {
        let hello = client(version)
            .properties(&everything('C')[..])
            .will("w", "bye", 2, true)
            .credentials("acme", "secret");
        let mut answer = connack(version, 0);
        if version.is_v5() {
            let block = everything('A');
            // the proxy's own limits are higher
            answer = accepted(&block);
        }
        let (mut client, mut server) = ground.asked(listener, &hello).await;
        server.send(&answer).await;
        let connack = client.packet().await;
        assert_eq!(connack.bytes(), answer, "{listener}");
        for packet in &to_server {
            up(&mut client, &mut server, packet, packet).await;
        }
        for packet in &to_client {
            down(&mut client, &mut server, packet, packet).await;
        }
        up(&mut client, &mut server, &bye, &bye).await;
    }
    // and CONNECT itself
    let hello = client(version)
        .properties(&everything('C'))
        .will("w", "bye", 1, false)
        .bytes();
    let mut link = ground.link("acl", version).await;
    link.send(&hello).await;
    ground.broker.session().await.expect(&hello).await;
}

async fn own_packets_wait_for_the_end_of_a_large_one(version: Version) {
    let ground = Ground::new().await;
    let large = Publish::new(version, "large").bytes(vec![7; 900_000]);
    let code = |short: Vec<u8>| {
        if version.is_v5() {
            frame(short[0], &[&short[2..], &[0x87]].concat())
        } else {
            short
        }
    };
    // to the client: the answer to a PUBLISH that is refused meanwhile
    let (mut client, mut server) = ground.pair("acl", version).await;
    server.send(&large[..300_000]).await;
    client.begin().await;
    client
        .send(&Publish::new(version, "denied/x").qos(1, 7).bytes("no"))
        .await;
    up(&mut client, &mut server, &PINGREQ, &PINGREQ).await;
    server.send(&large[300_000..]).await;
    client.expect(&large).await;
    client.expect(&code(puback(7))).await;

    // to the broker: the acknowledgement of a delivery that is dropped meanwhile
    let (mut client, mut server) = ground.pair("read", version).await;
    client.send(&large[..300_000]).await;
    server.begin().await;
    server
        .send(&Publish::new(version, "denied/x").qos(1, 7).bytes("no"))
        .await;
    down(&mut client, &mut server, &PINGRESP, &PINGRESP).await;
    client.send(&large[300_000..]).await;
    server.expect(&large).await;
    server.expect(&puback(7)).await;
}
