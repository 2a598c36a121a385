//! A responder of OCSP, which is asked about the certificates of clients.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mproxy_tests::clients::MosquittoSub;
use mproxy_tests::pki::Pki;
use mproxy_tests::tools::tool;
use mproxy_tests::wire::{Connect, Version};
use mproxy_tests::{Mosquitto, Mproxy, until};
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::tls::{args, gets_in, listener, pki, s_client, shown, start, tls};
use crate::tls_clients::asks;

/// What the responder does with a question.
#[derive(Clone, Copy)]
enum Does {
    /// OpenSSL answers, from its index.
    Answers,
    /// It answers with this status of HTTP.
    Status(u16),
    /// OpenSSL answers, and then a byte of it is changed.
    Lies,
    /// Nothing, for as long as mproxy waits.
    Hangs,
}

/// The responder of a CA: `openssl ocsp`, which would listen on all addresses, behind a server of our own.
struct Responder {
    addr: SocketAddr,
    does: Arc<Mutex<Does>>,
    /// Questions so far.
    asked: watch::Receiver<u64>,
    index: String,
    serves: JoinHandle<()>,
}

impl Responder {
    async fn start(pki: &Pki) -> Self {
        pki.client_with("responder", 90, |it| {
            it.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("it is bound");
        let does = Arc::new(Mutex::new(Does::Answers));
        let (count, asked) = watch::channel(0);
        let (wants, folder) = (Arc::clone(&does), pki.dir().to_owned());
        let serves = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.send_modify(|it| *it += 1);
                let does = *wants.lock().expect("nobody panics");
                tokio::spawn(serve(stream, does, folder.clone()));
            }
        });
        let responder = Self {
            addr,
            does,
            asked,
            index: pki.file("index.txt"),
            serves,
        };
        responder.knows(&[(7, true), (8, true)]);
        responder
    }

    /// What it knows: serial numbers, and whether they are good.
    fn knows(&self, serials: &[(u64, bool)]) {
        let line = |(serial, is_good): &(u64, bool)| match is_good {
            true => format!("V\t491231235959Z\t\t{serial:02X}\tunknown\t/CN=c{serial}\n"),
            false => {
                format!("R\t491231235959Z\t240203040506Z\t{serial:02X}\tunknown\t/CN=c{serial}\n")
            }
        };
        let text: String = serials.iter().map(line).collect();
        // openssl may read it now
        let new = format!("{}.new", self.index);
        fs::write(&new, text).expect("the folder is ours");
        fs::rename(new, &self.index).expect("the folder is ours");
    }

    fn does(&self, what: Does) {
        *self.does.lock().expect("nobody panics") = what;
    }

    fn asked(&self) -> u64 {
        *self.asked.borrow()
    }

    /// Waits for this many questions.
    async fn until_asked(&mut self, times: u64) {
        let asked = self.asked.wait_for(|it| *it >= times).await;
        drop(asked.expect("it serves"));
    }

    /// Nobody listens any more.
    async fn die(&mut self) {
        self.serves.abort();
        let _ = (&mut self.serves).await;
    }

    fn url(&self) -> String {
        format!("http://{}/ca?key=canary", self.addr)
    }

    /// Its name in the metrics, and in the log.
    fn shown(&self) -> String {
        format!("http://{}/ca", self.addr)
    }

    /// Settings for it.
    fn settings(&self, more: &str) -> String {
        let url = self.url();
        format!(
            "client_auth = \"require\"\n[listeners.tls.revocation]\nocsp_responder_url = \"{url}\"\n{more}"
        )
    }
}

