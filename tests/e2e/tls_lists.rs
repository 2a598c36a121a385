//! Revocation lists that mproxy fetches.

use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use mproxy_tests::clients::MosquittoSub;
use mproxy_tests::pki::Pki;
use mproxy_tests::tools::tool;
use mproxy_tests::wire::Version;
use mproxy_tests::{Mosquitto, Process, Setup, memory, until};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::watch;

use crate::tls::{args, gets_in, listener, pki, shown, start};

/// What a server of lists answers.
#[derive(Clone)]
pub(crate) enum Answer {
    /// The bytes.
    Bytes(Vec<u8>),
    /// A list, which is named by an ETag.
    List(Vec<u8>),
    /// Bytes, and then nothing, for as long as the client waits.
    Stuck(Arc<[u8]>),
    /// Nothing, for as long as the client waits.
    Silence,
}

/// A server of lists.
pub(crate) struct Server {
    addr: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    /// Requests so far that were told that nothing has changed.
    unchanged: watch::Receiver<u64>,
}

impl Server {
    pub(crate) async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("it is bound");
        let answer = Arc::new(Mutex::new(answer));
        let (count, unchanged) = watch::channel(0);
        let answers = Arc::clone(&answer);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answers.lock().expect("nobody panics").clone();
                tokio::spawn(serve(stream, answer, count.clone()));
            }
        });
        Self {
            addr,
            answer,
            unchanged,
        }
    }

    pub(crate) fn answers(&self, answer: Answer) {
        *self.answer.lock().expect("nobody panics") = answer;
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/ca.crl?key=canary", self.addr)
    }
}

async fn serve(mut stream: TcpStream, answer: Answer, unchanged: watch::Sender<u64>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else {
            return;
        };
        request.push(byte);
    }
    let request = String::from_utf8_lossy(&request).to_lowercase();
    let bytes = match answer {
        Answer::Bytes(bytes) => bytes,
        Answer::List(list) => {
            let etag = list.iter().map(|it| u64::from(*it)).sum::<u64>();
            if request.contains(&format!("if-none-match: \"{etag}\"\r\n")) {
                unchanged.send_modify(|it| *it += 1);
                b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec()
            } else {
                let len = list.len();
                let head =
                    format!("HTTP/1.1 200 OK\r\nETag: \"{etag}\"\r\nContent-Length: {len}\r\n\r\n");
                [head.into_bytes(), list].concat()
            }
        }
        Answer::Stuck(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.read_u8().await;
            return;
        }
        Answer::Silence => {
            let _ = stream.read_u8().await;
            return;
        }
    };
    let _ = stream.write_all(&bytes).await;
}

/// A list of this CA that revokes these, made in this year.
pub(crate) fn list(pki: &Pki, serials: &[u64], year: i32) -> Answer {
    Answer::List(pki.list(serials, [year, 2200]).der().to_vec())
}

/// Settings for a list at this URL, which is asked for every second.
fn fetched(url: &str, more: &str) -> String {
    format!(
        "client_auth = \"require\"\n[listeners.tls.revocation]\ncrl_urls = [\"{url}\"]\n\
         crl_refresh = \"1s\"\ncrl_timeout = \"1s\"\n{more}"
    )
}

fn is_reload(event: &Value) -> bool {
    event["by"] == "a fetched revocation list"
}

