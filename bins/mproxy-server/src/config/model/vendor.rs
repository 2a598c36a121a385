//! Forms of topics beyond the standard, which only some brokers know.

use super::Choice;
use mproxy_codec::topic::Dialect;

/// One such form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum VendorForm {
    /// `$queue/filter`
    Queue,
    /// `$exclusive/filter`
    Exclusive,
    /// `$delayed/seconds/topic`
    Delayed,
    /// `$oshare/group/filter`
    OrderedShare,
}

impl VendorForm {
    /// The set of the forms in a list.
    pub(crate) fn dialect(forms: &[Self]) -> Dialect {
        forms.iter().fold(Dialect::NONE, |set, form| {
            set | match form {
                Self::Queue => Dialect::QUEUE,
                Self::Exclusive => Dialect::EXCLUSIVE,
                Self::Delayed => Dialect::DELAYED,
                Self::OrderedShare => Dialect::OSHARE,
            }
        })
    }
}

impl Choice for VendorForm {
    const ALL: &'static [(&'static str, Self)] = &[
        ("queue", Self::Queue),
        ("exclusive", Self::Exclusive),
        ("delayed", Self::Delayed),
        ("oshare", Self::OrderedShare),
    ];
}
