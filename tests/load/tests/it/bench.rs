//! The real binary.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// The tool, with its temporary files in `dir`.
fn tool(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mproxy-load"));
    command.args(args).env("TMPDIR", dir).stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    let parts = [&output.stdout, &output.stderr].map(|part| String::from_utf8_lossy(part));
    parts.concat()
}

#[test]
fn a_small_benchmark_runs_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    let json = out.path().join("bench.json");
    let args = "bench --rounds 1 --seconds 0.02 --idle 20 --loads closed,idle,base \
                --peers direct,haproxy,nginx,mproxy --mproxy /nonexistent --json";
    let mut args: Vec<&str> = args.split_whitespace().collect();
    args.push(json.to_str().unwrap());
    let output = tool(dir.path(), &args).output().unwrap();
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("### closed: "), "{text}");
    assert!(
        text.contains("\nSkipped: mproxy, no /nonexistent: `cargo build "),
        "{text}"
    );

    let report: serde_json::Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let closed = &report["loads"][0]["peers"];
    assert_eq!(closed[0]["peer"], "direct");
    assert!(
        closed[0]["samples"][0]["rate"].as_f64().unwrap() > 0.0,
        "{report}"
    );
    // Each of the other peers was either measured or is said to be missing.
    let skipped = report["skipped"].to_string();
    for peer in ["haproxy", "nginx"] {
        let measured = closed
            .as_array()
            .unwrap()
            .iter()
            .find(|report| report["peer"] == peer);
        match measured {
            Some(report) => assert!(report["value"].as_f64().unwrap() > 0.0, "{report}"),
            None => assert!(skipped.contains(&format!("\"{peer}\"")), "{skipped}"),
        }
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// The proxy that `MPROXY_SERVER` names, or that was built beside the tool.
fn server() -> OsString {
    let beside = Path::new(env!("CARGO_BIN_EXE_mproxy-load")).with_file_name("mproxy-server");
    env::var_os("MPROXY_SERVER").unwrap_or_else(|| beside.into())
}

/// Every peer shows the certificate that the clients trust, or no round would succeed.
#[test]
fn peers_with_tls_are_measured_beside_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let args = "bench --rounds 1 --seconds 0.02 --idle 20 --loads batched,to-client,handshakes,storm \
                --peers haproxy-tls,nginx-tls,mproxy-tls --mproxy";
    let args: Vec<&str> = args.split_whitespace().collect();
    let output = tool(dir.path(), &args).arg(server()).output().unwrap();
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    for unit in ["CPU us a message", "p99 us", "s"] {
        assert!(text.contains(&format!("\n| | {unit} |")), "{text}");
    }
    let rows = text
        .lines()
        .filter(|line| line.starts_with("| mproxy-tls |"));
    assert_eq!(rows.count(), 4, "{text}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_few_reloads_are_measured_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let args = "reloads --rounds 1 --count 2 --seconds 0.5 --idle 20 --mproxy";
    let args: Vec<&str> = args.split_whitespace().collect();
    let output = tool(dir.path(), &args).arg(server()).output().unwrap();
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("\n| p99 | "), "{text}");
    assert!(text.contains("\n2 of 2 reloads; p99 ratio "), "{text}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_proxy_that_does_not_start_is_told_with_its_last_words() {
    let dir = tempfile::tempdir().unwrap();
    // Any program that knows no --config will do.
    let args = [
        "bench", "--rounds", "1", "--loads", "closed", "--peers", "mproxy",
    ];
    let output = tool(dir.path(), &args)
        .args(["--mproxy", "/bin/cat"])
        .output()
        .unwrap();
    let text = text(&output);
    assert!(!output.status.success(), "{text}");
    assert!(
        text.contains("cat ended at its start: exit status: 1"),
        "{text}"
    );
    assert!(text.contains("--config"), "{text}");
    assert!(text.contains("0 of 1 bars met."), "{text}");
}

#[test]
fn mistakes_on_the_command_line_are_told() {
    let dir = tempfile::tempdir().unwrap();
    for (args, told) in [
        (
            ["bench", "--loads", "fast"],
            "no load is called `fast`; there are: batched",
        ),
        (
            ["bench", "--peers", "envoy"],
            "no peer is called `envoy`; there are: direct",
        ),
        (
            ["run", "closed", "--to=here"],
            "`here` is neither IP:PORT nor unix:PATH",
        ),
    ] {
        let output = tool(dir.path(), &args).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output).contains(told), "{}", text(&output));
    }
}

/// A benchmark that would take a minute, and a connection to its sink.
fn long_benchmark(dir: &Path) -> (Child, TcpStream) {
    let args = [
        "bench",
        "--seconds",
        "60",
        "--loads",
        "closed",
        "--peers",
        "direct",
    ];
    let mut driver = tool(dir, &args).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(driver.stderr.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let addr: SocketAddr = line
        .strip_prefix("sink at ")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    (driver, TcpStream::connect(addr).unwrap())
}

#[test]
fn a_signal_ends_everything_and_cleans_up() {
    let dir = tempfile::tempdir().unwrap();
    let (mut driver, mut sink) = long_benchmark(dir.path());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let sent = Command::new("kill")
        .args(["-TERM", &driver.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    assert!(!driver.wait().unwrap().success());
    // The sink is gone: its end of the connection is closed.
    assert_eq!(sink.read(&mut [0; 1]).unwrap_or(0), 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn even_a_killed_driver_leaves_no_program_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (mut driver, mut sink) = long_benchmark(dir.path());
    driver.kill().unwrap();
    driver.wait().unwrap();
    assert_eq!(sink.read(&mut [0; 1]).unwrap_or(0), 0);
}
