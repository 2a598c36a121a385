//! The proxy: the real binary, as an operator starts it.

use std::collections::HashMap;
use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command as StdCommand;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::deadline::until;
use crate::http;
use crate::process::Process;
use crate::tools::root;

/// The path of the binary: what `MPROXY_SERVER` names, or what cargo builds now, as optimized as
/// the tests are.
///
/// # Panics
/// If it does not build.
pub fn server_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| env::var_os("MPROXY_SERVER").map_or_else(build, PathBuf::from))
}

fn build() -> PathBuf {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = StdCommand::new(cargo);
    command
        .args([
            "build",
            "--package",
            "mproxy-server",
            "--bin",
            "mproxy-server",
        ])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(root());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.output().expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{errors}");
    let messages = String::from_utf8_lossy(&output.stdout);
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .unwrap_or_else(|| panic!("{command:?} named no executable\n{errors}"))
}

/// The file of the configuration.
const CONFIG: &str = "mproxy.toml";

/// What a proxy is to be started with.
#[derive(Debug)]
pub struct Setup {
    program: Option<PathBuf>,
    config: String,
    args: Vec<OsString>,
    wrapper: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    log_level: Option<&'static str>,
}

impl Setup {
    /// One listener, `mqtt`, before one broker, `broker`; the admin port is on. Everything has a
    /// port of its own.
    #[must_use]
    pub fn before(upstream: &str) -> Self {
        Self::new(&Self::head(upstream))
    }

    /// The configuration of [`before`](Self::before).
    #[must_use]
    pub fn head(upstream: &str) -> String {
        format!(
            "[[listeners]]\nname = \"mqtt\"\nbind = \"127.0.0.1:0\"\n\
             [upstreams.broker]\naddress = \"{upstream}\"\n\
             [admin]\nbind = \"127.0.0.1:0\"\n"
        )
    }

    /// This configuration.
    #[must_use]
    pub fn new(config: &str) -> Self {
        Self {
            program: None,
            config: config.to_owned(),
            args: Vec::new(),
            wrapper: Vec::new(),
            env: Vec::new(),
            log_level: Some("info"),
        }
    }

    /// More of the configuration: tables.
    #[must_use]
    pub fn toml(mut self, more: &str) -> Self {
        self.config.push_str(more);
        self
    }

    /// A second listener, `ws`, for WebSocket.
    #[must_use]
    pub fn websocket(self) -> Self {
        self.toml("[[listeners]]\nname = \"ws\"\nbind = \"127.0.0.1:0\"\nprotocol = \"ws\"\n")
    }

    /// One key.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.args.push("--set".into());
        self.args.push(format!("{key}={value}").into());
        self
    }

    /// A flag of the command line.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.args.push(flag.into());
        self
    }

    /// One key of every listener.
    ///
    /// # Panics
    /// If a listener has no name.
    #[must_use]
    pub fn set_listeners(self, key: &str, value: &str) -> Self {
        let tables: Vec<_> = self.config.split("[[listeners]]").skip(1).collect();
        let names: Vec<_> = tables
            .into_iter()
            .map(|table| {
                let (_, name) = table.split_once("name = \"").expect("a name");
                let (name, _) = name.split_once('"').expect("the end of a name");
                name.to_owned()
            })
            .collect();
        names.iter().fold(self, |setup, name| {
            setup.set(&format!("listeners.{name}.{key}"), value)
        })
    }

    /// A limit of the listener `mqtt`.
    #[must_use]
    pub fn limit(self, key: &str, value: &str) -> Self {
        self.set(&format!("listeners.mqtt.limits.{key}"), value)
    }

    /// How much is logged.
    #[must_use]
    pub const fn log_level(mut self, level: &'static str) -> Self {
        self.log_level = Some(level);
        self
    }

    /// As much is logged as the configuration says.
    #[must_use]
    pub const fn configured_log_level(mut self) -> Self {
        self.log_level = None;
        self
    }

    /// A variable of the environment, which is empty otherwise.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Another binary in place of [`server_binary`].
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn program(mut self, path: &Path) -> Self {
        // it starts in a folder of its own
        let found = path.canonicalize();
        let found = found.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        self.program = Some(found);
        self
    }

    /// Runs it by another program, which is followed by the command line as it would be.
    #[must_use]
    pub fn by<const N: usize>(mut self, wrapper: [&str; N]) -> Self {
        self.wrapper = wrapper.iter().map(OsString::from).collect();
        self
    }

    /// Starts it, and does not wait.
    ///
    /// # Panics
    /// If the system does not start it.
    #[must_use]
    pub fn spawn(self) -> (Process, TempDir) {
        let dir = TempDir::new().expect("a temporary folder can be made");
        let file = dir.path().join(CONFIG);
        fs::write(&file, &self.config).expect("the temporary folder is ours");
        let mut line = self.wrapper;
        let program = self.program.as_deref();
        line.push(program.unwrap_or_else(|| server_binary()).into());
        let mut command = Command::new(&line[0]);
        command
            .args(&line[1..])
            .arg("--config")
            .arg(&file)
            .args(["--log-format", "json"])
            .args(self.log_level.map(|level| format!("--log-level={level}")))
            .args(self.args)
            .env_clear()
            .envs(self.env)
            .current_dir(dir.path());
        (Process::spawn(command), dir)
    }

    /// Starts it, and waits until it listens.
    ///
    /// # Panics
    /// If it does not.
    pub async fn start(self) -> Mproxy {
        let count = self.config.matches("[[listeners]]").count().max(1);
        let (process, dir) = self.spawn();
        Mproxy::listening(process, dir, count).await
    }
}

