//! `mproxy-server check` and brokers with TLS: what would keep clients out is told before there are any.

use std::fs;

use mproxy_tests::pki::Pki;
use mproxy_tests::wire::{Connect, Version};
use mproxy_tests::{FakeBroker, Link, Mosquitto, Port, Process, Setup, server_binary};
use rcgen::{BasicConstraints, IsCa, SanType, date_time_ymd};
use tokio::process::Command;

use crate::tls::{listener, pki, tls};

/// A broker with TLS: what it shows, and more of its settings.
async fn broker(pki: &Pki, name: &str, more: &str) -> (Mosquitto, Port) {
    let port = Port::reserve();
    let broker = Mosquitto::with(&format!(
        "listener {} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\n{more}",
        port.addr().port(),
        pki.file("ca.crt"),
        pki.file(&format!("{name}.crt")),
        pki.file(&format!("{name}.key")),
    ))
    .await;
    (broker, port)
}

/// What `check` says about a broker at this address, with these lines in its table of TLS.
async fn check(pki: &Pki, address: &str, tls: &str, args: &[&str]) -> (i32, String) {
    let config = format!(
        "[[listeners]]\nname = \"mqtt\"\nbind = \"127.0.0.1:0\"\n[upstreams.broker]\n\
         address = \"{address}\"\n[upstreams.broker.tls]\n{tls}[admin]\nbind = \"127.0.0.1:0\"\n"
    );
    let file = pki.file("check.toml");
    fs::write(&file, config).expect("the folder is ours");
    let mut command = Command::new(server_binary());
    command.args(["check", "--config", &file]).args(args);
    command.env_clear();
    Process::run(command).await
}

/// `check` said what is wrong, and the line of a client that was closed for it asked for a port with TLS, which
/// it was.
#[tokio::test]
async fn the_line_of_a_client_says_the_same_about_a_broker_that_wants_a_certificate() {
    let pki = pki();
    let (_strict, strict) = broker(&pki, "server", "require_certificate true\n").await;
    let config = format!(
        "[upstreams.broker]\naddress = \"mqtts://{}\"\n[upstreams.broker.tls]\nca = [\"{}\"]\n\
         [[listeners]]\nname = \"mqtt\"\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n",
        strict.addr(),
        pki.file("ca.crt")
    );
    let mproxy = Setup::new(&config).start().await;
    let mut client = Link::tcp(mproxy.addr()).await;
    let connect = Connect::new(Version::V311, "device").bytes();
    client.send(&connect).await;
    let line = mproxy.end_of("device").await;
    let [detail, remedy] = ["detail", "remedy"].map(|it| line[it].as_str().unwrap_or_default());
    assert!(detail.contains("ertificateRequired"), "{line}");
    assert!(!detail.contains("reset"), "{line}");
    let wants =
        "it wants a certificate of mproxy, or another one (upstreams.broker.tls.cert and key)";
    assert!(remedy.contains(wants), "{line}");
}

