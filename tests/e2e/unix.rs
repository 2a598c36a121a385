//! Listeners on Unix sockets: for clients and TLS terminators on the same host.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use mproxy_tests::wire::{Connect, Publish, Version};
use mproxy_tests::{Link, Mosquitto, Process, Setup, http, server_binary, tools};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::TcpSocket;

/// A listener on a socket of that name in the folder, and one for WebSocket.
fn listeners(broker: &str, dir: &Path) -> Setup {
    let dir = dir.display();
    Setup::new(&format!(
        "[[listeners]]\nname = \"mqtt\"\nbind = \"unix:{dir}/mqtt.sock\"\n\
         [listeners.limits]\nmax_connections_per_ip = 1\n\
         [[listeners]]\nname = \"ws\"\nbind = \"unix:{dir}/ws.sock\"\nprotocol = \"ws\"\n\
         [upstreams.broker]\naddress = \"{broker}\"\n\
         [admin]\nbind = \"127.0.0.1:0\"\n"
    ))
}

/// README promised them, the transport had them, and the configuration refused them. A limit of one
/// connection per address does not make all clients of a socket one.
#[tokio::test]
async fn clients_come_by_unix_sockets_too() {
    let broker = Mosquitto::start().await;
    let dir = TempDir::new().expect("a temporary folder can be made");
    let mproxy = listeners(&broker.url(), dir.path()).start().await;
    assert_eq!(
        mproxy.unix_listener("mqtt"),
        dir.path().join("mqtt.sock"),
        "the line says where it is"
    );
    for version in Version::ALL {
        let mut links = [
            Link::unix(&mproxy.unix_listener("mqtt")).await,
            Link::unix(&mproxy.unix_listener("mqtt")).await,
            Link::unix_ws(&mproxy.unix_listener("ws")).await,
        ];
        for (number, link) in links.iter_mut().enumerate() {
            link.connect(&Connect::new(version, &format!("c{number}")))
                .await;
            link.subscribe("t/#", 0).await;
        }
        for sender in 0..links.len() {
            let publish = Publish::new(version, "t/x").bytes(sender.to_string());
            links[sender].send(&publish).await;
            for link in &mut links {
                assert_eq!(link.message().await.text(), sender.to_string());
            }
        }
        for link in links {
            link.leave().await;
        }
    }
    let line = mproxy.event("a client", |event| {
        event["message"] == "client connected" && event["listener"] == "ws"
    });
    assert_eq!(line.await["peer"], "unix");
    assert_eq!(http::get(mproxy.admin(), "/readyz").await.status, 200);
}

/// The same with programs that were written by others.
#[tokio::test]
async fn mosquitto_pub_and_mosquitto_sub_come_by_unix_sockets() {
    let broker = Mosquitto::start().await;
    let dir = TempDir::new().expect("a temporary folder can be made");
    let mproxy = listeners(&broker.url(), dir.path()).start().await;
    let program = |name: &str, args: &[&str]| {
        let mut command = tokio::process::Command::new(tools::tool(name));
        command
            .arg("--unix")
            .arg(mproxy.unix_listener("mqtt"))
            .args(args);
        command
    };
    let publish = program(
        "mosquitto_pub",
        &["-V", "5", "-q", "2", "-r", "-t", "t", "-m", "hi"],
    );
    let (code, output) = Process::run(publish).await;
    assert_eq!(code, 0, "{output}");
    let subscribe = program("mosquitto_sub", &["-q", "1", "-t", "t", "-C", "1"]);
    let (code, output) = Process::run(subscribe).await;
    assert_eq!((code, output.trim()), (0, "hi"));
}

/// The file is there as long as the listener is, and one that a killed process left is replaced.
#[tokio::test]
async fn the_file_of_a_socket_is_removed_and_a_stale_one_replaced() {
    let broker = Mosquitto::start().await;
    let dir = TempDir::new().expect("a temporary folder can be made");
    let start = async || listeners(&broker.url(), dir.path()).start().await;
    let files = || {
        let entries = fs::read_dir(dir.path()).expect("the temporary folder is ours");
        entries.count()
    };
    let killed = start().await;
    killed.signal(Signal::KILL);
    killed.ended().await;
    assert_eq!(files(), 2, "nobody removed them");

    let mproxy = start().await;
    let mut link = Link::unix(&mproxy.unix_listener("mqtt")).await;
    link.connect(&Connect::new(Version::V311, "c")).await;

    // a second one must not take the socket away from the first
    let (second, _dir) = listeners(&broker.url(), dir.path()).spawn();
    let (code, said) = second.ended().await;
    assert_eq!(code, 1, "{said}");
    let told = format!("cannot listen on unix:{}/mqtt.sock", dir.path().display());
    assert!(said.contains(&told), "{said}");
    link.silent().await;

    mproxy.signal(Signal::TERM);
    assert_eq!(mproxy.ended().await.0, 0);
    assert_eq!(files(), 0, "both are removed");
}

