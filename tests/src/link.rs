//! One end of a connection: bytes in, bytes out.

use std::net::SocketAddr;
use std::path::Path;
use std::task::{Context, Waker};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{Bytes, Message as Frame};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, client_async};

use crate::deadline::within;
use crate::pki::Pki;
use crate::tls;
use crate::wire::{
    Connect, DISCONNECT, Message, PINGREQ, PINGRESP, PROBE, Packet, Version, connack,
};

/// A connection of a client, or of a broker that a test plays.
#[derive(Debug)]
pub struct Link {
    io: Io,
    received: Vec<u8>,
    version: Version,
}

#[derive(Debug)]
enum Io {
    Tcp(TcpStream),
    Ws(Box<WebSocketStream<TcpStream>>),
    Unix(UnixStream),
    UnixWs(Box<WebSocketStream<UnixStream>>),
    Tls(Box<TlsStream<TcpStream>>),
    Wss(Box<WebSocketStream<TlsStream<TcpStream>>>),
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Closed after a whole packet.
    Clean,
    /// Closed within a packet, of which this came.
    Partial(Vec<u8>),
}

/// The most that is read at once.
const READ: usize = 64 * 1024;

impl Link {
    /// Connects over TCP.
    ///
    /// # Panics
    /// If nobody listens.
    pub async fn tcp(addr: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(addr)).await;
        Self::over(stream.unwrap_or_else(|error| panic!("{addr}: {error}")))
    }

    /// Connects over TCP, if somebody listens.
    pub async fn try_tcp(addr: SocketAddr) -> Option<Self> {
        let stream = within("a connection", TcpStream::connect(addr)).await;
        stream.ok().map(Self::over)
    }

    /// Connects over a Unix socket.
    ///
    /// # Panics
    /// If nobody listens.
    pub async fn unix(path: &Path) -> Self {
        Self::with(Io::Unix(unix(path).await))
    }

    /// Connects over WebSocket over a Unix socket.
    ///
    /// # Panics
    /// If nobody listens, or the upgrade is refused.
    pub async fn unix_ws(path: &Path) -> Self {
        let stream = upgrade("localhost", &[], unix(path).await).await;
        Self::with(Io::UnixWs(Box::new(stream)))
    }

    /// Connects over WebSocket, with the subprotocol `mqtt`.
    ///
    /// # Panics
    /// If nobody listens, or the upgrade is refused.
    pub async fn ws(addr: SocketAddr) -> Self {
        Self::ws_with(addr, &[]).await
    }

    /// The same, with more headers.
    ///
    /// # Panics
    /// If nobody listens, or the upgrade is refused.
    pub async fn ws_with(addr: SocketAddr, headers: &[(&'static str, &'static str)]) -> Self {
        let stream = within("a connection", TcpStream::connect(addr)).await;
        let stream = stream.unwrap_or_else(|error| panic!("{addr}: {error}"));
        stream.set_nodelay(true).expect("a TCP connection");
        let stream = upgrade(&addr.to_string(), headers, stream).await;
        Self::with(Io::Ws(Box::new(stream)))
    }

    /// Connects over TLS; the server has a certificate of this CA.
    ///
    /// # Panics
    /// If nobody listens, or the handshake fails.
    pub async fn tls(addr: SocketAddr, pki: &Pki) -> Self {
        Self::with(Io::Tls(Box::new(secured(addr, pki).await)))
    }

    /// Connects over TLS, if the handshake succeeds.
    ///
    /// # Panics
    /// If nobody listens.
    pub async fn try_tls(addr: SocketAddr, pki: &Pki) -> Option<Self> {
        let (stream, _) = Self::tcp(addr).await.into_tcp();
        let secured = within("a TLS handshake", tls::secure(&tls::client(pki), stream)).await;
        secured.ok().map(|it| Self::with(Io::Tls(Box::new(it))))
    }

    /// Connects over WebSocket over TLS.
    ///
    /// # Panics
    /// If nobody listens, or a handshake fails.
    pub async fn wss(addr: SocketAddr, pki: &Pki) -> Self {
        let stream = upgrade("localhost", &[], secured(addr, pki).await).await;
        Self::with(Io::Wss(Box::new(stream)))
    }

    /// As a server: answers the upgrade to a WebSocket and waits until something is said. `None`
    /// when the connection ends before that.
    pub(crate) async fn upgraded(stream: TcpStream) -> Option<Self> {
        stream.set_nodelay(true).ok()?;
        #[allow(clippy::result_large_err)] // the signature is tungstenite's
        let choose = |request: &Request, mut response: Response| {
            let name = HeaderName::from_static("sec-websocket-protocol");
            if let Some(offered) = request.headers().get(&name) {
                response.headers_mut().insert(name, offered.clone());
            }
            Ok(response)
        };
        let stream = accept_hdr_async(stream, choose).await.ok()?;
        let mut link = Self::with(Io::Ws(Box::new(stream)));
        link.fill().await.then_some(link)
    }

    /// Uses a connection that exists.
    #[must_use]
    pub fn over(stream: TcpStream) -> Self {
        // a test that sends two packets means two packets
        stream.set_nodelay(true).expect("a TCP connection");
        Self::with(Io::Tcp(stream))
    }

    fn with(io: Io) -> Self {
        Self {
            io,
            received: Vec::new(),
            version: Version::V311,
        }
    }

    /// The version that CONNECT named.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Says in which version messages are to be read.
    pub const fn speak(&mut self, version: Version) {
        self.version = version;
    }

    /// Sends CONNECT and waits for the CONNACK.
    ///
    /// # Panics
    /// If it is not accepted.
    pub async fn connect(&mut self, connect: &Connect) -> Packet {
        self.version = connect.version();
        self.send(&connect.bytes()).await;
        let answer = self.packet().await;
        assert!(
            answer.kind() == 2 && answer.body()[1] == 0,
            "not accepted: {answer:?}"
        );
        answer
    }

    /// Connects over TCP as a client with a clean session.
    ///
    /// # Panics
    /// If it is not accepted.
    pub async fn client(addr: SocketAddr, version: Version, client_id: &str) -> Self {
        let mut link = Self::tcp(addr).await;
        link.connect(&Connect::new(version, client_id)).await;
        link
    }

    /// Sends bytes, in one WebSocket frame if there are frames.
    ///
    /// # Panics
    /// If they are not taken.
    pub async fn send(&mut self, bytes: &[u8]) {
        let sent = within("bytes to be taken", self.try_send(bytes)).await;
        assert!(sent, "the connection broke");
    }

    /// Sends bytes, however long it takes; says whether they were taken.
    pub async fn try_send(&mut self, bytes: &[u8]) -> bool {
        match &mut self.io {
            Io::Tcp(stream) => stream.write_all(bytes).await.is_ok(),
            Io::Unix(stream) => stream.write_all(bytes).await.is_ok(),
            Io::Ws(stream) => stream.send(binary(bytes)).await.is_ok(),
            Io::UnixWs(stream) => stream.send(binary(bytes)).await.is_ok(),
            // what is written is not yet sent
            Io::Tls(stream) => {
                stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok()
            }
            Io::Wss(stream) => stream.send(binary(bytes)).await.is_ok(),
        }
    }

    /// Reads once: false at the end, and when the connection breaks.
    async fn fill(&mut self) -> bool {
        match &mut self.io {
            Io::Tcp(stream) => fill(stream, &mut self.received).await,
            Io::Unix(stream) => fill(stream, &mut self.received).await,
            Io::Ws(stream) => fill_frame(stream, &mut self.received).await,
            Io::UnixWs(stream) => fill_frame(stream, &mut self.received).await,
            Io::Tls(stream) => fill(stream, &mut self.received).await,
            Io::Wss(stream) => fill_frame(stream, &mut self.received).await,
        }
    }

    async fn take(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = Packet::take(&mut self.received) {
                return Some(packet);
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// Whether nothing has come: nothing that is here already, whether it was read or not.
    ///
    /// # Panics
    /// If it is not plain TCP.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let Io::Tcp(stream) = &self.io else {
            panic!("not plain TCP");
        };
        // a poll that is not repeated: nobody is to be woken
        let mut task = Context::from_waker(Waker::noop());
        let mut room = [0];
        let peeked = stream.poll_peek(&mut task, &mut ReadBuf::new(&mut room));
        self.received.is_empty() && peeked.is_pending()
    }

    /// Waits for the first bytes of a packet, which need not be whole.
    ///
    /// # Panics
    /// If none come.
    pub async fn begin(&mut self) {
        while self.received.is_empty() {
            let more = within("the first bytes of a packet", self.fill()).await;
            assert!(more, "the end instead of a packet");
        }
    }

    /// Waits for a packet.
    ///
    /// # Panics
    /// If none comes.
    #[track_caller]
    pub fn packet(&mut self) -> impl Future<Output = Packet> {
        let packet = within("a packet", self.take());
        async { packet.await.expect("a packet before the end") }
    }

    /// Waits for a packet or the end of the connection.
    ///
    /// # Panics
    /// If neither comes.
    #[track_caller]
    pub fn packet_or_end(&mut self) -> impl Future<Output = Option<Packet>> {
        within("a packet or the end", self.take())
    }

    /// Asserts that the next packet is this one.
    ///
    /// # Panics
    /// If it is another.
    #[track_caller]
    pub fn expect(&mut self, bytes: &[u8]) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        let packet = within("a packet", self.take());
        async move {
            let packet = packet.await;
            let received = packet.as_ref().map(Packet::bytes);
            let shown = packet.as_ref();
            assert!(
                received == Some(bytes),
                "{caller}: expected {bytes:02x?}, got {shown:02x?}"
            );
        }
    }

    /// Waits for a message.
    ///
    /// # Panics
    /// If something else comes.
    #[track_caller]
    pub fn message(&mut self) -> impl Future<Output = Message> {
        let version = self.version;
        let packet = self.packet();
        async move { Message::of(&packet.await, version) }
    }

    /// Subscribes and waits for the grant.
    ///
    /// # Panics
    /// If it is not granted.
    pub async fn subscribe(&mut self, filter: &str, qos: u8) {
        let version = self.version;
        let request = crate::wire::subscribe(version, 0x5ab5, &[(filter, qos)]);
        self.send(&request).await;
        let grant = crate::wire::suback(version, 0x5ab5, &[qos]);
        self.expect(&grant).await;
    }

    /// Asserts that nothing has come and nothing is on its way: a PINGREQ comes back first.
    ///
    /// # Panics
    /// If something else does.
    pub async fn silent(&mut self) {
        self.send(&PINGREQ).await;
        self.expect(&PINGRESP).await;
    }

    /// Waits for the end of the connection, whatever comes before it.
    ///
    /// # Panics
    /// If it stays open.
    #[track_caller]
    pub fn rest(mut self) -> impl Future<Output = (Vec<Packet>, Rest)> {
        within("the end of the connection", async move {
            let mut packets = Vec::new();
            while let Some(packet) = self.take().await {
                packets.push(packet);
            }
            let rest = match self.received {
                rest if rest.is_empty() => Rest::Clean,
                rest => Rest::Partial(rest),
            };
            (packets, rest)
        })
    }

    /// Asserts that the connection ends, and that nothing comes before.
    ///
    /// # Panics
    /// If something comes, or it stays open.
    #[track_caller]
    pub fn closed(self) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        let rest = self.rest();
        async move { assert_eq!(rest.await, (Vec::new(), Rest::Clean), "{caller}") }
    }

    /// Takes leave as a client: DISCONNECT, then the end.
    ///
    /// # Panics
    /// If the other side does not end too.
    pub async fn leave(mut self) {
        self.send(&DISCONNECT).await;
        self.closed().await;
    }

    /// Breaks the connection off: the other side sees a reset.
    ///
    /// # Panics
    /// If the system does not do it, or it is a Unix socket, which knows no reset.
    pub fn reset(self) {
        let now = Some(Duration::ZERO);
        socket2::SockRef::from(self.socket())
            .set_linger(now)
            .expect("a socket lingers as it is told");
    }

    /// Ends its side of the TCP connection, without a word of TLS or WebSocket, and stays.
    ///
    /// # Panics
    /// If there is no TCP, or it has broken.
    pub fn half_close(&self) {
        let socket = socket2::SockRef::from(self.socket());
        let ended = socket.shutdown(std::net::Shutdown::Write);
        ended.expect("the connection broke");
    }

    fn socket(&self) -> &TcpStream {
        match &self.io {
            Io::Tcp(stream) => stream,
            Io::Ws(stream) => stream.get_ref(),
            Io::Tls(stream) => stream.get_ref().0,
            Io::Wss(stream) => stream.get_ref().get_ref().0,
            Io::Unix(_) | Io::UnixWs(_) => panic!("a Unix socket"),
        }
    }

    /// The connection, and what was received and not yet looked at.
    ///
    /// # Panics
    /// If it is not plain TCP.
    #[must_use]
    pub fn into_tcp(self) -> (TcpStream, Vec<u8>) {
        match self.io {
            Io::Tcp(stream) => (stream, self.received),
            _ => panic!("not plain TCP"),
        }
    }

    /// The frames beneath.
    ///
    /// # Panics
    /// If it is no WebSocket over TCP.
    pub fn frames(&mut self) -> &mut WebSocketStream<TcpStream> {
        match &mut self.io {
            Io::Ws(stream) => stream,
            _ => panic!("no WebSocket over TCP"),
        }
    }

    /// The frames beneath.
    ///
    /// # Panics
    /// If it is no WebSocket over a Unix socket.
    pub fn unix_frames(&mut self) -> &mut WebSocketStream<UnixStream> {
        match &mut self.io {
            Io::UnixWs(stream) => stream,
            _ => panic!("no WebSocket over a Unix socket"),
        }
    }

    /// Whether what was received is a probe of the proxy.
    pub(crate) fn is_probe(&self) -> bool {
        self.received == PROBE
    }

    /// As a broker: lets a probe of the proxy in. It may have gone.
    pub(crate) async fn answer_probe(mut self) {
        self.take().await;
        self.try_send(&connack(Version::V311, 0)).await;
    }

    /// As a broker: answers the CONNECT that is to come.
    ///
    /// # Panics
    /// If something else comes.
    pub async fn accept(&mut self) -> Packet {
        let connect = self.packet().await;
        assert_eq!(connect.kind(), 1, "no CONNECT: {connect:?}");
        self.version = version_of(&connect);
        self.send(&connack(self.version, 0)).await;
        connect
    }
}

