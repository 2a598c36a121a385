//! What is reported: once, and with numbers that are true.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mproxy_codec::{DecodeError, Direction, Kind, KindSet, ReasonCode, Version};
use mproxy_session::{
    Batch, CloseReason, Counters, Events, Hooks, SessionInfo, Side, Tap, WhenUnreachable,
};

use crate::support::hooks::{Gate, Seen, by_topic};
use crate::support::pair::Dial;
use crate::support::{Frames, Pair, Setup, UNREACHABLE, admit, settle};

const F: Frames = Frames(Version::V5);

/// Adds batches up.
#[derive(Default)]
struct Counts {
    batches: [Batch; 2],
    connects: Vec<String>,
    connacks: Vec<(Option<String>, Version, ReasonCode)>,
    endings: Vec<(Side, CloseReason)>,
}

#[derive(Clone, Default)]
struct Counting(Arc<Mutex<Counts>>);

impl Counters for Counting {
    fn record(&self, direction: Direction, batch: &Batch) {
        let mut counts = self.0.lock().expect("not poisoned");
        let sum = &mut counts.batches[usize::from(direction == Direction::ToClient)];
        for kind in 0..16 {
            sum.packets[kind] += batch.packets[kind];
            sum.injected[kind] += batch.injected[kind];
        }
        for qos in 0..3 {
            sum.publishes[qos] += batch.publishes[qos];
        }
        sum.bytes += batch.bytes;
        sum.denied += batch.denied;
        sum.modified += batch.modified;
        sum.stalls += batch.stalls;
    }
}

impl Events for Counting {
    fn connect(&self, session: &SessionInfo) {
        let mut counts = self.0.lock().expect("not poisoned");
        counts.connects.push(session.client_id().to_owned());
    }

    fn connack(&self, session: Option<&SessionInfo>, version: Version, reason: ReasonCode) {
        let client_id = session.map(|session| session.client_id().to_owned());
        self.0
            .lock()
            .expect("not poisoned")
            .connacks
            .push((client_id, version, reason));
    }

    fn ending(&self, side: Side, reason: CloseReason) {
        let mut counts = self.0.lock().expect("not poisoned");
        counts.endings.push((side, reason));
    }
}

async fn counted() -> (Pair, Counting, Seen) {
    let counting = Counting::default();
    let closed = Seen::default();
    let hook = by_topic(&Gate::new(), &Seen::default());
    let notes = closed.clone();
    let pair = Setup::new()
        .recorder(Arc::new(counting.clone()))
        .connected(
            Version::V5,
            admit(move |_| {
                let notes = notes.clone();
                let tap = || Tap::only(KindSet::PUBLISH, hook.clone());
                Hooks::new(tap(), tap()).on_close(move |summary| {
                    notes.push(summary.reason.as_str());
                    async {}
                })
            }),
        )
        .await;
    (pair, counting, closed)
}

fn of(counts: &[u32; 16], kind: Kind) -> u32 {
    counts[usize::from(kind.as_u8())]
}

