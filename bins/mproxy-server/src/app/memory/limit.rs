//! How much memory there is: the limit of the control group, or the machine's.

use std::path::{Path, PathBuf};

use crate::app::cgroup::{self, Group, Read};

/// The part of it, in percent, that peers may occupy. The rest is for the program, for
/// memory that the allocator cannot return, and for the kernel's socket buffers, which count, too.
const SHARE: u64 = 70;

/// Assumed if nothing can be read.
const UNKNOWN: u64 = 256 << 20;

/// The budget for what peers send: a part of the current memory.
pub(super) fn automatic() -> u64 {
    share_of(&cgroup::file)
}

/// The same, of files as `read` has them.
pub(super) fn share_of(read: Read<'_>) -> u64 {
    available(read) / 100 * SHARE
}

/// The least of the machine's memory and the limits of all control groups around the process.
fn available(read: Read<'_>) -> u64 {
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| total(&text));
    let groups = cgroup::groups(read);
    let files = groups.iter().filter_map(files).flatten();
    // "max", or a number beyond all memory, is no limit
    let limits = files.filter_map(|file| read(&file)?.trim().parse().ok());
    limits.chain(machine).min().unwrap_or(UNKNOWN)
}

/// `MemTotal` of proc(5) `meminfo`, in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The files that hold the limits of the group and of the groups around it, if its hierarchy limits memory.
fn files(group: &Group) -> Option<impl Iterator<Item = PathBuf>> {
    let (mount, file) = match group.controllers.as_str() {
        "" => ("/sys/fs/cgroup", "memory.max"),
        controllers if controllers.split(',').any(|it| it == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return None,
    };
    let groups = group.path.ancestors();
    Some(groups.map(move |group| Path::new(mount).join(group).join(file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       24575000 kB\nMemFree:        1 kB\n";

    fn with(files: &[(&str, &str)]) -> u64 {
        available(&cgroup::files(files))
    }

    #[test]
    fn the_least_limit_around_the_process_counts() {
        let machine = ("/proc/meminfo", MEMINFO);
        assert_eq!(with(&[machine]), 24_575_000 * 1024);
        assert_eq!(with(&[]), UNKNOWN);
        let v2 = ("/proc/self/cgroup", "0::/kubepods/pod1/c2\n");
        let pod = ("/sys/fs/cgroup/kubepods/pod1/memory.max", "268435456\n");
        let container = ("/sys/fs/cgroup/kubepods/pod1/c2/memory.max", "max\n");
        assert_eq!(with(&[machine, v2, pod, container]), 256 << 20);
        let v1 = (
            "/proc/self/cgroup",
            "5:cpu,cpuacct:/x\n4:hugetlb,memory:/docker/c1\n0::/\n",
        );
        let none = (
            "/sys/fs/cgroup/memory/docker/c1/memory.limit_in_bytes",
            "9223372036854771712\n",
        );
        assert_eq!(with(&[machine, v1, none]), 24_575_000 * 1024);
        // in a container the file is at the mount, whatever the path on the host
        let mounted = ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "134217728\n");
        assert_eq!(with(&[machine, v1, mounted]), 128 << 20);
    }

    #[test]
    fn nonsense_is_no_limit() {
        for group in [
            "",
            "0",
            "0:",
            "0::",
            "0::relative",
            "x:memory:/..//..",
            "1:name=systemd:/",
        ] {
            let machine = ("/proc/meminfo", MEMINFO);
            assert_eq!(
                with(&[machine, ("/proc/self/cgroup", group)]),
                24_575_000 * 1024
            );
        }
        for meminfo in [
            "",
            "MemTotal:",
            "MemTotal: x kB",
            "MemTotal: 1",
            "MemTotal: 99999999999999999999 kB",
        ] {
            assert_eq!(total(meminfo), None, "{meminfo}");
        }
    }

    #[test]
    fn this_machine_has_some() {
        assert!(automatic() > 16 << 20, "{}", automatic());
    }
}
