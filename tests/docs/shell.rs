//! Somebody who types the commands of README.md or of a page, one after the other, and reads what they print.
//!
//! Commands run as they are written, but for what two runs on one machine cannot share: the ports
//! 1883, 1884 and 9883 stand for free ones, and programs are the ones that were built for the tests.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command as StdCommand;

use mproxy_tests::tools::{root, tool};
use mproxy_tests::{Mosquitto, Process, http, server_binary};
use serde_json::Value;
use tokio::process::Command;

use crate::markdown::{read, without_numbers};

/// A command and what it is said to print.
#[derive(Debug)]
pub(crate) struct Line {
    command: String,
    prints: Vec<String>,
}

/// The commands of a block of the language `console`.
pub(crate) fn lines(block: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), lines.last_mut()) {
            (Some(command), _) => lines.push(Line {
                command: command.to_owned(),
                prints: Vec::new(),
            }),
            (None, Some(last)) => last.prints.push(line.to_owned()),
            (None, None) => panic!("output of no command: {line}"),
        }
    }
    lines
}

/// What runs in the background, and where.
#[derive(Debug, Default)]
pub(crate) struct Shell {
    broker: Option<Mosquitto>,
    proxy: Option<Proxy>,
}

#[derive(Debug)]
struct Proxy {
    process: Process,
    listener: SocketAddr,
    admin: SocketAddr,
}

impl Shell {
    /// Runs a command and compares what it prints.
    ///
    /// # Panics
    /// If something differs, or nobody knows how to run it.
    pub(crate) async fn run(&mut self, line: &Line) {
        let words = words(&line.command);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            [
                "cargo",
                "run",
                "-p",
                package @ "mproxy-server",
                "--",
                "demo",
            ] => {
                self.demo(what_cargo_runs(package), line).await;
            }
            ["mproxy-server", args @ ..] if matches!(args, ["check" | "config", ..]) => {
                let mut command = Command::new(server_binary());
                command.args(args);
                compare(command, line).await;
            }
            ["mproxy-server", args @ ..] if matches!(args, ["reload" | "bans", ..]) => {
                let mut command = Command::new(server_binary());
                let url = format!("http://{}", self.admin());
                command.args(args).args(["--url", &url]);
                compare(command, line).await;
            }
            ["mproxy-server", args @ ..] => {
                self.proxy(args, line).await;
            }
            ["curl", "-X", method, "-H", header, url] => {
                let path = url.trim_start_matches("http://127.0.0.1:9883");
                let head = format!("{method} {path} HTTP/1.0\r\n{header}\r\n\r\n");
                let answer = http::request(self.admin(), &head).await;
                assert_eq!(answer.body.trim_end(), line.prints.join("\n"), "{answer:?}");
            }
            ["cargo", "install", "--locked", "--path", package] => {
                // minutes; that it builds is known
                let manifest = read(&root().join(package).join("Cargo.toml"));
                assert!(manifest.contains("name = \"mproxy-server\""), "{manifest}");
            }
            ["docker", "build", "-f", file, "-t", _, "."] => {
                // its linter has a test where it is
                assert!(root().join(file).is_file(), "{file}");
            }
            [client @ ("mosquitto_pub" | "mosquitto_sub"), args @ ..] => {
                let mut command = Command::new(tool(client));
                command.args(args.iter().map(|word| match *word {
                    "1884" => self.port().to_string(),
                    word => word.to_owned(),
                }));
                compare(command, line).await;
            }
            ["cargo", "build", "--release", "-p", "mproxy-server"] => {
                // the same without optimization, which is what the tests run
                assert!(server_binary().is_file());
            }
            [
                "cargo",
                "run",
                "--release",
                "-p",
                "mproxy-load",
                "--",
                args @ ..,
            ] => {
                // ten minutes; that it works is tested where it is
                let mut command = Command::new(env!("CARGO"));
                command.args(["run", "--quiet", "-p", "mproxy-load", "--"]);
                accepts(command.args(args).arg("--help")).await;
            }
            ["tests/run"] => is_what_ci_runs(),
            _ => panic!("no test runs this command: {}", line.command),
        }
    }

    /// Waits until the proxy has printed a line that differs in numbers only.
    pub(crate) async fn sees(&self, expected: &str) {
        prints(&self.running().process, expected).await;
    }

    fn running(&self) -> &Proxy {
        self.proxy.as_ref().expect("a proxy was started before")
    }

    fn port(&self) -> u16 {
        self.running().listener.port()
    }

    fn admin(&self) -> SocketAddr {
        self.running().admin
    }

    async fn demo(&mut self, program: PathBuf, line: &Line) {
        let mut command = Command::new(program);
        command.args(["demo", "--port", "0", "--admin-port", "0"]);
        let process = spawn(command);
        let address = async |name: &str, before: &str, after: &str| {
            let found = process.line(name, |line| line.contains(name)).await;
            let addr = found.rsplit(before).next().unwrap_or_default();
            addr.trim_end_matches(after).parse().expect("an address")
        };
        let listener = address("proxy  ", "mqtt://", "").await;
        let admin = address("metrics  ", "http://", "/metrics").await;
        for expected in &line.prints {
            prints(&process, expected).await;
        }
        self.proxy = Some(Proxy {
            process,
            listener,
            admin,
        });
    }

    async fn proxy(&mut self, args: &[&str], line: &Line) {
        let broker = match self.broker.take() {
            Some(broker) => broker,
            None => Mosquitto::start().await,
        };
        let mut command = Command::new(server_binary());
        let from_file = args.contains(&"--config");
        command.args(args.iter().map(|word| match *word {
            "127.0.0.1:1884" => "127.0.0.1:0".to_owned(),
            "mqtt://127.0.0.1:1883" => broker.url(),
            word => word.to_owned(),
        }));
        if from_file {
            let upstream = format!("upstreams.broker.address={}", broker.url());
            command.args(["--set", "listeners.mqtt.bind=127.0.0.1:0"]);
            command.args(["--set", &upstream]);
        }
        command.args(["--set", "admin.bind=127.0.0.1:0", "--log-format", "text"]);
        let process = spawn(command);
        let address = async |says: &str| {
            let found = process.line(says, |line| line.contains(says)).await;
            let mut words = found.split(' ');
            let addr = words.find_map(|word| word.strip_prefix("address="));
            addr.and_then(|it| it.parse().ok()).expect("an address")
        };
        let listener = address("listening event=listen listener=").await;
        let admin = address("admin port listening event=listen").await;
        for expected in &line.prints {
            prints(&process, expected).await;
        }
        self.proxy = Some(Proxy {
            process,
            listener,
            admin,
        });
        self.broker = Some(broker);
    }
}

