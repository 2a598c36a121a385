//! CAs whose certificates no revocation list can revoke, although there are lists.

use std::collections::HashSet;

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{TlsSetting, name::text_of, revocation::is_from};

/// A CA that has no revocation list among those in use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnlistedCa {
    /// Which of the options names its file.
    pub setting: TlsSetting,
    /// Its name, as in [`CertificateNames`](super::CertificateNames::subject).
    pub subject: String,
    /// There is a list with its name, and another key has signed it. webpki takes it for the list of this CA, and
    /// refuses whom the CA has certified, whatever is allowed.
    pub has_list_of_other_key: bool,
}

/// The CAs among these without a list among those; none if there are no lists, because nothing is checked then.
pub(super) fn unlisted<'a>(
    roots: impl Iterator<Item = (TlsSetting, &'a CertificateDer<'static>)>,
    lists: &[CertificateRevocationListDer<'static>],
) -> Vec<UnlistedCa> {
    let mut unlisted = Vec::new();
    if lists.is_empty() {
        return unlisted;
    }
    // a CA may have several certificates
    let mut seen = HashSet::new();
    for (setting, root) in roots {
        let Ok((_, ca)) = X509Certificate::from_der(root) else {
            continue;
        };
        let (name, key) = (ca.subject().as_raw(), ca.public_key().raw);
        if !seen.insert((name.to_vec(), key.to_vec())) {
            continue;
        }
        // webpki looks at the first list with the name of the issuer, and at no other
        let mut lists = lists.iter();
        let is_signed = lists.find_map(|list| is_from(list, name, key));
        if is_signed != Some(true) {
            unlisted.push(UnlistedCa {
                setting,
                subject: text_of(ca.subject()),
                has_list_of_other_key: is_signed == Some(false),
            });
        }
    }
    unlisted
}
