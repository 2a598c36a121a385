//! Nothing gets around a hook that is shown: each example and each block of a document that judges or maps
//! topics, before a broker of the test's own, with a will, a large payload and every version.
//!
//! The README's hooks let a client publish anywhere by dying: what it may not publish to was the topic of
//! its will, which they were never shown.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;

use mproxy_tests::tools::root;
use mproxy_tests::wire::{Connect, PINGREQ, Publish, Version, puback};
use mproxy_tests::{FakeBroker, Link, Process};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinHandle;

tokio::task_local! {
    static BROKER: SocketAddr;
}

/// Where the blocks find their broker.
fn broker() -> SocketAddr {
    BROKER.get()
}

#[allow(dead_code)] // a block may show more than is run
mod readme {
    include!(concat!(env!("OUT_DIR"), "/readme.rs"));

    pub(super) async fn serve(client: TcpStream) {
        proxy(client).await;
    }
}

#[allow(dead_code)] // as above
mod session {
    include!(concat!(env!("OUT_DIR"), "/session.rs"));

    pub(super) async fn serve(client: tokio::net::TcpStream) {
        example(client).await;
    }
}

#[allow(dead_code)] // as above
mod guide {
    include!(concat!(env!("OUT_DIR"), "/guide.rs"));

    pub(super) async fn serve(client: TcpStream) {
        let dial = |_: &_| TcpStream::connect(super::broker());
        let session = Session::new(Peer::new("mqtt"));
        session.run(client, new_hooks(hooks), dial).await;
    }
}

/// Something with hooks that listens, until it is dropped.
struct Shown {
    addr: SocketAddr,
    broker: FakeBroker,
    _process: Option<Process>,
    task: Option<JoinHandle<()>>,
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Shown {
    /// A block of a document.
    async fn block<Fut>(serve: fn(TcpStream) -> Fut) -> Self
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        let broker = FakeBroker::bind().await;
        let at: SocketAddr = address(&broker).parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("there is a free port");
        let addr = listener.local_addr().expect("it is bound");
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(BROKER.scope(at, serve(client)));
            }
        });
        Self {
            addr,
            broker,
            _process: None,
            task: Some(task),
        }
    }

    /// An example of mproxy-session.
    async fn example(name: &str) -> Self {
        let broker = FakeBroker::bind().await;
        let mut command = Command::new(examples().join(name));
        command.args(["127.0.0.1:0", &address(&broker)]);
        let process = Process::spawn(command);
        let begins = "listening on ";
        let line = process.line("its address", |line| line.starts_with(begins));
        let line = line.await;
        let addr = line[begins.len()..].split(',').next().unwrap_or_default();
        Self {
            addr: addr.parse().expect("an address"),
            broker,
            _process: Some(process),
            task: None,
        }
    }
}

fn address(broker: &FakeBroker) -> String {
    broker.url().trim_start_matches("mqtt://").to_owned()
}

/// The folder of the examples, which are built first; `--workspace`, so that what is built already is not
/// built again with other features.
fn examples() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = std::process::Command::new(cargo);
        command.args(["build", "--workspace", "--quiet", "--examples"]);
        if !cfg!(debug_assertions) {
            command.arg("--release");
        }
        let built = command.current_dir(root()).output().expect("cargo runs");
        let errors = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "{errors}");
        let test = std::env::current_exe().expect("a test is a file");
        let profile = test.ancestors().nth(2).expect("PROFILE/deps holds it");
        profile.join("examples")
    })
}

/// Who connects, and where it may publish.
#[derive(Clone, Copy)]
struct Client {
    id: &'static str,
    /// The password is not for the broker.
    credentials: Option<(&'static str, &'static str)>,
    own: &'static str,
    foreign: &'static str,
}

const DEVICE: Client = Client {
    id: "device-1",
    credentials: None,
    own: "devices/device-1/gone",
    foreign: "devices/device-2/gone",
};

impl Client {
    /// A CONNECT with a will, as the client sends it and as the broker is to get it.
    fn connect(self, version: Version, qos: u8, topic: &str) -> (Connect, Connect) {
        let connect = Connect::new(version, self.id).will(topic, "last words", qos, qos == 1);
        match self.credentials {
            Some((user, password)) => (
                connect.clone().credentials(user, password),
                connect.username(user),
            ),
            None => (connect.clone(), connect),
        }
    }
}

