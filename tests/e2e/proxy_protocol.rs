//! Who the client is, behind a load balancer that says so.

use std::fs;
use std::net::SocketAddr;

use mproxy_tests::clients::mosquitto_pub;
use mproxy_tests::pki::Pki;
use mproxy_tests::raw::{Framing, RawPeer, Segments, UPGRADE};
use mproxy_tests::wire::{Connect, Version};
use mproxy_tests::{
    FakeBroker, Haproxy, Link, Mosquitto, Mproxy, Port, Process, Setup, connect_from, until, within,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::tools::tool;

/// Only this host's usual address may speak for others; 127.0.0.2 is a stranger.
const TRUSTED: &str = "trusted = [\"127.0.0.1/32\"]\n";

/// HAProxy and everybody else come from here.
const CLIENT: &str = "127.0.0.7";

const REFUSED: &str = "mproxy_connections_refused_total{reason=\"proxy_header\"}";

/// One listener that accepts these headers, and one for WebSocket.
fn accepting(broker: &str, accept: &str) -> Setup {
    let table = format!("[listeners.proxy_protocol]\naccept = \"{accept}\"\n{TRUSTED}");
    Setup::before(broker)
        .toml("[[listeners]]\nname = \"proxied\"\nbind = \"127.0.0.1:0\"\n")
        .toml(&table)
        .toml("[[listeners]]\nname = \"ws\"\nbind = \"127.0.0.1:0\"\nprotocol = \"ws\"\n")
        .toml(&table)
}

async fn from(source: [u8; 4], addr: SocketAddr) -> TcpStream {
    let stream = within("a connection", connect_from(source, addr)).await;
    let stream = stream.expect("it listens");
    stream.set_nodelay(true).expect("a TCP connection");
    stream
}

fn v1(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 192.0.2.2 5000 1883\r\n").into_bytes()
}

fn v2(client: [u8; 4]) -> Vec<u8> {
    let head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
    [
        &head[..],
        &client,
        &[192, 0, 2, 2],
        &[0x13, 0x88, 0x07, 0x5b],
    ]
    .concat()
}

const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// The address of a client, by the line about its end.
async fn peer_of(mproxy: &Mproxy, client_id: &str) -> String {
    let end = mproxy.end_of(client_id).await;
    end["peer"].as_str().expect("an address").to_owned()
}

/// The connection ends, and nothing of it is MQTT.
async fn refused(mut stream: TcpStream) {
    let mut rest = Vec::new();
    // an end or a reset
    let _ = within("the end", stream.read_to_end(&mut rest)).await;
    assert!(rest.is_empty(), "{rest:02x?}");
}

#[tokio::test]
async fn the_address_in_a_header_is_the_client() {
    let broker = Mosquitto::start().await;
    let mproxy = accepting(&broker.url(), "required").start().await;
    let addr = mproxy.listener("proxied");
    let headers = [v1("192.0.2.7"), v2([192, 0, 2, 7])];
    for (number, header) in headers.iter().enumerate() {
        for by_bytes in [false, true] {
            let client_id = format!("c{number}{by_bytes}");
            let connect = Connect::new(Version::V5, &client_id);
            let mut stream = TcpStream::connect(addr).await.expect("it listens");
            stream.set_nodelay(true).expect("a TCP connection");
            // in one segment with the CONNECT, or in as many as there can be
            let bytes = [&header[..], &connect.bytes()].concat();
            let step = if by_bytes { 1 } else { bytes.len() };
            for piece in bytes.chunks(step) {
                stream.write_all(piece).await.expect("it is read");
                tokio::task::yield_now().await;
            }
            let mut link = Link::over(stream);
            link.speak(Version::V5);
            assert_eq!(link.packet().await.kind(), 2, "CONNACK");
            link.leave().await;
            assert_eq!(peer_of(&mproxy, &client_id).await, "192.0.2.7:5000");
        }
        let mut stream = TcpStream::connect(mproxy.listener("ws"))
            .await
            .expect("it listens");
        stream.write_all(header).await.expect("it is read");
        let mut raw = RawPeer::over(stream, Framing::WsClient);
        let whole = &mut Segments::Whole;
        raw.send(UPGRADE, whole).await;
        raw.upgraded().await;
    }
}

/// Anybody can write a header. Whoever is not trusted is not asked who the client is.
#[tokio::test]
async fn nobody_else_can_claim_an_address() {
    let broker = FakeBroker::bind().await;
    let connect = Connect::new(Version::V311, "spoof").bytes();
    for accept in ["optional", "v1", "v2", "required"] {
        let mproxy = accepting(&broker.url(), accept).start().await;
        broker.probed().await;
        let addr = mproxy.listener("proxied");
        for header in [v1("127.0.0.1"), v2([127, 0, 0, 1]), LOCAL.to_vec()] {
            let mut stream = from([127, 0, 0, 2], addr).await;
            let bytes = [&header[..], &connect].concat();
            // it may be closed before
            let _ = stream.write_all(&bytes).await;
            refused(stream).await;
        }
        if accept == "optional" {
            let line = mproxy
                .event("the bytes", |event| event["reason"] == "protocol_error")
                .await;
            let detail = line["detail"].as_str().expect("a detail");
            assert!(
                detail.contains("a PROXY protocol header instead of CONNECT"),
                "{line}"
            );
            let peer = line["peer"].as_str().expect("an address");
            assert!(peer.starts_with("127.0.0.2:"), "{line}");
            let remedy = line["remedy"].as_str().expect("a remedy");
            assert!(
                remedy.contains("listeners.proxied.proxy_protocol.trusted"),
                "{line}"
            );
            // the stranger itself is welcome
            let mut stream = from([127, 0, 0, 2], addr).await;
            stream.write_all(&connect).await.expect("it is read");
            let (_server, packet) = broker.accept().await;
            assert_eq!(packet.kind(), 1);
        } else {
            refused(from([127, 0, 0, 2], addr).await).await;
            mproxy.metric(REFUSED, 4.0).await;
            let line = mproxy
                .event("a line", |event| event["reason"] == "proxy_header")
                .await;
            let remedy = line["remedy"].as_str().expect("a remedy");
            assert!(
                remedy.contains("listeners.proxied.proxy_protocol.trusted"),
                "{line}"
            );
        }
        assert!(broker.is_idle());
    }
}

#[tokio::test]
async fn a_header_that_is_missing_or_broken_is_refused() {
    let broker = FakeBroker::bind().await;
    let setup = accepting(&broker.url(), "v2");
    let mproxy = setup
        .set("listeners.proxied.limits.connect_timeout", "\"1s\"")
        .start()
        .await;
    broker.probed().await;
    let connect = Connect::new(Version::V311, "c").bytes();
    let half = &v2([192, 0, 2, 7])[..20];
    let cases = [
        (
            &connect[..],
            "a CONNECT without a PROXY protocol header",
            "turn the PROXY protocol on",
        ),
        (
            b"\x16\x03\x01\x02\0\x01\0",
            "a TLS handshake without a PROXY",
            "proxy_protocol.accept",
        ),
        (
            b"PROXY TCP4 ",
            "header of version 1",
            "to \"required\" for both",
        ),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
            "is not valid",
            "is it a load balancer?",
        ),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
            "more than 552 bytes",
            "fewer fields",
        ),
        // then silence
        (half, "did not arrive in time", "check the network"),
    ];
    for (bytes, detail, remedy) in cases {
        let mut stream = TcpStream::connect(mproxy.listener("proxied"))
            .await
            .expect("it listens");
        stream.write_all(bytes).await.expect("it is read");
        refused(stream).await;
        let line = mproxy
            .event(detail, |event| {
                event["detail"]
                    .as_str()
                    .is_some_and(|it| it.contains(detail))
            })
            .await;
        assert_eq!(line["reason"], "proxy_header");
        assert!(
            line["remedy"].as_str().expect("a remedy").contains(remedy),
            "{line}"
        );
    }
    mproxy.metric(REFUSED, 6.0).await;
    assert!(broker.is_idle());
}

