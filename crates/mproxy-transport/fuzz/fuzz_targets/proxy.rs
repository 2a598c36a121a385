//! A header of the PROXY protocol is read to its end and no further, however its bytes come, and
//! means the same when it is written again.
#![no_main]

use std::cell::RefCell;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mproxy_transport::{AcceptProxy, ProxyHeader, SendProxy, Stream, read_proxy_header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(
        Builder::new_current_thread().enable_all().build().expect("a runtime"),
    );
}

/// The header, if there is one, and what follows; `None` when it is refused.
async fn read(pieces: [&[u8]; 2]) -> Option<(Option<ProxyHeader>, Vec<u8>)> {
    let (server, mut client) = UnixStream::pair().expect("a pair of sockets");
    let talk = async {
        for piece in pieces {
            let _ = client.write_all(piece).await;
            yield_now().await;
        }
        drop(client);
    };
    let listen = async {
        let mut stream = Stream::from(server);
        let patience = Duration::from_secs(60);
        let header = read_proxy_header(&mut stream, AcceptProxy::Optional, patience).await;
        let header = header.ok()?;
        let mut rest = Vec::new();
        stream
            .read_to_end(&mut rest)
            .await
            .expect("all was written");
        Some((header, rest))
    };
    tokio::join!(talk, listen).1
}

async fn play(cut: u8, bytes: &[u8]) {
    let whole = read([bytes, b""]).await;
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    assert_eq!(read([first, second]).await, whole);
    let Some((header, rest)) = whole else {
        return;
    };
    assert!(bytes.ends_with(&rest));
    let Some(header) = header else {
        return assert_eq!(rest.len(), bytes.len());
    };
    assert!((15..=552).contains(&(bytes.len() - rest.len())));
    let version = match bytes[0] {
        b'P' => SendProxy::V1,
        _ => SendProxy::V2,
    };
    let again = read([&header.encode(version), b""]).await;
    let mut expected = header;
    expected.tls = None;
    assert_eq!(again, Some((Some(expected), Vec::new())));
}

fuzz_target!(|data: &[u8]| {
    let Some((cut, bytes)) = data.split_first() else {
        return;
    };
    RUNTIME.with_borrow(|runtime| runtime.block_on(play(*cut, bytes)));
});