async fn secured(addr: SocketAddr, pki: &Pki) -> TlsStream<TcpStream> {
    let stream = within("a connection", TcpStream::connect(addr)).await;
    let stream = stream.unwrap_or_else(|error| panic!("{addr}: {error}"));
    stream.set_nodelay(true).expect("a TCP connection");
    let client = tls::client(pki);
    let secured = within("a TLS handshake", tls::secure(&client, stream)).await;
    secured.unwrap_or_else(|error| panic!("{addr}: {error}"))
}

async fn unix(path: &Path) -> UnixStream {
    let stream = within("a connection", UnixStream::connect(path)).await;
    stream.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Upgrades to WebSocket, with the subprotocol `mqtt`.
async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(
    host: &str,
    headers: &[(&'static str, &'static str)],
    stream: S,
) -> WebSocketStream<S> {
    let request = format!("ws://{host}/mqtt").into_client_request();
    let mut request = request.expect("a URL");
    let protocol = HeaderValue::from_static("mqtt");
    request
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", protocol);
    for (name, value) in headers {
        let value = HeaderValue::from_static(value);
        request.headers_mut().insert(*name, value);
    }
    let upgraded = within("the upgrade", client_async(request, stream)).await;
    let (stream, _) = upgraded.unwrap_or_else(|error| panic!("{host}: {error}"));
    stream
}

fn binary(bytes: &[u8]) -> Frame {
    Frame::Binary(Bytes::copy_from_slice(bytes))
}

async fn fill(stream: &mut (impl AsyncRead + Unpin), received: &mut Vec<u8>) -> bool {
    received.reserve(READ);
    matches!(stream.read_buf(received).await, Ok(1..))
}

async fn fill_frame<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut WebSocketStream<S>,
    received: &mut Vec<u8>,
) -> bool {
    loop {
        match stream.next().await {
            Some(Ok(Frame::Binary(bytes))) => {
                received.extend_from_slice(&bytes);
                return true;
            }
            Some(Ok(Frame::Text(text))) => panic!("a text frame: {text}"),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return false,
        }
    }
}

fn version_of(connect: &Packet) -> Version {
    let name = usize::from(connect.body()[1]);
    match connect.body()[2 + name] {
        3 => Version::V31,
        4 => Version::V311,
        5 => Version::V5,
        level => panic!("no version of MQTT has the level {level}"),
    }
}

/// Reads and forgets, until the end: the number of bytes.
///
/// # Panics
/// If the connection breaks.
pub async fn drain(mut io: impl AsyncRead + AsyncWrite + Unpin) -> u64 {
    let mut room = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        match io.read(&mut room).await.expect("an orderly end") {
            0 => return total,
            read => total += read as u64,
        }
    }
}
