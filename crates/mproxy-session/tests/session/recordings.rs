//! Recorded sessions, cut at every byte and delivered in pieces of every size.

use std::path::Path;
use std::time::Duration;

use mproxy_codec::KindSet;
use mproxy_session::{Hooks, Tap};
use proptest::prelude::*;

use crate::support::hooks::{Gate, Seen, by_topic};
use crate::support::recording::{Party, Recording, Step};
use crate::support::{Pair, Setup, admit, admit_all, assert_bytes};

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// In order: no more bytes in one direction.
    End,
    /// Broken, in both directions.
    Break,
}

fn recordings() -> Vec<Recording> {
    Recording::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings"))
}

/// With hooks that see every packet and change none, or without any.
fn start(tapped: bool) -> Pair {
    if !tapped {
        return Setup::new().start(admit_all());
    }
    let hook = by_topic(&Gate::new(), &Seen::default());
    Setup::new().start(admit(move |_| {
        let tap = || Tap::only(KindSet::ALL, hook.clone());
        Hooks::new(tap(), tap())
    }))
}

/// Sends each step and waits for it at the other end, byte by byte as it was sent.
async fn play(pair: &Pair, steps: &[Step], what: &str) {
    for step in steps {
        let (from, to) = match step.from {
            Party::Client => (&pair.client, &pair.broker),
            Party::Broker => (&pair.broker, &pair.client),
        };
        from.send(&step.bytes);
        assert_bytes(&to.take().await, &step.bytes, what);
    }
}

/// The session ends by itself once a side is gone, and soon.
async fn ends(pair: Pair, what: &str) {
    let summary = tokio::time::timeout(Duration::from_secs(5), pair.summary()).await;
    let summary = summary.unwrap_or_else(|_| panic!("{what}: hangs"));
    assert!(!summary.panicked, "{what}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_cut_off_after_any_byte() {
    let mut cuts = 0;
    for recording in recordings() {
        for at in 0..=recording.total(Party::Client) {
            for cut in [Cut::End, Cut::Break] {
                for tapped in [false, true] {
                    let what = format!("{}, {at} bytes, {cut:?}, {tapped}", recording.name);
                    let (whole, part) = recording.until(Party::Client, at);
                    let pair = start(tapped);
                    play(&pair, whole, &what).await;
                    pair.client.send(part);
                    match cut {
                        Cut::End => pair.client.finish(),
                        Cut::Break => pair.client.reset(),
                    }
                    // no part of a packet, and no DISCONNECT that the client did not send
                    assert_bytes(&pair.broker.take().await, b"", &what);
                    let connected = !whole.is_empty();
                    assert_eq!(pair.dials(), usize::from(connected), "{what}");
                    if connected {
                        assert!(pair.broker.is_ended(), "{what}: the broker is told at once");
                    }
                    ends(pair, &what).await;
                    cuts += 1;
                }
            }
        }
    }
    println!("{cuts} cuts");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_cut_off_after_any_byte() {
    let mut cuts = 0;
    for recording in recordings() {
        for at in 0..=recording.total(Party::Broker) {
            for cut in [Cut::End, Cut::Break] {
                for tapped in [false, true] {
                    let what = format!("{}, {at} bytes, {cut:?}, {tapped}", recording.name);
                    let (whole, part) = recording.until(Party::Broker, at);
                    let pair = start(tapped);
                    play(&pair, whole, &what).await;
                    pair.broker.send(part);
                    match cut {
                        Cut::End => pair.broker.finish(),
                        Cut::Break => pair.broker.reset(),
                    }
                    // no part of a packet, and no word that the broker did not say
                    assert_bytes(&pair.client.take().await, b"", &what);
                    assert_bytes(&pair.broker.take().await, b"", &what);
                    assert!(
                        pair.client.is_ended() && pair.broker.is_ended(),
                        "{what}: both are told"
                    );
                    ends(pair, &what).await;
                    cuts += 1;
                }
            }
        }
    }
    println!("{cuts} cuts");
}

/// Plays the conversation in its turns, each of which is read in pieces: of `chunks` first, then of
/// `rest` bytes.
async fn in_pieces(recording: &Recording, chunks: &[usize], rest: usize, tapped: bool) {
    let what = format!("{}, {chunks:?}, {rest}, {tapped}", recording.name);
    let pair = start(tapped);
    pair.client.set_chunks(chunks.iter().copied(), rest);
    pair.broker.set_chunks(chunks.iter().copied(), rest);
    play(&pair, &recording.turns(), &what).await;
    pair.client.finish();
    assert_bytes(&pair.broker.take().await, b"", &what);
    assert!(pair.broker.is_ended(), "{what}");
    ends(pair, &what).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_read_a_byte_at_a_time_or_all_at_once_is_the_same() {
    for recording in recordings() {
        for tapped in [false, true] {
            for size in [1, 2, 3, 7, usize::MAX] {
                in_pieces(&recording, &[], size, tapped).await;
            }
        }
    }
}

proptest! {
    #[test]
    fn a_session_that_is_read_in_any_pieces_is_the_same(
        chunks in proptest::collection::vec(1_usize..60, 0..12),
        rest in 1_usize..200,
        tapped: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            for recording in recordings() {
                in_pieces(&recording, &chunks, rest, tapped).await;
            }
        });
    }
}
