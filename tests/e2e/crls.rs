//! What operators see of revocation lists, and ask for: `mproxy-server crls`.

use std::fs;

use mproxy_tests::{Mosquitto, Mproxy, Setup};
use serde_json::Value;

use crate::drain_undo::ask;
use crate::tls::{gets_in, listener, pki, start};
use crate::tls_lists::{Answer, Server, list};

/// A listener with a list at this URL, which is not fetched by itself while a test runs.
fn fetched(url: &str) -> String {
    format!(
        "client_auth = \"require\"\n[listeners.tls.revocation]\ncrl_urls = [\"{url}\"]\n\
         crl_refresh = \"1h\"\ncrl_timeout = \"5s\"\n"
    )
}

fn not_found() -> Answer {
    Answer::Bytes(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec())
}

/// The lists, as JSON.
async fn lists(mproxy: &Mproxy) -> Vec<Value> {
    let (code, out, err) = mproxy.command(&["crls", "list", "--format", "json"]).await;
    assert_eq!(code, 0, "{err}");
    let answer: Value = serde_json::from_str(&out).expect("JSON");
    answer["crls"].as_array().expect("lists").clone()
}

/// A device was lost, and its CA had revoked it; mproxy would have asked for the list in an hour, and an
/// operator could do nothing about it.
#[tokio::test]
async fn a_list_is_fetched_when_an_operator_asks_for_it() {
    let pki = pki();
    let broker = Mosquitto::start().await;
    let server = Server::start(list(&pki, &[], 2024)).await;
    let mproxy = start(&pki, &broker, &fetched(&server.url())).await;
    assert!(gets_in(&mproxy, &pki, "alice").await);

    server.answers(list(&pki, &[7], 2025));
    let (code, out, err) = mproxy.command(&["crls", "fetch"]).await;
    assert_eq!((code, &*err), (0, ""), "{out}");
    // without waiting
    assert!(!gets_in(&mproxy, &pki, "alice").await);
    assert!(gets_in(&mproxy, &pki, "bob").await);
    for part in [
        "listeners.mqtts",
        "valid",
        "2025-01-01T00:00:00Z",
        "2200-01-01T00:00:00Z",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(!out.contains("canary"), "the query may be a key: {out}");

    // the one before stays, and the operator learns why; also who looks later
    server.answers(not_found());
    let (code, out, err) = mproxy.command(&["crls", "fetch"]).await;
    assert_eq!(code, 1, "{out}");
    assert!(err.starts_with("error: http://127.0.0.1:"), "{err}");
    assert!(err.contains("ca.crl: the server answers 404"), "{err}");
    assert!(out.contains("valid"), "{out}");
    let (code, _, err) = mproxy.command(&["crls", "list"]).await;
    assert_eq!(code, 0, "{err}");
    assert!(err.starts_with("warning: ") && err.contains("404"), "{err}");
    let fetch = &lists(&mproxy).await[0]["fetch"];
    assert_eq!(
        (&fetch["successes"], &fetch["failures"]),
        (&2.into(), &1.into()),
        "{fetch}"
    );
    assert!(
        fetch["age_s"].is_f64() && fetch["remaining_s"].is_f64(),
        "{fetch}"
    );

    // a failure is forgotten with the next success
    server.answers(list(&pki, &[7], 2025));
    let (code, _, err) = mproxy.command(&["crls", "fetch"]).await;
    assert_eq!((code, &*err), (0, ""));
    assert_eq!(lists(&mproxy).await[0]["fetch"]["error"], Value::Null);
    assert!(!gets_in(&mproxy, &pki, "alice").await);
}

/// Of what is not there yet, and of files, too.
#[tokio::test]
async fn all_lists_are_shown_with_their_users() {
    let pki = pki();
    let server = Server::start(not_found()).await;
    for (name, until) in [("good.crl", 2200), ("old.crl", 2025)] {
        let list = pki.list(&[], [2024, until]).pem().expect("a list");
        fs::write(pki.dir().join(name), list).expect("the folder is ours");
    }
    let [good, old] = ["good.crl", "old.crl"].map(|it| pki.file(it));
    let settings = format!(
        "{}crl_files = [\"{good}\", \"{good}\"]\n",
        fetched(&server.url())
    );
    let upstream = format!(
        "[upstreams.broker.tls]\nca = [\"{}\"]\ncrl_files = [\"{old}\", \"{good}\"]\n",
        pki.file("ca.crt")
    );
    let setup = listener(&pki, "mqtts://127.0.0.1:1", &settings).toml(&upstream);
    let mproxy = setup.start().await;
    let lists = lists(&mproxy).await;
    let shown = |it: &Value| {
        let used_by = it["used_by"].as_array().into_iter().flatten();
        let used_by: Vec<_> = used_by.filter_map(Value::as_str).collect();
        format!(
            "{} {}",
            it["state"].as_str().unwrap_or_default(),
            used_by.join(" ")
        )
    };
    let shown: Vec<_> = lists.iter().map(shown).collect();
    assert_eq!(
        shown,
        [
            "missing listeners.mqtts",
            "valid listeners.mqtts upstreams.broker",
            "expired upstreams.broker"
        ],
        "{lists:?}"
    );
    assert_eq!(lists[1]["source"], *good);
    assert_eq!(lists[2]["next_update"], "2025-01-01T00:00:00Z");
}

/// A list that is fetched during a drain takes effect when that is undone: the command says so.
#[tokio::test]
async fn a_fetch_during_a_drain_says_when_the_list_takes_effect() {
    let pki = pki();
    let broker = Mosquitto::start().await;
    let server = Server::start(list(&pki, &[], 2024)).await;
    let mproxy = start(&pki, &broker, &fetched(&server.url())).await;
    assert_eq!(ask(&mproxy, "POST", "").await.0, 200);
    server.answers(list(&pki, &[7], 2025));
    let (code, _, err) = mproxy.command(&["crls", "fetch"]).await;
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("in effect when the drain is undone"), "{err}");
    assert_eq!(ask(&mproxy, "DELETE", "").await.0, 200);
    mproxy.until_ready(true).await;
    assert!(!gets_in(&mproxy, &pki, "alice").await);
    assert!(gets_in(&mproxy, &pki, "bob").await);
}

#[tokio::test]
async fn without_lists_there_is_nothing_to_fetch() {
    let broker = Mosquitto::start().await;
    let mproxy = Setup::before(&broker.url()).start().await;
    assert!(lists(&mproxy).await.is_empty());
    let (code, out, err) = mproxy.command(&["crls", "fetch"]).await;
    assert_eq!(
        (code, &*err),
        (0, "no listener has crl_urls: nothing is fetched\n"),
        "{out}"
    );
}
