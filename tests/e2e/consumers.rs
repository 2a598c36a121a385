//! Clients that do not read, over every transport: what mproxy does for them, and what it says about it.

use mproxy_tests::pki::Pki;
use mproxy_tests::wire::{Connect, PINGRESP, Packet, Publish, Version};
use mproxy_tests::{FakeBroker, Link, Mproxy, Setup, tls, until, within};

const WAYS: [&str; 4] = ["mqtt", "ws", "mqtts", "wss"];

/// A proxy with a listener for each transport, and this policy.
async fn start(broker: &FakeBroker, pki: &Pki, policy: &str) -> Mproxy {
    let table = tls::table(pki);
    let [mqtts, wss] = [("mqtts", "mqtt"), ("wss", "ws")].map(|(name, protocol)| {
        format!(
            "[[listeners]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\n\
             bind = \"127.0.0.1:0\"\n{table}"
        )
    });
    let policy = format!("\"{policy}\"");
    let setup = Setup::before(&broker.url()).websocket();
    let setup = setup.toml(&mqtts).toml(&wss);
    WAYS.into_iter()
        .fold(setup, |setup, way| {
            let key = |name: &str| format!("listeners.{way}.limits.{name}");
            setup
                .set(&key("slow_consumer"), &policy)
                .set(&key("slow_consumer_time"), "\"1s\"")
        })
        .start()
        .await
}

async fn client(mproxy: &Mproxy, pki: &Pki, way: &str) -> Link {
    let addr = mproxy.listener(way);
    match way {
        "mqtt" => Link::tcp(addr).await,
        "ws" => Link::ws(addr).await,
        "mqtts" => Link::tls(addr, pki).await,
        _ => Link::wss(addr, pki).await,
    }
}

/// A client and its session at the broker.
async fn session(mproxy: &Mproxy, broker: &FakeBroker, pki: &Pki, way: &str) -> (Link, Link) {
    let mut client = client(mproxy, pki, way).await;
    let connect = Connect::new(Version::V5, way);
    let (_, (server, _)) = tokio::join!(client.connect(&connect), broker.accept());
    (client, server)
}

fn pki() -> Pki {
    let pki = Pki::new();
    pki.server("server", 1);
    pki
}

/// What the broker sends while nobody reads: far more than buffers hold.
const MESSAGES: usize = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qos_0_makes_way_for_everything_else_over_every_transport() {
    let (broker, pki) = (FakeBroker::bind().await, pki());
    let mproxy = start(&broker, &pki, "drop-qos0").await;
    for way in WAYS {
        let (mut client, mut server) = session(&mproxy, &broker, &pki, way).await;
        let flood = Publish::new(Version::V5, "flood").bytes(vec![7; 10_000]);
        let flooding = async {
            for _ in 0..MESSAGES {
                server.send(&flood).await;
            }
        };
        within("the broker to be read on", flooding).await;
        let kept = Publish::new(Version::V5, "kept").qos(1, 1).bytes("kept");
        server.send(&kept).await;
        server.send(&PINGRESP).await;
        let is_told = |level: &str| {
            let level = level.to_owned();
            move |it: &serde_json::Value| {
                it["event"] == "slow" && it["client_id"] == way && it["level"] == level
            }
        };
        let begun = mproxy.event("the beginning", is_told("WARN")).await;
        let remedy = begun["remedy"].as_str().unwrap_or_default();
        assert!(
            remedy.contains(&format!("listeners.{way}.limits.slow_consumer")),
            "{begun}"
        );
        // it reads again: whole packets, and none of those that must not be lost is missing
        let mut floods = 0;
        let mut packet: Packet = client.packet().await;
        while packet.bytes() == flood {
            floods += 1;
            packet = client.packet().await;
        }
        assert_eq!(packet.bytes(), kept, "{way}");
        client.expect(&PINGRESP).await;
        let ended = mproxy.event("the end", is_told("INFO")).await;
        let dropped = ended["shed"].as_u64().unwrap_or_default();
        assert_eq!(floods + dropped, MESSAGES as u64, "{way}: {ended}");
        assert!(dropped > 0, "{way}");
        // it has caught up
        server.send(&flood).await;
        client.expect(&flood).await;
        let counted = "mproxy_packets_dropped_total{layer=\"session\",type=\"publish\",reason=\"slow_consumer\"}";
        assert!(
            mproxy.metrics().await.sum(counted) >= dropped as f64,
            "{way}"
        );
        drop(client);
        let last = mproxy.end_of(way).await;
        assert_eq!(last["shed"], dropped, "{last}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_disconnected_over_every_transport() {
    let (broker, pki) = (FakeBroker::bind().await, pki());
    let mproxy = start(&broker, &pki, "disconnect").await;
    for way in WAYS {
        let (client, mut server) = session(&mproxy, &broker, &pki, way).await;
        let flood = Publish::new(Version::V5, "flood").bytes(vec![7; 10_000]);
        let flooding = async { while server.try_send(&flood).await {} };
        within("the end of the session", flooding).await;
        let last = mproxy.end_of(way).await;
        assert_eq!(last["reason"], "slow_consumer", "{last}");
        assert_eq!(last["side"], "proxy", "{last}");
        let remedy = last["remedy"].as_str().unwrap_or_default();
        assert!(remedy.contains("slow_consumer_time"), "{last}");
        drop(client);
    }
    until("the metric", async || {
        let closed = "mproxy_connections_closed_total{side=\"proxy\",reason=\"slow_consumer\"}";
        (mproxy.metrics().await.sum(closed) >= 4.0).then_some(())
    })
    .await;
}
