//! Durations, sizes and rates.

use super::raw::Raw;
use super::{Problem, Scalar, string};
use bytesize::ByteSize;
use mproxy_session::Rate;
use std::num::NonZeroU32;
use std::time::Duration;
use toml_edit::Value;

/// The longest duration: no timer of ours has a reason to be longer, and the sum of a point
/// in time and a longer one may overflow.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// A number of bytes.
#[derive(Debug)]
pub(crate) struct Size;

/// A duration; `0s` means never.
#[derive(Debug)]
pub(crate) struct DurationOrNever;

/// The longest keep-alive of clients in seconds; 0 leaves it to them.
#[derive(Debug)]
pub(crate) struct KeepAlive;

/// A number of bytes, or `auto`.
#[derive(Debug)]
pub(crate) struct AutoSize;

impl Scalar for Duration {
    type Value = Self;
    written!(
        "a duration such as \"30s\", \"200ms\" or \"2m\"",
        { "type": "string", "examples": ["30s", "200ms", "2m"] }
    );

    fn read(raw: &Raw, _: bool) -> Result<Self, Problem> {
        if let Raw::Integer(number) = raw {
            let label = format!("write it with its unit: \"{number}s\"");
            return Err(Problem::new("a duration without a unit", label));
        }
        let text = string::<Self>(raw)?;
        // humantime accepts a bare zero; require a unit as for "30".
        let has_unit = text.contains(|it: char| it.is_alphabetic());
        match humantime::parse_duration(text) {
            Ok(duration) if has_unit && duration <= DURATION_MAX => Ok(duration),
            Ok(_) if has_unit => Err(Problem::new(
                format!("duration `{text}` is too long"),
                "at most a year",
            )),
            _ => Err(Problem::expected::<Self>(format!(
                "invalid duration `{text}`"
            ))),
        }
    }

    fn show(value: &Self::Value) -> Value {
        humantime::format_duration(*value).to_string().into()
    }
}

impl Scalar for DurationOrNever {
    /// `None` is never.
    type Value = Option<Duration>;
    written!(as Duration);

    fn read(raw: &Raw, loose: bool) -> Result<Self::Value, Problem> {
        let duration = Duration::read(raw, loose)?;
        Ok(Some(duration).filter(|it| !it.is_zero()))
    }

    fn show(value: &Self::Value) -> Value {
        Duration::show(&value.unwrap_or_default())
    }
}

impl Scalar for KeepAlive {
    type Value = u16;
    written!(as Duration);

    fn read(raw: &Raw, loose: bool) -> Result<u16, Problem> {
        let longest = Duration::read(raw, loose)?;
        let seconds = u16::try_from(longest.as_secs()).ok();
        let seconds = seconds.filter(|_| longest.subsec_nanos() == 0);
        seconds.ok_or_else(|| {
            Problem::new(
                "MQTT has no such keep-alive",
                "whole seconds, at most 65535s; \"0s\" leaves it to the client",
            )
        })
    }

    fn show(value: &u16) -> Value {
        Duration::show(&Duration::from_secs((*value).into()))
    }
}

impl Scalar for Size {
    type Value = usize;
    written!(
        "a size such as \"64KiB\" or \"1MiB\"",
        { "type": "string", "examples": ["64KiB", "1MiB"] }
    );

    fn read(raw: &Raw, _: bool) -> Result<usize, Problem> {
        if let Raw::Integer(number) = raw {
            let label = format!("write it with its unit: \"{number}B\"");
            return Err(Problem::new("a size without a unit", label));
        }
        let text = string::<Self>(raw)?;
        // ByteSize accepts bare numbers; here the unit may have been forgotten.
        let has_unit = text.contains(|it: char| it.is_alphabetic());
        match text.parse::<ByteSize>() {
            Ok(size) if has_unit => Ok(usize::try_from(size.as_u64()).unwrap_or(usize::MAX)),
            _ => Err(Problem::expected::<Self>(format!("invalid size `{text}`"))),
        }
    }

    fn show(value: &Self::Value) -> Value {
        sized(*value as u64).into()
    }
}

impl Scalar for AutoSize {
    /// `None` is `auto`.
    type Value = Option<u64>;
    written!(
        format!("\"auto\", or {}", Size::expected()),
        { "type": "string", "examples": ["auto", "180MiB"] }
    );

    fn read(raw: &Raw, loose: bool) -> Result<Option<u64>, Problem> {
        let bytes = Size::read(raw, loose).map(|it| Some(it as u64));
        match raw {
            Raw::String(text) if text == "auto" => Ok(None),
            Raw::String(_) => bytes.map_err(|mut problem| {
                problem.label = format!("expected {}", Self::expected());
                problem
            }),
            Raw::Integer(_) => bytes,
            other => Err(Problem::mismatch(other, &Self::expected())),
        }
    }

    fn show(value: &Self::Value) -> Value {
        value.map_or_else(|| "auto".to_owned(), sized).into()
    }
}

impl Scalar for Option<Rate> {
    type Value = Self;
    written!(
        "a rate such as \"100/s\", \"100/m\" or \"100/h\"; \"0/s\" = unlimited",
        { "type": "string", "pattern": "^[0-9]+/[smh]$" }
    );