/// Load balancers ask every second or two whether somebody listens: no line, and nobody is refused.
#[tokio::test]
async fn health_checks_are_silent() {
    let broker = FakeBroker::bind().await;
    let mproxy = accepting(&broker.url(), "required").start().await;
    broker.probed().await;
    for listener in ["proxied", "ws"] {
        for bytes in [&b""[..], LOCAL, b"PROXY UNKNOWN\r\n", &v2([192, 0, 2, 7])] {
            let addr = mproxy.listener(listener);
            let mut stream = TcpStream::connect(addr).await.expect("it listens");
            stream.write_all(bytes).await.expect("it is read");
            stream.shutdown().await.expect("it is open");
            refused(stream).await;
        }
    }
    mproxy
        .metric("mproxy_connections_closed_total{reason=\"eof\"}", 8.0)
        .await;
    assert!(
        mproxy
            .metrics()
            .await
            .sum("mproxy_connections_refused_total")
            < 0.5
    );
    let events = mproxy.events();
    assert!(
        events.iter().all(|event| event["event"] != "refuse"),
        "{events:?}"
    );
}

/// One client used up what all clients of its load balancer may have.
#[tokio::test]
async fn limits_are_those_of_the_client() {
    let broker = Mosquitto::start().await;
    let key = "listeners.proxied.limits.max_connections_per_ip";
    let mproxy = accepting(&broker.url(), "optional")
        .set(key, "1")
        .start()
        .await;
    let addr = mproxy.listener("proxied");
    let come = async |header: Vec<u8>| {
        let mut stream = TcpStream::connect(addr).await.expect("it listens");
        stream.write_all(&header).await.expect("it is read");
        stream
    };
    let enter = async |header: Vec<u8>, client_id: &str| {
        let mut link = Link::over(come(header).await);
        link.connect(&Connect::new(Version::V5, client_id)).await;
        link
    };
    let first = enter(v1("192.0.2.1"), "first").await;
    let _second = enter(v2([192, 0, 2, 2]), "second").await;
    refused(come(v2([192, 0, 2, 1])).await).await;
    let line = mproxy
        .event("the limit", |event| event["limit"] == key)
        .await;
    assert_eq!(line["peer"], "192.0.2.1:5000");
    // the load balancer itself, without a header, is a client like any other
    let _own = enter(Vec::new(), "own").await;
    refused({
        let mut stream = come(Vec::new()).await;
        let connect = Connect::new(Version::V5, "own2").bytes();
        stream.write_all(&connect).await.expect("it is read");
        stream
    })
    .await;
    // it speaks for nobody, and for any number of them
    let _checks = [
        enter(LOCAL.to_vec(), "l1").await,
        enter(LOCAL.to_vec(), "l2").await,
    ];
    first.leave().await;
    until("the place", async || {
        let mut link = Link::over(come(v1("192.0.2.1")).await);
        link.speak(Version::V5);
        let sent = link
            .try_send(&Connect::new(Version::V5, "third").bytes())
            .await;
        (sent && link.packet_or_end().await.is_some()).then_some(())
    })
    .await;
}

