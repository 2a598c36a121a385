//! Bytes that the standard does not allow, or not any more, and that mean one thing only.

use mproxy_tests::wire::{Connect, PINGREQ, Publish, Version, connack};

use super::{PLACES, Said, ground, hello, hex, link, say};
use crate::ground::{both_close, fence, sent_away, strict};
use crate::packets::no_properties;

tests! {
    a_bridge_is_let_in_as_it_came [c11] in v3 by [bridges];
    dup_of_qos_0_is_cleared [c13] in all;
    what_3_1_does_not_use_is_cleared [c14] in [v31];
    later_versions_have_reserved_it [c14] in [v311 v5];
    a_session_that_cannot_be_is_cleared [c15] in all;
}

async fn a_bridge_is_let_in_as_it_came(version: Version) {
    let as_bridge = |mut connect: Vec<u8>| {
        let level = 4 + usize::from(connect[3]);
        connect[level] |= 0x80;
        connect
    };
    let found = as_bridge(hello(version));
    assert_eq!(
        found,
        hex(match version {
            Version::V31 => "101400064d51497364708302003c0006633030303030",
            _ => "101200044d5154548402003c0006633030303030",
        })
    );
    // as mosquitto sends it: a will for its state, and a session
    let will = Connect::new(version, "bridge").persistent();
    let will = will.will("$SYS/broker/connection/b/state", "0", 1, true);
    let with_flags = [found.clone(), as_bridge(will.bytes())];
    let ground_of = |value| ground(move |setup| setup.set_listeners("bridges", value));
    let ground = ground_of("pass").await;
    for place in PLACES {
        for connect in &with_flags {
            let judged = place.1.ends_with("acl") && *connect != found;
            if judged {
                continue; // a rule for `$` topics is needed for that
            }
            let retained = Publish::new(version, "x/y")
                .qos(1, 1)
                .retain()
                .bytes("kept");
            let answer = connack(version, 0);
            let mut said = Said::new(&ground, place, version, connect, &answer, &retained).await;
            assert_eq!((&said.connect, said.connack), (connect, answer));
            said.server.expect(&retained).await;
            fence(&mut said.client, &mut said.server).await;
        }
    }
    // no other bits, and none of 5.0, which has No Local and Retain As Published for that
    for level in [0x80, 0x85, 0x86, 0xff] {
        let mut client = link(&ground.mproxy, PLACES[1], version).await;
        let mut connect = hello(version);
        let at = 4 + usize::from(connect[3]);
        connect[at] = level;
        client.send(&connect).await;
        client.expect(&[0x20, 2, 0, 1]).await;
        client.closed().await;
    }
    let ground = ground_of("refuse").await;
    for place in PLACES {
        let mut client = link(&ground.mproxy, place, version).await;
        place.0.send(&mut client, &found).await;
        client.expect(&[0x20, 2, 0, 1]).await;
        client.closed().await;
    }
}

async fn dup_of_qos_0_is_cleared(version: Version) {
    let ground = ground(|setup| setup).await;
    let (found, cleared) = if version.is_v5() {
        ("38070003742f780078", "30070003742f780078")
    } else {
        ("38060003742f7878", "30060003742f7878")
    };
    let (found, cleared) = (hex(found), hex(cleared));
    let retained = |packet: &[u8]| [&[packet[0] | 1][..], &packet[1..]].concat();
    let cases = [
        (found.clone(), vec![cleared.clone()]),
        (retained(&found), vec![retained(&cleared)]),
        // between packets that are right, and twice
        (
            [&PINGREQ[..], &found, &cleared, &found].concat(),
            vec![PINGREQ.to_vec(), cleared.clone(), cleared.clone(), cleared],
        ),
    ];
    for place in PLACES {
        for (sent, arriving) in &cases {
            let Said {
                client, mut server, ..
            } = say(&ground, place, version, sent).await;
            if !strict() {
                super::arrive(&mut server, arriving).await;
                continue;
            }
            if arriving.len() > 1 {
                server.expect(&PINGREQ).await;
            }
            sent_away(client, &[0x81]).await;
            server.closed().await;
        }
        // the same from the broker
        for (sent, arriving) in &cases[..2] {
            let mut said = say(&ground, place, version, &[]).await;
            said.server.send(sent).await;
            if strict() {
                both_close(said.client, said.server).await;
            } else {
                super::arrive(&mut said.client, arriving).await;
                fence(&mut said.client, &mut said.server).await;
            }
        }
    }
}

