//! A packet as hooks see it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use mproxy_codec::{
    Ack, Auth, Connack, Direction, Disconnect, EncodeError, Head, Kind, Place, Properties, Publish,
    PublishEdit, PublishLayout, QoS, ReasonCode, Suback, Subscribe, Subscription,
    SubscriptionOptions, Unsubscribe, Version, View, encode_subscribe, encode_unsubscribe,
};

/// A validated packet, owned, on its way through a packet stack.
///
/// Reading is free: fields are looked up in the received bytes. A packet that no hook changes is
/// forwarded as the very bytes that came.
pub struct Packet {
    frame: Bytes,
    kind: Kind,
    version: Version,
    direction: Direction,
    publish: Option<PublishLayout>,
    /// The topic name behind a topic alias, or the one that a hook chose.
    topic: Option<Arc<[u8]>>,
    /// What hooks decided on single filters; `None` while they decided nothing.
    entries: Option<Box<Entries>>,
}

/// Boxed as one: a packet is moved from layer to layer, and hardly any has entries.
struct Entries(Vec<Entry>);

/// One topic filter of a SUBSCRIBE or UNSUBSCRIBE whose filters hooks have touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    filter: String,
    options: SubscriptionOptions,
    pub(crate) refused: Option<ReasonCode>,
    /// Added by a hook: the client did not ask for it and must not hear of it.
    pub(crate) added: bool,
}

impl Packet {
    /// A packet whose bytes have been validated.
    pub(crate) const fn new(
        kind: Kind,
        version: Version,
        direction: Direction,
        frame: Bytes,
        publish: Option<PublishLayout>,
        topic: Option<Arc<[u8]>>,
    ) -> Self {
        Self {
            frame,
            kind,
            version,
            direction,
            publish,
            topic,
            entries: None,
        }
    }

    /// Validates one whole packet, as a test or a caller outside a session does.
    ///
    /// # Errors
    /// Whatever the packet breaks; [`Truncated`](mproxy_codec::DecodeError::Truncated) or
    /// [`TrailingBytes`](mproxy_codec::DecodeError::TrailingBytes) when `frame` is not exactly one
    /// packet.
    pub fn parse(
        version: Version,
        direction: Direction,
        frame: Bytes,
    ) -> Result<Self, mproxy_codec::DecodeError> {
        use mproxy_codec::DecodeError;
        let first = frame.first().copied().ok_or(DecodeError::Truncated)?;
        let kind = Head::check_first_byte(first, version, direction)?;
        let head = Head::parse(&frame)?.ok_or(DecodeError::Truncated)?;
        if head.total_len() < frame.len() {
            return Err(DecodeError::TrailingBytes);
        }
        let view = View::parse(version, direction, &frame)?.ok_or(DecodeError::Truncated)?;
        let publish = match view {
            View::Publish(publish) => Some(*publish.layout()),
            _ => None,
        };
        Ok(Self::new(kind, version, direction, frame, publish, None))
    }

