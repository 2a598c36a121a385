//! Counts, fractions and booleans.

use super::raw::Raw;
use super::{Problem, Scalar};
use mproxy_codec::QoS;
use std::num::NonZeroUsize;
use std::str::FromStr;
use toml_edit::Value;

/// A whole number; 0 means "no limit".
#[derive(Debug)]
pub(crate) struct Count;

/// The largest count: far above any machine, far below overflow.
const COUNT_MAX: i64 = 1_000_000_000;

impl Scalar for Count {
    type Value = Option<NonZeroUsize>;
    written!(
        "a whole number, 0 or more",
        { "type": "integer", "minimum": 0, "maximum": COUNT_MAX }
    );

    fn read(raw: &Raw, loose: bool) -> Result<Self::Value, Problem> {
        counted::<Self>(raw, loose, 0).map(NonZeroUsize::new)
    }

    fn show(value: &Self::Value) -> Value {
        counted_as(value.map_or(0, NonZeroUsize::get))
    }
}

impl Scalar for NonZeroUsize {
    type Value = Self;
    written!(
        "a whole number, 1 or more",
        { "type": "integer", "minimum": 1, "maximum": COUNT_MAX }
    );

    fn read(raw: &Raw, loose: bool) -> Result<Self, Problem> {
        let number = counted::<Self>(raw, loose, 1)?;
        Ok(Self::new(number).unwrap_or(Self::MIN))
    }

    fn show(value: &Self::Value) -> Value {
        counted_as(value.get())
    }
}

fn counted_as(number: usize) -> Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

/// A whole number from `min` to [`COUNT_MAX`].
fn counted<S: Scalar>(raw: &Raw, loose: bool, min: i64) -> Result<usize, Problem> {
    let number = integer::<S>(raw, loose)?;
    let fits = (min..=COUNT_MAX).contains(&number);
    let count = usize::try_from(number).ok().filter(|_| fits);
    count.ok_or_else(|| {
        let message = format!("`{number}` is out of range");
        Problem::new(message, format!("{min} to {COUNT_MAX}"))
    })
}

/// The length of an IPv6 prefix in bits.
#[derive(Debug)]
pub(crate) struct Prefix;

impl Scalar for Prefix {
    type Value = u8;
    written!("a number of bits, 1 to 128", { "type": "integer", "minimum": 1, "maximum": 128 });

    fn read(raw: &Raw, loose: bool) -> Result<u8, Problem> {
        let number = integer::<Self>(raw, loose)?;
        let bits = u8::try_from(number).ok();
        bits.filter(|bits| (1..=128).contains(bits)).ok_or_else(|| {
            let message = format!("an IPv6 address has no prefix of {number} bits");
            let label = "1 to 128; providers give each customer at least a /64";
            Problem::new(message, label)
        })
    }

    fn show(value: &Self::Value) -> Value {
        i64::from(*value).into()
    }
}

/// A QoS that messages can be lowered to: 0, or 2 for none lower.
#[derive(Debug)]
pub(crate) struct MaxQos;

impl Scalar for MaxQos {
    type Value = QoS;
    written!("0 or 2", { "type": "integer", "enum": [0, 2] });

    fn read(raw: &Raw, loose: bool) -> Result<QoS, Problem> {
        match integer::<Self>(raw, loose)? {
            0 => Ok(QoS::AtMostOnce),
            1 => Err(Problem::new(
                "QoS 2 cannot be lowered to QoS 1: their acknowledgements differ",
                "0 or 2",
            )),
            2 => Ok(QoS::ExactlyOnce),
            other => Err(Problem::new(format!("there is no QoS {other}"), "0 or 2")),
        }
    }

    fn show(value: &QoS) -> Value {
        i64::from(value.as_u8()).into()
    }
}

/// The value of `version`.
#[derive(Debug)]
pub(crate) struct FormatVersion;

impl Scalar for FormatVersion {
    type Value = i64;
    written!("the number 1", { "type": "integer", "const": 1 }, clone);

    fn read(raw: &Raw, loose: bool) -> Result<i64, Problem> {
        match integer::<Self>(raw, loose)? {
            1 => Ok(1),
            other => Err(Problem::new(
                format!("version {other} of the configuration format is unknown"),
                "this program reads version 1",
            )),
        }
    }
}

/// A number that may have a fraction.
#[derive(Debug)]
pub(crate) struct Number;

impl Scalar for Number {
    type Value = f64;
    written!("a number such as 1.5", { "type": "number" }, clone);

    fn read(raw: &Raw, loose: bool) -> Result<f64, Problem> {
        match raw {
            Raw::Float(number) => Ok(*number),
            Raw::Integer(number) => Ok(*number as f64),
            Raw::String(text) if loose => from_text::<Self, _>(text),
            other => Err(Problem::mismatch(other, &Self::expected())),
        }
    }
}

impl Scalar for bool {
    type Value = Self;
    written!("true or false, without quotes", { "type": "boolean" }, clone);

    fn read(raw: &Raw, loose: bool) -> Result<Self, Problem> {
        match raw {
            Raw::Boolean(value) => Ok(*value),
            Raw::String(text) if loose => from_text::<Self, _>(text),
            other => Err(Problem::mismatch(other, &Self::expected())),
        }
    }
}

fn integer<S: Scalar>(raw: &Raw, loose: bool) -> Result<i64, Problem> {
    match raw {
        Raw::Integer(number) => Ok(*number),
        Raw::String(text) if loose => from_text::<S, _>(text),
        other => Err(Problem::mismatch(other, &S::expected())),
    }
}

/// Reads a value that came from the environment or a flag.
fn from_text<S: Scalar, T: FromStr>(text: &str) -> Result<T, Problem> {
    let parsed = text.trim().parse();
    parsed.map_err(|_| Problem::expected::<S>(format!("invalid value `{text}`")))
}
