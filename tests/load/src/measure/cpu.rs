//! CPU time of a process, to the nanosecond where the kernel tells it.
//!
//! `/proc/PID/task/*/schedstat` counts nanoseconds, but forgets threads that have ended;
//! `/proc/PID/stat` counts hundredths of a second of all threads that there ever were. So the
//! fine figure is taken if the coarse one agrees with it, and the coarse one otherwise.

use std::fs;
use std::time::Duration;

use super::process::Stat;
use crate::error::{During, Error};

/// What a process has used since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CpuTime {
    pid: u32,
    /// Sum over the living threads; `None` if the kernel does not keep it.
    fine: Option<Duration>,
    coarse: Duration,
}

impl CpuTime {
    pub(super) fn of(pid: u32) -> Result<Self, Error> {
        let coarse = tick().saturating_mul(u32::try_from(Stat::of(pid)?.ticks).unwrap_or(u32::MAX));
        let tasks = format!("/proc/{pid}/task");
        let mut fine = Some(Duration::ZERO);
        for entry in fs::read_dir(&tasks).during(format!("list {tasks}"))? {
            let path = entry
                .during(format!("list {tasks}"))?
                .path()
                .join("schedstat");
            // A thread may end between the list and the look; its time is in the coarse figure.
            let spent = fs::read_to_string(path)
                .ok()
                .and_then(|text| parse_schedstat(&text));
            fine = fine.zip(spent).map(|(sum, spent)| sum + spent);
        }
        Ok(Self { pid, fine, coarse })
    }

    /// What a group of processes used between two moments.
    pub(super) fn between(start: &[Self], end: &[Self]) -> Duration {
        let none = |pid| Self {
            pid,
            fine: Some(Duration::ZERO),
            coarse: Duration::ZERO,
        };
        end.iter()
            .map(|end| {
                let start = start.iter().find(|start| start.pid == end.pid).copied();
                end.since(start.unwrap_or_else(|| none(end.pid)))
            })
            .sum()
    }

    fn since(self, start: Self) -> Duration {
        let coarse = self.coarse.saturating_sub(start.coarse);
        let fine = self
            .fine
            .zip(start.fine)
            .map(|(end, start)| end.saturating_sub(start));
        // Both ends of the coarse figure are cut to a tick.
        fine.filter(|fine| fine.abs_diff(coarse) <= 2 * tick())
            .unwrap_or(coarse)
    }
}

fn tick() -> Duration {
    let ticks = u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100);
    Duration::from_secs(1) / ticks.max(1)
}

/// The first field: nanoseconds on a CPU.
fn parse_schedstat(text: &str) -> Option<Duration> {
    text.split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
        .map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(fine_ms: Option<u64>, coarse_ms: u64) -> CpuTime {
        let coarse = Duration::from_millis(coarse_ms);
        CpuTime {
            pid: 1,
            fine: fine_ms.map(Duration::from_millis),
            coarse,
        }
    }

    #[test]
    fn schedstat_is_understood() {
        assert_eq!(
            parse_schedstat("619264 0 1\n"),
            Some(Duration::from_nanos(619_264))
        );
        assert_eq!(parse_schedstat(""), None);
    }

    #[test]
    fn the_fine_figure_counts_while_the_coarse_one_agrees() {
        let start = [time(Some(100), 100)];
        let spent = |end| CpuTime::between(&start, &[end]);
        assert_eq!(spent(time(Some(153), 150)), Duration::from_millis(53));
        // A thread has ended: its 200 ms are only in the coarse figure.
        assert_eq!(spent(time(Some(153), 350)), Duration::from_millis(250));
        assert_eq!(spent(time(None, 150)), Duration::from_millis(50));
    }

    #[test]
    fn a_process_that_came_later_counts_from_zero() {
        let end = [
            time(Some(30), 30),
            CpuTime {
                pid: 2,
                ..time(Some(5), 0)
            },
        ];
        let spent = CpuTime::between(&[time(Some(10), 10)], &end);
        assert_eq!(spent, Duration::from_millis(25));
    }

    #[test]
    fn both_figures_of_this_machine_agree() {
        let own = CpuTime::of(std::process::id()).unwrap();
        assert!(own.coarse < Duration::from_secs(3600), "{own:?}");
        if let Some(fine) = own.fine {
            assert!(fine > Duration::ZERO);
        }
    }
}
