//! SUBSCRIBE and UNSUBSCRIBE under way: identifiers that are used again, answers in order, and more
//! requests than the proxy remembers.

use std::time::Duration;

use mproxy_codec::{
    Direction, Kind, KindSet, QoS, ReasonCode, Subscription, SubscriptionOptions, Version,
};
use mproxy_session::{
    BoxError, CloseReason, Conformance, Forward, Hooks, Limits, OnSubscribeLayer, Packet, Tap,
    Verdict,
};
use tower::{Layer, service_fn};

use crate::support::frames::ConnectParts;
use crate::support::{CONFORMANCES, Frames, Pair, Setup, admit, admit_all, hex, settle};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

/// Whether hooks look at requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Untapped,
    Tapped,
}

const FORMS: [Form; 2] = [Form::Untapped, Form::Tapped];

fn all_forms() -> impl Iterator<Item = (Version, Form, Conformance)> {
    VERSIONS.into_iter().flat_map(|version| {
        FORMS
            .into_iter()
            .flat_map(move |form| CONFORMANCES.map(|conformance| (version, form, conformance)))
    })
}

/// An acl that refuses what is below "denied/".
async fn connected(version: Version, form: Form, conformance: Conformance) -> Pair {
    // more refusals than a client may have, of which others tell
    let setup = Setup::new()
        .conformance(conformance)
        .limits(|limits| limits.max_denials = None);
    if form == Form::Untapped {
        return setup.connected(version, admit_all()).await;
    }
    let judge = |entry: Subscription<'_>| match entry.filter.starts_with("denied/") {
        true => Err(ReasonCode::NOT_AUTHORIZED),
        false => Ok(()),
    };
    let admit = admit(move |_| {
        let kinds = KindSet::SUBSCRIBE | KindSet::UNSUBSCRIBE;
        let hook = OnSubscribeLayer::new(judge).layer(Forward);
        Hooks::new(Tap::only(kinds, hook), Tap::none())
    });
    setup.connected(version, admit).await
}

/// C7: clients that count no identifiers, or use 42 for everything, were closed with 0x82 for the
/// second request. Every broker answers both.
#[tokio::test(start_paused = true)]
async fn requests_with_one_identifier_are_all_answered_in_order() {
    for form in FORMS {
        for conformance in CONFORMANCES {
            for sent in [
                hex("820800010003732f6100 820800010003732f6201"),
                hex("8209002a000465762f6100 8209002a000465762f6200"),
            ] {
                let pair = connected(Version::V311, form, conformance).await;
                pair.client.send(&sent);
                pair.broker.expect(&sent).await;
                let id = u16::from(sent[3]);
                let f = Frames(Version::V311);
                let answers = [f.suback(id, &[0]), f.suback(id, &[1])].concat();
                pair.broker.send(&answers);
                pair.client.expect(&answers).await;
                assert!(pair.is_running());
            }
        }
    }
}

/// A SUBSCRIBE of which some filters were refused was not among what was denied.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_refused_in_part_counts_as_denied() {
    for version in VERSIONS {
        let f = Frames(version);
        let pair = connected(version, Form::Tapped, Conformance::Tolerant).await;
        for (filters, forwarded) in [
            (&["a", "b"][..], true),
            (&["a", "denied/x", "denied/y"], true),
            (&["denied/x", "denied/y"], false),
        ] {
            pair.client.send(&f.subscribe(7, filters));
            if forwarded {
                let left: Vec<_> = filters.iter().copied().filter(|it| it.len() == 1).collect();
                pair.broker.expect(&f.subscribe(7, &left)).await;
                pair.broker.send(&f.suback(7, &vec![1; left.len()]));
            }
            settle().await;
        }
        pair.client.send(&f.disconnect());
        let summary = pair.end().await;
        assert_eq!(summary.to_server.denied, 2, "{version:?}");
    }
}

/// What a layer sees of a SUBSCRIBE that the services inside have decided on.
#[test]
fn requested_filters_are_those_of_the_answer() {
    let f = Frames(Version::V5);
    let frame = f.subscribe(7, &["a", "b", "c"]);
    let mut packet = Packet::parse(Version::V5, Direction::ToServer, frame.into()).expect("valid");
    let none = [("a", None), ("b", None), ("c", None)];
    assert_eq!(packet.requested_filters(), none);
    packet
        .map_filters(|filter| match filter {
            "a" => Ok(Some("x/a".to_owned())),
            "b" => Err(ReasonCode::NOT_AUTHORIZED),
            _ => Ok(None),
        })
        .expect("filters are left");
    let options = SubscriptionOptions::new(QoS::AtMostOnce);
    packet.add_filter("more", options).expect("it fits");
    let refused = Some(ReasonCode::NOT_AUTHORIZED);
    assert_eq!(
        packet.requested_filters(),
        [("x/a", None), ("b", refused), ("c", None)]
    );
    let other = Packet::parse(Version::V5, Direction::ToServer, f.pingreq().into());
    assert!(other.expect("valid").requested_filters().is_empty());
}

