//! Streams on a full disk, and streams that nobody reads.

use crate::support::{fixtures, mproxy};
use std::fs::{File, OpenOptions};
use std::io::{Read, pipe};
use std::process::Stdio;

fn full() -> File {
    let device = OpenOptions::new().write(true).open("/dev/full");
    device.expect("Linux has a device that is always full")
}

/// A pipe whose reader is gone.
fn closed() -> Stdio {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    writer.into()
}

/// The disk of the log of a service was full, its configuration was wrong, and the program panicked when
/// it wanted to say so: systemd started it again and again, because 101 is no code of a configuration.
#[test]
fn the_exit_code_is_the_same_when_nothing_can_be_said() {
    let wrong = fixtures("invalid").join("syntax.toml");
    let wrong = wrong.to_str().unwrap();
    for (args, expected) in [
        (&["--config", wrong][..], 78),
        (&["check", "--config", wrong], 78),
        (&["check", "--format", "json", "--config", wrong], 78),
        (&["config", "show", "--config", wrong], 78),
        (&["--config", wrong, "--listen", "127.0.0.1:0"], 2),
        (&["--nonsense"], 2),
        (&["config"], 2),
        (&["healthcheck", "--url", "ftp://x"], 1),
        (&["man", "/dev/null/pages"], 1),
        #[cfg(feature = "demo")]
        (&["demo", "--upstream", "nonsense", "--port", "0"], 1),
    ] {
        for stream in [Stdio::from(full()), closed()] {
            let mut command = mproxy([]);
            command.args(args).stdout(Stdio::null()).stderr(stream);
            let status = command.status().unwrap();
            assert_eq!(status.code(), Some(expected), "{args:?}");
        }
        let mut command = mproxy([]);
        let status = command.args(args).stdout(full()).stderr(full()).status();
        assert_eq!(status.unwrap().code(), Some(expected), "{args:?}");
    }
}

/// `mproxy-server config default > mproxy.toml` on a full disk is a failure that has to be noticed, and
/// `| head` is none. `check` ended with 1 and said nothing, `--help` with 0.
#[test]
fn what_cannot_be_printed_is_a_failure_with_a_word() {
    for args in [
        &["--help"][..],
        &["--version"],
        &["check", "-h"],
        &["config", "default"],
        &["config", "schema"],
        &["config", "show", "--listen", "127.0.0.1:0"],
        &["check", "--no-environment", "--listen", "127.0.0.1:0"],
        &["completions", "bash"],
        &["man"],
        #[cfg(feature = "demo")]
        &["demo", "--print-config"],
    ] {
        let mut command = mproxy([]);
        command.args(args).stdout(full()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = String::new();
        let mut stderr = child.stderr.take().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{args:?}: {said}");
        assert!(said.starts_with("error: cannot write"), "{args:?}: {said}");
        assert!(said.contains("No space left on device"), "{args:?}: {said}");

        let mut command = mproxy([]);
        let status = command.args(args).stdout(closed()).status().unwrap();
        assert_eq!(status.code(), Some(0), "{args:?}");
    }
}
