//! Gives every tenant a name space of its own: what a client calls `a/b` is `<user name>/a/b` at the
//! broker, in both directions.
//!
//! `cargo run -p mproxy-session --example topic_prefix [LISTEN] [BROKER]`

mod common;

use std::sync::Arc;

use mproxy_codec::{EncodeError, KindSet, ReasonCode};
use mproxy_session::{
    Admission, BoxError, Connect, FilterLayer, Forward, Hooks, NoRecorder, PacketHead,
    PacketService, Refusal, RewriteLayer, Tap,
};
use tower::{ServiceBuilder, service_fn};

/// `a/b` becomes `prefix/a/b`, in a PUBLISH and in a will, which is one in advance; a group that shares `a/b` goes on sharing it.
fn add(prefix: &str, packet: &mut PacketHead) -> Result<(), EncodeError> {
    if let Some(topic) = packet
        .publish()
        .map(|publish| format!("{prefix}/{}", publish.topic()))
    {
        return packet.set_topic(&topic);
    }
    // SUBSCRIBE and UNSUBSCRIBE alike, or nothing could ever be unsubscribed
    packet
        .map_filters(|filter| {
            Ok(Some(
                match filter
                    .strip_prefix("$share/")
                    .and_then(|rest| rest.split_once('/'))
                {
                    Some((group, filter)) => format!("$share/{prefix}-{group}/{prefix}/{filter}"),
                    None if filter.starts_with('$') => return Err(ReasonCode::NOT_AUTHORIZED),
                    None => format!("{prefix}/{filter}"),
                },
            ))
        })
        .map(drop)
}

fn hooks(prefix: &str) -> Hooks<impl PacketService + use<>, impl PacketService + use<>> {
    let own = format!("{prefix}/");
    let prefix = prefix.to_owned();
    let up = RewriteLayer::heads(move |packet| add(&prefix, packet));
    let up = ServiceBuilder::new().layer(up).service(Forward);
    // `prefix/#` matches `prefix` itself, which has no name inside
    let inside = own.clone();
    let outside = FilterLayer::heads(move |packet| match packet.publish() {
        Some(publish) if publish.topic().len() > inside.len() => Ok(()),
        _ => Err(Refusal::new(ReasonCode::NOT_AUTHORIZED)),
    });
    let strip = RewriteLayer::heads(move |packet| {
        let topic = packet.publish().map(|publish| publish.topic().to_string());
        match topic.as_deref().and_then(|topic| topic.strip_prefix(&own)) {
            Some(topic) => packet.set_topic(topic),
            None => Ok(()),
        }
    });
    let down = ServiceBuilder::new()
        .layer(outside)
        .layer(strip)
        .service(Forward);
    let requests = KindSet::PUBLISH | KindSet::SUBSCRIBE | KindSet::UNSUBSCRIBE;
    Hooks::new(
        Tap::only(requests, up).head_only(),
        Tap::only(KindSet::PUBLISH, down).head_only(),
    )
}

async fn admit(
    connect: Connect,
) -> Result<Admission<impl PacketService, impl PacketService>, BoxError> {
    let prefix = match connect.packet().user_name() {
        Some(name) if !name.is_empty() && !name.contains(['/', '+', '#', '$']) => name.to_owned(),
        _ => return Ok(Admission::refuse(ReasonCode::BAD_USER_NAME_OR_PASSWORD)),
    };
    Ok(Admission::admit(connect, hooks(&prefix)))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    common::serve(service_fn(admit), Arc::new(NoRecorder)).await
}