#[tokio::test(start_paused = true)]
async fn counters_are_true() {
    for chunk in [1, usize::MAX] {
        let (pair, counting, closed) = counted().await;
        pair.client.set_chunks([], chunk);
        pair.broker.set_chunks([], chunk);
        let up = [
            F.publish("a", 0, 0, b"1"),
            F.publish("a", 1, 1, b"2"),
            F.publish("a", 2, 2, b"3"),
            F.publish("denied/x", 1, 3, b"4"),
            F.publish("dropped/x", 0, 0, b"5"),
            F.publish("from/x", 0, 0, b"6"),
            F.pingreq(),
            F.disconnect(),
        ];
        let down = [
            F.publish("a", 0, 0, b"1"),
            F.publish("denied/x", 1, 3, b"4"),
            F.pingresp(),
        ];
        pair.broker.send(&down.concat());
        settle().await;
        pair.client.send(&up.concat());
        settle().await;
        tokio::time::advance(Duration::from_secs(1)).await;
        let summary = pair.end().await;
        assert_eq!(summary.reason, CloseReason::Disconnect);
        assert!(summary.established() && !summary.panicked);
        assert!(summary.duration >= Duration::from_secs(1));

        // CONNECT and CONNACK are packets too
        let connect = F.connect("c").len();
        let connack = F.connack().len();
        let to_server = summary.to_server;
        assert_eq!(to_server.packets, 9);
        assert_eq!(to_server.bytes, (connect + up.concat().len()) as u64);
        assert_eq!((to_server.publishes, to_server.denied), (6, 2));
        let to_client = summary.to_client;
        assert_eq!(to_client.packets, 4);
        assert_eq!(to_client.bytes, (connack + down.concat().len()) as u64);
        assert_eq!((to_client.publishes, to_client.denied), (2, 1));

        let counts = counting.0.lock().expect("not poisoned");
        let [up_sum, down_sum] = &counts.batches;
        assert_eq!(of(&up_sum.packets, Kind::Connect), 1);
        assert_eq!(of(&up_sum.packets, Kind::Publish), 6);
        assert_eq!(of(&up_sum.packets, Kind::Pingreq), 1);
        assert_eq!(of(&up_sum.packets, Kind::Disconnect), 1);
        assert_eq!(up_sum.bytes, to_server.bytes);
        assert_eq!(up_sum.publishes, [2, 1, 1], "forwarded ones");
        assert_eq!((up_sum.denied, up_sum.modified), (2, 1));
        assert_eq!(of(&up_sum.injected, Kind::Puback), 1);
        assert_eq!(of(&down_sum.packets, Kind::Connack), 1);
        assert_eq!(of(&down_sum.packets, Kind::Publish), 2);
        assert_eq!(down_sum.bytes, to_client.bytes);
        assert_eq!(down_sum.publishes, [1, 0, 0]);
        assert_eq!(
            (down_sum.denied, of(&down_sum.injected, Kind::Puback)),
            (1, 1)
        );
        assert_eq!(
            counts.connacks,
            [(Some("c".to_owned()), Version::V5, ReasonCode::SUCCESS)]
        );
        assert_eq!(counts.endings, [(Side::Client, CloseReason::Disconnect)]);
        assert_eq!(closed.take(), ["disconnect"], "reported once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_side_that_was_not_read_is_counted_once_each_time() {
    let (pair, counting, _) = counted().await;
    pair.broker.set_capacity(10);
    pair.client.send(&F.publish("a", 0, 0, &[0; 1000]));
    settle().await;
    pair.broker.set_capacity(usize::MAX);
    pair.broker.take().await;
    pair.broker.set_capacity(10);
    pair.client.send(&F.publish("a", 0, 0, &[0; 1000]));
    settle().await;
    let stalls = counting.0.lock().expect("not poisoned").batches[0].stalls;
    assert_eq!(stalls, 2);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_not_let_in_is_reported_too() {
    for choice in UNREACHABLE {
        let counting = Counting::default();
        let pair = Setup::new()
            .when_unreachable(choice)
            .recorder(Arc::new(counting.clone()))
            .dial(Dial::Refuse)
            .start(crate::support::admit_all());
        pair.client.send(&F.connect("device"));
        pair.client.take().await;
        let summary = pair.end().await;
        assert_eq!(
            summary.session.as_ref().map(|session| session.client_id()),
            Some("device")
        );
        assert_eq!(summary.glimpse, None, "all of the CONNECT is known");
        assert_eq!(summary.peer.to_string(), "unix");
        // a CONNACK is reported and counted when the client gets one
        let unavailable = ReasonCode::SERVER_UNAVAILABLE;
        let told = match choice {
            WhenUnreachable::Close => None,
            WhenUnreachable::Connack => Some(unavailable),
        };
        assert_eq!((summary.connack, summary.reason_code), (told, told));
        assert_eq!(
            (summary.to_server.packets, summary.to_client.packets),
            (1, 0)
        );
        let counts = counting.0.lock().expect("not poisoned");
        let connacks = told.map(|code| (Some("device".to_owned()), Version::V5, code));
        assert_eq!(counts.connacks, connacks.into_iter().collect::<Vec<_>>());
        assert_eq!(of(&counts.batches[0].packets, Kind::Connect), 1);
        assert_eq!(counts.endings, [(summary.side, summary.reason)]);
    }
}

/// A stopped broker does not close its connections, so a session that it fails is over only two
/// seconds after its client was sent away. Whether the broker is well must be known sooner.
#[tokio::test(start_paused = true)]
async fn the_end_is_told_before_the_closing_is_over() {
    let counting = Counting::default();
    let pair = Setup::new()
        .recorder(Arc::new(counting.clone()))
        .limits(|limits| limits.connack_timeout = Duration::from_secs(10))
        .start(crate::support::admit_all());
    pair.client.send(&F.connect("c"));
    pair.broker.take().await;
    let endings = || counting.0.lock().expect("not poisoned").endings.clone();
    tokio::time::advance(Duration::from_secs(9)).await;
    settle().await;
    assert_eq!(endings(), []);
    tokio::time::advance(Duration::from_secs(1)).await;
    settle().await;
    let told = [(Side::Proxy, CloseReason::UpstreamUnreachable)];
    assert_eq!(endings(), told);
    assert!(pair.client.is_ended() && pair.is_running());
    pair.end().await;
    assert_eq!(endings(), told, "told once");
}

/// Notices of several layers: the one added last, which is the outermost, runs first.
#[tokio::test(start_paused = true)]
async fn notices_run_from_the_outside_in_and_once_each() {
    let closed = Seen::default();
    let notes = closed.clone();
    let pair = Setup::new()
        .connected(
            Version::V311,
            admit(move |_| {
                let (inner, outer) = (notes.clone(), notes.clone());
                Hooks::none()
                    .on_close(move |_| {
                        inner.push("inner");
                        async {}
                    })
                    .on_close(move |_| {
                        outer.push("outer");
                        async {}
                    })
            }),
        )
        .await;
    pair.end().await;
    assert_eq!(closed.take(), ["outer", "inner"]);
}

/// Who counts connections without a CONNECT is told when it has come, whole and valid, and before the
/// hooks and the broker may take their time.
#[tokio::test(start_paused = true)]
async fn a_connect_is_reported_when_it_is_whole() {
    let counting = Counting::default();
    let pair = Setup::new()
        .recorder(Arc::new(counting.clone()))
        .dial(Dial::Hang)
        .start(admit(|_| Hooks::none()));
    let connects = || counting.0.lock().expect("not poisoned").connects.clone();
    let packet = F.connect("d7");
    let (last, begin) = packet.split_last().expect("not empty");
    pair.client.send(begin);
    settle().await;
    assert!(connects().is_empty());
    pair.client.send(&[*last]);
    settle().await;
    assert_eq!(connects(), ["d7"]);

    // not for what is no CONNECT of this version
    let other = Counting::default();
    let pair = Setup::new()
        .recorder(Arc::new(other.clone()))
        .start(admit(|_| Hooks::none()));
    let mut wrong = F.connect("d8");
    wrong[9] |= 1;
    pair.client.send(&wrong);
    assert_eq!(pair.end().await.reason, CloseReason::Malformed);
    assert!(other.0.lock().expect("not poisoned").connects.is_empty());
}

/// Who looks for the cause needs no words: the error itself and the packet are there.
#[tokio::test(start_paused = true)]
async fn the_error_and_the_packet_behind_the_end_are_reported() {
    let pair = Setup::new().start(admit(|_| Hooks::none()));
    pair.open(&F.connect("c"), &F.connack()).await;
    pair.client.send(&[0x36, 0x05, 0, 1, b't', 0, 0]);
    let summary = pair.end().await;
    assert_eq!(summary.packet, Some(Kind::Publish));
    let source = summary.source().expect("an error").downcast_ref();
    assert_eq!(source, Some(&DecodeError::QosThree));
}
