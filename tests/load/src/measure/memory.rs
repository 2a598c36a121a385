//! Memory of a process.

use std::fs;
use std::path::PathBuf;

use crate::error::{During, Error};

/// Proportional set size: pages of its own, and its share of those it shares with others. The
/// only figure that adds up over nginx's worker processes.
pub(super) fn pss_kib(pid: u32) -> Result<u64, Error> {
    let path = PathBuf::from(format!("/proc/{pid}/smaps_rollup"));
    let text = fs::read_to_string(&path).during(format!("read {}", path.display()))?;
    parse(&text).ok_or(Error::Proc(path))
}

fn parse(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix("kB")?.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pss_line_is_found() {
        let text = "5581-7ffd ---p 0 00:00 0 [rollup]\nRss:    3060 kB\nPss:    1234 kB\n\
                    Pss_Dirty:   92 kB\nPss_Anon:   88 kB\n";
        assert_eq!(parse(text), Some(1234));
        assert_eq!(parse("Rss: 1 kB\nPss_Anon: 2 kB\n"), None);
    }

    #[test]
    fn this_process_has_some() {
        assert!(pss_kib(std::process::id()).unwrap() > 100);
    }
}
