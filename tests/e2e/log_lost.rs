//! A log that cannot be written: no session is lost, and what is missing is counted and told.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use mproxy_tests::{FakeBroker, Link, PATIENCE, Setup, http, until};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::Value;

/// What is in the log so far, line by line; `Err` for one that is no JSON. Before the shell has made the
/// file, there is nothing.
fn lines(log: &Path) -> Vec<Result<Value, String>> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines = text.lines();
    let parsed = lines.map(|line| serde_json::from_str(line).map_err(|_| line.to_owned()));
    parsed.collect()
}

async fn address(log: &Path, message: &str) -> SocketAddr {
    until(message, async || {
        let mut lines = lines(log).into_iter().flatten();
        let line = lines.find(|line| line["message"] == message)?;
        line["address"].as_str()?.parse().ok()
    })
    .await
}

/// One client that makes one line.
async fn refused(addr: SocketAddr) {
    let mut client = Link::tcp(addr).await;
    client.send(&[0xf0, 0]).await;
    client.rest().await;
}

/// A disk became full, and every line was lost; the metric for that stayed 0, and when there was room
/// again, the log went on in the middle of a line as if nothing had happened.
#[tokio::test]
async fn a_log_that_cannot_grow_counts_its_lines_and_says_so_when_it_can() {
    let broker = FakeBroker::bind().await;
    let shell = ["/bin/sh", "-c", "exec \"$@\" >log", "sh"];
    let (mut mproxy, dir) = Setup::before(&broker.url()).by(shell).spawn();
    let log = dir.path().join("log");
    let admin = address(&log, "admin port listening").await;
    let addr = address(&log, "listening").await;
    let counted = async |count: u32| {
        let sample = format!("mproxy_log_lines_dropped_total{{reason=\"sink\"}} {count}\n");
        until(&sample, async || {
            let answer = http::get(admin, "/metrics").await;
            answer.body.contains(&sample).then_some(())
        })
        .await;
    };
    let limit = |current| {
        let pid = Pid::from_raw(mproxy.id().cast_signed());
        let maximum = None;
        let limit = Rlimit { current, maximum };
        prlimit(pid, Resource::Fsize, limit).expect("the process is ours");
    };
    counted(0).await;
    let before = lines(&log).len();
    let size = fs::metadata(&log).expect("a file").len();
    limit(Some(size + 20));
    for count in 1..=3 {
        refused(addr).await;
        counted(count).await;
    }
    limit(None);
    until("an account", async || {
        let mut lines = lines(&log).into_iter().flatten();
        lines.find(|line| line["event"] == "suppress")
    })
    .await;
    refused(addr).await;
    mproxy.signal(Signal::TERM);
    assert_eq!(mproxy.code(PATIENCE).await, 0);

    let all = lines(&log);
    let torn = all[before].as_ref().expect_err("half a line");
    assert_eq!(torn.len(), 20, "{torn}");
    let told = all[before + 1].as_ref().expect("a whole line");
    for (name, value) in [
        ("level", "WARN"),
        ("target", "mproxy::log"),
        ("event", "suppress"),
        ("detail", "File too large (os error 27)"),
    ] {
        assert_eq!(told[name], value, "{name} of {told}");
    }
    assert_eq!(told["suppressed"], 3, "{told}");
    let after = all[before + 2..].iter();
    let after: Vec<_> = after.map(|it| it.as_ref().expect("JSON")).collect();
    assert!(after.iter().any(|line| line["event"] == "refuse"));
    assert_eq!(after.last().expect("lines")["event"], "stop");
}
