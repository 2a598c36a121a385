//! Vendor forms of topics, in addition to those of the standard: `$queue/f`, `$exclusive/f`,
//! `$oshare/group/f`, `$delayed/seconds/topic`.

use std::ops::BitOr;

pub(super) const QUEUE: &str = "$queue/";
pub(super) const EXCLUSIVE: &str = "$exclusive/";
pub(super) const ORDERED: &str = "$oshare/";
pub(super) const DELAYED: &str = "$delayed/";

/// A set of forms beyond the standard that a broker understands.
///
/// A broker that does not know a form takes it for an ordinary name. So a layer that authorises or
/// rewrites topics must know the broker: the forms are part of its [`Dialect`](super::Dialect).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct VendorForms(u8);

impl VendorForms {
    /// The standard and nothing else: `$share/group/filter` for subscriptions.
    pub const NONE: Self = Self(0);
    /// `$queue/filter`: a shared subscription without a group (EMQX).
    pub const QUEUE: Self = Self(1);
    /// `$exclusive/filter`: a subscription that one client has at a time (EMQX).
    pub const EXCLUSIVE: Self = Self(2);
    /// `$delayed/seconds/topic`: a PUBLISH that the broker holds back (EMQX).
    pub const DELAYED: Self = Self(4);
    /// `$oshare/group/filter`: a shared subscription that keeps the order (BifroMQ).
    pub const OSHARE: Self = Self(8);
    /// All of them.
    pub const ALL: Self = Self(15);

    /// Says whether all of `other` are in the set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Says whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The form of a topic name, filter or pattern that begins like one; of those that exist, not
    /// of those in a set.
    pub fn of(topic: &str) -> Option<Self> {
        [
            (QUEUE, Self::QUEUE),
            (EXCLUSIVE, Self::EXCLUSIVE),
            (DELAYED, Self::DELAYED),
            (ORDERED, Self::OSHARE),
        ]
        .into_iter()
        .find(|(prefix, _)| topic.starts_with(prefix))
        .map(|(_, form)| form)
    }
}

impl BitOr for VendorForms {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_known_by_its_beginning() {
        for (text, form) in [
            ("$queue/#", Some(VendorForms::QUEUE)),
            ("$exclusive/${client_id}/#", Some(VendorForms::EXCLUSIVE)),
            ("$delayed/+/a", Some(VendorForms::DELAYED)),
            ("$oshare/", Some(VendorForms::OSHARE)),
            ("$share/g/a", None),
            ("$queue", None),
            ("queue/", None),
        ] {
            assert_eq!(VendorForms::of(text), form, "{text}");
        }
    }
}