/// A running proxy.
#[derive(Debug)]
pub struct Mproxy {
    process: Process,
    /// By name: `host:port`, or `unix:/path`.
    listeners: HashMap<String, String>,
    admin: Option<SocketAddr>,
    dir: TempDir,
}

impl Mproxy {
    /// One listener before one broker, and nothing else.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn before(upstream: &str) -> Self {
        Setup::before(upstream).start().await
    }

    async fn listening(process: Process, dir: TempDir, mut count: usize) -> Self {
        let mut listeners = HashMap::new();
        let mut admin = None;
        // the lines about listeners come last
        let last = process.line("it to listen", |line| {
            count -= usize::from(line.contains("\"message\":\"listening\""));
            count == 0
        });
        last.await;
        for line in process.lines() {
            let Ok(event) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            let address = || event["address"].as_str().expect("an address");
            match event["message"].as_str() {
                Some("listening") => {
                    let name = event["listener"].as_str().expect("a name");
                    listeners.insert(name.to_owned(), address().to_owned());
                }
                Some("admin port listening") => {
                    admin = Some(address().parse().expect("a TCP address"));
                }
                _ => {}
            }
        }
        Self {
            process,
            listeners,
            admin,
            dir,
        }
    }

    /// Where the listener `mqtt` is.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.listener("mqtt")
    }

    /// Where a listener is.
    ///
    /// # Panics
    /// If there is none of that name, or it is on a Unix socket.
    #[must_use]
    pub fn listener(&self, name: &str) -> SocketAddr {
        let addr = self.address(name);
        addr.parse()
            .unwrap_or_else(|error| panic!("{name} is at {addr}: {error}"))
    }

    /// Where a listener on a Unix socket is.
    ///
    /// # Panics
    /// If there is none of that name, or it is at a TCP address.
    #[must_use]
    pub fn unix_listener(&self, name: &str) -> PathBuf {
        let addr = self.address(name);
        let path = addr.strip_prefix("unix:");
        path.unwrap_or_else(|| panic!("{name} is at {addr}")).into()
    }

    fn address(&self, name: &str) -> &str {
        let addr = self.listeners.get(name);
        addr.unwrap_or_else(|| panic!("no listener {name}: {:?}", self.listeners))
    }

    /// Where health and metrics are.
    ///
    /// # Panics
    /// If they are off.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin.expect("the admin port is on")
    }

    /// The file of its configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.path().join(CONFIG)
    }

    /// Changes the file of its configuration, which nobody reads before they are told to.
    ///
    /// # Panics
    /// If `from` is not in it.
    pub fn edit(&self, from: &str, to: &str) {
        let file = self.config();
        let text = fs::read_to_string(&file).expect("it was written");
        assert!(text.contains(from), "{from} in {text}");
        fs::write(&file, text.replace(from, to)).expect("the temporary folder is ours");
    }

    /// Reloads it by a signal, and waits for the line about it.
    ///
    /// # Panics
    /// If there is none.
    pub async fn reload(&self) -> Value {
        let is_reload = |it: &Value| it["event"] == "reload";
        let before = self.events().iter().filter(|it| is_reload(it)).count();
        self.signal(Signal::HUP);
        until("the line about a reload", async || {
            let events = self.events();
            events.into_iter().filter(is_reload).nth(before)
        })
        .await
    }

    /// Asks the admin port for a reload.
    ///
    /// # Panics
    /// If there is no answer in time.
    pub async fn ask_for_reload(&self) -> http::Answer {
        let admin = self.admin();
        let head = format!("POST /api/v1/reload HTTP/1.0\r\nHost: {admin}\r\n");
        http::request(
            admin,
            &format!("{head}Content-Type: application/json\r\n\r\n"),
        )
        .await
    }

    /// Runs a command of the program that asks the admin port, as an operator does; its exit code, and what
    /// it wrote to the output and to the error output.
    ///
    /// # Panics
    /// If it does not run, or a signal ends it.
    pub async fn command(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(server_binary())
            .args(arguments)
            .env("MPROXY_ADMIN_URL", format!("http://{}", self.admin()))
            .output()
            .await
            .expect("the binary runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let code = output.status.code().expect("no signal");
        (code, text(output.stdout), text(output.stderr))
    }

    /// The process.
    #[must_use]
    pub const fn process(&self) -> &Process {
        &self.process
    }

    /// The number of the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Every event that was logged so far.
    ///
    /// # Panics
    /// If a line is no JSON: then somebody wrote a line of their own into the log.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        let lines = self.process.lines();
        let parsed = lines.iter().map(|line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
        });
        parsed.collect()
    }

    /// Waits for an event in the log, which may be there already.
    ///
    /// # Panics
    /// If it does not come.
    #[track_caller]
    pub fn event(
        &self,
        what: impl Display,
        mut wanted: impl FnMut(&Value) -> bool,
    ) -> impl Future<Output = Value> {
        let line = self.process.line(what, move |line| {
            serde_json::from_str(line).is_ok_and(|event| wanted(&event))
        });
        async { serde_json::from_str(&line.await).expect("it was parsed") }
    }

    /// Waits for the line about the end of a client's session.
    ///
    /// # Panics
    /// If it does not come.
    #[track_caller]
    pub fn end_of(&self, client_id: &str) -> impl Future<Output = Value> {
        let client_id = client_id.to_owned();
        self.event(format!("the end of {client_id}"), move |event| {
            event["client_id"] == client_id.as_str() && event["side"].is_string()
        })
    }

    /// What it counts.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn metrics(&self) -> Metrics {
        let answer = http::get(self.admin(), "/metrics").await;
        assert_eq!(answer.status, 200, "{}", answer.head);
        Metrics(answer.body)
    }

    /// Waits until a sample, as [`Metrics::sum`] names it, has a value.
    ///
    /// # Panics
    /// If it does not get it.
    pub async fn metric(&self, sample: &str, value: f64) {
        until(format!("{sample} = {value}"), async || {
            let found = self.metrics().await.sum(sample);
            ((found - value).abs() < f64::EPSILON).then_some(())
        })
        .await;
    }

    /// Asks whether it is ready.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn ready(&self) -> (u16, String) {
        let answer = http::get(self.admin(), "/readyz?verbose").await;
        (answer.status, answer.body)
    }

    /// Waits until it is ready, or until it is not.
    ///
    /// # Panics
    /// If it stays as it is.
    pub async fn until_ready(&self, ready: bool) -> String {
        let status = if ready { 200 } else { 503 };
        until(format!("readiness {status}"), async || {
            let (found, body) = self.ready().await;
            (found == status).then_some(body)
        })
        .await
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If it has ended.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for its end: the exit code.
    ///
    /// # Panics
    /// If it runs on.
    pub async fn code(&mut self, patience: Duration) -> i32 {
        self.process.code(patience).await
    }

    /// Waits for its end: the exit code and all it said.
    ///
    /// # Panics
    /// If it runs on.
    pub async fn ended(self) -> (i32, String) {
        self.process.ended().await
    }
}

