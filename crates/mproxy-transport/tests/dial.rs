//! Reaching brokers, and failing to.

mod support;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use mproxy_transport::{
    DialCause, DialError, DialOptions, Dialer, Stream, Subprotocol, WsOptions, WsWriteTimeout,
    accept_websocket,
};
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixListener},
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

fn dialer(addr: &str) -> Dialer {
    Dialer::new(addr.parse().unwrap(), DialOptions::default())
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

async fn assert_echo(mut client: Stream, mut server: Stream) {
    client.write_all(b"ping").await.unwrap();
    let mut buf = [0; 4];
    server.read_exact(&mut buf).await.unwrap();
    assert_eq!(&buf, b"ping");
    server.write_all(b"pong").await.unwrap();
    client.read_exact(&mut buf).await.unwrap();
    assert_eq!(&buf, b"pong");
    // Either carrier ends cleanly, both ways.
    client.shutdown().await.unwrap();
    assert_eq!(server.read(&mut buf).await.unwrap(), 0);
    server.shutdown().await.unwrap();
    assert_eq!(client.read(&mut buf).await.unwrap(), 0);
}

/// `Duration::MAX` stands for no limit, and was a panic: no clock goes as far.
#[tokio::test]
async fn a_dial_may_have_any_time() {
    let (listener, port) = listener().await;
    let mut options = DialOptions::default();
    options.connect_timeout = Duration::MAX;
    options.retry_for = Duration::MAX;
    options.write_timeout = Duration::MAX;
    for host in ["127.0.0.1", "localhost"] {
        let addr = format!("mqtt://{host}:{port}").parse().unwrap();
        let dialer = Dialer::new(addr, options);
        let client = dialer.dial(Subprotocol::Mqtt).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        assert_echo(client, server.into()).await;
    }
}

#[tokio::test]
async fn tcp() {
    let (listener, port) = listener().await;
    for host in ["127.0.0.1", "localhost"] {
        let dialer = dialer(&format!("mqtt://{host}:{port}"));
        // The kernel connects before anybody accepts.
        let client = dialer.dial(Subprotocol::Mqtt).await.unwrap();
        let Stream::Tcp(socket) = &client else {
            panic!("not TCP: {client:?}");
        };
        assert!(socket.nodelay().unwrap());
        let (server, _) = listener.accept().await.unwrap();
        assert_echo(client, server.into()).await;
    }
}

#[tokio::test]
async fn unix() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broker.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let dialer = dialer(&format!("unix:{}", path.display()));
    let client = dialer.dial(Subprotocol::Mqtt).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    assert_echo(client, server.into()).await;
}

#[tokio::test]
async fn websocket_with_either_subprotocol() {
    for subprotocol in [Subprotocol::Mqtt, Subprotocol::MqttV31] {
        let (listener, port) = listener().await;
        let serve = async {
            let (socket, _) = listener.accept().await.unwrap();
            let options = WsOptions::default().paths(["/x/mqtt"]);
            accept_websocket(socket, &options).await.unwrap()
        };
        let dialer = dialer(&format!("ws://127.0.0.1:{port}/x/mqtt?a=b"));
        let (client, (server, request)) = tokio::join!(dialer.dial(subprotocol), serve);
        assert_eq!(request.subprotocol(), subprotocol);
        assert_eq!(request.query(), Some("a=b"));
        assert_eq!(request.host(), Some(&*format!("127.0.0.1:{port}")));
        assert_echo(client.unwrap(), server).await;
    }
}

/// Between our own two ends: more than any buffer in between holds, both ways at once.
#[tokio::test]
async fn websocket_bulk_both_ways() {
    let (listener, port) = listener().await;
    let serve = async {
        let (socket, _) = listener.accept().await.unwrap();
        let options = WsOptions::default();
        accept_websocket(socket, &options).await.unwrap().0
    };
    let dialer = dialer(&format!("ws://127.0.0.1:{port}"));
    let (client, server) = tokio::join!(dialer.dial(Subprotocol::Mqtt), serve);
    let payload: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let pump = async |stream: Stream| {
        let (mut read, mut write) = tokio::io::split(stream);
        let mut received = vec![0; payload.len()];
        let (written, got) =
            tokio::join!(write.write_all(&payload), read.read_exact(&mut received));
        written.unwrap();
        got.unwrap();
        received
    };
    let (at_client, at_server) = tokio::join!(pump(client.unwrap()), pump(server));
    assert!(at_client == payload && at_server == payload);
}