/// The program that `cargo run` finds in a package, built beside the proxy. Asking cargo itself to
/// run it would build it again, with the features that it alone asks for.
fn what_cargo_runs(package: &str) -> PathBuf {
    let cargo = |args: &[&str]| {
        let mut command = StdCommand::new(env!("CARGO"));
        let output = command.args(args).current_dir(root()).output();
        let output = output.expect("cargo runs");
        assert!(output.status.success(), "{args:?}: {output:?}");
        output.stdout
    };
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_slice(&metadata).expect("it is JSON");
    let mut packages = metadata["packages"].as_array().into_iter().flatten();
    let found = packages.find(|found| found["name"] == package);
    let found = found.expect("the package is there");
    let programs: Vec<_> = found["targets"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|target| target["kind"][0] == "bin")
        .collect();
    let program = match programs.as_slice() {
        [program] => &program["name"],
        _ => &found["default_run"],
    };
    let program = program.as_str().expect("cargo knows which one to run");
    let path = server_binary().with_file_name(program);
    if !path.exists() {
        cargo(&["build", "--package", package]);
    }
    path
}

/// Words as a shell splits them, with single quotes.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for char in command.chars() {
        match char {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            char => words.last_mut().expect("never empty").push(char),
        }
    }
    assert!(!quoted, "a quote is not closed: {command}");
    words
}

fn spawn(command: Command) -> Process {
    Process::spawn(in_root(&command))
}

fn in_root(command: &Command) -> Command {
    let mut own = Command::new(command.as_std().get_program());
    own.args(command.as_std().get_args()).current_dir(root());
    // what a developer has set must not change what README.md says
    own.env_remove("MPROXY_CONFIG").env_remove("RUST_LOG");
    own
}

async fn prints(process: &Process, expected: &str) {
    let expected = without_numbers(expected.trim());
    let line = process.line(&expected, |line| without_numbers(line).ends_with(&expected));
    line.await;
}

/// Runs a command to its end, which prints just what it is said to.
async fn compare(command: Command, line: &Line) {
    let (code, output) = Process::run(in_root(&command)).await;
    let printed: Vec<_> = output.lines().map(without_numbers).collect();
    let expected: Vec<_> = line.prints.iter().map(|it| without_numbers(it)).collect();
    assert_eq!(printed, expected, "{} ({code})\n{output}", line.command);
    assert!(
        code == 0 || !expected.is_empty(),
        "{}: {code}",
        line.command
    );
}

async fn accepts(command: &Command) {
    let shown = format!("{:?}", command.as_std());
    let (code, output) = Process::run(in_root(command)).await;
    assert_eq!(code, 0, "{shown}\n{output}");
}

/// The test command is what runs this, so that it is not run again.
fn is_what_ci_runs() {
    use std::os::unix::fs::PermissionsExt;
    for script in ["tests/run", ".ci/run"] {
        let mode = root().join(script).metadata().expect("it is there");
        assert_eq!(mode.permissions().mode() & 0o111, 0o111, "{script}");
    }
    let ci = read(&root().join(Path::new(".ci/run")));
    assert!(ci.contains("step_test() { tests/run; }"), "{ci}");
}

#[test]
fn splits_words() {
    assert_eq!(words("a -t '#' 'b c'd"), ["a", "-t", "#", "b cd"]);
}
