//! Topic algebra: names, filters, and how they relate.
//!
//! A *name* is what is published to, a *filter* is what is subscribed to. This module decides
//! whether a byte string is either of them, whether a filter [matches](TopicFilter::matches) a
//! name, whether it [covers](TopicFilter::covers) another filter (everything the other can match,
//! it matches) and whether two filters [overlap](TopicFilter::overlaps) (some name is matched by
//! both). Access rules for SUBSCRIBE need the last two: matching a rule against the text of the
//! filter is not enough.
//!
//! Not every broker reads a topic as it is written. For a broker of another [`Dialect`], translate
//! first with [`NameParts`] and [`FilterParts`]; the relations are those of the standard.
//!
//! Everything works byte by byte: there is no normalisation, no folding of case, and no trimming
//! `[MQTT-4.7.3-4]`. Empty levels count: `/a`, `a` and `a/` are three different names. All
//! functions are iterative, linear in the length of their arguments, do not panic and, except where
//! an invalid string is reported, do not allocate.
//!
//! [mqtt-protocol] checks the syntax of all but plain ASCII, after a check that it lacks (U+0000).
//! The hot path, [`is_plain_name`], is a single pass over eight bytes at a time.
//!
//! # Examples
//!
//! ```
//! use mproxy_codec::topic::{TopicFilter, TopicName};
//!
//! let readings = TopicFilter::new("sensors/+/temperature")?;
//! assert!(readings.matches(TopicName::new("sensors/7/temperature")?));
//!
//! let all = TopicFilter::new("sensors/#")?;
//! assert!(all.covers(readings));
//! assert!(!readings.covers(all));
//! assert!(all.overlaps(TopicFilter::new("+/7/#")?));
//!
//! // A wildcard in the first level never reaches the broker's own topics.
//! assert!(!TopicFilter::new("#")?.covers(TopicFilter::new("$SYS/#")?));
//! # Ok::<(), mproxy_codec::topic::TopicError>(())
//! ```
//!
//! [mqtt-protocol]: https://docs.rs/mqtt-protocol

/// What is valid text can be read as such.
macro_rules! is_a_str {
    ($topic:ident) => {
        impl std::ops::Deref for $topic<'_> {
            type Target = str;

            fn deref(&self) -> &str {
                self.0
            }
        }

        impl AsRef<str> for $topic<'_> {
            fn as_ref(&self) -> &str {
                self.0
            }
        }

        impl PartialEq<str> for $topic<'_> {
            fn eq(&self, other: &str) -> bool {
                self.0 == other
            }
        }

        impl PartialEq<&str> for $topic<'_> {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }

        impl std::fmt::Display for $topic<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.0)
            }
        }
    };
}

mod control;
mod dialect;
mod error;
mod filter;
mod name;
mod parts;
mod plain;
mod relation;
mod shared;
mod vendor;

pub use self::{
    control::has_control,
    dialect::Dialect,
    error::TopicError,
    filter::TopicFilter,
    name::{TopicName, validate_name},
    parts::{FilterForm, FilterParts, NameParts},
    plain::is_plain_name,
    shared::SharedFilter,
    vendor::VendorForms,
};

/// The longest topic name or filter in bytes: its length travels in two bytes. `[MQTT-4.7.3-3]`
pub const MAX_TOPIC_LENGTH: usize = 65_535;