/// The same by way of HTTP: proxies append whom they serve, and a client may write what it likes before.
#[tokio::test]
async fn a_trusted_proxy_names_the_client_of_a_websocket() {
    let broker = Mosquitto::start().await;
    let setup = accepting(&broker.url(), "off").set("listeners.ws.trust_forwarded_for", "true");
    let mproxy = setup
        .set("listeners.ws.limits.max_connections_per_ip", "1")
        .start()
        .await;
    let addr = mproxy.listener("ws");
    let mut connected = Vec::new();
    // the limit of 192.0.2.1 is reached by the second one
    for (source, header, client_id, address) in [
        (
            1,
            &b"127.0.0.1, 192.0.2.1"[..],
            "appended",
            Some("192.0.2.1:"),
        ),
        (1, b"192.0.2.1", "one-more", None),
        (
            1,
            b"192.0.2.2, 127.0.0.1",
            "two-proxies",
            Some("192.0.2.2:"),
        ),
        // the whole header was ignored, and the client took the address of the proxy
        (1, b"\xff, 192.0.2.3", "bytes", Some("192.0.2.3:")),
        // a stranger is who it is
        (2, b"192.0.2.9", "stranger", Some("127.0.0.2:")),
    ] {
        let stream = from([127, 0, 0, source], addr).await;
        let mut client = RawPeer::over(stream, Framing::WsClient);
        let whole = &mut Segments::Whole;
        let (line, rest) = UPGRADE.split_at(UPGRADE.len() - 2);
        client
            .send(
                &[line, b"X-Forwarded-For: ", header, b"\r\n", rest].concat(),
                whole,
            )
            .await;
        client.upgraded().await;
        let connect = Connect::new(Version::V5, client_id).bytes();
        client
            .send(&Framing::WsClient.wrap(&connect, 0), whole)
            .await;
        assert_eq!(client.speaks().await, address.is_some(), "{client_id}");
        let Some(address) = address else { continue };
        let info = mproxy
            .event(client_id, move |event| event["client_id"] == client_id)
            .await;
        let peer = info["peer"].as_str().expect("an address");
        assert!(peer.starts_with(address), "{info}");
        connected.push(client);
    }
}

