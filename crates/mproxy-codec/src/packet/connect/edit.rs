//! Changes a CONNECT field by field.

use super::fields::{Fields, WillFields};
use super::flags::{FLAG_WILL, WILL_FLAGS};
use super::{ConnectPacket, Will};
use crate::error::{DecodeError, EncodeError};

impl ConnectPacket {
    /// Replaces the client identifier.
    ///
    /// # Errors
    /// [`EncodeError`] when it is too long or not a valid identifier.
    pub fn set_client_id(&mut self, client_id: &str) -> Result<(), EncodeError> {
        *self = self.with(|fields| fields.client_id = client_id.as_bytes())?;
        Ok(())
    }

    /// Replaces, adds or removes the user name.
    ///
    /// # Errors
    /// [`EncodeError`] when it is too long or not valid, or when a password would be left without
    /// a user name before MQTT 5.0.
    pub fn set_user_name(&mut self, user_name: Option<&str>) -> Result<(), EncodeError> {
        *self = self.with(|fields| fields.user_name = user_name.map(str::as_bytes))?;
        Ok(())
    }

    /// Replaces, adds or removes the password.
    ///
    /// # Errors
    /// [`EncodeError`] when it is too long, or without a user name before MQTT 5.0.
    pub fn set_password(&mut self, password: Option<&[u8]>) -> Result<(), EncodeError> {
        *self = self.with(|fields| fields.password = password)?;
        Ok(())
    }

    /// Replaces, adds or removes user name and password together.
    ///
    /// # Errors
    /// As [`set_user_name`](Self::set_user_name) and [`set_password`](Self::set_password).
    pub fn set_credentials(
        &mut self,
        user_name: Option<&str>,
        password: Option<&[u8]>,
    ) -> Result<(), EncodeError> {
        *self = self.with(|fields| {
            fields.user_name = user_name.map(str::as_bytes);
            fields.password = password;
        })?;
        Ok(())
    }

    /// Replaces the property block ([`PropertyWriter::as_bytes`](crate::PropertyWriter::as_bytes)).
    ///
    /// # Errors
    /// [`EncodeError::NoSuchField`] before MQTT 5.0; [`EncodeError`] when the block is not valid.
    pub fn set_properties(&mut self, properties: &[u8]) -> Result<(), EncodeError> {
        if !self.version().is_v5() {
            return Err(EncodeError::NoSuchField);
        }
        *self = self.with(|fields| fields.properties = properties)?;
        Ok(())
    }

    /// Replaces the keep alive, in seconds; 0 turns it off.
    ///
    /// # Errors
    /// None in practice; [`EncodeError`] for symmetry with the other setters.
    pub fn set_keep_alive(&mut self, seconds: u16) -> Result<(), EncodeError> {
        *self = self.with(|fields| fields.keep_alive = seconds)?;
        Ok(())
    }

    /// Replaces the will's topic name.
    ///
    /// # Errors
    /// [`EncodeError::NoSuchField`] without a will; [`EncodeError`] when the name is not valid.
    pub fn set_will_topic(&mut self, topic: &str) -> Result<(), EncodeError> {
        *self = self.with_will(|will| will.topic = topic.as_bytes())?;
        Ok(())
    }

    /// Replaces the will's payload.
    ///
    /// # Errors
    /// [`EncodeError::NoSuchField`] without a will; [`EncodeError::FieldTooLong`].
    pub fn set_will_payload(&mut self, payload: &[u8]) -> Result<(), EncodeError> {
        *self = self.with_will(|will| will.payload = payload)?;
        Ok(())
    }

    /// Replaces the will's property block.
    ///
    /// # Errors
    /// [`EncodeError::NoSuchField`] without a will or before MQTT 5.0; [`EncodeError`] when the
    /// block is not valid.
    pub fn set_will_properties(&mut self, properties: &[u8]) -> Result<(), EncodeError> {
        if !self.version().is_v5() {
            return Err(EncodeError::NoSuchField);
        }
        *self = self.with_will(|will| will.properties = properties)?;
        Ok(())
    }

    /// Replaces the whole will. Its properties are those of a will
    /// ([`Place::Will`](crate::Place::Will)), and are left out before MQTT 5.0.
    ///
    /// # Errors
    /// [`EncodeError::NoSuchField`] without a will; [`EncodeError`] when a field is not valid.
    pub fn set_will(&mut self, will: &Will<'_>) -> Result<(), EncodeError> {
        if self.layout.will.is_none() {
            return Err(EncodeError::NoSuchField);
        }
        *self = self.with(|fields| {
            fields.will = Some(will.fields());
            fields.flags = fields.flags & !WILL_FLAGS | will.flags();
        })?;
        Ok(())
    }

    /// Removes the will, if there is one.
    ///
    /// # Errors
    /// None in practice; [`EncodeError`] for symmetry with the other setters.
    pub fn remove_will(&mut self) -> Result<(), EncodeError> {
        *self = self.with(|fields| {
            fields.will = None;
            fields.flags &= !(FLAG_WILL | WILL_FLAGS);
        })?;
        Ok(())
    }

    fn with_will<'a>(
        &'a self,
        edit: impl FnOnce(&mut WillFields<'a>),
    ) -> Result<Self, EncodeError> {
        if self.layout.will.is_none() {
            return Err(EncodeError::NoSuchField);
        }
        self.with(|fields| {
            if let Some(will) = &mut fields.will {
                edit(will);
            }
        })
    }

    fn with<'a, 'b>(&'a self, edit: impl FnOnce(&mut Fields<'b>)) -> Result<Self, EncodeError>
    where
        'a: 'b,
    {
        let mut fields = self.fields();
        edit(&mut fields);
        let made = Self::parse(fields.join(self.layout.version, self.layout.is_bridge)?)?;
        if made.has_control() && !self.has_control() {
            return Err(EncodeError::Invalid(DecodeError::ControlCharacter));
        }
        Ok(made)
    }
}
