//! Listeners of Multipath TCP.

use std::net::SocketAddr;

use mproxy_tests::wire::{Connect, Version};
use mproxy_tests::{Link, Mosquitto, Setup};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpStream;

/// A client that speaks Multipath TCP, and whether the other side does.
async fn multipath(addr: SocketAddr) -> (TcpStream, bool) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP))
        .expect("the kernel has Multipath TCP: sysctl net.mptcp.enabled=1");
    socket.connect(&addr.into()).expect("it listens");
    socket.set_nonblocking(true).expect("a socket option");
    let stream = TcpStream::from_std(socket.into()).expect("a runtime");
    let is_both = is_multipath(&stream);
    (stream, is_both)
}

/// Whether a connection has not fallen back to plain TCP: only then does the kernel have a key of the other
/// side.
fn is_multipath(stream: &TcpStream) -> bool {
    let local = SockRef::from(stream).local_addr().expect("it is bound");
    let port = local.as_socket().expect("an address").port();
    let output = std::process::Command::new("ss")
        .args(["--mptcp", "--numeric", "--info"])
        .arg(format!("sport = :{port}"))
        .output()
        .expect("iproute2 is installed: run tests/setup.sh");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains(&format!(":{port}")), "{text}");
    text.contains("remote_key")
}

#[tokio::test]
async fn clients_of_both_kinds_connect() {
    let broker = Mosquitto::start().await;
    for on in [false, true] {
        let setup = Setup::before(&broker.url()).websocket();
        let setup = setup.set_listeners("multipath_tcp", &on.to_string());
        let mproxy = setup.start().await;
        let mut plain = Link::client(mproxy.addr(), Version::V5, "plain").await;
        plain.subscribe("t", 1).await;
        let (stream, is_both) = multipath(mproxy.addr()).await;
        assert_eq!(is_both, on);
        let mut link = Link::over(stream);
        link.connect(&Connect::new(Version::V311, "multipath"))
            .await;
        link.subscribe("t", 1).await;
        link.leave().await;
        let mut ws = Link::ws(mproxy.listener("ws")).await;
        ws.connect(&Connect::new(Version::V5, "ws")).await;
        assert!(
            !mproxy.events().iter().any(|it| it["level"] == "WARN"),
            "no complaint: {:?}",
            mproxy.events()
        );
        mproxy.edit("[admin]", "# changed\n[admin]");
        mproxy.reload().await;
        plain.silent().await;
    }
}

/// An open socket stays as it is: the reload said that the change was applied.
#[tokio::test]
async fn a_change_of_an_open_listener_takes_a_restart() {
    let broker = Mosquitto::start().await;
    let mproxy = Setup::before(&broker.url()).start().await;
    let (without, with) = ("name = \"mqtt\"", "name = \"mqtt\"\nmultipath_tcp = true");
    mproxy.edit(without, with);
    for _ in 0..2 {
        let answer = mproxy.ask_for_reload().await.body;
        let waits = "\"restart_required\":[\"listeners.mqtt.multipath_tcp\"]";
        assert!(answer.contains(waits), "{answer}");
        assert!(answer.contains("\"applied\":[]"), "{answer}");
    }
    mproxy.edit(with, without);
    let answer = mproxy.ask_for_reload().await.body;
    assert!(answer.contains("\"restart_required\":[]"), "{answer}");
}

/// A filter of system calls that knows no Multipath TCP, or a kernel without it: clients are served all the same,
/// and the log says how.
#[tokio::test]
async fn without_it_the_listener_is_one_of_plain_tcp() {
    let broker = Mosquitto::start().await;
    let setup = Setup::before(&broker.url()).set_listeners("multipath_tcp", "true");
    // a socket of plain TCP that is passed stands for a kernel that has nothing else
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let addr = socket.local_addr().expect("it is bound");
    let setup = setup.set("listeners.mqtt.bind", &addr.to_string());
    let mproxy = crate::handover::passing(setup, &[("mqtt", &crate::handover::inherited(socket))])
        .start()
        .await;
    let line = mproxy.event("the complaint", |it| {
        it["level"] == "WARN" && it["listener"] == "mqtt"
    });
    let line = line.await;
    let remedy = line["remedy"].as_str().expect("a remedy");
    assert!(remedy.contains("net.mptcp.enabled"), "{line}");
    Link::client(mproxy.addr(), Version::V5, "c")
        .await
        .leave()
        .await;
}
