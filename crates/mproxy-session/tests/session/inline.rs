//! Stacks that are written where the session is spawned: most of all, these functions have to compile.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use mproxy_codec::{KindSet, ReasonCode};
use mproxy_session::{
    Admission, BoxError, CloseReason, Connect, Forward, Hooks, OnPublishLayer, PacketService, Peer,
    Refusal, RefuseErrorsLayer, Session, SessionInfo, Summary, Tap, new_hooks,
};
use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinHandle;
use tower::{Service, ServiceBuilder};

fn dial(_: &Connect) -> Ready<io::Result<DuplexStream>> {
    ready(Ok(duplex(1).0))
}

/// The default of `RefuseErrorsLayer` was a function pointer over a `dyn Error`. The stack of the guide, written
/// inline in a session of `tokio::spawn(async move { .. })`, did not compile: "implementation of `FnOnce` is not
/// general enough".
fn refuse_errors(client: DuplexStream) -> JoinHandle<Summary> {
    tokio::spawn(async move {
        let hooks = new_hooks(|session: SessionInfo| {
            let own = OnPublishLayer::heads(move |publish| {
                if publish.topic().starts_with(session.client_id()) {
                    Ok(())
                } else {
                    Err(Refusal::new(ReasonCode::NOT_AUTHORIZED))
                }
            });
            let to_server = ServiceBuilder::new()
                .layer(RefuseErrorsLayer::new())
                .timeout(Duration::from_secs(1))
                .rate_limit(100, Duration::from_secs(1))
                .layer(own)
                .service(Forward);
            Hooks::new(
                Tap::only(KindSet::PUBLISH, to_server).head_only(),
                Tap::none(),
            )
        });
        Session::new(Peer::new("t")).run(client, hooks, dial).await
    })
}

/// A layer with a closure of the user has the lifetime again: it is made in a function.
fn mapping() -> Hooks<impl PacketService, Forward> {
    let to_server = ServiceBuilder::new()
        .layer(RefuseErrorsLayer::new().with(|error| {
            error
                .is::<io::Error>()
                .then_some(ReasonCode::SERVER_UNAVAILABLE)
        }))
        .timeout(Duration::from_secs(1))
        .service(Forward);
    Hooks::new(Tap::only(KindSet::PUBLISH, to_server), Tap::none())
}

fn refuse_more_errors(client: DuplexStream) -> JoinHandle<Summary> {
    tokio::spawn(async move {
        let hooks = new_hooks(|_| mapping());
        Session::new(Peer::new("t")).run(client, hooks, dial).await
    })
}

/// A CONNECT stage whose types have a `dyn Error` in them, with E = [`BoxError`].
#[derive(Clone)]
struct Stage<E>(PhantomData<fn() -> E>);

impl<E: Send + 'static> Service<Connect> for Stage<E> {
    type Response = Admission;
    type Error = E;
    type Future = Pin<Box<dyn Future<Output = Result<Admission, E>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, connect: Connect) -> Self::Future {
        let hooks = Hooks::none();
        Box::pin(ready(Ok(Admission::Admit { connect, hooks })))
    }
}

/// `Buffer<Connect, <Stage<BoxError> as Service>::Future>` in an `async` block that is spawned does not compile:
/// "implementation of `From` is not general enough". These are the ways of the guide around it, here without
/// the block.
fn spawned_itself(client: DuplexStream) -> JoinHandle<Summary> {
    let stage = ServiceBuilder::new()
        .buffer(4)
        .timeout(Duration::from_secs(1))
        .service(Stage::<BoxError>(PhantomData));
    tokio::spawn(Session::new(Peer::new("t")).run(client, stage, dial))
}

/// The type is hidden.
fn stage()
-> impl Service<Connect, Response = Admission, Error = BoxError, Future: Send> + Clone + Send {
    ServiceBuilder::new()
        .buffer(4)
        .timeout(Duration::from_secs(1))
        .service(Stage::<BoxError>(PhantomData))
}

fn made_by_a_function(client: DuplexStream) -> JoinHandle<Summary> {
    let stage = stage();
    tokio::spawn(async move {
        let session = Session::new(Peer::new("t"));
        session.run(client, stage.clone(), dial).await
    })
}

/// The error type has no `dyn`, and no `Buffer` adds one.
fn of_a_concrete_error(client: DuplexStream) -> JoinHandle<Summary> {
    tokio::spawn(async move {
        let stage = ServiceBuilder::new()
            .layer(RefuseErrorsLayer::new())
            .timeout(Duration::from_secs(1))
            .service(Stage::<Infallible>(PhantomData));
        Session::new(Peer::new("t")).run(client, stage, dial).await
    })
}

#[tokio::test(start_paused = true)]
async fn stacks_that_are_written_inline_run() {
    for spawn in [
        refuse_errors,
        refuse_more_errors,
        spawned_itself,
        made_by_a_function,
        of_a_concrete_error,
    ] {
        let (client, near) = duplex(64);
        drop(near);
        let summary = spawn(client).await.expect("no panic");
        assert_eq!(summary.reason, CloseReason::Eof);
    }
}
