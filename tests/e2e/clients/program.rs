//! A client program, as a row of the table.

use mproxy_tests::Process;
use mproxy_tests::clients::{node_script, python_script};
use mproxy_tests::wire::Version;

/// What carries the client's MQTT.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    WebSocket,
}

/// A client of somebody else, driven by a script of `tests/clients/programs`.
pub(super) struct Program {
    /// The script and its arguments, among them the version.
    pub(super) script: &'static str,
    pub(super) transport: Transport,
    /// The highest QoS that it can.
    pub(super) qos: u8,
}

impl Program {
    pub(super) const fn tcp(script: &'static str) -> Self {
        Self {
            script,
            transport: Transport::Tcp,
            qos: 2,
        }
    }

    pub(super) const fn websocket(script: &'static str) -> Self {
        let mut program = Self::tcp(script);
        program.transport = Transport::WebSocket;
        program
    }

    /// It cannot publish with QoS 2.
    pub(super) const fn up_to_qos_1(mut self) -> Self {
        self.qos = 1;
        self
    }

    pub(super) fn version(&self) -> Version {
        let mut words = self.script.split(' ');
        let version = words.find_map(|word| match word {
            "3.1" => Some(Version::V31),
            "3.1.1" => Some(Version::V311),
            "5" => Some(Version::V5),
            _ => None,
        });
        version.expect("the arguments name a version")
    }

    pub(super) fn spawn(&self) -> Process {
        let mut words = self.script.split(' ');
        let file = words.next().unwrap_or_default();
        let path = format!("programs/{file}");
        let mut command = if file.ends_with(".py") {
            python_script(&path)
        } else {
            node_script(&path)
        };
        command.args(words);
        Process::spawn(command)
    }
}
