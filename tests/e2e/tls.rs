//! TLS with clients and with brokers: certificates, their names, and what becomes of them over time.

use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;

use mproxy_tests::clients::{MosquittoSub, accepts, mosquitto_pub, node_script, python_script};
use mproxy_tests::pki::Pki;
use mproxy_tests::tls::{certificate, client_with, secure};
use mproxy_tests::tools::tool;
use mproxy_tests::wire::{Connect, Version};
use mproxy_tests::{FakeBroker, Link, Mosquitto, Mproxy, Port, Setup};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// A CA with a server, and two clients.
pub(crate) fn pki() -> Pki {
    let pki = Pki::new();
    pki.server("server", 1);
    pki.client("alice", 7);
    pki.client("bob", 8);
    pki
}

/// A client may show a certificate.
pub(crate) const OPTIONAL: &str = "client_auth = \"optional\"\n";

/// The table of TLS of the last listener, with more lines.
pub(crate) fn tls(pki: &Pki, more: &str) -> String {
    let [cert, key, ca] = ["server.crt", "server.key", "ca.crt"].map(|it| pki.file(it));
    format!("[listeners.tls]\ncert = \"{cert}\"\nkey = \"{key}\"\nclient_ca = [\"{ca}\"]\n{more}")
}

/// A listener with TLS, which asks clients for certificates, and the access log.
pub(crate) fn listener(pki: &Pki, upstream: &str, more: &str) -> Setup {
    Setup::new(&format!(
        "[[listeners]]\nname = \"mqtts\"\nbind = \"127.0.0.1:0\"\n{}\n\
         [upstreams.broker]\naddress = \"{upstream}\"\n\
         [chains.default]\nlayers = [\"log\"]\n[layers.log]\ntype = \"access-log\"\n\
         [admin]\nbind = \"127.0.0.1:0\"\n",
        tls(pki, more)
    ))
}

/// A proxy with that listener.
pub(crate) async fn start(pki: &Pki, broker: &Mosquitto, settings: &str) -> Mproxy {
    listener(pki, &broker.url(), settings).start().await
}

/// Whether a client with this certificate gets in.
pub(crate) async fn gets_in(mproxy: &Mproxy, pki: &Pki, name: &str) -> bool {
    let publish = ["-t", "t", "-m", "m", "-i", &format!("{name}-visits")];
    let args = args(&shown(pki, name), &publish).join("\n");
    let args: Vec<_> = args.lines().collect();
    let (code, _) = mosquitto_pub(mproxy.listener("mqtts"), Version::V5, &args).await;
    code == 0
}

/// How a client of mosquitto shows the certificate of `name`.
pub(crate) fn shown(pki: &Pki, name: &str) -> [String; 6] {
    let [ca, cert, key] = [
        pki.file("ca.crt"),
        pki.file(&format!("{name}.crt")),
        pki.file(&format!("{name}.key")),
    ];
    [
        "--cafile".into(),
        ca,
        "--cert".into(),
        cert,
        "--key".into(),
        key,
    ]
}

pub(crate) fn args<'a>(own: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    own.iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect()
}

/// All that clients do works as without TLS, in all versions, with real ones; to a broker with TLS, too.
#[tokio::test(flavor = "multi_thread")]
async fn real_clients_meet_through_tls_on_both_sides() {
    let pki = pki();
    let port = Port::reserve();
    let broker = Mosquitto::with(&format!(
        "listener {} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n",
        port.addr().port(),
        pki.file("ca.crt"),
        pki.file("server.crt"),
        pki.file("server.key"),
    ))
    .await;
    let upstream = format!(
        "[upstreams.broker.tls]\nca = [\"{}\"]\ncert = \"{}\"\nkey = \"{}\"\n",
        pki.file("ca.crt"),
        pki.file("alice.crt"),
        pki.file("alice.key"),
    );
    let websocket = format!(
        "[[listeners]]\nname = \"wss\"\nbind = \"127.0.0.1:0\"\nprotocol = \"ws\"\n{}",
        tls(&pki, OPTIONAL)
    );
    let mproxy = listener(&pki, &format!("mqtts://{}", port.addr()), OPTIONAL)
        .toml(&upstream)
        .toml(&websocket)
        .start()
        .await;
    mproxy.until_ready(true).await;
    let broker_port = broker.addr().port().to_string();
    let ports = ["mqtts", "wss"].map(|it| mproxy.listener(it).port().to_string());
    let [ca, cert, key] = ["ca.crt", "bob.crt", "bob.key"].map(|it| pki.file(it));
    for (port, transport, scheme, path) in [
        (&ports[0], "tcp", "mqtts", ""),
        (&ports[1], "websockets", "wss", "/mqtt"),
    ] {
        let mut paho = python_script("paho_roundtrip.py");
        paho.args([transport, port, &broker_port, &ca, &cert, &key]);
        accepts(paho).await;
        let mut mqttjs = node_script("mqttjs_roundtrip.js");
        mqttjs
            .arg(format!("{scheme}://localhost:{port}{path}"))
            .arg(&broker_port);
        mqttjs.env("NODE_EXTRA_CA_CERTS", &ca);
        accepts(mqttjs).await;
    }
}

