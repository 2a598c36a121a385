//! Forms of topics beyond the standard, which only some brokers know.

use super::Choice;
use mproxy_codec::topic::VendorForms;

/// One such form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VendorForm {
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
    pub fn set(forms: &[Self]) -> VendorForms {
        forms.iter().fold(VendorForms::NONE, |set, form| {
            set | match form {
                Self::Queue => VendorForms::QUEUE,
                Self::Exclusive => VendorForms::EXCLUSIVE,
                Self::Delayed => VendorForms::DELAYED,
                Self::OrderedShare => VendorForms::OSHARE,
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
