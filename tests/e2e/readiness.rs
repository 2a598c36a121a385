//! Ready means that clients get in: `/readyz`, `mproxy_upstream_up`, and when the proxy asks its
//! broker.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use mproxy_tests::wire::{Connect, PROBE, Version, connack};
use mproxy_tests::{
    FakeBroker, Link, Mosquitto, Mproxy, Process, Setup, http, server_binary, tools::tool, until,
};
use rustix::net::{Shutdown, shutdown};
use rustix::process::Signal;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::handover::{inherited, passing};

const UP: &str = "mproxy_upstream_up{upstream=\"broker\"}";

async fn healthcheck(admin: SocketAddr) -> i32 {
    let mut command = Command::new(server_binary());
    command
        .args(["healthcheck", "--url", &format!("http://{admin}")])
        .env_clear();
    Process::run(command).await.0
}

/// A proxy that tries again soon.
fn impatient(upstream: &str) -> Setup {
    Setup::before(upstream)
        .set("upstreams.broker.health.interval", "100ms")
        .set("upstreams.broker.connack_timeout", "200ms")
        .log_level("info,mproxy::health=debug")
}

/// Waits until a client has been turned away, in whatever way.
async fn turned_away(mproxy: &Mproxy) {
    let mut link = Link::tcp(mproxy.addr()).await;
    link.send(&Connect::new(Version::V311, "c").bytes()).await;
    link.rest().await;
}

/// Waits until `/readyz?verbose` says this.
async fn until_told(mproxy: &Mproxy, text: &str) -> (u16, String) {
    until(format!("{text:?} in /readyz"), async || {
        Some(mproxy.ready().await).filter(|(_, body)| body.contains(text))
    })
    .await
}

/// Waits until the proxy has probed its broker so many times.
async fn probes(mproxy: &Mproxy, count: usize) {
    let mut seen = 0;
    mproxy
        .event(format!("{count} probes"), move |event| {
            seen += usize::from(event["message"] == "probed");
            seen == count
        })
        .await;
}

#[tokio::test]
async fn ready_as_long_as_there_is_a_broker_and_alive_without() {
    let broker = Mosquitto::start().await;
    let mproxy = Mproxy::before(&broker.url()).await;
    mproxy.until_ready(true).await;
    assert_eq!(healthcheck(mproxy.admin()).await, 0);
    mproxy.metric(UP, 1.0).await;

    // the end of its last connection is how an idle proxy hears of the broker's end
    let client = Link::client(mproxy.addr(), Version::V311, "c").await;
    let stopped = broker.stop().await;
    client.rest().await;
    let body = mproxy.until_ready(false).await;
    assert!(
        body.contains("[-]upstream broker: ") && body.contains("refused"),
        "{body}"
    );
    assert!(
        body.contains("[-]connack broker: not checked: no connection\n"),
        "{body}"
    );
    assert_eq!(healthcheck(mproxy.admin()).await, 1);
    assert_eq!(http::get(mproxy.admin(), "/livez").await.status, 200);
    mproxy.metric(UP, 0.0).await;
    let failed = mproxy.event("the failure", |it| it["remedy"].is_string());
    let failed = failed.await;
    assert_eq!(failed["upstream"], "broker", "{failed}");
    assert_eq!(failed["message"], "not ready: the broker cannot be reached");

    let _broker = stopped.start().await;
    mproxy.until_ready(true).await;
}

#[tokio::test]
async fn ready_only_after_the_first_answer() {
    for websocket in [false, true] {
        let broker = FakeBroker::bind().await;
        let url = if websocket {
            broker.ws_url()
        } else {
            broker.url()
        };
        let mproxy = Mproxy::before(&url).await;
        let (status, body) = mproxy.ready().await;
        assert_eq!(status, 503);
        assert!(
            body.contains("[-]connack broker: not checked yet\n"),
            "{body}"
        );
        mproxy.metric(UP, 0.0).await;
        let body = tokio::select! {
            body = mproxy.until_ready(true) => body,
            _ = broker.ws_session(), if websocket => panic!("no client has come"),
            _ = broker.session(), if !websocket => panic!("no client has come"),
        };
        assert_eq!(
            body,
            "[+]listeners ok\n[+]upstream broker ok\n[+]connack broker ok\n[+]not draining ok\n\
             readyz check passed\n"
        );
        let metrics = mproxy.metrics().await;
        assert!((metrics.sum(UP) - 1.0).abs() < 0.1);
        // the connections of clients are counted, and nothing else
        for family in ["connects_total", "connect_duration_seconds_count"] {
            assert!(metrics.sum(&format!("mproxy_upstream_{family}")) < 0.1);
        }
    }
}

