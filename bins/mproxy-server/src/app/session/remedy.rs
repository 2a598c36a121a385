//! What an operator can do about a connection that ended in an unusual way.

use std::io;

use mproxy_codec::ReasonCode;
use mproxy_session::{CloseReason, Side, Summary};
use mproxy_transport::{DialError, TlsViolation};

use crate::app::chain::{ByNames, naming};
use crate::app::foreign;
use crate::app::upstream::{dial_remedy, tls_remedy};

/// The remedy, with `NAME` for the names; `None` for an end that needs none.
///
/// Every refused client gets one. A client that left, was disconnected by an operator or was drained gets
/// none.
pub(crate) fn remedy(summary: &Summary) -> Option<&'static str> {
    if let Some(protocol) = summary.foreign {
        return Some(match summary.side {
            Side::Upstream => foreign::of_broker(protocol),
            _ => foreign::of_client(protocol),
        });
    }
    if is_unused_websocket(summary) {
        return Some(
            "the client opened a WebSocket and sent no CONNECT: it is not an MQTT client, or a \
             gateway in front of mproxy does not pass its frames on",
        );
    }
    summary
        .limit
        .and_then(of_limit)
        .or_else(|| of_reason(summary))
}

/// The remedy for a client that was turned away for its will by a layer of this name.
pub(super) fn of_will(layer: &str) -> String {
    format!(
        "change the will, or the rule that detail names; set layers.{layer}.will = \"strip\" to let \
         the client in without its will"
    )
}

/// The remedy for a client that authenticated again, in a chain with these layers that use its names.
pub(super) fn of_reauthentication(layers: &[ByNames]) -> String {
    let keys: Vec<_> = layers
        .iter()
        .map(|it| format!("layers.{}.reauthentication", it.layer))
        .collect();
    format!(
        "set {} = \"pass\" if clients keep their identity when they authenticate again; otherwise \
         have them connect again instead",
        keys.join(" and ")
    )
}

/// A client that opened a WebSocket and sent nothing until its time was up.
fn is_unused_websocket(summary: &Summary) -> bool {
    summary.reason == CloseReason::ConnectTimeout
        && summary.peer.upgrade.is_some()
        && summary.to_server.bytes == 0
}

/// The remedy for a limit: the key that would have let the client go on. As long as there are limits: one arm for each.
fn of_limit(limit: &str) -> Option<&'static str> {
    Some(match limit {
        "bridges" => {
            "set listeners.NAME.bridges = \"pass\" to let mosquitto bridges in, or try_private = \
             false in the bridge's mosquitto.conf"
        }
        "conformance" => {
            "set listeners.NAME.conformance = \"tolerant\", or update the side that sent it"
        }
        "connack_timeout" => {
            "is the broker stopped or overloaded? raise upstreams.NAME.connack_timeout if it is only \
             slow"
        }
        "connect_timeout" => {
            "raise listeners.NAME.limits.connect_timeout for slow clients; a client that does not \
             send MQTT uses the wrong port"
        }
        "control_characters" => {
            "change the name, or set listeners.NAME.control_characters = \"pass\" if such names are \
             intended"
        }
        "hook_timeout" => "a layer did not answer in time: check the service that it waits for",
        "max_connect_size" => {
            "raise listeners.NAME.limits.max_connect_size if this client should be let in"
        }
        "max_denials" => {
            "layers refused too many packets of the client (see the lines with event=deny), or it \
             sent too many WebSocket frames without content (see detail): change the client or \
             the rules, or raise listeners.NAME.limits.max_denials"
        }
        "max_filters" => {
            "raise listeners.NAME.limits.max_filters if this request should pass, or have the client \
             split it"
        }
        "max_held_packet" => {
            "raise listeners.NAME.limits.max_held_packet if this packet should pass"
        }
        "max_packet_size" => {
            "raise listeners.NAME.limits.max_packet_size if this packet should pass"
        }
        "max_topic_levels" => {
            "raise listeners.NAME.limits.max_topic_levels if such topics are intended"
        }
        "memory" => {
            "memory was scarce, and this connection was one of those that held most: if it is one of \
             yours, raise server.memory or the memory limit of the container; if not, limit its \
             address with listeners.NAME.limits.max_connections_per_ip"
        }
        "packet_timeout" => {
            "the side named in detail is stuck; raise listeners.NAME.limits.packet_timeout if its \
             network is only slow"
        }
        "queue" => {
            "more clients came at once than wait for the broker: raise upstreams.NAME.admission.queue, or \
             rate and concurrent if the broker takes more"
        }
        "queue_timeout" => {
            "raise upstreams.NAME.admission.queue_timeout, or rate and concurrent if the broker takes more"
        }
        "receive_maximum" => {
            "set listeners.NAME.receive_maximum = \"pass\" to leave it to the broker, or update \
             the client"
        }
        "slow_consumer" => {
            "the client reads more slowly than the broker sends: have it subscribe to less, raise \
             listeners.NAME.limits.slow_consumer_time, or set listeners.NAME.limits.slow_consumer to \
             \"drop-qos0\" or \"wait\""
        }
        "versions" => "add the version to listeners.NAME.versions if this client should be let in",
        "write_timeout" => {
            "the side named in detail does not read; raise listeners.NAME.limits.write_timeout if \
             its network is only slow"
        }
        _ => return None,
    })
}

