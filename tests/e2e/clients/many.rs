//! A client with many subscriptions.

use mproxy_tests::clients::python_script;
use mproxy_tests::{Mosquitto, Mproxy, Process};
use rustix::process::Signal;

/// paho sends a SUBSCRIBE for each call, without waiting for the answer to the one before, and a broker
/// may be slow to answer. mproxy once closed the connection at the 4,097th that was not answered, and did
/// so again after every reconnection.
#[tokio::test]
async fn thousands_of_subscribe_packets_at_once_are_all_granted() {
    const COUNT: usize = 5_000;
    let broker = Mosquitto::for_load().await;
    let mproxy = Mproxy::before(&broker.url()).await;
    for addr in [broker.addr(), mproxy.addr()] {
        let mut command = python_script("programs/paho_subscribes.py");
        command.args([addr.port().to_string(), COUNT.to_string()]);
        let mut client = Process::spawn(command);
        client
            .line("the connection", |line| line == "event connected")
            .await;
        broker.process().signal(Signal::STOP);
        client.write(b"now\n").await;
        client
            .line("SUBSCRIBE packets", |line| line == "event sent")
            .await;
        broker.process().signal(Signal::CONT);
        let (_, output) = client.ended().await;
        let granted = format!("event granted {COUNT}");
        let expected = [
            "event connected",
            "event sent",
            &granted,
            "event connections 1",
        ];
        assert_eq!(output, expected.join("\n"), "at {addr}");
    }
}
