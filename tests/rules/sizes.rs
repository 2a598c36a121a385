//! How large packets may be, and what becomes of those that are larger.

use mproxy_tests::wire::{
    Connect, PINGREQ, Publish, Version, connack, field, puback, pubcomp, pubrec, pubrel, suback,
    subscribe, unsubscribe,
};

use crate::ground::{Ground, PREFIX, both_end, client, down, fence, strict, up};
use crate::packets::accepted;

tests! {
    nothing_larger_than_the_client_takes_is_delivered [r115] in v5;
    a_message_has_no_maximum_of_its_own [r119] in all by [max_packet_size];
    a_delivery_that_is_too_large_is_counted [r115] in v5;
    an_alias_is_not_expanded_beyond_it [r115] in v5;
    own_packets_fit_into_what_the_client_takes [r116] in v5;
    what_changes_may_add_is_announced [r117] in v5;
    a_client_is_held_to_what_is_announced [r117] in v5;
    a_changed_subscribe_that_is_too_large_is_refused [r117] in v5;
    a_topic_does_not_outgrow_its_length [r118] in all;
    its_own_maximum_is_announced_and_enforced [r119] in all by [max_packet_size];
    a_connect_has_a_maximum [r119] in all;
}

async fn nothing_larger_than_the_client_takes_is_delivered(version: Version) {
    let ground = Ground::new().await;
    for (listener, prefix) in [("mqtt", ""), ("read", ""), ("map", PREFIX)] {
        let hello = client(version).properties(&[0x27, 0, 0, 0, 100]);
        let (mut link, mut server, _) = ground.open(listener, &hello, &connack(version, 0)).await;
        let topic = format!("{prefix}t");
        if listener != "map" && !strict() {
            // the broker was told, and the client judges: so it would be without a proxy
            for size in [101, 1000, 200_000] {
                for qos in 0..3 {
                    let publish = Publish::new(version, &topic).qos(qos, 7);
                    let publish = publish.bytes(vec![7; size]);
                    down(&mut link, &mut server, &publish, &publish).await;
                }
            }
            continue;
        }
        for size in [101, 1000, 200_000] {
            let publish = Publish::new(version, &topic);
            server.send(&publish.bytes(vec![7; size])).await;
            server
                .send(&publish.clone().qos(1, 7).bytes(vec![7; size]))
                .await;
            server.expect(&puback(7)).await;
            server.send(&publish.qos(2, 8).bytes(vec![7; size])).await;
            server.expect(&pubrec(8)).await;
            server.send(&pubrel(8)).await;
            server.expect(&pubcomp(8)).await;
            fence(&mut link, &mut server).await;
        }
        // as large as may be, to the byte
        let head = 2 + 3 + 2 + 1;
        let publish = |topic: &str, len| Publish::new(version, topic).qos(1, 9).bytes(vec![7; len]);
        if listener != "map" {
            let fits = publish("t", 100 - head);
            assert_eq!(fits.len(), 100);
            down(&mut link, &mut server, &fits, &fits).await;
            // mosquitto counts without the first byte
            let believed = publish("t", 101 - head);
            down(&mut link, &mut server, &believed, &believed).await;
            server.send(&publish("t", 102 - head)).await;
            server.expect(&puback(9)).await;
            fence(&mut link, &mut server).await;
        }
    }
}

async fn a_delivery_that_is_too_large_is_counted(version: Version) {
    for (listener, drops) in [("mqtt", strict()), ("map", true)] {
        let ground = Ground::new().await;
        let hello = client(version).properties(&[0x27, 0, 0, 0, 100]);
        let (mut link, mut server, _) = ground.open(listener, &hello, &connack(version, 0)).await;
        for size in [101, 200_000] {
            let publish = Publish::new(version, "tenants/acme/t").bytes(vec![7; size]);
            server.send(&publish).await;
            if !drops {
                link.expect(&publish).await;
            }
        }
        fence(&mut link, &mut server).await;
        let dropped = "mproxy_packets_dropped_total{type=\"publish\"}";
        let expected = if drops { 2.0 } else { 0.0 };
        ground.mproxy.metric(dropped, expected).await;
    }
}

