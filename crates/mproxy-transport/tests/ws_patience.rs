//! How long a WebSocket puts up with a peer that takes nothing, or sends nothing but noise. The
//! clock is the test's.

mod support;

use std::{io, time::Duration};

use bytes::Bytes;
use mproxy_transport::{WsOptions, WsStream, WsViolation, WsWriteTimeout};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy, duplex, sink},
    time::{Instant, sleep, timeout},
};

use support::{BINARY, PING, PONG, frame};

const LIMIT: Duration = Duration::from_secs(10);

/// A server's WebSocket, and the other end of its socket, which holds 100 bytes each way.
fn open() -> (WsStream<DuplexStream>, DuplexStream) {
    let (server, client) = duplex(100);
    let options = WsOptions::default().write_timeout(LIMIT);
    (WsStream::server(server, Bytes::new(), &options), client)
}

#[track_caller]
fn assert_write_timeout<T: std::fmt::Debug>(result: io::Result<T>) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let timeout = WsWriteTimeout::find(&error).expect("the WebSocket's own time-out");
    assert_eq!(timeout.timeout(), LIMIT);
    assert_eq!(error.raw_os_error(), None);
}

/// A client that pinged and read none of the pongs was kept for as long as it liked: nothing that
/// the session wrote was waiting, only pongs, of which it knows nothing.
#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_no_pongs_is_given_up() {
    let (mut stream, mut client) = open();
    let begun = Instant::now();
    let pinging = tokio::spawn(async move {
        // a ping a second, and no payload between them
        loop {
            if client.write_all(&frame(PING, &[0; 60])).await.is_err() {
                break client;
            }
            sleep(Duration::from_secs(1)).await;
        }
    });
    assert_write_timeout(stream.read(&mut [0; 1000]).await);
    // The first pong fits into the socket, the second waits from the first second on.
    assert_eq!(begun.elapsed(), LIMIT + Duration::from_secs(1));
    // It stays so, for both directions.
    assert_write_timeout(stream.read(&mut [0; 1000]).await);
    assert_write_timeout(stream.write(b"x").await);
    assert_write_timeout(stream.flush().await);
    assert_write_timeout(stream.shutdown().await);
    drop(stream);
    pinging.await.unwrap();
}

/// Slow is not stuck: each byte that is taken begins the time anew.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_not_given_up() {
    let (mut stream, mut client) = open();
    let begun = Instant::now();
    let reading = tokio::spawn(async move {
        client.write_all(&frame(PING, &[0; 125])).await.unwrap();
        for _ in 0..27 {
            sleep(Duration::from_secs(9)).await;
            client.read_u8().await.unwrap();
        }
        client
    });
    // A pong of 127 bytes: 100 are taken at once, the others one every 9 s.
    let mut room = [0; 1000];
    let mut read = std::pin::pin!(stream.read(&mut room));
    let mut client = tokio::select! {
        read = &mut read => panic!("nothing was sent: {read:?}"),
        client = reading => client.unwrap(),
    };
    assert_eq!(begun.elapsed(), Duration::from_secs(27 * 9));
    // Everything was taken, and so nothing is waited for.
    let quiet = timeout(Duration::from_secs(1_000), &mut read).await;
    quiet.unwrap_err();
    client.write_all(&frame(BINARY, b"data")).await.unwrap();
    assert_eq!(read.await.unwrap(), 4);
}

/// What the socket did not take of a frame is written, as far as the writer knows.
#[tokio::test(start_paused = true)]
async fn a_peer_that_leaves_the_rest_of_a_frame_is_given_up() {
    for read in [true, false] {
        let (mut stream, client) = open();
        assert_eq!(stream.write(&[7; 1000]).await.unwrap(), 1000);
        let begun = Instant::now();
        match read {
            true => assert_write_timeout(stream.read(&mut [0; 16]).await),
            false => assert_write_timeout(stream.write(b"next").await),
        }
        assert_eq!(begun.elapsed(), LIMIT);
        drop(client);
    }
}

/// Who says goodbye and does not listen to the answer, or does not listen when it is sent away.
#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_take_the_close_frame_is_given_up() {
    for client_closes in [true, false] {
        let (mut stream, mut client) = open();
        assert_eq!(stream.write(&[7; 98]).await.unwrap(), 98); // 100 bytes with the header
        if client_closes {
            let close = frame(support::CLOSE, &1000_u16.to_be_bytes());
            client.write_all(&close).await.unwrap();
            assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0);
        }
        let begun = Instant::now();
        assert_write_timeout(stream.shutdown().await);
        assert_eq!(begun.elapsed(), LIMIT);
        drop(client);
    }
}

