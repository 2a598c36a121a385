//! A SUBSCRIBE that a callback may change.

use mproxy_codec::{EncodeError, QoS, ReasonCode, Subscription, SubscriptionOptions};

use crate::hook::Packet;

/// A SUBSCRIBE, for a callback to judge and to change.
#[derive(Debug)]
pub struct SubscribeMut {
    entries: Vec<(String, SubscriptionOptions)>,
    refused: Vec<Option<ReasonCode>>,
    changed: Vec<bool>,
    added: Vec<(String, SubscriptionOptions)>,
}

impl SubscribeMut {
    pub(super) fn of_packet(packet: &Packet) -> Option<Self> {
        let entries: Vec<_> = packet
            .subscribe()?
            .subscriptions()
            .map(|subscription| (subscription.filter.to_string(), subscription.options))
            .collect();
        Some(Self {
            refused: vec![None; entries.len()],
            changed: vec![false; entries.len()],
            entries,
            added: Vec::new(),
        })
    }

    /// The filters that the client asks for, in order; their positions are the arguments of
    /// [`refuse`](Self::refuse) and [`set_filter`](Self::set_filter).
    pub fn filters(&self) -> impl Iterator<Item = (&str, SubscriptionOptions)> {
        self.entries
            .iter()
            .map(|(filter, options)| (filter.as_str(), *options))
    }

    /// Refuses one filter. A position that does not exist is ignored.
    ///
    /// SUBACK carries the reason; MQTT 3.x has only 0x80. A reason that SUBACK does not have
    /// becomes 0x87 Not authorized.
    pub fn refuse(&mut self, position: usize, reason: ReasonCode) {
        if let Some(refused) = self.refused.get_mut(position) {
            *refused = Some(reason);
        }
    }

    /// Replaces one filter. A position that does not exist is ignored.
    pub fn set_filter(&mut self, position: usize, filter: impl Into<String>) {
        if let Some(entry) = self.entries.get_mut(position) {
            entry.0 = filter.into();
            self.changed[position] = true;
        }
    }

    /// Subscribes the client to one more filter, without telling it.
    pub fn add(&mut self, filter: impl Into<String>, qos: QoS) {
        self.added
            .push((filter.into(), SubscriptionOptions::new(qos)));
    }

    pub(super) fn apply(self, packet: &mut Packet) -> Result<(), EncodeError> {
        for (filter, options) in self.added {
            packet.add_filter(&filter, options)?;
        }
        if self.changed.contains(&true) {
            let mut entries = self.entries.into_iter().zip(self.changed);
            packet.map_filters(|_| {
                Ok(entries
                    .next()
                    .and_then(|((filter, _), changed)| changed.then_some(filter)))
            })?;
        }
        let mut refused = self.refused.into_iter();
        packet
            .retain_filters(|_: Subscription<'_>| refused.next().flatten().map_or(Ok(()), Err))?;
        Ok(())
    }
}