/// A PUBLISH of which only the alias stands on the wire is as large as its topic when the client
/// was never told what the alias stands for.
async fn an_alias_is_not_expanded_beyond_it(version: Version) {
    let ground = Ground::new().await;
    let hello = client(version).properties(&[0x22, 0, 9, 0x27, 0, 0, 0, 100]);
    let publish = |topic: &str, len: usize| {
        let publish = Publish::new(version, topic).qos(1, 7);
        publish.properties(&[0x23, 0, 1]).bytes(vec![7; len])
    };
    // a tolerant one passes what it does not change, and the client knows the alias
    let changed = [("map", PREFIX)];
    let judged = [("read", ""), changed[0]];
    let listeners = if strict() { &judged[..] } else { &changed };
    for (listener, prefix) in listeners {
        let (mut link, mut server, _) = ground.open(listener, &hello, &connack(version, 0)).await;
        let topic = "x".repeat(60);
        // binds, and is dropped
        server
            .send(&publish(&format!("{prefix}{topic}"), 200))
            .await;
        server.expect(&puback(7)).await;
        // small, and too large with its topic
        server.send(&publish("", 50)).await;
        server.expect(&puback(7)).await;
        fence(&mut link, &mut server).await;
        // and one that is not
        server.send(&publish("", 5)).await;
        let message = link.message().await;
        assert_eq!((message.topic, message.payload.len()), (topic, 5));
    }
    let (mut link, mut server, _) = ground.open("read", &hello, &connack(version, 0)).await;
    if !strict() {
        for (topic, len) in [("t", 200), ("", 50), ("", 200)] {
            let publish = publish(topic, len);
            down(&mut link, &mut server, &publish, &publish).await;
        }
    }
}

async fn own_packets_fit_into_what_the_client_takes(version: Version) {
    let ground = Ground::new().await;
    let hello = client(version).properties(&[0x27, 0, 0, 0, 10]);
    let (mut link, mut server) = ground.asked("map", &hello).await;
    server.send(&accepted(&[0x27, 0, 0, 0, 60])).await;
    link.packet().await;
    // too large for the broker: there is a text for that, which does not fit
    link.send(&subscribe(
        version,
        8,
        &[("a", 0), ("b", 0), ("c", 0), ("d", 0)],
    ))
    .await;
    link.expect(&suback(version, 8, &[0x97; 4])).await;
    fence(&mut link, &mut server).await;
    let (mut link, mut server, _) = ground.open("acl", &hello, &connack(version, 0)).await;
    // an answer that does not fit at all is not given
    let filters: Vec<_> = (0..9).map(|number| format!("denied/{number}")).collect();
    for count in [5, 6, 9] {
        let filters: Vec<_> = filters[..count].iter().map(|it| (&**it, 0)).collect();
        link.send(&subscribe(version, 8, &filters)).await;
        if count == 5 {
            link.expect(&suback(version, 8, &[0x87; 5])).await;
        }
        fence(&mut link, &mut server).await;
    }
    // nor is the last word longer
    link.send(&[0x00]).await;
    link.expect(&[0xe0, 1, 0x81]).await;
    link.closed().await;
    // with room, there may be a text
    let (mut link, mut server) = ground.pair("acl", version).await;
    fence(&mut link, &mut server).await;
    link.send(&[0x00]).await;
    both_end(link, server, &[0x81]).await;
}

async fn what_changes_may_add_is_announced(version: Version) {
    let ground = Ground::new().await;
    let answer = accepted(&[0x27, 0, 0, 3, 0xe8]); // 1000
    let (mut link, mut server, connack) = ground.open("map", &client(version), &answer).await;
    let block = &connack.body()[3..];
    let at = block
        .iter()
        .position(|byte| *byte == 0x27)
        .expect("it is told");
    let told = u32::from_be_bytes(block[at + 1..at + 5].try_into().expect("four bytes")) as usize;
    assert!((800..=1000 - PREFIX.len()).contains(&told), "{told}");
    // who keeps to it is understood, with all that may be added
    let answers = [&[0x08][..], &field("r")].concat();
    let publish = Publish::new(version, "t").qos(1, 7).properties(&answers);
    let head = publish.bytes("").len() + 1;
    let publish = publish.bytes(vec![7; told - head]);
    assert!((told - 1..=told).contains(&publish.len()));
    link.send(&publish).await;
    let received = server.packet().await;
    assert_eq!(received.kind(), 3);
    assert!(received.bytes().len() <= 1000, "{}", received.bytes().len());
    // without a prefix there is nothing to add
    let (_link, _server, connack) = ground
        .open("acl", &client(version), &accepted(&[0x27, 0, 0, 3, 0xe8]))
        .await;
    let told = connack
        .body()
        .windows(5)
        .any(|it| it == [0x27, 0, 0, 3, 0xe8]);
    assert!(told, "{connack:?}");
}

