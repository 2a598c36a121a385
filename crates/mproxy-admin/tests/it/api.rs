//! The guarded routes, before a proxy that answers what it is told to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use mproxy_admin::{Api, BoxFuture, Connection, Disconnect, ReloadRefused, Reloaded};
use serde_json::{Value, json};

use crate::support::{Answer, Port};

#[derive(Debug, Default)]
struct Fake {
    outcome: Mutex<Option<Result<Reloaded, ReloadRefused>>>,
    asked: Mutex<Vec<String>>,
    has_token: AtomicBool,
}

impl Fake {
    fn note(&self, what: String) {
        self.asked.lock().unwrap().push(what);
    }
}

impl Api for Fake {
    fn needs_token(&self) -> bool {
        self.has_token.load(Ordering::Relaxed)
    }

    fn is_authorized(&self, token: &str) -> bool {
        token == "secret"
    }

    fn reload(&self, strict: bool) -> BoxFuture<Result<Reloaded, ReloadRefused>> {
        self.note(format!("reload strict={strict}"));
        let outcome = self.outcome.lock().unwrap().take();
        Box::pin(async { outcome.unwrap_or_else(|| Ok(Reloaded::default())) })
    }

    fn connections(&self) -> Vec<Connection> {
        let connection = |id, client_id: &str| Connection {
            id,
            listener: "mqtt".to_owned(),
            peer: Some("10.0.0.1:5000".to_owned()),
            client_id: client_id.to_owned(),
            username: Some("alice".to_owned()),
            version: "5",
            keep_alive_s: 60,
            clean_start: true,
            age_s: 1.5,
            packets_to_server: 1,
            packets_to_client: 2,
            bytes_to_server: 3,
            bytes_to_client: 4,
        };
        vec![connection(7, "one"), connection(9, "two")]
    }

    fn connection(&self, id: u64) -> Option<Connection> {
        self.connections().into_iter().find(|it| it.id == id)
    }

    fn disconnect(&self, id: u64, how: &Disconnect) -> bool {
        self.note(format!("disconnect {id} {:#x}", how.reason_code));
        id == 7
    }
}

const JSON: &str = "Content-Type: application/json\r\n";

async fn served() -> (Arc<Fake>, Port) {
    let fake = Arc::new(Fake::default());
    let port = Port::with_api(Some(Arc::clone(&fake) as Arc<dyn Api>)).await;
    (fake, port)
}

fn body(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

#[tokio::test]
async fn a_port_without_a_proxy_has_no_api() {
    let port = Port::start().await;
    let answer = port.get("/api/v1/connections").await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn a_reload_tells_what_changed_or_why_nothing_did() {
    let (fake, port) = served().await;
    let diagnostics = json!([{ "message": "unknown key" }]);
    for (outcome, status, expected) in [
        (
            Ok(Reloaded {
                applied: vec!["layers.acl".to_owned()],
                unchanged: Vec::new(),
                restart_required: vec!["admin".to_owned()],
            }),
            200,
            json!({ "applied": ["layers.acl"], "unchanged": [], "restart_required": ["admin"] }),
        ),
        (
            Err(ReloadRefused::Invalid {
                error: "1 error".to_owned(),
                diagnostics: diagnostics.clone(),
            }),
            422,
            json!({ "error": "1 error", "report": diagnostics }),
        ),
        (
            Err(ReloadRefused::Draining),
            409,
            json!({ "error": "the proxy drains" }),
        ),
    ] {
        *fake.outcome.lock().unwrap() = Some(outcome);
        let answer = port.request("POST", "/api/v1/reload", JSON).await;
        assert_eq!((answer.status, body(&answer)), (status, expected));
    }
    for target in ["/api/v1/reload?strict", "/api/v1/reload?strict=true"] {
        assert_eq!(port.request("POST", target, JSON).await.status, 200);
    }
    let asked = fake.asked.lock().unwrap();
    assert_eq!(asked[3..], ["reload strict=true", "reload strict=true"]);
}

#[tokio::test]
async fn connections_are_listed_shown_and_ended() {
    let (fake, port) = served().await;
    let list = body(&port.get("/api/v1/connections?client=t*&limit=5").await);
    assert_eq!((&list["total"], &list["limit"]), (&json!(1), &json!(5)));
    assert_eq!(list["connections"][0]["id"], 9);
    assert_eq!(port.get("/api/v1/connections?clinet=t").await.status, 400);
    let one = body(&port.get("/api/v1/connections/7").await);
    assert_eq!(
        (&one["client_id"], &one["bytes_to_client"]),
        (&json!("one"), &json!(4))
    );
    assert_eq!(port.get("/api/v1/connections/8").await.status, 404);

    let kick = |id: u64, text: &'static str| {
        let headers = format!("{JSON}Content-Length: {}\r\n\r\n{text}", text.len());
        let target = format!("/api/v1/connections/{id}/disconnect");
        let port = &port;
        async move { port.request_raw("POST", &target, &headers).await.status }
    };
    assert_eq!(kick(7, "").await, 200);
    assert_eq!(kick(7, "{\"reason_code\": 142}").await, 200);
    assert_eq!(kick(8, "").await, 404);
    // a success is no reason to be sent away
    assert_eq!(kick(7, "{\"reason_code\": 0}").await, 400);
    assert_eq!(kick(7, "{\"reason\": 142}").await, 400);
    let asked = fake.asked.lock().unwrap();
    assert_eq!(
        *asked,
        [
            "disconnect 7 0x98",
            "disconnect 7 0x8e",
            "disconnect 8 0x98"
        ]
    );
}

/// A page in a browser on the same host can send requests to 127.0.0.1, and one whose name points
/// there even reads the answers.
#[tokio::test]
async fn what_a_page_could_send_is_refused() {
    let (fake, port) = served().await;
    let request = |host: &'static str, headers: &'static str| {
        let text = format!("POST /api/v1/reload HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        let port = &port;
        async move { port.send(&text).await.status }
    };
    assert_eq!(request("evil.example:9883", JSON).await, 403);
    assert_eq!(request("localhost", "").await, 415);
    assert_eq!(
        request("localhost", "Content-Type: text/plain\r\n").await,
        415
    );
    let cross = "Content-Type: application/json\r\nSec-Fetch-Site: cross-site\r\n";
    assert_eq!(request("localhost", cross).await, 403);
    let wrong = "Content-Type: application/json\r\nAuthorization: Bearer wrong\r\n";
    assert_eq!(request("localhost", wrong).await, 401);
    assert_eq!(port.get("/api/v1/reload").await.status, 405);
    assert!(fake.asked.lock().unwrap().is_empty());
    // where there is a token, all need it: a proxy on this host stands before callers from anywhere
    fake.has_token.store(true, Ordering::Relaxed);
    assert_eq!(request("localhost", JSON).await, 401);
    // a caller with the token is not a page, whatever the name of the host
    let token = "Content-Type: application/json\r\nAuthorization: bearer secret\r\n";
    assert_eq!(request("mproxy.internal", token).await, 200);
}
