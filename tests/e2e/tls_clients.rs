//! Which certificates of clients are good enough, by MQTT and by WebSocket.

use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;

use mproxy_tests::pki::Pki;
use mproxy_tests::tls::{client, secure};
use mproxy_tests::tools::tool;
use mproxy_tests::wire::{Connect, Version};
use mproxy_tests::{Mosquitto, within};
use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::tls::{OPTIONAL, listener, pki, tls};

/// What a client shows, and what the log says about it: in `detail` and in `remedy`.
const CLIENTS: [(&str, Option<[&str; 2]>); 9] = [
    ("good", None),
    (
        "none",
        Some(["sent no certificates", "give the client a certificate"]),
    ),
    (
        "expired",
        Some(["expired", "renew the certificate of the client"]),
    ),
    ("early", Some(["not valid yet", "check the clocks"])),
    ("revoked", Some(["Revoked", "the certificate was revoked"])),
    ("stranger", Some(["BadSignature", "not in listeners."])),
    ("self-signed", Some(["UnknownIssuer", "not in listeners."])),
    (
        "server-only",
        Some(["extended key usage", "client authentication among them"]),
    ),
    (
        "long",
        Some(["20 certificates, 10 are allowed", "too many certificates"]),
    ),
];

/// The serial numbers of their certificates.
const SERIALS: [(&str, &str); 7] = [
    ("expired", "05"),
    ("early", "06"),
    ("revoked", "04"),
    ("stranger", "08"),
    ("self-signed", "01"),
    ("server-only", "07"),
    ("long", "03"),
];