/// What the peer sent before is not lost over what it does not take.
#[tokio::test(start_paused = true)]
async fn payload_comes_before_the_time_out() {
    let (mut stream, mut client) = open();
    client
        .write_all(&frame(BINARY, b"last words"))
        .await
        .unwrap();
    assert_eq!(stream.write(&[7; 1000]).await.unwrap(), 1000);
    let mut room = [0; 16];
    assert_eq!(stream.read(&mut room).await.unwrap(), 10);
    assert_eq!(room[..10], *b"last words");
    assert_write_timeout(stream.read(&mut room).await);
}

#[track_caller]
fn assert_policy_violation<T: std::fmt::Debug>(result: io::Result<T>) {
    let error = result.unwrap_err();
    let violation = WsViolation::find(&error).expect("a violation");
    assert_eq!(violation.code(), 1008);
    let told = violation.to_string();
    assert!(
        told.ends_with("more than 600 frames without payload in 60s"),
        "{told}"
    );
}

/// Frames that carry nothing keep a core busy as well as any, and no limit of MQTT counts them.
#[tokio::test(start_paused = true)]
async fn frames_without_payload_are_limited() {
    let fragment = [frame(0x02, b""), frame(0x80, b"")].concat();
    for noise in [
        frame(BINARY, b""),
        frame(PONG, b"x"),
        frame(PING, b"x"),
        fragment,
    ] {
        for pause in [Duration::ZERO, Duration::from_millis(90)] {
            let (mut stream, client) = open();
            let (mut answers, mut client) = tokio::io::split(client);
            let listening = tokio::spawn(async move { copy(&mut answers, &mut sink()).await });
            let noise = noise.clone();
            let flood = tokio::spawn(async move {
                let mut sent = 0;
                while client.write_all(&noise).await.is_ok() {
                    sent += 1;
                    if !pause.is_zero() {
                        sleep(pause).await;
                    }
                }
                sent
            });
            assert_policy_violation(stream.read(&mut [0; 1000]).await);
            drop(stream);
            assert!(flood.await.unwrap() >= 300);
            // the Close frame at least
            assert!(listening.await.unwrap().unwrap() >= 4);
        }
    }
}

/// An honest client pings every few seconds for years, and now and then a little faster.
#[tokio::test(start_paused = true)]
async fn pings_of_an_honest_client_are_never_too_many() {
    let (mut stream, mut client) = open();
    let pinging = tokio::spawn(async move {
        let mut pong = [0; 2];
        // nearly as many as are allowed, for an hour, and more of those that each follow payload
        for _ in 0..60 {
            for _ in 0..590 {
                client.write_all(&frame(PING, b"")).await.unwrap();
                client.read_exact(&mut pong).await.unwrap();
                sleep(Duration::from_micros(102_000)).await;
            }
        }
        for _ in 0..5000 {
            client.write_all(&frame(BINARY, b"x")).await.unwrap();
            client.write_all(&frame(PING, b"")).await.unwrap();
            client.read_exact(&mut pong).await.unwrap();
        }
        client.write_all(&frame(BINARY, b"end")).await.unwrap();
        client
    });
    let mut room = [0; 1000];
    let mut received = 0;
    while received < 5000 + 3 {
        received += stream.read(&mut room).await.unwrap();
    }
    drop(pinging.await.unwrap());
}

/// A byte of payload behind each 599 frames without made the count begin anew: millions of them a second
/// kept a core busy for as long as the client liked.
#[tokio::test(start_paused = true)]
async fn a_byte_now_and_then_buys_no_frames() {
    let (mut stream, mut client) = open();
    let mut noise = frame(BINARY, b"").repeat(599);
    noise.extend(frame(BINARY, b"x"));
    let flood = tokio::spawn(async move { while client.write_all(&noise).await.is_ok() {} });
    let mut room = [0; 1000];
    let mut received = 0;
    let end = loop {
        match stream.read(&mut room).await {
            Ok(read) => received += read,
            Err(error) => break error,
        }
        assert!(received <= 3, "it goes on");
    };
    assert_policy_violation::<()>(Err(end));
    drop(stream);
    flood.await.unwrap();
}