async fn serve(mut stream: TcpStream, does: Does, folder: impl AsRef<Path>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    assert!(
        head.starts_with("post /ca?key=canary http/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains("\r\ncontent-type: application/ocsp-request\r\n"),
        "{head}"
    );
    let (_, behind) = head.split_once("\r\ncontent-length: ").expect("a length");
    let len = behind.split("\r\n").next().and_then(|it| it.parse().ok());
    let mut question = vec![0; len.expect("a number")];
    stream.read_exact(&mut question).await.expect("a question");
    let answer = match does {
        Does::Hangs => {
            let _ = stream.read_u8().await;
            return;
        }
        Does::Status(status) => {
            format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n").into_bytes()
        }
        Does::Answers | Does::Lies => {
            let mut answer = openssl(folder.as_ref(), &question).await;
            if matches!(does, Does::Lies) {
                // within what is signed: the time of the answer
                let at = answer.windows(2).position(|it| it == b"20");
                let year = at.expect("a year") + 3;
                answer[year] = b'9';
            }
            let len = answer.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n");
            [head.into_bytes(), answer].concat()
        }
    };
    // mproxy may have gone
    let _ = stream.write_all(&answer).await;
}

/// What OpenSSL answers.
async fn openssl(folder: &Path, question: &[u8]) -> Vec<u8> {
    let own = TempDir::new().expect("a folder");
    let [asked, answered] = ["q", "a"].map(|it| own.path().join(it));
    fs::write(&asked, question).expect("the folder is ours");
    let mut command = Command::new(tool("openssl"));
    command.args([
        "ocsp",
        "-index",
        "index.txt",
        "-CA",
        "ca.crt",
        "-nmin",
        "60",
    ]);
    command.args(["-rsigner", "responder.crt", "-rkey", "responder.key"]);
    command.arg("-reqin").arg(&asked);
    command.arg("-respout").arg(&answered);
    command.current_dir(folder);
    let output = command.output().await.expect("openssl runs");
    fs::read(&answered).unwrap_or_else(|_| panic!("{output:?}"))
}

/// The line of a client that was refused, for this reason.
async fn refusal(mproxy: &Mproxy, why: &str) -> Value {
    let line = mproxy.event(format!("a refusal: {why}"), |it| {
        it["reason"] == "certificate_rejected"
            && it["detail"].as_str().is_some_and(|it| it.contains(why))
    });
    let line = line.await;
    assert_eq!(line["event"], "refuse", "{line}");
    assert!(line["peer"].is_string(), "{line}");
    let remedy = line["remedy"].as_str().unwrap_or_default();
    assert!(!remedy.is_empty() && !remedy.contains("NAME"), "{line}");
    line
}

/// How many requests ended so.
fn requests(responder: &Responder, result: &str) -> String {
    let url = responder.shown();
    format!("mproxy_tls_ocsp_requests_total{{url=\"{url}\",result=\"{result}\"}}")
}

fn connect() -> Vec<u8> {
    Connect::new(Version::V311, "device").bytes()
}

const UPGRADE: &[u8] =
    b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Protocol: mqtt\r\n\r\n";

#[tokio::test]
async fn a_responder_decides_over_mqtt_and_websocket_and_is_asked_once() {
    let pki = pki();
    pki.client("carol", 9);
    let broker = Mosquitto::start().await;
    let responder = Responder::start(&pki).await;
    responder.knows(&[(7, true), (8, false)]);
    let settings = responder.settings("");
    let websocket = format!(
        "[[listeners]]\nname = \"wss\"\nbind = \"127.0.0.1:0\"\nprotocol = \"ws\"\n{}",
        tls(&pki, &settings)
    );
    let setup = listener(&pki, &broker.url(), &settings).toml(&websocket);
    let mproxy = setup.start().await;
    let connect = connect();
    for (name, request, welcome) in [
        ("mqtts", &connect[..], &b"\x20\x02\0\0"[..]),
        ("wss", UPGRADE, b"HTTP"),
    ] {
        let addr = mproxy.listener(name);
        for version in ["-tls1_2", "-tls1_3"] {
            let answers = async |client| asks(addr, &pki, client, version, request).await;
            assert_eq!(answers("alice").await, welcome, "{name} {version}");
            assert_eq!(answers("bob").await, b"", "{name} {version}");
            assert_eq!(answers("carol").await, b"", "{name} {version}");
        }
    }
    assert!(gets_in(&mproxy, &pki, "alice").await);
    assert!(!gets_in(&mproxy, &pki, "bob").await);
    // one question a certificate, for both listeners
    assert_eq!(responder.asked(), 3);
    let line = refusal(&mproxy, "the certificate was revoked").await;
    let detail = line["detail"].as_str().unwrap_or_default();
    assert!(detail.starts_with(&responder.shown()), "{line}");
    assert!(detail.ends_with("at 2024-02-03T04:05:06Z"), "{line}");
    assert_eq!(line["certificate_subject"], "CN=bob", "{line}");
    assert_eq!(line["certificate_serial"], "08", "{line}");
    let line = refusal(&mproxy, "does not know the certificate").await;
    assert_eq!(line["certificate_subject"], "CN=carol", "{line}");
    for result in ["good", "revoked", "unknown"] {
        mproxy.metric(&requests(&responder, result), 1.0).await;
    }
    let hits = format!(
        "mproxy_tls_ocsp_cache_hits_total{{url=\"{}\"}}",
        responder.shown()
    );
    mproxy.metric(&hits, 11.0).await;
    for (name, count) in [("mqtts", 5.0), ("wss", 4.0)] {
        let refused = format!(
            "mproxy_connections_refused_total{{listener=\"{name}\",reason=\"certificate_rejected\"}}"
        );
        mproxy.metric(&refused, count).await;
    }
    let log = format!("{:?}", mproxy.events());
    assert!(
        !log.contains("canary"),
        "what follows the path may be a key"
    );
}

/// A list and a responder: both must be content.
#[tokio::test]
async fn a_list_and_a_responder_both_count() {
    let pki = pki();
    pki.client("carol", 9);
    pki.revoke(&[7]);
    let broker = Mosquitto::start().await;
    let responder = Responder::start(&pki).await;
    responder.knows(&[(7, true), (8, false), (9, true)]);
    let list = format!("crl_files = [\"{}\"]\n", pki.file("ca.crl"));
    let mproxy = start(&pki, &broker, &responder.settings(&list)).await;
    assert!(!gets_in(&mproxy, &pki, "alice").await, "the list");
    assert!(!gets_in(&mproxy, &pki, "bob").await, "the responder");
    assert!(gets_in(&mproxy, &pki, "carol").await);
    // whom the list revokes, nobody asks about
    assert_eq!(responder.asked(), 2);
}

/// Its answer is renewed in the background; the broker discards the will.
#[tokio::test]
async fn a_client_that_is_revoked_while_it_is_connected_is_closed() {
    let pki = pki();
    let broker = Mosquitto::start().await;
    let mut responder = Responder::start(&pki).await;
    let mproxy = start(
        &pki,
        &broker,
        &responder.settings("ocsp_refresh = \"1s\"\n"),
    )
    .await;
    let addr = mproxy.listener("mqtts");
    let [alice, bob] = ["alice", "bob"].map(|it| shown(&pki, it));
    let own = [
        "-t",
        "#",
        "-i",
        "alice",
        "--will-topic",
        "w",
        "--will-payload",
        "w",
    ];
    let gone = MosquittoSub::start(addr, Version::V5, &args(&alice, &own)).await;
    let own = ["-t", "#", "-i", "bob"];
    let stays = MosquittoSub::start(addr, Version::V5, &args(&bob, &own)).await;
    // renewed, for both
    let asked = responder.asked();
    responder.until_asked(asked + 4).await;
    // a responder that fails ends no session
    responder.does(Does::Status(503));
    let failed = requests(&responder, "failed");
    until("two failures", async || {
        (mproxy.metrics().await.sum(&failed) >= 2.0).then_some(())
    })
    .await;
    let ends = |it: &Value| it["event"] == "disconnect";
    assert!(!mproxy.events().iter().any(ends));
    responder.knows(&[(7, false), (8, true)]);
    responder.does(Does::Answers);
    let line = mproxy.end_of("alice").await;
    assert_eq!(line["reason"], "certificate_rejected", "{line}");
    let line = refusal(&mproxy, "the certificate was revoked").await;
    assert_eq!(line["client_id"], "alice", "{line}");
    assert!(!gets_in(&mproxy, &pki, "alice").await);
    assert!(gets_in(&mproxy, &pki, "bob").await);
    // the will would have come before it
    stays.message("t 0 0 1 6d").await;
    drop(gone);
}

/// A ticket is no way around the responder.
#[tokio::test]
async fn a_resumed_session_is_judged_again() {
    let pki = pki();
    let broker = Mosquitto::start().await;
    let responder = Responder::start(&pki).await;
    let mproxy = start(
        &pki,
        &broker,
        &responder.settings("ocsp_refresh = \"1s\"\n"),
    )
    .await;
    let addr = mproxy.listener("mqtts");
    let [cert, key, ticket] = ["alice.crt", "alice.key", "ticket"].map(|it| pki.file(it));
    let connects = async |more: [&str; 2]| {
        let own = ["-tls1_2", "-cert", &cert, "-key", &key];
        s_client(addr, &pki, &[&own[..], &more].concat()).await
    };
    let first = connects(["-sess_out", &ticket]).await;
    assert!(first.contains("New, TLSv1.2"), "{first}");
    mproxy.metric(&requests(&responder, "good"), 1.0).await;
    responder.knows(&[(7, false)]);
    let refused = "mproxy_connections_refused_total{reason=\"certificate_rejected\"}";
    until("a resumed session that is refused", async || {
        let resumed = connects(["-sess_in", &ticket]).await;
        assert!(resumed.contains("Reused, TLSv1.2"), "{resumed}");
        (mproxy.metrics().await.sum(refused) >= 1.0).then_some(())
    })
    .await;
    refusal(&mproxy, "the certificate was revoked").await;
}

/// Each failure is told, with what to do; it is not asked again at once.
#[tokio::test]
async fn without_a_valid_answer_on_unavailable_decides() {
    let pki = pki();
    let broker = Mosquitto::start().await;
    for (does, why, remedy) in [
        (
            Does::Status(503),
            "the server answers 503",
            "have the responder answer there",
        ),
        (
            Does::Status(404),
            "the server answers 404",
            "have the responder answer there",
        ),
        (
            Does::Lies,
            "the signature of the answer is wrong",
            "must be that of the CA",
        ),
        (Does::Hangs, "not fetched in 1 s", "the network between"),
    ] {
        let mut responder = Responder::start(&pki).await;
        responder.does(does);
        let settings = responder.settings("ocsp_timeout = \"1s\"\n");
        let mproxy = start(&pki, &broker, &settings).await;
        assert!(!gets_in(&mproxy, &pki, "alice").await, "{why}");
        let line = mproxy.event(why, |it| {
            it["event"] == "error" && it["detail"].as_str().is_some_and(|it| it.contains(why))
        });
        let line = line.await;
        let detail = line["detail"].as_str().unwrap_or_default();
        assert!(
            detail.starts_with(&format!("{}: ", responder.shown())),
            "{line}"
        );
        assert!(
            line["retry_in_s"].as_f64().is_some_and(|it| it > 0.8),
            "{line}"
        );
        assert!(line["remedy"].to_string().contains(remedy), "{line}");
        refusal(&mproxy, why).await;
        mproxy.edit("ocsp_timeout", "on_unavailable = \"allow\"\nocsp_timeout");
        mproxy.reload().await;
        assert!(gets_in(&mproxy, &pki, "alice").await, "{why}");
        // somebody else, whom nobody has asked about
        assert!(gets_in(&mproxy, &pki, "bob").await, "{why}");
        let log = format!("{:?}", mproxy.events());
        assert!(
            !log.contains("canary"),
            "what follows the path may be a key"
        );
        responder.die().await;
    }
}

#[tokio::test]
async fn a_responder_that_is_gone_keeps_new_clients_out_until_it_is_back() {
    let pki = pki();
    let broker = Mosquitto::start().await;
    let mut responder = Responder::start(&pki).await;
    let mproxy = start(&pki, &broker, &responder.settings("")).await;
    assert!(gets_in(&mproxy, &pki, "alice").await);
    responder.die().await;
    assert!(!gets_in(&mproxy, &pki, "bob").await);
    refusal(&mproxy, "connection refused").await;
    assert!(gets_in(&mproxy, &pki, "alice").await, "her answer is there");
    // at another place, which a reload names; what the first one said does not count there
    let other = Responder::start(&pki).await;
    other.knows(&[(7, false), (8, true)]);
    mproxy.edit(&responder.url(), &other.url());
    let line = mproxy.reload().await;
    let applied = line["applied"].as_str().unwrap_or_default();
    assert!(applied.contains("ocsp_responder_url"), "{line}");
    assert!(gets_in(&mproxy, &pki, "bob").await);
    assert!(!gets_in(&mproxy, &pki, "alice").await);
    let asked = other.asked();
    // a reload of something else keeps the answers
    mproxy.edit(
        "type = \"access-log\"",
        "type = \"access-log\"\nevents = [\"connect\"]",
    );
    mproxy.reload().await;
    assert!(gets_in(&mproxy, &pki, "bob").await);
    assert_eq!(other.asked(), asked);
    let metrics = mproxy.metrics().await;
    assert!(
        metrics.sum(&requests(&responder, "good")).abs() < 0.5,
        "it is gone"
    );
}

/// Connected clients are asked about at the responder that a reload has named.
#[tokio::test]
async fn a_responder_that_comes_with_a_reload_is_asked_about_connected_clients() {
    let pki = pki();
    let broker = Mosquitto::start().await;
    let mut responder = Responder::start(&pki).await;
    responder.knows(&[(7, false), (8, true)]);
    let settings = responder.settings("ocsp_refresh = \"1s\"\n");
    let without = settings.replace(&responder.url(), "");
    let mproxy = start(&pki, &broker, &without).await;
    let addr = mproxy.listener("mqtts");
    let client = async |name| {
        let shown = shown(&pki, name);
        MosquittoSub::start(addr, Version::V5, &args(&shown, &["-t", "#", "-i", name])).await
    };
    let (gone, stays) = (client("alice").await, client("bob").await);
    mproxy.edit("url = \"\"", &format!("url = \"{}\"", responder.url()));
    mproxy.reload().await;
    let line = mproxy.end_of("alice").await;
    assert_eq!(line["reason"], "certificate_rejected", "{line}");
    responder.until_asked(4).await;
    assert!(gets_in(&mproxy, &pki, "bob").await);
    stays.message("t 0 0 1 6d").await;
    drop(gone);
}

/// It costs the time out, once: others are served meanwhile, also those who still do their handshake, and those
/// who come after it are not kept waiting.
#[tokio::test]
async fn a_responder_that_hangs_holds_up_nobody_else() {
    let pki = pki();
    let broker = Mosquitto::start().await;
    let mut responder = Responder::start(&pki).await;
    let settings = responder.settings("ocsp_timeout = \"20s\"\n");
    let limits = "[listeners.limits]\nmax_handshakes = 1\nmax_pending = 4\n";
    let mproxy = start(&pki, &broker, &format!("{settings}{limits}")).await;
    let addr = mproxy.listener("mqtts");
    let connect = connect();
    assert!(gets_in(&mproxy, &pki, "alice").await);
    responder.does(Does::Hangs);
    let (asked, begun) = (responder.asked(), Instant::now());
    let pending = "mproxy_connections_pending{listener=\"mqtts\"}";
    let mut waits = Box::pin(asks(addr, &pki, "bob", "-tls1_3", &connect));
    let is_asked = async {
        responder.until_asked(asked + 1).await;
        mproxy.metric(pending, 1.0).await;
    };
    tokio::select! {
        _ = &mut waits => panic!("nobody has answered"),
        () = is_asked => {}
    }
    // the only place of a handshake is free
    assert!(gets_in(&mproxy, &pki, "alice").await);
    // others with the same certificate wait for the same answer; they go away, and hold nothing
    let mut others = Vec::new();
    for count in [2.0, 3.0] {
        let mut other = Box::pin(asks(addr, &pki, "bob", "-tls1_3", &connect));
        tokio::select! {
            _ = &mut other => panic!("nobody has answered"),
            () = mproxy.metric(pending, count) => {}
        }
        others.push(other);
        // it has done its handshake, too
        until("a free place", async || {
            gets_in(&mproxy, &pki, "alice").await.then_some(())
        })
        .await;
    }
    drop(others);
    mproxy.metric(pending, 1.0).await;
    assert_eq!(responder.asked(), asked + 1);
    drop(waits);
    mproxy.metric(pending, 0.0).await;
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "nobody waited for it"
    );
}
