//! A real broker, and a WebSocket in front of it.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::Command;

use crate::clients::node_script;
use crate::port::Port;
use crate::process::Process;
use crate::tools::tool;

/// A mosquitto with a folder, a TCP port and a Unix socket of its own.
#[derive(Debug)]
pub struct Mosquitto {
    process: Process,
    port: Port,
    dir: TempDir,
    config: String,
}

/// It says everything that it does.
const TALKATIVE: &str = "log_type all\n";

/// It takes whatever comes, and says nothing of single packets. The number of messages in flight has
/// no bound because version 2.0.11 lets new ones overtake those that wait behind it.
const FOR_LOAD: &str = "log_type error\nlog_type warning\nlog_type information\n\
max_queued_messages 0\nmax_inflight_messages 0\n";

/// For the listener that stands last in the configuration, the Unix socket.
const UP_TO_QOS_1: &str = "log_type all\nmax_qos 1\n";

/// It lets in nobody but the user [`USER`].
const GUARDED: &str = "log_type all\nallow_anonymous false\npassword_file FOLDER/passwords\n";

/// The user that [`Mosquitto::guarded`] lets in.
pub const USER: &str = "device";

/// The password of [`USER`].
pub const PASSWORD: &str = "secret";

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

    /// Starts one that lets in [`USER`] with [`PASSWORD`], and nobody else.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn guarded() -> Self {
        let dir = TempDir::new().expect("a temporary folder can be made");
        let mut command = Command::new(tool("mosquitto_passwd"));
        command
            .arg("-b")
            .arg("-c")
            .arg(dir.path().join("passwords"));
        let (code, output) = Process::run({
            command.args([USER, PASSWORD]);
            command
        })
        .await;
        assert_eq!(code, 0, "{output}");
        Self::run(Port::reserve(), dir, GUARDED.to_owned()).await
    }

    /// Starts one with more lines of configuration.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn with(config: &str) -> Self {
        let dir = TempDir::new().expect("a temporary folder can be made");
        Self::run(Port::reserve(), dir, config.to_owned()).await
    }

    async fn run(port: Port, dir: TempDir, config: String) -> Self {
        let path = dir.path().display();
        let more = config.replace("FOLDER", &path.to_string());
        let text = format!(
            "listener {} 127.0.0.1\nlistener 0 {path}/socket\nallow_anonymous true\n\
             persistence true\npersistence_location {path}/\nuser root\n\
             log_dest stderr\n{more}",
            port.addr().port()
        );
        let file = dir.path().join("mosquitto.conf");
        fs::write(&file, text).expect("the temporary folder is ours");
        let mut command = Command::new(tool("mosquitto"));
        command.arg("-c").arg(file);
        let process = Process::spawn(command);
        process
            .line("it to start", |line| line.ends_with(" running"))
            .await;
        Self {
            process,
            port,
            dir,
            config,
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// For the key `address` of an upstream.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.addr())
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
            port: self.port,
            dir: self.dir,
            config: self.config,
        }
    }
}

/// A mosquitto that was ended, and can come back.
#[derive(Debug)]
pub struct Stopped {
    port: Port,
    dir: TempDir,
    config: String,
}

impl Stopped {
    /// Starts it again, where it was.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(self) -> Mosquitto {
        Mosquitto::run(self.port, self.dir, self.config).await
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
    /// Starts one before a mosquitto, at the path `/mqtt`.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn before(broker: &Mosquitto) -> Self {
        Self::start(broker, &["/mqtt"]).await
    }

    /// Starts one that takes any path.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn at_any_path(broker: &Mosquitto) -> Self {
        Self::start(broker, &[]).await
    }

    async fn start(broker: &Mosquitto, path: &[&str]) -> Self {
        let mut command = node_script("ws_bridge.js");
        command.arg(broker.addr().port().to_string()).args(path);
        let process = Process::spawn(command);
        let line = process.line("its port", |line| line.starts_with("listening "));
        let line = line.await;
        let port = line.rsplit_once(' ').expect("a port follows").1;
        Self {
            addr: SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a port"))),
            _process: process,
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// For the key `address` of an upstream.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}/mqtt", self.addr)
    }
}
