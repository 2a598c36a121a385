//! What somebody who reaches the port can hold on to.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Port, exchange};

const MAX_CONNECTIONS: usize = 64;

/// Somebody who holds connections open must not keep a probe out: the oldest one gives way.
#[tokio::test]
async fn full_port_still_answers() {
    let port = Port::start().await;
    let mut idle = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        idle.push(port.connect().await);
    }
    port.get("/livez").await.assert(200, "ok\n");

    let mut evicted = idle.remove(0);
    assert_eq!(evicted.read(&mut [0; 1]).await.unwrap(), 0);
    let youngest = idle.pop().unwrap();
    exchange(youngest, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .assert(200, "ok\n");
}

/// Time is virtual here: it jumps to the next timer as soon as nothing else can happen.
#[tokio::test(start_paused = true)]
async fn slow_request_head_is_cut_off() {
    let port = Port::start().await;
    let started = tokio::time::Instant::now();
    let mut silent = port.connect().await;
    let mut dribbling = port.connect().await;
    dribbling.write_all(b"GET /livez HTT").await.unwrap();
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).await.unwrap();
    dribbling.read_to_end(&mut rest).await.unwrap();
    let waited = started.elapsed();
    assert!((4..=6).contains(&waited.as_secs()), "{waited:?}");
}

#[tokio::test]
async fn oversized_request_head_is_refused() {
    let port = Port::start().await;
    let long = format!("X-Long: {}\r\n", "x".repeat(20_000));
    assert_eq!(port.request("GET", "/livez", &long).await.status, 431);
    let many = "X: y\r\n".repeat(100);
    assert_eq!(port.request("GET", "/livez", &many).await.status, 431);
    port.get("/livez").await.assert(200, "ok\n");
}

/// One request a connection, so the deadline of a connection is one of the request.
#[tokio::test]
async fn connection_closes_after_the_answer() {
    let port = Port::start().await;
    let twice = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /readyz HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = exchange(port.connect().await, twice).await;
    answer.assert(200, "ok\n");
    assert_eq!(answer.header("connection"), Some("close"));
}

#[tokio::test]
async fn garbage_ends_only_its_connection() {
    let port = Port::start().await;
    // An MQTT client on the wrong port.
    let mut lost = port.connect().await;
    lost.write_all(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00")
        .await
        .unwrap();
    let mut answer = Vec::new();
    lost.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400 "));
    port.get("/livez").await.assert(200, "ok\n");
}

#[tokio::test]
async fn shutdown_closes_idle_connections() {
    let port = Port::start().await;
    let mut idle = port.connect().await;
    // A later connection was answered, so the idle one was accepted before it.
    port.get("/livez").await.assert(200, "ok\n");
    let addr = port.addr;
    port.shut_down().await;
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}