    /// The packet type.
    #[inline]
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The protocol version of the session.
    #[inline]
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Who sends it to whom.
    #[inline]
    #[must_use]
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    /// The bytes: the whole packet, or a PUBLISH without its payload (see
    /// [`PublishRef::payload`]).
    #[inline]
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.frame
    }

    /// The PUBLISH, with its topic alias resolved.
    #[inline]
    #[must_use]
    pub fn publish(&self) -> Option<PublishRef<'_>> {
        let layout = self.publish?;
        let view = Publish::new(layout, &self.frame);
        Some(PublishRef {
            view,
            topic: self.topic.as_deref(),
        })
    }

    /// The CONNACK.
    #[must_use]
    pub fn connack(&self) -> Option<Connack<'_>> {
        match self.view()? {
            View::Connack(connack) => Some(connack),
            _ => None,
        }
    }

    /// The SUBSCRIBE as it will be forwarded: without the filters that a hook refused.
    #[must_use]
    pub fn subscribe(&self) -> Option<Subscribe<'_>> {
        match self.view()? {
            View::Subscribe(subscribe) => Some(subscribe),
            _ => None,
        }
    }

    /// The UNSUBSCRIBE as it will be forwarded.
    #[must_use]
    pub fn unsubscribe(&self) -> Option<Unsubscribe<'_>> {
        match self.view()? {
            View::Unsubscribe(unsubscribe) => Some(unsubscribe),
            _ => None,
        }
    }

    /// The SUBACK or UNSUBACK, with a code for each filter that the client asked for.
    #[must_use]
    pub fn suback(&self) -> Option<Suback<'_>> {
        match self.view()? {
            View::Suback(suback) | View::Unsuback(suback) => Some(suback),
            _ => None,
        }
    }

    /// The PUBACK, PUBREC, PUBREL or PUBCOMP.
    #[must_use]
    pub fn ack(&self) -> Option<Ack<'_>> {
        match self.view()? {
            View::Ack(ack) => Some(ack),
            _ => None,
        }
    }

    /// The DISCONNECT.
    #[must_use]
    pub fn disconnect(&self) -> Option<Disconnect<'_>> {
        match self.view()? {
            View::Disconnect(disconnect) => Some(disconnect),
            _ => None,
        }
    }

    /// The AUTH.
    #[must_use]
    pub fn auth(&self) -> Option<Auth<'_>> {
        match self.view()? {
            View::Auth(auth) => Some(auth),
            _ => None,
        }
    }

    fn view(&self) -> Option<View<'_>> {
        if self.publish.is_some() {
            return None; // read through `publish`, which needs no second validation
        }
        View::parse(self.version, self.direction, &self.frame).ok()?
    }

    /// Changes fields of a PUBLISH and leaves all other bytes as they are.
    ///
    /// # Errors
    /// [`EncodeError::NoSuchField`] when this is no PUBLISH, or when a payload is to be replaced
    /// that is already streaming past; [`EncodeError`] when a value is not valid.
    pub fn edit_publish(&mut self, edit: &PublishEdit<'_>) -> Result<(), EncodeError> {
        let layout = self.publish.ok_or(EncodeError::NoSuchField)?;
        let mut edit = *edit;
        let resolved;
        // the alias stood for a topic that the other side may not know: write it out
        if let (None, Some(topic)) = (edit.topic, &self.topic) {
            resolved = topic.clone();
            edit.topic = core::str::from_utf8(&resolved).ok();
        }
        let frame = Publish::new(layout, &self.frame).edit(self.version, &edit)?;
        let head = Head::parse(&frame)
            .map_err(EncodeError::Invalid)?
            .ok_or(EncodeError::NoSuchField)?;
        let layout = PublishLayout::parse(head, self.version, self.direction, &frame)
            .map_err(EncodeError::Invalid)?
            .ok_or(EncodeError::NoSuchField)?;
        self.topic = None;
        self.publish = Some(layout);
        self.frame = frame;
        Ok(())
    }

    /// Replaces the topic name of a PUBLISH.
    ///
    /// # Errors
    /// As [`edit_publish`](Self::edit_publish).
    pub fn set_topic(&mut self, topic: &str) -> Result<(), EncodeError> {
        self.edit_publish(&PublishEdit::new().topic(topic))
    }

    /// Replaces the payload of a PUBLISH. A service that does so must not say
    /// [`head_only`](super::Tap::head_only).
    ///
    /// # Errors
    /// As [`edit_publish`](Self::edit_publish).
    pub fn set_payload(&mut self, payload: &[u8]) -> Result<(), EncodeError> {
        self.edit_publish(&PublishEdit::new().payload(payload))
    }

    /// Replaces the property block of a PUBLISH, SUBSCRIBE, UNSUBSCRIBE or CONNACK
    /// ([`PropertyWriter::as_bytes`](mproxy_codec::PropertyWriter::as_bytes)) and leaves all other
    /// bytes as they are.
    ///
    /// # Errors
    /// [`EncodeError::NoSuchField`] for other packets and before MQTT 5.0; [`EncodeError`] when the
    /// block is not valid in such a packet, or makes it too long.
    pub fn set_properties(&mut self, properties: &[u8]) -> Result<(), EncodeError> {
        if self.publish.is_some() {
            return self.edit_publish(&PublishEdit::new().properties(properties));
        }
        if !self.version.is_v5() {
            return Err(EncodeError::NoSuchField);
        }
        let place = Place::Packet(self.kind, self.direction);
        Properties::parse(properties, place).map_err(EncodeError::Invalid)?;
        self.frame = match self.view() {
            Some(View::Connack(connack)) => connack.with_properties(self.version, properties)?,
            Some(View::Subscribe(subscribe)) => {
                let filters = subscribe.subscriptions();
                let filters = filters.map(|entry| (entry.filter, entry.options));
                encode_subscribe(self.version, subscribe.packet_id(), properties, filters)?
            }
            Some(View::Unsubscribe(unsubscribe)) => {
                let (id, filters) = (unsubscribe.packet_id(), unsubscribe.filters());
                encode_unsubscribe(self.version, id, properties, filters)?
            }
            _ => return Err(EncodeError::NoSuchField),
        };
        Ok(())
    }

    /// Judges each topic filter of a SUBSCRIBE: an `Err` refuses that filter alone, with this code
    /// in the SUBACK. Filters that an outer hook refused are not shown.
    ///
    /// Returns how many filters are left to forward.
    ///
    /// # Errors
    /// [`EncodeError`] only when the remaining packet cannot be written, which the size of the
    /// original rules out.
    pub fn retain_filters(
        &mut self,
        mut judge: impl FnMut(Subscription<'_>) -> Result<(), ReasonCode>,
    ) -> Result<usize, EncodeError> {
        let Some(subscribe) = self.subscribe() else {
            return Ok(0);
        };
        if self.is_refused() {
            return Ok(0);
        }
        let verdicts: Vec<_> = subscribe
            .subscriptions()
            .map(|entry| judge(entry).err())
            .collect();
        if verdicts.iter().all(Option::is_none) {
            return Ok(verdicts.len());
        }
        let mut verdicts = verdicts.into_iter();
        for entry in self.entries_mut() {
            if entry.refused.is_none() {
                entry.refused = verdicts.next().flatten();
            }
        }
        self.rebuild()
    }

    /// Replaces topic filters of a SUBSCRIBE or UNSUBSCRIBE: `Ok(None)` leaves a filter as it is,
    /// an `Err` refuses it.
    ///
    /// Returns how many filters are left to forward.
    ///
    /// # Errors
    /// [`EncodeError`] when a new filter is not valid or the packet becomes too long.
    pub fn map_filters(
        &mut self,
        mut map: impl FnMut(&str) -> Result<Option<String>, ReasonCode>,
    ) -> Result<usize, EncodeError> {
        if !matches!(self.kind, Kind::Subscribe | Kind::Unsubscribe) || self.is_refused() {
            return Ok(0);
        }
        let mut changed = false;
        let entries = self.entries_mut();
        for entry in entries.iter_mut().filter(|entry| entry.refused.is_none()) {
            match map(&entry.filter) {
                Ok(None) => {}
                Ok(Some(filter)) => {
                    changed = true;
                    entry.filter = filter;
                }
                Err(reason) => {
                    changed = true;
                    entry.refused = Some(reason);
                }
            }
        }
        if changed {
            self.rebuild()
        } else {
            Ok(self.left())
        }
    }

    /// Lowers the maximum QoS of topic filters of a SUBSCRIBE: the broker then grants no more, and
    /// the SUBACK says so. A QoS above the one asked for is not asked for. [MQTT-3.8.4-8]
    ///
    /// # Errors
    /// [`EncodeError`] only when the packet cannot be written, which the size of the original rules
    /// out.
    pub fn lower_qos(
        &mut self,
        mut maximum: impl FnMut(Subscription<'_>) -> QoS,
    ) -> Result<(), EncodeError> {
        let Some(subscribe) = self.subscribe() else {
            return Ok(());
        };
        let maxima: Vec<_> = subscribe
            .subscriptions()
            .map(|entry| (entry.options.qos(), maximum(entry)))
            .collect();
        if self.is_refused() || maxima.iter().all(|(asked, maximum)| asked <= maximum) {
            return Ok(());
        }
        let mut maxima = maxima.into_iter();
        for entry in self.entries_mut() {
            if entry.refused.is_none()
                && let Some((asked, maximum)) = maxima.next()
            {
                entry.options = entry.options.with_qos(asked.min(maximum));
            }
        }
        self.rebuild().map(drop)
    }

    /// Adds a topic filter to a SUBSCRIBE. The client does not hear of it: its SUBACK answers only
    /// what it asked for.
    ///
    /// # Errors
    /// [`EncodeError::NoSuchField`] when this is no SUBSCRIBE; [`EncodeError`] when the filter is
    /// not valid or the packet becomes too long.
    pub fn add_filter(
        &mut self,
        filter: &str,
        options: SubscriptionOptions,
    ) -> Result<(), EncodeError> {
        if self.kind != Kind::Subscribe {
            return Err(EncodeError::NoSuchField);
        }
        let entry = Entry {
            filter: filter.to_owned(),
            options,
            refused: None,
            added: true,
        };
        self.entries_mut().push(entry);
        self.rebuild().map(drop)
    }

    /// True when hooks have refused every filter that the client asked for and added none.
    pub(crate) fn is_refused(&self) -> bool {
        self.entries
            .as_ref()
            .is_some_and(|entries| entries.0.iter().all(|e| e.refused.is_some()))
    }

    /// The filters that the client asked for, those included that hooks have refused: what the codes
    /// of its SUBACK or UNSUBACK stand for, one by one.
    pub(crate) fn requested_filters(&self) -> Vec<String> {
        if let Some(entries) = &self.entries {
            let asked = entries.0.iter().filter(|entry| !entry.added);
            return asked.map(|entry| entry.filter.clone()).collect();
        }
        match self.view() {
            Some(View::Subscribe(subscribe)) => subscribe
                .subscriptions()
                .map(|subscription| subscription.filter.to_owned())
                .collect(),
            Some(View::Unsubscribe(unsubscribe)) => {
                unsubscribe.filters().map(str::to_owned).collect()
            }
            _ => Vec::new(),
        }
    }

    fn left(&self) -> usize {
        self.entries.as_ref().map_or(0, |entries| {
            entries
                .0
                .iter()
                .filter(|entry| entry.refused.is_none())
                .count()
        })
    }

    /// True for the packet as it was offered: the very bytes, and nothing decided on filters.
    #[inline]
    pub(crate) fn is_untouched(&self, address: usize, len: usize) -> bool {
        self.frame.as_ptr().addr() == address && self.frame.len() == len && self.entries.is_none()
    }

    pub(crate) fn into_parts(self) -> Parts {
        Parts {
            frame: self.frame,
            publish: self.publish,
            topic: self.topic,
            entries: self.entries.map(|entries| entries.0),
        }
    }

    fn entries_mut(&mut self) -> &mut Vec<Entry> {
        if self.entries.is_none() {
            let options = SubscriptionOptions::new(QoS::AtMostOnce);
            let entry = |filter: &str, options| Entry {
                filter: filter.to_owned(),
                options,
                refused: None,
                added: false,
            };
            let entries = match self.view() {
                Some(View::Subscribe(subscribe)) => subscribe
                    .subscriptions()
                    .map(|subscription| entry(subscription.filter, subscription.options))
                    .collect(),
                Some(View::Unsubscribe(unsubscribe)) => unsubscribe
                    .filters()
                    .map(|filter| entry(filter, options))
                    .collect(),
                _ => Vec::new(),
            };
            self.entries = Some(Box::new(Entries(entries)));
        }
        &mut self
            .entries
            .get_or_insert_with(|| Box::new(Entries(Vec::new())))
            .0
    }

    /// Writes the packet anew from its entries. With none left the bytes stay as they are: an
    /// empty SUBSCRIBE must not exist.
    fn rebuild(&mut self) -> Result<usize, EncodeError> {
        let left = self.left();
        if left == 0 {
            return Ok(0);
        }
        let Some(entries) = &self.entries else {
            return Ok(left);
        };
        let kept = || entries.0.iter().filter(|entry| entry.refused.is_none());
        let frame = match self.view() {
            Some(View::Subscribe(subscribe)) => encode_subscribe(
                self.version,
                subscribe.packet_id(),
                subscribe.properties().as_bytes(),
                kept().map(|entry| (entry.filter.as_str(), entry.options)),
            )?,
            Some(View::Unsubscribe(unsubscribe)) => encode_unsubscribe(
                self.version,
                unsubscribe.packet_id(),
                unsubscribe.properties().as_bytes(),
                kept().map(|entry| entry.filter.as_str()),
            )?,
            _ => return Err(EncodeError::NoSuchField),
        };
        self.frame = frame;
        Ok(left)
    }
}

impl fmt::Debug for Packet {
    /// Kind and size only: packets carry other people's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet")
            .field("kind", &self.kind)
            .field("version", &self.version)
            .field("direction", &self.direction)
            .field("len", &self.frame.len())
            .finish_non_exhaustive()
    }
}

