//! What large payloads and slow readers cost: a bounded amount, and nothing of the message.

use std::net::SocketAddr;

use mproxy_tests::wire::{Connect, PINGREQ, PINGRESP, Publish, Version, suback, subscribe};
use mproxy_tests::{FakeBroker, Link, Mosquitto, Setup, drain, memory, until, within};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// One side sends 100 MB, the other reads nothing of it: the proxy keeps what it may, and no more.
/// When the other side reads again, all of it arrives.
#[tokio::test]
async fn a_side_that_does_not_read_costs_a_bounded_amount_of_memory() {
    const MESSAGE: usize = 64 * 1024;
    const MESSAGES: usize = 1_600;
    let broker = FakeBroker::bind().await;
    let mproxy = Setup::before(&broker.url()).start().await;
    for to_client in [false, true] {
        let (client, server) = session(mproxy.addr(), &broker).await;
        let before = memory::used_kib(mproxy.id());
        let (mut from, to) = if to_client {
            (server, client)
        } else {
            (client, server)
        };
        let message = Publish::new(Version::V311, "t").bytes(vec![7; MESSAGE]);
        let bytes = message.len() * MESSAGES;
        let sending = tokio::spawn(async move {
            for _ in 0..MESSAGES {
                assert!(from.try_send(&message).await, "the connection broke");
            }
            from
        });
        // it stops reading: nothing is taken off the connections any more
        let counted = if to_client {
            "mproxy_backpressure_stalls_total{direction=\"broker_to_client\"}"
        } else {
            "mproxy_backpressure_stalls_total{direction=\"client_to_broker\"}"
        };
        until("a stall", async || {
            (mproxy.metrics().await.sum(counted) >= 1.0).then_some(())
        })
        .await;
        let (mut stream, received) = to.into_tcp();
        assert!(received.is_empty());
        let mut last = 0;
        until("the proxy to be at rest", async || {
            let ticks = memory::cpu_ticks(mproxy.id());
            let rests = std::mem::replace(&mut last, ticks) == ticks && !sending.is_finished();
            rests.then_some(())
        })
        .await;
        let grown = memory::used_kib(mproxy.id()).saturating_sub(before);
        assert!(grown < 2 * 1024, "to_client: {to_client}, {grown} KiB");

        let mut received = 0;
        let mut room = vec![0; 1 << 20];
        while received < bytes {
            match stream.read(&mut room).await.expect("the rest arrives") {
                0 => panic!("{received} of {bytes} bytes"),
                read => received += read,
            }
        }
        assert_eq!(received, bytes);
        drop(sending.await.expect("everything was taken"));
    }
    let grown = memory::peak_kib(mproxy.id());
    assert!(grown < 48 * 1024, "{grown} KiB at most");
}

