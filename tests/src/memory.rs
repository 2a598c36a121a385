//! What a process takes of the machine, from `/proc`.

use std::fs;

/// The memory that a process has allocated and uses, in KiB. The pages of its binary do not count:
/// they are shared with whatever other test runs the same one, for as long as that runs.
///
/// # Panics
/// If there is no such process.
#[must_use]
pub fn used_kib(pid: u32) -> u64 {
    field(&format!("/proc/{pid}/smaps_rollup"), "Pss_Anon:")
}

/// The most that was resident at any time, in KiB.
///
/// # Panics
/// If there is no such process.
#[must_use]
pub fn peak_kib(pid: u32) -> u64 {
    field(&format!("/proc/{pid}/status"), "VmHWM:")
}

/// The processor time used so far, in clock ticks; usually a hundredth of a second each.
///
/// # Panics
/// If there is no such process.
#[must_use]
pub fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // the name, in parentheses, may hold anything
    let (_, rest) = stat.rsplit_once(") ").expect("a name in parentheses");
    let times = rest.split(' ').skip(11).take(2);
    times
        .map(|ticks| ticks.parse::<u64>().expect("a number of ticks"))
        .sum()
}

fn field(file: &str, key: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let line = line.unwrap_or_else(|| panic!("{file} has no {key}"));
    let digits = line.trim().trim_end_matches(" kB");
    digits.parse().expect("a number of KiB")
}
