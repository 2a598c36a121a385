//! Who is connected: listed, shown and ended, as an operator does it.

use mproxy_tests::wire::{Connect, Version};
use mproxy_tests::{FakeBroker, Link, Mproxy, Rest, Setup, server_binary};
use serde_json::Value;
use tokio::process::Command;

async fn list(mproxy: &Mproxy, arguments: &[&str]) -> Vec<Value> {
    let all = [&["conns", "list", "--format", "json"], arguments].concat();
    let (code, out, err) = mproxy.command(&all).await;
    assert_eq!(code, 0, "{err}");
    let page: Value = serde_json::from_str(&out).expect("JSON");
    page["connections"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn a_connection_is_found_and_ended_with_its_reason() {
    let broker = FakeBroker::bind().await;
    let mproxy = Setup::before(&broker.url()).websocket().start().await;
    let connect = Connect::new(Version::V5, "sensor-1").credentials("alice", "secret");
    let mut first = Link::tcp(mproxy.addr()).await;
    let (_, (_server, _)) = tokio::join!(first.connect(&connect), broker.accept());
    let mut second = Link::ws(mproxy.listener("ws")).await;
    let connect = Connect::new(Version::V311, "gateway");
    let (_, (_other, _)) = tokio::join!(second.connect(&connect), broker.accept());
    // without a CONNECT it is nobody yet
    let _silent = Link::tcp(mproxy.addr()).await;

    let all = list(&mproxy, &[]).await;
    let names: Vec<_> = all.iter().map(|it| it["client_id"].as_str()).collect();
    assert_eq!(names, [Some("sensor-1"), Some("gateway")]);
    let found = list(&mproxy, &["--client", "sensor-*", "--username", "alice"]).await;
    let [sensor] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(
        (&sensor["version"], &sensor["listener"]),
        (&"5".into(), &"mqtt".into())
    );
    assert!(!sensor.to_string().contains("secret"));
    assert!(
        list(&mproxy, &["--listener", "ws", "--client", "sensor-*"])
            .await
            .is_empty()
    );
    let (code, table, _) = mproxy.command(&["conns", "list"]).await;
    assert!(
        code == 0 && table.starts_with("ID ") && table.ends_with("2 of 2\n"),
        "{table}"
    );

    let id = sensor["id"].to_string();
    let (code, shown, _) = mproxy.command(&["conns", "show", &id]).await;
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!((code, &shown["client_id"]), (0, &"sensor-1".into()));
    let kick = ["conns", "kick", &id, "--reason-code", "0x8e"];
    assert_eq!(
        mproxy.command(&kick).await,
        (0, "disconnected: 1\n".to_owned(), String::new())
    );
    // session taken over, if the operator says so
    first.expect(&[0xe0, 1, 0x8e]).await;
    assert_eq!(first.rest().await.1, Rest::Clean);
    let line = mproxy.event("the end", |it| {
        it["event"] == "disconnect" && it["client_id"] == "sensor-1"
    });
    let line = line.await;
    assert_eq!(line["reason"], "kicked");
    // the line of the operator's action had no field in common with it but the client id
    let kick = mproxy.event("who did it", |it| {
        it["event"] == "kick" && it["client_id"] == "sensor-1"
    });
    assert_eq!(kick.await["session"], line["session"]);
    assert_eq!(line["session"].to_string(), id);

    let (code, _, err) = mproxy.command(&["conns", "show", &id]).await;
    assert!(code == 1 && err.contains("may have ended"), "{code} {err}");
    let (code, out, _) = mproxy.command(&["conns", "kick", "--client", "*"]).await;
    assert_eq!((code, &*out), (0, "disconnected: 1\n"));
    second.closed().await;
    // a name with a typing error looked like a ban
    let kick = ["conns", "kick", "--client", "typo*", "--ban", "10m"];
    let (code, out, err) = mproxy.command(&kick).await;
    assert_eq!((code, &*out), (0, "disconnected: 0\n"));
    assert!(
        err.contains("nobody is banned") && err.contains("bans add --client"),
        "{err}"
    );
}

#[tokio::test]
async fn without_a_proxy_the_command_says_where_it_looked() {
    let output = Command::new(server_binary())
        .args(["conns", "list", "--url", "http://127.0.0.1:1"])
        .output()
        .await
        .expect("the binary runs");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{err}");
    assert!(
        err.contains("http://127.0.0.1:1") && err.contains("--url"),
        "{err}"
    );
}
