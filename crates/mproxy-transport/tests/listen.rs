//! Listening and accepting, TCP and Unix.

use std::{io, net::SocketAddr, os::unix::net::UnixListener, path::Path, time::Duration};

use mproxy_transport::{ClientAddr, ListenAddr, ListenOptions, Listener, Stream, TcpOptions};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

fn bind(addr: &str) -> Listener {
    Listener::bind(&addr.parse().unwrap(), &ListenOptions::default()).unwrap()
}

fn port(listener: &Listener) -> u16 {
    listener.local_addr().unwrap().port().unwrap()
}

/// Sends four bytes each way, half-closing in between.
async fn assert_echo(client: impl Into<Stream>, mut server: Stream) {
    let mut client = client.into();
    client.write_all(b"ping").await.unwrap();
    client.shutdown().await.unwrap();
    let mut request = Vec::new();
    server.read_to_end(&mut request).await.unwrap();
    assert_eq!(request, b"ping");
    // The other direction is open still.
    server.write_all(b"pong").await.unwrap();
    server.shutdown().await.unwrap();
    let mut response = Vec::new();
    client.read_to_end(&mut response).await.unwrap();
    assert_eq!(response, b"pong");
}

#[tokio::test]
async fn tcp_echo_with_half_close() {
    let listener = bind("127.0.0.1:0");
    let port = port(&listener);
    let acceptor = listener.into_acceptor().unwrap();
    assert_eq!(acceptor.local_addr().unwrap().port(), Some(port));
    let client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let accepted = acceptor.accept().await.unwrap();
    assert_eq!(accepted.peer(), client.local_addr().unwrap().into());
    assert_eq!(
        accepted.local_addr().unwrap(),
        Some(client.peer_addr().unwrap())
    );
    assert_echo(client, accepted.into_stream().unwrap()).await;
}

/// The socket of a connection that a listener with these options accepts.
async fn accepted(tcp: TcpOptions) -> TcpStream {
    let mut options = ListenOptions::default();
    options.tcp = tcp;
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), &options).unwrap();
    let port = port(&listener);
    let acceptor = listener.into_acceptor().unwrap();
    let _client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let stream = acceptor.accept().await.unwrap().into_stream().unwrap();
    let Stream::Tcp(stream) = stream else {
        panic!("not TCP: {stream:?}");
    };
    stream
}

#[tokio::test]
async fn accepted_sockets_get_their_options() {
    for nodelay in [true, false] {
        let mut tcp = TcpOptions::default();
        tcp.nodelay = nodelay;
        let stream = accepted(tcp).await;
        assert_eq!(stream.nodelay().unwrap(), nodelay);
        assert!(!SockRef::from(&stream).keepalive().unwrap());
    }
}

/// A client without a keep alive of its own that loses its power says nothing more. With the
/// system's values (75 s between probes, 9 of them) it would hold its session for 11 minutes after
/// the idle time; here it is found after about twice the idle time. An idle time that the kernel
/// does not take must not fail the socket.
#[tokio::test]
async fn accepted_sockets_ask_for_a_silent_peer() {
    let hour = 3_600;
    for (idle, seconds, interval, probes) in [
        (Duration::from_secs(60), 60, 12, 5),
        (Duration::from_secs(10), 10, 2, 5),
        (Duration::from_secs(9), 9, 2, 5),
        (Duration::from_secs(3), 3, 1, 3),
        (Duration::from_millis(1), 1, 1, 1),
        (Duration::from_secs(24 * hour), 32_767, 6_553, 5),
    ] {
        let mut tcp = TcpOptions::default();
        tcp.keepalive = Some(idle);
        let stream = accepted(tcp).await;
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        let time = Duration::from_secs;
        assert_eq!(socket.tcp_keepalive_time().unwrap(), time(seconds));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), time(interval));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), probes);
    }
}

#[tokio::test]
async fn unspecified_ipv6_serves_both_families() {
    let listener = bind("[::]:0");
    let port = port(&listener);
    let acceptor = listener.into_acceptor().unwrap();
    for target in ["127.0.0.1", "::1"] {
        let client = TcpStream::connect((target, port)).await.unwrap();
        let accepted = acceptor.accept().await.unwrap();
        // An IPv4 client is shown as one.
        assert_eq!(accepted.peer().ip(), Some(target.parse().unwrap()));
        assert_echo(client, accepted.into_stream().unwrap()).await;
    }
}

#[tokio::test]
async fn host_name_is_resolved() {
    let listener = bind("localhost:0");
    let port = port(&listener);
    let acceptor = listener.into_acceptor().unwrap();
    let client = TcpStream::connect(("localhost", port)).await.unwrap();
    let accepted = acceptor.accept().await.unwrap();
    assert_echo(client, accepted.into_stream().unwrap()).await;
}

