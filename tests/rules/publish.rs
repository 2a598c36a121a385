//! PUBLISH from the client, forwarded, refused and changed.

use std::time::Duration;

use mproxy_tests::wire::{
    DISCONNECT, Message, PINGREQ, PINGRESP, Publish, Version, field, frame, puback, pubcomp,
    pubrec, pubrel, suback, subscribe, unsubscribe, user_property,
};
use mproxy_tests::{Link, Setup};
use tokio::time::interval;

use crate::ground::{Ground, PREFIX, both_close, both_end, client, down, fence, strict, up};
use crate::packets::{PROPERTIES, accepted, no_properties};

tests! {
    qos_and_identifiers_go_together [r60] in all;
    a_topic_name_is_one [r61] in all;
    a_refused_publish_of_qos_1_is_told [r62] in v5;
    a_refused_publish_of_qos_2_is_told [r63] in v5;
    a_refused_publish_is_acknowledged [r64] in v3;
    a_refused_publish_closes_where_that_is_wanted [r64] in v3;
    a_refused_exchange_is_finished_here [r65] in v3;
    a_refused_publish_of_qos_0_is_dropped [r66] in all;
    a_resumed_exchange_is_ended_at_the_broker_first [r67] in [v311 v5];
    dup_is_no_way_around [r68] in all;
    only_own_answers_overtake [r69] in all;
    the_receive_maximum_is_enforced_where_that_is_wanted [r71] in v5 by [receive_maximum];
    the_receive_maximum_is_the_brokers_to_judge [r71] in v5;
    the_broker_gets_the_clients_messages_only [r72] in v5;
    nothing_else_waits_for_acknowledgements [r73] in v5;
    a_changed_publish_has_the_shortest_length [r76] in all;
    a_changed_publish_keeps_its_properties [r77] in v5;
    a_response_topic_is_a_topic [r78] in v5;
    time_that_a_publish_was_held_is_subtracted [r79] in v5;
    an_expired_publish_is_dropped_and_acknowledged [r79] in v5;
    a_client_has_no_subscription_identifiers [r80] in v5;
}

/// The reason that a version has for a refusal in PUBACK or PUBREC.
fn refused(version: Version, first: u8, id: u8) -> Vec<u8> {
    if version.is_v5() {
        vec![first, 3, 0, id, 0x87]
    } else {
        vec![first, 2, 0, id]
    }
}

async fn qos_and_identifiers_go_together(version: Version) {
    let ground = Ground::new().await;
    let publish = |qos, id| Publish::new(version, "t").qos(qos, id).bytes("x");
    let three = {
        let mut packet = publish(2, 7);
        packet[0] = 0x36;
        packet
    };
    let mut wrong = vec![
        three,
        publish(1, 0),
        publish(2, 0),
        // an identifier that is not there
        frame(0x32, &field("t")),
        frame(0x34, &[&field("t")[..], &[0]].concat()),
    ];
    if strict() {
        wrong.push(Publish::new(version, "t").dup().bytes("x"));
    }
    for listener in ["mqtt", "acl"] {
        for packet in &wrong {
            let (mut client, server) = ground.pair(listener, version).await;
            client.send(packet).await;
            both_end(client, server, &[0x81, 0x82]).await;
            let (client, mut server) = ground.pair(listener, version).await;
            server.send(packet).await;
            both_close(client, server).await;
        }
        // of other packets too
        for packet in [puback(0), pubrec(0), pubrel(0), pubcomp(0)] {
            let (mut client, server) = ground.pair(listener, version).await;
            client.send(&packet).await;
            both_end(client, server, &[0x81, 0x82]).await;
        }
    }
}