/// A SUBSCRIBE and an UNSUBSCRIBE with one identifier: their answers are told apart by their type, in
/// whatever order they come.
#[tokio::test(start_paused = true)]
async fn a_subscribe_and_an_unsubscribe_may_have_one_identifier() {
    for (version, form, conformance) in all_forms() {
        let f = Frames(version);
        let codes: &[u8] = if version.is_v5() { &[0x11] } else { &[] };
        let (suback, unsuback) = (f.suback(5, &[1]), f.unsuback(5, codes));
        for answers in [
            [suback.clone(), unsuback.clone()].concat(),
            [unsuback, suback].concat(),
        ] {
            let pair = connected(version, form, conformance).await;
            let sent = [f.subscribe(5, &["a"]), f.unsubscribe(5, &["b"])].concat();
            pair.client.send(&sent);
            pair.broker.expect(&sent).await;
            pair.broker.send(&answers);
            pair.client.expect(&answers).await;
            assert!(pair.is_running());
        }
    }
}

/// C8: MQTT 3.1 tells a client to repeat a request with DUP until it is answered (section 3.8). The
/// broker gets it without the bit, which only MQTT 3.1 knows.
#[tokio::test(start_paused = true)]
async fn a_repetition_of_mqtt_3_1_is_answered_like_the_first() {
    let f = Frames(Version::V31);
    for form in FORMS {
        for conformance in CONFORMANCES {
            for (sent, broker, answer) in [
                (
                    "820800090003732f6101 8a0800090003732f6101",
                    "820800090003732f6101 820800090003732f6101",
                    f.suback(9, &[1]),
                ),
                (
                    "a20700090003732f61 aa0700090003732f61",
                    "a20700090003732f61 a20700090003732f61",
                    f.unsuback(9, &[]),
                ),
            ] {
                let pair = connected(Version::V31, form, conformance).await;
                pair.client.send(&hex(sent));
                pair.broker.expect(&hex(broker)).await;
                pair.broker.send(&answer.repeat(2));
                pair.client.expect(&answer.repeat(2)).await;
                assert!(pair.is_running());
            }
        }
    }
}

/// C9: the way held a SUBACK back for 1.5 seconds, the client repeated its SUBSCRIBE after one, as it
/// was, and was closed.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_repeated_while_its_answer_is_on_the_way_is_answered_twice() {
    let subscribe = hex("820c000700076573702f636d6401");
    for form in FORMS {
        let pair = connected(Version::V311, form, Conformance::Tolerant).await;
        pair.client.send(&subscribe);
        pair.broker.expect(&subscribe).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        pair.client.send(&subscribe);
        pair.broker.expect(&subscribe).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        for _ in 0..2 {
            let answer = Frames(Version::V311).suback(7, &[1]);
            pair.broker.send(&answer);
            pair.client.expect(&answer).await;
        }
        assert!(pair.is_running());
    }
}

/// Ten requests with one identifier, of which an acl refuses some in part and some as a whole: a
/// refusal that the proxy could send at once waits until those before it are answered, or the client
/// would take it for the answer to the first.
#[tokio::test(start_paused = true)]
async fn a_refusal_waits_for_the_answers_in_front_of_it() {
    for version in VERSIONS {
        for conformance in CONFORMANCES {
            let f = Frames(version);
            let no = if version.is_v5() { 0x87 } else { 0x80 };
            let pair = connected(version, Form::Tapped, conformance).await;
            let kinds: [&[&str]; 10] = [
                &["a"],
                &["denied/1"],
                &["denied/1", "b"],
                &["denied/1"],
                &["denied/1", "denied/2"],
                &["c", "d"],
                &["a"],
                &["b", "denied/1", "c"],
                &["denied/1"],
                &["e"],
            ];
            let sent: Vec<u8> = kinds
                .iter()
                .flat_map(|filters| f.subscribe(42, filters))
                .collect();
            pair.client.send(&sent);
            let forwarded: [&[&str]; 6] =
                [&["a"], &["b"], &["c", "d"], &["a"], &["b", "c"], &["e"]];
            let wanted: Vec<u8> = forwarded
                .iter()
                .flat_map(|filters| f.subscribe(42, filters))
                .collect();
            pair.broker.expect(&wanted).await;
            pair.client.expect(b"").await;
            // what the broker answers, and what the client gets because of it
            let steps: [(&[u8], &[&[u8]]); 6] = [
                (&[0], &[&[0], &[no]]),
                (&[1], &[&[no, 1], &[no], &[no, no]]),
                (&[0, 1], &[&[0, 1]]),
                (&[2], &[&[2]]),
                (&[0, 1], &[&[0, no, 1], &[no]]),
                (&[1], &[&[1]]),
            ];
            for (codes, answers) in steps {
                pair.broker.send(&f.suback(42, codes));
                let answers: Vec<u8> = answers
                    .iter()
                    .flat_map(|codes| f.suback(42, codes))
                    .collect();
                pair.client.expect(&answers).await;
            }
            // and when nothing is under way it is sent at once
            pair.client.send(&f.subscribe(42, &["denied/1"]));
            pair.client.expect(&f.suback(42, &[no])).await;
            assert!(pair.is_running());
        }
    }
}

