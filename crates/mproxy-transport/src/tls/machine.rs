//! rustls' state machine, without its buffers.

use rustls::{
    CommonState,
    client::UnbufferedClientConnection,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, UnbufferedStatus},
};

use super::scratch::{Out, TooSmall};

/// The state machine of one side of a [`TlsStream`](super::TlsStream): the server's or the client's.
/// Sealed.
pub trait TlsMachine: sealed::Sealed + Unpin {
    #[doc(hidden)]
    type Data;

    #[doc(hidden)]
    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// Whether there is something to encode.
    #[doc(hidden)]
    fn wants_write(&self) -> bool;
}

mod sealed {
    #[expect(unnameable_types, reason = "so that nobody else implements it")]
    pub trait Sealed {}
    impl Sealed for super::UnbufferedServerConnection {}
    impl Sealed for super::UnbufferedClientConnection {}
}

impl TlsMachine for UnbufferedServerConnection {
    type Data = rustls::server::ServerConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn wants_write(&self) -> bool {
        CommonState::wants_write(self)
    }
}

impl TlsMachine for UnbufferedClientConnection {
    type Data = rustls::client::ClientConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn wants_write(&self) -> bool {
        CommonState::wants_write(self)
    }
}

/// What came of a run of the state machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The handshake needs more of the peer.
    Handshake,
    /// Both sides may send.
    Traffic,
    /// The peer has said that it sends nothing more.
    PeerClosed,
}

/// Runs the state machine until it needs more `input`. What it wants to send, an alert included, is
/// appended to `out`; what it decrypts goes to `plain`.
///
/// Returns how many bytes of `input` are done with. The rest must stand in front of the next input, also
/// in the middle of a handshake message: the state machine counts from there.
pub(super) fn drive<M: TlsMachine>(
    machine: &mut M,
    input: &mut [u8],
    out: &mut Out,
    mut plain: impl FnMut(&[u8]),
) -> (usize, Result<Progress, rustls::Error>) {
    let mut used = 0;
    let mut progress = Progress::Handshake;
    let mut failure = None;
    // after a failure it is asked for the alert and nothing else: it would fail again
    while failure.is_none() || machine.wants_write() {
        let UnbufferedStatus { discard, state, .. } = machine.process(&mut input[used..]);
        used += discard;
        match state {
            Err(error) => failure = Some(error),
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    match record {
                        Ok(record) => {
                            used += record.discard;
                            plain(record.payload);
                        }
                        Err(error) => return (used, Err(error)),
                    }
                }
                if used == input.len() && !machine.wants_write() {
                    // it would say so itself, for the price of another run
                    progress = Progress::Traffic;
                    break;
                }
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                let encoded = out.append(|room| {
                    data.encode(room).map_err(|error| match error {
                        EncodeError::InsufficientSize(size) => TooSmall::Needs(size.required_size),
                        EncodeError::AlreadyEncoded => TooSmall::Failed(error.to_string()),
                    })
                });
                if let Err(error) = encoded {
                    return (used, Err(rustls::Error::General(error)));
                }
            }
            // the caller sends in order, so what is handed over counts as sent
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(ConnectionState::BlockedHandshake) => break,
            Ok(ConnectionState::WriteTraffic(_)) => {
                if progress == Progress::Handshake {
                    progress = Progress::Traffic;
                }
                break;
            }
            Ok(ConnectionState::PeerClosed) => progress = Progress::PeerClosed,
            Ok(ConnectionState::Closed) => {
                progress = Progress::PeerClosed;
                break;
            }
            // early data is not accepted; the enum is open
            Ok(other) => {
                let error = format!("unexpected state {other:?}");
                return (used, Err(rustls::Error::General(error)));
            }
        }
    }
    (used, failure.map_or(Ok(progress), Err))
}
