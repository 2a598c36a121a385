//! A try of a broker, for `check`: as far as the proxy itself would come, and no further.

use mproxy_config::{self as config, HealthCheck};
use mproxy_transport::{
    DialCause, DialOptions, Dialer, ProxyHeader, Resolver, Subprotocol, TlsClient, UpstreamAddr,
};

use super::probe::{self, Failure};

/// Connects to one address of a broker, with the handshakes of TLS and WebSocket that it asks for. With TLS, it
/// sends CONNECT, too: in TLS 1.3, the broker judges the certificate of mproxy behind the handshake, and says
/// so in place of an answer (RFC 8446, section 4.4.2.4).
///
/// # Errors
/// Why clients would not get through.
pub(crate) async fn try_broker(
    config: &config::Upstream,
    address: &UpstreamAddr,
    tls: Option<&TlsClient>,
) -> Result<(), Failure> {
    let mut options = DialOptions::default();
    options.connect_timeout = config.connect_timeout;
    let mut dialer = Dialer::new(address.clone(), options).resolver(Resolver::system());
    if let Some(tls) = tls {
        dialer = dialer.tls(tls.clone());
    }
    let head = ProxyHeader::default().encode(config.send_proxy_protocol);
    let dialled = dialer.dial_behind(head, Subprotocol::Mqtt).await;
    let dialled = dialled.map_err(|error| Failure {
        is_reached: matches!(error.cause(), DialCause::Tls(_) | DialCause::Handshake(_)),
        is_refusal: probe::refuses(error.cause()),
        remedy: probe::remedy(&error),
        // who asks knows the address, and may have to hide it
        why: error.into_cause().to_string(),
    })?;
    if !address.is_tls() {
        return Ok(());
    }
    let asked = probe::ask(dialled.stream, probe::limit(config.health.interval)).await;
    match asked {
        // a broker may ignore an unknown client, if that is not how its health is checked
        Err(failure) if !failure.is_refusal && config.health.check != HealthCheck::Session => {
            Ok(())
        }
        other => other,
    }
}