/// 64 clients, each of which publishes 64 MiB at the same time: they pass under an `acl` that looks
/// at their topics, and are not gathered anywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_payloads_pass_under_an_acl_without_being_gathered() {
    const CLIENTS: usize = 64;
    const PAYLOAD: usize = 64 << 20;
    let broker = FakeBroker::bind().await;
    let mproxy = Setup::before(&broker.url())
        .limit("max_packet_size", "65MiB")
        .toml(
            "[chains.default]\nlayers = [\"acl\"]\n[layers.acl]\ntype = \"acl\"\n\
             [[layers.acl.rules]]\nname = \"own\"\nallow = [\"publish\"]\n\
             topics = [\"devices/${client_id}/#\"]\n",
        )
        .start()
        .await;
    let addr = mproxy.addr();
    let mut pairs = Vec::new();
    for number in 0..CLIENTS {
        let client_id = format!("d{number}");
        let client = Link::client(addr, Version::V311, &client_id);
        let (client, (server, _)) = tokio::join!(client, broker.accept());
        pairs.push((number, client.into_tcp().0, server.into_tcp().0));
    }
    let chunk: std::sync::Arc<[u8]> = vec![0x55; 1 << 20].into();
    let mut transfers = JoinSet::new();
    for (number, mut client, server) in pairs {
        // every second one goes where it may not, and is thrown away
        let allowed = number % 2 == 0;
        let topic = match allowed {
            true => format!("devices/d{number}/image"),
            false => "devices/d0/image".to_owned(),
        };
        let head = Publish::new(Version::V311, &topic).qos(1, 1).head(PAYLOAD);
        let expected = if allowed { head.len() + PAYLOAD } else { 0 };
        let chunk = chunk.clone();
        transfers.spawn(async move {
            let sending = async {
                client.write_all(&head).await.expect("taken");
                for _ in 0..PAYLOAD / chunk.len() {
                    client.write_all(&chunk).await.expect("taken");
                }
                if !allowed {
                    // acknowledged as if it had arrived: MQTT 3.1.1 has no other word
                    let mut answer = [0; 4];
                    client.read_exact(&mut answer).await.expect("a PUBACK");
                    assert_eq!(answer, [0x40, 2, 0, 1]);
                }
                client.write_all(&[0xe0, 0]).await.expect("taken");
                client.shutdown().await.expect("an orderly end");
            };
            let ((), received) = tokio::join!(sending, drain(server));
            assert_eq!(received, expected as u64 + 2);
        });
    }
    while let Some(ended) = transfers.join_next().await {
        ended.expect("everything passed");
    }
    let (peak, now) = (memory::peak_kib(mproxy.id()), memory::used_kib(mproxy.id()));
    assert!(peak < 64 * 1024, "{peak} KiB at most, {now} KiB now");
}

/// The same over WebSocket, where frames have to be cut and packed on the way.
#[tokio::test]
async fn a_websocket_that_does_not_read_costs_a_bounded_amount_of_memory() {
    const MESSAGES: usize = 1_000;
    let broker = FakeBroker::bind().await;
    let mproxy = Setup::before(&broker.url()).websocket().start().await;
    let mut client = Link::ws(mproxy.listener("ws")).await;
    let connect = Connect::new(Version::V311, "c");
    let (_, (mut server, _)) = tokio::join!(client.connect(&connect), broker.accept());
    let before = memory::used_kib(mproxy.id());
    let message = Publish::new(Version::V311, "t").bytes(vec![7; 100_000]);
    let offered = message.clone();
    let sending = tokio::spawn(async move {
        for _ in 0..MESSAGES {
            assert!(server.try_send(&offered).await, "the connection broke");
        }
        server
    });
    until("a stall", async || {
        let stalls = "mproxy_backpressure_stalls_total{direction=\"broker_to_client\"}";
        (mproxy.metrics().await.sum(stalls) >= 1.0).then_some(())
    })
    .await;
    let grown = memory::used_kib(mproxy.id()).saturating_sub(before);
    assert!(grown < 2 * 1024, "{grown} KiB");
    for _ in 0..MESSAGES {
        client.expect(&message).await;
    }
    drop(sending.await.expect("everything was taken"));
}

/// Both sides of one session.
async fn session(addr: SocketAddr, broker: &FakeBroker) -> (Link, Link) {
    let client = Link::client(addr, Version::V311, "c");
    let (client, (server, _)) = tokio::join!(client, broker.accept());
    (client, server)
}

