//! A restart that no client notices as a refused connection: listening sockets that outlive the process.

use std::collections::HashMap;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mproxy_tests::wire::{Connect, DISCONNECT, Version};
use mproxy_tests::{
    Link, Mosquitto, Mproxy, Port, Process, Setup, server_binary, tools, until, within,
};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::drain_undo::ask;

const SOON: Duration = Duration::from_secs(5);

/// As often as this is restarted.
const RESTARTS: usize = 20;

/// Runs the proxy as systemd does: these sockets are its descriptors from 3 on, under these names.
pub(crate) fn passing(setup: Setup, sockets: &[(&str, &dyn AsRawFd)]) -> Setup {
    let names: Vec<_> = sockets.iter().map(|(name, _)| *name).collect();
    // moved, by way of numbers that are free: one may be in the place of another
    let mut script = String::new();
    for (place, (_, socket)) in sockets.iter().enumerate() {
        let (from, spare) = (socket.as_raw_fd(), place + 3 + SPARE);
        script += &format!("exec {spare}<&{from} {from}<&-\n");
    }
    for place in 3..3 + sockets.len() {
        let spare = place + SPARE;
        script += &format!("exec {place}<&{spare} {spare}<&-\n");
    }
    script += &format!(
        "export LISTEN_FDS={} LISTEN_FDNAMES={} LISTEN_PID=$$\nexec \"$@\"\n",
        names.len(),
        names.join(":")
    );
    // bash, because dash knows descriptors of one digit only
    setup.by(["/bin/bash", "-c", &script, "bash"])
}

const SPARE: usize = 200;

/// Children get it.
pub(crate) fn inherited<T: AsFd>(socket: T) -> T {
    fcntl_setfd(&socket, FdFlags::empty()).expect("it is open");
    socket
}

fn tcp() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    let addr = socket.local_addr().expect("it is bound");
    (inherited(socket), addr)
}

/// A proxy with one listener at this address.
fn listening_at(bind: &str, broker: &str) -> Setup {
    Setup::new(&format!(
        "[[listeners]]\nname = \"mqtt\"\nbind = \"{bind}\"\nchain = \"default\"\n\
         [chains.default]\n\
         [upstreams.broker]\naddress = \"{broker}\"\n\
         [admin]\nbind = \"127.0.0.1:0\"\n"
    ))
}

/// Clients that connect, wait for CONNACK, leave, and connect again.
struct Loop {
    done: Arc<AtomicBool>,
    connected: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Loop {
    fn start(addr: SocketAddr) -> Self {
        let (done, connected) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let client = |number: usize| {
            let (done, connected) = (Arc::clone(&done), Arc::clone(&connected));
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let mut link = Link::tcp(addr).await;
                    // panics unless it gets a CONNACK that lets it in
                    link.connect(&Connect::new(Version::V5, &format!("loop{number}")))
                        .await;
                    AtomicUsize::fetch_add(&connected, 1, Ordering::Relaxed);
                    // either of them may close first
                    link.try_send(&DISCONNECT).await;
                    link.rest().await;
                }
            })
        };
        let clients = (0..4).map(client).collect();
        Self {
            done,
            connected,
            clients,
        }
    }

    /// Waits for more connections than clients, so that each has connected anew.
    async fn more(&self) {
        let before = self.connected.load(Ordering::Relaxed);
        until("connections", async || {
            (self.connected.load(Ordering::Relaxed) > before + 2 * self.clients.len()).then_some(())
        })
        .await;
    }

    async fn end(self) -> usize {
        self.done.store(true, Ordering::Relaxed);
        for client in self.clients {
            within("a client to end", client)
                .await
                .expect("each connect gets its CONNACK");
        }
        self.connected.load(Ordering::Relaxed)
    }
}

/// With a socket of a `.socket` unit: clients that connect while no proxy runs wait in its queue.
#[tokio::test(flavor = "multi_thread")]
async fn restarts_with_a_passed_socket_refuse_nobody() {
    let broker = Mosquitto::start().await;
    let (socket, addr) = tcp();
    let start = async || {
        let setup = listening_at("systemd:mqtt", &broker.url());
        passing(setup, &[("mqtt", &socket)]).start().await
    };
    let mut mproxy = start().await;
    assert_eq!(mproxy.addr(), addr, "the line says where the socket is");
    let clients = Loop::start(addr);
    for _ in 0..RESTARTS {
        clients.more().await;
        // one that stays is sent away
        let stays = Link::client(addr, Version::V311, "stays").await;
        mproxy.signal(Signal::TERM);
        stays.closed().await;
        assert_eq!(mproxy.code(SOON).await, 0);
        // nobody accepts now, and nobody is refused
        std::net::TcpStream::connect(addr).expect("the socket listens");
        mproxy = start().await;
    }
    clients.more().await;
    assert!(clients.end().await > RESTARTS);
}