/// Publishes through a real load balancer, from an address that only it sees.
async fn publishes(mproxy: &Mproxy, balancer: SocketAddr, client_id: &str, more: &[&str]) {
    let args = [
        "-A", CLIENT, "-i", client_id, "-t", "t", "-m", "x", "-q", "1",
    ];
    let (code, output) = mosquitto_pub(balancer, Version::V5, &[&args[..], more].concat()).await;
    assert_eq!(code, 0, "{output}");
    let peer = peer_of(mproxy, client_id).await;
    assert!(peer.starts_with(&format!("{CLIENT}:")), "{peer}");
}

#[tokio::test]
async fn haproxy_says_who_the_client_is() {
    let broker = Mosquitto::start().await;
    let mproxy = accepting(&broker.url(), "required").start().await;
    let addr = mproxy.listener("proxied");
    for option in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2-ssl",
        "send-proxy check inter 50ms",
    ] {
        let haproxy = Haproxy::with("", &format!("{addr} {option}"), "").await;
        publishes(&mproxy, haproxy.addr(), &option.replace(' ', "-"), &[]).await;
    }
    // what it sends of itself, as its checks do, is not a refusal
    let events = mproxy.events();
    assert!(
        events.iter().all(|event| event["event"] != "refuse"),
        "{events:?}"
    );
}

#[tokio::test]
async fn nginx_says_who_the_client_is() {
    let broker = Mosquitto::start().await;
    let mproxy = accepting(&broker.url(), "v1").start().await;
    let (port, dir) = (
        Port::reserve(),
        TempDir::new().expect("a temporary folder can be made"),
    );
    let config = format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
         daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr;\nevents {{}}\n\
         stream {{ server {{ listen {}; proxy_pass {}; proxy_protocol on; }} }}\n",
        port.addr(),
        mproxy.listener("proxied"),
    );
    let file = dir.path().join("nginx.conf");
    fs::write(&file, config).expect("the temporary folder is ours");
    let mut command = Command::new(tool("nginx"));
    command
        .args(["-e", "stderr", "-p"])
        .arg(dir.path())
        .arg("-c")
        .arg(file);
    let _nginx = Process::spawn(command);
    until("nginx to listen", async || {
        TcpStream::connect(port.addr()).await.ok()
    })
    .await;
    publishes(&mproxy, port.addr(), "nginx", &[]).await;
}

/// A CA, a server on this host, and a client.
fn certificates() -> Pki {
    let pki = Pki::new();
    let [crt, key] = pki.server("server", 1);
    let [crt, key] = [crt, key].map(|file| fs::read(file).expect("it was just written"));
    // as HAProxy reads them
    let pem = fs::write(pki.file("server.pem"), [crt, key].concat());
    pem.expect("the temporary folder is ours");
    pki.client("device-7", 2);
    pki
}

/// Clients may publish below the name in their certificate.
const OWN_TOPICS: &str = "[chains.default]\nlayers = [\"acl\"]\n[layers.acl]\ntype = \"acl\"\n\
    [[layers.acl.rules]]\nallow = [\"publish\"]\ntopics = [\"${cn}/#\"]\n";

