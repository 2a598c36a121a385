//! Topics and filters as the broker reads them, which is what the rules judge.

use std::borrow::Cow;

use mproxy_codec::topic::{Dialect, FilterParts, NameParts, TopicError};

use super::trie::written_out;

/// A topic name as the broker reads it.
#[derive(Debug)]
pub(super) struct ReadName<'a>(Cow<'a, [u8]>);

impl<'a> ReadName<'a> {
    /// The topic that subscribers will see.
    ///
    /// A name that is read as it is written is not copied, and not checked twice.
    #[inline]
    pub(super) fn published(name: &'a [u8], dialect: Dialect) -> Result<Self, TopicError> {
        match dialect {
            Dialect::Mqtt(forms) if name.first() != Some(&b'$') || forms.is_empty() => {
                Ok(Self(Cow::Borrowed(name)))
            }
            _ => {
                let parts = NameParts::parse(text(name)?, dialect)?;
                Ok(Self(bytes(parts.into_name())))
            }
        }
    }

    /// The topic of a message that the broker delivers, which no longer has a vendor form.
    #[inline]
    pub(super) fn delivered(name: &'a [u8], dialect: Dialect) -> Result<Self, TopicError> {
        match dialect {
            Dialect::Mqtt(_) => Ok(Self(Cow::Borrowed(name))),
            _ => Ok(Self(bytes(dialect.read_name(text(name)?)?))),
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The filter that decides what a subscription reads, as the broker reads it, and [`written_out`].
#[derive(Debug)]
pub(super) struct ReadFilter<'a>(FilterParts<'a>);

impl<'a> ReadFilter<'a> {
    pub(super) fn subscribed(filter: &'a str, dialect: Dialect) -> Result<Self, TopicError> {
        FilterParts::parse(filter, dialect).map(Self)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        written_out(self.0.filter().as_str()).as_bytes()
    }
}

fn text(name: &[u8]) -> Result<&str, TopicError> {
    str::from_utf8(name).map_err(|_| TopicError::IllFormed)
}

fn bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}
