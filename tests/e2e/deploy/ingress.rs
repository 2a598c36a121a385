//! The balancers before mproxy: their checkers accept the files, and bytes pass.

use std::future::pending;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use mproxy_admin::{Admin, BuildInfo, Health, Metrics};
use mproxy_tests::connect_from;
use tempfile::TempDir;
use tokio::io::{self, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use super::{Copy, deployed};
use crate::tools::{Run, tool};

#[test]
fn haproxy_accepts_its_configuration() {
    let check = |file: &Path| Run::on_file("haproxy", &["-c", "-f"], file);
    check(&deployed("ingress/haproxy.cfg")).accepts();
    let typo = Copy::of("ingress").with("haproxy.cfg", "timeout client 15m", "timeout cleint 15m");
    check(&typo.path("haproxy.cfg")).refuses("cleint");
    let no_backend = Copy::of("ingress").with("haproxy.cfg", "backend mproxy-ws\n", "backend ws\n");
    check(&no_backend.path("haproxy.cfg")).refuses("unable to find required default_backend");
}

#[test]
fn nginx_accepts_its_configuration() {
    let check = |file: &Path| {
        let prefix = TempDir::new().expect("a temporary folder can be made");
        let prefix = prefix.path().to_str().expect("an ordinary path");
        Run::on_file("nginx", &["-t", "-p", prefix, "-e", "stderr", "-c"], file)
    };
    check(&deployed("ingress/nginx.conf")).accepts();
    let typo = Copy::of("ingress").with("nginx.conf", "proxy_timeout 15m", "proxy_timeuot 15m");
    check(&typo.path("nginx.conf")).refuses("proxy_timeuot");
}

#[tokio::test]
async fn haproxy_follows_readiness() {
    let echo = spawn_echo().await;
    let (admin, health) = spawn_admin().await;
    let copy = Copy::of("ingress");
    let socket = copy.path("mqtt.sock");
    let bind = format!("bind unix@{}", socket.display());
    let ws = format!("bind unix@{}", copy.path("ws.sock").display());
    let server = format!(
        "server mproxy {echo} check port {} inter 50ms fall 1",
        admin.port()
    );
    let copy = copy
        .with("haproxy.cfg", "bind :1883", &bind)
        .with("haproxy.cfg", "bind :8083", &ws)
        .with(
            "haproxy.cfg",
            "server mproxy 127.0.0.1:1884 check port 9883 inter 2s fall 3",
            &server,
        );
    let config = copy.path("haproxy.cfg");
    let mut process = start("haproxy", &["-db".as_ref(), "-f".as_ref(), &config]);

    until(|| async { passes(&socket).await.is_ok_and(|passed| passed) }).await;
    health.set_draining(true);
    until(|| async { passes(&socket).await.is_ok_and(|passed| !passed) }).await;
    health.set_draining(false);
    until(|| async { passes(&socket).await.is_ok_and(|passed| passed) }).await;
    process.kill().await.expect("it still runs");
}

/// After a power cut, 300 devices behind one NAT tried again and again, and none came back: the limit of
/// their address counted the connections that it refused.
#[tokio::test]
async fn a_site_behind_one_address_gets_through_haproxy() {
    const DEVICES: usize = 300;
    // five a second, for three seconds at 100 a second, and as long again on a busy machine
    const MOST_TRIES: u32 = 5 * 10;
    let echo = spawn_echo().await;
    let (admin, _health) = spawn_admin().await;
    let copy = Copy::of("ingress");
    let ws = format!("bind unix@{}", copy.path("ws.sock").display());
    let server = format!("server mproxy {echo} check port {}", admin.port());
    let copy = copy
        // its standard input: so that the port is one that is free
        .with("haproxy.cfg", "bind :1883", "bind fd@0")
        .with("haproxy.cfg", "bind :8083", &ws)
        .with(
            "haproxy.cfg",
            "server mproxy 127.0.0.1:1884 check port 9883",
            &server,
        );
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = port.local_addr().expect("it is bound");
    let config = copy.path("haproxy.cfg");
    let mut command = Command::new(tool("haproxy"));
    command
        .args(["-db".as_ref(), "-f".as_ref(), config.as_path()])
        .stdin(Stdio::from(OwnedFd::from(port)))
        .stdout(Stdio::null())
        .kill_on_drop(true);
    let _process = command.spawn().expect("the program was just found");

    until(|| async { enters(1, addr).await.is_some() }).await;
    let mut site = JoinSet::new();
    for _ in 0..DEVICES {
        site.spawn(async move {
            // the pace at which a device tries again
            let mut pace = interval(Duration::from_millis(200));
            for tries in 1..=MOST_TRIES {
                pace.tick().await;
                if let Some(stream) = enters(66, addr).await {
                    return Some((stream, tries));
                }
            }
            None
        });
    }
    let mut open = Vec::new();
    let mut tries = 0;
    while let Some(device) = site.join_next().await {
        let (stream, tried) = device.expect("no panic").expect("it gets in");
        open.push(stream);
        tries += tried;
        if open.len() == DEVICES / 2 {
            assert!(enters(67, addr).await.is_some(), "another address");
        }
    }
    assert_eq!(open.len(), DEVICES);
    assert!(tries > 300, "nobody was refused: {tries} tries");
}

/// A connection from `127.0.0.LAST`, over which a byte came back; `None` if it was refused.
async fn enters(last: u8, addr: SocketAddr) -> Option<TcpStream> {
    let exchange = async {
        let mut stream = connect_from([127, 0, 0, last], addr).await.ok()?;
        stream.write_all(b"?").await.ok()?;
        stream.read_u8().await.ok().map(|_| stream)
    };
    timeout(PATIENCE, exchange)
        .await
        .expect("an answer or an end")
}

#[tokio::test]
async fn nginx_passes_bytes() {
    let echo = spawn_echo().await;
    let copy = Copy::of("ingress");
    let socket = copy.path("mqtt.sock");
    let listen = format!("listen unix:{};", socket.display());
    let ws = format!("listen unix:{};", copy.path("ws.sock").display());
    let copy = copy
        .with("nginx.conf", "listen 1883 so_keepalive=on;", &listen)
        .with("nginx.conf", "listen 8083 so_keepalive=on;", &ws)
        .with(
            "nginx.conf",
            "server 127.0.0.1:1884",
            &format!("server {echo}"),
        );
    // One process: workers of a killed master would live on.
    let single = ["-g", "master_process off;", "-e", "stderr", "-p"].map(Path::new);
    let config = copy.path("nginx.conf");
    let args = [&single[..], &[copy.dir.path(), "-c".as_ref(), &config]].concat();
    let mut process = start("nginx", &args);
    until(|| async { passes(&socket).await.is_ok_and(|passed| passed) }).await;
    process.kill().await.expect("it still runs");
}

/// Stands where mproxy is: gives back what it gets.
async fn spawn_echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                io::copy(&mut read, &mut write).await.ok();
            });
        }
    });
    addr
}

