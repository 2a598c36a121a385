//! The server's side of the handshake.

use std::{
    future::poll_fn,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use mproxy_patience::{Deadline, Gate, Turn};
use rustls::{
    PeerIncompatible,
    server::{Accepted, Acceptor, UnbufferedServerConnection},
};
use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    time::{Instant, error::Elapsed},
};

use super::{
    RefusedCertificate, TlsCause, TlsError, TlsInfo, TlsServer, TlsStream, TlsViolation,
    machine::Progress, records, refused, scratch::with_input,
};
use crate::{beginning::Beginning, later::later, linger::linger, stream::Stream};

/// Takes a client through the TLS handshake and returns the stream inside, with what was agreed on.
/// Nothing is allocated for the client before its whole ClientHello has come, but the bytes of it.
///
/// `held` is told how many bytes the client has made the connection hold, during the handshake and
/// after it: the beginning of a record, at most 16 KiB. A handshake takes its steps in turns with the
/// other handshakes of the thread, so that connections that are established are served in between. All that
/// are accepted by this function share turns as those of one client.
///
/// # Errors
/// When there is no TLS connection at the end; the client has been told by an alert, and the stream is
/// closed.
///
/// # Cancel safety
/// Not cancel-safe: dropping the future closes the stream.
pub fn accept_tls<F>(
    stream: impl Into<Stream>,
    server: &TlsServer,
    held: F,
) -> impl Future<Output = Result<(Stream, TlsInfo), TlsError>> + Send
where
    F: Fn(usize) + Send + Sync + 'static,
{
    accept_tls_admitted(stream, server, None, held, || Some(()))
}

/// The place of a handshake among those that compute at the same time, or wait for their first turn to.
pub trait HandshakePlace: Send {
    /// The handshake waits for its peer, and costs nothing until bytes come: a peer that is silent must not
    /// keep others from the place.
    fn leave(&mut self);

    /// Its next turn has come. It cannot be turned away any more: most of its cost is behind it.
    fn come_back(&mut self);
}

/// Handshakes that nobody counts.
impl HandshakePlace for () {
    fn leave(&mut self) {}

    fn come_back(&mut self) {}
}

impl<P: HandshakePlace> HandshakePlace for Option<P> {
    fn leave(&mut self) {
        self.iter_mut().for_each(P::leave);
    }

    fn come_back(&mut self) {
        self.iter_mut().for_each(P::come_back);
    }
}

/// As [`accept_tls`], with a say in which handshakes begin: `begin` is called when the whole ClientHello of
/// the client has come, before any cryptography. It returns the place of the handshake, which is dropped when that
/// is over; `None` closes the connection without an alert.
///
/// `client` is whose handshake it is: an address, or the first of a network whose addresses are one client. Clients
/// have turns one after the other, so a handshake waits for at most one step of each other client, however many
/// handshakes that has begun.
///
/// # Errors
/// As `accept_tls`; and [`TlsCause::NotAdmitted`] if `begin` has returned `None`.
///
/// # Cancel safety
/// Not cancel-safe: dropping the future closes the stream.
pub fn accept_tls_admitted<F, P>(
    stream: impl Into<Stream>,
    server: &TlsServer,
    client: Option<IpAddr>,
    held: F,
    begin: impl FnOnce() -> Option<P> + Send,
) -> impl Future<Output = Result<(Stream, TlsInfo), TlsError>> + Send
where
    F: Fn(usize) + Send + Sync + 'static,
    P: HandshakePlace,
{
    let (stream, server) = (stream.into(), server.clone());
    // Boxed: the caller's task is kept for the session's life.
    Box::pin(async move {
        let mut handshake = Handshake {
            client,
            stream: Some(stream),
            beginning: Beginning::default(),
            refused: None,
        };
        let cause = match handshake.accept(&server, held, begin).await {
            Ok(accepted) => return Ok(accepted),
            Err(cause) => cause,
        };
        if let (TlsCause::Violation(_), Some(stream)) = (&cause, handshake.stream) {
            linger(stream).await;
        }
        Err(TlsError::new(cause, handshake.beginning, handshake.refused))
    })
}

struct Handshake {
    /// Whose turns it has.
    client: Option<IpAddr>,
    /// Until it is a TLS stream, and again when that has failed.
    stream: Option<Stream>,
    beginning: Beginning,
    /// The certificate that the client is refused for.
    refused: Option<RefusedCertificate>,
}

