//! A process that stood still goes on with timers that are over, before it has seen what came meanwhile.
//! Its peers were in time: it is the proxy that is late.

use std::time::Duration;

use mproxy_codec::Version;
use mproxy_session::CloseReason;

use crate::support::frames::ConnectParts;
use crate::support::{Frames, Pair, Setup, admit_all, settle};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

/// More than any limit.
const STILL: Duration = Duration::from_secs(1000);

/// How often the session is polled before it is shown what came: more than once, because the test's own task
/// is always the first.
const TURNS: usize = 4;

/// The process stands still. When it runs again, the runtime looks at its timers first: it polls the session
/// before the caller goes on, and shows it what was in its sockets all the time.
async fn stand_still() {
    settle().await;
    tokio::time::advance(STILL).await;
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
}

/// A session that judges a keep alive of ten seconds.
async fn connected(version: Version) -> Pair {
    let f = Frames(version);
    let pair = Setup::new().strict().start(admit_all());
    let connect = f.connect_with(&ConnectParts {
        client_id: "c",
        keep_alive: 10,
        ..Default::default()
    });
    pair.open(&connect, &f.connack()).await;
    pair
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_heard_while_the_process_stood_still_is_alive() {
    for version in VERSIONS {
        let f = Frames(version);
        let pair = connected(version).await;
        for _ in 0..3 {
            stand_still().await;
            pair.client.send(&f.pingreq());
            pair.broker.expect(&f.pingreq()).await;
            pair.broker.send(&f.pingresp());
            pair.client.expect(&f.pingresp()).await;
        }
        // one that was silent is gone, whatever the broker sends meanwhile
        stand_still().await;
        pair.broker.send(&f.pingresp());
        settle().await;
        assert!(pair.client.is_ended());
        assert_eq!(pair.end().await.reason, CloseReason::KeepaliveTimeout);
    }
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_packet_that_came_meanwhile_is_in_time() {
    for (version, up) in VERSIONS.map(|it| [(it, true), (it, false)]).concat() {
        let f = Frames(version);
        let pair = connected(version).await;
        let (from, to) = match up {
            true => (&pair.client, &pair.broker),
            false => (&pair.broker, &pair.client),
        };
        let publish = f.publish("a", 0, 0, &[0; 100]);
        from.send(&publish[..50]);
        stand_still().await;
        from.send(&publish[50..]);
        // not silent either
        pair.client.send(&f.pingreq());
        let wanted = match up {
            true => [publish, f.pingreq()].concat(),
            false => publish,
        };
        to.expect(&wanted).await;
        assert!(pair.is_running());
    }
}

#[tokio::test(start_paused = true)]
async fn a_side_that_has_made_room_meanwhile_is_not_stuck() {
    for up in [true, false] {
        let f = Frames(Version::V5);
        let pair = Setup::new().start(admit_all());
        // without a keep alive
        let connect = f.connect_with(&ConnectParts {
            client_id: "c",
            ..Default::default()
        });
        pair.open(&connect, &f.connack()).await;
        let (from, to) = match up {
            true => (&pair.client, &pair.broker),
            false => (&pair.broker, &pair.client),
        };
        let publish = f.publish("a", 0, 0, &[0; 100]);
        to.set_capacity(50);
        from.send(&publish);
        stand_still().await;
        let mut received = to.drain();
        received.extend(to.take().await);
        assert_eq!(received, publish);
        // and what is sent now is not too late either
        to.set_capacity(1000);
        from.send(&publish);
        to.expect(&publish).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connack_that_came_meanwhile_is_in_time() {
    for version in VERSIONS {
        let f = Frames(version);
        let pair = Setup::new().start(admit_all());
        pair.client.send(&f.connect("c"));
        pair.broker.expect(&f.connect("c")).await;
        stand_still().await;
        pair.broker.send(&f.connack());
        pair.client.expect(&f.connack()).await;
        assert!(pair.is_running());
    }
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_came_meanwhile_is_in_time() {
    for version in VERSIONS {
        let connect = Frames(version).connect("c");
        for begun in [0, 5] {
            let pair = Setup::new().start(admit_all());
            pair.client.send(&connect[..begun]);
            stand_still().await;
            pair.client.send(&connect[begun..]);
            pair.broker.expect(&connect).await;
        }
    }
}