async fn a_topic_name_is_one(version: Version) {
    let ground = Ground::new().await;
    for listener in ["mqtt", "acl", "map"] {
        for topic in ["", "+", "#", "a/+", "a/#", "a+b", "a/b#"] {
            for qos in 0..3 {
                let packet = Publish::new(version, topic).qos(qos, 7).bytes("x");
                let (mut client, mut server) = ground.pair(listener, version).await;
                client.send(&packet).await;
                if version.is_v5() && qos > 0 {
                    // may also be told
                    client.send(&PINGREQ).await;
                    if server.packet_or_end().await.is_some() {
                        let answer = client.packet().await;
                        assert_eq!(answer.body()[2], 0x90, "{topic}: {answer:?}");
                    }
                } else {
                    both_end(client, server, &[0x81, 0x82, 0x90]).await;
                }
            }
            let (client, mut server) = ground.pair(listener, version).await;
            server.send(&Publish::new(version, topic).bytes("x")).await;
            both_close(client, server).await;
        }
    }
}

async fn a_refused_publish_of_qos_1_is_told(version: Version) {
    let ground = Ground::new().await;
    for (listener, topic, code) in [("acl", "denied/x", 0x87), ("map", "$SYS/x", 0x90)] {
        let (mut client, mut server) = ground.pair(listener, version).await;
        for id in [7, 7, 8, 65_535] {
            let publish = Publish::new(version, topic).qos(1, id);
            client.send(&publish.bytes("no")).await;
            let answer = client.packet().await;
            assert_eq!((answer.first(), answer.id()), (0x40, id));
            assert!([0x87, code].contains(&answer.body()[2]), "{answer:?}");
            fence(&mut client, &mut server).await;
        }
        // the identifier is free
        let (own, prefix) = if listener == "map" {
            ("t", PREFIX)
        } else {
            ("t", "")
        };
        let publish = Publish::new(version, own).qos(1, 7).bytes("yes");
        let mapped = Publish::new(version, &format!("{prefix}t")).qos(1, 7);
        up(&mut client, &mut server, &publish, &mapped.bytes("yes")).await;
        down(&mut client, &mut server, &puback(7), &puback(7)).await;
    }
}

async fn a_refused_publish_of_qos_2_is_told(version: Version) {
    let ground = Ground::new().await;
    let (mut client, mut server) = ground.pair("acl", version).await;
    let denied = Publish::new(version, "denied/x").qos(2, 7);
    client.send(&denied.bytes("no")).await;
    client.expect(&refused(version, 0x50, 7)).await;
    fence(&mut client, &mut server).await;
    // it is over: what comes with the identifier is new
    let allowed = Publish::new(version, "t").qos(2, 7).bytes("yes");
    up(&mut client, &mut server, &allowed, &allowed).await;
    down(&mut client, &mut server, &pubrec(7), &pubrec(7)).await;
    up(&mut client, &mut server, &pubrel(7), &pubrel(7)).await;
    down(&mut client, &mut server, &pubcomp(7), &pubcomp(7)).await;
    // a PUBREL all the same: answered here as unknown, or by the broker
    client.send(&denied.bytes("no")).await;
    client.expect(&refused(version, 0x50, 7)).await;
    client.send(&pubrel(7)).await;
    client.send(&PINGREQ).await;
    let next = server.packet().await;
    if next.kind() == 6 {
        server.expect(&PINGREQ).await;
        let unknown = [0x70, 3, 0, 7, 0x92];
        down(&mut client, &mut server, &unknown, &unknown).await;
    } else {
        client.expect(&[0x70, 3, 0, 7, 0x92]).await;
    }
}

async fn a_refused_publish_is_acknowledged(version: Version) {
    let ground = Ground::new().await;
    let (mut client, mut server) = ground.pair("acl", version).await;
    client
        .send(&Publish::new(version, "denied/x").qos(1, 7).bytes("no"))
        .await;
    client.expect(&puback(7)).await;
    client
        .send(&Publish::new(version, "denied/x").qos(2, 8).bytes("no"))
        .await;
    client.expect(&pubrec(8)).await;
    client.send(&pubrel(8)).await;
    client.expect(&pubcomp(8)).await;
    fence(&mut client, &mut server).await;
    // nobody is told, so that it is counted and logged
    let denied = "mproxy_auth_decisions_total{layer=\"acl\",action=\"publish\",decision=\"deny\"}";
    ground.mproxy.metric(denied, 2.0).await;
    ground
        .mproxy
        .event("the denial", |event| event["topic"] == "denied/x")
        .await;
}

