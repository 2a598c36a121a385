//! Why there is no answer about a certificate.

/// Why there is no question about a certificate, or why an answer is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OcspError {
    /// The certificate cannot be read, or its serial number is longer than 20 bytes.
    #[error("the certificate cannot be asked about: it is not as RFC 5280 wants it")]
    Unreadable,
    /// Neither a CA of clients nor a CA certificate that the client sent has issued it.
    #[error("the issuer of the certificate was not found")]
    NoIssuer,
    /// It is no answer of OCSP, or not of its basic type.
    #[error("not an answer of OCSP")]
    NotAnAnswer,
    /// The responder does not answer, for now.
    #[error("the responder says `{0}`")]
    Busy(&'static str),
    /// The responder does not answer about this certificate.
    #[error("the responder says `{0}`")]
    Refused(&'static str),
    /// It has an extension that is critical and unknown.
    #[error("the answer has a critical extension that mproxy does not know")]
    Critical,
    /// It is not about the certificate that was asked about.
    #[error("the answer is not about the certificate that was asked about")]
    OtherCertificate,
    /// It says several things about the certificate.
    #[error("the answer has several statuses of the certificate")]
    Several,
    /// Its signer is neither the issuer nor in the answer.
    #[error("signed by neither the issuer of the certificate nor a certificate in the answer")]
    UnknownSigner,
    /// Its signer was not issued by the issuer of the certificate.
    #[error("the certificate of the responder is not from the issuer of the client's certificate")]
    StrangeSigner,
    /// The certificate of its signer does not allow it.
    #[error("the certificate of the responder does not allow to sign answers of OCSP")]
    SignerNotAllowed,
    /// The certificate of its signer is not valid now.
    #[error("the certificate of the responder has expired, or is not valid yet")]
    SignerExpired,
    /// The signature is wrong, or made by an algorithm that is not accepted.
    #[error("the signature of the answer is wrong, or of an algorithm that is not accepted")]
    BadSignature,
    /// It is out of date: since when, in seconds.
    #[error("the answer has expired {0} s ago; check the clocks of both sides")]
    Expired(i64),
    /// It is from the future.
    #[error("the answer is not valid yet, for {0} s; check the clocks of both sides")]
    NotYetValid(i64),
}

impl OcspError {
    /// Whether the responder may have another answer soon, to questions about any certificate
    /// (RFC 6960, section 2.3).
    pub const fn is_busy(&self) -> bool {
        matches!(self, Self::Busy(_))
    }
}
