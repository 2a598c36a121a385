//! Tells the client its id.

use std::task::{Context, Poll};

use mproxy_codec::{
    Connack, EncodeError, Kind, PropertyId, PropertyWriter, ReasonCode, Value, Version,
};
use mproxy_session::{HeadOnly, PacketHead, ReviewFuture, Reviewer, Verdict};
use tower_service::Service;

/// The packet service that tells a client its id, without the prefix.
#[derive(Debug)]
pub struct ClientIdToClient<S> {
    inner: S,
    /// `None` if there is nothing to tell, and once it was told: a CONNACK comes once.
    told: Option<Box<Told>>,
}

/// The Assigned Client Identifier of a client whose id the proxy has generated.
#[derive(Debug)]
#[allow(unnameable_types)] // a parameter of types that callers need not name
pub struct Told {
    pub(super) id: Box<str>,
    /// The client's Maximum Packet Size.
    pub(super) max_packet_size: usize,
}

impl<S> ClientIdToClient<S> {
    pub(super) const fn new(inner: S, told: Option<Box<Told>>) -> Self {
        Self { inner, told }
    }
}

impl<S> Service<PacketHead> for ClientIdToClient<S>
where
    S: Service<PacketHead, Response = Verdict<HeadOnly>>,
{
    type Response = Verdict<HeadOnly>;
    type Error = S::Error;
    type Future = ReviewFuture<S::Future, Box<Told>>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, packet: PacketHead) -> Self::Future {
        let told = match packet.kind() {
            Kind::Connack => self.told.take(),
            _ => None,
        };
        ReviewFuture::new(self.inner.call(packet), told)
    }
}

impl Reviewer<HeadOnly> for Box<Told> {
    #[inline]
    fn review(&self, mut packet: PacketHead) -> Verdict<HeadOnly> {
        match self.tell(&mut packet) {
            Ok(()) => Verdict::Forward(packet),
            Err(_) => Verdict::Close(ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR),
        }
    }
}

impl Told {
    fn tell(&self, packet: &mut PacketHead) -> Result<(), EncodeError> {
        let Some(connack) = packet.connack().filter(Connack::is_success) else {
            return Ok(());
        };
        let id = &*self.id;
        let mut written = write(&connack, id, &[])?;
        // [MQTT-3.2.2-19], [MQTT-3.2.2-20]
        let long = connack.with_properties(Version::V5, written.as_bytes())?;
        if long.len() > self.max_packet_size {
            written = write(
                &connack,
                id,
                &[PropertyId::ReasonString, PropertyId::UserProperty],
            )?;
        }
        packet.set_properties(written.as_bytes())
    }
}

/// Copies the properties of a CONNACK with another Assigned Client Identifier, and without some.
fn write(
    connack: &Connack<'_>,
    id: &str,
    without: &[PropertyId],
) -> Result<PropertyWriter, EncodeError> {
    let mut writer = PropertyWriter::new();
    for property in &connack.properties {
        let replaced = property.id == PropertyId::AssignedClientIdentifier;
        if !replaced && !without.contains(&property.id) {
            writer.copy(&property);
        }
    }
    writer.push(PropertyId::AssignedClientIdentifier, Value::Str(id))?;
    Ok(writer)
}
