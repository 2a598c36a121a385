//! More messages at once than the broker announced, and large ones.

use mproxy_tests::wire::{Publish, Version, puback, pubcomp, pubrec, pubrel};

use super::{PLACES, Said, arrive, ground, hello, hex};
use crate::ground::fence;
use crate::packets::accepted;

tests! {
    twenty_one_messages_are_acknowledged [c5] in v5;
    a_queue_of_300_is_delivered [c6] in v5;
    a_large_message_is_acknowledged [c18] in all;
}

/// CONNACK with the Receive Maximum of mosquitto, and others.
fn maxima() -> [Vec<u8>; 3] {
    [[0x21, 0, 20], [0x21, 0, 1], [0x21, 0, 19]].map(|property| accepted(&property))
}

async fn twenty_one_messages_are_acknowledged(version: Version) {
    let ground = ground(|setup| setup).await;
    let found: Vec<_> = (0..21_u8)
        .map(|number| {
            let text = number.to_string();
            let len = 9 + text.len() as u8;
            let head = [0x32, len, 0, 4, b'r', b'm', b'/', b'x', 0, number + 1, 0];
            [&head[..], text.as_bytes()].concat()
        })
        .collect();
    assert_eq!(found[0], hex("320a0004726d2f7800010030"));
    assert_eq!(found[20], hex("320b0004726d2f780015003230"));
    // QoS 2, and repetitions with DUP
    let exactly_once: Vec<_> = (1..=40)
        .map(|id| Publish::new(version, "rm/x").qos(2, id).bytes("x"))
        .collect();
    let repeated: Vec<_> = (1..=30)
        .flat_map(|id| {
            let publish = Publish::new(version, "rm/x").qos(1, id);
            [publish.bytes("x"), publish.dup().bytes("x")]
        })
        .collect();
    for place in PLACES {
        for maximum in maxima() {
            for messages in [&found, &exactly_once, &repeated] {
                let hello = hello(version);
                let mut said = Said::new(
                    &ground,
                    place,
                    version,
                    &hello,
                    &maximum,
                    &messages.concat(),
                )
                .await;
                assert_eq!((said.connect, said.connack), (hello, maximum.clone()));
                arrive(&mut said.server, messages).await;
                let answers: Vec<_> = messages
                    .iter()
                    .map(|it| (it[0], u16::from(it[8]) << 8 | u16::from(it[9])))
                    .map(|(first, id)| {
                        if first & 4 == 0 {
                            puback(id)
                        } else {
                            pubrec(id)
                        }
                    })
                    .collect();
                said.server.send(&answers.concat()).await;
                arrive(&mut said.client, &answers).await;
                fence(&mut said.client, &mut said.server).await;
            }
        }
    }
}

/// It sends its whole queue, and a broker that answers slowly, in parts or from the end takes all.
async fn a_queue_of_300_is_delivered(version: Version) {
    let ground = ground(|setup| setup).await;
    let queue: Vec<_> = (1..=300)
        .map(|id| Publish::new(version, "x/y").qos(1, id).bytes("queued"))
        .collect();
    for place in PLACES {
        for order in [0, 1] {
            let maximum = accepted(&[0x21, 0, 20]);
            let mut said = Said::new(
                &ground,
                place,
                version,
                &hello(version),
                &maximum,
                &queue.concat(),
            )
            .await;
            arrive(&mut said.server, &queue).await;
            let mut answers: Vec<_> = (1..=300).map(puback).collect();
            if order == 1 {
                answers.reverse();
            }
            for part in answers.chunks(7) {
                said.server.send(&part.concat()).await;
                arrive(&mut said.client, part).await;
            }
            fence(&mut said.client, &mut said.server).await;
        }
    }
}

async fn a_large_message_is_acknowledged(version: Version) {
    let ground = ground(|setup| setup).await;
    let message = |qos, size: usize| {
        let publish = Publish::new(version, "t").qos(qos, 7);
        let head = publish.head(size).len();
        publish.bytes(vec![7; size - head])
    };
    // no byte at a time: that is a matter of minutes
    for place in PLACES
        .into_iter()
        .filter(|(way, _)| *way != super::Way::Dripped)
    {
        for (qos, size) in [(1, 1_100_000), (2, 1_048_577), (0, 3_000_000)] {
            let sent = message(qos, size);
            assert_eq!(sent.len(), size);
            let mut said = super::say(&ground, place, version, &[]).await;
            let (client, server) = (&mut said.client, &mut said.server);
            let (taken, received) = tokio::join!(client.try_send(&sent), server.packet());
            assert!(taken && received.bytes() == sent, "{place:?} {qos} {size}");
            let answers: &[(bool, Vec<u8>)] = match qos {
                0 => &[],
                1 => &[(true, puback(7))],
                _ => &[(true, pubrec(7)), (false, pubrel(7)), (true, pubcomp(7))],
            };
            for (down, answer) in answers {
                let (sender, receiver) = if *down {
                    (&mut *server, &mut *client)
                } else {
                    (&mut *client, &mut *server)
                };
                sender.send(answer).await;
                receiver.expect(answer).await;
            }
            // and as a delivery
            let (taken, received) = tokio::join!(server.try_send(&sent), client.packet());
            assert!(taken && received.bytes() == sent, "{place:?} {qos} {size}");
            fence(client, server).await;
        }
    }
}