/// The broker never hears of such a packet, and the session of a client that breaks what it was told
/// does not go on as if the proxy had refused something.
async fn a_client_is_held_to_what_is_announced(version: Version) {
    let ground = Ground::new().await;
    for (listener, growth) in [("mqtt", 0), ("acl", 0), ("map", 2 * PREFIX.len() + 6)] {
        for qos in 0..3 {
            let answer = accepted(&[0x27, 0, 0, 0, 100]);
            let (mut link, mut server, _) = ground.open(listener, &client(version), &answer).await;
            let told = 100 - growth;
            let publish = |topic: &str, len: usize| {
                let publish = Publish::new(version, topic).qos(qos, 7);
                publish.bytes(vec![7; len])
            };
            let room = told - publish("t", 0).len();
            let mapped = if growth > 0 { "tenants/acme/t" } else { "t" };
            assert_eq!(publish("t", room).len(), told);
            let (fits, sent) = (publish("t", room), publish(mapped, room));
            up(&mut link, &mut server, &fits, &sent).await;
            let larger = publish("t", room + 1);
            if growth == 0 && !strict() {
                // what the broker announced, the broker judges
                up(&mut link, &mut server, &larger, &larger).await;
                server.send(&[0xe0, 1, 0x95]).await;
                link.expect(&[0xe0, 1, 0x95]).await;
                link.closed().await;
                continue;
            }
            link.send(&larger).await;
            both_end(link, server, &[0x95]).await;
        }
        // whatever it is
        let answer = accepted(&[0x27, 0, 0, 0, 100]);
        let (mut link, mut server, _) = ground.open(listener, &client(version), &answer).await;
        let filter = "x".repeat(100);
        let request = subscribe(version, 7, &[(&*filter, 0)]);
        if growth == 0 && !strict() {
            up(&mut link, &mut server, &request, &request).await;
            continue;
        }
        link.send(&request).await;
        both_end(link, server, &[0x95]).await;
    }
}

async fn a_changed_subscribe_that_is_too_large_is_refused(version: Version) {
    let ground = Ground::new().await;
    let filters: Vec<_> = (0..8).map(|number| number.to_string()).collect();
    let asked: Vec<_> = filters.iter().map(|filter| (&**filter, 0)).collect();
    let names: Vec<_> = filters.iter().map(|filter| &**filter).collect();
    for request in [
        subscribe(version, 7, &asked),
        unsubscribe(version, 7, &names),
    ] {
        let answer = accepted(&[0x27, 0, 0, 0, 100]);
        let (mut link, mut server, _) = ground.open("map", &client(version), &answer).await;
        assert!(request.len() <= 100);
        link.send(&request).await;
        link.send(&PINGREQ).await;
        let next = server.packet().await;
        assert_eq!(next.bytes(), PINGREQ, "larger than the broker takes");
        let answer = link.packet().await;
        // behind the Reason String
        let codes = &answer.body()[3 + usize::from(answer.body()[2])..];
        assert_eq!(codes.len(), filters.len(), "{answer:?}");
        assert!(codes.iter().all(|code| *code >= 0x80), "{answer:?}");
    }
}

async fn a_topic_does_not_outgrow_its_length(version: Version) {
    let ground = Ground::new().await;
    let (mut link, mut server) = ground.pair("map", version).await;
    for over in [1, 5, PREFIX.len()] {
        let topic = "x".repeat(65_535 - PREFIX.len() + over);
        for qos in 0..3 {
            link.send(&Publish::new(version, &topic).qos(qos, 7).bytes("no"))
                .await;
            let first = [0, 0x40, 0x50][usize::from(qos)];
            if qos > 0 && version.is_v5() {
                let answer = link.packet().await;
                let told = (answer.first(), answer.body()[2]);
                assert!([(first, 0x90), (first, 0x87)].contains(&told), "{answer:?}");
            } else if qos > 0 {
                link.expect(&[first, 2, 0, 7]).await;
            }
            if qos == 2 && !version.is_v5() {
                link.send(&pubrel(7)).await;
                link.expect(&pubcomp(7)).await;
            }
            fence(&mut link, &mut server).await;
        }
        link.send(&subscribe(version, 8, &[(&*topic, 0)])).await;
        let code = if version.is_v5() { 0x8f } else { 0x80 };
        link.expect(&suback(version, 8, &[code])).await;
        fence(&mut link, &mut server).await;
    }
    // the longest that there is
    let topic = "x".repeat(65_535 - PREFIX.len());
    let mapped = format!("{PREFIX}{topic}");
    let own = Publish::new(version, &topic).bytes("yes");
    let sent = Publish::new(version, &mapped).bytes("yes");
    link.send(&own).await;
    assert!(
        server.packet().await.bytes() == sent,
        "it is changed in another way"
    );
    server.send(&sent).await;
    assert!(
        link.packet().await.bytes() == own,
        "it is changed in another way"
    );
    link.send(&subscribe(version, 9, &[(&*topic, 0)])).await;
    let sent = subscribe(version, 9, &[(&*mapped, 0)]);
    assert!(
        server.packet().await.bytes() == sent,
        "it is changed in another way"
    );
}

