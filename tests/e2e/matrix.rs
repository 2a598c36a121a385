//! Every version and QoS, over every pair of transports, by clients of three different makers and
//! with a real broker.
//!
//! Each test is one pair. On the other side of the broker is a client that does not come through
//! the proxy, so that each message crosses it once, and both directions are seen from outside.

use std::io::Write;

use mproxy_tests::clients::{MosquittoSub, accepts, mosquitto_pub, node_script, python_script};
use mproxy_tests::wire::Version;
use mproxy_tests::{Mosquitto, Mproxy, Setup, WsBridge};
use tempfile::NamedTempFile;

/// How the clients come.
#[derive(Clone, Copy)]
enum From {
    Tcp,
    Ws,
}

async fn start(upstream: &str) -> Mproxy {
    // room for the head of a packet whose payload is as long as the default lets packets be
    let size = "2MiB";
    let setup = Setup::before(upstream).websocket();
    let setup = setup.limit("max_packet_size", size);
    setup
        .set("listeners.ws.limits.max_packet_size", size)
        .start()
        .await
}

async fn pair(from: From, broker: &Mosquitto, upstream: &str) {
    let mproxy = start(upstream).await;
    let broker_port = broker.addr().port().to_string();

    let (listener, transport, url) = match from {
        From::Tcp => ("mqtt", "tcp", format!("mqtt://{}", mproxy.addr())),
        From::Ws => {
            let addr = mproxy.listener("ws");
            ("ws", "websockets", format!("ws://{addr}/mqtt"))
        }
    };
    let mut paho = python_script("paho_roundtrip.py");
    let port = mproxy.listener(listener).port().to_string();
    paho.args([transport, &port, &broker_port]);
    let mut mqttjs = node_script("mqttjs_roundtrip.js");
    mqttjs.args([&url, &broker_port]);
    tokio::join!(accepts(paho), accepts(mqttjs));

    let metrics = mproxy.metrics().await;
    let connects =
        format!("mproxy_connacks_total{{listener=\"{listener}\",reason_code=\"success\"}}");
    // three versions of two clients, and one with a client id that the broker chose
    assert!((metrics.sum(&connects) - 7.0).abs() < 0.1, "{}", metrics.0);
}

#[tokio::test]
async fn tcp_to_tcp() {
    let broker = Mosquitto::start().await;
    pair(From::Tcp, &broker, &broker.url()).await;
}

#[tokio::test]
async fn ws_to_tcp() {
    let broker = Mosquitto::start().await;
    pair(From::Ws, &broker, &broker.url()).await;
}

#[tokio::test]
async fn tcp_to_ws() {
    let broker = Mosquitto::start().await;
    let bridge = WsBridge::before(&broker).await;
    pair(From::Tcp, &broker, &bridge.url()).await;
}

#[tokio::test]
async fn ws_to_ws() {
    let broker = Mosquitto::start().await;
    let bridge = WsBridge::before(&broker).await;
    pair(From::Ws, &broker, &bridge.url()).await;
}

#[tokio::test]
async fn tcp_to_unix() {
    let broker = Mosquitto::start().await;
    pair(From::Tcp, &broker, &broker.unix_url()).await;
}

#[tokio::test]
async fn ws_to_unix() {
    let broker = Mosquitto::start().await;
    pair(From::Ws, &broker, &broker.unix_url()).await;
}

/// What an operator tries first: the two programs that come with mosquitto.
#[tokio::test]
async fn mosquitto_clients() {
    let broker = Mosquitto::start().await;
    let mproxy = start(&broker.url()).await;
    let (proxy, direct) = (mproxy.addr(), broker.addr());
    let mut large = NamedTempFile::new().expect("a temporary file can be made");
    let payload = vec![0xa5; 1 << 20];
    large.write_all(&payload).expect("the file is ours");
    let file = large.path().to_str().expect("a path of letters");
    let hex = "a5".repeat(1 << 20);

    for version in Version::ALL {
        for qos in ["0", "1", "2"] {
            let topic = format!("clients/{version:?}/{qos}");
            let subscribe = ["-q", qos, "-t", &topic];
            let behind = MosquittoSub::start(proxy, version, &subscribe).await;
            let outside = MosquittoSub::start(direct, version, &subscribe).await;
            for at in [proxy, direct] {
                for payload in [&["-m", "hi"][..], &["-n"], &["-f", file]] {
                    let args = [&subscribe[..], payload].concat();
                    let (code, output) = mosquitto_pub(at, version, &args).await;
                    assert_eq!(code, 0, "{output}");
                }
            }
            let all = [
                format!("{topic} {qos} 0 2 6869"),
                format!("{topic} {qos} 0 0 "),
                format!("{topic} {qos} 0 1048576 {hex}"),
            ];
            for client in [&behind, &outside] {
                client.message(&all[2]).await;
                // the second large message is the last of all
                client
                    .process()
                    .line("both large messages", {
                        let mut left = 2;
                        move |line| {
                            left -= usize::from(line.contains(" 1048576 "));
                            left == 0
                        }
                    })
                    .await;
                let messages = client.messages();
                assert!(
                    messages == [&all[..], &all[..]].concat(),
                    "{version:?}, QoS {qos}: {} messages",
                    messages.len()
                );
            }
        }

        let retained = format!("clients/{version:?}/retained");
        let keep = ["-r", "-q", "1", "-t", &retained, "-m", "kept"];
        mosquitto_pub(proxy, version, &keep).await;
        let late = MosquittoSub::start(proxy, version, &["-q", "1", "-t", &retained]).await;
        late.message(&format!("{retained} 1 1 4 6b657074")).await;
    }
}
