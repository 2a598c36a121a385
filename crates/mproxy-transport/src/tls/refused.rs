//! The certificate of a client that was refused because of it.
//!
//! rustls keeps the certificates of a peer only after it has verified them, and the errors of a verifier
//! decide which alert the client gets, so they cannot carry one. The verifier runs inside of the step that
//! fails, on the same thread: there it leaves what it has refused.

use std::{cell::RefCell, fmt::Write};

use x509_parser::{
    asn1_rs::{Any, FromDer, Tag},
    x509::X509Name,
};

use super::name::text_of;

/// What the certificate of a refused client says about itself. The texts are the client's: nobody has
/// verified them. Each has at most 256 bytes; a longer one is cut, and ends in `…`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedCertificate {
    /// The whole subject, escaped as in [`CertificateNames`](super::CertificateNames::subject).
    pub subject: String,
    /// The serial number: hexadecimal digits in pairs with colons between them.
    pub serial: String,
    /// The issuer, like the subject.
    pub issuer: String,
}

impl RefusedCertificate {
    /// Reads a certificate in DER, as far as the subject (RFC 5280, section 4.1.2). `None` if it is none.
    pub(super) fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = Any::from_der(der).ok()?;
        let (_, to_be_signed) = Any::from_der(certificate.data).ok()?;
        let (mut rest, mut serial) = Any::from_der(to_be_signed.data).ok()?;
        if serial.tag() != Tag::Integer {
            // the version, which is optional
            (rest, serial) = Any::from_der(rest).ok()?;
        }
        let (rest, _algorithm) = Any::from_der(rest).ok()?;
        let (rest, issuer) = name(rest)?;
        let (rest, _validity) = Any::from_der(rest).ok()?;
        let (_, subject) = name(rest)?;
        Some(Self {
            subject,
            serial: digits(serial.data),
            issuer,
        })
    }
}

/// A name, and what is behind it.
fn name(der: &[u8]) -> Option<(&[u8], String)> {
    let (rest, whole) = Any::from_der(der).ok()?;
    let raw = &der[..der.len() - rest.len()];
    if raw.len() > MAX_NAME {
        return Some((rest, format!("(a name of {} bytes)", whole.data.len())));
    }
    let (_, name) = X509Name::from_der(raw).ok()?;
    Some((rest, cut(text_of(&name))))
}

fn digits(serial: &[u8]) -> String {
    let mut digits = String::new();
    // one byte more than fits, so that it is seen to be cut
    for (index, byte) in serial.iter().take(MAX_TEXT / 3 + 1).enumerate() {
        let colon = if index == 0 { "" } else { ":" };
        // writing to a string cannot fail
        let _ = write!(digits, "{colon}{byte:02x}");
    }
    cut(digits)
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        text.truncate(end_of_last_whole(&text, MAX_TEXT - '…'.len_utf8()));
        text.push('…');
    }
    text
}

/// Where the last character within so many bytes ends, or its escape. The text is ASCII.
fn end_of_last_whole(text: &str, max: usize) -> usize {
    let bytes = text.as_bytes();
    let mut end = 0;
    loop {
        let is_hex = |it: &u8| it.is_ascii_hexdigit();
        let len = match (bytes.get(end), bytes.get(end + 1)) {
            (Some(b'\\'), next) if next.is_some_and(is_hex) => 3,
            (Some(b'\\'), _) => 2,
            _ => 1,
        };
        if end + len > max {
            return end;
        }
        end += len;
    }
}

thread_local! {
    static STEP: RefCell<Step> = const { RefCell::new(Step::Outside) };
}

/// Whether this thread takes a step of a handshake, and what was refused in it.
enum Step {
    Outside,
    Inside(Option<RefusedCertificate>),
}

/// Takes a step of a handshake. With it, the certificate that a verifier has refused meanwhile.
pub(super) fn during<T>(step: impl FnOnce() -> T) -> (T, Option<RefusedCertificate>) {
    STEP.set(Step::Inside(None));
    let taken = step();
    match STEP.replace(Step::Outside) {
        Step::Inside(refused) => (taken, refused),
        Step::Outside => (taken, None),
    }
}