/// The largest gateways subscribe to each topic by a packet of its own, all at once: 5,000 of them were
/// one too many, the connection was lost, and the next one too, for good.
#[tokio::test]
async fn twenty_thousand_subscribes_at_once_are_granted() {
    const REQUESTS: u16 = 20_000;
    const ACL: &str = "[chains.default]\nlayers = [\"acl\"]\n[layers.acl]\ntype = \"acl\"\n\
        [[layers.acl.rules]]\nname = \"all\"\nallow = [\"subscribe\"]\ntopics = [\"s/#\"]\n";
    let broker = Mosquitto::for_load().await;
    for (layers, version, stopped) in [
        ("", Version::V311, false),
        (ACL, Version::V311, false),
        ("", Version::V5, false),
        (ACL, Version::V5, false),
        // what a broker does not answer waits, at its client in the end
        ("", Version::V311, true),
        (ACL, Version::V311, true),
        (ACL, Version::V5, true),
    ] {
        let mproxy = Setup::before(&broker.url()).toml(layers).start().await;
        let requests: Vec<_> = (1..=REQUESTS)
            .flat_map(|id| subscribe(version, id, &[(&format!("s/{id}"), 1)]))
            .collect();
        let answers: Vec<_> = (1..=REQUESTS)
            .flat_map(|id| suback(version, id, &[1]))
            .collect();
        let requests = [&requests[..], &PINGREQ].concat();
        let answers = [&answers[..], &PINGRESP].concat();
        let mut client = Link::client(mproxy.addr(), version, "gateway").await;
        client.silent().await;
        // the peak from here on: that of the start is higher
        let peak = format!("/proc/{}/clear_refs", mproxy.id());
        std::fs::write(peak, "5").expect("the process is ours");
        let before = memory::peak_kib(mproxy.id());
        let (stream, received) = client.into_tcp();
        assert!(received.is_empty());
        let (mut read, mut write) = stream.into_split();
        if stopped {
            broker.process().signal(Signal::STOP);
        }
        let sending = write.write_all(&requests);
        let mut granted = vec![0; answers.len()];
        let resuming = async {
            let mut last = 0;
            until("the proxy to be at rest", async || {
                let ticks = memory::cpu_ticks(mproxy.id());
                let rests = std::mem::replace(&mut last, ticks) == ticks;
                rests.then_some(())
            })
            .await;
            if stopped {
                broker.process().signal(Signal::CONT);
            }
        };
        let both = async {
            let answering = read.read_exact(&mut granted);
            let (sent, answered, ()) = tokio::join!(sending, answering, resuming);
            sent.expect("all of them are taken");
            answered.expect("all of them are answered");
        };
        within("the grants", both).await;
        // each of them, in order, and the PINGREQ behind them
        assert!(granted == answers, "{version:?} {layers:?}");
        let grown = memory::peak_kib(mproxy.id()).saturating_sub(before);
        println!(
            "{version:?}, layers: {}, stopped: {stopped}: {grown} KiB",
            !layers.is_empty()
        );
        assert!(grown < 2 * 1024, "{version:?} {layers:?}: {grown} KiB");
    }
}

/// The counter of refusals had no limit where the line said `server.memory`: an alert by limit missed them.
#[tokio::test]
async fn a_refusal_for_memory_names_its_limit_in_the_metrics_as_in_the_log() {
    let broker = FakeBroker::bind().await;
    let setup = Setup::before(&broker.url()).set("server.memory", "1MiB");
    let mproxy = setup.start().await;
    let refused = "mproxy_connections_refused_total{reason=\"overload\",limit=\"server.memory\"}";
    until("a refusal", async || {
        // more at once than there is memory for, and faster than they are closed again
        let mut burst = JoinSet::new();
        for _ in 0..400 {
            burst.spawn(TcpStream::connect(mproxy.addr()));
        }
        burst.join_all().await;
        (mproxy.metrics().await.sum(refused) >= 1.0).then_some(())
    })
    .await;
    let is_for_memory = |it: &serde_json::Value| it["limit"] == "server.memory";
    let line = mproxy.event("the limit", is_for_memory).await;
    assert_eq!(
        (&line["reason"], &line["event"], &line["value"]),
        (&"overload".into(), &"refuse".into(), &1_048_576.into())
    );
    let metrics = mproxy.metrics().await;
    let without = "mproxy_connections_refused_total{reason=\"overload\",limit=\"\"}";
    assert!(metrics.sum(without) < 1.0);
}
