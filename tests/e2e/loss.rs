//! Nothing that was acknowledged is lost, nothing of QoS 2 comes twice, and no publisher's messages
//! change places, whatever breaks: the proxy, the broker, or a line.
//!
//! Each test makes a few faults. `MPROXY_FAULTS` is the number to make instead, or `all`: 200 kills
//! and 100 of everything else, which takes longer than the runner allows:
//!
//! ```sh
//! MPROXY_FAULTS=all cargo test -p mproxy-tests --test e2e -- loss:: --test-threads 1 --nocapture
//! ```

use std::env;
use std::time::Duration;

use mproxy_tests::durable::{Load, Outcome, Promise};
use mproxy_tests::{Chance, Forwarder, Haproxy, Mosquitto, Mproxy, Setup};
use rustix::process::Signal;

const PUBLISHERS: usize = 50;
const SUBSCRIBERS: usize = 10;

/// The variable that asks for more faults.
const FAULTS: &str = "MPROXY_FAULTS";

/// `few`, or what the environment asks for.
fn faults(few: usize, all: usize) -> usize {
    match env::var(FAULTS).as_deref() {
        Ok("all") => all,
        Ok(number) => number.parse().expect("MPROXY_FAULTS is a number or `all`"),
        Err(_) => few,
    }
}

/// A proxy with a layer that sees every PUBLISH, so that there is something to lose.
async fn start(upstream: &str) -> Mproxy {
    Setup::before(upstream)
        .toml("[chains.default]\nlayers = [\"acl\"]\n[layers.acl]\ntype = \"acl\"\n")
        .toml("[[layers.acl.rules]]\nname = \"all\"\nallow = [\"publish\", \"subscribe\"]\n")
        .toml("topics = [\"count/#\"]\n")
        .start()
        .await
}

async fn finish(load: Load, faults: usize) -> Outcome {
    let outcome = load.finish().await;
    println!("{faults} faults, {outcome:?}");
    outcome
}

#[tokio::test]
async fn nothing_is_lost_and_nothing_comes_twice_when_the_proxy_is_killed() {
    let outcome = killed(faults(6, 200), Load::resumed).await;
    assert_eq!(outcome.released, 0, "messages of QoS 2 that came twice");
}

/// Kills also while sessions are taken up. mosquitto 2.0.11 forgets then which messages of QoS 2 were
/// released: a PUBREL that it is about to send again when the connection breaks is a PUBLISH at the
/// next (its `db__message_reconnect_reset_outgoing` tells one of two such states only). Nothing is
/// lost.
#[tokio::test]
async fn nothing_is_lost_when_the_proxy_is_killed_again_and_again() {
    killed(faults(6, 200), async |_| ()).await;
}

/// Kills the proxy, each time when `ready` is over and then a few more messages are acknowledged.
async fn killed(kills: usize, ready: impl AsyncFn(&mut Load)) -> Outcome {
    let mut chance = Chance::new();
    let broker = Mosquitto::for_load().await;
    let mut mproxy = start(&broker.url()).await;
    let mut load = Load::start(mproxy.addr(), PUBLISHERS, SUBSCRIBERS, Promise::Everything).await;
    for _ in 0..kills {
        ready(&mut load).await;
        load.progress(chance.below(400) as u64).await;
        mproxy.signal(Signal::KILL);
        mproxy.ended().await;
        mproxy = start(&broker.url()).await;
        load.moved(mproxy.addr());
    }
    finish(load, kills).await
}

/// What the broker and the clients make of the same kills when a proxy has nothing to do with it: one
/// that knows no MQTT.
#[tokio::test]
async fn nothing_is_lost_when_haproxy_is_killed() {
    let kills = faults(2, 200);
    let mut chance = Chance::new();
    let broker = Mosquitto::for_load().await;
    let mut haproxy = Haproxy::before(broker.addr()).await;
    let mut load = Load::start(haproxy.addr(), PUBLISHERS, SUBSCRIBERS, Promise::Everything).await;
    for _ in 0..kills {
        load.progress(chance.below(400) as u64).await;
        haproxy.process().signal(Signal::KILL);
        haproxy.ended().await;
        haproxy = Haproxy::before(broker.addr()).await;
        load.moved(haproxy.addr());
    }
    finish(load, kills).await;
}

/// mosquitto 2.0.11 sends messages of QoS 2 once more after it was started again, although they had
/// been released, and in another order; it does so to clients that come directly, too. What it
/// keeps is that nothing is lost.
#[tokio::test]
async fn nothing_is_lost_when_the_broker_stops() {
    let stops = faults(3, 100);
    let mut chance = Chance::new();
    let mut broker = Mosquitto::for_load().await;
    let mproxy = start(&broker.url()).await;
    let mut load = Load::start(mproxy.addr(), PUBLISHERS, SUBSCRIBERS, Promise::NoLoss).await;
    for _ in 0..stops {
        load.progress(chance.below(400) as u64).await;
        broker = broker.stop().await.start().await;
    }
    finish(load, stops).await;
}

/// No connection breaks, so that nothing comes twice either, of QoS 1 no more than of QoS 2.
#[tokio::test]
async fn nothing_is_lost_when_the_broker_stands_still() {
    let stops = faults(3, 100);
    // the fault is the time: 5 s if there is time, else until nobody gets an answer any more
    let stands = Duration::from_secs(if env::var_os(FAULTS).is_some() { 5 } else { 0 });
    let mut chance = Chance::new();
    let broker = Mosquitto::for_load().await;
    let mproxy = start(&broker.url()).await;
    let mut load = Load::start(mproxy.addr(), PUBLISHERS, SUBSCRIBERS, Promise::Everything).await;
    for _ in 0..stops {
        load.progress(chance.below(400) as u64).await;
        broker.process().signal(Signal::STOP);
        load.stalled().await;
        tokio::time::sleep(stands).await;
        broker.process().signal(Signal::CONT);
    }
    let outcome = finish(load, stops).await;
    assert_eq!((outcome.repeated, outcome.released), (0, 0));
}

#[tokio::test]
async fn nothing_is_lost_when_lines_to_the_proxy_break() {
    let breaks = faults(20, 100);
    let broker = Mosquitto::for_load().await;
    let mproxy = start(&broker.url()).await;
    let line = Forwarder::before(mproxy.addr(), breaks, Chance::new()).await;
    let load = Load::start(line.addr(), PUBLISHERS, SUBSCRIBERS, Promise::Everything).await;
    broken(load, &line, breaks).await;
}

#[tokio::test]
async fn nothing_is_lost_when_lines_to_the_broker_break() {
    let breaks = faults(20, 100);
    let broker = Mosquitto::for_load().await;
    let line = Forwarder::before(broker.addr(), breaks, Chance::new()).await;
    let mproxy = start(&format!("mqtt://{}", line.addr())).await;
    let load = Load::start(mproxy.addr(), PUBLISHERS, SUBSCRIBERS, Promise::Everything).await;
    broken(load, &line, breaks).await;
}

async fn broken(mut load: Load, line: &Forwarder, breaks: usize) {
    line.broken(breaks).await;
    // and everybody is back
    load.progress(400).await;
    finish(load, breaks).await;
}