/// A device is revoked while it is connected: its session ends as soon as the list says so. Whoever comes
/// before there is a list does not get in.
#[tokio::test]
async fn a_fetched_list_ends_the_sessions_of_those_whom_it_revokes() {
    let pki = pki();
    let broker = Mosquitto::start().await;
    let mut server = Server::start(Answer::Silence).await;
    let mproxy = start(&pki, &broker, &fetched(&server.url(), "")).await;
    assert!(!gets_in(&mproxy, &pki, "alice").await);
    let line = mproxy
        .event("the refusal", |it| it["reason"] == "tls_error")
        .await;
    let detail = line["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("UnknownRevocationStatus"), "{line}");
    assert_eq!(line["certificate_subject"], "CN=alice", "{line}");
    assert_eq!(line["certificate_issuer"], "CN=test CA", "{line}");
    assert!(
        line["remedy"]
            .as_str()
            .is_some_and(|it| it.contains("crl_urls")),
        "{line}"
    );

    server.answers(list(&pki, &[], 2024));
    let line = mproxy.event("the first list", is_reload).await;
    assert_eq!(line["applied"], "listeners.mqtts.tls", "{line}");
    let addr = mproxy.listener("mqtts");
    let [alice, bob] = ["alice", "bob"].map(|it| shown(&pki, it));
    let own = |name| ["-t", "#", "-i", name];
    let gone = MosquittoSub::start(addr, Version::V5, &args(&alice, &own("alice"))).await;
    let stays = MosquittoSub::start(addr, Version::V5, &args(&bob, &own("bob"))).await;

    // as long as nothing changes, the list is not even sent
    let asked = server.unchanged.wait_for(|it| *it >= 2).await;
    drop(asked.expect("it serves"));
    let reloads = mproxy.events().into_iter().filter(is_reload).count();
    assert_eq!(reloads, 1);

    server.answers(list(&pki, &[7], 2025));
    let line = mproxy.end_of("alice").await;
    assert_eq!(line["reason"], "certificate_rejected", "{line}");
    assert!(!gets_in(&mproxy, &pki, "alice").await);
    assert!(gets_in(&mproxy, &pki, "bob").await);
    stays.message("t 0 0 1 6d").await;
    drop(gone);
    let metrics = mproxy.metrics().await;
    let url = format!("url=\"http://{}/ca.crl\"", server.addr);
    let until = format!("mproxy_tls_crl_next_update_timestamp_seconds{{{url}}}");
    assert!((metrics.sum(&until) - 7_258_118_400.0).abs() < 1.0);
    let fetches = |result| format!("mproxy_tls_crl_fetches_total{{{url},result=\"{result}\"}}");
    assert!(metrics.sum(&fetches("success")) >= 4.0);
    assert!(metrics.sum(&fetches("failure")) >= 1.0, "the silence");
}

/// Nothing that a server does takes the list away that is in use, and each failure is told.
#[tokio::test]
async fn what_cannot_be_used_is_told_and_the_list_before_it_stays() {
    let (pki, twin) = (pki(), Pki::new());
    let broker = Mosquitto::start().await;
    let server = Server::start(list(&pki, &[7], 2025)).await;
    let mproxy = start(&pki, &broker, &fetched(&server.url(), "")).await;
    // from the start on, the list is there
    assert!(gets_in(&mproxy, &pki, "bob").await);
    assert!(!gets_in(&mproxy, &pki, "alice").await);
    mproxy.event("the first list", is_reload).await;
    let bytes = |text: &str| Answer::Bytes(text.as_bytes().to_vec());
    let expired = pki.list(&[], [2024, 2025]).der().to_vec();
    for (answer, why) in [
        (
            bytes("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
            "the server answers 404",
        ),
        (Answer::Silence, "not fetched in 1 s"),
        (
            bytes("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ngarbage"),
            "not a revocation list",
        ),
        (
            bytes("HTTP/1.1 200 OK\r\nContent-Length: 99000000\r\n\r\n"),
            "larger than 67108864 bytes",
        ),
        (
            bytes(
                "HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            ),
            "the server redirects",
        ),
        (list(&twin, &[], 2026), "not signed by `CN=test CA`"),
        (Answer::List(expired), "expired"),
        // one that was valid before alice was revoked, and that somebody in between has kept
        (list(&pki, &[], 2024), "older than the list in use"),
    ] {
        server.answers(answer);
        let line = mproxy.event(why, |it| {
            it["detail"].as_str().is_some_and(|it| it.contains(why))
        });
        let line = line.await;
        let detail = line["detail"].as_str().unwrap_or_default();
        let url = format!("http://{}/ca.crl: ", server.addr);
        assert!(detail.starts_with(&url), "{line}");
        let message = line["message"].as_str().unwrap_or_default();
        assert!(message.contains("the one before stays in use"), "{line}");
        assert!(
            line["remedy"].is_string() && line["retry_in_s"] == 1.0,
            "{line}"
        );
        let remedy = line["remedy"].as_str().unwrap_or_default();
        assert!(
            remedy.contains("listeners.mqtts.tls.revocation.crl_urls"),
            "{line}"
        );
    }
    assert!(gets_in(&mproxy, &pki, "bob").await);
    assert!(!gets_in(&mproxy, &pki, "alice").await);
    let events = mproxy.events();
    assert_eq!(events.iter().filter(|it| is_reload(it)).count(), 1);
    assert!(
        !format!("{events:?}").contains("canary"),
        "what follows the path may be a key"
    );
}

/// With "allow", a list that is not there keeps nobody out; and a reload can turn that round.
/// A URL with a typo, and a reload, kept out everybody at once: the list that was there, and in force, was
/// forgotten with its URL.
#[tokio::test]
async fn the_list_of_a_url_that_is_replaced_stays_until_the_new_one_is_there() {
    let pki = pki();
    let broker = Mosquitto::start().await;
    let first = Server::start(list(&pki, &[8], 2024)).await;
    let second = Server::start(Answer::Silence).await;
    let mproxy = start(&pki, &broker, &fetched(&first.url(), "")).await;
    assert!(gets_in(&mproxy, &pki, "alice").await);
    mproxy.edit(&first.url(), &second.url());
    mproxy.reload().await;
    let line = mproxy.event("a failure", |it| {
        let detail = it["detail"].as_str().unwrap_or_default();
        detail.contains(&second.addr.to_string())
    });
    let message = line.await["message"].to_string();
    assert!(message.contains("the one before stays in use"), "{message}");
    assert!(gets_in(&mproxy, &pki, "alice").await);
    assert!(!gets_in(&mproxy, &pki, "bob").await);
    // which revokes another one
    second.answers(list(&pki, &[7], 2024));
    mproxy.event("the new list", is_reload).await;
    until("the new list to be in use", async || {
        gets_in(&mproxy, &pki, "bob").await.then_some(())
    })
    .await;
    assert!(!gets_in(&mproxy, &pki, "alice").await);
    // without a URL there is none to stand in for
    let metrics = mproxy.metrics().await;
    let of = |server: &Server| {
        let url = format!("http://{}/ca.crl", server.addr);
        format!("mproxy_tls_crl_next_update_timestamp_seconds{{url=\"{url}\"}}")
    };
    assert!(metrics.sum(&of(&second)) > 0.0);
    assert!(metrics.sum(&of(&first)) < 1.0);
}

#[tokio::test]
async fn clients_may_come_in_without_a_list_if_that_is_allowed() {
    let pki = pki();
    let broker = Mosquitto::start().await;
    let server = Server::start(Answer::Silence).await;
    let settings = fetched(&server.url(), "on_unavailable = \"allow\"\n");
    let mproxy = start(&pki, &broker, &settings).await;
    assert!(gets_in(&mproxy, &pki, "alice").await);
    let line = mproxy.event("the failure", |it| {
        let message = it["message"].as_str();
        message.is_some_and(|it| it.contains("and there is none in use"))
    });
    line.await;
    mproxy.edit("\"allow\"", "\"deny\"");
    mproxy.reload().await;
    assert!(!gets_in(&mproxy, &pki, "alice").await);
    server.answers(list(&pki, &[], 2024));
    mproxy.event("the list", is_reload).await;
    assert!(gets_in(&mproxy, &pki, "alice").await);
}

/// The server of an https:// URL must have a certificate of a CA that the system trusts.
#[tokio::test]
async fn a_list_comes_by_https() {
    let pki = pki();
    pki.revoke(&[7]);
    let broker = Mosquitto::start().await;
    let mut command = Command::new(tool("openssl"));
    command.args(["s_server", "-accept", "127.0.0.1:0", "-WWW"]);
    command.args(["-cert", "server.crt", "-key", "server.key"]);
    command.current_dir(pki.dir());
    let server = Process::spawn(command);
    let line = server
        .line("its port", |it| it.starts_with("ACCEPT "))
        .await;
    let port = line.rsplit(':').next().expect("a port");
    let setup = |roots: &str| -> Setup {
        let settings = fetched(&format!("https://localhost:{port}/ca.crl"), "");
        listener(&pki, &broker.url(), &settings).env("SSL_CERT_FILE", roots)
    };
    fs::write(
        pki.dir().join("others.crt"),
        fs::read(Pki::new().file("ca.crt")).expect("a CA"),
    )
    .expect("the folder is ours");
    let distrusts = setup(&pki.file("others.crt")).start().await;
    let line = distrusts.event("the failure", |it| {
        let detail = it["detail"].as_str();
        detail.is_some_and(|it| it.contains("invalid peer certificate"))
    });
    let remedy = line.await["remedy"].to_string();
    assert!(remedy.contains("CA that the system trusts"), "{remedy}");
    let trusts = setup(&pki.file("ca.crt")).start().await;
    trusts.event("the list", is_reload).await;
    assert!(gets_in(&trusts, &pki, "bob").await);
    assert!(!gets_in(&trusts, &pki, "alice").await);
}

/// Only fetched lists had a metric: a list in a file that its job no longer writes was noticed when it kept
/// everybody out.
#[tokio::test]
async fn a_list_in_a_file_shows_when_it_expires() {
    let pki = pki();
    let folder = pki.dir().join("lists");
    fs::create_dir(&folder).expect("the folder is ours");
    let write = |name: &str, until: i32| {
        let list = pki.list(&[], [2024, until]).pem().expect("a list");
        let new = folder.join(".new");
        fs::write(&new, list).expect("the folder is ours");
        fs::rename(new, folder.join(name)).expect("the folder is ours");
    };
    write("a.crl", 2100);
    write("b.crl", 2200);
    let file = |name: &str| folder.join(name).display().to_string();
    // a file that is named twice is one sample
    let lists = format!(
        "client_auth = \"require\"\n[listeners.tls.revocation]\ncrl_files = [\"{}\", \"{}\"]\n",
        folder.display(),
        file("b.crl")
    );
    let upstream = format!(
        "[upstreams.broker.tls]\nca = [\"{}\"]\ncrl_files = [\"{}\"]\ncert = \"{}\"\nkey = \"{}\"\n",
        pki.file("ca.crt"),
        file("a.crl"),
        pki.file("alice.crt"),
        pki.file("alice.key")
    );
    let mproxy = listener(&pki, "mqtts://127.0.0.1:1", &lists)
        .toml(&upstream)
        .start()
        .await;
    let sample = |side: &str, name: &str| {
        let file = file(name);
        format!("mproxy_tls_crl_next_update_timestamp_seconds{{{side},file=\"{file}\"}}")
    };
    let [in_2100, in_2200] = [4_102_444_800.0, 7_258_118_400.0];
    let listener = "listener=\"mqtts\"";
    mproxy.metric(&sample(listener, "a.crl"), in_2100).await;
    // the sum of one
    mproxy.metric(&sample(listener, "b.crl"), in_2200).await;
    let broker = "upstream=\"broker\"";
    mproxy.metric(&sample(broker, "a.crl"), in_2100).await;
    // and the certificate towards the broker has one, too
    let own = "mproxy_tls_certificate_remaining_ratio{upstream=\"broker\",certificate=\"alice\"}";
    assert!(mproxy.metrics().await.sum(own) > 0.0);

    // what is renewed is renewed here
    write("a.crl", 2200);
    mproxy.metric(&sample(listener, "a.crl"), in_2200).await;
    mproxy.metric(&sample(broker, "a.crl"), in_2200).await;
}

/// Sixteen servers that sent what begins like a list took 64 MiB each, which no budget had. A fleet in a
/// container of 256 MiB was killed with its proxy.
#[tokio::test]
async fn what_servers_of_lists_send_takes_memory_of_the_budget_and_one_after_the_other() {
    const URLS: usize = 12;
    const BODY: usize = 20 << 20;
    let pki = pki();
    let broker = Mosquitto::start().await;
    // a sequence of 20 MiB, in it a sequence
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", BODY + 6);
    let length = u32::try_from(BODY).expect("it is short").to_be_bytes();
    let der = [&[0x30, 0x84][..], &length, &vec![0x30; BODY - 1]].concat();
    let body: Arc<[u8]> = [head.as_bytes(), &der].concat().into();
    for (memory, told) in [("4GiB", "not fetched in 1 s"), ("32MiB", "no memory")] {
        let server = Server::start(Answer::Stuck(Arc::clone(&body))).await;
        let urls: Vec<_> = (0..URLS)
            .map(|it| format!("http://{}/{it}.crl", server.addr))
            .collect();
        let settings = fetched(&urls.join("\", \""), "on_unavailable = \"allow\"\n");
        let setup = listener(&pki, &broker.url(), &settings);
        let mproxy = setup.set("server.memory", memory).start().await;
        let failures = "mproxy_tls_crl_fetches_total{result=\"failure\"}";
        until("all to be tried", async || {
            let tried = mproxy.metrics().await.sum(failures);
            (tried >= URLS as f64).then_some(())
        })
        .await;
        let line = mproxy
            .event("a failure", |it| {
                it["detail"].as_str().is_some_and(|it| it.contains("crl:"))
            })
            .await;
        let detail = line["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(told), "{line}");
        let peak = memory::peak_kib(mproxy.id()) / 1024;
        // its own pages, those of a debug build, are among them
        assert!(peak < 110, "{peak} MiB with server.memory = {memory}");
        // others are served
        assert!(gets_in(&mproxy, &pki, "alice").await);
    }
}

/// A page that says in which way a server is out of order was read to its end.
#[tokio::test]
async fn what_begins_like_no_list_is_given_up_at_once() {
    let pki = pki();
    let broker = Mosquitto::start().await;
    let mut page = b"HTTP/1.1 200 OK\r\nContent-Length: 60000000\r\n\r\n\x1f\x8b".to_vec();
    page.extend([b'x'; 5000]);
    let server = Server::start(Answer::Stuck(page.into())).await;
    let settings =
        fetched(&server.url(), "on_unavailable = \"allow\"\n").replace("= \"1s\"", "= \"20s\"");
    let mproxy = start(&pki, &broker, &settings).await;
    let line = mproxy
        .event("the failure", |it| {
            it["detail"]
                .as_str()
                .is_some_and(|it| it.contains("ca.crl:"))
        })
        .await;
    let detail = line["detail"].as_str().unwrap_or_default();
    assert!(
        detail.contains("not a revocation list, neither PEM nor DER"),
        "{line}"
    );
}
