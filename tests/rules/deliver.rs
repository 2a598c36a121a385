//! What the broker delivers.

use mproxy_tests::wire::{
    PINGREQ, PINGRESP, Publish, Version, connack, field, frame, properties, puback, pubcomp,
    pubrec, pubrel, suback, subscribe, unsubscribe,
};
use mproxy_tests::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::ground::{Ground, PREFIX, client, down, fence, strict, up};
use crate::packets::accepted;

tests! {
    a_dropped_delivery_is_acknowledged [r108] in all;
    a_delivery_without_a_name_is_acknowledged [r108] in all;
    packet_identifiers_are_the_brokers [r109] in all;
    dup_and_retain_pass [r110] in all;
    exchanges_of_earlier_connections_go_on [r111] in all;
    the_clients_receive_maximum_is_the_brokers_business [r112] in v5;
    each_direction_keeps_its_order [r113] in all;
    a_broker_is_not_trusted [r114] in all;
}

async fn dropped(version: Version, listener: &str, topic: &str) {
    let ground = Ground::new().await;
    let (mut link, mut server) = ground.pair(listener, version).await;
    let denied = Publish::new(version, topic);
    // more than any broker has under way
    for id in (1..=100).chain([65_535]) {
        server.send(&denied.bytes("no")).await;
        server.send(&denied.clone().qos(1, id).bytes("no")).await;
        server.expect(&puback(id)).await;
        server.send(&denied.clone().qos(2, id).bytes("no")).await;
        server.expect(&pubrec(id)).await;
        if id % 2 == 0 {
            // the PUBREC was lost
            server
                .send(&denied.clone().qos(2, id).dup().bytes("no"))
                .await;
            server.expect(&pubrec(id)).await;
        }
        server.send(&pubrel(id)).await;
        server.expect(&pubcomp(id)).await;
    }
    fence(&mut link, &mut server).await;
    // an exchange that is the client's has an identifier that was used a moment ago
    let mapped = Publish::new(version, "tenants/acme/t")
        .qos(2, 7)
        .bytes("yes");
    let own = if listener == "map" {
        "t"
    } else {
        "tenants/acme/t"
    };
    let own = Publish::new(version, own).qos(2, 7).bytes("yes");
    down(&mut link, &mut server, &mapped, &own).await;
    up(&mut link, &mut server, &pubrec(7), &pubrec(7)).await;
    down(&mut link, &mut server, &pubrel(7), &pubrel(7)).await;
    up(&mut link, &mut server, &pubcomp(7), &pubcomp(7)).await;
    // and one of the client's own has the identifier of one that is under way here
    server.send(&denied.clone().qos(2, 8).bytes("no")).await;
    server.expect(&pubrec(8)).await;
    let own = Publish::new(version, "t").qos(2, 8).bytes("yes");
    let prefix = if listener == "map" { PREFIX } else { "" };
    let mapped = Publish::new(version, &format!("{prefix}t")).qos(2, 8);
    up(&mut link, &mut server, &own, &mapped.bytes("yes")).await;
    down(&mut link, &mut server, &pubrec(8), &pubrec(8)).await;
    up(&mut link, &mut server, &pubrel(8), &pubrel(8)).await;
    server.send(&pubrel(8)).await;
    server.expect(&pubcomp(8)).await;
    down(&mut link, &mut server, &pubcomp(8), &pubcomp(8)).await;
}

async fn a_dropped_delivery_is_acknowledged(version: Version) {
    dropped(version, "read", "denied/x").await;
}

async fn a_delivery_without_a_name_is_acknowledged(version: Version) {
    dropped(version, "map", "tenants/other/x").await;
}

async fn packet_identifiers_are_the_brokers(version: Version) {
    let ground = Ground::new().await;
    for (listener, prefix) in [("mqtt", ""), ("acl", ""), ("read", ""), ("map", PREFIX)] {
        let (mut link, mut server) = ground.pair(listener, version).await;
        for (qos, id) in [(1, 1), (2, 65_535), (1, 300), (2, 300), (1, 1)] {
            let sent = Publish::new(version, &format!("{prefix}t")).qos(qos, id);
            let own = Publish::new(version, "t").qos(qos, id).bytes("x");
            if listener == "read" {
                let denied = Publish::new(version, "denied/x").qos(1, 9);
                server.send(&denied.bytes("no")).await;
                let answer = server.packet().await;
                assert_eq!((answer.kind(), answer.id()), (4, 9));
            }
            down(&mut link, &mut server, &sent.bytes("x"), &own).await;
            let answer = if qos == 1 { puback(id) } else { pubrec(id) };
            up(&mut link, &mut server, &answer, &answer).await;
        }
        fence(&mut link, &mut server).await;
    }
}