/// Without a `.socket` unit: mproxy gives its sockets to systemd, and takes them back after a restart, by
/// their address.
#[tokio::test(flavor = "multi_thread")]
async fn restarts_with_a_stored_socket_refuse_nobody() {
    let broker = Mosquitto::start().await;
    let mut store = Store::open();
    let port = Port::reserve();
    let addr = port.addr();
    let setup = |store: &Store| {
        let setup = listening_at(&addr.to_string(), &broker.url());
        store.manage(setup)
    };
    let mut mproxy = setup(&store).start().await;
    let name = store.stores().await;
    assert_eq!(name, format!("mproxy_127.0.0.1_{}", addr.port()));
    let clients = Loop::start(addr);
    for _ in 0..RESTARTS {
        clients.more().await;
        mproxy.signal(Signal::TERM);
        assert_eq!(mproxy.code(SOON).await, 0);
        mproxy = setup(&store).start().await;
        // the same again, which systemd notices
        assert_eq!(store.stores().await, name);
    }
    clients.more().await;
    assert!(clients.end().await > RESTARTS);

    // a listener that a reload removes leaves the store: nobody would accept from it
    mproxy.edit(&addr.to_string(), "127.0.0.1:0");
    mproxy.reload().await;
    assert_eq!(store.forgets().await, name);
    until("the socket to be closed", async || {
        tokio::net::TcpStream::connect(addr).await.err()
    })
    .await;
}

/// Clients that connected to a drained proxy waited in the queue of the socket, and nobody came: the drain was one
/// of the admin port, after which the process stays.
#[tokio::test]
async fn a_held_socket_turns_clients_away_while_a_proxy_is_drained_and_stays() {
    let broker = Mosquitto::start().await;
    let mut store = Store::open();
    for is_stored in [false, true] {
        let port = Port::reserve();
        let (socket, passed) = tcp();
        let (mut mproxy, addr) = if is_stored {
            let bind = port.addr().to_string();
            let setup = store.manage(listening_at(&bind, &broker.url()));
            let mproxy = setup.start().await;
            store.stores().await;
            (mproxy, port.addr())
        } else {
            let setup = listening_at("systemd:mqtt", &broker.url());
            (passing(setup, &[("mqtt", &socket)]).start().await, passed)
        };
        let connect = Connect::new(Version::V5, "c").bytes();
        for _ in 0..3 {
            let stays = Link::client(addr, Version::V5, "stays").await;
            // those that are in the queue when the drain begins are served
            mproxy.signal(Signal::STOP);
            let mut queued = Link::tcp(addr).await;
            queued.send(&connect).await;
            mproxy.signal(Signal::CONT);
            assert_eq!(ask(&mproxy, "POST", "").await.0, 200);
            assert_eq!(queued.packet().await.kind(), 2);
            queued.closed().await;
            stays.closed().await;
            // how many, and how fast, does not matter; nor what they send
            for number in 0..20 {
                let mut late = Link::tcp(addr).await;
                if number % 2 == 0 {
                    late.try_send(&connect).await;
                }
                late.closed().await;
            }
            assert_eq!(ask(&mproxy, "DELETE", "").await.0, 200);
            Link::client(addr, Version::V5, "again").await.leave().await;
        }
        let closed = "mproxy_connections_closed_total{side=\"proxy\",reason=\"drain\"}";
        assert!(mproxy.metrics().await.sum(closed) >= 60.0);

        // the process ends after such a drain: the queue is for the next one
        ask(&mproxy, "POST", "").await;
        Link::tcp(addr).await.closed().await;
        mproxy.signal(Signal::TERM);
        assert_eq!(mproxy.code(SOON).await, 0);
        let mut waits = Link::tcp(addr).await;
        waits.send(&connect).await;
        let setup = if is_stored {
            store.manage(listening_at(&addr.to_string(), &broker.url()))
        } else {
            passing(
                listening_at("systemd:mqtt", &broker.url()),
                &[("mqtt", &socket)],
            )
        };
        let _next = setup.start().await;
        assert_eq!(waits.packet().await.kind(), 2);
    }
}

