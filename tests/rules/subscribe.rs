//! SUBSCRIBE, UNSUBSCRIBE and their answers.

use mproxy_tests::Mosquitto;
use mproxy_tests::wire::{
    PINGREQ, PINGRESP, Publish, Version, field, frame, properties, puback, pubcomp, pubrec, pubrel,
    suback, subscribe, unsubscribe, user_property,
};
use mproxy_tests::{Link, Setup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::ground::{
    Ground, PLACES, PREFIX, both_close, both_end, client, conforming, down, fence, strict, up,
};
use crate::packets::no_properties;

tests! {
    a_request_is_whole [r90] in all;
    a_filter_is_one [r91] in all;
    some_filters_are_refused [r92] in all;
    an_answer_has_as_many_codes [r92] in all;
    all_filters_are_refused [r93] in all;
    a_refused_filter_of_3_1_is_answered [r94] in [v31];
    a_delivery_may_come_before_its_grant [r95] in all;
    identifiers_in_use_are_answered_in_order [r96] in all;
    requests_without_an_answer_are_bounded [r96] in all;
    one_malformed_filter_spoils_all [r97] in all;
    different_filters_stay_different [r99] in all;
    filters_of_different_places_stay_different [r99] in all;
    leaving_one_filter_leaves_no_other [r99 r100] in all;
    everybody_may_leave [r100] in all;
    what_was_never_subscribed_is_told_so [r100] in v5;
    every_place_is_left_as_it_was_entered [r100] in all;
    a_client_sees_topics_of_its_own [r101] in all;
    a_client_sees_the_places_that_are_its_own [r101] in all;
    a_prefix_hides_dollar_topics [r102] in all;
    every_place_hides_dollar_topics [r102] in all;
    a_shared_subscription_is_judged_by_its_filter [r103] in all;
    a_group_is_the_tenants_where_that_is_wanted [r103] in all;
    a_shared_subscription_goes_where_its_filter_goes [r103] in all;
    a_malformed_shared_subscription_is_none [r103] in all;
    vendor_forms_lead_around_no_rule [r104] in all;
    vendor_forms_that_are_known_are_judged_and_mapped [r104] in all;
    no_local_is_not_for_shared_subscriptions [r105] in v5;
    a_wider_filter_is_refused [r106] in all;
    a_subscription_identifier_is_one [r107] in v5;
}

/// A refusal in SUBACK.
fn no(version: Version) -> u8 {
    if version.is_v5() { 0x87 } else { 0x80 }
}

fn unsuback(version: Version, id: u16, codes: &[u8]) -> Vec<u8> {
    let mut packet = suback(version, id, if version.is_v5() { codes } else { &[] });
    packet[0] = 0xb0;
    packet
}

async fn a_request_is_whole(version: Version) {
    let ground = Ground::new().await;
    let none = no_properties(version);
    let mut wrong = vec![
        subscribe(version, 1, &[]),
        unsubscribe(version, 1, &[]),
        subscribe(version, 0, &[("t", 0)]),
        unsubscribe(version, 0, &["t"]),
        // a filter without options
        frame(0x82, &[&[0, 1][..], none, &field("t")].concat()),
        frame(
            0x82,
            &[&[0, 1][..], none, &field("t"), &[0], &field("u")].concat(),
        ),
    ];
    // QoS 3, and bits that are reserved
    let options: &[u8] = if version.is_v5() {
        &[0x03, 0x30, 0x40, 0x80, 0xc0]
    } else {
        &[0x03, 0x04, 0x08, 0x10, 0x80]
    };
    for &options in options {
        if version == Version::V31 && options > 3 {
            continue; // not looked at in MQTT 3.1
        }
        wrong.push(subscribe(version, 1, &[("t", options)]));
        wrong.push(subscribe(version, 1, &[("t", 0), ("u", options)]));
    }
    for listener in ["mqtt", "acl"] {
        for packet in &wrong {
            let (mut link, server) = ground.pair(listener, version).await;
            link.send(packet).await;
            both_end(link, server, &[0x81, 0x82]).await;
        }
        if version.is_v5() {
            // all options that there are
            let (mut link, mut server) = ground.pair(listener, version).await;
            let options = [("a", 0x01), ("b", 0x2e), ("c", 0x10), ("d", 0x08)];
            let request = subscribe(version, 1, &options);
            up(&mut link, &mut server, &request, &request).await;
        }
    }
}

const NO_FILTERS: [&str; 12] = [
    "", "a#", "#a", "a/#/b", "#/", "##", "a+", "+a", "a/b+/c", "a/++", "a\0b", "#/+",
];

async fn a_filter_is_one(version: Version) {
    let ground = Ground::new().await;
    for listener in ["mqtt", "acl", "map"] {
        for filter in NO_FILTERS {
            for first in [0x82, 0xa2] {
                let packet = if first == 0x82 {
                    subscribe(version, 1, &[(filter, 0)])
                } else {
                    unsubscribe(version, 1, &[filter])
                };
                let (mut link, mut server) = ground.pair(listener, version).await;
                link.send(&packet).await;
                link.send(&PINGREQ).await;
                // nothing of it is forwarded; 5.0 may tell instead of closing
                if let Some(next) = server.packet_or_end().await {
                    assert!(version.is_v5(), "{filter:?}: {next:?}");
                    assert_eq!(next.bytes(), PINGREQ, "{filter:?}");
                    let answer = link.packet().await;
                    assert_eq!(answer.body().last(), Some(&0x8f), "{filter:?}: {answer:?}");
                } else {
                    drop(server);
                    crate::ground::sent_away(link, &[0x81, 0x82, 0x8f]).await;
                }
            }
        }
    }
    // those that look odd and are none of these
    let odd = [
        ("/", 0),
        ("//", 0),
        ("+", 0),
        ("/+/", 0),
        ("+/#", 0),
        (" ", 0),
        ("#", 0),
    ];
    let (mut link, mut server) = ground.pair("mqtt", version).await;
    let request = subscribe(version, 1, &odd);
    up(&mut link, &mut server, &request, &request).await;
}

async fn some_filters_are_refused(version: Version) {
    let ground = Ground::new().await;
    let no = no(version);
    let block = if version.is_v5() {
        [&[0x0b, 5][..], &user_property("n", "v")].concat()
    } else {
        Vec::new()
    };
    let request = |filters: &[(&str, u8)]| {
        let mut body = vec![0, 9];
        if version.is_v5() {
            body.extend(properties(&block));
        }
        for (filter, options) in filters {
            body.extend(field(filter));
            body.push(*options);
        }
        frame(0x82, &body)
    };
    let (a, b, c) = (("a/#", 2), ("b", 1), ("c", 0));
    let (x, y) = (("denied/x", 2), ("denied/y", 0));
    let (mut link, mut server) = ground.pair("acl", version).await;
    for (asked, left, granted, merged) in [
        (vec![x, a], vec![a], vec![2], vec![no, 2]),
        (vec![a, x], vec![a], vec![1], vec![1, no]),
        (
            vec![a, x, b, y, c],
            vec![a, b, c],
            vec![2, 0x80, 0],
            vec![2, no, 0x80, no, 0],
        ),
        (vec![x, y, b], vec![b], vec![0x80], vec![no, no, 0x80]),
        (vec![a, b], vec![a, b], vec![0, 1], vec![0, 1]),
        (vec![x, a, x], vec![a], vec![1], vec![no, 1, no]),
    ] {
        up(&mut link, &mut server, &request(&asked), &request(&left)).await;
        let (granted, merged) = (suback(version, 9, &granted), suback(version, 9, &merged));
        down(&mut link, &mut server, &granted, &merged).await;
    }
    // several that wait, answered in another order, with texts
    let ids = [1, 2, 3];
    for id in ids {
        let asked = subscribe(version, id, &[x, a, b]);
        let left = subscribe(version, id, &[a, b]);
        up(&mut link, &mut server, &asked, &left).await;
    }
    for (id, codes) in [(3, [0, 1]), (1, [1, 2]), (2, [2, 0])] {
        let merged = suback(version, id, &[no, codes[0], codes[1]]);
        down(
            &mut link,
            &mut server,
            &suback(version, id, &codes),
            &merged,
        )
        .await;
    }
    if version.is_v5() {
        let asked = subscribe(version, 4, &[x, a]);
        let left = subscribe(version, 4, &[a]);
        up(&mut link, &mut server, &asked, &left).await;
        let answer = |codes: &[u8]| {
            let block =
                properties(&[&[0x1f][..], &field("why"), &user_property("n", "v")].concat());
            frame(0x90, &[&[0, 4][..], &block, codes].concat())
        };
        down(&mut link, &mut server, &answer(&[1]), &answer(&[no, 1])).await;
    }
}

async fn an_answer_has_as_many_codes(version: Version) {
    let ground = Ground::new().await;
    let asked = subscribe(version, 1, &[("a", 0), ("denied/x", 0), ("b", 0)]);
    let left = subscribe(version, 1, &[("a", 0), ("b", 0)]);
    for (listener, sent, is_merged) in [
        ("mqtt", &left, false),
        ("acl", &left, false),
        ("acl", &asked, true),
    ] {
        for codes in [&[][..], &[0], &[0, 0, 0]] {
            let (mut link, mut server) = ground.pair(listener, version).await;
            up(&mut link, &mut server, sent, &left).await;
            let answer = suback(version, 1, codes);
            if is_merged || strict() || codes.is_empty() {
                server.send(&answer).await;
                both_close(link, server).await;
            } else {
                // between the two: nothing has to be put into it
                down(&mut link, &mut server, &answer, &answer).await;
                fence(&mut link, &mut server).await;
            }
        }
    }
}

async fn all_filters_are_refused(version: Version) {
    let ground = Ground::new().await;
    let (mut link, mut server) = ground.pair("acl", version).await;
    for count in [1, 2, 100] {
        let filters: Vec<_> = (0..count)
            .map(|number| format!("denied/{number}"))
            .collect();
        let filters: Vec<_> = filters.iter().map(|filter| (&**filter, 1)).collect();
        link.send(&subscribe(version, 7, &filters)).await;
        let codes = vec![no(version); count];
        link.expect(&suback(version, 7, &codes)).await;
        fence(&mut link, &mut server).await;
    }
    // the identifier is free
    let request = subscribe(version, 7, &[("t", 0)]);
    up(&mut link, &mut server, &request, &request).await;
}

async fn a_refused_filter_of_3_1_is_answered(version: Version) {
    let ground = Ground::new().await;
    let (mut link, mut server) = ground.pair("acl", version).await;
    for qos in 0..3 {
        link.send(&subscribe(version, 7, &[("denied/x", qos)]))
            .await;
        let answer = link.packet().await;
        let told: Vec<_> = [0x80, qos].map(|code| suback(version, 7, &[code])).to_vec();
        assert!(told.contains(&answer.bytes().to_vec()), "{answer:?}");
        fence(&mut link, &mut server).await;
    }
}

async fn a_delivery_may_come_before_its_grant(version: Version) {
    let ground = Ground::new().await;
    let (mut link, mut server) = ground.pair("acl", version).await;
    let asked = subscribe(version, 1, &[("t", 1), ("denied/x", 1)]);
    let left = subscribe(version, 1, &[("t", 1)]);
    up(&mut link, &mut server, &asked, &left).await;
    for qos in 0..3 {
        let early = Publish::new(version, "t")
            .qos(qos, 1)
            .retain()
            .bytes("early");
        down(&mut link, &mut server, &early, &early).await;
    }
    let merged = suback(version, 1, &[1, no(version)]);
    down(&mut link, &mut server, &suback(version, 1, &[1]), &merged).await;
}

/// MQTT 3.1 tells a client to repeat a SUBSCRIBE, and many programs use one identifier for all: each
/// is forwarded, and each answer is that of the oldest request of its type and identifier.
async fn identifiers_in_use_are_answered_in_order(version: Version) {
    let ground = Ground::new().await;
    let no = no(version);
    let sub = |filters: &[(&str, u8)]| subscribe(version, 7, filters);
    for listener in ["mqtt", "acl"] {
        // of both types, pipelined: answers by type, whichever comes first
        let (mut link, mut server) = ground.pair(listener, version).await;
        let requests = [
            sub(&[("a", 1)]),
            unsubscribe(version, 7, &["a"]),
            sub(&[("a", 1)]),
            sub(&[("b", 0), ("c", 2)]),
            unsubscribe(version, 7, &["b"]),
        ];
        link.send(&requests.concat()).await;
        for request in &requests {
            server.expect(request).await;
        }
        for answer in [
            unsuback(version, 7, &[0]),
            suback(version, 7, &[1]),
            suback(version, 7, &[0x80]),
            unsuback(version, 7, &[0x11]),
            suback(version, 7, &[0, 2]),
        ] {
            down(&mut link, &mut server, &answer, &answer).await;
        }
        // one that nobody waits for is between the broker and the client
        let other = suback(version, 8, &[1]);
        down(&mut link, &mut server, &other, &other).await;
        let other = unsuback(version, 7, &[0]);
        down(&mut link, &mut server, &other, &other).await;
        fence(&mut link, &mut server).await;
    }
    // refused in part, as a whole and not at all: in order, and never ahead of an earlier one
    let (mut link, mut server) = ground.pair("acl", version).await;
    let requests = [
        sub(&[("a", 1), ("denied/x", 1)]),
        sub(&[("denied/x", 1)]),
        sub(&[("denied/x", 1), ("b", 0)]),
        sub(&[("c", 2)]),
        sub(&[("denied/y", 0), ("denied/z", 0)]),
    ];
    link.send(&requests.concat()).await;
    for forwarded in [[("a", 1)], [("b", 0)], [("c", 2)]] {
        server.expect(&sub(&forwarded)).await;
    }
    down(&mut link, &mut server, &PINGRESP, &PINGRESP).await;
    let answers: Vec<_> = [1, 0, 2]
        .iter()
        .map(|code| suback(version, 7, &[*code]))
        .collect();
    server.send(&answers.concat()).await;
    for codes in [&[1, no][..], &[no], &[no, 0], &[2], &[no, no]] {
        link.expect(&suback(version, 7, codes)).await;
    }
    fence(&mut link, &mut server).await;
}

/// Devices subscribe to a long list at once. What waits for its answer is bounded, and a client that
/// has sent more is not read until there is room: it gets all of its grants.
async fn requests_without_an_answer_are_bounded(version: Version) {
    const COUNT: u16 = 20_000;
    let ground = Ground::new().await;
    for listener in ["mqtt", "acl", "map"] {
        let (link, server) = ground.pair(listener, version).await;
        let (mut link, _) = link.into_tcp();
        let (mut server, _) = server.into_tcp();
        let before = mproxy_tests::memory::used_kib(ground.mproxy.id());
        let requests: Vec<u8> = (1..=COUNT)
            .flat_map(|id| subscribe(version, id, &[("t", 1)]))
            .collect();
        let answers: Vec<u8> = (1..=COUNT)
            .flat_map(|id| suback(version, id, &[1]))
            .collect();
        let (mut granted, mut sent) = link.split();
        let client = async {
            let mut received = vec![0; answers.len()];
            let (written, read) =
                tokio::join!(sent.write_all(&requests), granted.read_exact(&mut received));
            written.expect("it is taken");
            read.expect("all of it comes");
            assert!(received == answers, "other grants");
        };
        let broker = async {
            let prefix = if listener == "map" { PREFIX } else { "" };
            let one = subscribe(version, 1, &[(&format!("{prefix}t"), 1)]);
            let mut request = vec![0; one.len()];
            for (id, answer) in (1..=COUNT).zip(answers.chunks(answers.len() / usize::from(COUNT)))
            {
                server.read_exact(&mut request).await.expect("a request");
                assert_eq!(request[2..4], id.to_be_bytes());
                server.write_all(answer).await.expect("it is taken");
            }
        };
        mproxy_tests::within("all grants", async { tokio::join!(client, broker) }).await;
        let grown = mproxy_tests::memory::used_kib(ground.mproxy.id()).saturating_sub(before);
        assert!(grown < 8 * 1024, "{grown} KiB at {listener}");
    }
    // nor is more kept when the broker does not answer
    for listener in ["mqtt", "acl"] {
        let (link, server) = ground.pair(listener, version).await;
        let (link, _) = link.into_tcp();
        let _server = server;
        let before = mproxy_tests::memory::used_kib(ground.mproxy.id());
        let requests: Vec<u8> = (1..=COUNT)
            .flat_map(|id| subscribe(version, id, &[("t", 1)]))
            .collect();
        // as much as the way there takes; the client is not sent away for it
        let mut taken = 0;
        while let Ok(written) = link.try_write(&requests[taken..]) {
            taken += written;
            if taken == requests.len() {
                break;
            }
        }
        let (mut other, mut other_server) = ground.pair(listener, version).await;
        fence(&mut other, &mut other_server).await;
        let grown = mproxy_tests::memory::used_kib(ground.mproxy.id()).saturating_sub(before);
        assert!(grown < 8 * 1024, "{grown} KiB at {listener}");
        let mut room = [0];
        let nothing = link.try_read(&mut room);
        assert!(nothing.is_err_and(|it| it.kind() == std::io::ErrorKind::WouldBlock));
    }
}

async fn one_malformed_filter_spoils_all(version: Version) {
    let ground = Ground::new().await;
    for listener in ["mqtt", "acl", "map"] {
        for filters in [
            [("good", 0), ("a#", 0)],
            [("a#", 0), ("good", 0)],
            [("good", 0), ("good", 3)],
        ] {
            let (mut link, server) = ground.pair(listener, version).await;
            link.send(&subscribe(version, 1, &filters)).await;
            both_end(link, server, &[0x81, 0x82, 0x8f]).await;
        }
        let (mut link, server) = ground.pair(listener, version).await;
        link.send(&unsubscribe(version, 1, &["good", "a#"])).await;
        both_end(link, server, &[0x81, 0x82, 0x8f]).await;
    }
}

async fn different_filters_stay_different(version: Version) {
    let ground = Ground::new().await;
    let (mut link, mut server) = ground.pair("map", version).await;
    let filters = [
        "a",
        "/a",
        "a/",
        "A",
        "a/a",
        "tenants/acme/a",
        "+",
        "#",
        "/#",
        "+/a",
        "a/#",
        "a/+",
        "$share/g/a",
        "$share/h/a",
        "$share/g/#",
        " a",
    ];
    let asked: Vec<_> = filters.iter().map(|filter| (*filter, 0)).collect();
    link.send(&subscribe(version, 1, &asked)).await;
    let request = server.packet().await;
    let mut body = &request.body()[2 + no_properties(version).len()..];
    let mut mapped = std::collections::BTreeSet::new();
    while !body.is_empty() {
        let len = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let filter = String::from_utf8(body[2..2 + len].to_vec()).expect("text");
        assert!(filter.contains(PREFIX), "{filter}");
        assert!(mapped.insert(filter), "{request:?}");
        body = &body[3 + len..];
    }
    assert_eq!(mapped.len(), filters.len());
}

/// SUBSCRIBE to each filter by itself, and what the broker gets; `None` where it gets nothing.
const FILTERS: [(&str, Option<&str>); 14] = [
    ("devices/#", Some("fleet/acme/#")),
    ("devices/+/up", Some("fleet/acme/+/up")),
    ("devices", Some("fleet/acme")),
    ("devices/", Some("fleet/acme/")),
    ("news/#", Some("public/news/#")),
    ("news/today", Some("public/news/today")),
    ("other/#", Some("tenants/acme/other/#")),
    ("devicesx/#", Some("tenants/acme/devicesx/#")),
    ("Devices/7", Some("tenants/acme/Devices/7")),
    ("/devices/7", Some("tenants/acme//devices/7")),
    // parts of which would be in different places
    ("#", None),
    ("+/7", None),
    ("+", None),
    ("+/#", None),
];

async fn filters_of_different_places_stay_different(version: Version) {
    let ground = Ground::with(|setup| setup.toml(PLACES)).await;
    let (mut link, mut server) = ground.pair("places", version).await;
    let mut seen = std::collections::BTreeSet::new();
    for (asked, mapped) in FILTERS {
        let request = subscribe(version, 1, &[(asked, 1)]);
        let Some(mapped) = mapped else {
            link.send(&request).await;
            let codes = if version.is_v5() { 0x8f } else { 0x80 };
            link.expect(&suback(version, 1, &[codes])).await;
            fence(&mut link, &mut server).await;
            continue;
        };
        let wanted = subscribe(version, 1, &[(mapped, 1)]);
        up(&mut link, &mut server, &request, &wanted).await;
        let grant = suback(version, 1, &[1]);
        down(&mut link, &mut server, &grant, &grant).await;
        assert!(seen.insert(mapped), "{mapped}");
    }
}

async fn every_place_is_left_as_it_was_entered(version: Version) {
    let ground = Ground::with(|setup| setup.toml(PLACES)).await;
    let (mut link, mut server) = ground.pair("places", version).await;
    let mapped: Vec<_> = FILTERS.iter().filter_map(|(_, mapped)| *mapped).collect();
    let asked = FILTERS.map(|(asked, _)| asked);
    up(
        &mut link,
        &mut server,
        &unsubscribe(version, 5, &asked),
        &unsubscribe(version, 5, &mapped),
    )
    .await;
    // nobody was ever there
    server
        .send(&unsuback(version, 5, &vec![0; mapped.len()]))
        .await;
    let codes = FILTERS.map(|(_, mapped)| if mapped.is_some() { 0 } else { 0x11 });
    link.expect(&unsuback(version, 5, &codes)).await;
}

/// The settings of these tests before a real broker.
async fn before(broker: &Mosquitto) -> mproxy_tests::Mproxy {
    let setup = Setup::before(&broker.url()).toml(
        "[chains.default]\nlayers = [\"map\"]\n[layers.map]\ntype = \"topic-map\"\n\
         prefix = \"tenants/${username}/\"\n",
    );
    conforming(setup).start().await
}

async fn leaving_one_filter_leaves_no_other(version: Version) {
    let broker = Mosquitto::start().await;
    let mproxy = before(&broker).await;
    let mut link = Link::tcp(mproxy.addr()).await;
    link.connect(&client(version)).await;
    for filter in ["a", "a/", "/a", "+/b"] {
        link.subscribe(filter, 0).await;
    }
    link.send(&unsubscribe(version, 9, &["a"])).await;
    let answer = link.packet().await;
    assert_eq!(answer.bytes(), unsuback(version, 9, &[0]));
    let mut publisher = Link::client(broker.addr(), version, "publisher").await;
    for topic in ["a", "a/", "/a", "x/b", "a"] {
        let topic = format!("{PREFIX}{topic}");
        publisher
            .send(&Publish::new(version, &topic).bytes("x"))
            .await;
    }
    for topic in ["a/", "/a", "x/b"] {
        assert_eq!(link.message().await.topic, topic);
    }
    publisher.silent().await;
    link.silent().await;
}

async fn everybody_may_leave(version: Version) {
    let ground = Ground::new().await;
    let (mut link, mut server) = ground.pair("acl", version).await;
    let request = unsubscribe(version, 7, &["denied/x", "t", "#"]);
    up(&mut link, &mut server, &request, &request).await;
    let answer = unsuback(version, 7, &[0, 0x11, 0]);
    down(&mut link, &mut server, &answer, &answer).await;

    let (mut link, mut server) = ground.pair("map", version).await;
    let filters = ["a", "a/", "+/b", "#", "$share/g/c", "caf\u{e9}"];
    let mapped = ["a", "a/", "+/b", "#", "", "caf\u{e9}"].map(|it| format!("{PREFIX}{it}"));
    let mut mapped: Vec<_> = mapped.iter().map(|filter| &**filter).collect();
    mapped[4] = "$share/acme:g/tenants/acme/c";
    let asked: Vec<_> = filters.iter().map(|filter| (*filter, 1)).collect();
    let both: Vec<_> = mapped.iter().map(|filter| (*filter, 1)).collect();
    up(
        &mut link,
        &mut server,
        &subscribe(version, 8, &asked),
        &subscribe(version, 8, &both),
    )
    .await;
    up(
        &mut link,
        &mut server,
        &unsubscribe(version, 9, &filters),
        &unsubscribe(version, 9, &mapped),
    )
    .await;
}

async fn what_was_never_subscribed_is_told_so(version: Version) {
    let ground = Ground::new().await;
    let (mut link, mut server) = ground.pair("map", version).await;
    // a filter that has no place behind a prefix was not subscribed to either
    up(
        &mut link,
        &mut server,
        &unsubscribe(version, 7, &["$SYS/#", "a", "$x"]),
        &unsubscribe(version, 7, &["tenants/acme/a"]),
    )
    .await;
    server.send(&unsuback(version, 7, &[0])).await;
    link.expect(&unsuback(version, 7, &[0x11, 0, 0x11])).await;
    link.send(&unsubscribe(version, 8, &["$SYS/#"])).await;
    link.expect(&unsuback(version, 8, &[0x11])).await;
    fence(&mut link, &mut server).await;
}

async fn a_client_sees_topics_of_its_own(version: Version) {
    let ground = Ground::new().await;
    let (mut link, mut server) = ground.pair("map", version).await;
    for topic in [
        "other",
        "tenants",
        "tenants/other/t",
        "tenants/acm/t",
        "tenants/acmee/t",
        "Tenants/acme/t",
        "/tenants/acme/t",
    ] {
        server.send(&Publish::new(version, topic).bytes("no")).await;
        let publish = Publish::new(version, topic).qos(1, 7);
        server.send(&publish.bytes("no")).await;
        server.expect(&puback(7)).await;
    }
    fence(&mut link, &mut server).await;
    for topic in ["t", "tenants/acme/t", "/", "a/b/", "caf\u{e9}"] {
        let mapped = Publish::new(version, &format!("{PREFIX}{topic}")).bytes("yes");
        let own = Publish::new(version, topic).bytes("yes");
        down(&mut link, &mut server, &mapped, &own).await;
        up(&mut link, &mut server, &own, &mapped).await;
    }
}

async fn a_client_sees_the_places_that_are_its_own(version: Version) {
    let ground = Ground::with(|setup| setup.toml(PLACES)).await;
    let (mut link, mut server) = ground.pair("places", version).await;
    for topic in [
        "fleet/other/7",
        "fleet/acm/7",
        "fleet",
        "public",
        "public/newspaper",
        "devices/7",
        "news/7",
        // where no topic of the client's goes: these would come back as others
        "tenants/acme/devices/7",
        "tenants/acme/devices",
        "tenants/acme/news/7",
        "tenants/other/x",
    ] {
        server.send(&Publish::new(version, topic).bytes("no")).await;
        let publish = Publish::new(version, topic).qos(1, 7);
        server.send(&publish.bytes("no")).await;
        server.expect(&puback(7)).await;
        let publish = Publish::new(version, topic).qos(2, 8);
        server.send(&publish.bytes("no")).await;
        server.expect(&pubrec(8)).await;
        server.send(&pubrel(8)).await;
        server.expect(&pubcomp(8)).await;
    }
    fence(&mut link, &mut server).await;
    for (own, mapped) in [
        ("devices/7/up", "fleet/acme/7/up"),
        ("devices", "fleet/acme"),
        ("devices/devices/7", "fleet/acme/devices/7"),
        ("news/news/7", "public/news/news/7"),
        ("news", "public/news"),
        ("fleet/acme/7", "tenants/acme/fleet/acme/7"),
        ("public/news/7", "tenants/acme/public/news/7"),
        ("devicesx", "tenants/acme/devicesx"),
    ] {
        let mapped = Publish::new(version, mapped).bytes("yes");
        let own = Publish::new(version, own).bytes("yes");
        up(&mut link, &mut server, &own, &mapped).await;
        down(&mut link, &mut server, &mapped, &own).await;
    }
}

async fn every_place_hides_dollar_topics(version: Version) {
    let ground = Ground::with(|setup| setup.toml(PLACES)).await;
    let (mut link, mut server) = ground.pair("places", version).await;
    for topic in [
        "tenants/acme/$SYS/a",
        "tenants/acme/$x",
        "tenants/acme",
        "tenants/acme/",
    ] {
        server.send(&Publish::new(version, topic).bytes("no")).await;
    }
    for topic in ["$SYS/a", "$x", "$fleet/acme/7"] {
        server.send(&Publish::new(version, topic).bytes("no")).await;
        link.send(&Publish::new(version, topic).bytes("no")).await;
        link.send(&subscribe(version, 2, &[(topic, 0)])).await;
        assert!(link.packet().await.body().last() >= Some(&0x80), "{topic}");
    }
    fence(&mut link, &mut server).await;
    // below a name of its own a `$` is a letter
    for (own, mapped) in [
        ("devices/$x", "fleet/acme/$x"),
        ("news/$SYS/x", "public/news/$SYS/x"),
    ] {
        let mapped = Publish::new(version, mapped).bytes("yes");
        let own = Publish::new(version, own).bytes("yes");
        up(&mut link, &mut server, &own, &mapped).await;
        down(&mut link, &mut server, &mapped, &own).await;
    }
}

async fn a_shared_subscription_goes_where_its_filter_goes(version: Version) {
    let ground = Ground::with(|setup| setup.toml(PLACES)).await;
    let (mut link, mut server) = ground.pair("places", version).await;
    for (asked, mapped) in [
        ("$share/g/devices/#", "$share/acme:g/fleet/acme/#"),
        ("$share/g/news/+", "$share/acme:g/public/news/+"),
        ("$share/devices/x", "$share/acme:devices/tenants/acme/x"),
        ("$share/g//devices", "$share/acme:g/tenants/acme//devices"),
    ] {
        let request = subscribe(version, 1, &[(asked, 1)]);
        let wanted = subscribe(version, 1, &[(mapped, 1)]);
        up(&mut link, &mut server, &request, &wanted).await;
        let grant = suback(version, 1, &[1]);
        down(&mut link, &mut server, &grant, &grant).await;
        let request = unsubscribe(version, 2, &[asked]);
        up(
            &mut link,
            &mut server,
            &request,
            &unsubscribe(version, 2, &[mapped]),
        )
        .await;
        let answer = unsuback(version, 2, &[0]);
        down(&mut link, &mut server, &answer, &answer).await;
    }
    for filter in ["$share/g/#", "$share/g/+/7", "$share/g/$SYS/#"] {
        link.send(&subscribe(version, 3, &[(filter, 0)])).await;
        assert!(link.packet().await.body().last() >= Some(&0x80), "{filter}");
    }
    fence(&mut link, &mut server).await;
}

async fn a_group_is_the_tenants_where_that_is_wanted(version: Version) {
    for (kept, group) in [("true", "acme:g"), ("false", "g")] {
        let ground = Ground::with(|setup| setup.set("layers.map.group_prefix", kept)).await;
        let (mut link, mut server) = ground.pair("map", version).await;
        let mapped = format!("$share/{group}/tenants/acme/t");
        up(
            &mut link,
            &mut server,
            &subscribe(version, 1, &[("$share/g/t", 0)]),
            &subscribe(version, 1, &[(&mapped, 0)]),
        )
        .await;
        up(
            &mut link,
            &mut server,
            &unsubscribe(version, 2, &["$share/g/t"]),
            &unsubscribe(version, 2, &[&mapped]),
        )
        .await;
    }
}

async fn a_prefix_hides_dollar_topics(version: Version) {
    let ground = Ground::new().await;
    let (mut link, mut server) = ground.pair("map", version).await;
    let asked = subscribe(version, 1, &[("#", 0), ("+/a", 0)]);
    let mapped = subscribe(
        version,
        1,
        &[("tenants/acme/#", 0), ("tenants/acme/+/a", 0)],
    );
    up(&mut link, &mut server, &asked, &mapped).await;
    // what `#` matches behind a prefix, and must not
    for topic in [
        "tenants/acme",
        "tenants/acme/",
        "tenants/acme/$SYS/a",
        "tenants/acme/$x",
    ] {
        server.send(&Publish::new(version, topic).bytes("no")).await;
    }
    fence(&mut link, &mut server).await;
    // and nobody gets there
    for topic in ["$SYS/a", "$x"] {
        link.send(&Publish::new(version, topic).bytes("no")).await;
        fence(&mut link, &mut server).await;
    }
    link.send(&subscribe(version, 2, &[("$SYS/#", 0)])).await;
    assert!(link.packet().await.body().last() >= Some(&0x80));
    fence(&mut link, &mut server).await;
}

async fn a_shared_subscription_is_judged_by_its_filter(version: Version) {
    let ground = Ground::new().await;
    let (mut link, mut server) = ground.pair("acl", version).await;
    for filter in [
        "$share/g/denied/x",
        "$share/denied/denied/#",
        "$share/g/#",
        "$share/g/+/x",
    ] {
        link.send(&subscribe(version, 1, &[(filter, 0)])).await;
        link.expect(&suback(version, 1, &[no(version)])).await;
        fence(&mut link, &mut server).await;
    }
    // the group is no topic
    let request = subscribe(version, 1, &[("$share/denied/t", 0)]);
    up(&mut link, &mut server, &request, &request).await;
    let (mut link, mut server) = ground.pair("map", version).await;
    let asked = subscribe(version, 1, &[("$share/g/t/#", 0), ("$share/g//t", 0)]);
    let mapped = [
        ("$share/acme:g/tenants/acme/t/#", 0),
        ("$share/acme:g/tenants/acme//t", 0),
    ];
    up(
        &mut link,
        &mut server,
        &asked,
        &subscribe(version, 1, &mapped),
    )
    .await;
    // what comes by it is a topic like any other
    let mapped = Publish::new(version, "tenants/acme/t/1").bytes("x");
    let own = Publish::new(version, "t/1").bytes("x");
    down(&mut link, &mut server, &mapped, &own).await;
}

async fn a_malformed_shared_subscription_is_none(version: Version) {
    let ground = Ground::new().await;
    for listener in ["mqtt", "acl", "map"] {
        for filter in [
            "$share/g",
            "$share/",
            "$share/g/",
            "$share//t",
            "$share/+/t",
            "$share/g#/t",
        ] {
            let (mut link, mut server) = ground.pair(listener, version).await;
            link.send(&subscribe(version, 1, &[(filter, 0)])).await;
            link.send(&PINGREQ).await;
            if let Some(next) = server.packet_or_end().await {
                assert_eq!(next.bytes(), PINGREQ, "{listener} {filter}");
                let answer = link.packet().await;
                let code = answer.body().last().copied();
                let codes = if version.is_v5() {
                    [0x8f, 0x87]
                } else {
                    [0x80; 2]
                };
                assert!(codes.map(Some).contains(&code), "{filter}: {answer:?}");
            } else {
                drop(server);
                crate::ground::sent_away(link, &[0x81, 0x82, 0x8f]).await;
            }
        }
    }
}

async fn vendor_forms_lead_around_no_rule(version: Version) {
    let ground = Ground::new().await;
    let (mut link, mut server) = ground.pair("acl", version).await;
    for filter in [
        "$queue/denied/x",
        "$queue/#",
        "$exclusive/denied/x",
        "$local/denied/#",
        "$oshare/g/denied/x",
        "$shared/denied/x",
        "$share/g/$queue/denied/x",
        "$share/g/$exclusive/denied/x",
    ] {
        link.send(&subscribe(version, 1, &[(filter, 0)])).await;
        link.send(&PINGREQ).await;
        let next = server.packet().await;
        assert_eq!(next.bytes(), PINGREQ, "{filter}");
        link.expect(&suback(version, 1, &[no(version)])).await;
    }
    for topic in [
        "$delayed/5/denied/x",
        "$delayed/5/$delayed/5/denied/x",
        "$local/denied/x",
    ] {
        link.send(&Publish::new(version, topic).bytes("no")).await;
        link.send(&PINGREQ).await;
        let next = server.packet().await;
        assert_eq!(next.bytes(), PINGREQ, "{topic}");
    }
    // nor do they have a place behind a prefix
    let (mut link, mut server) = ground.pair("map", version).await;
    for filter in [
        "$queue/t",
        "$exclusive/t",
        "$oshare/g/t",
        "$share/g/$queue/t",
    ] {
        link.send(&subscribe(version, 1, &[(filter, 0)])).await;
        assert!(link.packet().await.body().last() >= Some(&0x80));
    }
    link.send(&Publish::new(version, "$delayed/5/t").bytes("no"))
        .await;
    fence(&mut link, &mut server).await;
}

async fn vendor_forms_that_are_known_are_judged_and_mapped(version: Version) {
    let ground = Ground::with(|setup| {
        let known = "[\"queue\", \"exclusive\", \"delayed\", \"oshare\"]";
        setup.toml(PLACES).set("layers.acl.vendor", known)
    })
    .await;
    let (mut link, mut server) = ground.pair("acl", version).await;
    for denied in ["denied/x", "denied/#", "#", "+/x", "$queue/t", "$SYS/x"] {
        for form in ["$queue", "$exclusive", "$oshare/g"] {
            let filter = format!("{form}/{denied}");
            link.send(&subscribe(version, 1, &[(&filter, 0)])).await;
            let code = link.packet().await.body().last().copied();
            assert!(code >= Some(0x80), "{filter}");
        }
    }
    for topic in ["$delayed/5/denied/x", "$delayed/5/$delayed/5/denied/x"] {
        link.send(&Publish::new(version, topic).bytes("no")).await;
    }
    fence(&mut link, &mut server).await;
    for filter in ["$queue/t", "$exclusive/t", "$oshare/denied/t"] {
        let request = subscribe(version, 1, &[(filter, 0)]);
        up(&mut link, &mut server, &request, &request).await;
        let grant = suback(version, 1, &[0]);
        down(&mut link, &mut server, &grant, &grant).await;
    }
    let delayed = Publish::new(version, "$delayed/5/t").bytes("yes");
    up(&mut link, &mut server, &delayed, &delayed).await;

    let (mut link, mut server) = ground.pair("places", version).await;
    for (asked, mapped) in [
        ("$queue/devices/#", "$queue/fleet/acme/#"),
        ("$exclusive/x", "$exclusive/tenants/acme/x"),
        ("$oshare/g/news/#", "$oshare/acme:g/public/news/#"),
    ] {
        let request = subscribe(version, 1, &[(asked, 0)]);
        let wanted = subscribe(version, 1, &[(mapped, 0)]);
        up(&mut link, &mut server, &request, &wanted).await;
        let grant = suback(version, 1, &[0]);
        down(&mut link, &mut server, &grant, &grant).await;
    }
    for filter in ["$queue/#", "$local/x", "$queue/$SYS/x", "$exclusive/+/x"] {
        link.send(&subscribe(version, 1, &[(filter, 0)])).await;
        assert!(link.packet().await.body().last() >= Some(&0x80), "{filter}");
    }
    let own = Publish::new(version, "$delayed/5/devices/7").bytes("yes");
    let mapped = Publish::new(version, "$delayed/5/fleet/acme/7").bytes("yes");
    up(&mut link, &mut server, &own, &mapped).await;
}

async fn no_local_is_not_for_shared_subscriptions(version: Version) {
    let ground = Ground::new().await;
    for listener in ["mqtt", "acl", "map"] {
        for filters in [
            &[("$share/g/t", 0x04)][..],
            &[("t", 0x04), ("$share/g/t", 0x05)],
        ] {
            let (mut link, server) = ground.pair(listener, version).await;
            link.send(&subscribe(version, 1, filters)).await;
            both_end(link, server, &[0x82]).await;
        }
    }
}

async fn a_wider_filter_is_refused(version: Version) {
    let ground = Ground::with(|setup| {
        setup.toml(
            "[[layers.acl.rules]]\nname = \"one\"\ndeny = [\"subscribe\"]\ntopics = [\"a/secret\"]\n",
        )
    })
    .await;
    let (mut link, mut server) = ground.pair("acl", version).await;
    for filter in [
        "#",
        "+/#",
        "+/+",
        "+/x",
        "denied/#",
        "denied/+",
        "denied",
        "denied/+/b",
        "a/#",
        "a/+",
        "+/secret",
        "a/secret",
        "a/secret/#",
    ] {
        link.send(&subscribe(version, 1, &[(filter, 0)])).await;
        link.send(&PINGREQ).await;
        let next = server.packet().await;
        assert_eq!(next.bytes(), PINGREQ, "{filter}");
        link.expect(&suback(version, 1, &[no(version)])).await;
    }
    for filter in [
        "a",
        "a/b",
        "a/+/c",
        "b/#",
        "b/+",
        "+",
        "a/secret/x",
        "+/+/c/d/e",
    ] {
        let request = subscribe(version, 1, &[(filter, 0)]);
        link.send(&request).await;
        if filter.starts_with("+/+") {
            // denied/# is in it
            link.expect(&suback(version, 1, &[no(version)])).await;
            continue;
        }
        if filter == "+" {
            // `denied/#` matches `denied`, and so does this
            link.expect(&suback(version, 1, &[no(version)])).await;
            continue;
        }
        server.expect(&request).await;
        let answer = suback(version, 1, &[0]);
        down(&mut link, &mut server, &answer, &answer).await;
    }
}

async fn a_subscription_identifier_is_one(version: Version) {
    let ground = Ground::new().await;
    let request = |block: &[u8]| {
        let parts = [&[0, 1][..], &properties(block), &field("t"), &[0]];
        frame(0x82, &parts.concat())
    };
    for listener in ["mqtt", "acl", "map"] {
        for block in [&[0x0b, 0][..], &[0x0b, 1, 0x0b, 2], &[0x0b, 1, 0x0b, 1]] {
            let (mut link, server) = ground.pair(listener, version).await;
            link.send(&request(block)).await;
            both_end(link, server, &[0x82]).await;
        }
    }
    let (mut link, mut server) = ground.pair("acl", version).await;
    let largest = request(&[0x0b, 0xff, 0xff, 0xff, 0x7f]);
    up(&mut link, &mut server, &largest, &largest).await;
}
