//! A34: a PUBLISH of QoS 2 that is sent again, and refused.

use mproxy_tests::wire::{Version, connack, frame, pubcomp, pubrec, pubrel};
use mproxy_tests::{Link, Mosquitto, Rest, Setup};

use super::{ALL, RULES, Rig, Way, heard, nothing_arrives, observer, ways};

/// CONNACK of a session that was there already; 3.1 has no word for it.
fn resumed(way: Way) -> Vec<u8> {
    match way.version {
        Version::V31 => connack(way.version, 0),
        Version::V311 => frame(0x20, &[1, 0]),
        Version::V5 => frame(0x20, &[1, 0, 3, 0x22, 0, 10]),
    }
}

/// How PUBREC refuses the identifier 7.
fn refusal(way: Way) -> Vec<u8> {
    if way.version.is_v5() {
        vec![0x50, 3, 0, 7, 0x87]
    } else {
        pubrec(7)
    }
}

/// Whoever was told that its message was received goes on; to a refusal of 5.0 there is no more to
/// say.
async fn release(client: &mut Link) {
    if !client.version().is_v5() {
        client.send(&pubrel(7)).await;
        client.expect(&pubcomp(7)).await;
    }
}

/// The broker is made to forget what it may have of an earlier copy, so that the identifier can be
/// used again; the message itself does not reach it.
#[tokio::test]
async fn a34_a_refused_publish_that_is_sent_again_after_a_reconnect() {
    let rig = Rig::start().await;
    for way in ways(ALL) {
        let connect = way.connect("d7").persistent();
        let denied = way.publish("denied/x").qos(2, 7);
        // refused, and the client does not get to know
        let (mut client, mut server) = rig.session(way, &connect).await;
        client.send(&denied.bytes("no")).await;
        let heard = nothing_arrives(&mut client, &mut server).await;
        assert_eq!(heard.len(), 1, "{way:?}: {heard:?}");
        client.reset();
        assert_eq!(server.rest().await, (Vec::new(), Rest::Clean), "{way:?}");

        let (mut client, mut server) = rig.answered(way, &connect, &resumed(way)).await;
        client.send(&denied.clone().dup().bytes("no")).await;
        if way.version != Version::V31 {
            server.expect(&pubrel(7)).await;
            server.send(&pubcomp(7)).await;
        }
        client.expect(&refusal(way)).await;
        release(&mut client).await;
        assert!(nothing_arrives(&mut client, &mut server).await.is_empty());

        // another message of that identifier
        let allowed = way.publish("open/x").qos(2, 7).bytes("yes");
        client.send(&allowed).await;
        server.expect(&allowed).await;
        server.send(&pubrec(7)).await;
        client.expect(&pubrec(7)).await;
        client.send(&pubrel(7)).await;
        server.expect(&pubrel(7)).await;
        server.send(&pubcomp(7)).await;
        client.expect(&pubcomp(7)).await;
    }
}

/// Whether the first copy was refused as well, or taken while it was allowed: what comes behind
/// arrives, and arrives as what it is.
#[tokio::test]
async fn a34_before_a_broker_that_may_have_the_first_copy() {
    let broker = Mosquitto::start().await;
    let before = || Setup::before(&broker.url()).websocket();
    let (lax, strict) = (before().start().await, before().toml(RULES).start().await);
    let mut observer = observer(&broker).await;
    for way in ways(ALL) {
        for taken in [false, true] {
            let name = format!("{way:?} {taken}");
            let connect = way.connect(&name).persistent();
            let message = way.publish("denied/x").qos(2, 7);
            let mut client = way.link(if taken { &lax } else { &strict }).await;
            client.connect(&connect).await;
            client.send(&message.bytes(&name)).await;
            let answer = client.packet().await;
            assert_eq!((answer.kind(), answer.id()), (5, 7), "{name}");
            client.reset();

            let mut client = way.link(&strict).await;
            let answer = client.connect(&connect).await;
            let present = way.version != Version::V31;
            assert_eq!(answer.body()[0] == 1, present, "{name}: {answer:?}");
            client.send(&message.dup().bytes(&name)).await;
            client.expect(&refusal(way)).await;
            release(&mut client).await;
            // the exchange that the broker had begun was allowed, and is at its end
            if taken && present {
                heard(&mut observer, "denied/x", &name).await;
            }
            let allowed = way.publish("open/x").qos(2, 7);
            client.send(&allowed.bytes(&name)).await;
            let answer = client.packet().await;
            assert_eq!(answer.bytes(), pubrec(7), "{name}");
            client.send(&pubrel(7)).await;
            client.expect(&pubcomp(7)).await;
            heard(&mut observer, "open/x", &name).await;
            client.leave().await;
        }
    }
}