async fn what_3_1_does_not_use_is_cleared(version: Version) {
    let ground = ground(|setup| setup).await;
    let will = Connect::new(version, "c")
        .will("w", "bye", 1, false)
        .bytes();
    for place in PLACES {
        // each flag that is not used; `E1 00` is a goodbye, so that no will is published
        for (sent, meant) in [
            ("800800010003732f6100", "820800010003732f6100"),
            ("8f0800010003732f6100", "820800010003732f6100"),
            ("a00700010003732f61", "a20700010003732f61"),
            ("60020007", "62020007"),
            ("410200074f020007", "40020007"),
            ("c300", "c000"),
            ("e100", "e000"),
            ("ef00", "e000"),
        ] {
            let (sent, meant) = (hex(sent), hex(meant));
            let answer = connack(version, 0);
            let mut said = Said::new(&ground, place, version, &will, &answer, &sent).await;
            if strict() {
                both_close(said.client, said.server).await;
                continue;
            }
            said.server.expect(&meant).await;
            if sent.len() > meant.len() {
                said.server.expect(&meant).await;
            }
            if meant[0] == 0xe0 {
                both_close(said.client, said.server).await;
            }
        }
        // will retain without a will; will QoS; both, and QoS 3
        for flags in [0x22, 0x0a, 0x3a, 0x1a] {
            let mut found = hex("101400064d51497364700322003c0006633030303030");
            found[11] = flags;
            if strict() {
                let mut client = link(&ground.mproxy, place, version).await;
                place.0.send(&mut client, &found).await;
                client.closed().await;
                continue;
            }
            let answer = connack(version, 0);
            let said = Said::new(&ground, place, version, &found, &answer, &[]).await;
            assert_eq!((said.connect, said.connack), (hello(version), answer));
        }
    }
}

/// The same bytes where they have been reserved: nobody knows what they are to mean.
async fn later_versions_have_reserved_it(version: Version) {
    let ground = ground(|setup| setup).await;
    for place in PLACES {
        for sent in [
            "8008", "8f08", "a007", "6002", "4102", "c300", "e100", "ef00",
        ] {
            let said = say(&ground, place, version, &hex(sent)).await;
            sent_away(said.client, &[0x81]).await;
            said.server.closed().await;
        }
        for flags in [0x22, 0x0a, 0x3a] {
            let mut found = hello(version);
            found[9] = flags;
            let mut client = link(&ground.mproxy, place, version).await;
            place.0.send(&mut client, &found).await;
            crate::ground::turned_away(client, None, &[0x81]).await;
        }
    }
}

async fn a_session_that_cannot_be_is_cleared(version: Version) {
    let ground = ground(|setup| setup).await;
    let none = no_properties(version);
    let answer = |flags, code| [&[0x20, 2 + none.len() as u8, flags, code][..], none].concat();
    let refusal = if version.is_v5() { 0x87 } else { 5 };
    let persistent = Connect::new(version, "c").persistent().bytes();
    for place in PLACES {
        for (connect, code, cleared) in [
            (hello(version), 0, true),
            (hello(version), refusal, true),
            (persistent.clone(), refusal, true),
            // there may be one
            (persistent.clone(), 0, false),
        ] {
            let mut client = link(&ground.mproxy, place, version).await;
            place.0.send(&mut client, &connect).await;
            let mut server = ground.broker.session().await;
            server.expect(&connect).await;
            // a byte at a time, as a slow broker does
            for byte in answer(1, code) {
                server.send(&[byte]).await;
            }
            if cleared && strict() {
                both_close(client, server).await;
                continue;
            }
            client.expect(&answer(u8::from(!cleared), code)).await;
            if code == 0 {
                fence(&mut client, &mut server).await;
            } else {
                both_close(client, server).await;
            }
        }
    }
}
