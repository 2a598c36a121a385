//! Decisions of hooks on single topic filters of a SUBSCRIBE or UNSUBSCRIBE.

use mproxy_codec::topic::has_control;
use mproxy_codec::{
    DecodeError, EncodeError, Kind, QoS, ReasonCode, Subscription, SubscriptionOptions, View,
    encode_subscribe, encode_unsubscribe,
};

use super::Packet;

/// Boxed, because packets are moved from layer to layer, and few have entries.
pub(super) struct Entries(pub(super) Vec<Entry>);

/// One topic filter of a SUBSCRIBE or UNSUBSCRIBE that hooks have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) filter: String,
    pub(crate) options: SubscriptionOptions,
    pub(crate) refused: Option<ReasonCode>,
    /// Added by a hook: the client did not ask for it and must not learn of it.
    pub(crate) added: bool,
}

impl<P> Packet<P> {
    /// Judges each topic filter of a SUBSCRIBE: an `Err` refuses only that filter, with this code
    /// in the SUBACK, 0x80 in MQTT 3.x. A code that SUBACK does not have becomes 0x87 Not authorized.
    /// Filters that an outer hook refused are not judged again.
    ///
    /// Returns how many filters are left to forward.
    ///
    /// # Errors
    /// [`EncodeError`] only if the remaining packet cannot be written, which the size of the
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
    /// [`EncodeError`] if a new filter is not valid or the packet becomes too long.
    pub fn map_filters(
        &mut self,
        mut map: impl FnMut(&str) -> Result<Option<String>, ReasonCode>,
    ) -> Result<usize, EncodeError> {
        if !matches!(self.raw.kind, Kind::Subscribe | Kind::Unsubscribe) || self.is_refused() {
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
    /// the SUBACK says so. It never raises the requested QoS. [MQTT-3.8.4-8]
    ///
    /// # Errors
    /// [`EncodeError`] only if the packet cannot be written, which the size of the original rules
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

    /// Adds a topic filter to a SUBSCRIBE. The client does not learn of it: its SUBACK answers only
    /// what it asked for.
    ///
    /// # Errors
    /// [`EncodeError::NoSuchField`] if this is not a SUBSCRIBE; [`EncodeError`] if the filter is
    /// not valid or the packet becomes too long.
    pub fn add_filter(
        &mut self,
        filter: &str,
        options: SubscriptionOptions,
    ) -> Result<(), EncodeError> {
        if self.raw.kind != Kind::Subscribe {
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

    /// True if hooks have refused every filter that the client asked for, and added none.
    pub(crate) fn is_refused(&self) -> bool {
        self.raw
            .entries
            .as_ref()
            .is_some_and(|entries| entries.0.iter().all(|e| e.refused.is_some()))
    }

    /// True when hooks have refused a filter.
    pub(crate) fn refuses_some(&self) -> bool {
        let entries = self.raw.entries.as_ref();
        entries.is_some_and(|entries| entries.0.iter().any(|e| e.refused.is_some()))
    }

    /// The filters of a SUBSCRIBE or UNSUBSCRIBE that the client asked for, each with the code
    /// of its refusal, if a hook has refused it. The codes of the SUBACK or UNSUBACK match them
    /// one by one. Empty for other packets.
    ///
    /// Unlike [`subscribe`](Self::subscribe) it includes refused filters, so that a layer can see in
    /// the verdict of the services inside what they decided.
    #[must_use]
    pub fn requested_filters(&self) -> Vec<(&str, Option<ReasonCode>)> {
        if let Some(entries) = &self.raw.entries {
            let asked = entries.0.iter().filter(|entry| !entry.added);
            return asked
                .map(|entry| (entry.filter.as_str(), entry.refused))
                .collect();
        }
        match self.view() {
            Some(View::Subscribe(subscribe)) => subscribe
                .subscriptions()
                .map(|subscription| (subscription.filter.as_str(), None))
                .collect(),
            Some(View::Unsubscribe(unsubscribe)) => unsubscribe
                .filters()
                .map(|filter| (filter.as_str(), None))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// How many filters the client asked for in this SUBSCRIBE or UNSUBSCRIBE; 0 in any other packet.
    pub(crate) fn asked(&self) -> usize {
        if let Some(entries) = &self.raw.entries {
            return entries.0.iter().filter(|entry| !entry.added).count();
        }
        match self.view() {
            Some(View::Subscribe(subscribe)) => subscribe.len(),
            Some(View::Unsubscribe(unsubscribe)) => unsubscribe.len(),
            _ => 0,
        }
    }

    fn left(&self) -> usize {
        self.raw.entries.as_ref().map_or(0, |entries| {
            entries
                .0
                .iter()
                .filter(|entry| entry.refused.is_none())
                .count()
        })
    }

    fn entries_mut(&mut self) -> &mut Vec<Entry> {
        if self.raw.entries.is_none() {
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
                    .map(|subscription| entry(&subscription.filter, subscription.options))
                    .collect(),
                Some(View::Unsubscribe(unsubscribe)) => unsubscribe
                    .filters()
                    .map(|filter| entry(&filter, options))
                    .collect(),
                _ => Vec::new(),
            };
            self.raw.entries = Some(Box::new(Entries(entries)));
        }
        &mut self
            .raw
            .entries
            .get_or_insert_with(|| Box::new(Entries(Vec::new())))
            .0
    }

    /// Rewrites the packet from its entries. If none is left, the bytes stay as they are: an
    /// empty SUBSCRIBE must not exist.
    fn rebuild(&mut self) -> Result<usize, EncodeError> {
        let left = self.left();
        if left == 0 {
            return Ok(0);
        }
        let Some(entries) = &self.raw.entries else {
            return Ok(left);
        };
        let kept = || entries.0.iter().filter(|entry| entry.refused.is_none());
        let frame = match self.view() {
            Some(View::Subscribe(subscribe)) => encode_subscribe(
                self.raw.version,
                subscribe.packet_id(),
                subscribe.properties().as_bytes(),
                kept().map(|entry| (entry.filter.as_str(), entry.options)),
            )?,
            Some(View::Unsubscribe(unsubscribe)) => encode_unsubscribe(
                self.raw.version,
                unsubscribe.packet_id(),
                unsubscribe.properties().as_bytes(),
                kept().map(|entry| entry.filter.as_str()),
            )?,
            _ => return Err(EncodeError::NoSuchField),
        };
        let had_control = || self.view().is_some_and(|view| view.has_control());
        if kept().any(|entry| has_control(&entry.filter)) && !had_control() {
            return Err(EncodeError::Invalid(DecodeError::ControlCharacter));
        }
        self.replace(frame)?;
        Ok(left)
    }
}