/// A will and a large PUBLISH where the client may not publish do not reach the broker; where it may, they
/// reach it as they are.
async fn judges(shown: Shown, client: Client) {
    if client.id == DEVICE.id {
        odd_ids(&shown).await;
    }
    for version in Version::ALL {
        for qos in 0..3 {
            let (sent, _) = client.connect(version, qos, client.foreign);
            let mut link = Link::tcp(shown.addr).await;
            link.send(&sent.bytes()).await;
            let code = if version.is_v5() { 0x87 } else { 5 };
            let connack = link.packet().await;
            assert_eq!(
                (connack.first(), connack.body()[1]),
                (0x20, code),
                "{version:?}"
            );
            link.closed().await;
            assert!(
                shown.broker.is_idle(),
                "{version:?}: the broker was dialled"
            );
        }
        let (sent, received) = client.connect(version, 1, client.own);
        let mut link = Link::tcp(shown.addr).await;
        link.send(&sent.bytes()).await;
        let (mut broker, connect) = shown.broker.accept().await;
        assert_eq!(connect.bytes(), received.bytes(), "{version:?}");
        link.packet().await;
        for len in [1, 200_000] {
            let payload = vec![b'x'; len];
            let foreign = Publish::new(version, client.foreign).qos(1, 7);
            link.send(&foreign.bytes(&payload)).await;
            let answer = link.packet().await;
            if version.is_v5() {
                assert_eq!(answer.body()[..3], [0, 7, 0x87], "{answer:?}");
            } else {
                assert_eq!(answer.bytes(), puback(7), "{version:?}");
            }
            let own = Publish::new(version, client.own).qos(1, 8);
            let own = own.bytes(&payload);
            // packets come in order, so the foreign one was not forwarded
            link.send(&own).await;
            broker.expect(&own).await;
        }
        link.send(&PINGREQ).await;
        broker.expect(&PINGREQ).await;
    }
}

/// An identifier is one level of a topic and nothing else. Compared as the beginning of a topic, `device-`
/// owned all devices, and `device-2/inbox` a part of another; as a topic filter, `+` owned them all.
async fn odd_ids(shown: &Shown) {
    for version in Version::ALL {
        for (id, topic) in [
            ("device-", "devices/device-2/gone"),
            ("device-2/inbox", "devices/device-2/inbox/gone"),
            ("+", "devices/device-2/gone"),
            ("#", "devices/device-2/gone"),
        ] {
            let connect = Connect::new(version, id).will(topic, "last words", 0, false);
            let mut link = Link::tcp(shown.addr).await;
            link.send(&connect.bytes()).await;
            let connack = link.packet().await;
            assert_ne!(connack.body()[1], 0, "{id:?} {topic} {version:?}");
            link.closed().await;
            assert!(shown.broker.is_idle(), "{id:?}: the broker was dialled");
        }
    }
}

#[tokio::test]
async fn the_readme_judges_wills_and_large_payloads() {
    judges(Shown::block(readme::serve).await, DEVICE).await;
}

#[tokio::test]
async fn the_readme_of_the_session_judges_wills_and_large_payloads() {
    judges(Shown::block(session::serve).await, DEVICE).await;
}

#[tokio::test]
async fn the_guide_judges_wills_and_large_payloads() {
    judges(Shown::block(guide::serve).await, DEVICE).await;
}

#[tokio::test]
async fn example_acl_judges_wills_and_large_payloads() {
    judges(Shown::example("acl").await, DEVICE).await;
}

#[tokio::test]
async fn example_http_auth_judges_wills_and_large_payloads() {
    let client = Client {
        id: "any",
        credentials: Some(("alice", "secret")),
        own: "alice/gone",
        foreign: "bob/gone",
    };
    judges(Shown::example("http_auth").await, client).await;
}

#[tokio::test]
async fn example_handler_like_go_judges_wills_and_large_payloads() {
    let client = Client {
        id: "any",
        credentials: None,
        own: "granted/gone",
        foreign: "denied/gone",
    };
    judges(Shown::example("handler_like_go").await, client).await;
}

/// What a client calls `a/b` is in its own name space at the broker, also when it is gone.
#[tokio::test]
async fn example_topic_prefix_maps_wills_and_large_payloads() {
    let shown = Shown::example("topic_prefix").await;
    for version in Version::ALL {
        for (topic, mapped) in [
            ("a/b", "acme/a/b"),
            ("other/a", "acme/other/a"),
            ("$SYS/a", "acme/$SYS/a"),
        ] {
            let connect = |topic| {
                let connect = Connect::new(version, "c").username("acme");
                connect.will(topic, "last words", 2, true).bytes()
            };
            let mut link = Link::tcp(shown.addr).await;
            link.send(&connect(topic)).await;
            let (mut broker, received) = shown.broker.accept().await;
            assert_eq!(received.bytes(), connect(mapped), "{version:?}");
            link.packet().await;
            let payload = vec![b'x'; 200_000];
            let publish = |topic| Publish::new(version, topic).bytes(&payload);
            link.send(&publish(topic)).await;
            broker.expect(&publish(mapped)).await;
        }
    }
}