    fn read(raw: &Raw, _: bool) -> Result<Self, Problem> {
        let bare = match raw {
            Raw::Integer(number @ 0..) => Some(number.to_string()),
            Raw::String(text) => Some(text.clone()).filter(|it| is_whole(it)),
            _ => None,
        };
        if let Some(number) = bare {
            let label =
                format!("write it with its time: \"{number}/s\", \"{number}/m\" or \"{number}/h\"");
            return Err(Problem::new("a rate without a time", label));
        }
        let text = string::<Self>(raw)?;
        let invalid = || Problem::expected::<Self>(format!("invalid rate `{text}`"));
        let parts = parts(text).filter(|(count, ..)| is_whole(count));
        let (count, unit, period) = parts.ok_or_else(invalid)?;
        let count: u32 = count.parse().map_err(|_| {
            let label = format!("at most \"{}/{unit}\"; \"0/s\" = unlimited", u32::MAX);
            Problem::new(format!("rate `{text}` is too high"), label)
        })?;
        Ok(NonZeroU32::new(count).map(|count| Rate::new(count, period)))
    }

    fn show(value: &Self::Value) -> Value {
        value
            .map_or_else(|| "0/s".to_owned(), |it| it.to_string())
            .into()
    }
}

/// A number of bytes in a time.
#[derive(Debug)]
pub(crate) struct ByteRate;

impl Scalar for ByteRate {
    type Value = Option<Rate>;
    written!(
        "a rate such as \"64KiB/s\" or \"10MiB/m\"; \"0B/s\" = unlimited",
        { "type": "string", "examples": ["64KiB/s", "10MiB/m"] }
    );

    fn read(raw: &Raw, _: bool) -> Result<Self::Value, Problem> {
        let text = string::<Self>(raw)?;
        let invalid = || Problem::expected::<Self>(format!("invalid rate `{text}`"));
        let (size, unit, period) = parts(text).ok_or_else(invalid)?;
        let size = Size::read(&Raw::String(size.to_owned()), false).map_err(|_| invalid())?;
        let bytes = u32::try_from(size).map_err(|_| {
            Problem::new(
                format!("rate `{text}` is too high"),
                format!("less than \"4GiB/{unit}\""),
            )
        })?;
        Ok(NonZeroU32::new(bytes).map(|bytes| Rate::new(bytes, period)))
    }

    fn show(value: &Self::Value) -> Value {
        let Some(rate) = value else {
            return "0B/s".into();
        };
        let text = rate.to_string();
        let unit = text.rsplit('/').next().unwrap_or_default();
        format!("{}/{unit}", sized(rate.count.get().into())).into()
    }
}

/// In the largest unit that is exact.
pub(crate) fn sized(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let mut units = units.iter();
    match units.find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

/// The amount of a rate, the unit of its time, and the time that this stands for.
fn parts(rate: &str) -> Option<(&str, &str, Duration)> {
    let (amount, unit) = rate.split_once('/')?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    Some((amount, unit, Duration::from_secs(seconds)))
}

/// Whether a text is a whole number, however large.
fn is_whole(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<S: Scalar>(text: &str) -> Option<S::Value> {
        S::read(&Raw::String(text.to_owned()), false).ok()
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(read::<Duration>("30s"), Some(Duration::from_secs(30)));
        assert_eq!(read::<Duration>("1m 30s"), Some(Duration::from_secs(90)));
        assert_eq!(read::<Duration>("0s"), Some(Duration::ZERO));
        for bad in [
            "",
            "30",
            "0",
            "x",
            "-1s",
            "s",
            "10y",
            "99999999999999999999s",
        ] {
            assert_eq!(read::<Duration>(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_need_a_unit() {
        assert_eq!(read::<Size>("1MiB"), Some(1 << 20));
        assert_eq!(read::<Size>("1500B"), Some(1500));
        assert_eq!(read::<Size>("1 MB"), Some(1_000_000));
        for bad in ["", "100", "-1B", "MiB", "1 MiBB"] {
            assert_eq!(read::<Size>(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_size_may_be_left_to_the_machine() {
        assert_eq!(read::<AutoSize>("auto"), Some(None));
        assert_eq!(read::<AutoSize>("1MiB"), Some(Some(1 << 20)));
        for bad in ["", "Auto", "100", "70%"] {
            assert_eq!(read::<AutoSize>(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_rate_of_bytes_is_a_size_and_a_time() {
        assert_eq!(read::<ByteRate>("0B/s"), Some(None));
        for good in ["64KiB/s", "1MiB/m", "1500B/h"] {
            let rate = read::<ByteRate>(good).unwrap();
            assert_eq!(ByteRate::show(&rate).as_str(), Some(good));
        }
        for bad in ["", "0/s", "64KiB", "64/s", "4GiB/s", "1KiB/d"] {
            assert!(read::<ByteRate>(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_rate_of_zero_is_no_limit() {
        assert_eq!(read::<Option<Rate>>("0/s"), Some(None));
        let rate = read::<Option<Rate>>("100/m").flatten().unwrap();
        assert_eq!(rate.to_string(), "100/m");
        for bad in ["", "100", "/s", "-1/s", "1.5/s", "1/d", "4294967296/s"] {
            assert!(read::<Option<Rate>>(bad).is_none(), "{bad}");
        }
    }
}
