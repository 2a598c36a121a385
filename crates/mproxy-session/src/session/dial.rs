//! Dialling the broker with a tower service.

use tower::ServiceExt;
use tower::util::Oneshot;
use tower_service::Service;

use crate::admit::Connect;

/// Dials with a tower service, so that any layer composes: a timeout, a retry, a limit, load shed. The
/// service gets the CONNECT as the hooks left it, and answers with the connection to the broker.
///
/// ```
/// use std::time::Duration;
/// use mproxy_session::{Connect, Hooks, Peer, Session, dial_with, new_hooks};
/// use tokio::net::TcpStream;
/// use tower::{ServiceBuilder, service_fn};
///
/// # async fn example(client: TcpStream) {
/// let dialer = ServiceBuilder::new()
///     .load_shed()
///     .concurrency_limit(100)
///     .timeout(Duration::from_secs(3))
///     .service(service_fn(|_: Connect| TcpStream::connect(("127.0.0.1", 1883))));
/// let summary = Session::new(Peer::new("mqtt"))
///     .run(client, new_hooks(|_| Hooks::none()), dial_with(dialer))
///     .await;
/// # let _ = summary;
/// # }
/// ```
///
/// Waiting for the service to become ready counts towards
/// [`Limits::dial_timeout`](field@crate::Limits::dial_timeout).
pub fn dial_with<D: Service<Connect>>(dialer: D) -> impl FnOnce(&Connect) -> Oneshot<D, Connect> {
    move |connect| dialer.oneshot(connect.clone())
}