/// A payload is not held, so that it needs no limit: the client gets the broker's CONNACK, to the
/// byte, and may send whatever MQTT can express. What must be held whole has a limit of its own.
async fn a_message_has_no_maximum_of_its_own(version: Version) {
    // the default, and a value of max_packet_size that lowers nothing
    for most in [None, Some("256MiB")] {
        let ground = Ground::with(|setup| match most {
            Some(most) => setup.set_listeners("limits.max_packet_size", most),
            None => setup,
        })
        .await;
        for listener in ["mqtt", "acl", "read"] {
            let answer = connack(version, 0);
            let (mut link, mut server) = ground.asked(listener, &client(version)).await;
            down(&mut link, &mut server, &answer, &answer).await;
            let large = Publish::new(version, "t")
                .qos(1, 7)
                .bytes(vec![7; 5_000_000]);
            for from_client in [true, false] {
                let (sender, receiver) = if from_client {
                    (&mut link, &mut server)
                } else {
                    (&mut server, &mut link)
                };
                // more than the sockets on the way take
                let (taken, received) = tokio::join!(sender.try_send(&large), receiver.packet());
                assert!(taken && received.bytes() == large, "{listener}");
            }
            fence(&mut link, &mut server).await;
        }
    }
}

async fn its_own_maximum_is_announced_and_enforced(version: Version) {
    let ground = Ground::with(|setup| {
        let setup = setup.limit("max_packet_size", "1KiB");
        let setup = setup.set("listeners.map.limits.max_packet_size", "1KiB");
        setup.set("listeners.acl.limits.max_packet_size", "1KiB")
    })
    .await;
    for listener in ["mqtt", "acl", "map"] {
        let answer = connack(version, 0);
        let (mut link, mut server, connack) =
            ground.open(listener, &client(version), &answer).await;
        if version.is_v5() {
            // what a prefix may add is taken off
            let block = &connack.body()[3..];
            let at = block
                .iter()
                .position(|byte| *byte == 0x27)
                .expect("it is told");
            let told = u32::from_be_bytes(block[at + 1..at + 5].try_into().expect("four bytes"));
            assert!((900..=1024).contains(&told), "{connack:?}");
        }
        let head = 3 + 3 + usize::from(version.is_v5());
        let fits = Publish::new(version, "t").bytes(vec![7; 1024 - head]);
        assert_eq!(fits.len(), 1024);
        if listener != "map" {
            up(&mut link, &mut server, &fits, &fits).await;
        }
        // at its length, before anything of it is there
        let more = Publish::new(version, "t").head(1025 - head);
        link.send(&more[..3]).await;
        both_end(link, server, &[0x95]).await;
        // whatever it is
        let (mut link, server) = ground.pair(listener, version).await;
        link.send(&[0x82, 0xfe, 0x07]).await;
        both_end(link, server, &[0x95]).await;
    }
}

async fn a_connect_has_a_maximum(version: Version) {
    let ground = Ground::new().await;
    let fits = Connect::new(version, &"x".repeat(60_000)).bytes();
    let mut link = ground.link("mqtt", version).await;
    link.send(&fits).await;
    ground.broker.session().await.expect(&fits).await;
    // at its length
    for head in [[0x10, 0x81, 0x80, 0x04], [0x10, 0xff, 0xff, 0x7f]] {
        let mut link = ground.link("mqtt", version).await;
        link.send(&head).await;
        link.closed().await;
    }
    let larger = client(version)
        .will("w", &"x".repeat(40_000), 0, false)
        .credentials("u", &"x".repeat(40_000));
    let mut link = ground.link("mqtt", version).await;
    link.send(&larger.bytes()).await;
    link.closed().await;
    ground.nobody_before(version).await;
    // where it has another one
    let ground =
        Ground::with(|setup| setup.set_listeners("limits.max_connect_size", "128KiB")).await;
    for listener in ["mqtt", "acl"] {
        let mut link = ground.link(listener, version).await;
        link.send(&larger.bytes()).await;
        let mut server = ground.broker.session().await;
        server.expect(&larger.bytes()).await;
    }
}