/// The name in the certificate is the user name, whatever the client says it is.
#[tokio::test]
async fn a_client_is_who_its_certificate_says() {
    let pki = pki();
    let broker = Mosquitto::start().await;
    let more = "client_auth = \"require\"\nusername_from = \"san-uri\"\nclient_id_from = \"cn\"\n";
    let mproxy = listener(&pki, &broker.url(), more).start().await;
    let addr = mproxy.listener("mqtts");
    let alice = shown(&pki, "alice");
    let publish = ["-i", "alice", "-u", "root", "-P", "x", "-t", "t", "-m", "m"];
    let (code, output) = mosquitto_pub(addr, Version::V5, &args(&alice, &publish)).await;
    assert_eq!(code, 0, "{output}");
    let line = mproxy.event("connect", |it| it["event"] == "connect").await;
    assert_eq!(line["username"], "spiffe://example.org/alice");
    assert_eq!(line["client_id"], "alice");
    // nobody takes over the session of another one
    let publish = ["-i", "bob", "-t", "t", "-m", "m"];
    let (code, output) = mosquitto_pub(addr, Version::V5, &args(&alice, &publish)).await;
    assert_ne!(code, 0, "{output}");
    let line = mproxy.end_of("bob").await;
    assert_eq!(line["reason"], "auth_denied");
    let detail = line["detail"].as_str().unwrap_or_default();
    assert!(
        detail.contains("`alice`") && detail.contains("client_id_from"),
        "{line}"
    );
    // the remedy named a layer, of which there are none
    let remedy = line["remedy"].as_str().unwrap_or_default();
    assert!(
        remedy.contains("listeners.mqtts.tls.client_id_from"),
        "{line}"
    );
    // and nobody comes without a certificate
    let ca = ["--cafile".to_owned(), pki.file("ca.crt")];
    let (code, _) = mosquitto_pub(addr, Version::V5, &args(&ca, &publish)).await;
    assert_ne!(code, 0);
    let line = mproxy
        .event("a refusal", |it| it["reason"] == "tls_error")
        .await;
    assert!(
        line["remedy"]
            .as_str()
            .is_some_and(|it| it.contains("listeners.mqtts.tls")),
        "{line}"
    );
    mproxy
        .metric(
            "mproxy_connections_refused_total{listener=\"mqtts\",reason=\"tls_error\"}",
            1.0,
        )
        .await;
}

