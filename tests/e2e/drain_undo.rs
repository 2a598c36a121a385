//! A drain that the admin port is asked for: the process stays, and lets clients in again.

use std::time::Duration;

use mproxy_tests::clients::mosquitto_pub;
use mproxy_tests::wire::{Connect, Version};
use mproxy_tests::{
    FakeBroker, Link, Mosquitto, Mproxy, Port, Process, Setup, http, server_binary, until,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::tls::{args, listener, pki, shown};

const SOON: Duration = Duration::from_secs(5);

/// A request about the drain: the status, and the answer.
pub(crate) async fn ask(mproxy: &Mproxy, method: &str, body: &str) -> (u16, Value) {
    let admin = mproxy.admin();
    let answer = http::request(
        admin,
        &format!(
            "{method} /api/v1/drain HTTP/1.0\r\nHost: {admin}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    )
    .await;
    let json = serde_json::from_str(&answer.body);
    (
        answer.status,
        json.unwrap_or_else(|error| panic!("{error}: {}", answer.body)),
    )
}

async fn until_state(mproxy: &Mproxy, state: &str) -> Value {
    until(state, async || {
        let (status, answer) = ask(mproxy, "GET", "").await;
        assert_eq!(status, 200);
        (answer["state"] == state).then_some(answer)
    })
    .await
}

/// The command, as an operator uses it.
async fn command(mproxy: &Mproxy, args: &[&str]) -> (i32, String) {
    let mut command = tokio::process::Command::new(server_binary());
    command
        .args(["drain", "--url", &format!("http://{}", mproxy.admin())])
        .args(args)
        .env_clear();
    Process::run(command).await
}

async fn until_refused(mproxy: &Mproxy) {
    until("the listener to be closed", async || {
        TcpStream::connect(mproxy.addr()).await.err()
    })
    .await;
}

/// All clients go, and the process stays; then clients come back, to the same port.
#[tokio::test]
async fn a_drained_proxy_serves_again() {
    let broker = Mosquitto::start().await;
    let mut mproxy = Setup::before(&broker.url()).websocket().start().await;
    mproxy.until_ready(true).await;
    for _ in 0..3 {
        let plain = Link::client(mproxy.addr(), Version::V5, "plain").await;
        let mut ws = Link::ws(mproxy.listener("ws")).await;
        ws.connect(&Connect::new(Version::V311, "ws")).await;
        let (status, answer) = ask(&mproxy, "POST", "").await;
        assert_eq!(status, 200, "{answer}");
        plain.closed().await;
        ws.closed().await;
        let drained = until_state(&mproxy, "drained").await;
        assert_eq!(
            drained,
            json!({"state": "drained", "sessions": 0, "ends": false})
        );
        until_refused(&mproxy).await;
        mproxy.until_ready(false).await;
        mproxy.metric("mproxy_draining", 1.0).await;
        // both gauges were 1
        mproxy.metric("mproxy_listener_up", 0.0).await;

        // a second request finds the first, and a reload would open the listeners
        assert_eq!(ask(&mproxy, "POST", "").await, (200, drained));
        let answer = mproxy.ask_for_reload().await;
        assert_eq!(answer.status, 409);
        assert!(answer.body.contains("drain --undo"), "{}", answer.body);
        let line = mproxy.event("the refusal", |it| {
            it["event"] == "reload" && it["level"] == "WARN"
        });
        let remedy = line.await["remedy"].to_string();
        assert!(remedy.contains("drain --undo"), "{remedy}");

        let (status, answer) = ask(&mproxy, "DELETE", "").await;
        assert_eq!(
            (status, &answer["state"]),
            (200, &json!("serving")),
            "{answer}"
        );
        mproxy.until_ready(true).await;
        mproxy.metric("mproxy_draining", 0.0).await;
        mproxy.metric("mproxy_listener_up", 2.0).await;
        Link::client(mproxy.addr(), Version::V5, "again")
            .await
            .leave()
            .await;
    }
    // nothing to undo, and a reload works
    assert_eq!(ask(&mproxy, "DELETE", "").await.0, 200);
    assert_eq!(mproxy.ask_for_reload().await.status, 200);
    mproxy.signal(Signal::TERM);
    assert_eq!(mproxy.code(SOON).await, 0);
}

/// An operator who has second thoughts in time disconnects nobody.
#[tokio::test]
async fn an_undo_before_clients_are_told_keeps_them() {
    let broker = Mosquitto::start().await;
    let setup = Setup::before(&broker.url()).set("server.ready_delay", "10m");
    let mproxy = setup.start().await;
    mproxy.until_ready(true).await;
    let mut first = Link::client(mproxy.addr(), Version::V5, "first").await;
    let (code, said) = command(&mproxy, &[]).await;
    assert_eq!((code, &*said), (0, "not-ready: 1 session"));
    mproxy.until_ready(false).await;
    // still accepting
    let mut second = Link::client(mproxy.addr(), Version::V5, "second").await;
    let (code, said) = command(&mproxy, &["--undo"]).await;
    assert_eq!((code, &*said), (0, "serving: 2 sessions"));
    mproxy.until_ready(true).await;
    first.silent().await;
    second.silent().await;
}

/// `drain --wait`, as in preStop of Kubernetes: the time includes `ready_delay`, whatever the
/// configuration says.
#[tokio::test]
async fn the_command_waits_until_clients_are_gone() {
    let broker = FakeBroker::bind().await;
    let setup = Setup::before(&broker.url())
        .set("server.ready_delay", "10m")
        .set("server.drain_timeout", "10m");
    let mut mproxy = setup.start().await;
    let client = Link::client(mproxy.addr(), Version::V5, "c");
    let (client, _server) = tokio::join!(client, broker.accept());
    let (code, said) = command(&mproxy, &["--wait", "1s"]).await;
    assert_eq!((code, &*said), (0, "drained: no session is left"));
    client.closed().await;
    // the hard stop does not wait for ready_delay again
    mproxy.signal(Signal::TERM);
    assert_eq!(mproxy.code(SOON).await, 0);
}

/// A signal during the drain ends the process, and it is too late for an undo.
#[tokio::test]
async fn a_signal_cannot_be_undone() {
    let broker = FakeBroker::bind().await;
    let setup = Setup::before(&broker.url()).set("server.ready_delay", "10m");
    let mut mproxy = setup.start().await;
    let client = Link::client(mproxy.addr(), Version::V5, "c");
    let (_client, _server) = tokio::join!(client, broker.accept());
    assert_eq!(ask(&mproxy, "POST", "").await.0, 200);
    mproxy.signal(Signal::TERM);
    until("the signal to be seen", async || {
        let (_, answer) = ask(&mproxy, "GET", "").await;
        (answer["ends"] == true).then_some(())
    })
    .await;
    for method in ["DELETE", "POST"] {
        let (status, answer) = ask(&mproxy, method, "").await;
        assert_eq!(status, 409, "{answer}");
        let error = answer["error"].as_str().expect("an error");
        assert!(error.contains("signal to stop"), "{error}");
    }
    mproxy.signal(Signal::INT);
    assert_eq!(mproxy.code(SOON).await, 128 + 2);
}

/// A certificate that changes while the proxy is drained was news to nobody, and clients saw the old one after
/// the undo; so was a revocation list.
#[tokio::test]
async fn what_changed_during_a_drain_counts_after_the_undo() {
    let pki = pki();
    pki.revoke(&[]);
    let broker = Mosquitto::start().await;
    let revocation = format!(
        "client_auth = \"require\"\n[listeners.tls.revocation]\ncrl_files = [\"{}\"]\n",
        pki.file("ca.crl")
    );
    let mproxy = listener(&pki, &broker.url(), &revocation).start().await;
    let gets_in = async || {
        let publish = ["-t", "t", "-m", "m", "-i", "alice"];
        let args = args(&shown(&pki, "alice"), &publish).join("\n");
        let args: Vec<_> = args.lines().collect();
        let (code, _) = mosquitto_pub(mproxy.listener("mqtts"), Version::V5, &args).await;
        code == 0
    };
    assert!(gets_in().await);
    let (code, said) = command(&mproxy, &["--wait", "5s"]).await;
    assert_eq!(code, 0, "{said}");
    pki.revoke(&[7]);
    let is_by = |event: &Value| event["by"] == "a changed certificate";
    let line = mproxy.event("the refused reload", is_by).await;
    assert_eq!(line["level"], "WARN", "{line}");
    let (code, said) = command(&mproxy, &["--undo"]).await;
    assert_eq!(code, 0, "{said}");
    let line = mproxy.event("the reload", |it| {
        is_by(it) && it["applied"] == "listeners.mqtts.tls"
    });
    line.await;
    assert!(!gets_in().await);
}

/// Another program has taken the port meanwhile: it is named, the drain goes on, and the undo works when the
/// port is free.
#[tokio::test]
async fn an_undo_needs_the_port() {
    let broker = Mosquitto::start().await;
    let port = Port::reserve();
    let setup = Setup::new(&Setup::head(&broker.url()).replacen(
        "127.0.0.1:0",
        &port.addr().to_string(),
        1,
    ));
    let mproxy = setup.start().await;
    let (code, said) = command(&mproxy, &["--wait", "5s"]).await;
    assert_eq!(code, 0, "{said}");
    let other = tokio::net::TcpListener::bind(port.addr())
        .await
        .expect("it is free");
    let (code, said) = command(&mproxy, &["--undo"]).await;
    assert_eq!(code, 1, "{said}");
    let told = format!("cannot listen on {}", port.addr());
    assert!(said.contains(&told), "{said}");
    until_state(&mproxy, "drained").await;
    drop(other);
    let (code, said) = command(&mproxy, &["--undo"]).await;
    assert_eq!(code, 0, "{said}");
    Link::client(mproxy.addr(), Version::V5, "c")
        .await
        .leave()
        .await;
}