/// A CA, a server, a list, and the certificates of these clients.
fn clients() -> Pki {
    let pki = Pki::new();
    pki.server("server", 1);
    pki.client("good", 2);
    pki.client("long", 3);
    pki.client("revoked", 4);
    pki.client_with("expired", 5, |it| it.not_after = date_time_ymd(2024, 1, 1));
    pki.client_with("early", 6, |it| it.not_before = date_time_ymd(2200, 1, 1));
    pki.client_with("server-only", 7, |it| {
        it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    pki.self_signed("self-signed");
    pki.revoke(&[4]);
    // of another CA with the same name
    for file in Pki::new().client("stranger", 8) {
        let own = pki.dir().join(file.file_name().expect("a file"));
        let _ = fs::copy(&file, own);
    }
    let spare = |serial| {
        let [cert, _] = pki.client("spare", serial);
        fs::read_to_string(cert).expect("it was written")
    };
    let chain: String = (100..119).map(spare).collect();
    fs::write(pki.dir().join("long.chain"), chain).expect("the folder is ours");
    pki
}

/// Sends bytes over TLS and reads the beginning of the answer; none if the connection ends.
pub(crate) async fn asks(
    addr: SocketAddr,
    pki: &Pki,
    name: &str,
    version: &str,
    bytes: &[u8],
) -> Vec<u8> {
    let mut command = Command::new(tool("openssl"));
    command.args(["s_client", "-quiet", version, "-connect"]);
    command.arg(addr.to_string());
    if name != "none" {
        let [cert, key] = ["crt", "key"].map(|it| pki.file(&format!("{name}.{it}")));
        command.args(["-cert", &cert, "-key", &key]);
    }
    if name == "long" {
        command.args(["-cert_chain", &pki.file("long.chain")]);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::null()).kill_on_drop(true);
    let mut client = command.spawn().expect("openssl runs");
    let mut input = client.stdin.take().expect("it is a pipe");
    let mut output = client.stdout.take().expect("it is a pipe");
    // a client that was refused may have gone
    let _ = input.write_all(bytes).await;
    let mut answer = vec![0; 4];
    let read = within("an answer, or the end", output.read_exact(&mut answer));
    match read.await {
        Ok(_) => answer,
        Err(_) => Vec::new(),
    }
}

/// The certificate of a refused client was not in its line: an operator of a thousand devices had to guess
/// by the address which of them has expired.
#[tokio::test]
async fn only_a_good_certificate_gets_in_and_each_other_one_is_explained() {
    let pki = clients();
    let broker = Mosquitto::start().await;
    let crl = pki.file("ca.crl");
    let requires =
        format!("client_auth = \"require\"\n[listeners.tls.revocation]\ncrl_files = [\"{crl}\"]\n");
    let websocket = format!(
        "[[listeners]]\nname = \"wss\"\nbind = \"127.0.0.1:0\"\nprotocol = \"ws\"\n{}",
        tls(&pki, &requires)
    );
    let connect = Connect::new(Version::V311, "device").bytes();
    let upgrade = b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    let listeners = [
        ("mqtts", &connect[..], &b"\x20\x02\0\0"[..]),
        ("wss", upgrade, b"HTTP"),
    ];
    // in TLS 1.2, the client learns of it within its handshake, in 1.3 behind it; a proxy for each, because of
    // one kind no more than ten lines come at once
    for version in ["-tls1_2", "-tls1_3"] {
        let setup = listener(&pki, &broker.url(), &requires).toml(&websocket);
        let mproxy = setup.start().await;
        for (listener, request, welcome) in listeners {
            let addr = mproxy.listener(listener);
            for (name, refused) in CLIENTS {
                let answer = asks(addr, &pki, name, version, request).await;
                let expected = if refused.is_none() { welcome } else { b"" };
                assert_eq!(answer, expected, "{listener} {name} {version}");
                let Some([why, what_to_do]) = refused else {
                    continue;
                };
                let line = mproxy.event(format!("{name} at {listener}"), |it| {
                    it["listener"] == listener
                        && it["reason"] == "tls_error"
                        && it["detail"].as_str().is_some_and(|it| it.contains(why))
                });
                let line = line.await;
                let remedy = line["remedy"].as_str().unwrap_or_default();
                assert!(remedy.contains(what_to_do), "{line}");
                // and whose it was, which no other field says
                let certificate = ["subject", "serial", "issuer"];
                let certificate = certificate.map(|it| &line[format!("certificate_{it}")]);
                let Some((_, serial)) = SERIALS.into_iter().find(|it| it.0 == name) else {
                    assert_eq!(certificate, [&Value::Null; 3], "{line}");
                    continue;
                };
                let subject = format!("CN={name}");
                let issuer = match name {
                    "self-signed" => &subject,
                    _ => "CN=test CA",
                };
                assert_eq!(certificate, [&subject, serial, issuer], "{line}");
            }
            let refused = format!(
                "mproxy_connections_refused_total{{listener=\"{listener}\",reason=\"tls_error\"}}"
            );
            mproxy.metric(&refused, 8.0).await;
        }
    }
}

/// Behind its Close frame, mproxy closed the TCP connection without close_notify: a client could not tell the end from
/// one that an attacker made.
#[tokio::test]
async fn a_websocket_ends_with_close_notify_too() {
    let pki = pki();
    let broker = Mosquitto::start().await;
    let websocket = format!(
        "[[listeners]]\nname = \"wss\"\nbind = \"127.0.0.1:0\"\nprotocol = \"ws\"\n{}",
        tls(&pki, OPTIONAL)
    );
    let setup = listener(&pki, &broker.url(), OPTIONAL).toml(&websocket);
    let mproxy = setup.start().await;
    let socket = TcpStream::connect(mproxy.listener("wss")).await;
    let mut client = secure(&client(&pki), socket.expect("it listens"))
        .await
        .expect("a handshake");
    let upgrade = b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    client.write_all(upgrade).await.expect("it is open");
    // masked with zeros: CONNECT, and a packet that nobody but a broker may send
    for packet in [
        &Connect::new(Version::V311, "device").bytes()[..],
        b"\xd0\0",
    ] {
        let len = u8::try_from(packet.len()).expect("it is short");
        let frame = [&[0x82, 0x80 | len, 0, 0, 0, 0][..], packet].concat();
        client.write_all(&frame).await.expect("it is open");
    }
    let mut seen = Vec::new();
    // the Close frame of mproxy, which is the last
    while !seen.ends_with(&[0x88, 2, 0x03, 0xe8]) {
        let read = within("the Close frame", client.read_buf(&mut seen)).await;
        assert_ne!(read.expect("no end without close_notify"), 0, "{seen:?}");
    }
    let close = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8];
    client.write_all(&close).await.expect("it is open");
    let end = within("the end", client.read_buf(&mut seen)).await;
    assert_eq!(end.expect("close_notify"), 0);
}
