//! Brokers that are reached by TLS.

use std::{io, sync::Arc};

use mproxy_transport::{
    DialCause, DialError, DialOptions, Dialer, ListenOptions, Listener, Stream, Subprotocol,
    TlsCause, TlsClient, TlsClientOptions, TlsInfo, TlsServer, TlsServerOptions, WsOptions,
    accept_tls, accept_websocket,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Ca, mutual, options};

/// A broker that echoes four bytes, by MQTT or by WebSocket, once.
async fn meet(
    served: &TlsServerOptions,
    asked: &TlsClientOptions,
    url: impl Fn(u16) -> String,
) -> (Result<Stream, DialError>, Option<TlsInfo>) {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), &ListenOptions::default());
    let listener = listener.unwrap();
    let address = listener.local_addr().unwrap().socket_addr().unwrap();
    let url = url(address.port());
    let is_websocket = url.starts_with("ws");
    let server = TlsServer::load(served).unwrap();
    let broker = async {
        let accepted = listener.into_acceptor()?.accept().await?;
        let accepted = accept_tls(accepted.into_stream()?, &server, |_| {}).await;
        let (mut stream, info) = accepted.map_err(io::Error::other)?;
        if is_websocket {
            let upgraded = accept_websocket(stream, &WsOptions::default()).await;
            stream = upgraded.map_err(io::Error::other)?.0;
        }
        let mut bytes = [0; 4];
        // TLS 1.3: the client learns of a refusal with its first read
        stream.read_exact(&mut bytes).await?;
        stream.write_all(&bytes).await?;
        stream.flush().await?;
        io::Result::Ok(info)
    };
    let client = async {
        let dialer = Dialer::new(url.parse().unwrap(), DialOptions::default());
        let dialer = dialer.tls(TlsClient::load(asked).unwrap());
        let mut stream = dialer.dial(Subprotocol::Mqtt).await?;
        stream.write_all(b"ping").await.unwrap();
        stream.flush().await.unwrap();
        let mut back = [0; 4];
        if stream.read_exact(&mut back).await.is_ok() {
            assert_eq!(&back, b"ping");
        }
        Ok(stream)
    };
    let (info, stream) = tokio::join!(broker, client);
    (stream, info.ok())
}

fn asks(ca: &Ca) -> TlsClientOptions {
    let mut options = TlsClientOptions::default();
    options.ca.push(ca.path("ca.crt"));
    options
}

#[tokio::test]
async fn mqtts_and_wss_reach_their_broker() {
    let ca = Ca::new();
    let leaf = ca.issue(&["localhost"]);
    let mut asked = asks(&ca);
    asked.alpn = vec!["mqtt".to_owned()];
    let mut served = options(&leaf);
    served.alpn = vec!["mqtt".to_owned()];
    for scheme in ["mqtts", "wss"] {
        let url = |port| format!("{scheme}://localhost:{port}");
        let (stream, info) = meet(&served, &asked, url).await;
        stream.unwrap();
        let info = info.unwrap();
        assert_eq!(info.server_name.as_deref(), Some("localhost"));
        assert_eq!(info.alpn.as_deref(), Some("mqtt"));
    }
}

#[tokio::test]
async fn a_broker_that_is_not_trusted_is_not_used() {
    let ca = Ca::new();
    let leaf = ca.issue(&["broker.test"]);
    let by_ip = |port| format!("mqtts://127.0.0.1:{port}");
    // another name, which may be set
    let (stream, _) = meet(&options(&leaf), &asks(&ca), by_ip).await;
    let error = stream.unwrap_err();
    assert!(
        matches!(error.cause(), DialCause::Tls(TlsCause::Violation(_))),
        "{error}"
    );
    assert!(
        error.to_string().contains("NotValidForName")
            || error.to_string().contains("not valid for name"),
        "{error}"
    );
    let mut named = asks(&ca);
    named.server_name = Some("broker.test".to_owned());
    let (stream, _) = meet(&options(&leaf), &named, by_ip).await;
    stream.unwrap();
    // another CA
    let (stream, _) = meet(&options(&leaf), &asks(&Ca::new()), by_ip).await;
    let error = stream.unwrap_err().to_string();
    assert!(
        error.contains("UnknownIssuer") || error.contains("BadSignature"),
        "{error}"
    );
}

