#![doc = include_str!("../README.md")]
//!
//! `mproxy-server demo`: a broker, the proxy and three simulated devices in one process, so that
//! there is something to see before anything is configured.
//!
//! ```text
//! devices -> the proxy, as `run` starts it from the same TOML -> embedded broker, or `--upstream`
//! ```
//!
//! The broker is our own: it speaks MQTT 3.1, 3.1.1 and 5.0 on one port, stops when it is dropped, and needs
//! nothing but `mproxy-codec`. It keeps nothing on disk and is not for production.
//!
//! The proxy is started by a function that is passed in: the demo only writes its configuration.
#![forbid(unsafe_code)]

mod banner;
mod broker;
mod client;
mod config;
mod devices;
mod frames;
mod pki;

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use tokio::sync::mpsc;

use self::banner::Banner;
use self::broker::Broker;
use self::config::{DemoConfig, DemoTls};
use self::pki::Pki;

/// Where the proxy listens unless told otherwise.
const PORT: u16 = 1884;

/// Where metrics are served unless told otherwise.
const ADMIN_PORT: u16 = 9883;

/// Where the proxy listens for TLS if that port is free.
const TLS_PORT: u16 = 8883;

/// Where `--print-config` says that the broker is: where brokers are.
const PRINTED_UPSTREAM: &str = "mqtt://127.0.0.1:1883";

/// How often the devices talk.
const PACE: Duration = Duration::from_secs(1);

/// Reports that wait to be printed; then the devices wait.
const REPORTS: usize = 64;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The proxy's port; 0 = any free one, `None` = 1884 if it is free.
    pub port: Option<u16>,
    /// The port of health and metrics; 0 = any free one, `None` = 9883 if it is free.
    pub admin_port: Option<u16>,
    /// A broker to use instead of the embedded one.
    pub upstream: Option<String>,
    /// Whether the devices talk.
    pub devices: bool,
    /// Whether the proxy has a second listener, with TLS and certificates of its own CA.
    pub tls: bool,
    /// Only print the configuration.
    pub print_config: bool,
}

/// The proxy, once it listens.
pub struct Running {
    /// The address of its listener.
    pub proxy: SocketAddr,
    /// The address of health and metrics.
    pub admin: Option<SocketAddr>,
    /// Ends when the proxy has: drained after a signal, or failed.
    pub finished: Pin<Box<dyn Future<Output = ExitCode> + Send>>,
}

/// Why the demo could not start.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The embedded broker found no port.
    #[error("cannot start the embedded broker")]
    Broker(#[source] io::Error),
    /// No certificates could be made.
    #[error("cannot make certificates")]
    Certificates(#[source] Box<dyn Error + Send + Sync>),
    /// The proxy did not start.
    #[error("cannot start the proxy")]
    Proxy(#[source] Box<dyn Error + Send + Sync>),
    /// What the demo has to say could not be written.
    #[error("cannot write to the terminal")]
    Output(#[from] io::Error),
}

impl DemoError {
    /// Whether the reader of the output went away, as that of `demo | head` does.
    pub fn has_seen_enough(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Runs the demo until the proxy ends, which it does when a signal tells it to.
///
/// `start` gets the configuration as TOML text and starts the proxy from it. Everything that the
/// demo says goes to `out`. The exit code is the proxy's.
///
/// # Errors
/// When one of the parts does not start, or `out` is closed.
pub async fn run<S, F>(
    options: Options,
    mut out: impl Write,
    start: S,
) -> Result<ExitCode, DemoError>
where
    S: FnOnce(String) -> F,
    F: Future<Output = Result<Running, Box<dyn Error + Send + Sync>>>,
{
    if options.print_config {
        write!(out, "{}", printed(&options))?;
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    // kept until the end: the broker stops when it is dropped
    let (upstream, broker) = match options.upstream {
        Some(upstream) => (upstream, None),
        None => {
            let broker = Broker::start().await.map_err(DemoError::Broker)?;
            (format!("mqtt://{}", broker.address()), Some(broker))
        }
    };
    // removed when it is dropped
    let pki = options.tls.then(Pki::create).transpose();
    let pki = pki.map_err(DemoError::Certificates)?;
    let tls = match &pki {
        Some(pki) => Some(DemoTls {
            listen: free_port(options.port.is_none().then_some(TLS_PORT))?,
            dir: pki.dir().to_owned(),
        }),
        None => None,
    };
    let config = DemoConfig {
        listen: choose("proxy", options.port, PORT, &mut out)?,
        admin: choose("metrics", options.admin_port, ADMIN_PORT, &mut out)?,
        upstream,
        tls,
    };
    let mut running = start(config.to_string()).await.map_err(DemoError::Proxy)?;
    let banner = Banner {
        broker: config.upstream,
        embedded: broker.is_some(),
        proxy: running.proxy,
        admin: running.admin,
        tls: config.tls,
    };
    writeln!(out, "{banner}")?;

    let (reports, mut reported) = mpsc::channel(REPORTS);
    let mut devices = options
        .devices
        .then(|| devices::spawn(running.proxy, PACE, &reports));
    drop(reports);
    loop {
        tokio::select! {
            code = &mut running.finished => return Ok(code),
            Some(report) = reported.recv() => {
                writeln!(out, "{report}")?;
            }
            // the proxy drains; devices that come back meanwhile would only be in the way
            Ok(()) = tokio::signal::ctrl_c(), if devices.is_some() => devices = None,
        }
    }
}

/// The configuration to start from: with fixed ports, and a broker that outlives the demo.
fn printed(options: &Options) -> DemoConfig {
    let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    DemoConfig {
        listen: address(options.port.unwrap_or(PORT)),
        admin: address(options.admin_port.unwrap_or(ADMIN_PORT)),
        upstream: options
            .upstream
            .clone()
            .unwrap_or_else(|| PRINTED_UPSTREAM.to_owned()),
        tls: options.tls.then(|| DemoTls {
            listen: address(TLS_PORT),
            dir: "/etc/mproxy/tls".into(),
        }),
    }
}

/// This port if it is free, or any that is. Another process may take it before the proxy does, which is
/// for the demo to fail then.
fn free_port(usual: Option<u16>) -> io::Result<SocketAddr> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.local_addr();
    match usual.map(bind) {
        Some(Ok(address)) => Ok(address),
        Some(Err(_)) | None => bind(0),
    }
}

/// The address for a wanted port. Without a wish it is the usual one; when that is taken, `out` is
/// told and any free one is used.
fn choose(
    what: &str,
    wanted: Option<u16>,
    usual: u16,
    out: &mut impl Write,
) -> io::Result<SocketAddr> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, wanted.unwrap_or(usual)));
    // asked beforehand only to be helpful: the proxy's own bind is what counts
    if wanted.is_some() || TcpListener::bind(address).is_ok() {
        return Ok(address);
    }
    writeln!(
        out,
        "  port {usual} is taken: {what} moves to a free one (--help says how to choose)"
    )?;
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("proxy", &self.proxy)
            .field("admin", &self.admin)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
