//! Headers of the PROXY protocol in front of a connection, read from real sockets.

#[path = "../../mproxy-codec/tests/data/hostile.rs"]
mod data;

use std::{io, time::Duration};

use data::Cut;
use mproxy_transport::{
    AcceptProxy, DialOptions, Dialer, ListenOptions, Listener, ProxyCause, ProxyError, ProxyHeader,
    SendProxy, Stream, Subprotocol, read_proxy_header,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    task::yield_now,
};

const LONG: Duration = Duration::from_secs(60);

/// Two ends of a connection: TCP, and a Unix socket.
async fn pairs() -> [(Stream, Stream); 2] {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    let near = near.unwrap();
    near.set_nodelay(true).unwrap();
    let unix = UnixStream::pair().unwrap();
    [
        (near.into(), far.unwrap().0.into()),
        (unix.0.into(), unix.1.into()),
    ]
}

fn header() -> ProxyHeader {
    ProxyHeader::new(
        "192.0.2.1:5000".parse().unwrap(),
        "192.0.2.2:1883".parse().unwrap(),
    )
}

/// What is read of bytes, and what follows.
async fn read(
    bytes: &[u8],
    cut: Cut,
    accept: AcceptProxy,
    mut near: Stream,
    mut far: Stream,
) -> (Result<Option<ProxyHeader>, ProxyError>, Vec<u8>) {
    let send = async {
        for piece in cut.pieces(bytes) {
            // a peer that has refused may be gone
            if near.write_all(piece).await.is_err() {
                break;
            }
            yield_now().await;
        }
        let _ = near.shutdown().await;
    };
    let receive = async {
        let header = read_proxy_header(&mut far, accept, LONG).await;
        let mut rest = Vec::new();
        if header.is_ok() {
            far.read_to_end(&mut rest).await.unwrap();
        }
        drop(far);
        (header, rest)
    };
    tokio::join!(receive, send).0
}

fn cuts() -> impl Iterator<Item = Cut> {
    let random = std::iter::repeat_with(Cut::random).take(10);
    [Cut::Whole, Cut::ByteByByte].into_iter().chain(random)
}

/// TLS behind a header would not begin at its first byte, or wait forever for bytes that have come.
#[tokio::test]
async fn a_header_is_read_and_not_a_byte_more() {
    let behind = b"\x16\x03\x01 what follows";
    for version in [SendProxy::V1, SendProxy::V2] {
        let bytes = [header().encode(version), behind.to_vec()].concat();
        for cut in cuts() {
            for (near, far) in pairs().await {
                let accept = AcceptProxy::Required;
                let (read, rest) = read(&bytes, cut, accept, near, far).await;
                assert_eq!(read.unwrap(), Some(header()), "{cut:?}");
                assert_eq!(rest, behind, "{cut:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_a_header_is_left() {
    for bytes in [
        &b"\x10\x0c\0\x04MQTT"[..],
        b"\x16\x03\x01\x02",
        b"GET / HTTP/1.1\r\n",
    ] {
        for cut in cuts() {
            for accept in [AcceptProxy::Off, AcceptProxy::Optional] {
                for (near, far) in pairs().await {
                    let (read, rest) = read(bytes, cut, accept, near, far).await;
                    assert_eq!((read.unwrap(), &*rest), (None, bytes));
                }
            }
            for (near, far) in pairs().await {
                let (read, _) = read(bytes, cut, AcceptProxy::Required, near, far).await;
                let error = read.unwrap_err();
                assert!(matches!(error.cause(), ProxyCause::Missing));
                assert_eq!(error.first_bytes()[0], bytes[0]);
            }
        }
    }
}

#[tokio::test]
async fn hostile_headers_are_refused() {
    let cases = data::transport().into_iter();
    let cases: Vec<_> = cases.filter(|case| case.state == "proxy").collect();
    assert_eq!(cases.len(), 3);
    for case in cases {
        for cut in cuts() {
            for (near, far) in pairs().await {
                let accept = AcceptProxy::Optional;
                let (read, _) = read(&case.bytes, cut, accept, near, far).await;
                assert!(read.is_err(), "{} {}", case.id, case.name);
            }
        }
    }
}

#[tokio::test]
async fn half_a_header_is_refused_at_its_end_or_when_time_is_up() {
    for version in [SendProxy::V1, SendProxy::V2] {
        let bytes = header().encode(version);
        for len in 0..bytes.len() {
            let half = &bytes[..len];
            for (near, far) in pairs().await {
                let accept = AcceptProxy::Required;
                let (read, _) = read(half, Cut::Whole, accept, near, far).await;
                let error = read.unwrap_err();
                assert!(matches!(error.cause(), ProxyCause::Closed), "{error}");
                assert_eq!(error.received(), len as u64);
            }
        }
        for (mut near, mut far) in pairs().await {
            near.write_all(&bytes[..bytes.len() - 1]).await.unwrap();
            let patience = Duration::from_millis(50);
            let accept = AcceptProxy::Required;
            let error = read_proxy_header(&mut far, accept, patience)
                .await
                .unwrap_err();
            assert!(matches!(error.cause(), ProxyCause::TimedOut), "{error}");
        }
    }
}

/// The client's address comes first, whatever carries MQTT.
#[tokio::test]
async fn a_dialer_sends_its_head_first() -> io::Result<()> {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), &ListenOptions::default())?;
    let address = listener.local_addr()?;
    let acceptor = listener.into_acceptor()?;
    for url in [format!("mqtt://{address}"), format!("ws://{address}/mqtt")] {
        let dialer = Dialer::new(url.parse().unwrap(), DialOptions::default());
        let head = header().encode(SendProxy::V2);
        let serve = async {
            let mut stream = acceptor.accept().await.unwrap().into_stream()?;
            let read = read_proxy_header(&mut stream, AcceptProxy::V2, LONG).await;
            assert_eq!(read.unwrap(), Some(header()));
            Ok::<_, io::Error>(stream)
        };
        let dial = dialer.dial_behind(head, Subprotocol::Mqtt);
        tokio::select! {
            // a WebSocket broker would still have to answer
            served = serve => drop(served?),
            _ = async { let _stream = dial.await; std::future::pending::<()>().await } => {}
        }
    }
    Ok(())
}