#[test]
fn address_in_use_is_an_error() {
    let first = bind("127.0.0.1:0");
    let again = first.local_addr().unwrap();
    let error = Listener::bind(&again, &ListenOptions::default()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn reuse_port_lets_two_sockets_share_an_address() {
    let mut options = ListenOptions::default();
    options.reuse_port = true;
    let first = Listener::bind(&"127.0.0.1:0".parse().unwrap(), &options).unwrap();
    let second = Listener::bind(&first.local_addr().unwrap(), &options).unwrap();
    assert_eq!(first.local_addr().unwrap(), second.local_addr().unwrap());
}

/// Clones accept from one queue, each in its own runtime, and what one accepted another serves.
#[test]
fn accepted_moves_to_another_runtime() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let listener = bind("127.0.0.1:0");
    let port = port(&listener);
    let clone = listener.try_clone().unwrap();
    let (to_server, connections) = std::sync::mpsc::channel();
    let accepting = std::thread::spawn(move || {
        runtime().block_on(async move {
            let acceptor = clone.into_acceptor().unwrap();
            to_server.send(acceptor.accept().await.unwrap()).unwrap();
        });
    });
    // The other clone's runtime never accepts; its queue is the same.
    let idle = runtime();
    let _idle_acceptor = idle.block_on(async { listener.into_acceptor().unwrap() });
    let client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.set_nonblocking(true).unwrap();
    let accepted = connections.recv().unwrap();
    accepting.join().unwrap();
    // The accepting runtime is gone; the connection is not.
    runtime().block_on(async move {
        let client = TcpStream::from_std(client).unwrap();
        assert_echo(client, accepted.into_stream().unwrap()).await;
    });
}

#[tokio::test]
async fn cancelled_accept_loses_nothing() {
    let listener = bind("127.0.0.1:0");
    let port = port(&listener);
    let acceptor = listener.into_acceptor().unwrap();
    for _ in 0..100 {
        let client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let accepted = loop {
            tokio::select! {
                biased;
                accepted = acceptor.accept() => break accepted.unwrap(),
                // Cancels the accept whenever it is not ready at once.
                () = tokio::task::yield_now() => {}
            }
        };
        assert_eq!(accepted.peer(), client.local_addr().unwrap().into());
    }
}

#[tokio::test]
async fn unix_echo_and_removal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mqtt.sock");
    let listener = bind(&format!("unix:{}", path.display()));
    let clone = listener.try_clone().unwrap();
    let acceptor = listener.into_acceptor().unwrap();
    assert_eq!(acceptor.local_addr().unwrap().unix_path(), Some(&*path));
    let client = UnixStream::connect(&path).await.unwrap();
    let accepted = acceptor.accept().await.unwrap();
    assert_eq!(accepted.peer(), ClientAddr::UNIX);
    assert_eq!(accepted.local_addr().unwrap(), None);
    assert_echo(client, accepted.into_stream().unwrap()).await;
    drop(acceptor);
    assert!(path.exists(), "a clone is left");
    drop(clone);
    assert!(!path.exists());
}

fn unix(path: &Path) -> ListenAddr {
    format!("unix:{}", path.display()).parse().unwrap()
}

#[test]
fn stale_unix_socket_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mqtt.sock");
    // std leaves the file behind, as a killed process does.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let listener = Listener::bind(&unix(&path), &ListenOptions::default()).unwrap();
    std::os::unix::net::UnixStream::connect(&path).unwrap();
    drop(listener);
    assert!(!path.exists());
}

#[test]
fn live_unix_socket_and_other_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live.sock");
    let _listener = UnixListener::bind(&live).unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "data").unwrap();
    // "address already in use" sent operators to look for a program that listens on a file
    for (path, kind, text) in [
        (&live, io::ErrorKind::AddrInUse, "in use"),
        (&file, io::ErrorKind::AlreadyExists, "file of this name"),
        (
            &dir.path().into(),
            io::ErrorKind::AlreadyExists,
            "folder of this name",
        ),
    ] {
        let error = Listener::bind(&unix(path), &ListenOptions::default()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "{error}");
        assert!(path.exists());
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"data");
}

#[test]
fn successors_socket_is_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mqtt.sock");
    let old = Listener::bind(&unix(&path), &ListenOptions::default()).unwrap();
    std::fs::remove_file(&path).unwrap();
    let _new = UnixListener::bind(&path).unwrap();
    drop(old);
    assert!(path.exists());
}

#[test]
fn listen_addr_from_socket_addr() {
    let addr: SocketAddr = "127.0.0.1:1".parse().unwrap();
    assert_eq!(ListenAddr::from(addr).to_string(), "127.0.0.1:1");
}
