//! A process that does not keep up: what it does to new connections, and to those that are there.

use std::time::Duration;

use mproxy_tests::wire::Version;
use mproxy_tests::{FakeBroker, Link, Mproxy, Setup, until};
use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Holds the process for most of the time, as a machine does that has too little CPU for it.
async fn held(mproxy: &Mproxy) -> ! {
    loop {
        mproxy.signal(Signal::STOP);
        sleep(Duration::from_millis(1000)).await;
        mproxy.signal(Signal::CONT);
        sleep(Duration::from_millis(100)).await;
    }
}

async fn refusals(mproxy: &Mproxy) {
    let refused =
        "mproxy_connections_refused_total{reason=\"overload\",limit=\"server.overload_lag\"}";
    until("refusals", async || {
        let mut burst = JoinSet::new();
        // more than it lets in in a second
        for _ in 0..100 {
            burst.spawn(TcpStream::connect(mproxy.addr()));
        }
        burst.join_all().await;
        (mproxy.metrics().await.sum(refused) >= 1.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_connections_wait_outside_while_workers_are_late_and_sessions_stay() {
    let broker = FakeBroker::bind().await;
    let setup = Setup::before(&broker.url()).set("server.overload_lag", "\"300ms\"");
    let mproxy = setup.start().await;
    let client = Link::client(mproxy.addr(), Version::V5, "stays");
    let (mut client, (mut server, _)) = tokio::join!(client, broker.accept());
    let is_told = |level: &str| {
        let level = level.to_owned();
        move |it: &serde_json::Value| it["event"] == "overload" && it["level"] == level
    };
    let begun = tokio::select! {
        never = held(&mproxy) => never,
        line = mproxy.event("the overload", is_told("WARN")) => line,
    };
    assert_eq!(begun["limit"], "server.overload_lag", "{begun}");
    assert!(
        begun["value"].as_f64().is_some_and(|it| it >= 0.3),
        "{begun}"
    );
    assert!(begun["remedy"].is_string(), "{begun}");
    // it may have been stopped when the line came
    mproxy.signal(Signal::CONT);
    refusals(&mproxy).await;
    let refusal = mproxy
        .event("a refusal", |it| {
            it["limit"] == "server.overload_lag" && it["event"] == "refuse"
        })
        .await;
    assert_eq!(refusal["reason"], "overload", "{refusal}");
    let level = "mproxy_overload_level{source=\"server.overload_lag\"}";
    assert!(mproxy.metrics().await.sum(level) >= 1.0);
    // it recovers
    mproxy.event("the end of it", is_told("INFO")).await;
    mproxy.metric(level, 0.0).await;
    let late = Link::client(mproxy.addr(), Version::V5, "late");
    let (late, _late) = tokio::join!(late, broker.accept());
    drop(late);
    // and whoever was there is still there
    server.send(&mproxy_tests::wire::PINGRESP).await;
    client.expect(&mproxy_tests::wire::PINGRESP).await;
}
