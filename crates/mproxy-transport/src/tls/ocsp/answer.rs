//! What a responder answers.

use std::time::{SystemTime, UNIX_EPOCH};

use x509_cert::{
    der::{Decode, Encode, asn1::ObjectIdentifier},
    ext::Extensions,
};
use x509_ocsp::{
    CertStatus, OcspGeneralizedTime, OcspResponse, OcspResponseStatus, ResponderId, ResponseData,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{OcspError, OcspQuestion, question::sha1};
use crate::tls::{
    revocation::CLOCK_SKEW,
    signature::{SEQUENCE, Signed, element},
};

/// The basic type of an answer, the only one that there is (RFC 6960, section 4.2.1).
const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");

/// For how long an answer without `nextUpdate` is in force, in seconds. Its responder could say more at any time;
/// and an attacker who has recorded it could send it again forever.
const WITHOUT_NEXT_UPDATE: i64 = 300;

/// The most certificates in an answer that are looked at: a responder sends its own, and few above it.
const MAX_CERTIFICATES: usize = 10;

/// The identifier octet of `[0] EXPLICIT`.
const EXPLICIT_0: u8 = 0xa0;

/// What a responder says about a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OcspAnswer {
    /// The status of the certificate.
    pub status: OcspStatus,
    /// Until when the answer is in force, in seconds since 1970.
    pub valid_until: i64,
}

/// The status of a certificate (RFC 6960, section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "complete by the RFC")]
pub enum OcspStatus {
    /// It was not revoked.
    Good,
    /// It was, or it is on hold: since when, in seconds since 1970.
    Revoked(i64),
    /// The responder does not know it.
    Unknown,
}

