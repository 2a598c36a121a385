//! Distinguished names as text.
//!
//! The text is that of `openssl x509 -nameopt RFC2253`, byte for byte, which is one of the forms that RFC 4514
//! permits. Two names have the same text only if they have the same attributes: what separates attributes is
//! escaped in values.

use std::fmt::Write;

use x509_parser::{
    asn1_rs::{Any, Class, Tag, ToDer},
    x509::{AttributeTypeAndValue, X509Name},
};

/// The whole name, the last RDN first.
pub(super) fn text_of(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let rdns: Vec<_> = name.iter_rdn().collect();
    for (index, rdn) in rdns.into_iter().rev().enumerate() {
        let attributes: Vec<_> = rdn.iter().collect();
        for (inner, attribute) in attributes.into_iter().rev().enumerate() {
            match (index, inner) {
                (0, 0) => {}
                (_, 0) => text.push(','),
                _ => text.push('+'),
            }
            push_attribute(attribute, &mut text);
        }
    }
    text
}

/// The common name, if there is one only, and it is a text without control characters.
pub(super) fn common_name(name: &X509Name<'_>) -> Option<String> {
    let mut names = name.iter_common_name();
    // A CA may have checked another one of several, as programs differ in which they take.
    let (Some(only), None) = (names.next(), names.next()) else {
        return None;
    };
    let bytes = utf8_of(only.attr_value())?;
    // in the types of one byte, who writes other characters does not agree on which they are
    let is_exact = only.attr_value().tag() == Tag::Utf8String || is_wide(only) || bytes.is_ascii();
    let text = String::from_utf8(bytes).ok()?;
    let is_name = !text.is_empty() && !text.contains(char::is_control);
    (is_exact && is_name).then_some(text)
}

fn is_wide(attribute: &AttributeTypeAndValue<'_>) -> bool {
    matches!(
        attribute.attr_value().tag(),
        Tag::BmpString | Tag::UniversalString
    )
}

fn push_attribute(attribute: &AttributeTypeAndValue<'_>, text: &mut String) {
    let kind = attribute.attr_type().to_id_string();
    let keyword = KEYWORDS.iter().find(|(id, _)| *id == kind);
    text.push_str(keyword.map_or(&*kind, |(_, keyword)| keyword));
    text.push('=');
    let value = attribute.attr_value();
    match utf8_of(value).filter(|_| keyword.is_some()) {
        Some(bytes) => push_escaped(&bytes, text),
        None => {
            text.push('#');
            let der = value.to_der_vec();
            for byte in der.as_deref().unwrap_or(value.data) {
                // writing to a string cannot fail
                let _ = write!(text, "{byte:02X}");
            }
        }
    }
}

/// Escapes as RFC 4514, section 2.4, does, and all bytes outside of printable ASCII too.
fn push_escaped(value: &[u8], text: &mut String) {
    for (index, byte) in value.iter().enumerate() {
        let is_first = index == 0;
        let is_last = index + 1 == value.len();
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => {}
            b'#' if is_first => {}
            b' ' if is_first || is_last => {}
            b' '..=b'~' => {
                text.push(char::from(*byte));
                continue;
            }
            _ => {
                let _ = write!(text, "\\{byte:02X}");
                continue;
            }
        }
        text.push('\\');
        text.push(char::from(*byte));
    }
}

/// The text of a string as UTF-8, unless its sender made it something else. `None` if it is not a string.
fn utf8_of(value: &Any<'_>) -> Option<Vec<u8>> {
    if value.class() != Class::Universal {
        return None;
    }
    let data = value.data;
    let text: String = match value.tag() {
        Tag::Utf8String => return Some(data.to_vec()),
        // Latin-1, as in OpenSSL
        Tag::NumericString | Tag::PrintableString | Tag::T61String | Tag::Ia5String => {
            data.iter().copied().map(char::from).collect()
        }
        Tag::BmpString => {
            let (units, []) = data.as_chunks::<2>() else {
                return None;
            };
            let units = units.iter().map(|it| u16::from_be_bytes(*it).into());
            units.map(char::from_u32).collect::<Option<String>>()?
        }
        Tag::UniversalString => {
            let (units, []) = data.as_chunks::<4>() else {
                return None;
            };
            let units = units.iter().map(|it| u32::from_be_bytes(*it));
            units.map(char::from_u32).collect::<Option<String>>()?
        }
        _ => return None,
    };
    Some(text.into_bytes())
}

/// Keywords of OpenSSL. A value of any other type is written as DER.
const KEYWORDS: [(&str, &str); 29] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.16", "postalAddress"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.20", "telephoneNumber"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.44", "generationQualifier"),
    ("2.5.4.45", "x500UniqueIdentifier"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.65", "pseudonym"),
    ("2.5.4.97", "organizationIdentifier"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.3", "mail"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("1.2.840.113549.1.9.2", "unstructuredName"),
    ("1.3.6.1.4.1.311.60.2.1.3", "jurisdictionC"),
];

#[cfg(test)]
#[path = "name_tests.rs"]
mod tests;