async fn dup_and_retain_pass(version: Version) {
    let ground = Ground::new().await;
    for (listener, prefix) in [("mqtt", ""), ("acl", ""), ("read", ""), ("map", PREFIX)] {
        let (mut link, mut server) = ground.pair(listener, version).await;
        for (qos, dup, retain) in (0..3)
            .flat_map(|qos| [(qos, false), (qos, true)])
            .flat_map(|(qos, dup)| [(qos, dup, false), (qos, dup, true)])
        {
            let publish = |topic: &str| {
                let mut publish = Publish::new(version, topic).qos(qos, 7);
                if dup {
                    publish = publish.dup();
                }
                if retain {
                    publish = publish.retain();
                }
                publish.bytes("x")
            };
            if dup && qos == 0 && strict() {
                continue; // not a PUBLISH there
            }
            let (own, mapped) = (publish("t"), publish(&format!("{prefix}t")));
            let meant = |packet: &[u8]| {
                let mut packet = packet.to_vec();
                if dup && qos == 0 {
                    packet[0] &= !0x08; // DUP says nothing there
                }
                packet
            };
            up(&mut link, &mut server, &own, &meant(&mapped)).await;
            down(&mut link, &mut server, &mapped, &meant(&own)).await;
        }
    }
}

async fn exchanges_of_earlier_connections_go_on(version: Version) {
    let ground = Ground::new().await;
    for listener in ["mqtt", "acl", "read", "map"] {
        let hello = client(version).persistent();
        let answer = connack(version, 0);
        let (mut link, mut server, _) = ground.open(listener, &hello, &answer).await;
        for packet in [pubrel(7), pubrec(8), pubcomp(9), puback(10)] {
            up(&mut link, &mut server, &packet, &packet).await;
            down(&mut link, &mut server, &packet, &packet).await;
        }
    }
}

async fn the_clients_receive_maximum_is_the_brokers_business(version: Version) {
    let ground = Ground::new().await;
    for listener in ["mqtt", "acl", "read", "map"] {
        let hello = client(version).properties(&[0x21, 0, 1]);
        let (mut link, mut server) = ground.asked(listener, &hello).await;
        server.send(&accepted(&[])).await;
        link.packet().await;
        // nothing but what the broker sends, whatever happens
        link.send(&Publish::new(version, "denied/x").qos(1, 7).bytes("x"))
            .await;
        if listener == "acl" {
            link.expect(&[0x40, 3, 0, 7, 0x87]).await;
        } else {
            server.packet().await;
        }
        fence(&mut link, &mut server).await;
        let topic = if listener == "map" {
            "tenants/acme/t"
        } else {
            "t"
        };
        let sent = Publish::new(version, topic).qos(1, 7).bytes("x");
        let own = Publish::new(version, "t").qos(1, 7).bytes("x");
        down(&mut link, &mut server, &sent, &own).await;
        fence(&mut link, &mut server).await;
        // as it was sent
        let mut again = ground.link(listener, version).await;
        again.send(&hello.bytes()).await;
        ground.broker.session().await.expect(&hello.bytes()).await;
    }
}

