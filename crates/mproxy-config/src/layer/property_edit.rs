//! `type = "property-edit"`: User Properties that are taken out or appended.

use super::{At, Built, LayerConfig, Place, Reauthentication};
use crate::context::Context;
use crate::scalar::{Problem, Template, Text, TextTemplate};
use crate::section::{Listing, Map, Sub, section};
use crate::validate::placeholders::{self, Known};
use mproxy_layers::Observer;
use mproxy_layers::property_edit::{
    Edits, EditsError, PropertyEditLayer, PropertyEditToClient, PropertyEditToServer,
};
use mproxy_session::{BoxError, Heads, Tap};

section! {
    /// User Properties of MQTT 5 in what clients send: CONNECT, will, PUBLISH and SUBSCRIBE.
    ///
    /// Properties that the layer does not name keep their place.
    PropertyEdit, PropertyEditKeys
        in "[layers.NAME] of type \"property-edit\"" layer "property-edit",
        reload "at once, for connected clients too"
    {
        /// Names of properties to remove: what devices must not send.
        strip: Vec<String> as Listing<Text> = [];
        /// Properties to set: each replaces all others of its name.
        ///
        /// ${username}, ${client_id} and ${cn} are filled in. If a placeholder has no value, mproxy does not
        /// set the property, but still removes those of its name.
        set: Vec<(String, Template)> as Map<TextTemplate>, given set;
        /// Properties to append; existing ones of the same name stay.
        add: Vec<(String, Template)> as Map<TextTemplate>, given add;
        /// Whether an MQTT 5 client may authenticate again while it is connected: "refuse" or "pass".
        ///
        /// This matters if the layer uses client ids or user names. refuse: mproxy closes the client with
        /// 0x8C, because for the broker it may be another user afterwards, while the layer would still know
        /// it by its old names. pass: for brokers that keep the names, or if it does not matter. A layer
        /// without placeholders lets the packet pass.
        reauthentication: Reauthentication = "refuse";
        /// The same for PUBLISH packets that clients receive.
        to_client: PropertyEdits as Sub<PropertyEdits>, given to_client;
    }
}

section! {
    /// User Properties of MQTT 5 in what clients receive: PUBLISH.
    PropertyEdits, PropertyEditsKeys in "[layers.NAME.to_client]",
        reload "at once, for connected clients too"
    {
        /// Names of properties to remove.
        strip: Vec<String> as Listing<Text> = [];
        /// Properties to set: each replaces all others of its name.
        set: Vec<(String, Template)> as Map<TextTemplate>, given set;
        /// Properties to append; existing ones of the same name stay.
        add: Vec<(String, Template)> as Map<TextTemplate>, given add;
    }
}

impl PropertyEdit {
    pub(super) fn check(cx: &mut Context, at: At<'_>, keys: &PropertyEditKeys) -> Option<Self> {
        let header = at.header;
        let down = &keys.to_client;
        let (set, add) = (properties(cx, &down.set), properties(cx, &down.add));
        let down = PropertyEdits::read(cx, down, set, add);
        let (set, add) = (properties(cx, &keys.set), properties(cx, &keys.add));
        let edits = Self::read(cx, keys, set, add, down);
        let to_client = &edits.to_client;
        let both = [&edits.strip, &to_client.strip];
        let values = [&edits.set, &edits.add, &to_client.set, &to_client.add];
        let idle = both.iter().all(|it| it.is_empty()) && values.iter().all(|it| it.is_empty());
        if idle {
            let message = "a property-edit layer that does nothing";
            cx.idle(header, message, "add `strip`, `set` or `add`");
        }
        Some(edits)
    }
}

fn properties(cx: &mut Context, given: &Map<TextTemplate>) -> Vec<(String, Template)> {
    let mut properties = Vec::new();
    for (name, setting) in given.iter() {
        let (Some(value), Some(span)) = (cx.given(setting), setting.span()) else {
            continue;
        };
        if name.is_empty() || name.contains(char::is_control) {
            let message = format!("{name:?} is not the name of a property");
            cx.problem(span, Problem::new(message, "name it in one line"));
            continue;
        }
        placeholders::check(cx, &value, &span, Known::All);
        properties.push((name.clone(), value));
    }
    properties
}

/// Compiles the edits of one direction.
fn compile(
    strip: &[String],
    set: &[(String, Template)],
    add: &[(String, Template)],
) -> Result<Edits, EditsError> {
    let mut edits = Edits::builder();
    for name in strip {
        edits = edits.strip(name);
    }
    for (name, value) in set {
        edits = edits.set(name, value.as_str())?;
    }
    for (name, value) in add {
        edits = edits.add(name, value.as_str())?;
    }
    Ok(edits.build())
}

impl LayerConfig for PropertyEdit {
    const TYPE: &'static str = "property-edit";
    type Layer<O: Observer> = PropertyEditLayer<O>;
    type ToServer<S, O: Observer> = Heads<PropertyEditToServer<Tap<S>, O>>;
    type ToClient<S, O: Observer> = Heads<PropertyEditToClient<Tap<S>, O>>;

    fn build<O: Observer>(&self, place: Place<O>) -> Result<Built<PropertyEditLayer<O>>, BoxError> {
        let up = compile(&self.strip, &self.set, &self.add)?;
        let down = &self.to_client;
        let down = compile(&down.strip, &down.set, &down.add)?;
        let by_names = up.goes_by_names() || down.goes_by_names();
        let layer = PropertyEditLayer::new(up, down)
            .pass_reauthentication(self.reauthentication.passes())
            .observer(place.observer);
        Ok(self.reauthentication.built(layer, by_names))
    }
}
