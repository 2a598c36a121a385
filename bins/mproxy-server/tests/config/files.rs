//! The files that a configuration is read from, and what is said when they are not files or are wrong.

use crate::support::{mproxy, run};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn fifo(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    path
}

/// A FIFO was opened and read: without a writer the start waited for ever, and said nothing.
#[test]
fn what_is_not_a_file_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = fifo(folder.path(), "mproxy.toml");
    let nested = tempfile::tempdir().unwrap();
    fs::create_dir(nested.path().join("conf.toml")).unwrap();
    let (input, up) = ("--config -", "move its files up");
    for (path, found, remedy) in [
        (fifo.as_path(), "it is a FIFO, not a regular file", input),
        // found in a folder, it was passed over without a word
        (folder.path(), "it is a FIFO, not a regular file", input),
        (nested.path(), "it is a directory, not a regular file", up),
        (
            Path::new("/dev/zero"),
            "it is a device, not a regular file",
            input,
        ),
    ] {
        for command in [&["check", "-c"][..], &["-c"]] {
            let (code, _, stderr) = run(mproxy([]).args(command).arg(path));
            assert_eq!(code, 78, "{stderr}");
            assert!(stderr.contains(found), "{stderr}");
            assert!(stderr.contains(remedy), "{stderr}");
        }
    }
}

/// A mount that was empty, or elsewhere, was told of without a word about what to do.
#[test]
fn what_is_not_there_has_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("mproxy.toml");
    fs::write(folder.path().join("mproxy.conf"), "").unwrap();
    for (path, found, remedy) in [
        (missing.as_path(), "cannot read `", "config default"),
        (folder.path(), "no *.toml in `", "that end in .toml"),
    ] {
        let (code, _, stderr) = run(mproxy(["check", "-c"]).arg(path));
        assert_eq!(code, 78, "{stderr}");
        assert!(stderr.contains(found), "{stderr}");
        assert!(stderr.contains(remedy), "{stderr}");
    }
}

#[test]
fn what_is_inserted_is_a_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = fifo(folder.path(), "secret");
    for (secret, found) in [
        (fifo.as_path(), "it is a FIFO, not a regular file"),
        (folder.path(), "it is a directory, not a regular file"),
        (Path::new("/dev/zero"), "it is a device, not a regular file"),
    ] {
        let inserted = format!(
            "upstreams.broker.address=mqtt://${{file:{}}}",
            secret.display()
        );
        let (code, _, stderr) = run(&mut mproxy(["--set", &inserted]));
        assert_eq!(code, 78, "{stderr}");
        assert!(stderr.contains(found), "{stderr}");
    }
}

#[test]
fn a_configuration_without_end_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    // holes, which take no room on the disk
    for name in ["a.toml", "b.toml"] {
        let file = fs::File::create(folder.path().join(name)).unwrap();
        file.set_len(40 << 20).unwrap();
    }
    let (code, _, stderr) = run(mproxy(["check", "-c"]).arg(folder.path()));
    assert_eq!(code, 78);
    assert!(stderr.contains("b.toml`: it is larger than"), "{stderr}");
    assert!(stderr.contains("at most 64 MiB"), "{stderr}");
}

const MISTAKES: &str = "[server]\ndrain_timout = \"1s\"\n[admin]\nbind = \"nowhere\"\n";

/// A pod did not start, and the log collector had nothing: the reason was text on standard error in a
/// cluster where everything else is JSON on standard output.
#[test]
fn problems_are_lines_of_a_json_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mproxy.toml");
    fs::write(&path, MISTAKES).unwrap();
    let (code, stdout, stderr) = run(mproxy(["-c"]).arg(&path));
    assert_eq!(code, 78);
    assert!(stderr.contains("did you mean `drain_timeout`?"), "{stderr}");
    let lines: Vec<Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for line in &lines {
        assert_eq!(
            (&line["level"], &line["event"]),
            (&"ERROR".into(), &"error".into())
        );
        assert_eq!(line["target"], "mproxy::config");
    }
    let [key, address, last] = &*lines else {
        panic!("{stdout}");
    };
    assert_eq!(key["message"], "unknown key `drain_timout`");
    assert_eq!(key["place"], format!("{}:2:1", path.display()));
    let remedy = key["remedy"].as_str().unwrap();
    assert!(
        remedy.starts_with("did you mean `drain_timeout`?"),
        "{remedy}"
    );
    assert_eq!(address["place"], format!("{}:4:8", path.display()));
    assert_eq!(last["message"], "configuration refused: 2 errors");

    // who asks for text has text only, wherever that is asked for
    for command in [
        mproxy(["--log-format", "text", "-c"]).arg(&path),
        mproxy(["--set", "log.format=text", "-c"]).arg(&path),
    ] {
        let (code, stdout, _) = run(command);
        assert_eq!((code, &*stdout), (78, ""));
    }
}

/// A configuration that a program wrote had 100,000 mistakes of one kind: they scrolled for minutes.
#[test]
fn problems_without_end_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mproxy.toml");
    let rules = "[[layers.acl.rules]]\nallow = [\"publish\"]\ntopcs = [\"a\"]\ntopics = [\"a\"]\n";
    fs::write(
        &path,
        format!("[layers.acl]\ntype = \"acl\"\n{}", rules.repeat(1000)),
    )
    .unwrap();
    let (code, stdout, stderr) = run(mproxy(["-c"]).arg(&path));
    assert_eq!(code, 78);
    let titles = stderr.lines().filter(|it| it.starts_with("error: "));
    assert_eq!(titles.count(), 100);
    assert!(stderr.contains("more, which are not shown"), "{stderr}");
    // the log leaves out repetitions as it does elsewhere, and not what it comes to
    let lines: Vec<Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!((2..=102).contains(&lines.len()), "{stdout}");
    assert_eq!(lines[0]["message"], "unknown key `topcs`");
    let mut last = lines.iter().rev();
    let last = last.find(|it| it["target"] == "mproxy::config").unwrap();
    let message = last["message"].as_str().unwrap();
    assert!(
        message.starts_with("configuration refused: 1000 errors"),
        "{last}"
    );
    assert!(last["suppressed"].as_u64().unwrap() >= 900, "{last}");
    let (_, stdout, _) = run(mproxy(["check", "--format", "json", "-c"]).arg(&path));
    let all: Value = serde_json::from_str(&stdout).unwrap();
    assert!(all["diagnostics"].as_array().unwrap().len() >= 1000);
}