impl OcspQuestion {
    /// Checks an answer: it is about this certificate and in force, and the issuer has signed it, or one to
    /// whom the issuer has delegated that (RFC 6960, section 3.2). Whether the certificate of such a delegate
    /// was revoked is not checked.
    ///
    /// # Errors
    /// It is not to be used.
    pub fn check(&self, body: &[u8], now: SystemTime) -> Result<OcspAnswer, OcspError> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let response = OcspResponse::from_der(body).map_err(|_| OcspError::NotAnAnswer)?;
        is_successful(response.response_status)?;
        let basic = response.response_bytes.ok_or(OcspError::NotAnAnswer)?;
        if basic.response_type != BASIC {
            return Err(OcspError::NotAnAnswer);
        }
        let signed = Signed::of(basic.response.as_bytes()).ok_or(OcspError::NotAnAnswer)?;
        let data = ResponseData::from_der(signed.bytes).map_err(|_| OcspError::NotAnAnswer)?;
        self.is_signed(&data.responder_id, &signed, now)?;
        let mut about = data
            .responses
            .iter()
            .filter(|it| self.is_about(&it.cert_id));
        let single = match (about.next(), about.next()) {
            (Some(single), None) => single,
            (Some(_), Some(_)) => return Err(OcspError::Several),
            (None, _) => return Err(OcspError::OtherCertificate),
        };
        let extensions = [&data.response_extensions, &single.single_extensions];
        if extensions.into_iter().any(has_critical) {
            return Err(OcspError::Critical);
        }
        let this_update = seconds(single.this_update);
        if this_update > now.saturating_add(CLOCK_SKEW) {
            return Err(OcspError::NotYetValid(this_update.saturating_sub(now)));
        }
        let valid_until = match single.next_update {
            Some(next) => seconds(next),
            None => this_update.saturating_add(WITHOUT_NEXT_UPDATE),
        };
        if valid_until <= now {
            return Err(OcspError::Expired(now.saturating_sub(valid_until)));
        }
        Ok(OcspAnswer {
            status: match single.cert_status {
                CertStatus::Good(_) => OcspStatus::Good,
                CertStatus::Revoked(info) => OcspStatus::Revoked(seconds(info.revocation_time)),
                CertStatus::Unknown(_) => OcspStatus::Unknown,
            },
            valid_until,
        })
    }

    fn is_signed(
        &self,
        responder: &ResponderId,
        signed: &Signed<'_>,
        now: i64,
    ) -> Result<(), OcspError> {
        let issuer = &self.issuer;
        let mut outcome = Err(OcspError::UnknownSigner);
        if is_named(responder, &issuer.name, &issuer.key_hash) {
            if signed.is_by(&issuer.key) {
                return Ok(());
            }
            outcome = Err(OcspError::BadSignature);
        }
        for der in certificates(signed.behind)? {
            let Ok((_, certificate)) = X509Certificate::from_der(der) else {
                continue;
            };
            let key = &certificate.public_key().subject_public_key.data;
            if !is_named(responder, certificate.subject().as_raw(), &sha1(key)) {
                continue;
            }
            outcome = self.may_sign(&certificate, der, now).and_then(|()| {
                match signed.is_by(certificate.public_key().raw) {
                    true => Ok(()),
                    false => Err(OcspError::BadSignature),
                }
            });
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// Whether the issuer lets this one sign answers (RFC 6960, section 4.2.2.2).
    fn may_sign(
        &self,
        delegate: &X509Certificate<'_>,
        der: &[u8],
        now: i64,
    ) -> Result<(), OcspError> {
        let signed = Signed::of(der).ok_or(OcspError::StrangeSigner)?;
        if delegate.issuer().as_raw() != &*self.issuer.name || !signed.is_by(&self.issuer.key) {
            return Err(OcspError::StrangeSigner);
        }
        let usages = delegate.extended_key_usage();
        let signs_answers = usages.is_ok_and(|it| it.is_some_and(|it| it.value.ocsp_signing));
        let usage = delegate.key_usage();
        let signs = usage.is_ok_and(|it| it.is_none_or(|it| it.value.digital_signature()));
        let is_known = delegate
            .extensions()
            .iter()
            .all(|it| !it.critical || !it.parsed_extension().unsupported());
        if !signs_answers || !signs || !is_known {
            return Err(OcspError::SignerNotAllowed);
        }
        let validity = delegate.validity();
        let begins = validity.not_before.timestamp().saturating_sub(CLOCK_SKEW);
        match begins <= now && now < validity.not_after.timestamp() {
            true => Ok(()),
            false => Err(OcspError::SignerExpired),
        }
    }
}

fn is_successful(status: OcspResponseStatus) -> Result<(), OcspError> {
    use OcspResponseStatus as Status;
    Err(match status {
        Status::Successful => return Ok(()),
        Status::TryLater => OcspError::Busy("tryLater"),
        Status::InternalError => OcspError::Busy("internalError"),
        Status::MalformedRequest => OcspError::Refused("malformedRequest"),
        Status::SigRequired => OcspError::Refused("sigRequired"),
        Status::Unauthorized => OcspError::Refused("unauthorized"),
    })
}

/// Whether a responder calls itself by this name, or by the hash of this key.
fn is_named(responder: &ResponderId, name: &[u8], key_hash: &[u8; 20]) -> bool {
    match responder {
        ResponderId::ByName(own) => own.to_der().is_ok_and(|own| own == name),
        ResponderId::ByKey(own) => own.as_bytes() == key_hash,
    }
}

/// The certificates of an answer, each as DER: `[0] EXPLICIT SEQUENCE OF Certificate OPTIONAL`.
fn certificates(behind: &[u8]) -> Result<Vec<&[u8]>, OcspError> {
    if behind.is_empty() {
        return Ok(Vec::new());
    }
    let list = element(behind, EXPLICIT_0).filter(|(behind, _)| behind.is_empty());
    let list = list.and_then(|(_, list)| element(list.data, SEQUENCE));
    let list = list.filter(|(behind, _)| behind.is_empty());
    let (_, list) = list.ok_or(OcspError::NotAnAnswer)?;
    let mut all = Vec::new();
    let mut left = list.data;
    while !left.is_empty() && all.len() < MAX_CERTIFICATES {
        let (behind, _) = element(left, SEQUENCE).ok_or(OcspError::NotAnAnswer)?;
        all.push(&left[..left.len() - behind.len()]);
        left = behind;
    }
    Ok(all)
}

fn has_critical(extensions: &Option<Extensions>) -> bool {
    extensions.iter().flatten().any(|it| it.critical)
}

fn seconds(time: OcspGeneralizedTime) -> i64 {
    i64::try_from(time.0.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
}
