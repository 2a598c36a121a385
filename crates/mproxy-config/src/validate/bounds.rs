//! Checks of single values beyond their type.

use crate::scalar::{Problem, sized};
use std::num::NonZeroUsize;
use std::time::Duration;

/// More threads of work than this are a mistake.
const THREADS_MAX: usize = 1024;

/// The largest packet that MQTT can express: one byte, four bytes of length, 268,435,455 of
/// content.
const PACKET_MAX: u64 = 268_435_460;

/// The smallest limit for packets: a CONNECT with a client identifier must fit.
const PACKET_MIN: u64 = 128;

/// The largest limit for CONNECT.
const CONNECT_MAX: u64 = 1 << 20;

/// The smallest limit for data that waits for a slow peer: less would stop a side after every read.
const BUFFER_MIN: u64 = 4 << 10;

/// The largest one: how much memory a single connection may take.
const BUFFER_MAX: u64 = 1 << 30;

/// The smallest budget for what peers may make mproxy hold.
const MEMORY_MIN: u64 = 1 << 20;

/// The largest one: more than any machine has.
const MEMORY_MAX: u64 = 1 << 46;

/// The shortest time between two health checks of a broker: each is a connection that it logs.
const HEALTH_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// The shortest time between two fetches of a revocation list: it is somebody's server.
const CRL_REFRESH_MIN: Duration = Duration::from_secs(1);
const OCSP_REFRESH_MIN: Duration = Duration::from_secs(1);

/// The smallest limit for the head of an HTTP request that the HTTP library accepts.
const HEADER_MIN: u64 = 8 << 10;

/// The largest one: how much memory a connection may take before it is a session.
const HEADER_MAX: u64 = 1 << 20;

/// The smallest limit for the records of TLS, the shortest of `max_fragment_length` (RFC 6066, section 4).
const RECORD_MIN: u64 = 512;

/// The largest one: the most that a record can have (RFC 8446, section 5.1).
const RECORD_MAX: u64 = 16 << 10;

/// The longest idle time that Linux takes, `MAX_TCP_KEEPIDLE`.
const TCP_KEEPALIVE_MAX: Duration = Duration::from_secs(32_767);

/// A time in which something must happen.
pub(crate) fn timeout(duration: &Duration) -> Result<(), Problem> {
    let label = "nothing would ever be in time; write for how long to wait";
    refused_if(duration.is_zero(), "a timeout of zero", label)
}

/// A time that something lasts.
pub(crate) fn lasting(duration: &Duration) -> Result<(), Problem> {
    let label = "it would be over before it began; write how long it lasts";
    refused_if(duration.is_zero(), "a time of zero", label)
}

/// The idle time of TCP keep-alive, which the system counts in seconds.
pub(crate) fn tcp_keepalive(idle: &Option<Duration>) -> Result<(), Problem> {
    match *idle {
        Some(idle) if idle < Duration::from_secs(1) => Err(Problem::new(
            "a keep-alive of less than a second",
            "at least \"1s\", or \"0s\" for never",
        )),
        Some(idle) if idle > TCP_KEEPALIVE_MAX => Err(Problem::new(
            "TCP has no keep-alive as long as this",
            "at most 32767s (about 9h), or \"0s\" for never",
        )),
        _ => Ok(()),
    }
}

/// Each thread has counters and a socket of each listener, whether it has anything to do or not.
pub(crate) fn threads(count: &Option<NonZeroUsize>) -> Result<(), Problem> {
    let too_many = count.is_some_and(|count| count.get() > THREADS_MAX);
    let label = format!("at most {THREADS_MAX}; 0 is one for each processor");
    refused_if(
        too_many,
        "more threads than any machine has processors",
        label,
    )
}

/// The time between two fetches of a revocation list.
pub(crate) fn crl_refresh(time: &Duration) -> Result<(), Problem> {
    let message = "a fetch more than once a second";
    refused_if(*time < CRL_REFRESH_MIN, message, "at least \"1s\"")
}

/// The time that an answer of a responder is used.
pub(crate) fn ocsp_refresh(time: &Duration) -> Result<(), Problem> {
    let message = "an answer that is used for less than a second";
    refused_if(*time < OCSP_REFRESH_MIN, message, "at least \"1s\"")
}