async fn each_direction_keeps_its_order(version: Version) {
    let ground = Ground::new().await;
    // sizes around those of buffers, in no order
    let sizes = [
        0, 1, 100, 5000, 32_768, 70, 65_536, 3, 200_000, 127, 128, 4096, 90_000,
    ];
    let mut to_server = Vec::new();
    let mut to_client = Vec::new();
    for round in 0..20_u16 {
        for (index, size) in sizes.into_iter().enumerate() {
            let id = round * 100 + index as u16 + 1;
            let publish = Publish::new(version, "t").qos((index % 3) as u8, id);
            to_server.push(publish.bytes(vec![round as u8; size]));
            to_client.push(publish.bytes(vec![!round as u8; size]));
            match index % 5 {
                0 => to_server.push(PINGREQ.to_vec()),
                1 => to_client.push(PINGRESP.to_vec()),
                2 => to_server.push(subscribe(version, 10_000 + id, &[("t", 0)])),
                3 => to_client.push(pubrel(id)),
                _ => to_server.push(unsubscribe(version, 20_000 + id, &["t"])),
            }
        }
    }
    for listener in ["mqtt", "acl", "read"] {
        let (mut link, mut server) = ground.pair(listener, version).await;
        let expected = async |it: &mut mproxy_tests::Link, packets: &[Vec<u8>]| {
            for packet in packets {
                let received = it.packet().await;
                assert!(
                    received.bytes() == packet,
                    "not {packet:.20?}: {received:.20?}"
                );
            }
        };
        link.send(&to_server[..40].concat()).await;
        expected(&mut server, &to_server[..40]).await;
        server.send(&to_client[..40].concat()).await;
        expected(&mut link, &to_client[..40]).await;
        // both at once
        let (sent, back) = (to_server[40..].concat(), to_client[40..].concat());
        let (link, server) = (link.into_tcp(), server.into_tcp());
        assert!(link.1.is_empty() && server.1.is_empty());
        let (at_client, at_broker) = tokio::join!(
            exchange(link.0, &sent, back.len()),
            exchange(server.0, &back, sent.len())
        );
        assert!(at_client == back, "to the client");
        assert!(at_broker == sent, "to the broker");
    }
}

/// Sends and receives at once.
async fn exchange(stream: TcpStream, sent: &[u8], len: usize) -> Vec<u8> {
    let (mut read, mut write) = stream.into_split();
    let mut received = vec![0; len];
    let both = async {
        let (written, filled) = tokio::join!(write.write_all(sent), read.read_exact(&mut received));
        written.expect("it is taken");
        filled.expect("all of it comes");
    };
    within("both directions", both).await;
    received
}

async fn a_broker_is_not_trusted(version: Version) {
    let ground = Ground::new().await;
    let good = Publish::new(version, "tenants/acme/t").bytes("good");
    let none = if version.is_v5() { &[0][..] } else { &[] };
    let mut wrong = vec![
        vec![0x00],
        vec![0x36],
        vec![0x30, 0xff, 0xff, 0xff, 0xff],
        vec![0x30, 0],
        vec![0x30, 1, 0],
        frame(0x30, &[0, 9, b't']),
        frame(0x30, &[&field("")[..], none].concat()),
        frame(0x30, &[&field("#")[..], none].concat()),
        frame(0x30, &[&field("a\0b")[..], none].concat()),
        frame(0x32, &[&field("t")[..], &[0, 0], none].concat()),
        // the head of what would be large
        [&[0x30, 0xff, 0xff, 0x7f][..], &field("a/#"), &[0; 100]].concat(),
        vec![0x40, 1, 0],
        vec![0x40, 0],
        vec![0x90, 2, 0, 0],
        vec![0x90, 0],
        vec![0xb0, 1, 0],
        vec![0xd0, 1, 0],
        vec![0x10, 0],
        vec![0x82, 0],
        vec![0xc0, 0],
    ];
    if version.is_v5() {
        wrong.push(
            [
                &[0x30, 0xff, 0xff, 0x7f][..],
                &field("t"),
                &[3, 0x26, 0, 9],
                &[0; 100],
            ]
            .concat(),
        );
        wrong.push(
            Publish::new(version, "t")
                .properties(&[0x02, 0, 0])
                .bytes(""),
        );
        wrong.push(frame(
            0xe0,
            &[&[0x80][..], &properties(&[0x11, 0, 0, 0, 1])].concat(),
        ));
        wrong.push(vec![0xf0, 0]);
        wrong.push(vec![0x40, 3, 0, 1, 0x01]);
    }
    for listener in ["mqtt", "read", "map"] {
        for wrong in &wrong {
            let (mut link, mut server) = ground.pair(listener, version).await;
            server.send(&[&good[..], wrong].concat()).await;
            // what came before is delivered, and nothing of the other
            assert_eq!(link.message().await.text(), "good");
            link.closed().await;
            server.closed().await;
        }
    }
    // nobody else has noticed
    let (mut link, mut server) = ground.pair("map", version).await;
    fence(&mut link, &mut server).await;
    let request = subscribe(version, 1, &[("t", 0)]);
    link.send(&request).await;
    assert_eq!(server.packet().await.kind(), 8);
    let answer = suback(version, 1, &[0]);
    down(&mut link, &mut server, &answer, &answer).await;
}