/// What the session takes back from a packet.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) frame: Bytes,
    pub(crate) publish: Option<PublishLayout>,
    pub(crate) topic: Option<Arc<[u8]>>,
    pub(crate) entries: Option<Vec<Entry>>,
}

/// A PUBLISH with its topic alias resolved.
#[derive(Clone, Copy, Debug)]
pub struct PublishRef<'a> {
    view: Publish<'a>,
    topic: Option<&'a [u8]>,
}

impl<'a> PublishRef<'a> {
    /// The topic name, never empty: an alias has been resolved.
    #[inline]
    #[must_use]
    pub fn topic(&self) -> &'a str {
        core::str::from_utf8(self.topic_bytes()).unwrap_or_default()
    }

    /// The topic name as bytes of valid UTF-8.
    #[inline]
    #[must_use]
    pub fn topic_bytes(&self) -> &'a [u8] {
        match self.topic {
            Some(topic) => topic,
            None => self.view.topic_bytes(),
        }
    }

    /// The payload; `None` when it is still on its way, which only a
    /// [`head_only`](super::Tap::head_only) tap meets.
    #[must_use]
    pub fn payload(&self) -> Option<&'a [u8]> {
        self.view.payload()
    }

    /// Bytes of payload, on their way or here.
    #[must_use]
    pub const fn payload_len(&self) -> usize {
        self.view.layout().payload_len()
    }

    /// The quality of service.
    #[must_use]
    pub const fn qos(&self) -> QoS {
        self.view.layout().qos()
    }

    /// The RETAIN flag.
    #[must_use]
    pub const fn retain(&self) -> bool {
        self.view.layout().retain()
    }

    /// The DUP flag. It must not change a verdict: any client can set it.
    #[must_use]
    pub const fn dup(&self) -> bool {
        self.view.layout().dup()
    }

    /// The packet identifier; `None` at QoS 0.
    #[must_use]
    pub const fn packet_id(&self) -> Option<u16> {
        self.view.layout().packet_id()
    }

    /// The properties; empty before MQTT 5.0.
    #[must_use]
    pub fn properties(&self) -> Properties<'a> {
        self.view.properties()
    }
}
