//! The eight callbacks, for those who come from the Go original: each prints what it is told.
//!
//! `cargo run -p mproxy-session --example handler_like_go [LISTEN] [BROKER]`

mod common;

use std::sync::Arc;

use mproxy_codec::ReasonCode;
use mproxy_session::{
    BoxError, Connect, ConnectRefusal, Handler, HandlerLayer, Hooks, NoRecorder, PublishMut,
    Refusal, SessionInfo, SubscribeMut, Summary, new_hooks,
};
use tower::Layer;

struct Simple;

impl Handler for Simple {
    async fn auth_connect(&self, connect: &mut Connect) -> Result<(), ConnectRefusal> {
        println!(
            "auth_connect: {:?} from {}",
            connect.packet().client_id(),
            connect.peer()
        );
        Ok(())
    }

    async fn auth_publish(
        &self,
        session: &SessionInfo,
        publish: &mut PublishMut,
    ) -> Result<(), Refusal> {
        let what = if publish.is_will() {
            "will"
        } else {
            "publication"
        };
        println!(
            "auth_publish: {} of {:?} to {}",
            what,
            session.client_id(),
            publish.topic()
        );
        // unlike there, a refusal is told in the words of the protocol and keeps the connection
        if publish.topic().starts_with("denied/") {
            return Err(Refusal::new(ReasonCode::NOT_AUTHORIZED));
        }
        Ok(())
    }

    async fn auth_subscribe(
        &self,
        session: &SessionInfo,
        subscribe: &mut SubscribeMut,
    ) -> Result<(), Refusal> {
        let filters: Vec<String> = subscribe
            .filters()
            .map(|(filter, _)| filter.to_owned())
            .collect();
        println!("auth_subscribe: {:?} to {filters:?}", session.client_id());
        for (position, filter) in filters.iter().enumerate() {
            if filter.starts_with("denied/") {
                subscribe.refuse(position, ReasonCode::NOT_AUTHORIZED);
            }
        }
        Ok(())
    }

    async fn connect(&self, session: &SessionInfo) {
        println!("connect: the broker accepted {:?}", session.client_id());
    }

    async fn publish(&self, session: &SessionInfo, publish: &PublishMut) {
        println!(
            "publish: {:?} to {}, {} bytes",
            session.client_id(),
            publish.topic(),
            publish.payload().len()
        );
    }

    async fn subscribe(&self, session: &SessionInfo, granted: &[(String, ReasonCode)]) {
        println!(
            "subscribe: {:?} was granted {granted:?}",
            session.client_id()
        );
    }

    async fn unsubscribe(&self, session: &SessionInfo, codes: &[(String, ReasonCode)]) {
        println!("unsubscribe: {:?} {codes:?}", session.client_id());
    }

    async fn disconnect(&self, session: &SessionInfo, summary: &Summary) {
        println!("disconnect: {:?}, {}", session.client_id(), summary.reason);
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    common::serve(
        HandlerLayer::new(Simple).layer(new_hooks(|_| Hooks::none())),
        Arc::new(NoRecorder),
    )
    .await
}
