//! What a task that serves a connection carries around, idle or not.

use mproxy_transport::{DialOptions, Dialer, Stream, Subprotocol, WsOptions, accept_websocket};
use tokio::net::TcpStream;

/// A word more than plain TCP alone; a WebSocket is behind a pointer.
#[test]
fn stream_is_hardly_larger_than_its_socket() {
    assert!(size_of::<Stream>() <= size_of::<TcpStream>() + size_of::<usize>());
}

/// Futures that are awaited once in a session's life must not make its task larger for all of it.
#[test]
fn handshakes_do_not_enlarge_the_task() {
    fn size_of_future<F: Future>(_: impl FnOnce(Stream) -> F) -> usize {
        size_of::<F>()
    }

    let dialer = Dialer::new(
        "mqtt://127.0.0.1:1883".parse().unwrap(),
        DialOptions::default(),
    );
    let pointer = size_of::<usize>();
    assert_eq!(size_of_val(&dialer.dial(Subprotocol::Mqtt)), pointer);
    let options = WsOptions::default();
    assert_eq!(
        size_of_future(|stream| accept_websocket(stream, &options)),
        pointer
    );
}

/// Sessions move between threads.
#[test]
fn everything_is_send() {
    fn assert_send<T: Send + Unpin>() {}
    assert_send::<Stream>();
    assert_send::<mproxy_transport::Accepted>();
    assert_send::<mproxy_transport::Acceptor>();
    assert_send::<mproxy_transport::Listener>();
}
