//! Clients whose certificate an OCSP responder is asked about.

use std::time::Duration;

use mproxy_admin::{Offence, Reason, RefuseReason, Side};
use mproxy_session::{Peer, SessionHandle};
use mproxy_transport::{OcspError, OcspQuestion, Stream, TlsInfo, TlsServer};
use tokio::time::sleep;

use super::open::Unopened;
use crate::app::ocsp::{Attended, Refusal};
use crate::app::service::Service;

/// How often it is looked whether a client is still there while the responder is asked.
const LOOK: Duration = Duration::from_secs(1);

impl Service {
    /// What the responder is to be asked about a client; nothing if there is no responder.
    pub(super) fn questions(
        &self,
        server: &TlsServer,
        info: &TlsInfo,
    ) -> Result<Vec<OcspQuestion>, OcspError> {
        match self.ocsp_check.is_some() && !info.certificates.is_empty() {
            true => server.questions(&info.certificates),
            false => Ok(Vec::new()),
        }
    }

    /// Waits until the certificates of a client are known not to be revoked, unless the client goes away or the
    /// connection is ordered to end. Nothing of what the client sends is read before.
    pub(super) async fn cleared(
        &self,
        stream: &Stream,
        peer: &Peer,
        questions: Result<Vec<OcspQuestion>, OcspError>,
        handle: &SessionHandle,
    ) -> Result<Option<Attended>, Unopened> {
        if peer.certificate().is_none() {
            return Ok(None);
        }
        let attended = self.ocsp.connection(handle);
        let Some(check) = &self.ocsp_check else {
            return Ok(Some(attended));
        };
        let judged = async {
            tokio::select! {
                biased;
                judged = check.judge(&questions) => Some(judged),
                () = left(stream) => None,
            }
        };
        match Box::pin(self.unless_ordered(peer, handle, judged)).await? {
            Some(Ok(())) => {}
            Some(Err(refusal)) => return Err(self.not_cleared(peer, &refusal)),
            None => {
                tracing::debug!(
                    target: "mproxy::listener",
                    event = "disconnect",
                    listener = &*self.name,
                    peer = %peer,
                    side = Side::Client.as_str(),
                    reason = Reason::Eof.as_str(),
                    "connection closed while the OCSP responder was asked about its certificate"
                );
                return Err(Unopened::Unused(Side::Client, Reason::Eof));
            }
        }
        // the one that is asked now: it may be another one since the connection was accepted
        let check = self.ocsp.check(&self.name);
        if let (Some(check), Ok(questions)) = (check, &questions) {
            self.ocsp.attend(handle, &check, questions);
        }
        Ok(Some(attended))
    }

    /// One line about a client whose certificate is not accepted.
    fn not_cleared(&self, peer: &Peer, refusal: &Refusal) -> Unopened {
        let is_offence = refusal.is_revoked();
        self.offended(is_offence.then_some(Offence::AuthFailed), peer, None);
        let certificate = peer.certificate();
        tracing::warn!(
            target: "mproxy::listener",
            event = "refuse",
            listener = &*self.name,
            peer = %peer,
            certificate_subject = certificate.map(|it| it.subject.as_str()),
            certificate_serial = certificate.map(|it| it.serial.as_str()),
            certificate_issuer = certificate.map(|it| it.issuer.as_str()),
            reason = RefuseReason::CertificateRejected.as_str(),
            detail = %refusal,
            remedy = self.names().fill(refusal.remedy()),
            "connection refused: the OCSP responder does not confirm its certificate"
        );
        Unopened::Refused(RefuseReason::CertificateRejected)
    }
}

/// Waits until the client has left.
async fn left(stream: &Stream) {
    while !stream.has_left() {
        sleep(LOOK).await;
    }
}
