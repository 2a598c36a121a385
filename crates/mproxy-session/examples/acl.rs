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
    OnSubscribeLayer, PublishRef, Refusal, SessionInfo, Tap, new_hooks,
};
use tower::{Layer, ServiceBuilder};

/// A will is a publication in advance: nobody asks the hooks when the broker publishes it.
fn own_will(connect: &mut Connect) -> Result<(), ConnectRefusal> {
    let own = format!("devices/{}/", connect.packet().client_id());
    match connect.packet().will() {
        Some(will) if !will.topic.starts_with(&own) => {
            Err(ConnectRefusal::new(ReasonCode::NOT_AUTHORIZED).with_text("not your topic"))
        }
        _ => Ok(()),
    }
}

fn hooks(session: &SessionInfo) -> Hooks<impl mproxy_session::PacketService + use<>, Forward> {
    let own = format!("devices/{}/", session.client_id());
    let own_filter = format!("{own}#");
    let publish = OnPublishLayer::new(move |publish: PublishRef<'_>| {
        // the topic behind an alias is what is judged, and a publication of a megabyte is judged
        // by its head
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
            .and_then(|own| Ok(own.covers(TopicFilter::new(subscription.filter)?)))
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
    let admit = OnConnectLayer::new(own_will).layer(new_hooks(hooks));
    common::serve(admit, Arc::new(NoRecorder)).await
}