/// One scrape.
#[derive(Clone, Debug)]
pub struct Metrics(pub String);

impl Metrics {
    /// The sum over all samples of a family that have these labels: `family` or
    /// `family{name="value",...}`, in any order; 0 if there is none yet.
    ///
    /// # Panics
    /// If there is no such family or label, or a value is no number.
    #[must_use]
    pub fn sum(&self, sample: &str) -> f64 {
        let (family, wanted) = parts(sample);
        let known = labels_of(family);
        for label in &wanted {
            let name = label.split('=').next().unwrap_or_default();
            assert!(
                name == "le" || known.contains(&format!("`{name}`")),
                "{family} has no label {name}"
            );
        }
        let lines = self.0.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| line.rsplit_once(' '))
            .filter(|(name, _)| {
                let (found, labels) = parts(name);
                found == family && wanted.iter().all(|label| labels.contains(label))
            })
            .map(|(_, value)| value.parse::<f64>().expect("a number"))
            .sum()
    }
}

/// Family and labels of a sample.
fn parts(sample: &str) -> (&str, Vec<&str>) {
    let (family, labels) = sample.split_once('{').unwrap_or((sample, ""));
    let labels = labels.trim_end_matches('}').split(',');
    (family, labels.filter(|it| !it.is_empty()).collect())
}

/// The labels of a family, as the page for operators has them. The page, and not the scrape: most families
/// are there only once they have counted something, and one that is misspelt would be 0.
fn labels_of(family: &str) -> &'static str {
    let page = include_str!("../../docs/metrics.md");
    let parts = ["", "_bucket", "_sum", "_count"];
    let names = parts.iter().filter_map(|part| family.strip_suffix(part));
    let rows = names.filter_map(|name| page.split(&format!("\n| `{name}` |")).nth(1));
    let mut labels = rows.filter_map(|row| row.split('|').nth(1));
    labels
        .next()
        .unwrap_or_else(|| panic!("there is no metric {family}"))
}
