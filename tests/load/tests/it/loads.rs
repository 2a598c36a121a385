//! Every load against the sink itself, in small.

use std::net::TcpListener;

use mproxy_load::Error;
use mproxy_load::load::{Load, Meter, NoMeter, Target};
use mproxy_load::net::Endpoint;

use crate::running::{RunningSink, options};

/// Notes that it was called.
#[derive(Default)]
struct Calls(String);

impl Meter for Calls {
    fn start(&mut self) -> Result<(), Error> {
        self.0.push_str("start ");
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Error> {
        self.0.push_str("stop");
        Ok(())
    }
}

#[test]
fn every_load_counts_what_arrives() {
    let sink = RunningSink::on_loopback();
    for load in Load::ALL {
        let mut calls = Calls::default();
        // The loads that flood compare their count with the sink's and fail on a difference.
        let outcome = load.run(&sink.target(), &options(), &mut calls).unwrap();
        assert_eq!(calls.0, "start stop", "{load}");
        assert!(outcome.count > 0, "{load}");
        let waits = matches!(
            load,
            Load::Closed
                | Load::Paced
                | Load::Connect
                | Load::V5Closed
                | Load::Mix
                | Load::Handshakes
        );
        assert_eq!(outcome.latency.is_some(), waits, "{load}");
        if let Some(latency) = outcome.latency {
            assert!(
                latency.p50_us > 0.0 && latency.p50_us <= latency.p999_us,
                "{load}"
            );
        }
    }
}

#[test]
fn counts_that_are_known_are_exact() {
    let sink = RunningSink::on_loopback();
    let count = |load: Load| {
        load.run(&sink.target(), &options(), &mut NoMeter)
            .unwrap()
            .count
    };
    assert_eq!(count(Load::Idle), 40);
    assert_eq!(count(Load::Base), 1);
    assert_eq!(count(Load::Storm), 100);
    // At least one message of each of 200 clients, however short the time.
    assert_eq!(count(Load::Paced), 200);
    assert_eq!(count(Load::Mix) % 7, 0);
    assert_eq!(count(Load::Batched) % 384, 0);
    // 30 ms in steps of 125 us, eight packets each.
    assert_eq!(count(Load::Steady), 240 * 8);
}

#[test]
fn unix_sockets_serve_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let sink = RunningSink::start(&Endpoint::Unix(dir.path().join("sink.sock")));
    for load in [Load::Batched, Load::ToClient, Load::Closed, Load::Connect] {
        assert!(
            load.run(&sink.target(), &options(), &mut NoMeter)
                .unwrap()
                .count
                > 0,
            "{load}"
        );
    }
}

#[test]
fn a_peer_that_hangs_up_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = Endpoint::Tcp(listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let target = Target {
        endpoint,
        websocket: None,
        tls: None,
    };
    let result = Load::Idle.run(&target, &options(), &mut NoMeter);
    assert!(
        matches!(result, Err(Error::Closed { .. } | Error::Io { .. })),
        "{result:?}"
    );
    thread.join().unwrap();
}

#[test]
fn a_load_ends_when_it_is_told_to() {
    let sink = RunningSink::on_loopback();
    let options = options();
    options.stop.set();
    for load in Load::ALL.into_iter().filter(|load| *load != Load::Base) {
        let result = load.run(&sink.target(), &options, &mut NoMeter);
        assert!(matches!(result, Err(Error::Stopped)), "{load}: {result:?}");
    }
}
