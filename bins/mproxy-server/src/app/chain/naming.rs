//! The names that a client has from its certificate.

use mproxy_codec::ReasonCode;
use mproxy_config::{Choice, ListenerTls, NameFrom};
use mproxy_session::{ClientCertificate, Connect, ConnectRefusal, Identity};

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
            let name = name(self.client_id, certificate, "client_id_from")?;
            if name != connect.packet().client_id() {
                let detail = format!(
                    "the client id is not `{name}`, as the certificate of the client says (client_id_from)"
                );
                let refusal = ConnectRefusal::new(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID);
                return Err(refusal.with_origin(detail));
            }
        }
        if self.user_name != NameFrom::Off {
            let name = name(self.user_name, certificate, "username_from")?;
            if connect.packet().user_name() != Some(name) {
                connect
                    .packet_mut()
                    .set_user_name(Some(name))
                    .map_err(|error| {
                        denied(format!(
                            "the name in the certificate cannot be a user name: {error}"
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
            "the {word} in the certificate of the client has control characters"
        )));
    }
    name.ok_or_else(|| {
        denied(format!(
            "the certificate of the client has no {word}, which {key} asks for"
        ))
    })
}

fn denied(detail: String) -> ConnectRefusal {
    ConnectRefusal::new(ReasonCode::NOT_AUTHORIZED).with_origin(detail)
}
