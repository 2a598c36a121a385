//! The control groups of the process: cgroups(7).

use std::fs;
use std::path::{Path, PathBuf};

/// Reads a file, if there is one; the tests have files of their own.
pub(super) type Read<'a> = &'a dyn Fn(&Path) -> Option<String>;

/// A control group that the process is in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// The controllers of its hierarchy, with commas between them; empty in version 2.
    pub(super) controllers: String,
    /// Below the mount of the hierarchy. In a container it is often the path on the host, and the files of
    /// the group are at the mount.
    pub(super) path: PathBuf,
}

/// A file of this system.
pub(super) fn file(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The groups that the process is in.
pub(super) fn groups(read: Read<'_>) -> Vec<Group> {
    let text = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| {
        let (_, line) = line.split_once(':')?;
        let (controllers, path) = line.split_once(':')?;
        Some(Group {
            controllers: controllers.to_owned(),
            path: path.trim_start_matches('/').into(),
        })
    });
    lines.collect()
}

/// Files with these names and texts.
#[cfg(test)]
pub(super) fn files<'a>(files: &'a [(&str, &str)]) -> impl Fn(&Path) -> Option<String> + 'a {
    |path| {
        let (_, text) = files.iter().find(|(name, _)| Path::new(name) == path)?;
        Some((*text).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_group_unless_it_is_nonsense() {
        let text = "5:cpu,cpuacct:/x\n1:name=systemd:/\n0::/pods/a:b\n0\n0:\n\n";
        let found = groups(&files(&[("/proc/self/cgroup", text)]));
        let found = found
            .iter()
            .map(|it| (it.controllers.as_str(), it.path.to_str().unwrap()));
        let expected = [("cpu,cpuacct", "x"), ("name=systemd", ""), ("", "pods/a:b")];
        assert!(found.eq(expected));
        assert_eq!(groups(&files(&[])), []);
    }
}
