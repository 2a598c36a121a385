//! Where the files are, and what is in them.

use super::regular::{read_at_most, read_regular};
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The file that is read when none was named, if it is there.
const DEFAULT_PATH: &str = "/etc/mproxy/mproxy.toml";

/// The most bytes of all files together: several times what 100,000 rules need, and no more than a
/// small container has memory for.
const MAX_SIZE: u64 = 64 << 20;

/// Where a configuration is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// There is none: everything is at its default.
    BuiltIn,
    /// `/etc/mproxy/mproxy.toml` if it exists.
    Default,
    /// A file, a directory, or standard input when it is `-`.
    Path(PathBuf),
    /// This text, which something in the process wrote.
    Text(String),
}

/// A file, read.
#[derive(Debug)]
pub(crate) struct FileText {
    pub(crate) text: String,
    /// What is to be added to its offsets.
    pub(crate) base: usize,
}

impl Location {
    /// True when it can be read once.
    #[must_use]
    pub fn is_standard_input(&self) -> bool {
        matches!(self, Self::Path(path) if path.as_os_str() == "-")
    }

    /// Reads the files. What cannot be read is reported.
    pub(crate) fn read(&self, cx: &mut Context) -> Vec<FileText> {
        if let Self::Text(text) = self {
            let base = cx
                .report
                .sources
                .add_file("(built in)".to_owned(), text.clone());
            return vec![FileText {
                text: text.clone(),
                base,
            }];
        }
        let mut texts = Vec::new();
        let mut left = MAX_SIZE;
        for path in self.paths(cx) {
            cx.reads(&path);
            match read(&path, left) {
                Ok(text) => {
                    left -= text.len() as u64;
                    let name = path.display().to_string();
                    let base = cx.report.sources.add_file(name, text.clone());
                    texts.push(FileText { text, base });
                }
                Err(error) => unreadable(cx, &path, &error),
            }
        }
        texts
    }

    fn paths(&self, cx: &mut Context) -> Vec<PathBuf> {
        let path = match self {
            Self::BuiltIn | Self::Text(_) => return Vec::new(),
            // A file that is there and cannot be looked at is an error later, not a reason to
            // start with defaults.
            Self::Default => match Path::new(DEFAULT_PATH).try_exists() {
                Ok(false) => return Vec::new(),
                _ => Path::new(DEFAULT_PATH),
            },
            Self::Path(path) => path,
        };
        if !path.is_dir() {
            return vec![path.to_owned()];
        }
        cx.reads(path);
        match toml_files(path) {
            Ok(paths) if paths.is_empty() => {
                let message = format!("no *.toml in `{}`", path.display());
                let diagnostic = Diagnostic::error(message);
                cx.push(diagnostic.note(
                    "mproxy reads the files of a directory that end in .toml and do not begin with a dot",
                ));
                paths
            }
            Ok(paths) => paths,
            Err(error) => {
                unreadable(cx, path, &error);
                Vec::new()
            }
        }
    }
}

/// The `*.toml` of a directory in the order of their names; hidden ones are somebody's
/// editor.
fn toml_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.extension().is_some_and(|it| it == "toml") && !hidden {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path, limit: u64) -> io::Result<String> {
    match path == Path::new("-") {
        true => read_at_most(io::stdin().lock(), limit),
        false => read_regular(path, limit),
    }
}

fn unreadable(cx: &mut Context, path: &Path, error: &io::Error) {
    let message = format!("cannot read `{}`: {error}", path.display());
    let diagnostic = Diagnostic::error(message);
    cx.push(match error.kind() {
        ErrorKind::NotFound => diagnostic.note(
            "check --config and MPROXY_CONFIG; `mproxy-server config default` prints a configuration to \
             begin with",
        ),
        ErrorKind::PermissionDenied => {
            diagnostic.note("allow the user that mproxy runs as to read it and to enter its directories")
        }
        ErrorKind::InvalidInput if path.is_dir() => diagnostic.note(
            "directories inside of a directory are not read: move its files up, or give it a name that \
             does not end in .toml",
        ),
        ErrorKind::InvalidInput => {
            diagnostic.note("a program can write the configuration to standard input: --config -")
        }
        ErrorKind::FileTooLarge => {
            diagnostic.note("all files of a configuration together have at most 64 MiB")
        }
        _ => diagnostic,
    });
}