/// The time between two health checks of a broker.
pub(crate) fn health_interval(interval: &Duration) -> Result<(), Problem> {
    let message = "a health check more than ten times a second";
    let label = "at least \"100ms\"; check = \"off\" for no check at all";
    refused_if(*interval < HEALTH_INTERVAL_MIN, message, label)
}

/// The size of the largest packet.
pub(crate) fn packet_size(size: &usize) -> Result<(), Problem> {
    within(*size as u64, PACKET_MIN, PACKET_MAX)
        .map_err(|it| it.note("MQTT has no packets larger than 256MiB and a few bytes"))
}

/// The size of the largest payload.
pub(crate) fn payload_size(size: &usize) -> Result<(), Problem> {
    within(*size as u64, 1, PACKET_MAX)
}

/// The size of the largest CONNECT, which mproxy holds for a client that is not admitted yet.
pub(crate) fn connect_size(size: &usize) -> Result<(), Problem> {
    within(*size as u64, PACKET_MIN, CONNECT_MAX)
        .map_err(|it| it.note("a CONNECT has at most five fields of 64 KiB, and properties"))
}

/// The size of data that waits for a slow peer.
pub(crate) fn buffer_size(size: &usize) -> Result<(), Problem> {
    within(*size as u64, BUFFER_MIN, BUFFER_MAX)
}

/// The memory that all peers together may occupy.
pub(crate) fn memory(size: &Option<u64>) -> Result<(), Problem> {
    match *size {
        Some(0) => Err(Problem::new(
            "no memory at all",
            "\"auto\", or a size such as \"180MiB\"",
        )),
        Some(size) => within(size, MEMORY_MIN, MEMORY_MAX),
        None => Ok(()),
    }
}

/// A delay that can be told from the resolution of timers.
pub(crate) fn overload_lag(lag: &Option<Duration>) -> Result<(), Problem> {
    let too_short = lag.is_some_and(|lag| lag < Duration::from_millis(1));
    let label = "at least \"1ms\", or \"0s\" for never";
    refused_if(too_short, "a delay of less than a millisecond", label)
}

/// A share of a hundred.
pub(crate) fn percent(percent: &Option<NonZeroUsize>) -> Result<(), Problem> {
    let is_out = percent.is_some_and(|percent| percent.get() > 100);
    refused_if(is_out, "more than 100 percent", "0 to 100; 0 is never")
}

/// The head of an upgrade request.
pub(crate) fn header_size(size: &usize) -> Result<(), Problem> {
    within(*size as u64, HEADER_MIN, HEADER_MAX)
}

/// The plaintext of a TLS record.
pub(crate) fn record_size(size: &usize) -> Result<(), Problem> {
    within(*size as u64, RECORD_MIN, RECORD_MAX)
        .map_err(|it| it.note("a TLS record has at most 16 KiB of plaintext"))
}

fn refused_if(
    is_wrong: bool,
    message: impl Into<String>,
    label: impl Into<String>,
) -> Result<(), Problem> {
    match is_wrong {
        true => Err(Problem::new(message, label)),
        false => Ok(()),
    }
}

fn within(size: u64, min: u64, max: u64) -> Result<(), Problem> {
    match size {
        0 => Err(Problem::new("a size of zero", "nothing would ever fit")),
        _ if size < min => Err(Problem::new(
            "size too small",
            format!("at least {}", sized(min)),
        )),
        _ if size > max => Err(Problem::new(
            "size too large",
            format!("at most {}", sized(max)),
        )),
        _ => Ok(()),
    }
}

/// The factor on the keep-alive of clients.
pub(crate) fn keepalive_grace(factor: &f64) -> Result<(), Problem> {
    let is_out = !(1.0..=100.0).contains(factor);
    let label = "1.0 to 100.0; the standard says 1.5";
    refused_if(is_out, format!("`{factor}` is out of range"), label)
}

/// A share.
pub(crate) fn share(share: &f64) -> Result<(), Problem> {
    let is_out = !(0.0..=1.0).contains(share);
    refused_if(is_out, format!("`{share}` is out of range"), "0.0 to 1.0")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration with ten million threads was valid, and the start took all the memory.
    #[test]
    fn there_are_not_more_threads_than_processors_can_be() {
        assert_eq!(threads(&None), Ok(()));
        assert_eq!(threads(&NonZeroUsize::new(THREADS_MAX)), Ok(()));
        assert!(threads(&NonZeroUsize::new(THREADS_MAX + 1)).is_err());
    }
}
