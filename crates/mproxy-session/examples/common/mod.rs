//! The part that all examples share: accept, dial, report.
//!
//! Every example listens on 127.0.0.1:1884 and passes on to a broker on 127.0.0.1:1883; two
//! addresses on the command line change that. With mosquitto's clients:
//!
//! ```text
//! cargo run -p mproxy-session --example acl &
//! mosquitto_sub -p 1884 -i device-1 -t 'devices/#' -d &
//! mosquitto_pub -p 1884 -i device-1 -t devices/device-1/temperature -m 19 -q 1 -d
//! ```

use std::sync::Arc;

use mproxy_session::{Admission, BoxError, Connect, PacketService, Peer, Recorder, Session};
use tokio::net::{TcpListener, TcpStream};
use tower_service::Service;

/// Serves every connection with a clone of `admit` and hands what it counts to `recorder`.
pub(crate) async fn serve<A, U, D>(admit: A, recorder: Arc<dyn Recorder>) -> Result<(), BoxError>
where
    A: Service<Connect, Response = Admission<U, D>> + Clone + Send + 'static,
    A::Error: Into<BoxError> + Send,
    A::Future: Send,
    U: PacketService,
    D: PacketService,
{
    let mut addresses = std::env::args().skip(1);
    let listen = addresses
        .next()
        .unwrap_or_else(|| "127.0.0.1:1884".to_owned());
    let broker = addresses
        .next()
        .unwrap_or_else(|| "127.0.0.1:1883".to_owned());
    let listener = TcpListener::bind(&listen).await?;
    println!(
        "listening on {}, passing on to {broker}",
        listener.local_addr()?
    );
    loop {
        let (client, address) = listener.accept().await?;
        client.set_nodelay(true)?;
        let admit = admit.clone();
        let broker = broker.clone();
        let recorder = Arc::clone(&recorder);
        tokio::spawn(async move {
            let summary = Session::new(Peer::new("mqtt").with_address(address))
                .recorder(recorder)
                .run(client, admit, |_| TcpStream::connect(broker))
                .await;
            // of a client that was not let in, as much as could be read
            let glimpse = summary.glimpse.as_ref();
            let client_id = match &summary.session {
                Some(session) => session.client_id(),
                None => glimpse
                    .and_then(|it| it.client_id.as_deref())
                    .unwrap_or_default(),
            };
            println!(
                "{address} {client_id:?}: {} ended it, {} {}",
                summary.side,
                summary.reason,
                summary.detail.as_deref().unwrap_or_default()
            );
        });
    }
}
