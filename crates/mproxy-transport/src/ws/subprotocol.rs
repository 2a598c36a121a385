//! The two names MQTT goes by in `Sec-WebSocket-Protocol`.

use std::fmt;

/// A WebSocket subprotocol of MQTT, as registered with IANA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[allow(clippy::exhaustive_enums)] // the registry has these two
pub enum Subprotocol {
    /// `mqtt`: MQTT 3.1.1 and 5.0.
    #[default]
    Mqtt,
    /// `mqttv3.1`: MQTT 3.1.
    MqttV31,
}

impl Subprotocol {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::MqttV31 => "mqttv3.1",
        }
    }

    /// The subprotocol of that name. Names are case-sensitive, RFC 6455 section 11.3.4.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Mqtt, Self::MqttV31]
            .into_iter()
            .find(|known| known.as_str() == name)
    }
}

impl fmt::Display for Subprotocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
