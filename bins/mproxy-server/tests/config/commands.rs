//! The other commands, and how they end.

use crate::support::{mproxy, run, shipped};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;

#[test]
fn the_version_is_one_line_and_the_long_form_names_the_library_of_tls() {
    let version = concat!("mproxy-server ", env!("CARGO_PKG_VERSION"), "\n");
    let (code, stdout, _) = run(&mut mproxy(["-V"]));
    assert_eq!((code, stdout.as_str()), (0, version));
    let (code, stdout, _) = run(&mut mproxy(["--version"]));
    assert_eq!(code, 0);
    let library = stdout.strip_prefix(version);
    let library = library.and_then(|it| it.strip_prefix("TLS by rustls with aws-lc-rs (AWS-LC "));
    let version = library.and_then(|it| it.strip_suffix(")\n"));
    assert!(
        version.is_some_and(|it| it.split('.').count() == 3 && it.parse::<f64>().is_err()),
        "{stdout}"
    );
}

#[test]
fn help_tells_commands_variables_and_exit_codes() {
    let (code, stdout, _) = run(&mut mproxy(["--help"]));
    assert_eq!(code, 0);
    for text in [
        "healthcheck",
        "MPROXY_CONFIG",
        "MPROXY_LOG",
        "78 configuration refused",
        "--set",
    ] {
        assert!(stdout.contains(text), "{text} is not in\n{stdout}");
    }
    for command in [
        "run",
        "check",
        "config",
        "healthcheck",
        "completions",
        "man",
    ] {
        let (code, stdout, _) = run(&mut mproxy([command, "--help"]));
        assert_eq!(code, 0, "{command}");
        assert!(stdout.contains("Usage: mproxy-server "), "{stdout}");
    }
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_2() {
    for args in [
        &["--nonsense"][..],
        &["nonsense"],
        &["--log-level", "infoo"],
        &["-v", "-q"],
    ] {
        let (code, _, stderr) = run(mproxy([]).args(args));
        assert_eq!(code, 2, "{stderr}");
    }
    let (code, _, stderr) = run(mproxy(["--listen", "127.0.0.1:0"]).env("MPROXY_LOG", "infoo"));
    assert_eq!(code, 2);
    assert!(
        stderr.contains("MPROXY_LOG: invalid log level `infoo`"),
        "{stderr}"
    );
}

#[test]
fn check_has_the_names_that_hands_remember() {
    let file = shipped().join("mproxy.toml");
    let path = file.to_str().unwrap();
    for args in [
        ["check", "-c", path],
        ["validate", "--config", path],
        ["-t", "-c", path],
    ] {
        let (code, stdout, _) = run(&mut mproxy(args));
        assert_eq!(code, 0);
        assert!(
            stdout.starts_with(&format!("configuration ok: {path}")),
            "{stdout}"
        );
    }
}

#[test]
fn check_tries_ports_and_brokers() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let bind = taken.local_addr().unwrap().to_string();
    let mut command = mproxy([
        "check",
        "--listen",
        &bind,
        "--set",
        "admin.bind=127.0.0.1:0",
    ]);
    command.args(["--upstream", "unix:/nonexistent/broker.sock"]);
    let (code, stdout, stderr) = run(&mut command);
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stdout.starts_with("configuration ok: defaults, 2 warnings\n"),
        "{stdout}"
    );
    assert!(
        stderr.contains(&format!("listener `mqtt` cannot listen on {bind}")),
        "{stderr}"
    );
    assert!(
        stderr.contains("upstream `broker` does not answer at unix:"),
        "{stderr}"
    );
    // the configuration is right: it was said to be refused, and somebody looked for the mistake
    let (code, _, stderr) = run(command.arg("--deny-warnings"));
    assert_eq!(code, 69, "{stderr}");
    let last = "2 warnings: the configuration is valid, but cannot be used here and now\n";
    assert!(stderr.ends_with(last), "{stderr}");
    // one mistake is enough
    let (code, _, stderr) = run(command.args(["--set", "log.format=yaml"]));
    assert_eq!(code, 78, "{stderr}");
    assert!(stderr.ends_with(": configuration refused\n"), "{stderr}");
}

