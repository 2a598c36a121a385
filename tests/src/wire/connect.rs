//! CONNECT.

use super::{Version, field, frame, properties};

/// What a client says first.
#[derive(Clone, Debug)]
pub struct Connect {
    version: Version,
    client_id: String,
    clean: bool,
    keep_alive: u16,
    will: Option<Will>,
    username: Option<Vec<u8>>,
    password: Option<Vec<u8>>,
    properties: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Will {
    topic: String,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
    properties: Vec<u8>,
}

impl Connect {
    /// A clean session without a will and without credentials; keep alive is off.
    #[must_use]
    pub fn new(version: Version, client_id: &str) -> Self {
        Self {
            version,
            client_id: client_id.to_owned(),
            clean: true,
            keep_alive: 0,
            will: None,
            username: None,
            password: None,
            properties: Vec::new(),
        }
    }

    /// The version that it speaks.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// A session that stays at the broker: in 5.0, for an hour.
    #[must_use]
    pub fn persistent(mut self) -> Self {
        self.clean = false;
        if self.version.is_v5() {
            self.properties.push(0x11);
            self.properties.extend(3600_u32.to_be_bytes());
        }
        self
    }

    /// Seconds of keep alive.
    #[must_use]
    pub const fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    /// A will.
    #[must_use]
    pub fn will(mut self, topic: &str, payload: &str, qos: u8, retain: bool) -> Self {
        self.will = Some(Will {
            topic: topic.to_owned(),
            payload: payload.as_bytes().to_vec(),
            qos,
            retain,
            properties: Vec::new(),
        });
        self
    }

    /// A user name and a password.
    #[must_use]
    pub fn credentials(mut self, username: &str, password: &str) -> Self {
        self.password = Some(password.as_bytes().to_vec());
        self.username(username)
    }

    /// A user name alone.
    #[must_use]
    pub fn username(mut self, username: &str) -> Self {
        self.username = Some(username.as_bytes().to_vec());
        self
    }

    /// Properties of the will, in 5.0; there must be a will.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn will_properties(mut self, properties: &[u8]) -> Self {
        let will = self.will.as_mut().expect("a will");
        will.properties.extend_from_slice(properties);
        self
    }

    /// More properties, in 5.0.
    #[must_use]
    pub fn properties(mut self, properties: &[u8]) -> Self {
        self.properties.extend_from_slice(properties);
        self
    }

    /// The packet.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let (name, level) = match self.version {
            Version::V31 => ("MQIsdp", 3),
            Version::V311 => ("MQTT", 4),
            Version::V5 => ("MQTT", 5),
        };
        let mut flags = u8::from(self.clean) << 1;
        flags |= u8::from(self.username.is_some()) << 7;
        flags |= u8::from(self.password.is_some()) << 6;
        if let Some(will) = &self.will {
            flags |= 0x04 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        let mut body = field(name);
        body.extend([level, flags]);
        body.extend(self.keep_alive.to_be_bytes());
        if self.version.is_v5() {
            body.extend(properties(&self.properties));
        }
        body.extend(field(&self.client_id));
        if let Some(will) = &self.will {
            if self.version.is_v5() {
                body.extend(properties(&will.properties));
            }
            body.extend(field(&will.topic));
            body.extend(field(&will.payload));
        }
        for credential in [&self.username, &self.password].into_iter().flatten() {
            body.extend(field(credential));
        }
        frame(0x10, &body)
    }
}