/// A client that gets in is better than a probe: the one that is under way is given up.
#[tokio::test]
async fn the_first_client_that_gets_in_makes_it_ready() {
    let broker = FakeBroker::bind().await;
    let mproxy = Mproxy::before(&broker.url()).await;
    let mut probe = broker.connection().await;
    let (_client, _server) = tokio::join!(
        Link::client(mproxy.addr(), Version::V5, "c"),
        broker.accept()
    );
    mproxy.until_ready(true).await;
    let mut asked = Vec::new();
    probe.read_to_end(&mut asked).await.expect("it ends");
    assert!(broker.is_idle());
}

/// Readiness was that a connection opens: behind `mqtt://` to a TLS port ten of ten clients were
/// refused, `/readyz` said ok, and no alert fired. Erlang's brokers answer with an alert.
#[tokio::test]
async fn not_ready_before_a_port_that_answers_in_tls() {
    let broker = FakeBroker::bind().await;
    let mproxy = impatient(&broker.url()).start().await;
    let answering = async {
        loop {
            let mut link = Link::over(broker.connection().await);
            link.begin().await;
            link.send(b"\x15\x03\x03\0\x02\x02\x46").await;
        }
    };
    let why = "[-]connack broker: answers CONNECT with a TLS alert\n";
    let (status, body) = tokio::select! {
        told = until_told(&mproxy, why) => told,
        () = answering => unreachable!("it answers forever"),
    };
    assert_eq!(status, 503);
    assert!(body.contains("[+]upstream broker ok\n"), "{body}");
    mproxy.metric(UP, 0.0).await;
    mproxy.metric("mproxy_upstream_connects_total", 0.0).await;
    let failed = mproxy.event("the failure", |it| it["remedy"].is_string());
    let failed = failed.await;
    assert_eq!(failed["upstream"], "broker", "{failed}");
    assert_eq!(
        failed["message"],
        "not ready: the broker does not answer CONNECT"
    );
}

/// OpenSSL, and with it mosquitto, closes the connection without a word.
#[tokio::test]
async fn not_ready_before_a_port_of_openssl() {
    let mut command = Command::new(tool("openssl"));
    command.args(["s_server", "-accept", "127.0.0.1:0", "-nocert"]);
    let server = Process::spawn(command);
    let line = server.line("its port", |line| line.starts_with("ACCEPT 127."));
    let line = line.await;
    let address = line.trim_start_matches("ACCEPT ");
    let mproxy = impatient(&format!("mqtt://{address}")).start().await;
    let (status, body) = until_told(&mproxy, "[-]connack broker: closes the connection").await;
    assert_eq!(status, 503, "{body}");
    let failed = mproxy.event("the failure", |it| it["remedy"].is_string());
    let failed = failed.await;
    let remedy = failed["remedy"].as_str().expect("text");
    assert!(remedy.starts_with("a TLS port behind mqtt://?"), "{failed}");
}

/// The kernel accepts connections for a process that is stopped, so it looked well.
#[tokio::test]
async fn not_ready_while_a_stopped_broker_answers_no_client() {
    let broker = Mosquitto::start().await;
    let mproxy = impatient(&broker.url()).start().await;
    mproxy.until_ready(true).await;
    broker.process().signal(Signal::STOP);
    for _ in 0..3 {
        turned_away(&mproxy).await;
    }
    // a probe may have been faster than the third of them: the next one says it
    let why = "[-]connack broker: 3 CONNECTs in a row without CONNACK: \
               accepts connections and answers no CONNECT within 1s\n";
    let (status, body) = until_told(&mproxy, why).await;
    assert_eq!(status, 503, "{body}");
    mproxy.metric(UP, 0.0).await;
    broker.process().signal(Signal::CONT);
    mproxy.until_ready(true).await;
    mproxy.metric(UP, 1.0).await;
}

