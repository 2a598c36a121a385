//! What an operator can do about another protocol on a port of MQTT.

use mproxy_codec::Foreign;

/// What to change when a client sends this.
pub(crate) const fn of_client(protocol: Foreign) -> &'static str {
    match protocol {
        Foreign::Tls | Foreign::TlsAlert => {
            "a TLS client at a port without TLS: give this listener a certificate and its key \
             (listeners.NAME.tls), or let the client connect to a listener with TLS, or without TLS"
        }
        Foreign::ProxyProtocol => {
            "turn the PROXY protocol off in the load balancer for this port (send-proxy, proxy_protocol), or \
             add its address to listeners.NAME.proxy_protocol.trusted, and set \
             listeners.NAME.proxy_protocol.accept if it is \"off\""
        }
        Foreign::HttpRequest | Foreign::HttpResponse => {
            "MQTT over WebSocket needs a listener with protocol = \"ws\"; a health check of a \
             load balancer should connect by TCP, or ask /readyz of the admin port"
        }
        Foreign::Ssh => "this port speaks MQTT, not SSH: check the client's port",
        _ => "this port speaks MQTT: check the client's port",
    }
}

/// What to change when a broker answers in this.
pub(crate) const fn of_broker(protocol: Foreign) -> &'static str {
    match protocol {
        Foreign::Tls | Foreign::TlsAlert => {
            "the broker's port expects TLS: set upstreams.NAME.address to its port without TLS"
        }
        Foreign::HttpRequest | Foreign::HttpResponse => {
            "the broker's port speaks HTTP: for MQTT over WebSocket set upstreams.NAME.address \
             to ws://host:port/path, or set it to the port of MQTT"
        }
        _ => "this is not the port of a broker: check upstreams.NAME.address",
    }
}
