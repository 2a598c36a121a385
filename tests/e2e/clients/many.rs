//! A client with many subscriptions.

use mproxy_tests::clients::python_script;
use mproxy_tests::{Mosquitto, Mproxy, Process};

/// paho sends a SUBSCRIBE for each call, without waiting for the answer to the one before. A proxy that
/// closed at some number of open requests would do so again after every reconnection, for good.
#[tokio::test]
async fn thousands_of_subscribe_packets_at_once_are_all_granted() {
    const COUNT: usize = 5_000;
    let broker = Mosquitto::for_load().await;
    let mproxy = Mproxy::before(&broker.url()).await;
    for addr in [broker.addr(), mproxy.addr()] {
        let mut command = python_script("programs/paho_subscribes.py");
        command.args([addr.port().to_string(), COUNT.to_string()]);
        let (_, output) = Process::run(command).await;
        let expected = format!("event granted {COUNT}\nevent connections 1\nok");
        assert_eq!(output, expected, "at {addr}");
    }
}