fn of_reason(summary: &Summary) -> Option<&'static str> {
    Some(match summary.reason {
        // a TLS port: OpenSSL, for example, closes the connection without an alert if the first bytes
        // are not TLS
        CloseReason::UpstreamUnreachable if summary.dialled => {
            let broken = summary.source();
            let broken = broken.and_then(|it| it.downcast_ref::<io::Error>());
            broken.and_then(TlsViolation::find).map_or(
                "is upstreams.NAME.address a port that expects TLS, or is the broker full? see the \
                 broker's log",
                |violation| tls_remedy(violation.fault()),
            )
        }
        CloseReason::UpstreamUnreachable => {
            let dialled = summary
                .source()
                .and_then(|it| it.downcast_ref::<DialError>());
            dialled.map_or(
                "is the broker running, and is upstreams.NAME.address right?",
                dial_remedy,
            )
        }
        CloseReason::UpstreamProtocolError => {
            "the broker broke the protocol, see detail: update the broker, or report it with this line"
        }
        CloseReason::UnsupportedVersion => {
            "mproxy speaks MQTT 3.1 (name MQIsdp, level 3), 3.1.1 (MQTT, 4) and 5 (MQTT, 5): update \
             the client, or check its protocol setting"
        }
        CloseReason::PacketTooLarge => {
            "the packet is larger than the broker accepts: raise the broker's limit, or send smaller \
             packets"
        }
        CloseReason::ProtocolError | CloseReason::Malformed => {
            "the client broke the protocol, see detail: update it, or report it with this line"
        }
        CloseReason::ConnectTimeout => "raise listeners.NAME.limits.connect_timeout",
        CloseReason::HookFailed => "a layer failed, see detail: check the service that it uses",
        CloseReason::Internal => {
            "mproxy itself failed, see detail: please report it with this line"
        }
        CloseReason::WriteTimeout | CloseReason::PacketTimeout => {
            "the side named in detail is stuck"
        }
        CloseReason::UpstreamRefused => by_broker(summary.connack),
        CloseReason::AuthDenied => {
            let by_certificate = summary.detail.as_deref().and_then(naming::remedy);
            by_certificate.unwrap_or_else(|| by_layer(summary.connack))
        }
        CloseReason::Banned => {
            "mproxy-server bans list says why and for how long; mproxy-server bans remove lifts the ban"
        }
        CloseReason::Misbehaved => {
            "the client sends far more PINGREQs than its keep alive needs, or broke rules before: see the \
             lines of its address, and mproxy-server bans list"
        }
        _ if summary.established() => return None,
        CloseReason::AclDenied => "change the client, or the rule of the layer that denied",
        CloseReason::UpstreamEof | CloseReason::UpstreamDisconnect => "see the broker's log",
        CloseReason::KeepaliveTimeout => {
            "the client sent nothing while it waited for CONNACK: check the broker and the client's \
             network"
        }
        _ => return None,
    })
}

/// What to do about a broker that does not let a client in.
const fn by_broker(connack: Option<ReasonCode>) -> &'static str {
    match connack {
        Some(ReasonCode::NOT_AUTHORIZED | ReasonCode::BAD_USER_NAME_OR_PASSWORD) => {
            "check the client's user name and password against the broker's users, and see its \
             log"
        }
        Some(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID) => {
            "change the client id, or configure the broker to accept it: see its log"
        }
        _ => "reason_code is the broker's answer: see its log for the cause",
    }
}

/// What to do about a layer that does not let a client in.
const fn by_layer(connack: Option<ReasonCode>) -> &'static str {
    match connack {
        Some(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID) => {
            "change the client id or user name so that they match, or change the layer that detail \
             names"
        }
        _ => "change the client, or the rule of the layer that detail names",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::key_names::Names;

    /// Remedies said `raise listeners.limits.connect_timeout`, which is not a key: `--set` wants to
    /// know which listener.
    #[test]
    fn every_key_has_the_name_of_its_listener_or_broker() {
        let names = Names {
            listener: "mqtt",
            upstream: "site",
        };
        for limit in [
            "bridges",
            "conformance",
            "connack_timeout",
            "connect_timeout",
            "control_characters",
            "hook_timeout",
            "max_connect_size",
            "max_denials",
            "max_filters",
            "max_held_packet",
            "max_packet_size",
            "max_topic_levels",
            "packet_timeout",
            "queue",
            "queue_timeout",
            "receive_maximum",
            "versions",
            "write_timeout",
        ] {
            let remedy = names.fill(of_limit(limit).unwrap_or_default());
            assert!(!remedy.is_empty(), "{limit}");
            assert!(!remedy.contains("NAME"), "{limit}: {remedy}");
            let keys = remedy
                .split(|c: char| !(c.is_ascii_alphanumeric() || "._".contains(c)))
                .filter(|word| word.starts_with("listeners.") || word.starts_with("upstreams."));
            for key in keys {
                assert!(
                    key.starts_with("listeners.mqtt.") || key.starts_with("upstreams.site."),
                    "{key}"
                );
                assert!(key.ends_with(limit), "{key} for {limit}");
            }
        }
    }
}
