//! The names that a client has from its certificate.

use mproxy_codec::ReasonCode;
use mproxy_config::{Choice, ListenerTls, NameFrom};
use mproxy_session::{ClientCertificate, Connect, ConnectRefusal, Identity};

// The detail of a refusal begins with one of them, as that of a layer begins with its name.
const CLIENT_ID_FROM: &str = "tls.client_id_from";
const USERNAME_FROM: &str = "tls.username_from";

/// What of a client's certificate its names are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Naming {
    user_name: NameFrom,
    client_id: NameFrom,
}

impl Naming {
    pub(crate) fn of(tls: Option<&ListenerTls>) -> Self {
        Self {
            user_name: tls.map_or(NameFrom::Off, |it| it.username_from),
            client_id: tls.map_or(NameFrom::Off, |it| it.client_id_from),
        }
    }

    /// Gives a client the names of its certificate, before any layer sees it.
    ///
    /// # Errors
    /// The certificate does not have the name, or it is not the client's. A client without a certificate
    /// keeps its names: where that must not be, certificates are required.
    pub(crate) fn apply(self, mut connect: Connect) -> Result<Connect, ConnectRefusal> {
        let Some(tls) = connect.peer().tls.clone() else {
            return Ok(connect);
        };
        let Some(certificate) = &tls.certificate else {
            return Ok(connect);
        };
        if let Some(name) = &certificate.common_name {
            connect.set_identity(Identity::new(name));
        }
        if self.client_id != NameFrom::Off {
            let name = name(self.client_id, certificate, CLIENT_ID_FROM)?;
            if name != connect.packet().client_id() {
                let detail = format!(
                    "{CLIENT_ID_FROM}: the client id is not `{name}`, as the certificate of the client says"
                );
                let refusal = ConnectRefusal::new(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID);
                return Err(refusal.with_origin(detail));
            }
        }
        if self.user_name != NameFrom::Off {
            let name = name(self.user_name, certificate, USERNAME_FROM)?;
            if connect.packet().user_name() != Some(name) {
                connect
                    .packet_mut()
                    .set_user_name(Some(name))
                    .map_err(|error| {
                        denied(format!(
                            "{USERNAME_FROM}: the name in the certificate cannot be a user name: {error}"
                        ))
                    })?;
            }
        }
        Ok(connect)
    }
}

fn name<'a>(
    from: NameFrom,
    certificate: &'a ClientCertificate,
    key: &str,
) -> Result<&'a str, ConnectRefusal> {
    let name = match from {
        NameFrom::Off => None,
        NameFrom::CommonName => certificate.common_name.as_deref(),
        NameFrom::Subject => Some(certificate.subject.as_str()).filter(|it| !it.is_empty()),
        NameFrom::SanDns => certificate.dns_names.first().map(String::as_str),
        NameFrom::SanUri => certificate.uris.first().map(String::as_str),
    };
    let word = from.word();
    if name.is_some_and(|it| it.contains(char::is_control)) {
        return Err(denied(format!(
            "{key}: the {word} in the certificate of the client has control characters"
        )));
    }
    name.ok_or_else(|| {
        let more = match from {
            NameFrom::CommonName => ", or several, or one with control characters",
            _ => "",
        };
        denied(format!(
            "{key}: the certificate of the client has no {word}{more}"
        ))
    })
}

/// What to do about a client that was refused for the names of its certificate, by the detail of the refusal.
pub(crate) fn remedy(detail: &str) -> Option<&'static str> {
    match detail.split_once(": ")?.0 {
        CLIENT_ID_FROM => Some(
            "give the client the client id of its certificate, or a certificate with its client id; or \
             change listeners.NAME.tls.client_id_from",
        ),
        USERNAME_FROM => Some(
            "give the client a certificate with such a name, or change listeners.NAME.tls.username_from",
        ),
        _ => None,
    }
}

fn denied(detail: String) -> ConnectRefusal {
    ConnectRefusal::new(ReasonCode::NOT_AUTHORIZED).with_origin(detail)
}
