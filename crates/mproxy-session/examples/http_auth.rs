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
    AuthenticateLayer, AuthorizeLayer, BoxError, Connect, ConnectRefusal, Forward, Hooks, Identity,
    NoRecorder, PacketHead, PacketService, Refusal, RefuseErrorsLayer, SessionInfo, Tap, new_hooks,
};
use tower::ServiceBuilder;

/// Stands for an authentication service on the network.
#[derive(Clone, Copy)]
struct Backend;

impl Backend {
    async fn login(&self, user: &str, password: &[u8]) -> Option<Identity> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        (password == b"secret").then(|| Identity::new(user))
    }

    async fn may_publish(&self, who: &Identity, topic: &str) -> bool {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let first = topic.split('/').next();
        first == Some("open") || first == Some(&who.name)
    }
}

/// Who is it? The answer is for the layers inside, and the password was for us: the broker need not
/// know it.
async fn login(backend: Backend, mut connect: Connect) -> Result<Connect, ConnectRefusal> {
    let (user, password) = (connect.packet().user_name(), connect.packet().password());
    let login = backend
        .login(user.unwrap_or_default(), password.unwrap_or_default())
        .await;
    let Some(identity) = login else {
        return Err(ConnectRefusal::new(ReasonCode::BAD_USER_NAME_OR_PASSWORD));
    };
    connect.packet_mut().set_password(None)?;
    connect.set_identity(identity);
    Ok(connect)
}

/// May it publish there? Its will is asked about as well, before it is let in.
async fn judge(
    backend: Backend,
    session: SessionInfo,
    packet: PacketHead,
) -> Result<PacketHead, Refusal> {
    let topic = packet.publish().map(|publish| publish.topic().to_string());
    match (topic, session.identity()) {
        (Some(topic), Some(who)) if backend.may_publish(who, &topic).await => Ok(packet),
        _ => Err(Refusal::new(ReasonCode::NOT_AUTHORIZED)),
    }
}

fn hooks(session: SessionInfo) -> Hooks<impl PacketService, Forward> {
    let ask = AuthorizeLayer::heads(move |packet| judge(Backend, session.clone(), packet));
    let stack = ServiceBuilder::new()
        // who is not answered in time is refused, and stays
        .layer(RefuseErrorsLayer::new())
        .timeout(Duration::from_secs(1))
        .layer(ask)
        .service(Forward);
    Hooks::new(Tap::only(KindSet::PUBLISH, stack).head_only(), Tap::none())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let stage = ServiceBuilder::new()
        .layer(RefuseErrorsLayer::new())
        .load_shed()
        // all connections together: a slow backend is not asked more at once
        .layer(tower::limit::GlobalConcurrencyLimitLayer::new(64))
        .timeout(Duration::from_secs(2))
        .layer(AuthenticateLayer::new(|connect| login(Backend, connect)))
        .service(new_hooks(hooks));
    common::serve(stage, Arc::new(NoRecorder)).await
}