/// The verifier refuses this certificate. Nothing happens outside of a handshake.
pub(super) fn note(der: &[u8]) {
    STEP.with_borrow_mut(|step| {
        if let Step::Inside(refused) = step {
            *refused = RefusedCertificate::of(der);
        }
    });
}

/// The longest text, in bytes: as much as a line of the log shows as text.
const MAX_TEXT: usize = 256;

/// The longest name that is read, in bytes of DER. A name has a few parts of at most 64 characters each
/// (RFC 5280, appendix A.1, upper bounds); a client could send thousands of parts.
const MAX_NAME: usize = 1024;

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SerialNumber};

    use super::*;

    fn certificate(names: &[&str], serial: &[u8]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let kinds = [DnType::CommonName, DnType::OrganizationName];
        for (kind, name) in kinds.into_iter().zip(names) {
            params.distinguished_name.push(kind, *name);
        }
        params.serial_number = Some(SerialNumber::from_slice(serial));
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_is_read_as_far_as_its_subject() {
        let refused = RefusedCertificate::of(&certificate(&["device-7", "x\ny"], &[7, 0xab]));
        let refused = refused.unwrap();
        assert_eq!(refused.subject, "O=x\\0Ay,CN=device-7");
        assert_eq!(refused.issuer, refused.subject);
        assert_eq!(refused.serial, "07:ab");
    }

    /// What a client sends is cut, wherever it is long; and never in the middle of an escape.
    #[test]
    fn a_long_text_is_cut_and_a_huge_name_is_not_read() {
        let long = RefusedCertificate::of(&certificate(&[&"é".repeat(300)], &[0x7f; 200])).unwrap();
        for text in [&long.subject, &long.serial, &long.issuer] {
            assert!((MAX_TEXT - 1..=MAX_TEXT).contains(&text.len()), "{text}");
            assert!(text.ends_with('…'), "{text}");
        }
        for shift in 0..8 {
            let name = format!("{}{}", "a".repeat(shift), "é\\,".repeat(100));
            let long = RefusedCertificate::of(&certificate(&[&name], &[1])).unwrap();
            let (last, _) = long
                .subject
                .strip_suffix('…')
                .unwrap()
                .rsplit_once('C')
                .unwrap();
            let behind = &long.subject[last.len()..];
            let wholes = ["C3…", "C3\\A9…", "C3\\A9\\\\…", "C3\\A9\\\\\\,…"];
            assert!(wholes.contains(&behind), "{behind}");
        }
        let huge = RefusedCertificate::of(&certificate(&[&"a".repeat(2000)], &[1])).unwrap();
        assert_eq!(huge.subject, "(a name of 2017 bytes)");
        assert_eq!(huge.serial, "01");
    }

    /// A client may send anything as its certificate.
    #[test]
    fn what_is_cut_off_or_changed_is_no_certificate_or_another_one() {
        let whole = certificate(&["device-7"], &[7]);
        for len in 0..whole.len() {
            assert_eq!(RefusedCertificate::of(&whole[..len]), None, "{len}");
        }
        for index in 0..whole.len() {
            for value in [0, 0x7f, 0x80, 0xff] {
                let mut other = whole.clone();
                other[index] = value;
                // it may be one, and reading it does not panic
                drop(RefusedCertificate::of(&other));
            }
        }
    }

    /// A session is judged again outside of a handshake: the next client is not named after it.
    #[test]
    fn what_is_refused_outside_of_a_handshake_is_not_noted() {
        let der = certificate(&["device-7"], &[7]);
        note(&der);
        assert_eq!(during(|| ()), ((), None));
        let (_, refused) = during(|| note(&der));
        assert_eq!(refused, RefusedCertificate::of(&der));
        assert_eq!(during(|| ()), ((), None));
    }
}
