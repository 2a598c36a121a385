//! `type = "property-edit"`: User Properties that are taken out or appended.

use super::{Reauthentication, Template};
use mproxy_layers::property_edit::{Edits, EditsError};

/// The settings of the layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertyEdit {
    /// What is done to what a client sends.
    pub to_server: PropertyEdits,
    /// What is done to what it receives.
    pub to_client: PropertyEdits,
    /// What is done about clients that authenticate again.
    pub reauthentication: Reauthentication,
}

/// What is done in one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropertyEdits {
    /// Names of properties that are taken out.
    pub strip: Vec<String>,
    /// Properties that take the place of all others of their name.
    pub set: Vec<(String, Template)>,
    /// Properties that are appended.
    pub add: Vec<(String, Template)>,
}

impl PropertyEdits {
    /// Says whether nothing is done.
    pub const fn is_empty(&self) -> bool {
        self.strip.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Compiles the edits.
    ///
    /// # Errors
    ///
    /// A value has an unknown placeholder.
    pub fn compile(&self) -> Result<Edits, EditsError> {
        let mut edits = Edits::builder();
        for name in &self.strip {
            edits = edits.strip(name);
        }
        for (name, value) in &self.set {
            edits = edits.set(name, value.as_str())?;
        }
        for (name, value) in &self.add {
            edits = edits.add(name, value.as_str())?;
        }
        Ok(edits.build())
    }
}
