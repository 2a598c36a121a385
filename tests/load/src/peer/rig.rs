//! The sink, and a way to put a peer before it.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::child::Child;
use super::identity::Identity;
use super::{Peer, haproxy, mproxy, nginx};
use crate::error::{During, Error};
use crate::load::{Target, probe};
use crate::net::{Endpoint, free_port, raise_file_limit};
use crate::stop::Stop;

/// A program must answer within this time after its start.
const START: Duration = Duration::from_secs(10);

/// A port that was free may be taken a moment later.
const ATTEMPTS: usize = 3;

/// Connections beside those of the load that has the most: the largest load of a fixed size, its
/// predecessors that are still being closed, and the listeners.
const SPARE: usize = 600;

/// A directory for generated files, and a sink that runs.
#[derive(Debug)]
pub struct Rig {
    launcher: PathBuf,
    mproxy: PathBuf,
    sink: Child,
    sink_endpoint: Endpoint,
    connections: usize,
    identity: Identity,
    stop: Stop,
    // Last, so that the programs are gone before their files are.
    dir: TempDir,
}

/// A peer that answers. Ends with its drop.
#[derive(Debug)]
pub struct Running {
    /// Where the generator connects.
    pub target: Target,
    /// The program; none between the generator and the sink.
    pub pid: Option<u32>,
    _child: Option<Child>,
}

/// What a peer needs for its configuration.
#[derive(Debug)]
pub(super) struct Site<'a> {
    pub(super) dir: &'a Path,
    pub(super) sink: &'a Endpoint,
    pub(super) mproxy: &'a Path,
    pub(super) port: u16,
    /// Of peers that speak TLS.
    pub(super) tls: Option<&'a Identity>,
    /// Client connections that must be possible at once.
    pub(super) connections: usize,
}

/// How a peer is started.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) command: Vec<String>,
    pub(super) websocket: Option<String>,
}

impl Rig {
    /// Starts the sink. `launcher` is this tool's own executable, `mproxy` the proxy's; the
    /// peers are set up for so many `connections` of the loads and some more.
    ///
    /// # Errors
    /// When the open file limit is too low for that, or when the sink cannot be started or says
    /// nothing.
    pub fn start(
        launcher: &Path,
        mproxy: &Path,
        connections: usize,
        stop: &Stop,
    ) -> Result<Self, Error> {
        let connections = connections.saturating_add(SPARE);
        // A proxy holds two sockets a connection.
        let needed = 2 * connections as u64;
        let limit = raise_file_limit()?;
        if limit < needed {
            return Err(Error::FileLimit { limit, needed });
        }
        let dir = TempDir::with_prefix("mproxy-load-").during("create a temporary directory")?;
        let own = launcher.to_string_lossy();
        let mut sink = Child::start(launcher, &[&own, "sink"], dir.path().join("sink.log"))?;
        let sink_endpoint = sink.await_answer(START, |sink| {
            stop.check()?;
            let output = sink.output();
            let line = output
                .strip_prefix("listening on ")
                .and_then(|line| line.split_once('\n'));
            // No line is no address either; it comes soon.
            line.map_or("", |(address, _)| address).parse()
        })?;
        Ok(Self {
            launcher: launcher.to_owned(),
            mproxy: mproxy.to_owned(),
            sink,
            sink_endpoint,
            connections,
            identity: Identity::generate(dir.path())?,
            stop: stop.clone(),
            dir,
        })
    }

    /// Where the sink listens.
    pub fn sink_endpoint(&self) -> &Endpoint {
        &self.sink_endpoint
    }

    /// Process id of the sink.
    pub fn sink_pid(&self) -> u32 {
        self.sink.id()
    }

    /// The configuration of the mproxy that was put last.
    pub(crate) fn mproxy_config(&self) -> PathBuf {
        self.dir.path().join(mproxy::FILE)
    }

    /// Why a peer cannot take part; `None` if it can.
    pub fn missing(&self, peer: Peer) -> Option<String> {
        let hint = "`apt-get install haproxy nginx-light libnginx-mod-stream`";
        match peer {
            Peer::Direct => None,
            Peer::Haproxy | Peer::HaproxyTls => find("haproxy")
                .is_none()
                .then(|| format!("not installed: {hint}")),
            Peer::Nginx | Peer::NginxTls => nginx::missing().map(|what| format!("{what}: {hint}")),
            Peer::Mproxy(_) => (!self.mproxy.is_file()).then(|| {
                let path = self.mproxy.display();
                format!("no {path}: `cargo build --release -p mproxy-server`")
            }),
        }
    }

    /// Starts a peer and waits until a CONNECT through it is answered.
    ///
    /// # Errors
    /// When the program ends or does not answer.
    pub fn put(&self, peer: Peer) -> Result<Running, Error> {
        if peer == Peer::Direct {
            let target = Target {
                endpoint: self.sink_endpoint.clone(),
                websocket: None,
                tls: None,
            };
            return Ok(Running {
                target,
                pid: None,
                _child: None,
            });
        }
        let mut attempt = 1;
        loop {
            match self.try_put(peer) {
                Err(Error::Ended { .. }) if attempt < ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    fn try_put(&self, peer: Peer) -> Result<Running, Error> {
        let port = free_port()?;
        let tls = peer.speaks_tls().then_some(&self.identity);
        let site = Site {
            dir: self.dir.path(),
            sink: &self.sink_endpoint,
            mproxy: &self.mproxy,
            port,
            tls,
            connections: self.connections,
        };
        let Recipe { command, websocket } = match peer {
            Peer::Direct | Peer::Haproxy | Peer::HaproxyTls => haproxy::recipe(&site)?,
            Peer::Nginx | Peer::NginxTls => nginx::recipe(&site)?,
            Peer::Mproxy(variant) => mproxy::recipe(&site, variant)?,
        };
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let log = self.dir.path().join(format!("{peer}.log"));
        let mut child = Child::start(&self.launcher, &command, log)?;
        let target = Target {
            endpoint: Endpoint::loopback(port),
            websocket,
            tls: tls.map(|identity| identity.trust.clone()),
        };
        // Refused, or closed because the peer has not found the sink yet: ask again.
        child.await_answer(START, |_| probe(&target, &self.stop))?;
        Ok(Running {
            target,
            pid: Some(child.id()),
            _child: Some(child),
        })
    }
}

/// Writes a generated file and returns its path.
pub(super) fn write(dir: &Path, name: &str, content: &str) -> Result<String, Error> {
    let path = dir.join(name);
    std::fs::write(&path, content).during(format!("write {}", path.display()))?;
    Ok(path.to_string_lossy().into_owned())
}

/// Looks for a program as a shell would, and in the directories of daemons, which are not on
/// every user's path.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}
