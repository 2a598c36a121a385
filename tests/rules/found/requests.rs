//! SUBSCRIBE and UNSUBSCRIBE that do not wait for each other.

use mproxy_tests::wire::{PINGRESP, Version, suback, subscribe, unsubscribe};
use mproxy_tests::{memory, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{PLACES, Place, Way, arrive, ground, hex, say};
use crate::ground::{Ground, fence, sent_away};

tests! {
    one_identifier_for_all_is_answered [c7] in all;
    a_repetition_of_3_1_is_answered [c8] in all;
    a_repetition_before_its_answer_is_answered [c9] in all;
    long_lists_of_subscriptions_are_granted [c10] in all;
}

/// A request as 3.x has it, in the form of a version: with an empty block of properties in 5.0.
fn request(version: Version, digits: &str) -> Vec<u8> {
    let mut packet = hex(digits);
    if version.is_v5() {
        packet[1] += 1;
        packet.insert(4, 0);
    }
    packet
}

/// What the broker answers to one request with one filter.
fn answer(version: Version, request: &[u8], code: u8) -> Vec<u8> {
    let id = u16::from_be_bytes([request[2], request[3]]);
    let is_unsubscribe = request[0] & 0xf0 == 0xa0;
    if is_unsubscribe && !version.is_v5() {
        return vec![0xb0, 2, request[2], request[3]];
    }
    // UNSUBACK knows 0x11, no subscription existed
    let code = if is_unsubscribe && code > 0 {
        0x11
    } else {
        code
    };
    let mut packet = suback(version, id, &[code]);
    if is_unsubscribe {
        packet[0] = 0xb0;
    }
    packet
}

/// Sends requests in one go, all of which arrive like this before any is answered, and get answers
/// that differ, in order.
async fn answered(
    ground: &Ground,
    place: Place,
    version: Version,
    requests: &[Vec<u8>],
    arriving: &[Vec<u8>],
) {
    let mut said = say(ground, place, version, &requests.concat()).await;
    arrive(&mut said.server, arriving).await;
    let answers: Vec<_> = (0..)
        .zip(arriving)
        .map(|(number, request)| answer(version, request, number % 3))
        .collect();
    for answer in &answers {
        said.server.send(answer).await;
        said.client.expect(answer).await;
    }
    fence(&mut said.client, &mut said.server).await;
}

async fn one_identifier_for_all_is_answered(version: Version) {
    let ground = ground(|setup| setup).await;
    let v = |digits| request(version, digits);
    let cases = [
        vec![v("820800010003732f6100"), v("820800010003732f6201")],
        vec![v("8209002a000465762f6100"), v("8209002a000465762f6200")],
        // the same with both types between each other, and of each three
        vec![
            v("820800010003732f6100"),
            v("a20700010003732f61"),
            v("820800010003732f6102"),
            v("a20700010003732f62"),
            v("820800010003732f6101"),
            v("a20700010003732f61"),
        ],
        // the highest identifier, and another one between
        vec![
            v("8208ffff0003732f6100"),
            v("820800010003732f6100"),
            v("8208ffff0003732f6100"),
        ],
    ];
    for place in PLACES {
        for requests in &cases {
            answered(&ground, place, version, requests, requests).await;
        }
    }
    // one of them is refused, and answered in its turn
    let refused = if version.is_v5() { 0x87 } else { 0x80 };
    let sent = [
        subscribe(version, 1, &[("s/a", 0)]),
        subscribe(version, 1, &[("denied/x", 0)]),
        subscribe(version, 1, &[("s/b", 1)]),
    ];
    for place in PLACES.into_iter().filter(|(_, at)| at.ends_with("acl")) {
        let mut said = say(&ground, place, version, &sent.concat()).await;
        arrive(&mut said.server, &[sent[0].clone(), sent[2].clone()]).await;
        said.server.send(&PINGRESP).await;
        said.client.expect(&PINGRESP).await;
        said.server.send(&suback(version, 1, &[0])).await;
        said.server.send(&suback(version, 1, &[1])).await;
        for code in [0, refused, 1] {
            said.client.expect(&suback(version, 1, &[code])).await;
        }
    }
}

/// Section 2.1 of MQTT 3.1: a client repeats with DUP what is not answered. Later versions have
/// reserved the bit.
async fn a_repetition_of_3_1_is_answered(version: Version) {
    let ground = ground(|setup| setup).await;
    for digits in [
        ["820800090003732f6101", "8a0800090003732f6101"],
        ["a20700090003732f61", "aa0700090003732f61"],
        // the first was lost on the way here
        ["8a0800090003732f6101", "8a0800090003732f6101"],
        ["8a0800090003732f6101", "aa0700090003732f61"],
    ] {
        let requests = digits.map(|digits| request(version, digits));
        for place in PLACES {
            if version == Version::V31 {
                let arriving = requests.clone().map(|mut request| {
                    request[0] &= !0x08;
                    request
                });
                answered(&ground, place, version, &requests, &arriving).await;
                continue;
            }
            let said = say(&ground, place, version, &requests.concat()).await;
            sent_away(said.client, &[0x81]).await;
        }
    }
}

async fn a_repetition_before_its_answer_is_answered(version: Version) {
    let ground = ground(|setup| setup).await;
    for digits in ["820c000700076573702f636d6401", "a20b000700076573702f636d64"] {
        let again = request(version, digits);
        for count in [2, 5] {
            for (way, listener) in PLACES {
                let place = (way, listener);
                let mut said = say(&ground, place, version, &again).await;
                said.server.expect(&again).await;
                // the answer is on its way for longer than the client waits
                for _ in 1..count {
                    way.send(&mut said.client, &again).await;
                    said.server.expect(&again).await;
                }
                let answers = vec![answer(version, &again, 1); count];
                said.server.send(&answers.concat()).await;
                arrive(&mut said.client, &answers).await;
                fence(&mut said.client, &mut said.server).await;
            }
        }
    }
}

/// As paho sends them from a list: at once. What waits is bounded, and the client gets everything.
async fn long_lists_of_subscriptions_are_granted(version: Version) {
    let ground = ground(|setup| setup).await;
    for (way, listener) in PLACES {
        if matches!(way, Way::Dripped | Way::Ws) {
            continue; // raw sockets below
        }
        for (count, unsubscribes, one_id) in [
            (5_000, false, false),
            (14_000, false, false),
            (14_000, true, false),
            (14_000, false, true),
        ] {
            let id = |number: u16| if one_id { 1 } else { number };
            let requests: Vec<_> = (1..=count)
                .map(|number| {
                    let topic = format!("list/{number:05}");
                    if unsubscribes {
                        unsubscribe(version, id(number), &[&topic])
                    } else {
                        subscribe(version, id(number), &[(&topic, 1)])
                    }
                })
                .collect();
            let answers: Vec<_> = requests
                .iter()
                .map(|request| answer(version, request, 1))
                .collect();
            let said = say(&ground, (Way::Tcp, listener), version, &[]).await;
            let before = memory::used_kib(ground.mproxy.id());
            let (mut client, _) = said.client.into_tcp();
            let (mut server, _) = said.server.into_tcp();
            let (mut read, mut write) = client.split();
            let sent = requests.concat();
            let granted = answers.concat();
            let asking = async {
                let mut received = vec![0; granted.len()];
                let both = tokio::join!(write.write_all(&sent), read.read_exact(&mut received));
                both.0.expect("it is taken");
                both.1.expect("all of it comes");
                assert!(received == granted, "other answers");
            };
            let answering = async {
                for (request, answer) in requests.iter().zip(&answers) {
                    let mut received = vec![0; request.len()];
                    server.read_exact(&mut received).await.expect("a request");
                    assert!(received == *request, "another request");
                    server.write_all(answer).await.expect("it is taken");
                }
            };
            within("the answers", async { tokio::join!(asking, answering) }).await;
            let grown = memory::used_kib(ground.mproxy.id()).saturating_sub(before);
            assert!(grown < 8 * 1024, "{grown} KiB for {count} at {listener}");
        }
    }
}