async fn a_refused_publish_closes_where_that_is_wanted(version: Version) {
    let ground = Ground::with(|setup| setup.set("layers.acl.on_deny", "disconnect")).await;
    for qos in 0..3 {
        let (mut client, server) = ground.pair("acl", version).await;
        let denied = Publish::new(version, "denied/x").qos(qos, 7);
        client.send(&denied.bytes("no")).await;
        both_end(client, server, &[]).await;
    }
}

async fn a_refused_exchange_is_finished_here(version: Version) {
    // more refusals than a client may have, one after the other
    let ground = Ground::with(|setup| setup.set_listeners("limits.max_denials", "0/m")).await;
    let (mut client, mut server) = ground.pair("acl", version).await;
    let denied = Publish::new(version, "denied/x").qos(2, 7);
    client.send(&denied.bytes("no")).await;
    client.expect(&pubrec(7)).await;
    for again in [
        denied.clone().dup().bytes("no"),
        denied.clone().bytes("no"),
        // what belongs to the identifier, whatever is in it
        Publish::new(version, "t").qos(2, 7).dup().bytes("no"),
    ] {
        client.send(&again).await;
        client.expect(&pubrec(7)).await;
        fence(&mut client, &mut server).await;
    }
    // judged once
    let decided = "mproxy_auth_decisions_total{layer=\"acl\",action=\"publish\"}";
    ground.mproxy.metric(decided, 1.0).await;
    client.send(&pubrel(7)).await;
    client.expect(&pubcomp(7)).await;
    fence(&mut client, &mut server).await;
    // once: another is the broker's business again
    up(&mut client, &mut server, &pubrel(7), &pubrel(7)).await;
    // as many as there are identifiers
    for first in (1..=u16::MAX).step_by(1000) {
        let ids = first..=first.saturating_add(999);
        let burst: Vec<_> = ids
            .clone()
            .flat_map(|id| Publish::new(version, "denied/x").qos(2, id).bytes(""))
            .collect();
        client.send(&burst).await;
        for id in ids {
            client.expect(&pubrec(id)).await;
        }
    }
    for id in [1, 300, 65_535] {
        client.send(&pubrel(id)).await;
        client.expect(&pubcomp(id)).await;
    }
    fence(&mut client, &mut server).await;
}

async fn a_refused_publish_of_qos_0_is_dropped(version: Version) {
    let ground = Ground::new().await;
    for (listener, topic) in [("acl", "denied/x"), ("map", "$SYS/x")] {
        let (mut client, mut server) = ground.pair(listener, version).await;
        for size in [0, 100, 200_000] {
            let denied = Publish::new(version, topic).bytes(vec![7; size]);
            client.send(&denied).await;
            fence(&mut client, &mut server).await;
        }
    }
}

/// The broker may hold the identifier as received. Told that it is free, the client would use it for
/// another message, which the broker would take for a repetition.
async fn a_resumed_exchange_is_ended_at_the_broker_first(version: Version) {
    let ground = Ground::new().await;
    let denied = Publish::new(version, "denied/x").qos(2, 7);
    let hello = client(version).persistent();
    let resumed = frame(0x20, &[&[1, 0][..], no_properties(version)].concat());
    let (mut client, mut server, _) = ground.open("acl", &hello, &resumed).await;
    up(
        &mut client,
        &mut server,
        &denied.clone().dup().bytes("no"),
        &pubrel(7),
    )
    .await;
    // not yet
    down(&mut client, &mut server, &PINGRESP, &PINGRESP).await;
    server.send(&pubcomp(7)).await;
    client.expect(&refused(version, 0x50, 7)).await;
    if !version.is_v5() {
        client.send(&pubrel(7)).await;
        client.expect(&pubcomp(7)).await;
    }
    fence(&mut client, &mut server).await;
    // what is new, or in a session that is, is answered at once
    client.send(&denied.bytes("no")).await;
    client.expect(&refused(version, 0x50, 7)).await;
    fence(&mut client, &mut server).await;
    let (mut client, mut server) = ground.pair("acl", version).await;
    client.send(&denied.dup().bytes("no")).await;
    client.expect(&refused(version, 0x50, 7)).await;
    fence(&mut client, &mut server).await;
}

