//! The probe of a broker: does it answer a CONNECT from mproxy?

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use mproxy_codec::{ConnectBuilder, EncodeError, Foreign, Version};
use mproxy_patience::timeout;
use mproxy_transport::{DialCause, DialError, HandshakeError, TlsCause, TlsFault, TlsViolation};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::app::foreign::of_broker;
use crate::app::key_names::fill_upstream;

/// MQTT 3.1.1, clean session, keep alive 10 s, no client identifier: every broker can read it, and it
/// leaves nothing behind. Whether the broker lets it in does not matter.
fn connect() -> Result<Bytes, EncodeError> {
    let connect = ConnectBuilder::new(Version::V311).keep_alive(10).build()?;
    Ok(connect.as_bytes().clone())
}

/// DISCONNECT.
const DISCONNECT: [u8; 2] = [0xe0, 0];

/// Type and length of the first packet, and enough to tell other protocols apart.
const ENOUGH: usize = 4;

/// Why a broker does not serve clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Whether the connection was established.
    pub(crate) is_reached: bool,
    /// Whether it refuses every client until somebody changes something: a broker that starts, or that has too
    /// much to do, does not look like that.
    pub(crate) is_refusal: bool,
    pub(super) why: String,
    /// What an operator can do.
    pub(crate) remedy: &'static str,
}

impl Failure {
    /// The broker accepted the connection, but does not speak MQTT.
    pub(super) fn unanswered(why: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            is_reached: true,
            is_refusal: false,
            why: why.into(),
            remedy,
        }
    }

    /// What an operator can do, with the keys of the broker of this name.
    pub(crate) fn remedy_for(&self, name: &str) -> String {
        fill_upstream(self.remedy, name)
    }
}

/// Short: it is part of a line that names the broker.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        Self {
            is_reached: false,
            is_refusal: refuses(error.cause()),
            remedy: remedy(&error),
            why: error.to_string(),
        }
    }
}

/// Whether each try will end like this one: see [`Failure::is_refusal`].
pub(super) fn refuses(cause: &DialCause) -> bool {
    match cause {
        // the other causes may be those of a broker that stops
        DialCause::Tls(cause) => matches!(cause, TlsCause::Violation(_)),
        DialCause::TlsNotSetUp => true,
        DialCause::Handshake(HandshakeError::Http(error)) => error.is_parse(),
        // a gateway answers so for a broker that is down, or for a client that comes too often
        DialCause::Handshake(HandshakeError::Status(408 | 429 | 500..)) => false,
        DialCause::Handshake(_) => true,
        _ => false,
    }
}

/// What to do about a broker that cannot be dialled; `NAME` is its name.
pub(crate) fn remedy(error: &DialError) -> &'static str {
    match error.cause() {
        DialCause::Refused => "start the broker, or correct upstreams.NAME.address",
        DialCause::TimedOut => "check upstreams.NAME.address, and that no firewall is in between",
        DialCause::Resolve(_) => "correct the host name in upstreams.NAME.address",
        DialCause::Handshake(_) => {
            "check that upstreams.NAME.address is a WebSocket listener, with the right path"
        }
        DialCause::Tls(cause) => of_tls(cause),
        DialCause::TlsNotSetUp => {
            "set upstreams.NAME.tls.server_name to a name in the broker's certificate"
        }
        _ => "is the broker running, and is upstreams.NAME.address right?",
    }
}

fn of_tls(cause: &TlsCause) -> &'static str {
    let TlsCause::Violation(violation) = cause else {
        return "does the broker expect TLS at upstreams.NAME.address? it closed the connection within the \
            handshake: see its log";
    };
    of_fault(violation.fault())
}