/// The same ten times over, answered in one read: the answers of the proxy stand between those of the
/// broker.
#[tokio::test(start_paused = true)]
async fn refusals_stand_between_answers_of_one_read() {
    for version in VERSIONS {
        for chunk in [1, 7, usize::MAX] {
            let f = Frames(version);
            let no = if version.is_v5() { 0x87 } else { 0x80 };
            let pair = connected(version, Form::Tapped, Conformance::Tolerant).await;
            pair.broker.set_chunks([], chunk);
            let both = [f.subscribe(7, &["a"]), f.subscribe(7, &["denied/1"])];
            pair.client.send(&both.concat().repeat(10));
            pair.broker.expect(&f.subscribe(7, &["a"]).repeat(10)).await;
            pair.client.expect(b"").await;
            let publish = f.publish("a", 0, 0, b"x");
            pair.broker
                .send(&[f.suback(7, &[1]), publish.clone()].concat().repeat(10));
            let wanted = [f.suback(7, &[1]), f.suback(7, &[no]), publish].concat();
            pair.client.expect(&wanted.repeat(10)).await;
        }
    }
}

/// An answer of the proxy waits as well while a hook holds the answer in front of it.
#[tokio::test(start_paused = true)]
async fn a_refusal_waits_for_a_hook_that_holds_the_answer_in_front_of_it() {
    let f = Frames(Version::V5);
    let gate = crate::support::hooks::Gate::new();
    let held = gate.clone();
    let judge = |entry: Subscription<'_>| match entry.filter.starts_with("denied/") {
        true => Err(ReasonCode::NOT_AUTHORIZED),
        false => Ok(()),
    };
    let admit = admit(move |_| {
        let gate = held.clone();
        let down = service_fn(move |packet: Packet| {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                Ok::<_, BoxError>(Verdict::Forward(packet))
            }
        });
        let up = OnSubscribeLayer::new(judge).layer(Forward);
        Hooks::new(
            Tap::only(KindSet::SUBSCRIBE, up),
            Tap::only(KindSet::of(Kind::Suback), down),
        )
    });
    let pair = Setup::new().connected(Version::V5, admit).await;
    pair.client
        .send(&[f.subscribe(7, &["a"]), f.subscribe(7, &["denied/1"])].concat());
    pair.broker.expect(&f.subscribe(7, &["a"])).await;
    pair.broker.send(&f.suback(7, &[1]));
    pair.client.expect(b"").await;
    gate.open(1);
    let answers = [f.suback(7, &[1]), f.suback(7, &[0x87])].concat();
    pair.client.expect(&answers).await;
}

const MANY: u16 = 20_000;
/// How many requests of this size the proxy remembers: 256 KiB, and each takes 64 bytes more.
fn remembered(size: usize) -> u16 {
    u16::try_from((256_usize << 10).div_ceil(64 + size)).expect("small")
}

fn many(f: Frames) -> Vec<u8> {
    (1..=MANY)
        .flat_map(|id| f.subscribe(id, &["t/1"]))
        .collect()
}

fn answers(f: Frames, ids: impl Iterator<Item = u16>) -> Vec<u8> {
    ids.flat_map(|id| f.suback(id, &[1])).collect()
}

