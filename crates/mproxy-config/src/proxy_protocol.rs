//! `[listeners.proxy_protocol]`: whose word about the address of a client is taken.

use crate::choice::words;
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::listener::ListenerKeys;
use crate::section::{Listing, section};
use mproxy_layers::acl::Network;
use mproxy_transport::AcceptProxy;

section! {
    /// The PROXY protocol, in which a load balancer in front of mproxy says who the client is.
    ListenerProxy, ListenerProxyKeys in "[listeners.proxy_protocol]" short "accept",
        reload "for clients that connect from then on"
    {
        /// Which headers are accepted: "off", "optional", "v1", "v2" or "required" (v1 or v2).
        ///
        /// The address in the header is the client's from then on: for layers, logs and limits. optional:
        /// a peer that sends no header is itself the client. v1, v2, required: a peer that sends no header, or
        /// is not in a trusted network, is refused. off: a header is not MQTT, and ends the connection.
        accept: AcceptProxy = "off";
        /// Networks of the load balancers, which may say who the client is.
        ///
        /// Nobody else can: from other peers mproxy never reads a header, nor X-Forwarded-For. Peers of a
        /// Unix socket are trusted: the permissions of its file say who they are.
        trusted: Vec<Network> as Listing<Network> = ["127.0.0.0/8", "::1/128"];
    }
}

words! {
    AcceptProxy { "off": Off, "optional": Optional, "v1": V1, "v2": V2, "required": Required, }
}

/// Checks the table of a listener.
pub(crate) fn proxy_protocol(cx: &mut Context, keys: &ListenerKeys) -> ListenerProxy {
    let proxy = ListenerProxy::read(cx, &keys.proxy_protocol);
    let keys = &keys.proxy_protocol;
    if let (true, Some(span)) = (keys.trusted.is_empty(), keys.trusted.span()) {
        let message = "no network is trusted, so nobody may say who the client is";
        let error = Diagnostic::error(message).at(span);
        cx.push(error.label("write the networks of your load balancers, or remove this"));
    }
    for (text, span) in keys.trusted.texts() {
        if text.ends_with("/0") {
            let message = format!("every client may claim any address: `{text}` is trusted");
            let warning = Diagnostic::warning(message).at(span);
            cx.push(warning.label("write the networks of your load balancers"));
        }
    }
    proxy
}
