//! The client's side of the handshake.

use std::{future::poll_fn, task::Poll};

use rustls::{client::UnbufferedClientConnection, pki_types::ServerName};

use super::{TlsCause, TlsClient, TlsStream, TlsViolation};
use crate::stream::Stream;

/// Takes a connected stream through the TLS handshake. The caller bounds its time.
pub(crate) async fn connect_tls(
    stream: Stream,
    client: &TlsClient,
    server_name: ServerName<'static>,
) -> Result<Stream, TlsCause> {
    let config = client.config.clone();
    let machine = UnbufferedClientConnection::new(config, server_name).map_err(TlsViolation)?;
    let mut tls = Box::new(TlsStream::new(stream, machine));
    // the first message
    let mut progress = poll_fn(|cx| Poll::Ready(tls.advance(cx, &mut [], None))).await?;
    while !tls.is_done(progress, MAX_HELD).await? {
        let step = poll_fn(|cx| tls.poll_advance(cx, READ_LEN, None)).await?;
        progress = step.ok_or(TlsCause::Closed)?;
    }
    Ok(Stream::TlsClient(tls))
}

/// The most that one step reads: a record.
const READ_LEN: usize = 16 * 1024;

/// A broker is trusted more than a client: its chain may be long.
const MAX_HELD: usize = 64 * 1024;
