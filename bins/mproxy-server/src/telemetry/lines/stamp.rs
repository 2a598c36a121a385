//! The time of a line.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last second of the year 9999. A wrong clock must not lose lines.
const LAST_SECOND: u64 = 253_402_300_799;

/// Writes times as RFC 3339 in UTC with milliseconds. All but the milliseconds are formatted once per second.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    second: u64,
    /// `2026-03-01T02:59:07.`; empty before the first time.
    text: String,
}

impl Stamp {
    /// Appends a time; one before 1970 is shown as the start of 1970.
    pub(super) fn write(&mut self, out: &mut String, time: SystemTime) {
        let passed = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = passed.as_secs().min(LAST_SECOND);
        if self.text.is_empty() || self.second != second {
            let whole = UNIX_EPOCH + Duration::from_secs(second);
            self.text = humantime::format_rfc3339_millis(whole).to_string();
            // without the milliseconds
            self.text.truncate("2026-03-01T02:59:07.".len());
            self.second = second;
        }
        out.push_str(&self.text);
        let millis = passed.subsec_millis();
        for digit in [millis / 100, millis / 10 % 10, millis % 10] {
            out.push(char::from_digit(digit, 10).unwrap_or('0'));
        }
        out.push('Z');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_the_same_as_without_a_memory() {
        let mut stamp = Stamp::default();
        let start = UNIX_EPOCH + Duration::from_millis(1_772_333_947_998);
        for step in [0, 1, 1, 1, 999, 1000, 3, 86_400_000, 40_000_000_000] {
            for time in [start, start + Duration::from_millis(step)] {
                let mut out = String::new();
                stamp.write(&mut out, time);
                let plain = humantime::format_rfc3339_millis(time).to_string();
                assert_eq!(out, plain);
            }
        }
    }

    /// A clock before 1970, as of a device without a battery, would have ended the thread that logs.
    #[test]
    fn a_clock_that_is_wrong_is_shown_as_well_as_it_can_be() {
        for (time, shown) in [
            (
                UNIX_EPOCH - Duration::from_secs(1),
                "1970-01-01T00:00:00.000Z",
            ),
            (
                UNIX_EPOCH + Duration::from_secs(LAST_SECOND + 1),
                "9999-12-31T23:59:59.000Z",
            ),
        ] {
            let mut out = String::new();
            Stamp::default().write(&mut out, time);
            assert_eq!(out, shown);
        }
    }
}