impl Handshake {
    async fn accept<F, P: HandshakePlace>(
        &mut self,
        server: &TlsServer,
        held: F,
        begin: impl FnOnce() -> Option<P>,
    ) -> Result<(Stream, TlsInfo), TlsCause>
    where
        F: Fn(usize) + Send + Sync + 'static,
    {
        // The client is late, or not: it is not for the handshakes in front of its own.
        let mut deadline = Deadline::new(later(Instant::now(), server.handshake_timeout()));
        let hello = self.hello(&held, &mut deadline).await?;
        let mut place = begin().ok_or(TlsCause::NotAdmitted)?;
        let turn = next_turn(self.client).await;
        if let Some(accepted) = &hello.accepted
            && !server.can_sign_for(accepted.client_hello())
        {
            // rustls closes the connection without a word in TLS 1.2
            if let Some(stream) = &mut self.stream {
                let told = async { Ok(stream.write_all(&HANDSHAKE_FAILURE).await?) };
                // It may have gone already, which is not why there is no handshake.
                let _ = late(deadline.wait(told).await);
            }
            let lacks = PeerIncompatible::NoSignatureSchemesInCommon;
            return Err(TlsViolation(lacks.into()).into());
        }
        let said = hello.accepted.as_ref().map(Accepted::client_hello);
        let server_name = said.as_ref().and_then(|it| it.server_name());
        let server_name = server_name.map(Into::into);
        let config = server.config_for(said, records::limit(&hello.bytes));
        // the message is read again from its bytes
        drop(hello.accepted);
        let machine = UnbufferedServerConnection::new(config).map_err(TlsViolation)?;
        let stream = self.stream.take().ok_or(TlsCause::Closed)?;
        let mut tls = Box::new(TlsStream::new(stream, machine));
        let max = match server.asks_for_certificates() {
            true => MAX_WITH_CERTIFICATES,
            false => MAX_HELLO,
        };
        let mut bytes = hello.bytes;
        let progress = poll_fn(|cx| Poll::Ready(tls.advance(cx, &mut bytes, None))).await;
        drop(bytes);
        tls.on_held(Box::new(held));
        let handshaken = match progress {
            Ok(progress) => {
                self.finish(&mut tls, progress, turn, max, &mut deadline, &mut place)
                    .await
            }
            Err(error) => Err(error.into()),
        };
        let outcome = handshaken.and_then(|()| {
            let info = TlsInfo::of(tls.machine(), server_name);
            let (judged, refused) = refused::during(|| judged(info, server));
            self.refused = refused;
            judged
        });
        match outcome {
            Ok(info) => Ok((Stream::Tls(tls), info)),
            Err(cause) => {
                self.stream = Some(tls.into_io());
                Err(cause)
            }
        }
    }

    /// Goes on until both sides may send.
    async fn finish(
        &mut self,
        tls: &mut TlsStream<UnbufferedServerConnection>,
        mut progress: Progress,
        mut turn: Turn,
        max: usize,
        deadline: &mut Deadline,
        place: &mut impl HandshakePlace,
    ) -> Result<(), TlsCause> {
        loop {
            turn.end().await;
            if late(deadline.wait(tls.is_done(progress, max)).await)? {
                return Ok(());
            }
            place.leave();
            late(
                deadline
                    .wait(async { Ok(tls.io().readable().await?) })
                    .await,
            )?;
            turn = next_turn(self.client).await;
            place.come_back();
            let len = READ_LEN.min(max - tls.held());
            let (step, refused) =
                poll_fn(|cx| Poll::Ready(refused::during(|| tls.poll_advance(cx, len, None))))
                    .await;
            self.refused = refused;
            progress = match step {
                Poll::Ready(step) => step?.ok_or(TlsCause::Closed)?,
                // it was said to be readable, and was not
                Poll::Pending => Progress::Handshake,
            };
        }
    }

    /// Reads until the whole ClientHello is there.
    async fn hello(
        &mut self,
        held: &(impl Fn(usize) + Send + Sync),
        deadline: &mut Deadline,
    ) -> Result<Hello, TlsCause> {
        let mut bytes = Vec::new();
        let (mut tried, mut tries) = (0, 0);
        loop {
            if bytes.len() >= MAX_HELLO {
                return Err(TlsCause::HelloTooLarge(MAX_HELLO));
            }
            if tries == MAX_TRIES {
                return Err(TlsCause::HelloInPieces(MAX_TRIES));
            }
            let read = poll_fn(|cx| self.poll_read(cx, &mut bytes));
            late(deadline.wait(read).await)?;
            held(bytes.capacity());
            let records = whole_records(&bytes);
            if records <= tried {
                continue;
            }
            (tried, tries) = (records, tries + 1);
            if let Some(accepted) = parse(&bytes[..records]) {
                return Ok(Hello { bytes, accepted });
            }
        }
    }

