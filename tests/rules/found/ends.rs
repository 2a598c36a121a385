//! Brokers and proxies that go away: clients must come back, and they do when nobody tells them
//! anything.

use mproxy_tests::FakeBroker;
use mproxy_tests::wire::{PINGREQ, Publish, Version, connack, pubrec};
use rustix::process::Signal;

use super::{PLACES, Said, ground, hello, link, say};
use crate::ground::{Ground, fence, sent_away};
use crate::packets::no_properties;

tests! {
    a_client_gets_in_when_the_broker_is_back [c1] in all;
    a_broker_that_is_of_no_use_closes [c1] in all;
    a_broker_that_stops_closes [c2] in all;
    a_proxy_that_stops_closes [c3] in all;
    a_session_that_is_taken_over_closes [c4] in all;
}

/// MQTT.js 5 and `mosquitto_sub` end for good at CONNACK 3 and 0x88.
async fn a_client_gets_in_when_the_broker_is_back(version: Version) {
    let Ground { mproxy, broker } = ground(|setup| setup).await;
    let addr = broker.close();
    for place in PLACES {
        let mut client = link(&mproxy, place, version).await;
        place.0.send(&mut client, &hello(version)).await;
        client.closed().await;
    }
    let broker = FakeBroker::bind_at(addr).await;
    let ground = Ground { mproxy, broker };
    for place in PLACES {
        let mut said = say(&ground, place, version, &[]).await;
        fence(&mut said.client, &mut said.server).await;
    }
}

/// It is there and silent, or closes, resets, stammers, or says something else.
async fn a_broker_that_is_of_no_use_closes(version: Version) {
    let patience = "upstreams.broker.connack_timeout";
    let ground = ground(|setup| setup.set(patience, "500ms")).await;
    let answer = connack(version, 0);
    let failures: [Option<&[u8]>; 7] = [
        None,
        Some(&[]),
        Some(&answer[..1]),
        Some(&answer[..3]),
        Some(b"\x15\x03\x03\0\x02\x02\x46"),
        Some(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        Some(&[0xd0, 0]),
    ];
    for place in PLACES {
        for failure in failures {
            for reset in [false, true] {
                let mut client = link(&ground.mproxy, place, version).await;
                place.0.send(&mut client, &hello(version)).await;
                let mut server = ground.broker.session().await;
                server.expect(&hello(version)).await;
                let Some(bytes) = failure else {
                    if !reset {
                        client.closed().await;
                    }
                    continue;
                };
                server.send(bytes).await;
                if reset {
                    server.reset();
                } else {
                    drop(server);
                }
                client.closed().await;
            }
        }
    }
}

/// libmosquitto's loop ends for good at any DISCONNECT.
async fn a_broker_that_stops_closes(version: Version) {
    let ground = ground(|setup| setup).await;
    let none = no_properties(version);
    let large = Publish::new(version, "t").bytes(vec![7; 100_000]);
    let request = [&[0x82, 6 + none.len() as u8, 0, 1][..], none, b"\0\x01t\0"].concat();
    for place in PLACES {
        for reset in [false, true] {
            // idle; with a request, and with an exchange that is not finished; within a delivery
            for (said, last) in [
                (&[][..], &[][..]),
                (&request, &[]),
                (&Publish::new(version, "t").qos(2, 7).bytes("x"), &pubrec(7)),
                (&PINGREQ, &large[..30_000]),
            ] {
                let Said {
                    client, mut server, ..
                } = say(&ground, place, version, said).await;
                if !said.is_empty() {
                    server.expect(said).await;
                }
                server.send(last).await;
                if reset {
                    server.reset();
                } else {
                    drop(server);
                }
                let (packets, rest) = client.rest().await;
                let told = packets.iter().map(|it| it.bytes().to_vec());
                let told: Vec<_> = told.filter(|it| it != last).collect();
                assert!(told.is_empty(), "{place:?}: {told:02x?}");
                // half a delivery is not passed, or is all of the end
                if last.len() < 1000 {
                    assert_eq!(rest, mproxy_tests::Rest::Clean, "{place:?}");
                }
            }
        }
    }
}

/// A drain is a restart, mostly.
async fn a_proxy_that_stops_closes(version: Version) {
    for part in [&[][..], &[0x30, 9, 0]] {
        let ground = ground(|setup| setup).await;
        let mut inside = Vec::new();
        for place in PLACES {
            inside.push(say(&ground, place, version, part).await);
        }
        // one that waits for its CONNACK, and one that has not said a word
        let mut waiting = link(&ground.mproxy, PLACES[0], version).await;
        waiting.send(&hello(version)).await;
        let mut server = ground.broker.session().await;
        server.expect(&hello(version)).await;
        ground.mproxy.signal(Signal::TERM);
        for said in inside {
            said.client.closed().await;
        }
        waiting.closed().await;
    }
}

/// mosquitto 2.0.11 says nothing to the old connection; later ones say 0x8E, which passes.
async fn a_session_that_is_taken_over_closes(version: Version) {
    let ground = ground(|setup| setup).await;
    for place in PLACES {
        for is_told in [false, version.is_v5()] {
            let mut old = say(&ground, place, version, &[]).await;
            let mut new = say(&ground, place, version, &[]).await;
            if is_told {
                old.server.send(&[0xe0, 1, 0x8e]).await;
            }
            drop(old.server);
            if is_told {
                sent_away(old.client, &[0x8e]).await;
            } else {
                old.client.closed().await;
            }
            fence(&mut new.client, &mut new.server).await;
        }
    }
}
