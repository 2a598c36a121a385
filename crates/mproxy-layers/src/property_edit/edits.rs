//! Edits of User Properties, independent of packets.

use std::sync::Arc;

use mproxy_codec::{EncodeError, Place, Properties, PropertyId, PropertyWriter, Value};
use thiserror::Error;

use crate::{
    identity::Names,
    template::{Template, TemplateError},
};

/// Edits of User Properties. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct Edits(Arc<Compiled>);

#[derive(Debug, Default)]
struct Compiled {
    strip: Vec<Box<str>>,
    append: Vec<(Box<str>, Template)>,
}

/// Builds [`Edits`].
#[derive(Debug, Default)]
pub struct EditsBuilder {
    compiled: Compiled,
}

/// An edit that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("user property `{name}`: {source}")]
pub struct EditsError {
    name: String,
    source: TemplateError,
}

impl EditsBuilder {
    /// Removes all properties of this name.
    #[must_use]
    pub fn strip(mut self, name: impl Into<String>) -> Self {
        self.compiled.strip.push(name.into().into());
        self
    }

    /// Removes all properties of this name, and appends one.
    ///
    /// # Errors
    ///
    /// The value has an unknown placeholder.
    pub fn set(self, name: &str, value: &str) -> Result<Self, EditsError> {
        self.strip(name).add(name, value)
    }

    /// Appends a property.
    ///
    /// # Errors
    ///
    /// The value has an unknown placeholder.
    pub fn add(mut self, name: &str, value: &str) -> Result<Self, EditsError> {
        let value = Template::parse(value, false).map_err(|source| EditsError {
            name: name.to_owned(),
            source,
        })?;
        self.compiled.append.push((name.into(), value));
        Ok(self)
    }

    /// Finishes the edits.
    pub fn build(self) -> Edits {
        Edits(Arc::new(self.compiled))
    }
}

impl Edits {
    /// Starts to build edits.
    pub fn builder() -> EditsBuilder {
        EditsBuilder::default()
    }

    /// Whether there are no edits.
    pub fn is_empty(&self) -> bool {
        self.0.strip.is_empty() && self.0.append.is_empty()
    }

    /// Whether the edits contain names of the client.
    pub fn goes_by_names(&self) -> bool {
        let mut append = self.0.append.iter();
        append.any(|(_, value)| !value.is_literal())
    }

    /// Returns the edits for one client.
    ///
    /// # Errors
    ///
    /// A property would be too long.
    pub(super) fn for_client(&self, names: Names<'_>) -> Result<ClientEdits, EncodeError> {
        let mut append = PropertyWriter::new();
        for (name, value) in &self.0.append {
            if let Some(value) = value.text(names) {
                append.push(PropertyId::UserProperty, Value::Pair(name, &value))?;
            }
        }
        Ok(ClientEdits {
            edits: self.clone(),
            append: append.as_bytes().into(),
        })
    }
}

/// The edits for one client.
#[derive(Debug)]
pub(super) struct ClientEdits {
    edits: Edits,
    /// Properties as they stand in a packet.
    append: Box<[u8]>,
}

impl ClientEdits {
    /// Bytes of what is made for the client.
    pub(super) const fn size(&self) -> usize {
        self.append.len()
    }

    /// Returns how many bytes longer a packet may become, the lengths in front of its properties
    /// included, which may grow from one byte to four each.
    pub(super) const fn growth(&self) -> usize {
        match self.append.len() {
            0 => 0,
            append => append + 6,
        }
    }

