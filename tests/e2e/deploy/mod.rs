//! The files of `deploy/`, each judged by the program that will read it.
//!
//! A checker that accepts everything proves nothing, so each test also shows it a copy with a
//! mistake in it and expects a refusal.

mod docker;
mod grafana;
mod ingress;
mod kubernetes;
mod prometheus;
mod systemd;

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::tools::root;

pub(crate) use self::grafana::assert_monitored;

/// A file or folder of `deploy/`.
fn deployed(path: &str) -> PathBuf {
    root().join("deploy").join(path)
}

fn read(path: &str) -> String {
    let file = deployed(path);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// A copy of a folder of `deploy/` in which one file may be spoilt.
struct Copy {
    dir: TempDir,
}

impl Copy {
    fn of(folder: &str) -> Self {
        let dir = TempDir::new().expect("a temporary folder can be made");
        copy_all(&deployed(folder), dir.path());
        Self { dir }
    }

    /// Replaces `from`, which must be there, by `to`.
    #[track_caller]
    fn with(self, file: &str, from: &str, to: &str) -> Self {
        let path = self.path(file);
        let text = fs::read_to_string(&path).expect("the file was copied");
        assert!(text.contains(from), "{file} does not contain {from:?}");
        fs::write(&path, text.replacen(from, to, 1)).expect("the copy is ours");
        self
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("the folder is in the repository") {
        let entry = entry.expect("the folder can be listed");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&target).expect("the temporary folder is ours");
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("the temporary folder is ours");
        }
    }
}

/// The number of seconds that a line `key SEPARATOR N` sets, in any of the formats of `deploy/`.
#[track_caller]
fn seconds(text: &str, key: &str) -> u64 {
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with(key))
        .unwrap_or_else(|| panic!("no line sets {key}"));
    let digits = line
        .trim_start_matches(|c: char| !c.is_ascii_digit())
        .trim_end_matches(['"', 's']);
    digits
        .parse()
        .unwrap_or_else(|_| panic!("no seconds in {line:?}"))
}