/// An admin port that is ready until its health says otherwise.
async fn spawn_admin() -> (SocketAddr, Health) {
    let (build, health) = (BuildInfo::new("mproxy-server", "0.1.0"), Health::new());
    health.listener("mqtt").ok();
    let admin = Admin::new(
        build,
        health.clone(),
        Metrics::new(&build, &health, NonZeroUsize::MIN),
    );
    let port = mproxy_admin::bind(([127, 0, 0, 1], 0).into())
        .await
        .expect("a free port");
    let addr = port.local_addr().expect("it is bound");
    tokio::spawn(mproxy_admin::serve(port, admin, pending()));
    (addr, health)
}

fn start(name: &str, args: &[&Path]) -> Child {
    let mut command = Command::new(tool(name));
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    command.spawn().expect("the program was just found")
}

/// Whether a byte comes back from the other side; an error if nobody listens yet.
async fn passes(socket: &Path) -> io::Result<bool> {
    let mut stream = UnixStream::connect(socket).await?;
    let exchange = async {
        stream.write_all(b"?").await?;
        stream.read_u8().await
    };
    let answer = timeout(PATIENCE, exchange)
        .await
        .expect("an answer or an end");
    Ok(answer.is_ok())
}

/// Asks again until the answer is yes.
async fn until<F: Future<Output = bool>>(mut asked: impl FnMut() -> F) {
    let yes = async {
        let mut tick = interval(Duration::from_millis(20));
        while !asked().await {
            tick.tick().await;
        }
    };
    timeout(PATIENCE, yes).await.expect("it comes true in time");
}

/// How long anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
