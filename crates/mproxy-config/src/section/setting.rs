//! Values as they were written: not yet checked, but with their place in the text.
//!
//! Reading one never fails. A value of a wrong type is kept as such and reported together
//! with everything else, instead of ending the reading of the file.

use crate::scalar::{Raw, Scalar};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use toml::Spanned;

/// One value that will become a `T`, if it was given; or an array of them, for `[T]`.
#[derive(Clone)]
pub(crate) struct Setting<T: ?Sized> {
    pub given: Option<Spanned<Raw>>,
    target: PhantomData<T>,
}

/// An array of values that will become `T`, if it was given.
pub(crate) type Listing<T> = Setting<[T]>;

/// A table with the place of its header.
#[derive(Clone, Debug, Default)]
pub(crate) struct Located<T> {
    pub span: Range<usize>,
    pub value: T,
}

// ===== impl Setting =====

impl<T> Setting<T> {
    /// The text as it was written, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match self.given.as_ref()?.get_ref() {
            Raw::String(text) => Some(text),
            _ => None,
        }
    }
}

impl<T: ?Sized> Setting<T> {
    /// Where the value stands.
    pub(crate) fn span(&self) -> Option<Range<usize>> {
        self.given.as_ref().map(Spanned::span)
    }
}

impl<T: ?Sized> fmt::Debug for Setting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.given.fmt(f)
    }
}

impl<T: ?Sized> Default for Setting<T> {
    fn default() -> Self {
        Self {
            given: None,
            target: PhantomData,
        }
    }
}

impl<'de, T: ?Sized> Deserialize<'de> for Setting<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self {
            given: Some(Spanned::deserialize(deserializer)?),
            target: PhantomData,
        })
    }
}

impl<T: Written + ?Sized> JsonSchema for Setting<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Setting".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        T::schema()
    }
}

/// What has a schema: one value, or an array.
pub(crate) trait Written {
    /// See [`Scalar::schema`].
    fn schema() -> Schema;
}

impl<T: Scalar> Written for T {
    fn schema() -> Schema {
        <T as Scalar>::schema()
    }
}

impl<T: Scalar> Written for [T] {
    fn schema() -> Schema {
        schemars::json_schema!({ "type": "array", "items": <T as Scalar>::schema() })
    }
}

// ===== impl Listing =====

impl<T> Setting<[T]> {
    /// True when nothing is in it, or it is not there.
    pub(crate) fn is_empty(&self) -> bool {
        match self.given.as_ref().map(Spanned::get_ref) {
            Some(Raw::Array(items)) => items.is_empty(),
            Some(_) => false,
            None => true,
        }
    }

    /// Where each of its values stands. Of values that were written as one text, as in the environment,
    /// it is the place of that text, as often as there are commas.
    pub(crate) fn spans(&self) -> Vec<Range<usize>> {
        match self.given.as_ref().map(|it| (it.get_ref(), it.span())) {
            Some((Raw::Array(items), _)) => items.iter().map(Spanned::span).collect(),
            Some((Raw::String(text), span)) => text.split(',').map(|_| span.clone()).collect(),
            _ => Vec::new(),
        }
    }

    /// The texts in it as they were written, each with its place; what else is in it is left out.
    pub(crate) fn texts(&self) -> Vec<(&str, Range<usize>)> {
        let Some(Raw::Array(items)) = self.given.as_ref().map(Spanned::get_ref) else {
            return Vec::new();
        };
        let texts = items.iter().filter_map(|item| match item.get_ref() {
            Raw::String(name) => Some((name.as_str(), item.span())),
            _ => None,
        });
        texts.collect()
    }
}

// ===== impl Located =====

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        Ok(Self {
            span: spanned.span(),
            value: spanned.into_inner(),
        })
    }
}

impl<T: JsonSchema> JsonSchema for Located<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

// ===== impl Raw =====

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::String(value.to_owned()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(i64::try_from(value).map_or(HUGE, Raw::Integer))
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(HUGE)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(HUGE)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Float(value))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Boolean(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut what = "a table";
        while let Some((key, IgnoredAny)) = map.next_entry::<String, _>()? {
            // how the parser hands a date on
            if key.starts_with("$__toml_private") {
                what = "a date or a time";
            }
        }
        Ok(Raw::Other(what))
    }
}

const HUGE: Raw = Raw::Other("a number that is too large");