async fn dup_is_no_way_around(version: Version) {
    let ground = Ground::new().await;
    let (mut client, mut server) = ground.pair("acl", version).await;
    for (qos, first) in [(1, 0x40), (2, 0x50)] {
        for retain in [false, true] {
            let mut denied = Publish::new(version, "denied/x").qos(qos, 7 + u16::from(qos));
            denied = denied.dup();
            if retain {
                denied = denied.retain();
            }
            client.send(&denied.bytes("no")).await;
            client.expect(&refused(version, first, 7 + qos)).await;
            fence(&mut client, &mut server).await;
        }
    }
    // nor is it for a topic that was allowed a moment ago
    let allowed = Publish::new(version, "t").qos(1, 9).bytes("x");
    up(&mut client, &mut server, &allowed, &allowed).await;
    client
        .send(&Publish::new(version, "denied/x").qos(1, 9).dup().bytes("x"))
        .await;
    client.expect(&refused(version, 0x40, 9)).await;
    fence(&mut client, &mut server).await;
}

async fn only_own_answers_overtake(version: Version) {
    let ground = Ground::new().await;
    let (mut client, mut server) = ground.pair("acl", version).await;
    let publish = |topic, qos, id| Publish::new(version, topic).qos(qos, id).bytes([7; 50]);
    let sent = [
        publish("t/1", 1, 1),
        publish("denied/2", 1, 2),
        publish("t/3", 2, 3),
        subscribe(version, 4, &[("t/#", 1)]),
        publish("denied/5", 2, 5),
        publish("t/6", 0, 0),
        publish("denied/7", 0, 0),
        unsubscribe(version, 8, &["t/#"]),
        publish("t/9", 1, 9),
        PINGREQ.to_vec(),
    ];
    client.send(&sent.concat()).await;
    for place in [0, 2, 3, 5, 7, 8, 9] {
        server.expect(&sent[place]).await;
    }
    client.expect(&refused(version, 0x40, 2)).await;
    client.expect(&refused(version, 0x50, 5)).await;
    let mut unsuback = suback(version, 8, if version.is_v5() { &[0] } else { &[] });
    unsuback[0] = 0xb0;
    let answers = [
        puback(1),
        pubrec(3),
        suback(version, 4, &[1]),
        unsuback,
        puback(9),
        PINGRESP.to_vec(),
    ];
    server.send(&answers.concat()).await;
    for answer in answers {
        client.expect(&answer).await;
    }
}

/// mosquitto announces 20 and takes more; its own bridges send more after a time without a broker.
/// What the broker told its client is between the two.
async fn the_receive_maximum_is_the_brokers_to_judge(version: Version) {
    let ground = Ground::new().await;
    for listener in ["mqtt", "acl"] {
        let answer = accepted(&[0x21, 0, 2]);
        let (mut link, mut server, connack) =
            ground.open(listener, &client(version), &answer).await;
        assert_eq!(connack.bytes(), answer);
        let messages: Vec<_> = (1..=300)
            .map(|id| {
                Publish::new(version, "t")
                    .qos(1 + (id % 2) as u8, id)
                    .bytes("x")
            })
            .collect();
        link.send(&messages.concat()).await;
        for message in &messages {
            server.expect(message).await;
        }
        // the broker has had enough, and says so
        server.send(&[0xe0, 1, 0x93]).await;
        link.expect(&[0xe0, 1, 0x93]).await;
        link.closed().await;
    }
}