/// It only connected by TCP, and called a broker fine that every client would be closed for. Then it warned, and
/// exited with 0: who relied on that deployed it.
#[tokio::test]
async fn check_does_the_handshake_with_the_broker_and_says_what_is_wrong() {
    let (pki, others) = (pki(), Pki::new());
    pki.client_with("expired", 5, |it| {
        it.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
        it.not_after = date_time_ymd(2024, 1, 1);
    });
    // as `openssl req -x509` makes them; the remedy was about the name
    pki.client_with("authority", 6, |it| {
        it.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
        it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    let (_good, good) = broker(&pki, "server", "").await;
    let (_authority, authority) = broker(&pki, "authority", "").await;
    let (_expired, expired) = broker(&pki, "expired", "").await;
    let (_strict, strict) = broker(&pki, "server", "require_certificate true\n").await;
    let old = "require_certificate true\ntls_version tlsv1.2\n";
    let (_old, old) = broker(&pki, "server", old).await;
    let plain = Mosquitto::start().await;
    let url = |port: &Port| format!("mqtts://{}", port.addr());
    let ca = format!("ca = [\"{}\"]\n", pki.file("ca.crt"));
    let shown = |name: &str| {
        let [cert, key] = ["crt", "key"].map(|it| pki.file(&format!("{name}.{it}")));
        format!("{ca}cert = \"{cert}\"\nkey = \"{key}\"\n")
    };
    let other_name = format!("{ca}server_name = \"broker.example\"\n");
    let other_ca = format!("ca = [\"{}\"]\n", others.file("ca.crt"));

    for (address, tls) in [(url(&good), &ca), (url(&strict), &shown("alice"))] {
        let (code, told) = check(&pki, &address, tls, &["--deny-warnings"]).await;
        assert_eq!(code, 0, "{told}");
    }
    let wants =
        "it wants a certificate of mproxy, or another one (upstreams.broker.tls.cert and key)";
    for (address, tls, why, remedy) in [
        (
            url(&good),
            &other_name,
            "broker.example",
            "upstreams.broker.tls.server_name",
        ),
        (
            url(&good),
            &other_ca,
            "BadSignature",
            "upstreams.broker.tls.ca",
        ),
        (
            url(&expired),
            &ca,
            "expired",
            "renew the certificate of the broker",
        ),
        (
            url(&authority),
            &ca,
            "CA:TRUE",
            "-addext basicConstraints=critical,CA:FALSE",
        ),
        // in TLS 1.3, it says so only behind the handshake
        (url(&strict), &ca, "ertificateRequired", wants),
        (url(&old), &ca, "alert", wants),
        (
            plain.url().replace("mqtt://", "mqtts://"),
            &ca,
            "TLS",
            "does the broker expect TLS",
        ),
    ] {
        // a port without TLS closes the connection, as a broker does that stops
        let (severity, expected) = match address.contains(&plain.addr().to_string()) {
            true => ("warning", 0),
            false => ("error", 69),
        };
        let (code, told) = check(&pki, &address, tls, &[]).await;
        assert_eq!(code, expected, "{told}");
        let title = format!("{severity}: upstream `broker` cannot be used at {address}: ");
        let line = told.lines().find(|it| it.starts_with(&title));
        assert!(line.is_some_and(|it| it.contains(why)), "{why}: {told}");
        assert!(told.contains(remedy), "{remedy}: {told}");
        // it may be another one tomorrow, so this is no mistake of the configuration
        let (code, told) = check(&pki, &address, tls, &["--deny-warnings"]).await;
        assert_eq!(code, 69, "{told}");
        let last = "the configuration is valid, but cannot be used here and now";
        assert!(told.trim_end().ends_with(last), "{told}");
    }
}

/// So is what a WebSocket is in.
#[tokio::test]
async fn check_does_the_handshakes_of_a_broker_behind_wss() {
    let pki = pki();
    let broker = Mosquitto::start().await;
    let websocket = format!(
        "[[listeners]]\nname = \"wss\"\nbind = \"127.0.0.1:0\"\nprotocol = \"ws\"\npaths = [\"/mqtt\"]\n{}",
        tls(&pki, "")
    );
    let gateway = listener(&pki, &broker.url(), "client_auth = \"require\"\n")
        .toml(&websocket.replace(&format!("client_ca = [\"{}\"]\n", pki.file("ca.crt")), ""))
        .start()
        .await;
    gateway.until_ready(true).await;
    let at = |path: &str| format!("wss://{}{path}", gateway.listener("wss"));
    let ca = format!("ca = [\"{}\"]\n", pki.file("ca.crt"));
    let (code, told) = check(&pki, &at("/mqtt"), &ca, &["--deny-warnings"]).await;
    assert_eq!(code, 0, "{told}");
    let (code, told) = check(&pki, &at("/other"), &ca, &[]).await;
    assert_eq!(code, 69, "{told}");
    assert!(told.contains("404"), "{told}");
    assert!(told.contains("with the right path"), "{told}");
    let others = Pki::new();
    let other = format!("ca = [\"{}\"]\n", others.file("ca.crt"));
    let (code, told) = check(&pki, &at("/mqtt"), &other, &[]).await;
    assert_eq!(code, 69, "{told}");
    assert!(told.contains("upstreams.broker.tls.ca"), "{told}");
}

/// What a broker that is restarted looks like stays a warning: a port where nobody is, and one where somebody
/// hangs up in the middle of a handshake.
#[tokio::test]
async fn a_broker_that_may_come_back_is_a_warning() {
    let pki = pki();
    let ca = format!("ca = [\"{}\"]\n", pki.file("ca.crt"));
    let port = Port::reserve();
    let nobody = format!("mqtts://{}", port.addr());
    let (code, told) = check(&pki, &nobody, &ca, &[]).await;
    assert_eq!(code, 0, "{told}");
    assert!(
        told.contains("warning: upstream `broker` does not answer"),
        "{told}"
    );
    let broker = FakeBroker::bind().await;
    let address = broker.url().replace("mqtt://", "mqtts://");
    let hangs_up = async { drop(broker.connection().await) };
    let (_, (code, told)) = tokio::join!(hangs_up, check(&pki, &address, &ca, &[]));
    assert_eq!(code, 0, "{told}");
    assert!(
        told.contains("warning: upstream `broker` cannot be used"),
        "{told}"
    );
    let (code, told) = check(&pki, &nobody, &ca, &["--deny-warnings"]).await;
    assert_eq!(code, 69, "{told}");
}

/// An address from a secret file is not told, nor is its host by what TLS says about names.
#[tokio::test]
async fn a_secret_address_is_not_told_by_what_a_certificate_lacks() {
    let pki = pki();
    pki.client_with("numbered", 5, |it| {
        it.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
    });
    let (_broker, port) = broker(&pki, "numbered", "").await;
    let secret = pki.file("address");
    let address = format!("mqtts://localhost:{}", port.addr().port());
    fs::write(&secret, &address).expect("the folder is ours");
    let ca = format!("ca = [\"{}\"]\n", pki.file("ca.crt"));
    let (code, told) = check(&pki, &format!("${{file:{secret}}}"), &ca, &[]).await;
    assert_eq!(code, 69, "{told}");
    let title = "upstream `broker` cannot be used at ***: TLS handshake failed: ";
    assert!(told.contains(title), "{told}");
    assert!(!told.contains("localhost"), "{told}");
    // and if it is none, why
    let (_, told) = check(&pki, &address, &ca, &[]).await;
    assert!(told.contains("not valid for name \"localhost\""), "{told}");
}
