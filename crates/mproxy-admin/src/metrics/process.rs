//! The `process_*` metrics that every Prometheus client library has, read from procfs.
//!
//! What cannot be read (another operating system, a sandbox without `/proc`) is left out.

use std::fmt;
use std::fs;

use prometheus_client::collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

#[derive(Debug)]
pub(super) struct Collector {
    start_time: Option<f64>,
}

impl Collector {
    pub(super) fn new() -> Self {
        Self {
            start_time: start_time(),
        }
    }
}

impl collector::Collector for Collector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stat = read("/proc/self/stat");
        let status = read("/proc/self/status");
        counter(
            &mut encoder,
            "process_cpu_seconds",
            "Total user and system CPU time spent in seconds.",
            stat.as_deref().and_then(cpu_seconds),
        )?;
        gauge(
            &mut encoder,
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            status.as_deref().and_then(resident_bytes),
        )?;
        gauge(
            &mut encoder,
            "process_open_fds",
            "Number of open file descriptors.",
            open_fds(),
        )?;
        gauge(
            &mut encoder,
            "process_max_fds",
            "Maximum number of open file descriptors.",
            read("/proc/self/limits").as_deref().and_then(max_fds),
        )?;
        gauge(
            &mut encoder,
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            self.start_time,
        )?;
        gauge(
            &mut encoder,
            "process_threads",
            "Number of OS threads in the process.",
            status
                .as_deref()
                .and_then(|status| field::<u64>(status, "Threads:")),
        )
    }
}

fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: Option<impl EncodeCounterValue>,
) -> fmt::Result {
    let Some(value) = value else { return Ok(()) };
    ConstCounter::new(value).encode(encoder.encode_descriptor(
        name,
        help,
        None,
        MetricType::Counter,
    )?)
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: Option<impl EncodeGaugeValue>,
) -> fmt::Result {
    let Some(value) = value else { return Ok(()) };
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// User and system time of all threads, fields 14 and 15 of proc(5) `stat`.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let ticks = stat_field(stat, 14)?.checked_add(stat_field(stat, 15)?)?;
    Some(ticks as f64 / TICKS_PER_SECOND)
}

/// The time of boot and the ticks since then, field 22 of proc(5) `stat`.
fn start_time() -> Option<f64> {
    let boot: u64 = field(&read("/proc/stat")?, "btime ")?;
    let ticks = stat_field(&read("/proc/self/stat")?, 22)?;
    Some(boot as f64 + ticks as f64 / TICKS_PER_SECOND)
}

/// A field of proc(5) `stat`, counted from 1 as there.
fn stat_field(stat: &str, number: usize) -> Option<u64> {
    // Field 2, the name of the program, may hold spaces and parentheses; its last one ends it.
    let (_, after_name) = stat.rsplit_once(") ")?;
    let index = number.checked_sub(3)?;
    after_name.split_ascii_whitespace().nth(index)?.parse().ok()
}

fn resident_bytes(status: &str) -> Option<u64> {
    field::<u64>(status, "VmRSS:")?.checked_mul(1024)
}

fn open_fds() -> Option<u64> {
    // Since Linux 6.2 the size of the directory is the number of entries; counting them takes
    // milliseconds with a hundred thousand connections.
    let len = fs::metadata("/proc/self/fd").ok()?.len();
    if len > 0 {
        return Some(len);
    }
    // The directory that is being read is one of its own entries.
    let entries = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    Some(entries.saturating_sub(1))
}

/// The soft limit; `unlimited` is left out.
fn max_fds(limits: &str) -> Option<u64> {
    field(limits, "Max open files")
}

/// The first word after a prefix that begins a line.
fn field<T: std::str::FromStr>(text: &str, prefix: &str) -> Option<T> {
    let rest = text.lines().find_map(|line| line.strip_prefix(prefix))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// `USER_HZ`: the unit in which Linux reports ticks to programs on every architecture that Rust's
/// standard library supports as a host, whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_survives_a_program_name_with_parentheses() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 3 0 4321 1 2 3";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(stat_field(stat, 22), Some(4321));
        assert_eq!(cpu_seconds("7 (a"), None);
        assert_eq!(stat_field(stat, 0), None);
    }

    #[test]
    fn status_and_limits() {
        let status = "Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t5\n";
        assert_eq!(resident_bytes(status), Some(2048 * 1024));
        assert_eq!(field::<u64>(status, "Threads:"), Some(5));
        let limits = "Limit    Soft Limit  Hard Limit  Units\n\
             Max open files            1024                 4096                 files\n";
        assert_eq!(max_fds(limits), Some(1024));
        assert_eq!(max_fds("Max open files unlimited unlimited files\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn own_process_is_readable() {
        let fds = open_fds().expect("procfs is mounted");
        assert!(fds >= 3, "{fds}");
        assert!(start_time().expect("procfs is mounted") > 1.6e9);
    }
}
