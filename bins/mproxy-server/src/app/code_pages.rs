//! The pages of the program that only the start, or a reload, needs.
//!
//! Reading a configuration touches nearly the whole program: the command line, TOML, the checks, the
//! schema. The kernel maps 64 KiB around each touch, so that afterwards all 6 MB of code are mapped, of
//! which serving needs less than a tenth. Once that work is done, all of it is unmapped: what is still
//! needed comes back from the page cache within microseconds, and the rest is the first that the kernel
//! reuses where memory is short.

use std::fs;
use std::ops::Range;
use std::time::Duration;

use rustix::mm::{Advice, madvise};

/// How long nothing must happen after a start or a reload: their tasks have run for the first time then.
pub(super) const SETTLED: Duration = Duration::from_millis(500);

/// Unmaps the program's code. Where the kernel does not say where it is, all stays mapped.
pub(super) fn give_back() {
    let here = give_back as *const () as usize;
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    if let Some(code) = maps.lines().filter_map(code).find(|it| it.contains(&here)) {
        unmap(&code);
    }
}

/// The range of addresses of a line of `/proc/PID/maps`, if it holds code of a file, which nobody can
/// have written to.
fn code(line: &str) -> Option<Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let is_code = fields.next()? == "r-xp" && line.contains('/');
    let address = |hex| usize::from_str_radix(hex, 16).ok();
    is_code.then_some(address(start)?..address(end)?)
}

#[expect(
    unsafe_code,
    reason = "the one call of the system that has no safe form in any library"
)]
fn unmap(code: &Range<usize>) {
    // SAFETY: the range is one mapping of this process, private, executable and never written to, so that
    // each of its pages is the file's. The kernel maps a page again, with the same content, when it is
    // next touched; for the program nothing has changed.
    let unmapped = unsafe { madvise(code.start as *mut _, code.len(), Advice::LinuxDontNeed) };
    if let Err(error) = unmapped {
        tracing::debug!(target: "mproxy::server", %error, "the code of the start stays mapped");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_a_file_is_found() {
        let line = "55d0a000-55d0c000 r-xp 00160000 fd:00 99  /usr/bin/mproxy-server";
        assert_eq!(code(line), Some(0x55d0_a000..0x55d0_c000));
        for other in [
            "55d0a000-55d0c000 rw-p 00160000 fd:00 99  /usr/bin/mproxy-server", // relocated: lost
            "55d0a000-55d0c000 r--p 00160000 fd:00 99  /usr/bin/mproxy-server",
            "55d0a000-55d0c000 rwxp 00160000 fd:00 99  /usr/bin/mproxy-server",
            "7ffd0000-7ffd2000 r-xp 00000000 00:00 0   [vdso]",
            "x-y r-xp 0 0 0 /bin/x",
            "",
        ] {
            assert_eq!(code(other), None, "{other}");
        }
    }

    #[test]
    fn the_program_runs_on_and_holds_less() {
        let mapped = || {
            let maps = fs::read_to_string("/proc/self/smaps").unwrap();
            let here = give_back as *const () as usize;
            let mut lines = maps.lines();
            lines
                .find(|line| code(line).is_some_and(|it| it.contains(&here)))
                .unwrap();
            let rss = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
            rss.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
        };
        // touch what the tests link, as a start does
        let _schema = mproxy_config::schema();
        let before = mapped();
        give_back();
        assert!(mapped() < before, "{before} KiB before, {} after", mapped());
    }
}