/// The configuration was changed between two starts: the socket of the address before must not go on
/// taking clients that nobody serves.
#[tokio::test]
async fn a_stored_socket_without_a_listener_is_closed() {
    let mut store = Store::open();
    let (socket, addr) = tcp();
    let name = format!("mproxy_127.0.0.1_{}", addr.port());
    store.sockets.insert(name.clone(), socket.into());
    let setup = store.manage(listening_at("127.0.0.1:0", "mqtt://127.0.0.1:1"));
    let _mproxy = setup.start().await;
    assert_eq!(store.forgets().await, name);
    until("the socket to be closed", async || {
        tokio::net::TcpStream::connect(addr).await.err()
    })
    .await;
}

/// What systemd does with `FDSTORE=1`.
struct Store {
    dir: TempDir,
    socket: Option<UnixDatagram>,
    sockets: HashMap<String, OwnedFd>,
}

impl Store {
    fn open() -> Self {
        let dir = TempDir::new().expect("a temporary folder can be made");
        let socket = UnixDatagram::bind(dir.path().join("notify")).expect("the folder is ours");
        Self {
            dir,
            socket: Some(socket),
            sockets: HashMap::new(),
        }
    }

    /// A service with this store, and what is in it.
    fn manage(&self, setup: Setup) -> Setup {
        let path = self.dir.path().join("notify");
        let setup = setup
            .env("NOTIFY_SOCKET", &path.display().to_string())
            .env("FDSTORE", "16");
        let sockets = self.sockets.iter();
        let sockets: Vec<_> = sockets
            .map(|(name, it)| (&**name, it as &dyn AsRawFd))
            .collect();
        passing(setup, &sockets)
    }

    /// Waits for a socket to store; its name.
    async fn stores(&mut self) -> String {
        loop {
            let (text, fds) = self.message().await;
            if text.starts_with("FDSTORE=1\n") {
                let name = name_in(&text);
                let [fd] = <[_; 1]>::try_from(fds).expect("one socket");
                self.sockets.insert(name.clone(), inherited(fd));
                return name;
            }
        }
    }

    /// Waits for a socket that is to be closed; its name.
    async fn forgets(&mut self) -> String {
        loop {
            let (text, _) = self.message().await;
            if text.starts_with("FDSTOREREMOVE=1\n") {
                let name = name_in(&text);
                self.sockets.remove(&name).expect("it was stored");
                return name;
            }
        }
    }

    async fn message(&mut self) -> (String, Vec<OwnedFd>) {
        let socket = self.socket.take().expect("it is put back");
        let receive = tokio::task::spawn_blocking(move || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut room = [0; 256];
            let mut parts = [IoSliceMut::new(&mut room)];
            let got = recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC);
            let len = got.expect("it is bound").bytes;
            let mut fds = Vec::new();
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = message {
                    fds.extend(rights);
                }
            }
            (
                socket,
                String::from_utf8_lossy(&room[..len]).into_owned(),
                fds,
            )
        });
        let (socket, text, fds) = within("a message", receive).await.expect("no panic");
        self.socket = Some(socket);
        (text, fds)
    }
}

fn name_in(text: &str) -> String {
    let name = text.lines().find_map(|line| line.strip_prefix("FDNAME="));
    name.expect("a name").to_owned()
}

/// A socket that is there already is used for an address, too: mproxy could not open it a second time.
#[tokio::test]
async fn a_passed_socket_is_found_by_its_address() {
    let broker = Mosquitto::start().await;
    let (socket, addr) = tcp();
    let setup = listening_at(&addr.to_string(), &broker.url());
    let mproxy = passing(setup, &[("mproxy.socket", &socket)]).start().await;
    assert_eq!(mproxy.addr(), addr);
    Link::client(addr, Version::V5, "c").await.leave().await;
}

/// A Unix socket of a unit, whose file is not ours: it stays.
#[tokio::test]
async fn a_passed_unix_socket_stays() {
    let broker = Mosquitto::start().await;
    let dir = TempDir::new().expect("a temporary folder can be made");
    let path = dir.path().join("mqtt.sock");
    let socket = inherited(UnixListener::bind(&path).expect("the folder is ours"));
    for _ in 0..2 {
        let setup = listening_at("systemd:mqtt", &broker.url());
        let mut mproxy = passing(setup, &[("mqtt", &socket)]).start().await;
        assert_eq!(mproxy.unix_listener("mqtt"), path);
        let mut link = Link::unix(&path).await;
        link.connect(&Connect::new(Version::V5, "c")).await;
        mproxy.signal(Signal::TERM);
        link.closed().await;
        assert_eq!(mproxy.code(SOON).await, 0);
        assert!(path.exists());
    }
}

