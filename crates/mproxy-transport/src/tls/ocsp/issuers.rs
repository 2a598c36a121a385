//! Who has issued the certificate of a client.
//!
//! webpki says that a client is trusted, and not by which way. So the issuers are looked for again, from the CAs
//! of clients downwards: a certificate that a client sent is an issuer only if it is a CA's and itself issued by one
//! that is trusted. Looking upwards, from the client's own certificate, would not do: for a given signature,
//! anybody can make another key that seems to have made it, and so name an issuer of his own, with the name of
//! the real one.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{OcspError, OcspQuestion, question::Issuer};
use crate::tls::{chain::MAX_CHAIN, signature::Signed};

/// The CAs of clients, and how far up certificates are asked about.
pub(in crate::tls) struct Issuers {
    roots: Vec<(CertificateDer<'static>, Arc<Issuer>)>,
    whole_chain: bool,
}

/// A certificate that a client sent.
struct Sent<'a> {
    place: usize,
    certificate: X509Certificate<'a>,
    signed: Signed<'a>,
}

impl Issuers {
    pub(in crate::tls) fn new(roots: &[CertificateDer<'static>], whole_chain: bool) -> Self {
        let issuer = |root: &CertificateDer<'static>| {
            let (_, certificate) = X509Certificate::from_der(root).ok()?;
            Some((root.clone(), Arc::new(Issuer::of(&certificate))))
        };
        Self {
            roots: roots.iter().filter_map(issuer).collect(),
            whole_chain,
        }
    }

    /// The questions about the certificates of a client, its own first, which were verified. None about a
    /// CA of clients: that is trusted because it was configured.
    pub(in crate::tls) fn questions(
        &self,
        certificates: &[CertificateDer<'_>],
    ) -> Result<Vec<OcspQuestion>, OcspError> {
        let sent = certificates.iter().take(MAX_CHAIN).enumerate();
        let sent: Vec<_> = sent
            .filter_map(|(place, der)| Sent::of(place, der))
            .collect();
        let own = sent.first().filter(|it| it.place == 0);
        let own = own.ok_or(OcspError::Unreadable)?;
        let trusted = self.trusted(&sent);
        let mut wanted = vec![own];
        let mut questions: Vec<OcspQuestion> = Vec::new();
        let mut next = 0;
        while let Some(&asked) = wanted.get(next) {
            next += 1;
            if self.is_root(&certificates[asked.place]) {
                continue;
            }
            let issuers = self.issuers(asked, &trusted);
            if issuers.is_empty() {
                return Err(OcspError::NoIssuer);
            }
            for (above, issuer) in issuers {
                let question = OcspQuestion::new(&asked.certificate, issuer, asked.place)?;
                // one CA may have several certificates
                let is_same = |it: &OcspQuestion| it.certificate() == question.certificate();
                if !questions.iter().any(is_same) {
                    questions.push(question);
                }
                if let Some(above) = above.filter(|_| self.whole_chain)
                    && !wanted.iter().any(|it| it.place == above.place)
                {
                    wanted.push(above);
                }
            }
        }
        Ok(questions)
    }

    /// Those that may issue certificates, because one that is trusted has issued them.
    fn trusted<'a, 'b>(&self, sent: &'b [Sent<'a>]) -> Vec<(&'b Sent<'a>, Arc<Issuer>)> {
        let mut trusted: Vec<(&Sent<'_>, Arc<Issuer>)> = Vec::new();
        let mut left: Vec<_> = sent.iter().filter(|it| it.certificate.is_ca()).collect();
        loop {
            let (found, rest): (Vec<_>, Vec<_>) = left
                .into_iter()
                .partition(|it| !self.issuers(it, &trusted).is_empty());
            if found.is_empty() {
                return trusted;
            }
            let found = found.into_iter();
            trusted.extend(found.map(|it| (it, Arc::new(Issuer::of(&it.certificate)))));
            left = rest;
        }
    }

    /// The issuers of a certificate: a CA of clients, without the certificate that it sent; otherwise all that
    /// the client sent.
    fn issuers<'a, 'b>(
        &self,
        issued: &Sent<'_>,
        trusted: &[(&'b Sent<'a>, Arc<Issuer>)],
    ) -> Vec<(Option<&'b Sent<'a>>, Arc<Issuer>)> {
        let root = self.roots.iter().find(|(_, it)| issued.is_by(it));
        if let Some((_, root)) = root {
            return vec![(None, Arc::clone(root))];
        }
        let issuers = trusted.iter().filter(|(_, it)| issued.is_by(it));
        issuers
            .map(|(sent, it)| (Some(*sent), Arc::clone(it)))
            .collect()
    }

    fn is_root(&self, der: &CertificateDer<'_>) -> bool {
        self.roots.iter().any(|(root, _)| root == der)
    }
}

impl<'a> Sent<'a> {
    fn of(place: usize, der: &'a CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(Self {
            place,
            certificate,
            signed: Signed::of(der)?,
        })
    }

    fn is_by(&self, issuer: &Issuer) -> bool {
        self.certificate.issuer().as_raw() == &*issuer.name && self.signed.is_by(&issuer.key)
    }
}
