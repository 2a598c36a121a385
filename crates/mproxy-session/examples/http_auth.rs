//! Asks somebody else: a backend decides who may connect and who may publish what.
//!
//! The backend here is a function that takes its time; put an HTTP client in its place. What a hook
//! waits for holds up its own direction of its own session and nothing else, and an answer that does
//! not come in time is a no.
//!
//! `cargo run -p mproxy-session --example http_auth [LISTEN] [BROKER]`, then
//! `mosquitto_pub -p 1884 -u alice -P secret -t open/door -m 1 -q 1 -V 5 -d`

mod common;

use std::sync::Arc;
use std::time::Duration;

use mproxy_codec::{KindSet, ReasonCode};
use mproxy_session::{
    Admission, AuthorizeLayer, BoxError, Connect, ConnectRefusal, Forward, Hooks, Identity,
    NoRecorder, Packet, Refusal, Tap,
};
use tower::{ServiceBuilder, service_fn};

/// Stands for an authentication service on the network.
#[derive(Clone)]
struct Backend;

impl Backend {
    async fn login(&self, user: &str, password: &[u8]) -> Option<Identity> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        (password == b"secret").then(|| Identity::new(user))
    }

    async fn may_publish(&self, who: &Identity, topic: &str) -> bool {
        tokio::time::sleep(Duration::from_millis(5)).await;
        topic.starts_with("open/") || topic.starts_with(&format!("{}/", who.name))
    }
}

async fn admit(
    backend: Backend,
    mut connect: Connect,
) -> Result<Admission<impl mproxy_session::PacketService, Forward>, BoxError> {
    let (user, password) = (connect.packet().user_name(), connect.packet().password());
    let login = backend
        .login(user.unwrap_or_default(), password.unwrap_or_default())
        .await;
    let Some(identity) = login else {
        let refusal = ConnectRefusal::new(ReasonCode::BAD_USER_NAME_OR_PASSWORD);
        return Ok(Admission::Refuse(refusal));
    };
    // a will is a publication in advance
    let will = connect.packet().will().map(|will| will.topic.to_owned());
    if let Some(topic) = will
        && !backend.may_publish(&identity, &topic).await
    {
        return Ok(Admission::refuse(ReasonCode::NOT_AUTHORIZED));
    }
    // the password was for us: the broker need not know it
    connect.packet_mut().set_password(None)?;
    connect.set_identity(identity.clone());
    let ask = AuthorizeLayer::new(move |packet: Packet| {
        let (backend, identity) = (backend.clone(), identity.clone());
        async move {
            let topic = packet.publish().map(|publish| publish.topic().to_owned());
            match topic {
                Some(topic) if !backend.may_publish(&identity, &topic).await => {
                    Err(Refusal::new(ReasonCode::NOT_AUTHORIZED))
                }
                _ => Ok(packet),
            }
        }
    });
    let stack = ServiceBuilder::new()
        .timeout(Duration::from_secs(1))
        .layer(ask)
        .service(Forward);
    let hooks = Hooks::new(Tap::only(KindSet::PUBLISH, stack).head_only(), Tap::none());
    Ok(Admission::admit(connect, hooks))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let stage = ServiceBuilder::new()
        .load_shed()
        // all connections together: a slow backend is not asked more at once
        .layer(tower::limit::GlobalConcurrencyLimitLayer::new(64))
        .timeout(Duration::from_secs(2))
        .service(service_fn(|connect| admit(Backend, connect)));
    common::serve(stage, Arc::new(NoRecorder)).await
}