/// What to do about a broker with which TLS fails, within the handshake or behind it; `NAME` is its name.
pub(crate) const fn of_fault(fault: TlsFault) -> &'static str {
    match fault {
        TlsFault::UnknownIssuer => {
            "the broker's certificate is from a CA that is not in upstreams.NAME.tls.ca, or a certificate between \
             it and that CA is missing in what the broker sends"
        }
        TlsFault::Expired => {
            "renew the certificate of the broker, and check the clocks of both sides"
        }
        TlsFault::Revoked => "the broker's certificate was revoked: give it a new one",
        TlsFault::UnknownRevocation => {
            "no list of upstreams.NAME.tls.crl_files says anything about the issuer of the broker's \
             certificate, or the list has expired: renew it"
        }
        TlsFault::CaCertificate => {
            "the broker shows the certificate of a CA (CA:TRUE) as its own: issue another one, with `openssl req \
             -x509` by `-addext basicConstraints=critical,CA:FALSE`; upstreams.NAME.tls.ca can name this very \
             certificate if crl_files is empty"
        }
        TlsFault::BadCertificate => {
            "the broker's certificate cannot be used: it must be X.509 version 3, and if it has extended key \
             usages, server authentication among them"
        }
        TlsFault::WrongName => {
            "the broker's certificate is not for the name in upstreams.NAME.address: set \
             upstreams.NAME.tls.server_name to a name in it, or correct the certificate"
        }
        TlsFault::Told => {
            "the broker ended the handshake: it wants a certificate of mproxy, or another one \
             (upstreams.NAME.tls.cert and key), mostly; see its log"
        }
        TlsFault::Protocol => "does the broker expect TLS at upstreams.NAME.address?",
        TlsFault::Version | TlsFault::NothingInCommon => {
            "broker and mproxy share no version, cipher suite or group of TLS: look at upstreams.NAME.tls, \
             and at the broker"
        }
        _ => "see the error, and the broker's log",
    }
}

/// How long the broker may take to answer. A busy broker with slow authentication gets a few
/// seconds; even with a long interval, a stopped one is noticed.
pub(super) fn limit(interval: Duration) -> Duration {
    interval.clamp(Duration::from_secs(1), Duration::from_secs(5))
}

/// Sends CONNECT, waits for any CONNACK, and disconnects.
///
/// # Errors
/// What the broker sent instead, if anything.
pub(super) async fn ask<S>(mut stream: S, limit: Duration) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answer = timeout(limit, exchange(&mut stream)).await;
    let code = answer.unwrap_or_else(|_| {
        let limit = humantime::format_duration(limit);
        Err(Failure::unanswered(
            format!("accepts connections and answers no CONNECT within {limit}"),
            "the broker is stopped or overloaded, or expects another protocol: see its log",
        ))
    })?;
    // on an error, the broker has already closed
    let _ = timeout(limit, async {
        if code == 0 {
            stream.write_all(&DISCONNECT).await?;
        }
        stream.shutdown().await
    })
    .await;
    Ok(())
}

/// The return code of the CONNACK.
async fn exchange<S>(stream: &mut S) -> Result<u8, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // even if writing failed, there may be an answer: a refusal before CONNECT
    let written = async {
        let connect = connect().map_err(io::Error::other)?;
        stream.write_all(&connect).await?;
        stream.flush().await
    };
    let mut end = written.await.err();
    let mut room = [0; 64];
    let mut len = 0;
    while len < ENOUGH {
        match stream.read(&mut room[len..]).await {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) => {
                end = Some(error);
                break;
            }
        }
    }
    match room[..len] {
        [0x20, length, _, code, ..] if length >= 2 => Ok(code),
        [] => Err(closed(end.as_ref())),
        ref other => Err(recognise(other)),
    }
}

/// Probably a TLS port: OpenSSL, for example, closes without an alert if the first bytes are not TLS.
///
/// In TLS 1.3, a broker that wants another certificate says so here, and not in the handshake. The operator was
/// asked for a TLS port behind mqtt://, which it was not.
fn closed(error: Option<&io::Error>) -> Failure {
    if let Some(violation) = error.and_then(TlsViolation::find) {
        return Failure {
            is_refusal: true,
            ..Failure::unanswered(
                format!("ends TLS instead of answering CONNECT: {violation}"),
                of_fault(violation.fault()),
            )
        };
    }
    let how = error.map_or_else(String::new, |error| format!(": {error}"));
    Failure::unanswered(
        format!("closes the connection instead of answering CONNECT{how}"),
        "a TLS port behind mqtt://? does it expect what upstreams.NAME.send_proxy_protocol says? see the \
         broker's log; for a broker that does not answer unknown clients set upstreams.NAME.health.check = \
         \"tcp\"",
    )
}

