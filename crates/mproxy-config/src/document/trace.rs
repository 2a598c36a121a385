//! What a configuration was read from, to detect changes later.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// The contents of files and directories, by path.
pub type Contents = BTreeMap<PathBuf, Content>;

/// What was at a path: a hash of the file; of the names of the `*.toml` files of a directory, each of which
/// has a path of its own; or of all files of a directory without any.
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
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
            files.sort();
            let is_toml = |file: &PathBuf| file.extension().is_some_and(|it| it == "toml");
            if files.iter().any(is_toml) {
                files.retain(is_toml);
                return Self(Some(hash(&files)));
            }
            // one of revocation lists
            let contents = files.iter().filter(|file| file.is_file());
            let contents: Vec<_> = contents.map(|file| (file, fs::read(file).ok())).collect();
            return Self(Some(hash(&contents)));
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
