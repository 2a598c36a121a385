//! What a configuration was read from, to detect changes later.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// The contents of files and directories, by path.
pub type Contents = BTreeMap<PathBuf, Content>;

/// What was at a path: a hash of the file, or of the names of the `*.toml` files of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content(Option<u64>);

impl Content {
    /// What is at this path now.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        fn hash(content: &impl Hash) -> u64 {
            let mut hasher = DefaultHasher::new();
            content.hash(&mut hasher);
            hasher.finish()
        }
        if path.is_dir() {
            let names = fs::read_dir(path).map(|entries| {
                let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
                let is_toml = |name: &std::ffi::OsString| {
                    Path::new(name).extension().is_some_and(|it| it == "toml")
                };
                let mut names: Vec<_> = names.filter(is_toml).collect();
                names.sort();
                names
            });
            return Self(names.ok().map(|names| hash(&names)));
        }
        // not a pipe, whose reader would wait
        let bytes = path.is_file().then(|| fs::read(path).ok()).flatten();
        Self(bytes.map(|bytes| hash(&bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beside_a_file_is_none_of_its_contents() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.toml");
        fs::write(&file, "1").unwrap();
        let before = (Content::of(&file), Content::of(dir.path()));
        fs::write(dir.path().join("b.txt"), "1").unwrap();
        assert_eq!(before, (Content::of(&file), Content::of(dir.path())));
        fs::write(dir.path().join("b.toml"), "1").unwrap();
        assert_ne!(before.1, Content::of(dir.path()));
        assert_eq!(Content::of(&dir.path().join("c.toml")), Content(None));
    }
}
