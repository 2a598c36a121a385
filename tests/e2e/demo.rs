//! The first five minutes: the demo, with what it tells people to try.

use std::net::SocketAddr;
use std::time::Duration;

use mproxy_tests::clients::{MosquittoSub, mosquitto_pub};
use mproxy_tests::wire::Version;
use mproxy_tests::{Metrics, Mosquitto, Process, http, server_binary};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::Command;

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(server_binary());
    command.arg("demo").args(args).env_clear();
    command
}

/// Starts the demo, and reads in its banner where things are.
async fn start(args: &[&str]) -> (Process, SocketAddr, SocketAddr) {
    let mut command = command(&["--port", "0", "--admin-port", "0"]);
    command.args(args);
    let process = Process::spawn(command);
    process
        .line("the banner", |line| line.trim() == "stop       Ctrl-C")
        .await;
    let lines = process.lines();
    let value = |key: &str, start: &str| {
        let line = lines.iter().find_map(|line| line.trim().strip_prefix(key));
        let value = line
            .unwrap_or_else(|| panic!("no {key} in {lines:?}"))
            .trim();
        let address = value.trim_start_matches(start).trim_end_matches("/metrics");
        address
            .parse()
            .unwrap_or_else(|_| panic!("no address: {value}"))
    };
    let (proxy, metrics) = (value("proxy", "mqtt://"), value("metrics", "http://"));
    (process, proxy, metrics)
}

#[tokio::test]
async fn the_demo_shows_what_it_promises_and_ends_with_ctrl_c() {
    let (mut process, proxy, admin) = start(&[]).await;
    for (device, part) in [
        ("sensor", "PUBLISH demo/sensor/temperature"),
        ("meter", "-> PUBACK"),
        // the misbehaving one, and what it is told
        ("rogue", "0x87"),
    ] {
        let line = process.line(device, |line| {
            line.trim().starts_with(device) && line.contains(part)
        });
        line.await;
    }

    // what the banner says that one might try, in all versions
    for version in Version::ALL {
        let subscriber = MosquittoSub::start(proxy, version, &["-t", "demo/#"]).await;
        let (code, output) = mosquitto_pub(proxy, version, &["-t", "demo/hello", "-m", "hi"]).await;
        assert_eq!(code, 0, "{output}");
        subscriber.message("demo/hello 0 0 2 6869").await;
    }
    process
        .line("the meter", |line| line.contains("received demo/hello hi"))
        .await;
    let denied = ["-q", "1", "-t", "secret/x", "-m", "hi"];
    let (_, output) = mosquitto_pub(proxy, Version::V5, &denied).await;
    assert!(output.to_lowercase().contains("not authorized"), "{output}");

    let metrics = Metrics(http::get(admin, "/metrics").await.body);
    let denials = "mproxy_auth_decisions_total{layer=\"acl\",action=\"publish\",decision=\"deny\"}";
    assert!(metrics.sum(denials) >= 2.0, "{}", metrics.0);

    process.signal(Signal::INT);
    assert_eq!(process.code(Duration::from_secs(10)).await, 0);
}

#[tokio::test]
async fn the_demo_stands_in_front_of_a_broker_of_ones_own() {
    let broker = Mosquitto::start().await;
    let observer = MosquittoSub::start(broker.addr(), Version::V5, &["-t", "#"]).await;
    let (mut process, proxy, _) = start(&["--upstream", &broker.url(), "--no-devices"]).await;
    mosquitto_pub(proxy, Version::V311, &["-t", "secret/x", "-m", "no"]).await;
    mosquitto_pub(proxy, Version::V311, &["-t", "demo/hello", "-m", "hi"]).await;
    observer.message("demo/hello 0 0 2 6869").await;
    assert_eq!(observer.messages().len(), 1);
    process.signal(Signal::TERM);
    assert_eq!(process.code(Duration::from_secs(10)).await, 0);
}

/// What the demo prints to start from is a configuration.
#[tokio::test]
async fn the_configuration_of_the_demo_is_one() {
    let (code, text) = Process::run(command(&["--print-config"])).await;
    assert_eq!(code, 0, "{text}");
    let dir = TempDir::new().expect("a temporary folder can be made");
    let file = dir.path().join("mproxy.toml");
    std::fs::write(&file, text).expect("the temporary folder is ours");
    let mut check = Command::new(server_binary());
    check.args(["check", "--no-environment", "--deny-warnings", "--config"]);
    check.arg(file).env_clear();
    let (code, output) = Process::run(check).await;
    assert_eq!(code, 0, "{output}");
}

/// The commands that it prints for TLS are commands: pasted into a shell, they work.
#[tokio::test]
async fn the_demo_with_tls_makes_its_own_certificates() {
    let (mut process, proxy, _) = start(&["--tls", "--no-devices"]).await;
    let lines = process.lines().join("\n").replace("\\\n", " ");
    let commands: Vec<_> = lines
        .lines()
        .map(str::trim)
        .filter(|it| it.contains("localhost") && it.contains("ca.crt"))
        .map(|it| it.split("      (").next().unwrap_or(it).to_owned())
        .collect();
    assert_eq!(commands.len(), 3, "{lines}");
    let subscriber = MosquittoSub::start(proxy, Version::V311, &["-t", "demo/#"]).await;
    for command in &commands {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("{command} < /dev/null"));
        let (code, output) = Process::run(shell).await;
        assert_eq!(code, 0, "{command}: {output}");
        if command.starts_with("openssl") {
            assert!(output.contains("Verify return code: 0 (ok)"), "{output}");
        }
    }
    subscriber.message("demo/hello 0 0 2 6869").await;
    let dir = commands[0]
        .split("--cafile ")
        .nth(1)
        .and_then(|it| it.split("/ca.crt").next());
    let dir = std::path::PathBuf::from(dir.expect("a folder"));
    assert!(dir.is_dir());
    process.signal(Signal::INT);
    assert_eq!(process.code(Duration::from_secs(10)).await, 0);
    assert!(!dir.exists(), "the keys are gone");
}