/// C10: a client with 14,000 subscriptions sends one SUBSCRIBE each and waits for no answer. The proxy
/// closed it at 4,096 with 0x97, it came back and sent the same, forever. Now all are forwarded; what
/// the proxy must remember stops the reading until half of it is answered, and nothing that stands
/// behind is lost.
#[tokio::test(start_paused = true)]
async fn any_number_of_requests_is_forwarded_and_answered() {
    for (version, form, conformance) in all_forms() {
        let f = Frames(version);
        let pair = connected(version, form, conformance).await;
        let sent = many(f);
        let size = sent.len() / usize::from(MANY);
        pair.client.send(&sent);
        pair.client.send(&f.pingreq());
        let remembers = form == Form::Tapped || conformance == Conformance::Strict;
        if !remembers {
            pair.broker.expect(&[sent, f.pingreq()].concat()).await;
            let all = answers(f, 1..=MANY);
            pair.broker.send(&[all.clone(), f.pingresp()].concat());
            pair.client.expect(&[all, f.pingresp()].concat()).await;
            assert!(pair.is_running());
            continue;
        }
        let mut received = pair.broker.take().await;
        let remembered = remembered(size);
        assert_eq!(received.len(), size * usize::from(remembered));
        assert!(pair.client.unread() > 0, "the client is not read");
        // a client that is not read cannot be blamed for its silence, which its keep alive of a
        // minute is about, as long as the broker answers now and then
        let slowly = 1..=20;
        for id in slowly.clone() {
            tokio::time::sleep(Duration::from_secs(50)).await;
            pair.broker.send(&answers(f, id..=id));
            pair.client.expect(&answers(f, id..=id)).await;
        }
        assert!(pair.is_running());
        // half of the answers and no more make room
        let room = remembered - u16::try_from((128 << 10) / (64 + size)).expect("small");
        let behind = slowly.end() + 1;
        pair.broker.send(&answers(f, behind..=room - 1));
        pair.client.expect(&answers(f, behind..=room - 1)).await;
        pair.broker.expect(b"").await;
        let mut answered = room - 1;
        while answered < MANY {
            let upto = u16::try_from(received.len() / size).expect("small");
            pair.broker.send(&answers(f, answered + 1..=upto));
            pair.client.expect(&answers(f, answered + 1..=upto)).await;
            answered = upto;
            received.extend(pair.broker.take().await);
            let waiting = (received.len() / size).saturating_sub(answered.into());
            assert!(
                waiting <= usize::from(remembered),
                "{waiting} are under way"
            );
        }
        assert_eq!(received, [sent, f.pingreq()].concat());
        pair.broker.send(&f.pingresp());
        pair.client.expect(&f.pingresp()).await;
        // it is read, and its silence counts again
        tokio::time::sleep(Duration::from_secs(121)).await;
        settle().await;
        assert!(pair.client.is_ended());
        assert_eq!(pair.end().await.reason, CloseReason::KeepaliveTimeout);
    }
}

