//! Loads over WebSocket, through a bridge that is made of somebody else's code.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use mproxy_load::Error;
use mproxy_load::load::{Load, NoMeter, Target};
use mproxy_load::net::Endpoint;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use crate::running::{RunningSink, options};

/// Carries one connection from WebSocket to `sink`, until either side ends.
async fn bridge(client: TcpStream, sink: SocketAddr) -> Option<()> {
    let mut client = accept_async(client).await.ok()?;
    let mut sink = TcpStream::connect(sink).await.ok()?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        tokio::select! {
            message = client.next() => match message?.ok()? {
                Message::Binary(bytes) => sink.write_all(&bytes).await.ok()?,
                _ => return None,
            },
            read = sink.read(&mut buffer) => match read.ok()? {
                0 => return None,
                len => {
                    let bytes = buffer[..len].to_vec();
                    client.send(Message::Binary(bytes.into())).await.ok()?;
                }
            },
        }
    }
}

#[test]
fn loads_run_over_websocket() {
    let sink = RunningSink::on_loopback();
    let sink_addr = sink.addr();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let endpoint = Endpoint::Tcp(listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let server = std::thread::spawn(move || {
        runtime.block_on(async {
            let accept = async {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(bridge(client, sink_addr));
                }
            };
            tokio::select! {
                () = accept => {}
                _ = stopped => {}
            }
        });
    });

    let target = Target {
        endpoint,
        websocket: Some("/mqtt".to_owned()),
        tls: None,
    };
    for load in [
        Load::Batched,
        Load::ToClient,
        Load::Closed,
        Load::Connect,
        Load::Idle,
        Load::Mix,
    ] {
        let outcome = load.run(&target, &options(), &mut NoMeter).unwrap();
        assert!(outcome.count > 0, "{load}");
    }
    drop(stop);
    server.join().unwrap();
}

#[test]
fn a_server_that_speaks_no_websocket_is_an_error() {
    let sink = RunningSink::on_loopback();
    let target = Target {
        websocket: Some("/mqtt".to_owned()),
        tls: None,
        ..sink.target()
    };
    let result = Load::Closed.run(&target, &options(), &mut NoMeter);
    assert!(
        matches!(result, Err(Error::Closed { .. } | Error::Io { .. })),
        "{result:?}"
    );
}
