//! How long the broker takes to answer is measured when somebody asks, and no longer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mproxy_codec::{Direction, KindSet, Version};
use mproxy_session::{Batch, Counters, Events, Hooks, Tap};

use crate::support::hooks::{Gate, Seen, by_topic};
use crate::support::{Frames, Pair, Setup, admit, admit_all, settle};

#[derive(Default)]
struct Stopwatch {
    wants: AtomicBool,
    took: Mutex<Vec<u64>>,
}

impl Counters for Stopwatch {
    fn record(&self, _: Direction, _: &Batch) {}

    fn wants_latency(&self) -> bool {
        self.wants.swap(false, Ordering::Relaxed)
    }

    fn publish_answered(&self, took: Duration) {
        self.took.lock().unwrap().push(took.as_secs());
    }
}

impl Events for Stopwatch {}

async fn measured(tapped: bool, version: Version) -> (Pair, Arc<Stopwatch>) {
    let stopwatch = Arc::new(Stopwatch::default());
    let setup = Setup::new().recorder(Arc::clone(&stopwatch) as _);
    let pair = if tapped {
        let hooks = by_topic(&Gate::new(), &Seen::default());
        let stage =
            admit(move |_| Hooks::new(Tap::only(KindSet::PUBLISH, hooks.clone()), Tap::none()));
        setup.connected(version, stage).await
    } else {
        setup.connected(version, admit_all()).await
    };
    (pair, stopwatch)
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_the_next_publish_is_timed() {
    for (tapped, version) in [
        (false, Version::V311),
        (true, Version::V311),
        (false, Version::V5),
        (true, Version::V5),
    ] {
        let f = Frames(version);
        let (pair, stopwatch) = measured(tapped, version).await;
        let send = |id: u16| pair.client.send(&f.publish("t", 1, id, b"p"));
        let took = || std::mem::take(&mut *stopwatch.took.lock().unwrap());
        let answer = async |id: u16, seconds: u64| {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            pair.broker.send(&f.puback(id));
            settle().await;
        };
        send(1);
        settle().await;
        answer(1, 3).await;
        assert_eq!(took(), [] as [u64; 0], "nobody asked");

        stopwatch.wants.store(true, Ordering::Relaxed);
        send(2);
        settle().await;
        // others are not taken for the answer, and QoS 0 and 2 not for the question
        pair.client.send(&f.publish("t", 0, 0, b"p"));
        pair.client.send(&f.publish("t", 2, 9, b"p"));
        for id in [3, 4] {
            send(id);
        }
        settle().await;
        answer(2, 1).await;
        answer(4, 1).await;
        assert_eq!(took(), [] as [u64; 0]);
        answer(3, 2).await;
        assert_eq!(took(), [4], "from the PUBLISH to its PUBACK");
        answer(3, 2).await;
        assert_eq!(took(), [] as [u64; 0], "once");
        pair.end().await;
    }
}

/// A PUBLISH that hooks refuse has no answer of the broker: the next one with its identifier would have
/// been said to take as long as it took to come.
#[tokio::test(start_paused = true)]
async fn a_refused_publish_is_not_waited_for() {
    let f = Frames(Version::V5);
    let (pair, stopwatch) = measured(true, Version::V5).await;
    stopwatch.wants.store(true, Ordering::Relaxed);
    pair.client.send(&f.publish("t", 1, 1, b""));
    settle().await;
    pair.client.send(&f.publish("denied/t", 1, 2, b""));
    settle().await;
    tokio::time::advance(Duration::from_secs(50)).await;
    stopwatch.wants.store(true, Ordering::Relaxed);
    pair.client.send(&f.publish("t", 1, 2, b""));
    settle().await;
    pair.client.send(&f.publish("t", 1, 3, b""));
    settle().await;
    tokio::time::advance(Duration::from_secs(1)).await;
    pair.broker
        .send(&[f.puback(1), f.puback(2), f.puback(3)].concat());
    settle().await;
    assert_eq!(*stopwatch.took.lock().unwrap(), [1]);
}
