//! Every path, every method, ready and not.

use crate::support::Port;

#[tokio::test]
async fn alive_without_anything_else() {
    let port = Port::start().await;
    port.health.upstream("broker").fail("connection refused");
    port.health.set_draining(true);
    for path in ["/livez", "/live", "/healthz", "/livez?verbose"] {
        port.get(path).await.assert(200, "ok\n");
    }
}

#[tokio::test]
async fn ready_when_listeners_and_broker_are() {
    let port = Port::start().await;
    port.get("/readyz").await.assert(
        503,
        "[-]listeners: none yet\n[+]not draining ok\nreadyz check failed\n",
    );

    let listener = port.health.listener("mqtt");
    let broker = port.health.upstream("broker");
    listener.ok();
    port.get("/readyz").await.assert(
        503,
        "[+]listeners ok\n[-]upstream broker: not checked yet\n[+]not draining ok\n\
         readyz check failed\n",
    );

    broker.ok();
    port.get("/readyz").await.assert(200, "ok\n");
    port.get("/ready").await.assert(200, "ok\n");
    for target in ["/readyz?verbose", "/ready?verbose=1", "/readyz?a=b&verbose"] {
        port.get(target).await.assert(
            200,
            "[+]listeners ok\n[+]upstream broker ok\n[+]not draining ok\nreadyz check passed\n",
        );
    }

    port.health.upstream("broker").fail("connection refused");
    let answer = port.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert!(
        answer
            .body
            .contains("[-]upstream broker: connection refused\n")
    );

    port.health.upstream("broker").ok();
    port.get("/readyz").await.assert(200, "ok\n");
}

#[tokio::test]
async fn not_ready_while_draining() {
    let port = Port::start().await;
    port.health.listener("mqtt").ok();
    port.health.set_draining(true);
    port.get("/readyz")
        .await
        .assert(503, "[+]listeners ok\n[-]draining\nreadyz check failed\n");
    port.health.set_draining(false);
    port.get("/readyz").await.assert(200, "ok\n");
}

/// An error text from the network must not be able to forge a line of the report.
#[tokio::test]
async fn check_message_stays_on_its_line() {
    let port = Port::start().await;
    port.health.listener("mqtt").ok();
    port.health
        .upstream("x")
        .fail("bad\n[+]upstream broker ok\r\n");
    let answer = port.get("/readyz").await;
    assert_eq!(answer.body.lines().count(), 4, "{}", answer.body);
}

#[tokio::test]
async fn version_is_json() {
    let port = Port::start().await;
    let answer = port.get("/version").await;
    answer.assert(
        200,
        "{\"name\":\"mproxy-server\",\"version\":\"1.2.3\",\"revision\":\"abc123\",\"tls\":\"aws-lc-rs (AWS-LC 5.1.0)\"}\n",
    );
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn index_and_unknown_path_list_the_endpoints() {
    let port = Port::start().await;
    let index = port.get("/").await;
    assert_eq!(index.status, 200);
    let unknown = port.get("/healthy").await;
    assert_eq!(unknown.status, 404);
    for path in ["/livez", "/readyz", "/metrics", "/version"] {
        assert!(index.body.contains(path), "{path}");
        assert!(unknown.body.contains(path), "{path}");
    }
}

#[tokio::test]
async fn only_get_and_head() {
    let port = Port::start().await;
    for path in ["/", "/livez", "/readyz", "/metrics", "/version"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
            let answer = port.request(method, path, "Content-Length: 0\r\n").await;
            answer.assert(405, "use GET or HEAD\n");
            assert_eq!(answer.header("allow"), Some("GET,HEAD"), "{method} {path}");
        }
        let head = port.request("HEAD", path, "").await;
        let status = if path == "/readyz" { 503 } else { 200 };
        head.assert(status, "");
    }
    assert_eq!(port.request("POST", "/nothing", "").await.status, 404);
}

#[tokio::test]
async fn answers_are_not_stored_and_not_sniffed() {
    let port = Port::start().await;
    for path in ["/livez", "/readyz", "/metrics", "/version", "/", "/nothing"] {
        let answer = port.get(path).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
}