/// TLS may end at the load balancer, which says whose certificate it was; or behind it, at mproxy.
#[tokio::test]
async fn tls_may_end_on_either_side_of_a_header() {
    let broker = Mosquitto::start().await;
    let files = certificates();
    let (crt, key, ca) = (
        files.file("server.crt"),
        files.file("server.key"),
        files.file("ca.crt"),
    );
    let tls = format!(
        "[[listeners]]\nname = \"tls\"\nbind = \"127.0.0.1:0\"\n\
         [listeners.proxy_protocol]\naccept = \"v2\"\n{TRUSTED}\
         [listeners.tls]\ncert = \"{crt}\"\nkey = \"{key}\"\nclient_auth = \"require\"\n\
         client_ca = [\"{ca}\"]\n"
    );
    let setup = accepting(&broker.url(), "v2").toml(&tls).toml(OWN_TOPICS);
    let mproxy = setup.start().await;
    let bind = format!(
        "ssl crt {} ca-file {ca} verify required",
        files.file("server.pem")
    );
    let server = |listener: &str, option: &str| format!("{} {option}", mproxy.listener(listener));
    let ends = Haproxy::with(&bind, &server("proxied", "send-proxy-v2-ssl-cn"), "").await;
    let passes = Haproxy::with("", &server("tls", "send-proxy-v2"), "").await;
    let (cert, key) = (files.file("device-7.crt"), files.file("device-7.key"));
    for (haproxy, client_id) in [(ends, "ends"), (passes, "passes")] {
        let more = [
            "--cafile",
            &ca,
            "--cert",
            &cert,
            "--key",
            &key,
            "-t",
            "device-7/up",
        ];
        publishes(&mproxy, haproxy.addr(), client_id, &more).await;
        let end = mproxy.end_of(client_id).await;
        assert_eq!(end["denied"], 0, "{end}");
        let more = [
            "--cafile",
            &ca,
            "--cert",
            &cert,
            "--key",
            &key,
            "-t",
            "device-8/up",
        ];
        let other = format!("{client_id}-other");
        let args = [
            &["-A", CLIENT, "-i", &other, "-m", "x", "-q", "1"][..],
            &more,
        ]
        .concat();
        mosquitto_pub(haproxy.addr(), Version::V5, &args).await;
        let end = mproxy.end_of(&other).await;
        assert_eq!(end["denied"], 1, "{end}");
    }
}

/// A broker that is told who its clients are, and that checks come from mproxy itself.
#[tokio::test]
async fn the_broker_is_told_who_the_client_is() {
    let local = |version| {
        if version == "v1" {
            &b"PROXY UNKNOWN\r\n"[..]
        } else {
            LOCAL
        }
    };
    for version in ["v1", "v2", "v2-tls"] {
        let broker = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = broker.local_addr().expect("it is bound");
        let key = "upstreams.broker.send_proxy_protocol";
        let setup = Setup::before(&format!("mqtt://{addr}")).set(key, &format!("\"{version}\""));
        let mproxy = setup.start().await;
        let begins_with = async |head: &[u8]| {
            let (mut stream, _) = within("a connection", broker.accept())
                .await
                .expect("it listens");
            let mut read = vec![0; head.len()];
            within("a header", stream.read_exact(&mut read))
                .await
                .expect("it is sent");
            assert_eq!(read, head, "{}", read.escape_ascii());
            Link::over(stream)
        };
        let mut probe = begins_with(local(version)).await;
        assert_eq!(probe.accept().await.kind(), 1);
        probe.rest().await;

        let client = from([127, 0, 0, 7], mproxy.addr()).await;
        let ports = [client.local_addr(), client.peer_addr()].map(|it| it.expect("open").port());
        let mut client = Link::over(client);
        client
            .send(&Connect::new(Version::V5, "told").bytes())
            .await;
        let head = match version {
            "v1" => {
                let [from, to] = ports;
                format!("PROXY TCP4 127.0.0.7 127.0.0.1 {from} {to}\r\n").into_bytes()
            }
            _ => {
                let head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x07\x7f\0\0\x01";
                let ports = ports.map(u16::to_be_bytes);
                [&head[..], &ports[0], &ports[1]].concat()
            }
        };
        let mut session = begins_with(&head).await;
        session.speak(Version::V5);
        assert_eq!(session.accept().await.kind(), 1);
        client.speak(Version::V5);
        assert_eq!(client.packet().await.kind(), 2);
    }
}