#[tokio::test]
async fn a_broker_is_shown_a_certificate() {
    let ca = Ca::new();
    let leaf = ca.issue(&["localhost"]);
    let own = ca.issue(&["mproxy"]);
    let mut asked = asks(&ca);
    asked.identity = Some(own.identity.clone());
    let url = |port| format!("mqtts://localhost:{port}");
    let (stream, info) = meet(&mutual(&ca, &leaf), &asked, url).await;
    stream.unwrap();
    assert_eq!(info.unwrap().certificates, [own.cert]);
    let (_, info) = meet(&mutual(&ca, &leaf), &asks(&ca), url).await;
    assert!(info.is_none(), "a broker that asks for one");
}

#[tokio::test]
async fn what_is_not_set_up_is_told() {
    let dialer = Dialer::new(
        "mqtts://127.0.0.1:1".parse().unwrap(),
        DialOptions::default(),
    );
    // nobody listens there: the connection comes first
    let error = dialer.dial(Subprotocol::Mqtt).await.unwrap_err();
    assert!(matches!(error.cause(), DialCause::Refused), "{error}");
    let listener = Arc::new(tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
    let url = format!("mqtts://{}", listener.local_addr().unwrap());
    let dialer = Dialer::new(url.parse().unwrap(), DialOptions::default());
    let error = dialer.dial(Subprotocol::Mqtt).await.unwrap_err();
    assert!(matches!(error.cause(), DialCause::TlsNotSetUp), "{error}");

    let ca = Ca::new();
    let mut wrong = asks(&ca);
    wrong.server_name = Some("not a name".to_owned());
    let error = TlsClient::load(&wrong).unwrap_err().to_string();
    assert!(
        error.contains("`not a name` is not the name of a host"),
        "{error}"
    );
    let mut wrong = asks(&ca);
    wrong.ca.push(ca.path("missing.crt"));
    let error = TlsClient::load(&wrong).unwrap_err();
    let files: Vec<_> = error.iter().map(|it| it.file()).collect();
    assert_eq!(files, [Some(&*ca.path("missing.crt"))]);
}

/// A broker at another address is not trusted because the first one is.
#[tokio::test]
async fn each_address_must_have_its_own_name() {
    let ca = Ca::new();
    let leaf = ca.issue(&["localhost"]);
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), &ListenOptions::default());
    let listener = listener.unwrap();
    let address = listener.local_addr().unwrap().socket_addr().unwrap();
    let server = TlsServer::load(&options(&leaf)).unwrap();
    let broker = async {
        let acceptor = listener.into_acceptor().unwrap();
        loop {
            let accepted = acceptor.accept().await.unwrap();
            // one of them is left by the dialler
            let _ = accept_tls(accepted.into_stream().unwrap(), &server, |_| {}).await;
        }
    };
    let by = |host: &str| {
        format!("mqtts://{host}:{}", address.port())
            .parse()
            .unwrap()
    };
    let dialer = Dialer::new(by("127.0.0.1"), DialOptions::default()).also([by("localhost")]);
    let dialer = dialer.tls(TlsClient::load(&asks(&ca)).unwrap());
    let dialled = tokio::select! {
        () = broker => unreachable!("it accepts forever"),
        dialled = dialer.dial_behind(Vec::new(), Subprotocol::Mqtt) => dialled.unwrap(),
    };
    assert_eq!(dialled.address, 1);
    let told = dialled.instead.unwrap();
    assert!(
        matches!(told.cause(), DialCause::Tls(TlsCause::Violation(_))),
        "{told}"
    );
}
