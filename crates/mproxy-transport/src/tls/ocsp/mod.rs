//! OCSP: asking a responder whether the certificate of a client was revoked (RFC 6960).
//!
//! ```text
//! certificates of a client --Issuers--> OcspQuestion --request--> responder
//!                                            `------check------- its body --> OcspAnswer
//! ```
//! Nothing here sends anything: [`post`](crate::post) does, to a URL that an operator wrote. The URLs in
//! certificates are never looked at, because with a certificate of his own an attacker could let mproxy connect
//! to any place. Everything that a responder sends is hostile until its signature was verified.

mod answer;
mod error;
mod issuers;
mod question;

pub(super) use self::issuers::Issuers;
pub use self::{
    answer::{OcspAnswer, OcspStatus},
    error::OcspError,
    question::{OcspCertificate, OcspQuestion},
};
