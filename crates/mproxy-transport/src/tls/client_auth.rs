//! Whether clients need certificates.

use super::{TlsFileError, TlsServerOptions, TlsSetting, problems::Problems};

/// Whether clients are asked for a certificate (mutual TLS).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// Clients are asked for none, and nobody is refused for one. `client_ca` and revocation lists are errors
    /// then, because nothing would look at them.
    #[default]
    Off,
    /// Clients are asked for one, and may come without. Who shows one that is not trusted, or was revoked, is
    /// refused. Whether there is one is in [`TlsInfo::certificates`](super::TlsInfo::certificates).
    Optional,
    /// Clients must have one that is trusted and was not revoked. Who has none is refused.
    Require,
}

/// Without certificates of clients, their CAs and lists mean nothing: who names them has left something out.
pub(super) fn unused(options: &TlsServerOptions, problems: &mut Problems) {
    let mut unused = |setting, what| {
        let why =
            format_args!("{what} without `client_auth`: clients are asked for no certificate");
        problems.push(setting, TlsFileError::general(why));
    };
    if !options.client_ca.is_empty() {
        unused(TlsSetting::Ca(0), "CAs of clients");
    }
    if !options.revocation_lists.is_empty() || !options.kept_lists.is_empty() {
        unused(TlsSetting::RevocationLists(0), "revocation lists");
    }
}