/// The name in a certificate that one proxy has verified is known to the one behind it.
#[tokio::test]
async fn the_name_in_a_certificate_reaches_the_broker() {
    let broker = Mosquitto::start().await;
    let files = certificates();
    let behind = accepting(&broker.url(), "v2")
        .toml(OWN_TOPICS)
        .start()
        .await;
    let [crt, key, ca] = ["server.crt", "server.key", "ca.crt"].map(|name| files.file(name));
    let front = Setup::before(&format!("mqtt://{}", behind.listener("proxied")))
        .set("upstreams.broker.send_proxy_protocol", "\"v2-tls\"")
        .set("listeners.mqtt.tls.cert", &format!("\"{crt}\""))
        .set("listeners.mqtt.tls.key", &format!("\"{key}\""))
        .set("listeners.mqtt.tls.client_auth", "\"require\"")
        .set("listeners.mqtt.tls.client_ca", &format!("[\"{ca}\"]"));
    let front = front.start().await;
    let [cert, key] = ["device-7.crt", "device-7.key"].map(|name| files.file(name));
    for (client_id, topic, denied) in [("own", "device-7/up", 0), ("other", "device-8/up", 1)] {
        let more = [
            "--cafile", &ca, "--cert", &cert, "--key", &key, "-t", topic, "-i", client_id,
        ];
        let args = [&["-A", CLIENT, "-m", "x", "-q", "1"][..], &more].concat();
        mosquitto_pub(front.addr(), Version::V5, &args).await;
        let end = behind.end_of(client_id).await;
        assert_eq!(end["denied"], denied, "{end}");
        let peer = end["peer"].as_str().expect("an address");
        assert!(peer.starts_with(&format!("{CLIENT}:")), "{end}");
    }
}

/// A real reader of headers before the broker, from the one that ends TLS for clients.
#[tokio::test]
async fn what_one_balancer_says_reaches_the_next() {
    let broker = Mosquitto::start().await;
    let files = certificates();
    let (ca, server) = (files.file("ca.crt"), files.file("server.pem"));
    let log = " log stdout format raw local0\n option tcplog\n\
               log-format \"from %ci to %[fc_pp_authority]\"\n";
    for (version, is_tls) in [
        ("v1", false),
        ("v2", false),
        ("v2-tls", false),
        ("v2-tls", true),
    ] {
        let tls = if is_tls {
            format!("ssl crt {server}")
        } else {
            String::new()
        };
        let bind = format!("accept-proxy {tls}");
        let reader = Haproxy::with(&bind, &broker.addr().to_string(), log).await;
        let url = match is_tls {
            true => format!("mqtts://localhost:{}", reader.addr().port()),
            false => format!("mqtt://{}", reader.addr()),
        };
        let tls = format!("[upstreams.broker.tls]\nca = [\"{ca}\"]\n");
        let setup = accepting(&url, "v2").toml(if is_tls { &tls } else { "" });
        let key = "upstreams.broker.send_proxy_protocol";
        let mproxy = setup.set(key, &format!("\"{version}\"")).start().await;
        mproxy.until_ready(true).await;
        let bind = format!("ssl crt {server} ca-file {ca} verify required");
        let option = "send-proxy-v2-ssl-cn proxy-v2-options authority";
        let ends = format!("{} {option}", mproxy.listener("proxied"));
        let ends = Haproxy::with(&bind, &ends, "").await;
        let (cert, key) = (files.file("device-7.crt"), files.file("device-7.key"));
        let more = [
            "-h",
            "localhost",
            "--cafile",
            &ca,
            "--cert",
            &cert,
            "--key",
            &key,
        ];
        publishes(&mproxy, ends.addr(), "chain", &more).await;
        let name = if version == "v2-tls" {
            "localhost"
        } else {
            "-"
        };
        let line = format!("from {CLIENT} to {name}");
        reader.process().line("the client", |it| it == line).await;
    }
}