    /// Appends what one read brings.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &mut Vec<u8>,
    ) -> Poll<Result<(), TlsCause>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(TlsCause::Closed));
        };
        with_input(|input| {
            let len = READ_LEN.min(MAX_HELLO - bytes.len());
            let mut raw = ReadBuf::new(&mut input[..len]);
            if let Err(error) = ready!(Pin::new(stream).poll_read(cx, &mut raw)) {
                self.beginning.fail(&error);
                return Poll::Ready(Err(error.into()));
            }
            let raw = raw.filled();
            self.beginning.add(raw);
            // in as much memory as there are bytes
            bytes.reserve_exact(raw.len());
            bytes.extend_from_slice(raw);
            Poll::Ready(match raw.is_empty() {
                true => Err(TlsCause::Closed),
                false => Ok(()),
            })
        })
    }
}

/// A client's first message, and the bytes that it came in.
struct Hello {
    bytes: Vec<u8>,
    /// `None` for something else than a ClientHello, about which the state machine has an alert.
    accepted: Option<Accepted>,
}

/// The length of the records at the beginning of `bytes` that are whole; of all that is not a record of a
/// handshake.
fn whole_records(bytes: &[u8]) -> usize {
    let mut end = 0;
    while let [HANDSHAKE, _, _, high, low, ..] = bytes[end..] {
        let len = RECORD_HEADER + usize::from(u16::from_be_bytes([high, low]));
        if bytes.len() - end < len {
            return end;
        }
        end += len;
    }
    match bytes[end..].first() {
        None | Some(&HANDSHAKE) => end,
        Some(_) => bytes.len(),
    }
}

/// Looks for a ClientHello. `None` means that there is more of it to come.
fn parse(records: &[u8]) -> Option<Option<Accepted>> {
    let mut acceptor = Acceptor::default();
    let mut left = records;
    while !left.is_empty() {
        // as much as it has room for
        if acceptor.read_tls(&mut left).is_err() {
            return Some(None);
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(accepted) => return Some(accepted),
            Err(_) => return Some(None),
        }
    }
    None
}

/// What was agreed on. A certificate that comes with a resumed session is judged again: it may have been
/// revoked, or have expired, since its ticket was given out.
fn judged(info: TlsInfo, server: &TlsServer) -> Result<TlsInfo, TlsCause> {
    if info.is_resumed {
        server.judge(&info.certificates)?;
    }
    Ok(info)
}

/// What was waited for, unless its time was over.
fn late<T>(waited: Result<Result<T, TlsCause>, Elapsed>) -> Result<T, TlsCause> {
    waited.unwrap_or(Err(TlsCause::TimedOut))
}

/// Waits for the turn of a client's handshake to take a step. Who waits for the peer waits without one.
async fn next_turn(client: Option<IpAddr>) -> Turn {
    GATE.with(Gate::clone).turn(client).await
}

thread_local! {
    static GATE: Gate = Gate::new(STEPS);
}

/// Steps of handshakes in one turn of a thread. One takes about 0.2 ms. Measured with 1,500 handshakes
/// at once: without a gate, established clients wait 55 to 79 ms, with four steps 14 to 18, with one or
/// eight 25 to 30.
const STEPS: usize = 4;

/// The record of the alert: fatal, handshake_failure (RFC 5246, section 7.2).
const HANDSHAKE_FAILURE: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

const HANDSHAKE: u8 = 22;
const RECORD_HEADER: usize = 5;

/// The most that one step reads: a record.
const READ_LEN: usize = 16 * 1024;

/// The most that a client may make the proxy hold for a message of the handshake. A ClientHello with the
/// keys of X25519MLKEM768 has less than 2 KiB.
const MAX_HELLO: usize = 16 * 1024;

/// The same, with a chain of certificates in it.
const MAX_WITH_CERTIFICATES: usize = 48 * 1024;

/// How often the records of a ClientHello are looked at while there is more of it to come. Each time is
/// from the beginning: a message in records of one byte each would cost a third of a second.
const MAX_TRIES: u32 = 8;
