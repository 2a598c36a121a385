#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod addr;
mod beginning;
mod connect;
mod fetch;
mod later;
mod linger;
mod listen;
mod proxy_protocol;
mod sources;
mod stream;
mod tcp;
mod tls;
mod ws;

#[cfg(feature = "ocsp")]
pub use self::tls::{OcspAnswer, OcspCertificate, OcspError, OcspQuestion, OcspStatus};
pub use self::{
    addr::{AddrError, ClientAddr, ListenAddr, UpstreamAddr},
    connect::{DialCause, DialError, DialOptions, Dialer, Dialled, Resolver},
    fetch::{Content, FetchError, FetchLimits, Fetched, HttpUrl, Receive, Validators, fetch, post},
    listen::{Accepted, Acceptor, ListenOptions, Listener, PassedSockets},
    proxy_protocol::{
        AcceptProxy, ProxyCause, ProxyError, ProxyHeader, ProxyTls, SendProxy, read_proxy_header,
    },
    stream::Stream,
    tcp::TcpOptions,
    tls::{
        Algorithms, CertificateError, CertificateNames, ClientAuth, HandshakePlace, ListError,
        RefusedCertificate, RevocationFile, RevocationList, TLS_CONNECTION_BYTES, TlsCause,
        TlsClient, TlsClientOptions, TlsError, TlsFault, TlsFileError, TlsFileErrors, TlsIdentity,
        TlsInfo, TlsMachine, TlsServer, TlsServerOptions, TlsSetting, TlsStream, TlsVersion,
        TlsViolation, UnlistedCa, accept_tls, accept_tls_admitted, tls_provider,
    },
    ws::{
        HandshakeError, Subprotocol, WsCause, WsError, WsOptions, WsRefusal, WsRequest, WsStream,
        WsViolation, WsWriteTimeout, accept_websocket, accept_websocket_counted,
    },
};
