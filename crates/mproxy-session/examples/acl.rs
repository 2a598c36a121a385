//! Every client may publish and subscribe below `devices/<its client identifier>/`, and nowhere
//! else.
//!
//! `cargo run -p mproxy-session --example acl [LISTEN] [BROKER]`

mod common;

use std::sync::Arc;

use mproxy_codec::topic::TopicFilter;
use mproxy_codec::{KindSet, ReasonCode, Subscription};
use mproxy_session::{
    BoxError, Connect, ConnectRefusal, Forward, Hooks, NoRecorder, OnConnectLayer, OnPublishLayer,
    OnSubscribeLayer, PacketService, Refusal, SessionInfo, Tap, new_hooks,
};
use tower::{Layer, ServiceBuilder};

/// A client identifier is one level of a topic: `+` would be a pattern for all, and `dev1/inbox` below
/// another client.
fn named(connect: &mut Connect) -> Result<(), ConnectRefusal> {
    let id = connect.packet().client_id();
    if id.is_empty() || id.contains(['/', '+', '#']) {
        return Err(ConnectRefusal::new(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID));
    }
    Ok(())
}

fn hooks(session: SessionInfo) -> Hooks<impl PacketService, Forward> {
    let own = format!("devices/{}/", session.client_id());
    let own_filter = format!("{own}#");
    let publish = OnPublishLayer::heads(move |publish| {
        // the topic behind an alias is what is judged, a publication of a megabyte is judged by its
        // head, and a will is judged before the client is let in
        if publish.topic().starts_with(&own) {
            Ok(())
        } else {
            Err(Refusal::new(ReasonCode::NOT_AUTHORIZED).with_text("not your topic"))
        }
    });
    let subscribe = OnSubscribeLayer::new(move |subscription: Subscription<'_>| {
        // a filter is allowed if all that it can match is: "does a rule match the filter" is not
        // the question
        let allowed = TopicFilter::new(&own_filter)
            .map(|own| own.covers(subscription.filter))
            .unwrap_or(false);
        if allowed {
            Ok(())
        } else {
            Err(ReasonCode::NOT_AUTHORIZED)
        }
    });
    let stack = ServiceBuilder::new()
        .layer(publish)
        .layer(subscribe)
        .service(Forward);
    Hooks::new(
        Tap::only(KindSet::PUBLISH | KindSet::SUBSCRIBE, stack).head_only(),
        Tap::none(),
    )
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let admit = OnConnectLayer::new(named).layer(new_hooks(hooks));
    common::serve(admit, Arc::new(NoRecorder)).await
}