/// Runs `openssl s_client` against the listener and returns what it prints.
pub(crate) async fn s_client(addr: SocketAddr, pki: &Pki, more: &[&str]) -> String {
    let mut command = Command::new(tool("openssl"));
    command
        .arg("s_client")
        .args(["-connect", &addr.to_string()]);
    command.args(["-CAfile", &pki.file("ca.crt")]).args(more);
    command.stdin(Stdio::null());
    let output = command.output().await.expect("openssl runs");
    let [out, err] =
        [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    out + &err
}

/// What an auditor looks at: versions, the chain, and the protocol.
#[tokio::test]
async fn what_openssl_sees() {
    let pki = pki();
    let mproxy = listener(&pki, "mqtt://127.0.0.1:1", OPTIONAL).start().await;
    let addr = mproxy.listener("mqtts");
    for (option, version) in [("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")] {
        let seen = s_client(addr, &pki, &[option, "-alpn", "mqtt", "-brief"]).await;
        assert!(
            seen.contains(&format!("Protocol version: {version}")),
            "{seen}"
        );
        let seen = s_client(addr, &pki, &[option, "-alpn", "mqtt"]).await;
        assert!(seen.contains("Verify return code: 0 (ok)"), "{seen}");
        assert!(seen.contains("ALPN protocol: mqtt"), "{seen}");
    }
    for old in ["-tls1", "-tls1_1"] {
        let seen = s_client(addr, &pki, &[old, "-cipher", "DEFAULT:@SECLEVEL=0"]).await;
        assert!(seen.contains("alert"), "{seen}");
        assert!(seen.contains("Cipher is (NONE)"), "{seen}");
    }
    let told = mproxy.event("the remedy", |it| {
        let remedy = it["remedy"].as_str();
        remedy.is_some_and(|it| it.contains("min_version"))
    });
    told.await;
}

/// A certificate is renewed while clients are connected: in two files, one after the other, so that there
/// is a moment in which they do not fit together.
#[tokio::test]
async fn a_renewed_certificate_is_shown_to_new_clients_and_nobody_is_disconnected() {
    let pki = pki();
    let broker = Mosquitto::start().await;
    let mproxy = listener(&pki, &broker.url(), OPTIONAL).start().await;
    let addr = mproxy.listener("mqtts");
    let ca = ["--cafile".to_owned(), pki.file("ca.crt")];
    let stays =
        MosquittoSub::start(addr, Version::V311, &args(&ca, &["-t", "t", "-i", "stays"])).await;
    let before = s_client(addr, &pki, &["-showcerts"]).await;

    let old = fs::read(pki.file("server.key")).expect("it was written");
    let [cert, key] = pki.server("server", 2);
    let new = fs::read(&key).expect("it was written");
    fs::write(&key, &old).expect("the folder is ours");
    let refused = mproxy
        .event("the refusal", |it| it["event"] == "reload")
        .await;
    assert_eq!(refused["by"], "a changed certificate");
    assert_eq!(
        refused["message"],
        "not reloaded: the old configuration stays in effect"
    );
    assert_eq!(
        s_client(addr, &pki, &["-showcerts"]).await.lines().nth(20),
        before.lines().nth(20)
    );
    let problem = mproxy.event("why", |it| {
        it["detail"]
            .as_str()
            .is_some_and(|it| it.contains("not the key of the certificate"))
            || it["message"]
                .as_str()
                .is_some_and(|it| it.contains("not the key of the certificate"))
    });
    problem.await;

    fs::write(&key, new).expect("the folder is ours");
    let renewed = mproxy
        .event("the reload", |it| it["message"] == "configuration reloaded")
        .await;
    assert_eq!(renewed["applied"], "listeners.mqtts.tls");
    let serial = |text: String| {
        text.lines()
            .find(|it| it.starts_with("serial="))
            .map(str::to_owned)
    };
    let mut command = Command::new(tool("openssl"));
    command
        .args(["x509", "-noout", "-serial", "-in"])
        .arg(&cert);
    let shown = String::from_utf8(command.output().await.expect("openssl runs").stdout);
    assert_eq!(serial(shown.expect("text")).as_deref(), Some("serial=02"));
    let after = s_client(addr, &pki, &["-showcerts"]).await;
    let pem = fs::read_to_string(&cert).expect("it was written");
    assert!(
        after.contains(pem.trim().lines().nth(3).expect("a certificate")),
        "{after}"
    );
    assert_ne!(after, before);
    let publish = ["-t", "t", "-m", "hello"];
    let (code, output) = mosquitto_pub(addr, Version::V311, &args(&ca, &publish)).await;
    assert_eq!(code, 0, "{output}");
    stays.message("t 0 0 5 68656c6c6f").await;
}

/// A device is lost, and its certificate revoked: its session ends at once, its will is not published, and
/// others stay.
#[tokio::test]
async fn a_revoked_certificate_ends_its_sessions() {
    let pki = pki();
    pki.revoke(&[]);
    let broker = Mosquitto::start().await;
    let revocation = format!(
        "client_auth = \"require\"\n[listeners.tls.revocation]\ncrl_files = [\"{}\"]\n",
        pki.file("ca.crl")
    );
    let mproxy = listener(&pki, &broker.url(), &revocation).start().await;
    let addr = mproxy.listener("mqtts");
    let [alice, bob] = ["alice", "bob"].map(|it| shown(&pki, it));
    let will = [
        "-t",
        "t",
        "-i",
        "alice",
        "--will-topic",
        "wills",
        "--will-payload",
        "gone",
    ];
    let revoked = MosquittoSub::start(addr, Version::V5, &args(&alice, &will)).await;
    let stays =
        MosquittoSub::start(addr, Version::V5, &args(&bob, &["-t", "#", "-i", "bob"])).await;
    pki.revoke(&[7]);
    let line = mproxy.end_of("alice").await;
    assert_eq!(line["reason"], "certificate_rejected", "{line}");
    let line = mproxy
        .event("why", |it| it["certificate_subject"] == "CN=alice")
        .await;
    assert_eq!(
        (&line["certificate_serial"], &line["client_id"]),
        (&"07".into(), &"alice".into())
    );
    // it comes back, and is refused
    let publish = ["-t", "t", "-m", "m", "-i", "alice"];
    let (code, _) = mosquitto_pub(addr, Version::V5, &args(&alice, &publish)).await;
    assert_ne!(code, 0);
    let line = mproxy
        .event("the refusal", |it| it["reason"] == "tls_error")
        .await;
    assert!(
        line["detail"]
            .as_str()
            .is_some_and(|it| it.contains("Revoked")),
        "{line}"
    );
    let publish = ["-t", "t", "-m", "hello", "-i", "second"];
    let (code, output) = mosquitto_pub(addr, Version::V5, &args(&bob, &publish)).await;
    assert_eq!(code, 0, "{output}");
    stays.message("t 0 0 5 68656c6c6f").await;
    assert_eq!(stays.messages().len(), 1, "no will: {:?}", stays.messages());
    drop(revoked);
}

/// A reload looked at sessions, and a connection without a CONNECT is none yet: a client that always kept one of
/// those got in with a certificate that was revoked meanwhile.
#[tokio::test]
async fn a_certificate_that_is_revoked_before_connect_is_refused() {
    let pki = pki();
    pki.revoke(&[]);
    let broker = FakeBroker::bind().await;
    let revocation = format!(
        "client_auth = \"require\"\n[listeners.tls.revocation]\ncrl_files = [\"{}\"]\n",
        pki.file("ca.crl")
    );
    let setup = listener(&pki, &broker.url(), &revocation);
    let mproxy = setup
        .set("upstreams.broker.health.check", "off")
        .start()
        .await;
    let client = client_with(&pki, "alice", vec![certificate(&pki, "alice.crt")]);
    let (stream, _) = Link::tcp(mproxy.listener("mqtts")).await.into_tcp();
    let mut client = secure(&client, stream).await.expect("it is trusted so far");
    pki.revoke(&[7]);
    mproxy.event("a reload", |it| it["event"] == "reload").await;
    let connect = Connect::new(Version::V311, "alice").bytes();
    client.write_all(&connect).await.expect("it reads");
    client.flush().await.expect("it reads");
    let line = mproxy.end_of("alice").await;
    assert_eq!(line["reason"], "certificate_rejected", "{line}");
    assert!(broker.is_idle());
}

/// A client that has not learned of TLS, and one that speaks something else, are told apart in the log.
#[tokio::test]
async fn a_client_without_tls_is_told_apart_from_a_broken_one() {
    let pki = pki();
    let mproxy = listener(&pki, "mqtt://127.0.0.1:1", OPTIONAL).start().await;
    let addr = mproxy.listener("mqtts");
    let mut plain = Link::tcp(addr).await;
    plain.send(b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01c").await;
    plain.rest().await;
    let line = mproxy
        .event("the refusal", |it| it["reason"] == "tls_error")
        .await;
    assert_eq!(line["detail"], "a CONNECT without TLS");
    let mut http = Link::tcp(addr).await;
    http.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    http.rest().await;
    let line = mproxy.event("the other line", |it| {
        let detail = it["detail"].as_str();
        detail.is_some_and(|it| it.contains("an HTTP request instead of"))
    });
    line.await;
    // a port scan asks for nothing
    Link::tcp(addr).await.reset();
}

/// Files that are missing, or do not fit, refuse the start; never is a listener served without TLS instead.
#[tokio::test]
async fn nothing_is_served_without_its_certificate() {
    let pki = pki();
    pki.server("other", 3);
    for (cert, key, why) in [
        ("missing.crt", "server.key", "missing.crt"),
        ("server.crt", "missing.key", "missing.key"),
        ("server.crt", "other.key", "not the key of the certificate"),
        ("ca.crl", "server.key", "ca.crl"),
    ] {
        let config = format!(
            "[[listeners]]\nname = \"mqtts\"\nbind = \"127.0.0.1:0\"\n[listeners.tls]\n\
             cert = \"{}\"\nkey = \"{}\"\n",
            pki.file(cert),
            pki.file(key)
        );
        let (process, _dir) = Setup::new(&config).spawn();
        let (code, output) = process.ended().await;
        assert_ne!(code, 0);
        assert!(output.contains(why), "{output}");
        assert!(!output.contains("\"listening\""), "{output}");
    }
}