/// A client that is not read is not heard either, not even when it is gone: a broker that answers none
/// of thousands of requests within the time for a write ends that.
#[tokio::test(start_paused = true)]
async fn a_broker_that_answers_no_request_ends_a_session_that_waits_for_it() {
    for conformance in CONFORMANCES {
        let f = Frames(Version::V5);
        let pair = connected(Version::V5, Form::Tapped, conformance).await;
        pair.client.send(&many(f));
        let _ = pair.broker.take().await;
        // what else it sends is no answer
        let half = Limits::default().write_timeout / 2;
        for _ in 0..2 {
            tokio::time::sleep(half - Duration::from_secs(1)).await;
            pair.broker.send(&f.publish("t/1", 0, 0, b"x"));
            pair.client.expect(&f.publish("t/1", 0, 0, b"x")).await;
            assert!(pair.is_running());
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        settle().await;
        let told = conformance == Conformance::Strict;
        let farewell = if told { f.farewell(0x80) } else { Vec::new() };
        pair.client.expect_plain(&farewell).await;
        let summary = pair.end().await;
        assert_eq!(summary.reason, CloseReason::WriteTimeout);
        assert_eq!(summary.limit, Some("write_timeout"));
    }
}

/// Of 20,000 requests an acl refuses every third: the client has the refusals before the answers that
/// it has not waited for, because no identifier is used twice.
#[tokio::test(start_paused = true)]
async fn refusals_among_many_requests_are_all_sent() {
    let f = Frames(Version::V311);
    let pair = connected(Version::V311, Form::Tapped, Conformance::Tolerant).await;
    let is_denied = |id: &u16| id.is_multiple_of(3);
    let sent: Vec<u8> = (1..=MANY)
        .flat_map(|id| f.subscribe(id, &[if is_denied(&id) { "denied/1" } else { "t/1" }]))
        .collect();
    pair.client.send(&sent);
    let (mut forwarded, mut answered) = (Vec::new(), Vec::new());
    loop {
        let came = pair.broker.take().await;
        answered.extend(pair.client.take().await);
        if came.is_empty() {
            break;
        }
        // each with a filter of three letters is as long
        let size = f.subscribe(1, &["t/1"]).len();
        for subscribe in came.chunks(size) {
            let id = u16::from_be_bytes([subscribe[2], subscribe[3]]);
            pair.broker.send(&f.suback(id, &[1]));
        }
        forwarded.extend(came);
    }
    let wanted: Vec<u8> = (1..=MANY)
        .filter(|id| !is_denied(id))
        .flat_map(|id| f.subscribe(id, &["t/1"]))
        .collect();
    assert_eq!(forwarded, wanted);
    let mut answered: Vec<&[u8]> = answered.chunks(5).collect();
    answered.sort_unstable_by_key(|suback| u16::from_be_bytes([suback[2], suback[3]]));
    let wanted = (1..=MANY).map(|id| f.suback(id, &[if is_denied(&id) { 0x80 } else { 1 }]));
    assert_eq!(answered.concat(), wanted.flatten().collect::<Vec<u8>>());
    assert!(pair.is_running());
}

/// A client that goes while it is not read: what it sent before is forwarded as answers make room, and
/// only then is the broker told.
#[tokio::test(start_paused = true)]
async fn what_waits_behind_too_many_requests_survives_the_end_of_the_client() {
    let f = Frames(Version::V311);
    let pair = connected(Version::V311, Form::Tapped, Conformance::Tolerant).await;
    let sent = [many(f), f.publish("last", 1, 7, b"word")].concat();
    pair.client.send(&sent);
    pair.client.finish();
    let size = f.subscribe(1, &["t/1"]).len();
    let mut received = pair.broker.take().await;
    let mut answered = 0;
    while received.len() < sent.len() {
        assert!(!pair.broker.is_ended());
        let upto = u16::try_from(received.len() / size).expect("small");
        assert!(upto > answered, "stuck at {upto}");
        pair.broker.send(&answers(f, answered + 1..=upto));
        answered = upto;
        received.extend(pair.broker.take().await);
    }
    assert_eq!(received, sent);
    assert!(pair.broker.is_ended());
    assert_eq!(pair.end().await.reason, CloseReason::Eof);
}

/// A broker that is slow to read is not sent for: of what a client sends at once, the proxy holds what
/// it holds of anything else.
#[tokio::test(start_paused = true)]
async fn a_broker_that_is_slow_to_read_requests_stops_the_reading() {
    let f = Frames(Version::V311);
    for form in FORMS {
        let pair = connected(Version::V311, form, Conformance::Tolerant).await;
        pair.broker.set_capacity(1000);
        let sent = many(f);
        pair.client.send(&sent);
        settle().await;
        let held = sent.len() - pair.client.unread();
        assert!(held <= 2 * 64 * 1024, "{held} bytes were read");
        assert!(pair.broker.peak() <= 1000);
    }
}

/// An order to end is obeyed while the client is not read.
#[tokio::test(start_paused = true)]
async fn a_client_that_is_not_read_can_be_sent_away() {
    let f = Frames(Version::V5);
    let pair = connected(Version::V5, Form::Tapped, Conformance::Tolerant).await;
    pair.client.send(&many(f));
    pair.broker.take().await;
    pair.handle.close(mproxy_session::Order::kick());
    pair.client.expect(&f.farewell(0x98)).await;
    assert!(pair.client.is_ended() && pair.broker.is_ended());
}

/// A broker that is gone is noticed while the client is not read.
#[tokio::test(start_paused = true)]
async fn a_broker_that_goes_while_the_client_is_not_read_ends_the_session() {
    let f = Frames(Version::V5);
    let connect = f.connect_with(&ConnectParts {
        client_id: "c",
        ..Default::default()
    });
    for broken in [false, true] {
        let admit = admit(|_| Hooks::new(Tap::only(KindSet::SUBSCRIBE, Forward), Tap::none()));
        let pair = Setup::new().start(admit);
        pair.open(&connect, &f.connack()).await;
        pair.client.send(&many(f));
        pair.broker.take().await;
        if broken {
            pair.broker.reset()
        } else {
            pair.broker.finish()
        }
        pair.client.expect(b"").await;
        assert!(pair.client.is_ended() && pair.broker.is_ended());
        assert_eq!(pair.end().await.reason, CloseReason::UpstreamEof);
    }
}
