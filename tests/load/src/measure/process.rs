//! Processes, as `/proc/PID/stat` shows them.

use std::fs;
use std::path::PathBuf;

use crate::error::{During, Error};

/// The few fields of `/proc/PID/stat` that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) parent: u32,
    /// User and system time of all threads, ended ones included, in clock ticks.
    pub(super) ticks: u64,
}

impl Stat {
    pub(super) fn of(pid: u32) -> Result<Self, Error> {
        let path = PathBuf::from(format!("/proc/{pid}/stat"));
        let text = fs::read_to_string(&path).during(format!("read {}", path.display()))?;
        Self::parse(&text).ok_or(Error::Proc(path))
    }

    /// The name stands in parentheses and may hold anything, parentheses and blanks included.
    fn parse(text: &str) -> Option<Self> {
        let (_, fields) = text.rsplit_once(')')?;
        // The first field after the name is the third of the manual's list.
        let mut fields = fields.split_ascii_whitespace().skip(1);
        let parent = fields.next()?.parse().ok()?;
        let user: u64 = fields.nth(9)?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        Some(Self {
            parent,
            ticks: user + system,
        })
    }
}

/// A process and all that descend from it.
pub(super) fn tree(root: u32) -> Result<Vec<u32>, Error> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").during("list /proc")? {
        let name = entry.during("list /proc")?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Others come and go while the list is read.
        if let Ok(stat) = Stat::of(pid) {
            all.push((pid, stat.parent));
        }
    }
    let mut tree = vec![root];
    let mut at = 0;
    while let Some(&parent) = tree.get(at) {
        tree.extend(
            all.iter()
                .filter(|child| child.1 == parent)
                .map(|child| child.0),
        );
        at += 1;
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_with_any_name_is_understood() {
        let tail = "S 17 4 4 0 -1 4194560 900 8 7 6 120 45 1 2 20 0 3 0 999 1 2 3";
        for name in ["nginx", "a) b (c", ") 1 2 3"] {
            let text = format!("42 ({name}) {tail}\n");
            assert_eq!(
                Stat::parse(&text),
                Some(Stat {
                    parent: 17,
                    ticks: 165
                }),
                "{name}"
            );
        }
        assert_eq!(Stat::parse("42 (x) S 17 4"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn a_child_belongs_to_the_tree() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let tree = tree(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        let tree = tree.unwrap();
        assert_eq!(tree[0], std::process::id());
        assert!(tree.contains(&child.id()));
    }
}
