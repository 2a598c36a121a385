//! Pressure stall information (PSI) of the kernel: the share of time in which threads wait for CPU or
//! memory.

use std::path::{Path, PathBuf};

use crate::app::cgroup::{self, Read};

/// Where the control groups of version 2 are, on systems that have both versions as well.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// What threads wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Cpu,
    Memory,
}

impl Resource {
    const fn file(self) -> &'static str {
        match self {
            Self::Cpu => "cpu.pressure",
            Self::Memory => "memory.pressure",
        }
    }

    /// The pressure in the control group of the process, in percent of the last ten seconds. `None` if the
    /// kernel does not tell it. That of the whole machine says nothing about the process.
    pub(super) fn pressure(self) -> Option<f64> {
        self.read(&cgroup::file)
    }

    fn read(self, read: Read<'_>) -> Option<f64> {
        let mut groups = cgroup::groups(read).into_iter();
        let group = groups.find(|group| group.controllers.is_empty())?.path;
        MOUNTS
            .into_iter()
            .flat_map(|mount| self.places(Path::new(mount), &group))
            .find_map(|file| some_avg10(&read(&file)?))
    }

    fn places(self, mount: &Path, group: &Path) -> [PathBuf; 2] {
        [mount.join(group).join(self.file()), mount.join(self.file())]
    }
}

/// `avg10` of the line `some`.
fn some_avg10(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let mut fields = line.split_ascii_whitespace();
    let value = fields.find_map(|field| field.strip_prefix("avg10="))?;
    value.parse().ok().filter(|it: &f64| it.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "some avg10=12.34 avg60=1.00 avg300=0.10 total=1\n\
        full avg10=99.00 avg60=0.00 avg300=0.00 total=0\n";

    fn with(files: &[(&str, &str)], resource: Resource) -> Option<f64> {
        resource.read(&cgroup::files(files))
    }

    #[test]
    fn that_of_the_own_group_is_read_wherever_it_is() {
        let group = ("/proc/self/cgroup", "5:cpu:/x\n0::/pods/p1\n");
        for place in [
            "/sys/fs/cgroup/pods/p1/cpu.pressure",
            "/sys/fs/cgroup/cpu.pressure",
            "/sys/fs/cgroup/unified/pods/p1/cpu.pressure",
            "/sys/fs/cgroup/unified/cpu.pressure",
        ] {
            let files = [group, (place, TEXT)];
            assert_eq!(with(&files, Resource::Cpu), Some(12.34), "{place}");
            assert_eq!(with(&files, Resource::Memory), None, "{place}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_no_pressure() {
        let group = ("/proc/self/cgroup", "0::/\n");
        let place = "/sys/fs/cgroup/memory.pressure";
        for text in [
            "",
            "some",
            "full avg10=9.0\n",
            "some avg10=x\n",
            "some avg10=NaN\n",
        ] {
            assert_eq!(
                with(&[group, (place, text)], Resource::Memory),
                None,
                "{text}"
            );
        }
        assert_eq!(with(&[], Resource::Memory), None);
        let only_version_1 = ("/proc/self/cgroup", "4:memory:/x\n");
        assert_eq!(
            with(&[only_version_1, (place, TEXT)], Resource::Memory),
            None
        );
        // of this machine: whatever it is, it is a share
        for resource in [Resource::Cpu, Resource::Memory] {
            assert!(
                resource
                    .pressure()
                    .is_none_or(|it| (0.0..=100.0).contains(&it))
            );
        }
    }
}
