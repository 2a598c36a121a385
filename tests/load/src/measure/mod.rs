//! What a program costs, read from `/proc`: CPU time and memory of it and its children.

mod cpu;
mod memory;
mod process;

use std::time::Duration;

use crate::error::Error;
use crate::load::Meter;
use cpu::CpuTime;
use process::tree;

/// Which processes count.
#[derive(Debug, Clone, Copy)]
enum Scope {
    Tree,
    Alone,
}

/// What a program has used and holds at one moment.
#[derive(Debug, Clone)]
struct Snapshot {
    cpu: Vec<CpuTime>,
    pss_kib: u64,
}

impl Snapshot {
    fn take(root: u32, scope: Scope) -> Result<Self, Error> {
        let processes = match scope {
            Scope::Tree => tree(root)?,
            Scope::Alone => vec![root],
        };
        let cpu = processes
            .iter()
            .map(|&pid| CpuTime::of(pid))
            .collect::<Result<_, _>>()?;
        let mut pss_kib = 0;
        for pid in processes {
            pss_kib += memory::pss_kib(pid)?;
        }
        Ok(Self { cpu, pss_kib })
    }
}

/// The difference between two moments.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Usage {
    /// CPU time, user and system, of all threads.
    pub cpu: Duration,
    /// Memory at the start: proportional set size, in KiB.
    pub pss_before_kib: u64,
    /// Memory at the end.
    pub pss_after_kib: u64,
}

/// Looks at a program before and after a load.
#[derive(Debug)]
pub struct ProcessMeter {
    root: u32,
    scope: Scope,
    start: Option<Snapshot>,
    end: Option<Snapshot>,
}

impl ProcessMeter {
    /// For the process with this id and all that descend from it.
    pub fn new(root: u32) -> Self {
        Self {
            root,
            scope: Scope::Tree,
            start: None,
            end: None,
        }
    }

    /// For this process alone, without its children.
    pub fn own() -> Self {
        Self {
            scope: Scope::Alone,
            ..Self::new(std::process::id())
        }
    }

    /// What was used in between; `None` unless the meter was started and stopped.
    pub fn usage(&self) -> Option<Usage> {
        let (start, end) = (self.start.as_ref()?, self.end.as_ref()?);
        Some(Usage {
            cpu: CpuTime::between(&start.cpu, &end.cpu),
            pss_before_kib: start.pss_kib,
            pss_after_kib: end.pss_kib,
        })
    }
}

impl Meter for ProcessMeter {
    fn start(&mut self) -> Result<(), Error> {
        self.start = Some(Snapshot::take(self.root, self.scope)?);
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Error> {
        self.end = Some(Snapshot::take(self.root, self.scope)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn own_work_and_own_memory_are_seen() {
        let mut meter = ProcessMeter::own();
        assert_eq!(meter.usage(), None);
        meter.start().unwrap();
        let begun = Instant::now();
        let mut held = vec![0u8; 8 << 20];
        // However little of a CPU this thread gets: until the meter has seen some work.
        while meter
            .usage()
            .is_none_or(|usage| usage.cpu < Duration::from_millis(20))
        {
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "{:?}",
                meter.usage()
            );
            held.iter_mut()
                .for_each(|byte| *byte = byte.wrapping_add(1));
            meter.stop().unwrap();
        }
        let usage = meter.usage().unwrap();
        assert!(usage.pss_after_kib > usage.pss_before_kib, "{usage:?}");
        assert!(held.iter().any(|&byte| byte > 0));
    }
}
