//! Signals that are not meant to end the proxy, and those that come while it starts.

use std::fs;
use std::io::Write;
use std::time::Duration;

use mproxy_tests::wire::{Connect, PINGREQ, PINGRESP, Version};
use mproxy_tests::{FakeBroker, Link, Mosquitto, Process, Setup, server_binary, until, within};
use rustix::process::Signal;
use rustls::ClientConnection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::tls;

/// What "at once" may mean.
const SOON: Duration = Duration::from_secs(5);

/// Signals that mean something to other servers, with what the line about them must tell.
const IGNORED: [(Signal, &str, &str); 2] = [
    (Signal::USR1, "SIGUSR1", "no log file"),
    (Signal::USR2, "SIGUSR2", "/metrics"),
];

/// Their default action killed the process: 500 clients lost their sessions, the broker published the
/// will of each, and the log had no line about it. The last two are what the system sends to a process whose log cannot be written.
#[tokio::test]
async fn signals_that_mean_something_elsewhere_end_no_session() {
    let broker = Mosquitto::start().await;
    let mproxy = Setup::before(&broker.url()).start().await;
    let mut client = Link::client(mproxy.addr(), Version::V5, "c").await;
    for (signal, name, remedy) in IGNORED {
        mproxy.signal(signal);
        let line = mproxy.event(name, |it| it["signal"] == name).await;
        assert_eq!(
            (&line["event"], &line["level"]),
            (&"signal".into(), &"WARN".into())
        );
        let message = line["message"].as_str().expect("a message");
        assert!(message.contains(remedy), "{message}");
    }
    mproxy.signal(Signal::PIPE);
    mproxy.signal(Signal::XFSZ);
    client.send(&PINGREQ).await;
    client.expect(&PINGRESP).await;
    client.leave().await;
    mproxy.signal(Signal::TERM);
    assert_eq!(mproxy.ended().await.0, 0);
}

/// While the configuration was read, every signal had the action of the system: it killed, and
/// process 1 of a container did not get SIGTERM at all.
#[tokio::test]
async fn signals_that_come_while_it_starts_do_what_they_do_later() {
    let broker = FakeBroker::bind().await;
    let mut process = reading_its_configuration().await;
    for (signal, _, _) in IGNORED {
        process.signal(signal);
    }
    process.signal(Signal::HUP);
    process.write(Setup::head(&broker.url()).as_bytes()).await;
    process.close_input();
    process
        .line("it to listen", |it| it.contains("\"listening\""))
        .await;
    for (_, name, _) in IGNORED {
        process
            .line(name, |it| it.contains(&format!("\"signal\":\"{name}\"")))
            .await;
    }
    // what was typed cannot be read again: the reload would have been one to the defaults
    process
        .line("the reload", |it| it.contains("\"not reloaded: "))
        .await;
    let typed = |it: &str| it.contains("standard input, which cannot be read again");
    assert!(process.lines().iter().any(|it| typed(it)));
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.0, 0);

    // a configuration that is typed can be given up
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::QUIT, 131)] {
        let mut process = reading_its_configuration().await;
        process.signal(signal);
        assert_eq!(process.code(SOON).await, code);
    }
}

/// A process that stood still (SIGSTOP, a suspended machine) finds deadlines that are over. What clients have
/// sent meanwhile counts first: their keep-alive did not end.
#[tokio::test]
async fn a_process_that_stood_still_reads_before_it_judges() {
    let broker = FakeBroker::bind().await;
    let setup = Setup::before(&broker.url()).set_listeners("conformance", "strict");
    let mproxy = setup.start().await;
    let mut clients = Vec::new();
    for version in Version::ALL {
        let mut client = Link::tcp(mproxy.addr()).await;
        let connect = Connect::new(version, "c").keep_alive(1);
        let (_, (server, _)) = tokio::join!(client.connect(&connect), broker.accept());
        clients.push((client, server));
    }
    mproxy.signal(Signal::STOP);
    // what it still read would not be unread afterwards
    stands_still(mproxy.id()).await;
    for (client, _) in &mut clients {
        client.send(&PINGREQ).await;
    }
    // the fault is the time: more than one and a half times the keep-alive
    tokio::time::sleep(Duration::from_secs(3)).await;
    mproxy.signal(Signal::CONT);
    for (client, server) in &mut clients {
        server.expect(&PINGREQ).await;
        server.send(&PINGRESP).await;
        client.expect(&PINGRESP).await;
    }
}

