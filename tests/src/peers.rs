//! Brokers of other makers, each on a port of its own.

use std::fs;
use std::net::{SocketAddr, TcpListener};

use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use crate::clients::{node_script, python_script};
use crate::process::Process;
use crate::tools::tool;

/// A broker that runs until this value is gone.
#[derive(Debug)]
pub struct PeerBroker {
    addr: SocketAddr,
    /// The broker, and what it needs to run; ended in this order.
    _processes: Vec<Process>,
    _dir: Option<TempDir>,
}

impl PeerBroker {
    /// aedes, of Node.js.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn aedes() -> Self {
        Self::script(node_script("aedes_broker.js")).await
    }

    /// aMQTT, of Python.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn amqtt() -> Self {
        Self::script(python_script("amqtt_broker.py")).await
    }

    /// A script that says on which port it listens.
    async fn script(command: Command) -> Self {
        let process = Process::spawn(command);
        let line = process.line("its port", |line| line.starts_with("listening "));
        let line = line.await;
        let port = line.trim_start_matches("listening ").parse();
        Self {
            addr: SocketAddr::from(([127, 0, 0, 1], port.expect("a port"))),
            _processes: vec![process],
            _dir: None,
        }
    }

    /// `RabbitMQ`, in a folder of its own and beside whatever the system runs.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn rabbitmq() -> Self {
        Self::rabbitmq_with_users(&[]).await
    }

    /// The same, with users beside the anonymous one; their password is [`PASSWORD`](crate::PASSWORD).
    ///
    /// # Panics
    /// If it does not start.
    pub async fn rabbitmq_with_users(users: &[&str]) -> Self {
        let dir = TempDir::new().expect("a temporary folder can be made");
        let path = dir.path();
        let [mqtt, distribution, mapper] = free_ports();
        fs::write(path.join("plugins"), "[rabbitmq_mqtt].").expect("the folder is ours");
        let config = format!(
            "listeners.tcp = none\nmqtt.listeners.tcp.default = 127.0.0.1:{mqtt}\n\
             mqtt.allow_anonymous = true\nlog.console = true\nlog.file = false\n\
             load_definitions = {}\n",
            path.join("definitions.json").display()
        );
        fs::write(path.join("definitions.json"), definitions(users)).expect("the folder is ours");
        fs::write(path.join("rabbitmq.conf"), config).expect("the folder is ours");

        // else it would start one that stays
        let mut mapping = Command::new(tool("epmd"));
        mapping
            .args([
                "-address",
                "127.0.0.1",
                "-port",
                &mapper.to_string(),
                "-debug",
            ])
            .env_clear();
        let mapping = Process::spawn(mapping);
        mapping
            .line("it to listen", |line| line.contains("epmd running"))
            .await;

        let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", path)
            // one process that is the broker itself, rather than one that would have to pass on
            // what it is told
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", mapper.to_string())
            .env("RABBITMQ_DIST_PORT", distribution.to_string())
            .env("RABBITMQ_NODENAME", format!("mproxy-{mqtt}@localhost"))
            .env("RABBITMQ_CONF_ENV_FILE", path.join("none"))
            .env("RABBITMQ_CONFIG_FILE", path.join("rabbitmq"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", path.join("plugins"))
            .env("RABBITMQ_MNESIA_BASE", path.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", path.join("log"))
            .env("RABBITMQ_FEATURE_FLAGS_FILE", path.join("features"))
            .env("RABBITMQ_PLUGINS_EXPAND_DIR", path.join("expanded"))
            .env("RABBITMQ_PID_FILE", path.join("pid"))
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1}",
            );
        let process = Process::spawn(command);
        // it takes its time, all the more on a busy machine
        for sign in [
            "Logging: configured",
            "Starting RabbitMQ",
            "startup complete",
        ] {
            process.line(sign, |line| line.contains(sign)).await;
        }
        Self {
            addr: SocketAddr::from(([127, 0, 0, 1], mqtt)),
            _processes: vec![process, mapping],
            _dir: Some(dir),
        }
    }

    /// NATS, with a folder for what it keeps; everybody is let in.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn nats() -> Self {
        let dir = TempDir::new().expect("a temporary folder can be made");
        let path = dir.path();
        let [client, mqtt] = free_ports();
        let config = format!(
            "server_name: broker\nlisten: \"127.0.0.1:{client}\"\n\
             jetstream {{ store_dir: \"{}\" }}\nmqtt {{ listen: \"127.0.0.1:{mqtt}\" }}\n",
            path.display()
        );
        fs::write(path.join("nats.conf"), config).expect("the folder is ours");
        let mut command = Command::new(tool("nats-server"));
        command.arg("-c").arg(path.join("nats.conf"));
        let process = Process::spawn(command);
        process
            .line("it to start", |line| line.ends_with("Server is ready"))
            .await;
        Self {
            addr: SocketAddr::from(([127, 0, 0, 1], mqtt)),
            _processes: vec![process],
            _dir: Some(dir),
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// What `RabbitMQ` begins with: users, and that they may do everything. The hashes are of `guest` and of
/// [`PASSWORD`](crate::PASSWORD), each behind the same salt.
fn definitions(users: &[&str]) -> String {
    let guest = ("guest", "KioqKn84zyHV03oFxhAhRW/Xa4vrgqijZphyaZlUOo46xWZs");
    let others = users
        .iter()
        .map(|user| (*user, "KioqKqPJQMTKXmXcsKfJnSjd4ec9neXSQEuwBh7MSUuHNeOh"));
    let all: Vec<_> = std::iter::once(guest).chain(others).collect();
    let accounts = all.iter().map(|(name, hash)| {
        json!({
            "name": name,
            "password_hash": hash,
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": "",
        })
    });
    let permissions = all.iter().map(|(name, _)| {
        json!({ "user": name, "vhost": "/", "configure": ".*", "write": ".*", "read": ".*" })
    });
    json!({
        "vhosts": [{ "name": "/" }],
        "users": accounts.collect::<Vec<_>>(),
        "permissions": permissions.collect::<Vec<_>>(),
    })
    .to_string()
}

/// Ports that are free, and all different.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|it| it.local_addr().expect("it is bound").port())
}