/// With the defaults four of four clients hung behind a stopped broker, and `/readyz` was ok for 37
/// seconds: nothing had failed before `connack_timeout` was over, and a failure counted only when the
/// closing of its connection was over, too. Clients that wait are reason enough to ask.
#[tokio::test]
async fn not_ready_while_clients_wait_for_a_broker_that_hangs() {
    let broker = FakeBroker::bind().await;
    let setup = Setup::before(&broker.url()).set("upstreams.broker.health.interval", "500ms");
    let mproxy = setup.start().await;
    tokio::join!(mproxy.until_ready(true), broker.probed());
    let mut clients = Vec::new();
    for number in 0..4 {
        let mut client = Link::tcp(mproxy.addr()).await;
        let connect = Connect::new(Version::V311, &format!("c{number}"));
        client.send(&connect.bytes()).await;
        clients.push(client);
    }
    // from now on the broker accepts connections and says nothing
    let (mut probes, mut sessions) = (Vec::new(), Vec::new());
    while sessions.len() < 4 || probes.is_empty() {
        let mut link = Link::over(broker.connection().await);
        let connect = link.packet().await;
        if connect.bytes() == PROBE {
            probes.push(link);
        } else {
            sessions.push(link);
        }
    }
    let body = mproxy.until_ready(false).await;
    let why = "[-]connack broker: accepts connections and answers no CONNECT within 1s\n";
    assert!(body.contains(why), "{body}");
    mproxy.metric(UP, 0.0).await;
    // none of them has failed: they have half a minute
    assert!(clients.iter().all(Link::is_idle));
    let dials = "mproxy_upstream_connects_total";
    mproxy.metric(dials, 4.0).await;
    // the first CONNACK says that the broker is back
    sessions[0].send(&connack(Version::V311, 0)).await;
    mproxy.until_ready(true).await;
}

/// Clients that wait are nothing to a check that does not ask for CONNACK.
#[tokio::test]
async fn clients_that_wait_ask_nothing_of_a_broker_that_is_not_asked() {
    for (check, lines) in [("tcp", "[+]upstream broker ok\n"), ("off", "")] {
        let broker = FakeBroker::bind().await;
        let setup = impatient(&broker.url()).set("upstreams.broker.health.check", check);
        let mproxy = setup.start().await;
        let accepting = async {
            // everything that says a word is a client
            let (mut words, mut held) = (0, Vec::new());
            while words < 4 {
                let stream = broker.connection().await;
                if matches!(stream.peek(&mut [0]).await, Ok(1..)) {
                    let mut session = Link::over(stream);
                    assert_ne!(session.packet().await.bytes(), PROBE, "{check}");
                    held.push(session);
                    words += 1;
                }
            }
        };
        let clients = async {
            for _ in 0..4 {
                turned_away(&mproxy).await;
            }
        };
        tokio::join!(accepting, clients);
        let (status, body) = mproxy.ready().await;
        assert_eq!(status, 200, "{check}: {body}");
        let expected = format!("[+]listeners ok\n{lines}[+]not draining ok\nreadyz check passed\n");
        assert_eq!(body, expected);
    }
}

/// A client can make a broker close its connection as often as it likes.
#[tokio::test]
async fn one_client_alone_does_not_make_it_unready() {
    let broker = FakeBroker::bind().await;
    let mproxy = impatient(&broker.url()).start().await;
    // answers probes, and closes the connections of clients
    let serving = tokio::spawn(async move {
        loop {
            drop(broker.session().await);
        }
    });
    mproxy.until_ready(true).await;
    for _ in 0..10 {
        turned_away(&mproxy).await;
        assert_eq!(mproxy.ready().await.0, 200);
    }
    // the first was at the start
    probes(&mproxy, 2).await;
    let (status, body) = mproxy.ready().await;
    assert_eq!(status, 200, "{body}");
    serving.abort();
}