/// What our client puts on the wire: masked frames, as a broker insists on.
#[tokio::test]
async fn websocket_client_masks() {
    let (listener, port) = listener().await;
    let serve = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        handshake(&mut socket, "Sec-WebSocket-Protocol: mqtt\r\n", b"").await;
        let mut frame = [0; 10];
        socket.read_exact(&mut frame).await.unwrap();
        frame
    };
    let dial = async {
        let dialer = dialer(&format!("ws://127.0.0.1:{port}"));
        let mut stream = dialer.dial(Subprotocol::Mqtt).await.unwrap();
        stream.write_all(b"ping").await.unwrap();
        stream
    };
    let (frame, _open) = tokio::join!(serve, dial);
    assert_eq!(frame[..2], [0x82, 0x84]);
    let mask = &frame[2..6];
    let payload: Vec<u8> = frame[6..]
        .iter()
        .zip(mask)
        .map(|(byte, key)| byte ^ key)
        .collect();
    assert_eq!(payload, b"ping");
}

/// A broker is no better than a client: one that stops reading must not hold a session for as long as
/// it likes, only because nothing waits but a pong or the rest of a frame.
#[tokio::test]
async fn a_websocket_broker_that_takes_nothing_is_given_up() {
    let (listener, port) = listener().await;
    let serve = async {
        let (mut broker, _) = listener.accept().await.unwrap();
        handshake(&mut broker, "Sec-WebSocket-Protocol: mqtt\r\n", b"").await;
        broker
    };
    let mut options = DialOptions::default();
    options.write_timeout = Duration::from_millis(50);
    let dialer = Dialer::new(format!("ws://127.0.0.1:{port}").parse().unwrap(), options);
    let (_broker, stream) = tokio::join!(serve, dialer.dial(Subprotocol::Mqtt));
    let mut stream = stream.unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(written) = Pin::new(&mut stream).poll_write(&mut cx, &[7; 100_000]) {
        written.unwrap();
    }
    let error = stream.read(&mut [0; 16]).await.unwrap_err();
    assert!(WsWriteTimeout::find(&error).is_some(), "{error:?}");
}

/// Reads a request, and answers its key with these lines added and these bytes right behind.
async fn handshake(socket: &mut TcpStream, lines: &str, behind: &[u8]) -> String {
    let request = read_head(socket).await;
    let key = request
        .lines()
        .find_map(|line| line.strip_prefix("sec-websocket-key: "))
        .unwrap();
    let accept = derive_accept_key(key.as_bytes());
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{lines}\r\n"
    );
    let response = [response.as_bytes(), behind].concat();
    socket.write_all(&response).await.unwrap();
    request
}

async fn read_head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Bytes the broker sends right behind its answer are not lost.
#[tokio::test]
async fn websocket_early_bytes_from_the_broker() {
    let (listener, port) = listener().await;
    let serve = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let lines = "Sec-WebSocket-Protocol: mqtt\r\n";
        handshake(&mut socket, lines, b"\x82\x05early\x82").await;
        socket
    };
    let dialer = dialer(&format!("ws://127.0.0.1:{port}"));
    let (stream, mut socket) = tokio::join!(dialer.dial(Subprotocol::Mqtt), serve);
    socket.write_all(b"\x01!").await.unwrap();
    let mut received = [0; 6];
    stream.unwrap().read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"early!");
}

async fn handshake_error(response: impl AsyncFn(&mut TcpStream)) -> DialError {
    let (listener, port) = listener().await;
    let serve = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        response(&mut socket).await;
    };
    let dialer = dialer(&format!("ws://127.0.0.1:{port}/mqtt"));
    let (result, ()) = tokio::join!(dialer.dial(Subprotocol::Mqtt), serve);
    let error = result.unwrap_err();
    let prefix = format!("cannot reach ws://127.0.0.1:{port}/mqtt: ");
    assert!(error.to_string().starts_with(&prefix), "{error}");
    error
}