/// The same before there is a session: what was missing of a PROXY header, of a TLS handshake or of a WebSocket
/// request arrives while the process stands still. It closed these clients, and counted them as slow.
#[tokio::test]
async fn a_process_that_stood_still_reads_handshakes_before_it_judges() {
    const MANY: u32 = 200;
    let broker = FakeBroker::bind().await;
    let pki = tls::pki();
    let config = format!(
        "[[listeners]]\nname = \"proxied\"\nbind = \"127.0.0.1:0\"\n\
         [listeners.proxy_protocol]\naccept = \"required\"\ntrusted = [\"127.0.0.1\"]\n\
         [[listeners]]\nname = \"mqtts\"\nbind = \"127.0.0.1:0\"\n{}\
         [[listeners]]\nname = \"ws\"\nbind = \"127.0.0.1:0\"\nprotocol = \"ws\"\n\
         [upstreams.broker]\naddress = \"{}\"\n[upstreams.broker.health]\ncheck = \"off\"\n[admin]\nbind = \"127.0.0.1:0\"\n",
        mproxy_tests::tls::table(&pki),
        broker.url()
    );
    let setup = Setup::new(&config).set_listeners("limits.connect_timeout", "8s");
    let mproxy = setup.start().await;
    let connect = Connect::new(Version::V311, "c").bytes();

    let mut clients = Vec::new();
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.1 4000 1883\r\n";
    let mut proxied = TcpStream::connect(mproxy.listener("proxied"))
        .await
        .expect("it listens");
    proxied.write_all(&header[..20]).await.expect("it reads");
    clients.push((proxied, [&header[20..], &connect].concat()));

    let request = b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    let mut upgraded = TcpStream::connect(mproxy.listener("ws"))
        .await
        .expect("it listens");
    upgraded.write_all(&request[..40]).await.expect("it reads");
    // a binary frame, masked with zeros
    let frame = [
        &[0x82, 0x80 | connect.len() as u8, 0, 0, 0, 0][..],
        &connect,
    ]
    .concat();
    clients.push((upgraded, [&request[40..], &frame].concat()));

    // clients that know all of the server's part, and have not finished their own: more than take their turns
    // in the looks at the sockets that a late client gets
    for _ in 0..MANY {
        let mut secured = TcpStream::connect(mproxy.listener("mqtts"))
            .await
            .expect("it listens");
        let name = "localhost".try_into().expect("a name");
        let mut client =
            ClientConnection::new(mproxy_tests::tls::client(&pki), name).expect("a client");
        let written = |client: &mut ClientConnection| {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).expect("memory takes all");
            bytes
        };
        let hello = written(&mut client);
        secured.write_all(&hello).await.expect("it reads");
        while client.is_handshaking() {
            let mut bytes = [0; 4096];
            let read = within("the server's part", secured.read(&mut bytes)).await;
            let len = read.expect("it answers");
            client.read_tls(&mut &bytes[..len]).expect("it has room");
            client.process_new_packets().expect("TLS");
        }
        client.writer().write_all(&connect).expect("it has room");
        let rest = written(&mut client);
        clients.push((secured, rest));
    }

    // each has begun, and what it has sent is read
    for (listener, count) in [("proxied", 1), ("ws", 1), ("mqtts", MANY)] {
        let accepted = format!("mproxy_connections_accepted_total{{listener=\"{listener}\"}}");
        mproxy.metric(&accepted, f64::from(count)).await;
    }
    mproxy.signal(Signal::STOP);
    // what it still read would not be unread afterwards
    stands_still(mproxy.id()).await;
    for (client, rest) in &mut clients {
        client.write_all(rest).await.expect("the kernel takes it");
    }
    // the fault is the time: more than connect_timeout
    tokio::time::sleep(Duration::from_secs(9)).await;
    mproxy.signal(Signal::CONT);
    for _ in &clients {
        broker.accept().await;
    }
    let metrics = mproxy.metrics().await;
    assert!(metrics.sum("mproxy_connections_refused_total") < 1.0);
}

/// Waits until no thread of a process runs any more.
async fn stands_still(process: u32) {
    let tasks = format!("/proc/{process}/task");
    until("every thread to stop", async || {
        fs::read_dir(&tasks)
            .expect("the process is there")
            .all(|task| {
                let stat = task.expect("a thread").path().join("stat");
                let stat = fs::read_to_string(stat).unwrap_or_default();
                // behind the name, which may contain anything
                stat.rsplit(") ")
                    .next()
                    .is_some_and(|it| it.starts_with('T'))
            })
            .then_some(())
    })
    .await;
}

/// A proxy that waits for its configuration on standard input, and has its handlers already.
async fn reading_its_configuration() -> Process {
    let mut command = Command::new(server_binary());
    command
        .args(["--config", "-", "--log-format", "json"])
        .env_clear();
    let process = Process::spawn(command);
    let status = format!("/proc/{}/status", process.id());
    // SIGQUIT, whose handler is set last
    let bit = 1 << (Signal::QUIT.as_raw() - 1);
    until("the handlers of signals", async || {
        let status = fs::read_to_string(&status).expect("the process runs");
        let caught = status.lines().find_map(|it| it.strip_prefix("SigCgt:"));
        let caught = caught.expect("the kernel tells which signals are caught");
        let caught = u64::from_str_radix(caught.trim(), 16).expect("a mask");
        (caught & bit != 0).then_some(())
    })
    .await;
    process
}