/// Recognizes an answer that is not a CONNACK by its first bytes.
fn recognise(bytes: &[u8]) -> Failure {
    if let Some(foreign) = Foreign::recognise(bytes) {
        let why = format!("answers CONNECT with {foreign}");
        return Failure {
            is_refusal: true,
            ..Failure::unanswered(why, of_broker(foreign))
        };
    }
    let shown: Vec<_> = bytes.iter().take(8).map(|it| format!("{it:02x}")).collect();
    Failure::unanswered(
        format!("answers CONNECT with `{}`, not CONNACK", shown.join(" ")),
        "check that upstreams.NAME.address is an MQTT broker",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    /// What the broker must read.
    const CONNECT: [u8; 14] = *b"\x10\x0c\0\x04MQTT\x04\x02\0\x0a\0\0";

    /// What is said of a broker that reads CONNECT, sends this and closes; and what it read
    /// afterwards.
    async fn told(answer: &[u8]) -> (Result<(), String>, Vec<u8>) {
        let (near, mut far) = tokio::io::duplex(64);
        let broker = async move {
            let mut connect = [0; CONNECT.len()];
            far.read_exact(&mut connect).await.unwrap();
            assert_eq!(connect, CONNECT);
            far.write_all(answer).await.unwrap();
            far.shutdown().await.unwrap();
            let mut rest = Vec::new();
            far.read_to_end(&mut rest).await.unwrap();
            rest
        };
        let (asked, rest) = tokio::join!(ask(near, LIMIT), broker);
        let asked = asked.map_err(|failure| {
            assert!(failure.is_reached && !failure.remedy.is_empty());
            failure.to_string()
        });
        (asked, rest)
    }

    #[tokio::test]
    async fn any_connack_is_an_answer() {
        assert_eq!(told(b"\x20\x02\0\0").await, (Ok(()), vec![0xe0, 0]));
        // refused: nobody is there to take leave
        for code in 1..=5 {
            assert_eq!(told(&[0x20, 2, 0, code]).await, (Ok(()), vec![]));
        }
        // of a broker that knows MQTT 5 only
        assert_eq!(told(b"\x20\x03\0\x84\0").await, (Ok(()), vec![]));
    }

    #[tokio::test]
    async fn what_is_no_connack_is_named() {
        for (answer, name) in [
            (&b""[..], "closes the connection"),
            (b"\x15\x03\x01\0\x02\x02\x46", "with a TLS alert"),
            (b"HTTP/1.1 400 Bad Request\r\n", "with an HTTP response"),
            (b"SSH-2.0-x\r\n", "with SSH"),
            (b"* OK IMAP4rev1", "`2a 20 4f 4b 20 49 4d 41`, not CONNACK"),
            (b"\x20\x02", "`20 02`, not CONNACK"),
            (b"\x20\0\0\0", "`20 00 00 00`, not CONNACK"),
        ] {
            let told = told(answer).await.0.unwrap_err();
            assert!(told.contains(name), "{told}");
        }
    }

    /// A broker that starts, and the gateway before it, look like this for a while.
    #[test]
    fn what_may_pass_is_no_refusal() {
        let status = |code| DialCause::Handshake(HandshakeError::Status(code));
        for code in [404, 403, 301, 426] {
            assert!(refuses(&status(code)), "{code}");
        }
        for code in [408, 429, 500, 502, 503] {
            assert!(!refuses(&status(code)), "{code}");
        }
        assert!(refuses(&DialCause::TlsNotSetUp));
        for cause in [
            DialCause::Refused,
            DialCause::TimedOut,
            DialCause::Tls(TlsCause::Closed),
            DialCause::Tls(TlsCause::TimedOut),
        ] {
            assert!(!refuses(&cause), "{cause}");
        }
    }

    #[tokio::test]
    async fn an_answer_may_come_byte_by_byte() {
        let (near, mut far) = tokio::io::duplex(1);
        let broker = async move {
            far.read_exact(&mut [0; CONNECT.len()]).await.unwrap();
            far.write_all(b"\x20\x02\0\0").await.unwrap();
            far.read_exact(&mut [0; 2]).await.unwrap();
        };
        let (asked, ()) = tokio::join!(ask(near, LIMIT), broker);
        assert_eq!(asked, Ok(()));
    }

    #[tokio::test]
    async fn a_broker_that_says_nothing_is_given_up() {
        let (near, _far) = tokio::io::duplex(64);
        let told = ask(near, Duration::from_millis(20)).await.unwrap_err();
        let told = told.to_string();
        assert!(told.ends_with("answers no CONNECT within 20ms"), "{told}");
    }

    #[test]
    fn the_time_to_answer_follows_the_interval_within_reason() {
        for (interval, expected) in [(100, 1000), (2000, 2000), (60_000, 5000)] {
            let interval = Duration::from_millis(interval);
            assert_eq!(limit(interval), Duration::from_millis(expected));
        }
    }
}