#[tokio::test]
async fn websocket_handshakes_that_fail() {
    for (response, says) in [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "404"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200"),
        ("\x20\x02\x00\x00MQTT is spoken here\r\n\r\n", "handshake"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
            "sec-websocket-accept",
        ),
        ("", "handshake"),
    ] {
        let error = handshake_error(async |socket: &mut TcpStream| {
            read_head(socket).await;
            socket.write_all(response.as_bytes()).await.unwrap();
        })
        .await;
        assert!(
            matches!(error.cause(), DialCause::Handshake(_)),
            "{error:?}"
        );
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn websocket_broker_must_agree_on_the_subprotocol() {
    for lines in [
        "",
        "Sec-WebSocket-Protocol: mqttv3.1\r\n",
        "Sec-WebSocket-Protocol: chat\r\n",
    ] {
        let error = handshake_error(async |socket: &mut TcpStream| {
            let request = handshake(socket, lines, b"").await;
            assert!(
                request.contains("sec-websocket-protocol: mqtt\r\n"),
                "{request}"
            );
        })
        .await;
        assert!(
            error
                .to_string()
                .contains("does not agree on the subprotocol mqtt"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn refused() {
    let (listener, port) = listener().await;
    drop(listener);
    for scheme in ["mqtt", "ws"] {
        let dialer = dialer(&format!("{scheme}://127.0.0.1:{port}"));
        let error = dialer.dial(Subprotocol::Mqtt).await.unwrap_err();
        assert!(matches!(error.cause(), DialCause::Refused), "{error:?}");
        assert_eq!(*error.addr(), dialer.addrs()[0]);
        assert_eq!(
            error.to_string(),
            format!("cannot reach {}: connection refused", dialer.addrs()[0])
        );
    }
}

#[tokio::test]
async fn unix_without_a_listener() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broker.sock");
    let dialer = dialer(&format!("unix:{}", path.display()));
    let error = dialer.dial(Subprotocol::Mqtt).await.unwrap_err();
    let DialCause::Io(cause) = error.cause() else {
        panic!("{error:?}");
    };
    assert_eq!(cause.kind(), io::ErrorKind::NotFound);
    drop(UnixListener::bind(&path).unwrap());
    let error = dialer.dial(Subprotocol::Mqtt).await.unwrap_err();
    assert!(matches!(error.cause(), DialCause::Refused), "{error:?}");
}

/// A host that answers nothing at all: its queue of connections is full, so the kernel drops the
/// SYN.
#[tokio::test]
async fn black_hole_times_out() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    // A queue of "0" holds one.
    let _queued = std::net::TcpStream::connect(addr).unwrap();
    let timeout = Duration::from_millis(50);
    let mut options = DialOptions::default();
    options.connect_timeout = timeout;
    let dialer = Dialer::new(format!("mqtt://{addr}").parse().unwrap(), options);
    let error = dialer.dial(Subprotocol::Mqtt).await.unwrap_err();
    assert!(matches!(error.cause(), DialCause::TimedOut), "{error:?}");
    assert!(error.to_string().ends_with(": timed out"));
}

/// Connected, and then nothing: the handshake is under the same timeout.
#[tokio::test(start_paused = true)]
async fn silent_websocket_broker_times_out() {
    let (_listener, port) = listener().await;
    let dialer = dialer(&format!("ws://127.0.0.1:{port}"));
    let started = tokio::time::Instant::now();
    let error = dialer.dial(Subprotocol::Mqtt).await.unwrap_err();
    assert!(matches!(error.cause(), DialCause::TimedOut), "{error:?}");
    assert_eq!(started.elapsed().as_secs(), 5);
}

/// A caller that looks for the error of the system in the sources found nothing.
#[tokio::test]
async fn an_error_has_its_sources() {
    use std::error::Error;

    let error = dialer("unix:/nowhere/socket");
    let error = error.dial(Subprotocol::Mqtt).await.unwrap_err();
    let cause = error.source().unwrap();
    assert!(cause.is::<DialCause>());
    let io = cause.source().unwrap().downcast_ref::<io::Error>();
    assert_eq!(io.unwrap().kind(), io::ErrorKind::NotFound);
    assert!(error.to_string().ends_with(&cause.to_string()));
}
