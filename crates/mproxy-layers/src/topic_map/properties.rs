//! The one property that holds a topic.

use mproxy_codec::{EncodeError, Properties, PropertyId, PropertyWriter, Value};

/// Copies properties, with another Response Topic in the place of the one they have, or without it.
pub(super) fn with_response_topic(
    properties: &Properties<'_>,
    response_topic: Option<&str>,
) -> Result<PropertyWriter, EncodeError> {
    let mut writer = PropertyWriter::new();
    for property in properties {
        match (property.id, response_topic) {
            (PropertyId::ResponseTopic, Some(topic)) => {
                writer.push(PropertyId::ResponseTopic, Value::Str(topic))?;
            }
            (PropertyId::ResponseTopic, None) => {}
            _ => {
                writer.copy(&property);
            }
        }
    }
    Ok(writer)
}
