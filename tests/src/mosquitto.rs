//! A real broker, and a WebSocket in front of it.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::Command;

use crate::clients::node_script;
use crate::process::Process;
use crate::tools::tool;

/// How often another port is tried when somebody was faster.
const TRIES: usize = 5;

/// A mosquitto with a folder, a TCP port and a Unix socket of its own.
#[derive(Debug)]
pub struct Mosquitto {
    process: Process,
    addr: SocketAddr,
    dir: TempDir,
    config: &'static str,
}

/// It says everything that it does.
const TALKATIVE: &str = "log_type all\n";

/// It takes whatever comes, and says nothing of single packets. The number of messages in flight has
/// no bound because version 2.0.11 lets new ones overtake those that wait behind it.
const FOR_LOAD: &str = "log_type error\nlog_type warning\nlog_type information\n\
max_queued_messages 0\nmax_inflight_messages 0\n";

/// For the listener that stands last in the configuration, the Unix socket.
const UP_TO_QOS_1: &str = "log_type all\nmax_qos 1\n";

impl Mosquitto {
    /// Starts one that lets everybody in.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start() -> Self {
        Self::with(TALKATIVE).await
    }

    /// Starts one that drops no message because there are too many.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn for_load() -> Self {
        Self::with(FOR_LOAD).await
    }

    /// Starts one that takes no QoS 2 by way of its Unix socket.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn up_to_qos_1() -> Self {
        Self::with(UP_TO_QOS_1).await
    }

    async fn with(config: &'static str) -> Self {
        let dir = TempDir::new().expect("a temporary folder can be made");
        for _ in 0..TRIES {
            // mosquitto does not say which port it got, so that it is told one: a free one
            let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
            let addr = free.expect("there is a free port");
            if let Some(process) = Self::run(&dir, addr, config).await {
                return Self {
                    process,
                    addr,
                    dir,
                    config,
                };
            }
        }
        panic!("no port stayed free for mosquitto");
    }

    /// `None` when the port is taken.
    async fn run(dir: &TempDir, addr: SocketAddr, config: &str) -> Option<Process> {
        let path = dir.path().display();
        let config = format!(
            "listener {} 127.0.0.1\nlistener 0 {path}/socket\nallow_anonymous true\n\
             persistence true\npersistence_location {path}/\nuser root\n\
             log_dest stderr\n{config}",
            addr.port()
        );
        let file = dir.path().join("mosquitto.conf");
        fs::write(&file, config).expect("the temporary folder is ours");
        let mut command = Command::new(tool("mosquitto"));
        command.arg("-c").arg(file);
        let process = Process::spawn(command);
        let line = process.line("it to start", |line| {
            line.ends_with(" running") || line.contains("Address already in use")
        });
        line.await.ends_with(" running").then_some(process)
    }

    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// For the key `address` of an upstream.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.addr)
    }

    /// The same, by way of the Unix socket.
    #[must_use]
    pub fn unix_url(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// The process.
    #[must_use]
    pub const fn process(&self) -> &Process {
        &self.process
    }

    /// Ends it in order; its sessions are kept in a file.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn stop(self) -> Stopped {
        self.process.signal(Signal::TERM);
        self.process.ended().await;
        Stopped {
            addr: self.addr,
            dir: self.dir,
            config: self.config,
        }
    }
}

/// A mosquitto that was ended, and can come back.
#[derive(Debug)]
pub struct Stopped {
    addr: SocketAddr,
    dir: TempDir,
    config: &'static str,
}

impl Stopped {
    /// Starts it again, where it was.
    ///
    /// # Panics
    /// If somebody has taken its port.
    pub async fn start(self) -> Mosquitto {
        let Self { addr, dir, config } = self;
        let process = Mosquitto::run(&dir, addr, config).await;
        Mosquitto {
            process: process.expect("the port is free"),
            addr,
            dir,
            config,
        }
    }
}

/// A WebSocket server of somebody else (`ws` of Node.js) before a broker: Debian's mosquitto has
/// none.
#[derive(Debug)]
pub struct WsBridge {
    _process: Process,
    addr: SocketAddr,
}

impl WsBridge {
    /// Starts one before a mosquitto.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn before(broker: &Mosquitto) -> Self {
        let mut command = node_script("ws_bridge.js");
        command.arg(broker.addr().port().to_string());
        let process = Process::spawn(command);
        let line = process.line("its port", |line| line.starts_with("listening "));
        let line = line.await;
        let port = line.rsplit_once(' ').expect("a port follows").1;
        Self {
            addr: SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a port"))),
            _process: process,
        }
    }

    /// For the key `address` of an upstream.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}/mqtt", self.addr)
    }
}
