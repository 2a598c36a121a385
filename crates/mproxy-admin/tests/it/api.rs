//! The guarded routes, before a proxy that answers what it is told to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use mproxy_admin::{
    Api, BanList, BanRefused, Bannable, BoxFuture, Connection, Crl, CrlFetch, Disconnect, Drain,
    DrainHow, DrainRefused, DrainState, NewBan, ReloadRefused, Reloaded, ScoreEntry,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use crate::support::{Answer, Port, exchange};

#[derive(Debug, Default)]
struct Fake {
    outcome: Mutex<Option<Result<Reloaded, ReloadRefused>>>,
    asked: Mutex<Vec<String>>,
    has_token: AtomicBool,
    undo_refused: Mutex<Option<DrainRefused>>,
    /// What a reload waits for.
    gate: Mutex<Option<oneshot::Receiver<()>>>,
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
        let gate = self.gate.lock().unwrap().take();
        Box::pin(async {
            if let Some(gate) = gate {
                gate.await.unwrap();
            }
            outcome.unwrap_or_else(|| Ok(Reloaded::default()))
        })
    }

    fn drain(&self, how: &DrainHow) -> BoxFuture<Result<Drain, DrainRefused>> {
        self.note(format!("drain {:?}", how.timeout));
        let state = self.drain_state();
        Box::pin(async move { Ok(state) })
    }

    fn drain_state(&self) -> Drain {
        Drain {
            state: DrainState::NotReady,
            sessions: 3,
            ends: false,
        }
    }

    fn undo_drain(&self) -> BoxFuture<Result<Drain, DrainRefused>> {
        self.note("undo".to_owned());
        let refused = self.undo_refused.lock().unwrap().take();
        let state = self.drain_state();
        Box::pin(async move { refused.map_or(Ok(state), Err) })
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
        let ban = how.ban_s.map_or(String::new(), |it| format!(" ban {it}"));
        self.note(format!("disconnect {id} {:#x}{ban}", how.reason_code));
        id == 7
    }

    fn bans(&self) -> BanList {
        let score = |points| ScoreEntry {
            subject: "address",
            value: "192.0.2.7".to_owned(),
            points,
        };
        BanList {
            total: 0,
            bans: Vec::new(),
            threshold: 100,
            total_scores: 2,
            scores: vec![score(50.0), score(20.0)],
        }
    }

    fn ban(&self, subject: Bannable<'_>, new: &NewBan) -> Result<usize, BanRefused> {
        self.note(format!("ban {subject:?} for {:?}", new.for_s));
        match subject {
            Bannable::Address(text) if text.contains('x') => {
                Err(BanRefused::Invalid(format!("`{text}` is not an address")))
            }
            Bannable::ClientId("full") => Err(BanRefused::Full),
            _ => Ok(3),
        }
    }

    fn lift(&self, subject: Bannable<'_>) -> Result<bool, BanRefused> {
        self.note(format!("lift {subject:?}"));
        Ok(subject == Bannable::Address("10.0.0.0/8"))
    }

    fn crls(&self) -> Vec<Crl> {
        let listener = vec!["listeners.mqtts".to_owned()];
        let url = "http://pki.example.com:80/ca.crl".to_owned();
        let fetched = Crl::new(url, listener.clone(), None).fetched(CrlFetch::default());
        let file = Crl::new("/etc/ca.crl".to_owned(), listener, Some([0, 60]));
        vec![fetched, file]
    }

    fn fetch_crls(&self) -> BoxFuture<Vec<Crl>> {
        self.note("fetch".to_owned());
        let mut fetched = self.crls();
        fetched.retain(|it| it.fetch.is_some());
        Box::pin(async { fetched })
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

/// Every error has one shape, with what to do.
#[track_caller]
fn assert_failure(answer: &Answer, status: u16, text: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = body(answer);
    let error = body["error"].as_str().unwrap();
    assert!(error.contains(text), "{error}");
    assert!(!body["remedy"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn a_port_without_a_proxy_has_no_api() {
    let port = Port::start().await;
    let answer = port.get("/api/v1/connections").await;
    assert_failure(&answer, 404, "there is no such path");
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
                ..Reloaded::default()
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
            json!({ "error": "mproxy drains, and does not reload" }),
        ),
    ] {
        *fake.outcome.lock().unwrap() = Some(outcome);
        let answer = port.request("POST", "/api/v1/reload", JSON).await;
        let mut body = body(&answer);
        let remedy = body.as_object_mut().unwrap().remove("remedy");
        assert_eq!((answer.status, body), (status, expected));
        assert_eq!(remedy.is_some(), status != 200);
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
    assert_eq!(kick(7, "{\"reason_code\": 142, \"ban_s\": 60}").await, 200);
    assert_eq!(kick(8, "").await, 404);
    // a success is no reason to be sent away
    assert_eq!(kick(7, "{\"reason_code\": 0}").await, 400);
    assert_eq!(kick(7, "{\"reason\": 142}").await, 400);
    let asked = fake.asked.lock().unwrap();
    assert_eq!(
        *asked,
        [
            "disconnect 7 0x98",
            "disconnect 7 0x8e ban 60",
            "disconnect 8 0x98"
        ]
    );
}

#[tokio::test]
async fn bans_are_listed_made_and_lifted() {
    let (fake, port) = served().await;
    let list = body(&port.get("/api/v1/bans?limit=1&offset=1").await);
    assert_eq!(
        (&list["total"], &list["total_scores"]),
        (&json!(0), &json!(2))
    );
    assert_eq!(
        list["scores"],
        json!([{ "subject": "address", "value": "192.0.2.7", "points": 20.0 }])
    );

    let send = |method: &'static str, target: &'static str, text: &'static str| {
        let headers = format!("{JSON}Content-Length: {}\r\n\r\n{text}", text.len());
        let port = &port;
        async move { port.request_raw(method, target, &headers).await }
    };
    let ban = |text| send("POST", "/api/v1/bans", text);
    let made = ban("{\"address\": \"10.0.0.0/8\", \"for_s\": 60, \"reason\": \"x\"}").await;
    assert_eq!(
        (made.status, body(&made)),
        (200, json!({ "disconnected": 3 }))
    );
    for (text, why) in [
        ("{}", "not exactly one subject"),
        (
            "{\"username\": \"a\", \"client_id\": \"c\"}",
            "not exactly one subject",
        ),
        ("{\"address\": \"x\"}", "is not an address"),
        ("{\"user\": \"a\"}", "unknown field"),
        ("", "the body"),
    ] {
        assert_failure(&ban(text).await, 400, why);
    }
    assert_failure(&ban("{\"client_id\": \"full\"}").await, 507, "no room");

    let lift = |target| send("DELETE", target, "");
    assert_eq!(lift("/api/v1/bans?address=10.0.0.0%2F8").await.status, 200);
    assert_failure(&lift("/api/v1/bans?username=ann").await, 404, "not banned");
    assert_failure(&lift("/api/v1/bans").await, 400, "not exactly one subject");
    let plain = port
        .request_raw("DELETE", "/api/v1/bans?username=ann", "\r\n")
        .await;
    assert_eq!(plain.status, 415, "a page of a browser could send it");
    let asked = fake.asked.lock().unwrap();
    assert_eq!(
        *asked,
        [
            "ban Address(\"10.0.0.0/8\") for Some(60)",
            "ban Address(\"x\") for None",
            "ban ClientId(\"full\") for None",
            "lift Address(\"10.0.0.0/8\")",
            "lift Username(\"ann\")",
        ]
    );
}

#[tokio::test]
async fn revocation_lists_are_listed_and_fetched() {
    let (fake, port) = served().await;
    let all = body(&port.get("/api/v1/crls").await);
    let states: Vec<_> = all["crls"].as_array().unwrap().iter().collect();
    assert_eq!(
        [&states[0]["state"], &states[1]["state"]],
        [&json!("missing"), &json!("expired")]
    );
    assert!(fake.asked.lock().unwrap().is_empty());
    let fetched = port.request("POST", "/api/v1/crls/fetch", JSON).await;
    assert_eq!(body(&fetched)["crls"], json!([states[0]]));
    let plain = port.request("POST", "/api/v1/crls/fetch", "").await;
    assert_failure(&plain, 415, "");
    assert_failure(&port.get("/api/v1/crls/fetch").await, 405, "method");
    assert_eq!(*fake.asked.lock().unwrap(), ["fetch"]);
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

#[tokio::test]
async fn a_drain_is_begun_followed_and_undone() {
    let (fake, port) = served().await;
    let with = async |body: &str| {
        let rest = format!("{JSON}Content-Length: {}\r\n\r\n{body}", body.len());
        port.request_raw("POST", "/api/v1/drain", &rest).await
    };
    let state = json!({"state": "not-ready", "sessions": 3, "ends": false});
    assert_eq!(body(&with("").await), state);
    assert_eq!(body(&with("{\"timeout\": \"1m 5s\"}").await), state);
    for (wrong, text) in [
        ("{\"timeout\": 25}", "invalid type"),
        ("{\"timeout\": \"soon\"}", "expected number"),
        ("{\"time\": \"25s\"}", "unknown field"),
    ] {
        assert_failure(&with(wrong).await, 400, text);
    }
    assert_failure(&port.request("POST", "/api/v1/drain", "").await, 415, "");
    assert_eq!(body(&port.get("/api/v1/drain").await), state);
    assert_eq!(
        body(&port.request("DELETE", "/api/v1/drain", "").await),
        state
    );
    for (refused, text) in [
        (DrainRefused::Ending, "received a signal"),
        (DrainRefused::Closed("mqtt".to_owned()), "not undone: mqtt"),
    ] {
        *fake.undo_refused.lock().unwrap() = Some(refused);
        let answer = port.request("DELETE", "/api/v1/drain", "").await;
        assert_failure(&answer, 409, text);
    }
    let asked = fake.asked.lock().unwrap();
    assert_eq!(asked[..3], ["drain None", "drain Some(65s)", "undo"]);
}

/// A wrong method was told to send JSON (415), and a wrong query, a long body and an unknown path were
/// answered with bare text that did not say what was wrong.
#[tokio::test]
async fn what_is_wrong_with_a_request_is_named() {
    let (fake, port) = served().await;
    for (method, target, allow) in [
        ("GET", "/api/v1/reload", "POST"),
        ("DELETE", "/api/v1/connections", "GET,HEAD"),
        ("PUT", "/api/v1/connections/7/disconnect", "POST"),
        ("PUT", "/api/v1/drain", "POST,GET,HEAD,DELETE"),
    ] {
        let answer = port.request(method, target, "").await;
        assert_failure(&answer, 405, "method");
        assert_eq!(answer.header("allow"), Some(allow), "{method} {target}");
    }
    for (method, target, status, text) in [
        ("GET", "/api/v1/connections?clinet=t", 400, "clinet"),
        ("GET", "/api/v1/connections?limit=many", 400, "limit"),
        ("GET", "/api/v1/connections?ip=host", 400, "ip"),
        ("GET", "/api/v1/connections?sort=size", 400, "size"),
        ("GET", "/api/v1/connections/x", 404, "`x`"),
        ("GET", "/api/v1/connections/%ff", 404, "UTF-8"),
        ("GET", "/api/v1/conections", 404, "path"),
        ("POST", "/api/v1/reload?strict=maybe", 400, "maybe"),
        ("POST", "/api/v1/reload?stric", 400, "stric"),
        ("POST", "/api/v1/connections/x/disconnect", 404, "`x`"),
    ] {
        let answer = port.request(method, target, JSON).await;
        assert_failure(&answer, status, text);
    }
    let long = "x".repeat(20_000);
    let rest = format!("{JSON}Content-Length: {}\r\n\r\n{long}", long.len());
    let answer = port.request_raw("POST", "/api/v1/reload", &rest).await;
    assert_failure(&answer, 413, "length limit");
    assert!(fake.asked.lock().unwrap().is_empty());
}

/// A flood of connections cut a reload that was under way: it was carried out, but its caller was told
/// that there was no answer.
#[tokio::test]
async fn a_flood_does_not_cut_a_request_that_is_being_answered() {
    let (fake, port) = served().await;
    let (open, gate) = oneshot::channel();
    *fake.gate.lock().unwrap() = Some(gate);
    let mut reload = port.connect().await;
    let request = format!("POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\n");
    reload.write_all(request.as_bytes()).await.unwrap();
    while fake.asked.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let mut flood = Vec::new();
    for _ in 0..200 {
        let mut stream = port.connect().await;
        // some send a head that promises a body
        if flood.len() % 2 == 0 {
            let head = b"POST /api/v1/reload HTTP/1.1\r\nContent-Length: 2\r\n\r\n";
            stream.write_all(head).await.unwrap();
        }
        flood.push(stream);
    }
    port.get("/livez").await.assert(200, "ok\n");
    open.send(()).unwrap();
    let answer = exchange(reload, b"").await;
    assert_eq!(answer.status, 200);
    assert_eq!(*fake.asked.lock().unwrap(), ["reload strict=false"]);
}

/// A reload of a large configuration took longer than the 30 s that a connection had: its caller was cut
/// without an answer while the reload went on. Time is virtual here.
#[tokio::test(start_paused = true)]
async fn a_reload_may_take_longer_than_the_deadline_of_a_connection() {
    let (fake, port) = served().await;
    let (open, gate) = oneshot::channel();
    *fake.gate.lock().unwrap() = Some(gate);
    let request = format!("POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\n");
    let reload = port.send(&request);
    let slow = async {
        tokio::time::sleep(std::time::Duration::from_secs(100)).await;
        open.send(()).unwrap();
    };
    let (answer, ()) = tokio::join!(reload, slow);
    assert_eq!(answer.status, 200);
    // a caller that does not send its request whole still has 30 s
    let mut stuck = port.connect().await;
    let head = format!(
        "POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\n{JSON}Content-Length: 2\r\n\r\n"
    );
    stuck.write_all(head.as_bytes()).await.unwrap();
    let begun = tokio::time::Instant::now();
    stuck.read_to_end(&mut Vec::new()).await.ok();
    assert_eq!(begun.elapsed().as_secs(), 30);
    assert_eq!(*fake.asked.lock().unwrap(), ["reload strict=false"]);
}
