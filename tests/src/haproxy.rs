//! A proxy that knows no MQTT, to tell what is the doing of a proxy that does.

use std::fs;
use std::net::{SocketAddr, TcpListener};

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::deadline::until;
use crate::process::Process;
use crate::tools::tool;

/// How often another port is tried when somebody was faster.
const TRIES: usize = 5;

/// An `HAProxy` that forwards TCP.
#[derive(Debug)]
pub struct Haproxy {
    process: Process,
    addr: SocketAddr,
    _dir: TempDir,
}

impl Haproxy {
    /// Starts one before a broker, and waits until it listens.
    ///
    /// # Panics
    /// If it does not.
    pub async fn before(broker: SocketAddr) -> Self {
        Self::with("", &broker.to_string(), "").await
    }

    /// Starts one with options of its port, with the server and its options, and with more lines.
    ///
    /// # Panics
    /// If it does not listen.
    pub async fn with(bind: &str, server: &str, more: &str) -> Self {
        for _ in 0..TRIES {
            // it has to be told a port: a free one
            let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
            let addr = free.expect("there is a free port");
            let listen = format!(" bind {addr} {bind}\n server broker {server}\n{more}");
            if let Some(haproxy) = Self::run(addr, &listen).await {
                return haproxy;
            }
        }
        panic!("no port stayed free for HAProxy");
    }

    /// `None` when the port is taken.
    async fn run(addr: SocketAddr, listen: &str) -> Option<Self> {
        let dir = TempDir::new().expect("a temporary folder can be made");
        let config = format!(
            "global\n nbthread 2\n\
             defaults\n mode tcp\n timeout connect 5s\n timeout client 1h\n timeout server 1h\n\
             listen mqtt\n{listen}"
        );
        let file = dir.path().join("haproxy.cfg");
        fs::write(&file, config).expect("the temporary folder is ours");
        let mut command = Command::new(tool("haproxy"));
        command.arg("-db").arg("-f").arg(file);
        let process = Process::spawn(command);
        // says something when it cannot listen, and nothing when it does
        let listens = until("HAProxy to listen", async || {
            if process.lines().iter().any(|it| it.contains("annot bind")) {
                return Some(false);
            }
            TcpStream::connect(addr).await.ok().map(|_| true)
        });
        listens.await.then_some(Self {
            process,
            addr,
            _dir: dir,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The process.
    #[must_use]
    pub const fn process(&self) -> &Process {
        &self.process
    }

    /// Waits for its end: the exit code and all it said.
    ///
    /// # Panics
    /// If it runs on.
    pub async fn ended(self) -> (i32, String) {
        self.process.ended().await
    }
}