/// mosquitto logged 24 lines a minute for a proxy without a client.
#[tokio::test]
async fn an_idle_proxy_leaves_its_broker_alone() {
    let broker = FakeBroker::bind().await;
    let setup = impatient(&broker.url()).limit("connect_timeout", "500ms");
    let mproxy = setup.start().await;
    tokio::join!(mproxy.until_ready(true), broker.probed());
    // five times the interval, with everything that happens to a proxy that nobody uses
    let silent = Link::tcp(mproxy.addr()).await;
    let asking = async {
        for _ in 0..3 {
            mproxy.metrics().await;
            assert_eq!(mproxy.ready().await.0, 200);
            let mut wrong = Link::tcp(mproxy.addr()).await;
            wrong.send(&[0xff; 8]).await;
            wrong.rest().await;
        }
    };
    tokio::join!(silent.rest(), asking);
    assert!(broker.is_idle());
}

#[tokio::test]
async fn a_connection_is_enough_if_that_is_what_is_checked() {
    let broker = FakeBroker::bind().await;
    let setup = impatient(&broker.url()).set("upstreams.broker.health.check", "tcp");
    let mproxy = setup.start().await;
    let body = mproxy.until_ready(true).await;
    assert!(body.contains("[+]upstream broker ok\n"), "{body}");
    assert!(!body.contains("connack"), "{body}");
    // again and again, and nothing is said
    for _ in 0..3 {
        let mut said = Vec::new();
        let mut probe = broker.connection().await;
        probe.read_to_end(&mut said).await.expect("it ends");
        assert!(said.is_empty(), "{said:02x?}");
    }
    mproxy.metric("mproxy_upstream_connects_total", 0.0).await;
    drop(broker);
    mproxy.until_ready(false).await;
    mproxy.metric(UP, 0.0).await;
}

#[tokio::test]
async fn a_broker_that_is_not_checked_has_no_line() {
    let nobody = FakeBroker::bind().await.close();
    let setup = impatient(&format!("mqtt://{nobody}"));
    let mproxy = setup
        .set("upstreams.broker.health.check", "off")
        .start()
        .await;
    turned_away(&mproxy).await;
    let (status, body) = mproxy.ready().await;
    assert_eq!(
        (status, &*body),
        (
            200,
            "[+]listeners ok\n[+]not draining ok\nreadyz check passed\n"
        )
    );
    assert!(!mproxy.metrics().await.0.contains("mproxy_upstream_up"));
}

/// `--require-upstream` asks as readiness does: a port that takes connections is not enough.
#[tokio::test]
async fn a_required_broker_must_answer() {
    let broker = FakeBroker::bind().await;
    let mut command = Command::new(server_binary());
    command
        .args(["--listen", "127.0.0.1:0", "--set", "admin.bind="])
        .args(["--upstream", &broker.url(), "--require-upstream"])
        .env_clear();
    let (_, (code, output)) = tokio::join!(
        async {
            let mut link = Link::over(broker.connection().await);
            link.begin().await;
        },
        Process::run(command)
    );
    assert_eq!(code, 69, "{output}");
    assert!(
        output.contains("--require-upstream") && output.contains("instead of answering CONNECT"),
        "{output}"
    );
}

/// A socket that another process has shut down serves nobody: there was a line at `error`, and the listener
/// stayed up and ready, also after the next reload.
#[tokio::test]
async fn a_listener_whose_socket_has_failed_is_not_up() {
    let broker = Mosquitto::start().await;
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    let socket = inherited(socket);
    let setup = Setup::before(&broker.url())
        .set("listeners.mqtt.bind", "systemd:mqtt")
        .set("listeners.mqtt.chain", "default");
    let mproxy = passing(setup, &[("mqtt", &socket)]).start().await;
    mproxy.until_ready(true).await;
    mproxy.metric("mproxy_listener_up", 1.0).await;
    shutdown(&socket, Shutdown::Both).expect("it is open");
    mproxy.metric("mproxy_listener_up", 0.0).await;
    let checks = mproxy.until_ready(false).await;
    assert!(checks.contains("[-]listener mqtt: "), "{checks}");
    mproxy.reload().await;
    mproxy.metric("mproxy_listener_up", 0.0).await;
    let line = mproxy.event("the check", |it| {
        it["event"] == "check" && it["level"] == "WARN" && it["listener"] == "mqtt"
    });
    assert_eq!(line.await["remedy"], "restart mproxy");
}