async fn the_receive_maximum_is_enforced_where_that_is_wanted(version: Version) {
    let ground = Ground::with(|setup| setup.set_listeners("receive_maximum", "enforce")).await;
    let publish = |qos, id| Publish::new(version, "t").qos(qos, id).bytes("x");
    for listener in ["mqtt", "acl"] {
        let answer = accepted(&[0x21, 0, 2]);
        let (mut link, mut server, connack) =
            ground.open(listener, &client(version), &answer).await;
        let told = connack.body().windows(3).any(|it| it == [0x21, 0, 2]);
        assert!(told, "{connack:?}");
        // as many as may be, and again when there is room
        up(&mut link, &mut server, &publish(1, 1), &publish(1, 1)).await;
        up(&mut link, &mut server, &publish(2, 2), &publish(2, 2)).await;
        down(&mut link, &mut server, &puback(1), &puback(1)).await;
        up(&mut link, &mut server, &publish(1, 3), &publish(1, 3)).await;
        // QoS 2 counts to its end
        down(&mut link, &mut server, &pubrec(2), &pubrec(2)).await;
        up(&mut link, &mut server, &pubrel(2), &pubrel(2)).await;
        down(&mut link, &mut server, &pubcomp(2), &pubcomp(2)).await;
        up(&mut link, &mut server, &publish(2, 4), &publish(2, 4)).await;
        // or to its refusal
        let refusal = [0x50, 3, 0, 4, 0x87];
        down(&mut link, &mut server, &refusal, &refusal).await;
        up(&mut link, &mut server, &publish(1, 5), &publish(1, 5)).await;
        if listener == "acl" {
            // one that is answered at once does not count any more
            let denied = Publish::new(version, "denied/x").qos(1, 6).bytes("x");
            down(&mut link, &mut server, &puback(5), &puback(5)).await;
            link.send(&denied).await;
            link.expect(&refused(version, 0x40, 6)).await;
            up(&mut link, &mut server, &publish(1, 5), &publish(1, 5)).await;
        }
        // QoS 0 does not count, nor does a repetition of one that waits; one more does
        up(&mut link, &mut server, &publish(0, 0), &publish(0, 0)).await;
        if listener == "mqtt" {
            down(&mut link, &mut server, &puback(3), &puback(3)).await;
            up(&mut link, &mut server, &publish(2, 6), &publish(2, 6)).await;
            for id in [5, 6, 5] {
                let qos = if id == 6 { 2 } else { 1 };
                let again = Publish::new(version, "t").qos(qos, id).dup().bytes("x");
                up(&mut link, &mut server, &again, &again).await;
            }
        }
        link.send(&publish(1, 7)).await;
        both_end(link, server, &[0x93]).await;
    }
}

async fn the_broker_gets_the_clients_messages_only(version: Version) {
    let ground = Ground::new().await;
    let answer = accepted(&[0x21, 0, 2]);
    let (mut link, mut server, _) = ground.open("acl", &client(version), &answer).await;
    for id in 1..=50 {
        let allowed = Publish::new(version, "t").qos(1, id).bytes("yes");
        let denied = Publish::new(version, "denied/x").qos(1, id + 100);
        link.send(&denied.bytes("no")).await;
        link.expect(&refused(version, 0x40, (id + 100) as u8)).await;
        up(&mut link, &mut server, &allowed, &allowed).await;
        fence(&mut link, &mut server).await;
        down(&mut link, &mut server, &puback(id), &puback(id)).await;
    }
    // not at the end either
    up(&mut link, &mut server, &DISCONNECT, &DISCONNECT).await;
    server.closed().await;
}

