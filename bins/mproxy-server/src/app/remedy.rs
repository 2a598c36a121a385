//! What an operator can do about the end of a connection that is not a matter of course.

use mproxy_session::{CloseReason, Side, Summary};

/// The remedy; `None` for an end that needs none.
pub(crate) fn remedy(summary: &Summary) -> Option<&'static str> {
    if let Some(foreign) = summary.foreign {
        return Some(match summary.side {
            Side::Upstream => foreign.upstream_remedy(),
            _ => foreign.remedy(),
        });
    }
    summary
        .limit
        .and_then(of_limit)
        .or_else(|| of_reason(summary))
}

/// The key whose other value would have let it go on.
fn of_limit(limit: &str) -> Option<&'static str> {
    Some(match limit {
        "bridges" => {
            "set listeners.bridges = \"pass\" to let mosquitto bridges in, or try_private = false \
             in the bridge's mosquitto.conf"
        }
        "conformance" => {
            "set listeners.conformance = \"tolerant\", or update the side that sent it"
        }
        "connack_timeout" => {
            "is the broker stopped or overloaded? raise upstreams.connack_timeout if it only needs \
             longer"
        }
        "connect_timeout" => {
            "a client that is slow needs a longer listeners.limits.connect_timeout; one that sends \
             something else than MQTT is at the wrong port"
        }
        "control_characters" => {
            "set listeners.control_characters = \"pass\" if such names are meant, or change the name"
        }
        "hook_timeout" => "a layer waits too long: look at what it asks",
        "max_connect_size" => {
            "raise listeners.limits.max_connect_size if this client should get in"
        }
        "max_held_packet" => "raise listeners.limits.max_held_packet if this packet should pass",
        "max_packet_size" => "raise listeners.limits.max_packet_size if this packet should pass",
        "packet_timeout" => {
            "the side named in detail is stuck; raise listeners.limits.packet_timeout if its \
             network is only slow"
        }
        "receive_maximum" => {
            "set listeners.receive_maximum = \"pass\" to leave it to the broker, or update the client"
        }
        "versions" => "add the version to listeners.versions if this client should get in",
        "write_timeout" => {
            "the side named in detail does not read; raise listeners.limits.write_timeout if its \
             network is only slow"
        }
        _ => return None,
    })
}

fn of_reason(summary: &Summary) -> Option<&'static str> {
    Some(match (summary.reason, summary.side) {
        (CloseReason::UpstreamUnreachable, _) => {
            "is the broker running, and is upstreams.address right?"
        }
        (CloseReason::UpstreamProtocolError, _) => {
            "the broker broke the protocol as detail says: update it, or report it with this line"
        }
        (CloseReason::UnsupportedVersion, _) => {
            "mproxy speaks MQTT 3.1 (name MQIsdp, level 3), 3.1.1 (MQTT, 4) and 5 (MQTT, 5): update \
             the client, or check its protocol setting"
        }
        (CloseReason::PacketTooLarge, _) => {
            "the packet is larger than the broker takes: raise the broker's own limit, or send less"
        }
        (CloseReason::ProtocolError | CloseReason::Malformed, _) => {
            "the client broke the protocol as detail says: update it, or report it with this line"
        }
        (CloseReason::ConnectTimeout, _) => "raise listeners.limits.connect_timeout",
        (CloseReason::HookFailed, _) => "a layer failed as detail says: look at what it asks",
        (CloseReason::Internal, _) => "a defect of mproxy: please report it with this line",
        (CloseReason::WriteTimeout | CloseReason::PacketTimeout, _) => {
            "the side named in detail is stuck"
        }
        _ => return None,
    })
}
