//! The properties that hold a topic.

use mproxy_codec::{EncodeError, Properties, PropertyId, PropertyWriter, Value};

/// Copies properties, with another text in the place of the one that this property has, or without
/// it.
pub(super) fn with_text(
    properties: &Properties<'_>,
    id: PropertyId,
    text: Option<&str>,
) -> Result<PropertyWriter, EncodeError> {
    let mut writer = PropertyWriter::new();
    for property in properties {
        match text {
            _ if property.id != id => {
                writer.copy(&property);
            }
            Some(text) => {
                writer.push(id, Value::Str(text))?;
            }
            None => {}
        }
    }
    Ok(writer)
}
