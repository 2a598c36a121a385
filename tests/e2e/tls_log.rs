//! TLS and the log: what peers write into a handshake, and what must not be written down.

use std::collections::BTreeSet;
use std::fs;

use mproxy_tests::Mosquitto;
use mproxy_tests::clients::mosquitto_pub;
use mproxy_tests::pki::Pki;
use mproxy_tests::wire::Version;

use crate::tls::{OPTIONAL, args, listener, pki, s_client, shown};

/// The name of the server that a client asks for is any bytes. They can neither break a line nor turn it
/// round.
#[tokio::test]
async fn a_server_name_with_control_characters_does_not_reach_the_log() {
    let pki = pki();
    let mproxy = listener(&pki, "mqtt://127.0.0.1:1", OPTIONAL)
        .log_level("trace")
        .start()
        .await;
    let names = [
        "a\nWARN forged",
        "a\r\n{\"event\":\"forged\"}",
        "a\u{1b}[31mforged",
        "\u{202e}degrof",
        "forged\u{2028}",
        "forged\"",
    ];
    for name in names {
        let said = ["-servername", name, "-brief"];
        s_client(mproxy.listener("mqtts"), &pki, &said).await;
    }
    let refused = "mproxy_connections_refused_total{listener=\"mqtts\",reason=\"tls_error\"}";
    mproxy.metric(refused, names.len() as f64).await;
    // with a line for each, without the name
    mproxy.signal(rustix::process::Signal::TERM);
    let (_, log) = mproxy.ended().await;
    assert_eq!(
        log.matches("ServerNameMustContainOneHostName").count(),
        names.len()
    );
    // there was no remedy
    assert_eq!(log.matches("not the name of a host").count(), names.len());
    for bad in ["forged", "degrof", "\u{1b}", "\u{202e}", "\u{2028}"] {
        assert!(!log.contains(bad), "{bad:?} in {log}");
    }
}

/// So are the names in a certificate that nobody has verified; and they are as long as the client likes.
#[tokio::test]
async fn the_names_of_a_refused_certificate_are_cut_and_escaped() {
    let pki = pki();
    let broken = "a\nWARN forged\r\n{\"event\":\"forged\"}\u{1b}[31m\u{202e}degrof\u{2028}";
    let long = "é".repeat(400);
    let names = [
        ("broken", broken),
        ("long", &long),
        ("huge", &"x".repeat(9000)),
    ];
    let others = Pki::new();
    for (file, name) in names {
        for made in others.client_named(file, name, 7) {
            let own = made.file_name().expect("a file");
            fs::copy(&made, pki.dir().join(own)).expect("the folder is ours");
        }
    }
    let mproxy = listener(&pki, "mqtt://127.0.0.1:1", OPTIONAL).start().await;
    for (file, _) in names {
        let [cert, key] = ["crt", "key"].map(|it| pki.file(&format!("{file}.{it}")));
        let shown = ["-cert", &cert, "-key", &key, "-brief"];
        s_client(mproxy.listener("mqtts"), &pki, &shown).await;
    }
    let whole = r#"CN=a\0AWARN forged\0D\0A{\"event\":\"forged\"}\1B[31m\E2\80\AEdegrof\E2\80\A8"#;
    let cut = format!(r"CN={}\C3…", r"\C3\A9".repeat(41));
    for subject in [whole, &cut, "(a name of 9017 bytes)"] {
        let line = mproxy.event(subject, |it| it["certificate_subject"] == subject);
        assert_eq!(line.await["reason"], "tls_error");
    }
    mproxy.signal(rustix::process::Signal::TERM);
    let (_, log) = mproxy.ended().await;
    for bad in ["\nWARN", "\u{1b}", "\u{202e}", "\u{2028}", "é"] {
        assert!(!log.contains(bad), "{bad:?} in {log}");
    }
}

/// What nobody may learn: the lines of keys, and secrets of connections as OpenSSL tells them.
fn secrets(pki: &Pki, files: &[&str]) -> BTreeSet<String> {
    let texts = files
        .iter()
        .map(|it| fs::read_to_string(pki.file(it)).expect("it was written"));
    let words = texts.flat_map(|text| {
        let words = text.split_whitespace().map(str::to_owned);
        words.collect::<Vec<_>>()
    });
    let secrets: BTreeSet<_> = words
        .filter(|it| it.len() >= 32 && !it.starts_with("-----"))
        .collect();
    assert!(secrets.len() > files.len(), "{secrets:?}");
    secrets
}

/// Keys of certificates, of tickets and of connections are in no line, at no level.
#[tokio::test]
async fn keys_are_never_written_down_at_any_level() {
    let pki = pki();
    let broker = Mosquitto::start().await;
    let tickets = pki.file("tickets");
    let key = |seed: &str| format!("{}\n", seed.repeat(16));
    fs::write(&tickets, ["QUJD", "REVG", "R0hJ"].map(key).concat()).expect("the folder is ours");
    let more = format!("client_auth = \"require\"\nticket_key_file = \"{tickets}\"\n");
    let mproxy = listener(&pki, &broker.url(), &more)
        .log_level("trace")
        .start()
        .await;
    let addr = mproxy.listener("mqtts");
    let alice = shown(&pki, "alice");
    let publish = ["-i", "alice", "-t", "t", "-m", "m"];
    let (code, output) = mosquitto_pub(addr, Version::V5, &args(&alice, &publish)).await;
    assert_eq!(code, 0, "{output}");
    let [cert, key, session, secrets_of_tls] =
        ["alice.crt", "alice.key", "session", "secrets"].map(|it| pki.file(it));
    let own = [
        "-cert",
        &cert,
        "-key",
        &key,
        "-keylogfile",
        &secrets_of_tls,
        "-tls1_2",
    ];
    s_client(addr, &pki, &[&own[..], &["-sess_out", &session]].concat()).await;
    let seen = s_client(addr, &pki, &[&own[..], &["-sess_in", &session]].concat()).await;
    assert!(seen.contains("Reused, TLSv1.2"), "{seen}");
    // files that are refused are told, and not shown
    fs::write(
        pki.file("server.key"),
        "-----BEGIN PRIVATE KEY-----\nnonsense!\n-----END PRIVATE KEY-----\n",
    )
    .expect("the folder is ours");
    mproxy
        .event("the refusal", |it| {
            it["event"] == "reload" && it["level"] == "ERROR"
        })
        .await;
    let log = mproxy.events();
    assert!(log.len() > 5, "{log:?}");
    let log = format!("{log:?}");
    for secret in secrets(&pki, &["alice.key", "bob.key", "tickets", "secrets"]) {
        assert!(!log.contains(&secret), "{secret} in {log}");
        assert!(!log.contains(&secret.to_lowercase()), "{secret} in {log}");
    }
    assert!(!log.contains("nonsense!"), "{log}");
}