async fn nothing_else_waits_for_acknowledgements(version: Version) {
    let ground = Ground::new().await;
    for listener in ["mqtt", "acl"] {
        let answer = accepted(&[0x21, 0, 1]);
        let (mut link, mut server, _) = ground.open(listener, &client(version), &answer).await;
        let publish = Publish::new(version, "t").qos(1, 1).bytes("x");
        up(&mut link, &mut server, &publish, &publish).await;
        for packet in [
            PINGREQ.to_vec(),
            puback(9),
            pubrec(9),
            pubrel(9),
            pubcomp(9),
            subscribe(version, 2, &[("t", 1)]),
            unsubscribe(version, 3, &["t"]),
            Publish::new(version, "t").bytes("QoS 0"),
            DISCONNECT.to_vec(),
        ] {
            up(&mut link, &mut server, &packet, &packet).await;
        }
    }
}

async fn a_changed_publish_has_the_shortest_length(version: Version) {
    let ground = Ground::new().await;
    let (mut client, mut server) = ground.pair("map", version).await;
    // lengths of one byte that become two, of two that become three, and back
    for size in (90..140).chain(16_350..16_400) {
        let own = Publish::new(version, "t").qos(1, 7).bytes(vec![7; size]);
        let mapped = Publish::new(version, "tenants/acme/t").qos(1, 7);
        let mapped = mapped.bytes(vec![7; size]);
        up(&mut client, &mut server, &own, &mapped).await;
        down(&mut client, &mut server, &mapped, &own).await;
    }
    // of three that become four
    let larger = |setup: Setup| setup.set("listeners.map.limits.max_packet_size", "4MiB");
    let ground = Ground::with(larger).await;
    let (mut client, mut server) = ground.pair("map", version).await;
    for size in [2_097_100, 2_097_140, 2_097_200] {
        let own = Publish::new(version, "t").head(size);
        let mapped = Publish::new(version, "tenants/acme/t").head(size);
        let payload = vec![7; size];
        client.send(&own).await;
        client.send(&payload).await;
        let received = server.packet().await;
        assert_eq!(received.bytes()[..mapped.len()], mapped);
        assert_eq!(received.bytes().len(), mapped.len() + size);
    }
}

async fn a_changed_publish_keeps_its_properties(version: Version) {
    let ground = Ground::new().await;
    let block = |prefix: &str| {
        let mut block = user_property("z", "1");
        for (property, places) in PROPERTIES.iter().rev() {
            match property[0] {
                0x08 => block.extend([&[0x08][..], &field(format!("{prefix}r"))].concat()),
                0x23 => {}
                _ if places.contains('P') => block.extend_from_slice(property),
                _ => {}
            }
        }
        block.extend(user_property("a", "2"));
        block
    };
    let (mut client, mut server) = ground.pair("map", version).await;
    for qos in 0..3 {
        let own = Publish::new(version, "t")
            .qos(qos, 7)
            .properties(&block(""));
        let mapped = Publish::new(version, "tenants/acme/t").qos(qos, 7);
        let mapped = mapped.properties(&block(PREFIX));
        up(
            &mut client,
            &mut server,
            &own.bytes("x"),
            &mapped.bytes("x"),
        )
        .await;
        down(
            &mut client,
            &mut server,
            &mapped.bytes("x"),
            &own.bytes("x"),
        )
        .await;
    }
    // and those of deliveries alone
    let ids = [&[0x0b, 1][..], &user_property("b", "3"), &[0x0b, 2]].concat();
    let own = Publish::new(version, "t").properties(&ids).bytes("x");
    let mapped = Publish::new(version, "tenants/acme/t").properties(&ids);
    down(&mut client, &mut server, &mapped.bytes("x"), &own).await;
}

