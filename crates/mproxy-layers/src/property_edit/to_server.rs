//! What the client sends.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use mproxy_codec::{EncodeError, Kind, Properties};
use mproxy_session::{FilterFuture, HeadOnly, PacketHead, Verdict};
use tower_service::Service;

use super::edits::ClientEdits;
use crate::{
    Observer,
    unwritable::{Sent, refuse},
};

/// What a direction of a session needs.
#[derive(Debug)]
#[allow(unnameable_types)] // a parameter of types that nobody need write down
pub struct Shared<O> {
    pub(super) edits: ClientEdits,
    pub(super) observer: O,
}

/// The packet service that edits what a client publishes and subscribes to.
#[derive(Debug)]
pub struct PropertyEditToServer<S, O = ()> {
    inner: S,
    /// `None` if nothing is edited.
    shared: Option<Arc<Shared<O>>>,
}

impl<S, O> PropertyEditToServer<S, O> {
    pub(super) const fn new(inner: S, shared: Option<Arc<Shared<O>>>) -> Self {
        Self { inner, shared }
    }
}

impl<S, O> Service<PacketHead> for PropertyEditToServer<S, O>
where
    S: Service<PacketHead, Response = Verdict<HeadOnly>>,
    O: Observer,
{
    type Response = Verdict<HeadOnly>;
    type Error = S::Error;
    type Future = FilterFuture<S::Future, HeadOnly>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, mut packet: PacketHead) -> Self::Future {
        let Some(shared) = &self.shared else {
            return FilterFuture::inner(self.inner.call(packet));
        };
        match shared.edit(&mut packet) {
            Ok(()) => FilterFuture::inner(self.inner.call(packet)),
            Err(error) => {
                // what is counted are packets, and a will is part of one
                if !packet.is_will() {
                    shared.observer.dropped(packet.kind());
                }
                let sent = Sent::of(&packet);
                FilterFuture::verdict(refuse(&shared.observer, sent, error))
            }
        }
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
        // a packet that does not let itself be taken apart could have anything in it
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
