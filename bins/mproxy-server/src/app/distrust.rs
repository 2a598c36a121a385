//! Connected clients whose certificates are no longer trusted.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use mproxy_codec::ReasonCode;
use mproxy_session::{CloseReason, Order, SessionHandle};
use mproxy_transport::{TlsFault, TlsServer, TlsViolation};
use tokio::time::sleep;

use super::key_names::fill_listener;
use super::registry::Sessions;

/// How many certificates a worker judges before it does something else for a [`PAUSE`]. One takes about
/// 0.1 ms.
pub(super) const BATCH: usize = 8;

pub(super) const PAUSE: Duration = Duration::from_millis(1);

/// Ends the sessions of a worker whose certificates are not trusted any more by these listeners.
pub(super) async fn judge(sessions: Arc<Sessions>, servers: Arc<HashMap<Arc<str>, TlsServer>>) {
    let mut judged = 0;
    for handle in sessions.running() {
        if !end_if_distrusted(&handle, |name| servers.get(name)) {
            continue;
        }
        judged += 1;
        if judged % BATCH == 0 {
            sleep(PAUSE).await;
        }
    }
}

/// A reload finds this connection from now on: judges it as one that came before would have done. Otherwise a
/// client could keep a connection without a CONNECT until its certificate was revoked.
pub(super) fn catch_up(handle: &SessionHandle, served: &TlsServer, now: &TlsServer) {
    if !served.trusts_like(now) {
        end_if_distrusted(handle, |_| Some(now));
    }
}

/// Judges a session again, and ends it if its certificate is not trusted any more. True if it was judged.
fn end_if_distrusted<'a>(
    handle: &SessionHandle,
    server: impl FnOnce(&str) -> Option<&'a TlsServer>,
) -> bool {
    let Some(result) = rejudge(handle, server) else {
        return false;
    };
    if let Err(violation) = result
        && is_distrust(violation.fault())
    {
        let remedy = "if the device is lost, nothing; if not, give it a new certificate of a CA in \
                      listeners.NAME.tls.client_ca";
        reject(handle, &violation, Some(remedy));
    }
    true
}

/// The new judgement about a session with TLS at one of these listeners.
fn rejudge<'a>(
    handle: &SessionHandle,
    server: impl FnOnce(&str) -> Option<&'a TlsServer>,
) -> Option<Result<(), TlsViolation>> {
    let peer = handle.info()?.peer();
    let server = server(&peer.listener)?;
    let certificate = peer.tls.as_ref()?.certificate.as_ref();
    let chain = certificate.map_or(&[][..], |it| &it.chain);
    let chain: Vec<_> = chain.iter().map(|der| (**der).into()).collect();
    Some(server.judge(&chain))
}

/// Whether a judgement is about the certificate, which ends its sessions. A certificate or a list that has
/// expired, or a client that needs a certificate from now on, only keeps new connections out: otherwise a list
/// that was not renewed in time would disconnect the whole fleet, and discard its wills.
const fn is_distrust(fault: TlsFault) -> bool {
    matches!(
        fault,
        TlsFault::Revoked
            | TlsFault::UnknownIssuer
            | TlsFault::WrongName
            | TlsFault::CaCertificate
            | TlsFault::BadCertificate
            | TlsFault::LongChain
    )
}

/// Ends the session of a client whose certificate is not trusted any more, and logs why. `NAME` in the remedy is
/// that of the listener.
pub(super) fn reject(handle: &SessionHandle, why: &dyn Display, remedy: Option<&str>) {
    if let Some(info) = handle.info() {
        let certificate = info.peer().certificate();
        tracing::warn!(
            target: "mproxy::listener",
            event = "refuse",
            listener = &*info.peer().listener,
            peer = %info.peer(),
            session = handle.id().as_u64(),
            client_id = info.client_id(),
            certificate_subject = certificate.map(|it| it.subject.as_str()),
            certificate_serial = certificate.map(|it| it.serial.as_str()),
            certificate_issuer = certificate.map(|it| it.issuer.as_str()),
            reason = CloseReason::CertificateRejected.as_str(),
            detail = %why,
            remedy = remedy.map(|it| fill_listener(it, &info.peer().listener)),
            "the certificate of a connected client is no longer trusted"
        );
    }
    // its will is that of a client that is not trusted
    let order = Order::new(CloseReason::CertificateRejected, ReasonCode::NOT_AUTHORIZED);
    handle.close(order.without_will());
}