/// An address that is none of this machine is an error, and nothing that another text would mend.
#[test]
fn an_address_of_another_machine_is_told_from_a_mistake() {
    let mut command = mproxy(["check", "--listen", "192.0.2.1:0"]);
    command.args(["--set", "admin.bind="]);
    let (code, _, stderr) = run(&mut command);
    assert_eq!(code, 69, "{stderr}");
    assert!(stderr.contains("the configuration is valid"), "{stderr}");
}

#[test]
fn a_file_that_cannot_be_read_ends_with_78() {
    for command in [&["check", "-c"][..], &["config", "show", "-c"], &["-c"]] {
        let (code, _, stderr) = run(mproxy([]).args(command).arg("/nonexistent/mproxy.toml"));
        assert_eq!(code, 78);
        assert!(
            stderr.contains("cannot read `/nonexistent/mproxy.toml`"),
            "{stderr}"
        );
    }
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, stdout, _) = run(&mut mproxy(["completions", shell]));
        assert_eq!(code, 0);
        assert!(stdout.contains("healthcheck"), "{shell}");
    }
}

#[test]
fn manual_pages_for_every_command() {
    let (code, stdout, _) = run(&mut mproxy(["man"]));
    assert_eq!(code, 0);
    assert!(stdout.contains(".TH mproxy-server 1"), "{stdout}");
    let folder = tempfile::tempdir().unwrap();
    let (code, _, _) = run(mproxy(["man"]).arg(folder.path()));
    assert_eq!(code, 0);
    for page in [
        "mproxy-server.1",
        "mproxy-server-check.1",
        "mproxy-server-config-show.1",
    ] {
        assert!(
            folder.path().join(page).metadata().unwrap().len() > 0,
            "{page}"
        );
    }
}

#[test]
#[cfg(feature = "demo")]
fn the_configuration_of_the_demo_is_accepted() {
    let (code, stdout, stderr) = run(&mut mproxy(["demo", "--print-config"]));
    assert_eq!(code, 0, "{stderr}");
    let mut command = mproxy(["check", "--no-environment", "--deny-warnings", "-c", "-"]);
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(stdout.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(
        output
            .stdout
            .starts_with(b"configuration ok: standard input\n")
    );
}

#[test]
fn healthcheck_is_0_for_ready_and_1_for_everything_else() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\n\r\nok\n", 0),
        (
            "HTTP/1.1 503 Service Unavailable\r\n\r\n[-]upstream broker: refused\n",
            1,
        ),
        ("", 1),
        ("SSH-2.0 200\r\n", 1),
    ] {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", server.local_addr().unwrap());
        let asked = thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            // The whole request is read, so that closing does not reset the connection.
            let rest = lines.map_while(Result::ok).take_while(|it| !it.is_empty());
            assert!(rest.count() > 0);
            stream.write_all(answer.as_bytes()).unwrap();
            first
        });
        let (code, _, stderr) = run(mproxy(["healthcheck"]).env("MPROXY_ADMIN_URL", url));
        assert_eq!(code, expected, "{stderr}");
        assert_eq!(asked.join().unwrap(), "GET /readyz?verbose HTTP/1.1");
        assert_eq!(
            stderr.contains("[-]upstream broker: refused"),
            answer.contains("503")
        );
    }
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for url in [
        format!("http://{closed}"),
        "ftp://x".to_owned(),
        "http://127.0.0.1".to_owned(),
    ] {
        let (code, _, stderr) = run(&mut mproxy(["healthcheck", "--url", &url]));
        assert_eq!(code, 1);
        assert!(stderr.starts_with("not ready: "), "{stderr}");
    }
}