/// The real thing, as far as it goes without a running systemd: it starts the program at the first
/// connection.
#[tokio::test]
async fn systemd_socket_activate_starts_it() {
    let broker = Mosquitto::start().await;
    let dir = TempDir::new().expect("a temporary folder can be made");
    let path = dir.path().join("mqtt.sock");
    let listen = format!("--listen={}", path.display());
    let activate = tools::tool("systemd-socket-activate");
    let setup = listening_at("systemd:mqtt", &broker.url());
    let program = activate.display().to_string();
    let (process, _dir) = setup.by([&program, &listen, "--fdname=mqtt"]).spawn();
    process
        .line("it to listen", |line| line.contains("Listening on"))
        .await;
    let mut link = Link::unix(&path).await;
    link.connect(&Connect::new(Version::V5, "first")).await;
    process.signal(Signal::TERM);
    link.closed().await;
    assert_eq!(process.ended().await.0, 0);
}

/// What is wrong is named, and so are the names that there are.
#[tokio::test]
async fn sockets_that_cannot_be_used_are_named() {
    let (one, _) = tcp();
    let (two, _) = tcp();
    let datagrams = UnixDatagram::unbound().map(inherited).expect("a socket");
    let start = async |sockets: &[(&str, &dyn AsRawFd)]| {
        let setup = listening_at("systemd:mqtt", "mqtt://127.0.0.1:1");
        let setup = match sockets.is_empty() {
            true => setup,
            false => passing(setup, sockets),
        };
        let (process, _dir) = setup.spawn();
        process.ended().await
    };
    for (sockets, parts) in [
        (
            &[][..],
            [
                "the service manager passed no socket",
                "FileDescriptorName=mqtt",
            ],
        ),
        (
            &[("ws", &one as &dyn AsRawFd), ("tls", &two)],
            [
                "no socket named `mqtt`, but `ws`, `tls`",
                "FileDescriptorName=mqtt",
            ],
        ),
        (
            &[("mqtt", &one), ("mqtt", &two)],
            ["2 sockets of this name", "of one .socket unit"],
        ),
        (
            &[("mqtt", &datagrams)],
            ["not a stream socket", "ListenStream="],
        ),
    ] {
        let (code, said) = start(sockets).await;
        assert_eq!(code, 1, "{said}");
        for part in parts {
            assert!(said.contains(part), "no {part:?}: {said}");
        }
    }
}

/// One that nobody asks for is no error: but its clients would wait forever.
#[tokio::test]
async fn a_socket_that_no_listener_uses_is_complained_about() {
    let (socket, _) = tcp();
    let setup = listening_at("127.0.0.1:0", "mqtt://127.0.0.1:1");
    let mproxy = passing(setup, &[("old", &socket)]).start().await;
    let line = mproxy
        .event("the complaint", |it| it["socket"] == "old")
        .await;
    assert_eq!(line["level"], "WARN", "{line}");
}

/// `check` runs where nothing is passed.
#[tokio::test]
async fn check_accepts_a_listener_of_systemd() {
    let dir = TempDir::new().expect("a temporary folder can be made");
    let (code, said) = check(dir.path(), "systemd:mqtt").await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("mqtt over systemd:mqtt ->"), "{said}");
    let (code, said) = check(dir.path(), "systemd:a b").await;
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("FileDescriptorName="), "{said}");
}

async fn check(dir: &Path, bind: &str) -> (i32, String) {
    let mut command = tokio::process::Command::new(server_binary());
    command
        .args(["check", "--set", "admin.bind=", "--listen", bind])
        .current_dir(dir)
        .env_clear();
    Process::run(command).await
}

/// Closing a socket resets the connections in its queue. Their clients are connected, as far as they know.
#[tokio::test]
async fn clients_in_the_queue_of_a_socket_that_closes_are_served() {
    let broker = Mosquitto::start().await;
    let mut mproxy = Mproxy::before(&broker.url()).await;
    let addr = mproxy.addr();
    // while it stands still, clients get into the queue, and send CONNECT
    mproxy.signal(Signal::STOP);
    let mut clients = Vec::new();
    for number in 0..50 {
        let mut link = Link::tcp(addr).await;
        link.send(&Connect::new(Version::V5, &format!("c{number}")).bytes())
            .await;
        clients.push(link);
    }
    mproxy.signal(Signal::TERM);
    mproxy.signal(Signal::CONT);
    for mut link in clients {
        let answer = link.packet().await;
        assert_eq!((answer.kind(), answer.body()[1]), (2, 0), "{answer:?}");
        link.closed().await;
    }
    assert_eq!(mproxy.code(SOON).await, 0);
}
