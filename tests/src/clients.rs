//! Clients that other people wrote.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::process::Command;

use crate::process::Process;
use crate::tools::{root, tool};
use crate::wire::Version;

/// The Python with paho, about to run a script of `tests/clients`.
///
/// # Panics
/// If it is not installed.
#[must_use]
pub fn python_script(name: &str) -> Command {
    let python = root().join("target/tools/venv/bin/python");
    assert!(
        python.is_file(),
        "paho (Python) is not installed: run tests/setup.sh"
    );
    let mut command = Command::new(python);
    command.arg(script(name));
    command
}

/// The Node.js with MQTT.js, about to run a script of `tests/clients`.
///
/// # Panics
/// If it is not installed.
#[must_use]
pub fn node_script(name: &str) -> Command {
    let modules = root().join("target/tools/node/node_modules");
    assert!(
        modules.join("mqtt/package.json").is_file(),
        "MQTT.js (Node.js) is not installed: run tests/setup.sh"
    );
    let mut command = Command::new(tool("node"));
    command.arg(script(name)).env("NODE_PATH", modules);
    command
}

fn script(name: &str) -> PathBuf {
    root().join("tests/clients").join(name)
}

/// Runs a script that says `ok` when everything was as it should be.
///
/// # Panics
/// If it does not.
pub async fn accepts(command: Command) {
    let shown = format!("{:?}", command.as_std());
    let (code, output) = Process::run(command).await;
    assert!(
        code == 0 && output.lines().any(|line| line == "ok"),
        "{shown} ended with {code}:\n{output}"
    );
}

/// `mosquitto_pub` or `mosquitto_sub` for a broker, or the proxy, at `addr`.
fn mosquitto(program: &str, addr: SocketAddr, version: Version, args: &[&str]) -> Command {
    // they keep lines to themselves when they do not write to a terminal
    let mut command = Command::new(tool("stdbuf"));
    command
        .arg("--output=L")
        .arg(tool(program))
        .args(["-h", &addr.ip().to_string()])
        .args(["-p", &addr.port().to_string()])
        .args(["-V", version_option(version)])
        .args(args);
    command
}

const fn version_option(version: Version) -> &'static str {
    match version {
        Version::V31 => "mqttv31",
        Version::V311 => "mqttv311",
        Version::V5 => "mqttv5",
    }
}

/// Runs `mosquitto_pub` to its end: the exit code and what it printed.
///
/// # Panics
/// If it does not end.
pub async fn mosquitto_pub(addr: SocketAddr, version: Version, args: &[&str]) -> (i32, String) {
    Process::run(mosquitto("mosquitto_pub", addr, version, args)).await
}

/// Runs `mosquitto_sub` to its end, for which the arguments have to provide: the exit code and what
/// it printed.
///
/// # Panics
/// If it does not end.
pub async fn mosquitto_sub(addr: SocketAddr, version: Version, args: &[&str]) -> (i32, String) {
    Process::run(mosquitto("mosquitto_sub", addr, version, args)).await
}

/// A running `mosquitto_sub`.
#[derive(Debug)]
pub struct MosquittoSub(Process);

impl MosquittoSub {
    /// Starts it, and waits until its subscription is granted.
    ///
    /// # Panics
    /// If it is not.
    pub async fn start(addr: SocketAddr, version: Version, args: &[&str]) -> Self {
        let mut command = mosquitto("mosquitto_sub", addr, version, args);
        // says when it is subscribed; messages are told apart by what stands before them
        command.args(["-d", "-F", "message %t %q %r %l %x"]);
        let process = Process::spawn(command);
        process
            .line("the subscription", |line| line.starts_with("Subscribed "))
            .await;
        Self(process)
    }

    /// Waits for a message: topic, QoS, retain and length, and the payload in hexadecimal.
    ///
    /// # Panics
    /// If it does not come.
    pub async fn message(&self, expected: &str) {
        let expected = format!("message {expected}");
        self.0
            .line(&expected[..expected.len().min(100)], |line| {
                line == expected
            })
            .await;
    }

    /// The messages so far.
    #[must_use]
    pub fn messages(&self) -> Vec<String> {
        let lines = self.0.lines().into_iter();
        lines
            .filter_map(|line| line.strip_prefix("message ").map(str::to_owned))
            .collect()
    }

    /// The process.
    #[must_use]
    pub const fn process(&self) -> &Process {
        &self.0
    }
}