/// A start that is given up leaves no file behind, either.
#[tokio::test]
async fn the_file_is_removed_when_the_broker_is_required_and_not_there() {
    let dir = TempDir::new().expect("a temporary folder can be made");
    let path = dir.path().join("mqtt.sock");
    // nobody listens there, and nobody else can
    let taken = TcpSocket::new_v4().expect("a socket can be made");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    taken.bind(any).expect("there is a free port");
    let port = taken.local_addr().expect("it is bound").port();
    let mut command = tokio::process::Command::new(server_binary());
    command
        .args(["--require-upstream", "--set", "admin.bind="])
        .args(["--upstream", &format!("mqtt://127.0.0.1:{port}")])
        .args(["--listen", &format!("unix:{}", path.display())])
        .env_clear();
    let (code, said) = Process::run(command).await;
    assert_eq!(code, 69, "{said}");
    // the socket is open by then, and nobody was told that it is served
    assert!(said.contains("cannot start: the broker"), "{said}");
    assert!(!said.contains("\"message\":\"listening\""), "{said}");
    assert!(!path.exists());
}

/// What the command line offers for addresses works for sockets: the flag, and `check`, which must
/// leave a socket that is in use alone.
#[tokio::test]
async fn check_and_listen_know_unix_sockets() {
    let dir = TempDir::new().expect("a temporary folder can be made");
    let path = dir.path().join("mqtt.sock");
    let check = |path: &Path| {
        let output = Command::new(server_binary())
            .args(["check", "--set", "admin.bind=", "--listen"])
            .arg(format!("unix:{}", path.display()))
            .env_clear()
            .output()
            .expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8(text).expect("it writes text"),
        )
    };
    let (code, text) = check(&path);
    assert_eq!(code, Some(0), "{text}");
    let shown = format!("mqtt over unix:{} -> ", path.display());
    assert!(text.contains(&shown), "{text}");
    assert!(!path.exists(), "it was only tried");

    let _other = UnixListener::bind(&path).expect("the temporary folder is ours");
    let (code, text) = check(&path);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("a running mproxy"), "{text}");
    assert!(path.exists());

    let (code, text) = check(&dir.path().join("missing/mqtt.sock"));
    assert_ne!(code, Some(0), "{text}");
    assert!(text.contains("No such file or directory"), "{text}");
}

/// `unix:/etc/passwd` passed `check` as something that a running mproxy uses, and at start it was
/// "Address already in use; stop what listens there". A folder that is not there was "create the
/// folder", without saying which.
#[tokio::test]
async fn what_is_in_the_way_of_a_socket_is_named() {
    let dir = TempDir::new().expect("a temporary folder can be made");
    let file = dir.path().join("notes.txt");
    fs::write(&file, "mine").expect("the temporary folder is ours");
    let missing = dir.path().join("missing");
    let create = format!("create the folder {}", missing.display());
    for (path, parts) in [
        (&file, ["a file of this name", "choose another path"]),
        (
            &dir.path().into(),
            ["a folder of this name", "choose another path"],
        ),
        (
            &missing.join("mqtt.sock"),
            ["No such file or directory", &create],
        ),
    ] {
        let listen = format!("unix:{}", path.display());
        for (command, expected) in [("check", 69), ("run", 1)] {
            let mut program = tokio::process::Command::new(server_binary());
            program
                .args([command, "--set", "admin.bind=", "--listen", &listen])
                .env_clear();
            let (code, said) = Process::run(program).await;
            assert_eq!(code, expected, "{command}: {said}");
            for part in parts {
                assert!(said.contains(part), "{command}: no {part:?}: {said}");
            }
            assert!(!said.contains("in use"), "{command}: {said}");
        }
    }
    assert_eq!(fs::read(&file).expect("it is there"), b"mine");
}
