//! Where the files are, and what is in them.

use crate::config::context::Context;
use crate::diagnostics::Diagnostic;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The file that is read when none was named, if it is there.
const DEFAULT_PATH: &str = "/etc/mproxy/mproxy.toml";

/// The most bytes of one file: a configuration is written by hand, an endless device is not.
const MAX_FILE_SIZE: u64 = 16 << 20;

/// Where a configuration is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// There is none: everything is at its default.
    BuiltIn,
    /// [`DEFAULT_PATH`] if it exists.
    Default,
    /// A file, a directory, or standard input when it is `-`.
    Path(PathBuf),
    /// This text, which something in the process wrote.
    #[cfg(feature = "demo")]
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
    /// Reads the files. What cannot be read is reported.
    pub(crate) fn read(&self, cx: &mut Context) -> Vec<FileText> {
        #[cfg(feature = "demo")]
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
        for path in self.paths(cx) {
            match read(&path) {
                Ok(text) => {
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
            Self::BuiltIn => return Vec::new(),
            #[cfg(feature = "demo")]
            Self::Text(_) => return Vec::new(),
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
        match toml_files(path) {
            Ok(paths) if paths.is_empty() => {
                let message = format!("no *.toml in `{}`", path.display());
                cx.push(Diagnostic::error(message));
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
        if path.extension().is_some_and(|it| it == "toml") && !hidden && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> io::Result<String> {
    if path == Path::new("-") {
        return read_all(io::stdin().lock());
    }
    read_all(fs::File::open(path)?)
}

fn read_all(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(MAX_FILE_SIZE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_SIZE {
        return Err(io::Error::other("larger than 16 MiB"));
    }
    Ok(text)
}

fn unreadable(cx: &mut Context, path: &Path, error: &io::Error) {
    let message = format!("cannot read `{}`: {error}", path.display());
    cx.push(Diagnostic::error(message));
}