    /// Returns the edited properties, `None` if they are the same.
    pub(super) fn edit(&self, properties: &Properties<'_>) -> Option<PropertyWriter> {
        let strip = &self.edits.0.strip;
        let is_stripped = |name: &str| strip.iter().any(|it| **it == *name);
        if self.append.is_empty()
            && !properties
                .user_properties()
                .any(|(name, _)| is_stripped(name))
        {
            return None;
        }
        let mut writer = PropertyWriter::new();
        for property in properties {
            match property.value {
                Value::Pair(name, _) if is_stripped(name) => {}
                _ => {
                    writer.copy(&property);
                }
            }
        }
        // written by this program, and allowed everywhere
        for property in &Properties::parse(&self.append, Place::Will).unwrap_or_default() {
            writer.copy(&property);
        }
        Some(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Names<'_> = Names::new("d7", Some("acme"));

    fn edited(edits: &Edits, names: Names<'_>, before: &[(&str, &str)]) -> Option<Vec<String>> {
        let mut writer = PropertyWriter::new();
        let mut push = |id, value| {
            writer.push(id, value).expect("a property");
        };
        push(PropertyId::ContentType, Value::Str("text"));
        for (name, value) in before {
            push(PropertyId::UserProperty, Value::Pair(name, value));
        }
        push(PropertyId::PayloadFormatIndicator, Value::Byte(1));
        let properties = Properties::parse(writer.as_bytes(), Place::Will).expect("properties");
        let client = edits.for_client(names).expect("short properties");
        let written = client.edit(&properties)?;
        let written = Properties::parse(written.as_bytes(), Place::Will).expect("properties");
        let other = written
            .iter()
            .filter(|it| it.id != PropertyId::UserProperty);
        assert_eq!(other.count(), 2);
        let pairs = written.user_properties();
        Some(
            pairs
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        )
    }

    #[test]
    fn what_is_not_named_keeps_its_place() {
        let edits = Edits::builder()
            .strip("x-secret")
            .set("x-tenant", "${username}")
            .and_then(|edits| edits.add("via", "${client_id}@${username}"))
            .expect("edits")
            .build();
        for (before, after) in [
            (&[][..], &["x-tenant=acme", "via=d7@acme"][..]),
            (
                &[
                    ("b", "1"),
                    ("x-tenant", "forged"),
                    ("a", "2"),
                    ("traceparent", "00-x"),
                    ("b", "1"),
                    ("x-secret", ""),
                    ("via", "other"),
                    ("X-Tenant", "kept"),
                    ("x-tenant", "forged again"),
                ],
                &[
                    "b=1",
                    "a=2",
                    "traceparent=00-x",
                    "b=1",
                    "via=other",
                    "X-Tenant=kept",
                    "x-tenant=acme",
                    "via=d7@acme",
                ],
            ),
        ] {
            let found = edited(&edits, CLIENT, before).expect("edited");
            assert_eq!(found, after);
        }
        // nobody's name: forged ones go, and none comes
        let found = edited(
            &edits,
            Names::new("d7", None),
            &[("x-tenant", "forged"), ("a", "")],
        );
        assert_eq!(found, Some(vec!["a=".to_owned()]));
    }

    #[test]
    fn what_has_nothing_to_strip_is_not_touched() {
        let edits = Edits::builder().strip("x-secret").build();
        let growth = |edits: &Edits| edits.for_client(CLIENT).map(|edits| edits.growth());
        assert_eq!(growth(&edits), Ok(0));
        assert_eq!(edited(&edits, CLIENT, &[("a", "x-secret")]), None);
        assert_eq!(
            edited(&edits, CLIENT, &[("x-secret", "a")]),
            Some(Vec::new())
        );
        assert!(Edits::default().is_empty() && !edits.is_empty());
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        let error = Edits::builder().set("a", "${user}").map(|_| ());
        let error = error.expect_err("an unknown placeholder");
        assert!(
            error
                .to_string()
                .starts_with("user property `a`: unknown placeholder")
        );
        let long = Edits::builder()
            .set("a", &"x".repeat(65_530))
            .and_then(|it| {
                let value = ["${username}", &"x".repeat(65_530)].concat();
                it.set("b", &value)
            });
        let long = long.expect("edits").build();
        assert!(long.for_client(CLIENT).is_ok());
        let long_name = Names::new("d7", Some("acme-corporation"));
        assert!(long.for_client(long_name).is_err());
    }
}