async fn a_response_topic_is_a_topic(version: Version) {
    let ground = Ground::new().await;
    let publish = |topic: &str, answers: &str| {
        let block = [&[0x08][..], &field(answers)].concat();
        Publish::new(version, topic).properties(&block).bytes("x")
    };
    for listener in ["mqtt", "acl", "map"] {
        for answers in ["a/#", "+", "a+"] {
            let (mut client, server) = ground.pair(listener, version).await;
            client.send(&publish("t", answers)).await;
            both_end(client, server, &[0x81, 0x82, 0x90]).await;
            let (client, mut server) = ground.pair(listener, version).await;
            server.send(&publish("tenants/acme/t", answers)).await;
            both_close(client, server).await;
        }
    }
    let (mut client, mut server) = ground.pair("map", version).await;
    let own = publish("t", "r/1");
    let mapped = publish("tenants/acme/t", "tenants/acme/r/1");
    up(&mut client, &mut server, &own, &mapped).await;
    down(&mut client, &mut server, &mapped, &own).await;
    // nobody is asked to answer to what is not the client's
    client.send(&publish("t", "$SYS/x")).await;
    fence(&mut client, &mut server).await;
    // nor told how others are called
    server
        .send(&publish("tenants/acme/t", "tenants/other/r"))
        .await;
    server.send(&PINGRESP).await;
    let next = client.packet().await;
    let told = next.bytes().windows(5).any(|it| it == b"other");
    assert!(!told, "{next:?}");
}

/// Messages that are more than what the sockets on the way take.
const HELD: usize = 60_000;

/// Has messages wait in the proxy for some seconds, because the broker does not read; what arrived.
async fn held(link: Link, mut server: Link, message: &Publish) -> (Link, Vec<Message>) {
    let version = link.version();
    // small ones: the proxy holds a read of them, of which the first is begun and does not count
    let bytes = message.bytes(vec![7; 200]).repeat(50);
    let mut link = link;
    let writing = async {
        for _ in 0..HELD / 50 {
            link.send(&bytes).await;
        }
        link.send(&Publish::new(version, "last").bytes("")).await;
    };
    let reading = async {
        let mut ticks = interval(Duration::from_millis(2500));
        ticks.tick().await;
        ticks.tick().await;
        let mut messages = Vec::new();
        loop {
            let message = server.message().await;
            if message.topic == "last" {
                return messages;
            }
            messages.push(message);
        }
    };
    let ((), messages) = tokio::join!(writing, reading);
    (link, messages)
}

async fn time_that_a_publish_was_held_is_subtracted(version: Version) {
    let ground = Ground::new().await;
    let (link, server) = ground.pair("mqtt", version).await;
    let message = Publish::new(version, "t").properties(&[0x02, 0, 0, 0, 100]);
    let (_link, messages) = held(link, server, &message).await;
    assert_eq!(messages.len(), HELD);
    let left: Vec<_> = messages.iter().map(|it| it.properties[4]).collect();
    assert!(
        left.iter().all(|left| (90..=100).contains(left)),
        "{left:?}"
    );
    assert!(
        left.iter().any(|left| *left < 100),
        "held, and nothing subtracted"
    );
}

async fn an_expired_publish_is_dropped_and_acknowledged(version: Version) {
    let ground = Ground::new().await;
    let (link, server) = ground.pair("mqtt", version).await;
    let message = Publish::new(version, "t")
        .qos(1, 7)
        .properties(&[0x02, 0, 0, 0, 1]);
    let (mut link, messages) = held(link, server, &message).await;
    assert!(messages.len() < HELD, "held, and nothing has expired");
    for _ in messages.len()..HELD {
        assert_eq!(link.packet().await.kind(), 4);
    }
}

async fn a_client_has_no_subscription_identifiers(version: Version) {
    let ground = Ground::new().await;
    for listener in ["mqtt", "acl"] {
        for qos in 0..3 {
            let publish = Publish::new(version, "t").qos(qos, 7);
            let publish = publish.properties(&[0x0b, 1]).bytes("x");
            let (mut client, server) = ground.pair(listener, version).await;
            client.send(&publish).await;
            both_end(client, server, &[0x82]).await;
        }
    }
    // the broker has them
    let (mut client, mut server) = ground.pair("acl", version).await;
    let publish = Publish::new(version, "t").properties(&[0x0b, 1]).bytes("x");
    down(&mut client, &mut server, &publish, &publish).await;
}
