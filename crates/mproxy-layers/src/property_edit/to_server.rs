//! Packets from the client.

use std::sync::Arc;

use mproxy_codec::{EncodeError, Kind, Properties};
use mproxy_session::{Filter, HeadOnly, Judge, PacketHead, Verdict};

use super::edits::ClientEdits;
use crate::{
    Observer,
    unwritable::{Sent, refuse},
};

/// What a direction of a session needs.
#[derive(Debug)]
#[allow(unnameable_types)] // a parameter of types that callers need not name
pub struct Shared<O> {
    pub(super) edits: ClientEdits,
    pub(super) observer: O,
}

/// The packet service that edits what a client publishes and subscribes to.
pub type PropertyEditToServer<S, O = ()> = Filter<S, PropertyEditor<O>>;

/// The edits of a session; `None` if nothing is edited.
#[derive(Debug)]
#[allow(unnameable_types)] // a parameter of types that callers need not name
pub struct PropertyEditor<O>(pub(super) Option<Arc<Shared<O>>>);

impl<O: Observer> Judge<HeadOnly> for PropertyEditor<O> {
    #[inline]
    fn judge(&mut self, mut packet: PacketHead) -> Result<PacketHead, Verdict<HeadOnly>> {
        let Some(shared) = &self.0 else {
            return Ok(packet);
        };
        if let Err(error) = shared.edit(&mut packet) {
            // only packets are counted, and a will is part of one
            if !packet.is_will() {
                shared.observer.dropped(packet.kind());
            }
            return Err(refuse(&shared.observer, Sent::of(&packet), error));
        }
        Ok(packet)
    }
}

impl<O: Observer> Shared<O> {
    /// Edits the packet, if it is one that is edited.
    pub(super) fn edit(&self, packet: &mut PacketHead) -> Result<(), EncodeError> {
        let edited = match packet.kind() {
            Kind::Publish => packet
                .publish()
                .map(|publish| self.edits.edit(&publish.properties())),
            Kind::Subscribe => packet
                .subscribe()
                .map(|subscribe| self.edits.edit(&subscribe.properties())),
            _ => return Ok(()),
        };
        // a packet that cannot be parsed could contain anything
        let Some(edited) = edited.ok_or(EncodeError::NoSuchField)? else {
            return Ok(());
        };
        packet.set_properties(edited.as_bytes())?;
        if !packet.is_will() {
            self.observer.modified(packet.kind());
        }
        Ok(())
    }

    /// Returns edited properties of a CONNECT, `None` if they are the same.
    pub(super) fn edited(&self, properties: &Properties<'_>) -> Option<Vec<u8>> {
        let edited = self.edits.edit(properties)?;
        Some(edited.as_bytes().to_vec())
    }
}
