//! The byte stream inside the frames, against a raw client.

mod support;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use mproxy_transport::{Stream, WsOptions, WsViolation};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use support::{BINARY, CLOSE, PING, PONG, Raw, TEXT, frame, hex, open};

async fn read_exact(stream: &mut Stream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

/// Reads until the violation, which is what the client is told too.
async fn violation(stream: &mut Stream, client: &mut Raw) -> u16 {
    let mut bytes = Vec::new();
    let error = stream.read_to_end(&mut bytes).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let code = WsViolation::find(&error).unwrap().code();
    assert_eq!(client.close_code().await, code);
    code
}

#[tokio::test]
async fn frames_and_packets_need_not_align() {
    let (mut stream, mut client) = open(&WsOptions::default()).await;
    // Three packets in one frame, then one packet in three frames, the middle one empty.
    client.send(&frame(BINARY, b"onetwothree")).await;
    client.send(&frame(BINARY, b"fo")).await;
    client.send(&frame(BINARY, b"")).await;
    client.send(&frame(BINARY, b"ur")).await;
    assert_eq!(read_exact(&mut stream, 15).await, b"onetwothreefour");
}

#[tokio::test]
async fn fragmented_message_with_a_ping_inside() {
    let (mut stream, mut client) = open(&WsOptions::default()).await;
    client.send(&frame(0x02, b"frag")).await;
    client.send(&frame(PING, b"?")).await;
    client.send(&frame(0x80, b"ments")).await;
    assert_eq!(read_exact(&mut stream, 9).await, b"fragments");
    assert_eq!(client.frame().await, (PONG, b"?".to_vec()));
}

#[tokio::test]
async fn small_reads_get_all_of_a_large_message() {
    let (mut stream, mut client) = open(&WsOptions::default()).await;
    let payload: Vec<u8> = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
    let frame = frame(BINARY, &payload);
    let read = async {
        let mut received: Vec<u8> = Vec::new();
        let mut piece = [0; 7];
        while received.len() < payload.len() {
            let len = stream.read(&mut piece).await.unwrap();
            received.extend(&piece[..len]);
        }
        received
    };
    let (received, ()) = tokio::join!(read, client.send(&frame));
    assert_eq!(received, payload);
}

/// One read takes what many frames brought: the proxy scans and writes it as one run.
#[tokio::test]
async fn one_read_gathers_many_frames() {
    let (mut stream, mut client) = open(&WsOptions::default()).await;
    let frames: Vec<u8> = (0..50).flat_map(|_| frame(BINARY, b"0123456789")).collect();
    client.send(&frames).await;
    let mut buf = vec![0; 64 * 1024];
    assert_eq!(stream.read(&mut buf).await.unwrap(), 500);
}

#[tokio::test]
async fn each_write_is_one_binary_frame() {
    let (mut stream, mut client) = open(&WsOptions::default()).await;
    stream.write_all(b"one").await.unwrap();
    assert_eq!(client.frame().await, (BINARY, b"one".to_vec()));
    let slices = [b"tw".as_slice(), b"", b"o"].map(io::IoSlice::new);
    assert!(stream.is_write_vectored());
    assert_eq!(stream.write_vectored(&slices).await.unwrap(), 3);
    assert_eq!(client.frame().await, (BINARY, b"two".to_vec()));
    // More slices than one system call is given: the rest is for the next.
    let many = [io::IoSlice::new(b"x"); 40];
    let written = stream.write_vectored(&many).await.unwrap();
    assert!((1..40).contains(&written));
    assert_eq!(client.frame().await, (BINARY, vec![b'x'; written]));
    // Nothing to say is not a frame.
    assert_eq!(stream.write(b"").await.unwrap(), 0);
    stream.write_all(b"three").await.unwrap();
    assert_eq!(client.frame().await, (BINARY, b"three".to_vec()));
}

#[tokio::test]
async fn large_writes_become_bounded_frames() {
    let (mut stream, mut client) = open(&WsOptions::default()).await;
    let payload: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
    let read = async {
        let mut received = Vec::new();
        while received.len() < payload.len() {
            let (first, piece) = client.frame().await;
            assert_eq!(first, BINARY);
            assert!((1..=64 * 1024).contains(&piece.len()));
            received.extend(piece);
        }
        received
    };
    let (written, received) = tokio::join!(stream.write_all(&payload), read);
    written.unwrap();
    assert_eq!(received, payload);
}

/// A client that does not read stops the writer, and loses nothing when it reads again.
#[tokio::test]
async fn back_pressure() {
    let (mut stream, mut client) = open(&WsOptions::default()).await;
    let mut cx = Context::from_waker(Waker::noop());
    let mut written = 0_u32;
    // Each write is its own number, so that order and loss show.
    while let Poll::Ready(result) =
        Pin::new(&mut stream).poll_write(&mut cx, &[&written.to_be_bytes()[..]; 1000].concat())
    {
        assert_eq!(result.unwrap(), 4000);
        written += 1;
        assert!(written < 10_000, "nothing stops the writer");
    }
    assert!(written > 0);
    let read = async {
        for number in 0..written {
            let (first, payload) = client.frame().await;
            assert_eq!((first, payload.len()), (BINARY, 4000));
            assert_eq!(payload[3996..], number.to_be_bytes());
        }
    };
    let (flushed, ()) = tokio::join!(stream.flush(), read);
    flushed.unwrap();
}

/// The rest of a frame that the kernel did not take goes out while the proxy only reads.
#[tokio::test]
async fn reading_flushes_what_a_write_left() {
    let (mut stream, mut client) = open(&WsOptions::default()).await;
    let mut cx = Context::from_waker(Waker::noop());
    let mut written = 0;
    while let Poll::Ready(result) = Pin::new(&mut stream).poll_write(&mut cx, &[7; 16_000]) {
        written += result.unwrap();
    }
    let read = async {
        let mut received = 0;
        while received < written {
            received += client.frame().await.1.len();
        }
        client.send(&frame(BINARY, b"done")).await;
    };
    let (done, ()) = tokio::join!(read_exact(&mut stream, 4), read);
    assert_eq!(done, b"done");
}

/// Nobody writes anything, and the pong goes out all the same.
#[tokio::test]
async fn ping_is_answered_while_only_reading() {
    let (mut stream, mut client) = open(&WsOptions::default()).await;
    client.send(&frame(PING, b"are you there")).await;
    let mut buf = [0; 16];
    tokio::select! {
        read = stream.read(&mut buf) => panic!("nothing was sent: {read:?}"),
        pong = client.frame() => assert_eq!(pong, (PONG, b"are you there".to_vec())),
    }
    // A pong nobody asked for is no news.
    client.send(&frame(PONG, b"unsolicited")).await;
    client.send(&frame(BINARY, b"data")).await;
    assert_eq!(read_exact(&mut stream, 4).await, b"data");
}

/// A flood of pings from a client that reads no pongs: data still gets through, only the socket's
/// own buffer fills with pongs, and the last ping is answered.
#[tokio::test]
async fn ping_flood_keeps_the_latest_pong_only() {
    const PINGS: u32 = 50_000;
    let (mut stream, mut client) =
        open(&WsOptions::default().max_idle_frames(PINGS, Duration::from_secs(60))).await;
    let mut flood = Vec::new();
    for number in 0..PINGS {
        let mut payload = vec![0; 121];
        payload.extend(number.to_be_bytes());
        flood.extend(frame(PING, &payload));
    }
    flood.extend(frame(BINARY, b"data"));
    let mut buf = vec![0; 64 * 1024];
    let (len, ()) = tokio::join!(stream.read(&mut buf), client.send(&flood));
    assert_eq!(buf[..len.unwrap()], *b"data");

    let mut pongs = 0;
    let read = async {
        loop {
            let (first, payload) = client.frame().await;
            assert_eq!(first, PONG);
            pongs += 1;
            if payload[121..] == (PINGS - 1).to_be_bytes() {
                break;
            }
        }
    };
    tokio::select! {
        read = stream.read(&mut buf) => panic!("nothing more was sent: {read:?}"),
        () = read => {}
    }
    assert!(pongs < PINGS / 2, "{pongs} pongs were kept");
}

#[tokio::test]
async fn text_is_refused() {
    let (mut stream, mut client) = open(&WsOptions::default()).await;
    client.send(&frame(BINARY, b"before")).await;
    client.send(&frame(TEXT, b"text")).await;
    client.send(&frame(BINARY, b"after")).await;
    // What came before is read first, in a read of its own.
    assert_eq!(read_exact(&mut stream, 6).await, b"before");
    assert_eq!(violation(&mut stream, &mut client).await, 1003);
    // Nothing comes after it, in either direction.
    let error = stream.write(b"x").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    client.0.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0);
    drop(stream);
    client.end().await;
}

/// What the hostile collection has not.
#[tokio::test]
async fn hostile_frames() {
    let fragment = frame(0x02, b"x");
    for (id, bytes, code) in [
        ("2^63 bytes", hex("82ff800000000000000000000000"), 1009),
        (
            "one byte too many",
            hex("82ff000000004000000100000000"),
            1009,
        ),
        ("reserved data opcode", hex("83810000000078"), 1002),
        ("reserved control opcode", hex("8b810000000078"), 1002),
        (
            "new message inside a message",
            [&fragment[..], &fragment].concat(),
            1002,
        ),
        ("close of one byte", hex("8881000000001e"), 1002),
        ("text that is not UTF-8", frame(TEXT, b"\xff"), 1003),
        (
            "reason that is not UTF-8",
            frame(CLOSE, b"\x03\xe8\xff"),
            1007,
        ),
    ] {
        let (mut stream, mut client) = open(&WsOptions::default()).await;
        client.send(&frame(BINARY, b"ok")).await;
        assert_eq!(read_exact(&mut stream, 2).await, b"ok");
        client.send(&bytes).await;
        assert_eq!(violation(&mut stream, &mut client).await, code, "{id}");
    }
}

#[tokio::test]
async fn message_size_is_bounded_over_all_fragments() {
    let options = WsOptions::default().max_message_size(1000);
    let (mut stream, mut client) = open(&options).await;
    client.send(&frame(BINARY, &[1; 1000])).await;
    assert_eq!(read_exact(&mut stream, 1000).await, [1; 1000]);
    client.send(&frame(0x02, &[2; 600])).await;
    client.send(&frame(0x00, &[2; 401])).await;
    assert_eq!(violation(&mut stream, &mut client).await, 1009);
}

/// The default was 1 MiB, while the session of the same library knows no limit for a packet: a
/// client of whoever set neither was closed with 1009 in the middle of a larger PUBLISH. Of a message
/// that streams, a length takes no memory.
#[tokio::test]
async fn the_largest_packet_fits_into_a_message_by_default() {
    let header = |len: u64| [&[BINARY, 0x80 | 127][..], &len.to_be_bytes(), &[0; 4]].concat();
    let largest_packet = 5 + 0x0fff_ffff;
    for len in [largest_packet, 1 << 30] {
        let (mut stream, mut client) = open(&WsOptions::default()).await;
        client.send(&header(len)).await;
        client.send(b"the beginning").await;
        assert_eq!(read_exact(&mut stream, 13).await, b"the beginning");
    }
}

/// What the client sends behind its mistake is taken off the socket: closing over it would reset
/// the connection, and the Close frame would be lost.
#[tokio::test]
async fn violation_discards_what_follows_up_to_a_bound() {
    for (behind, drained) in [(60_000, true), (1_000_000, false)] {
        let (mut stream, client) = open(&WsOptions::default()).await;
        let (mut read, mut write) = client.0.into_split();
        let send = async {
            let _ = write.write_all(&frame(TEXT, b"text")).await;
            let _ = write.write_all(&vec![0; behind]).await;
            let _ = write.shutdown().await;
        };
        let serve = async move {
            let error = stream.read(&mut [0; 16]).await.unwrap_err();
            assert_eq!(WsViolation::find(&error).unwrap().code(), 1003);
            stream.shutdown().await.unwrap();
            assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0);
        };
        tokio::join!(send, serve);
        let mut answer = Vec::new();
        let end = read.read_to_end(&mut answer).await;
        assert_eq!(answer, [CLOSE, 2, 0x03, 0xeb]);
        assert_eq!(end.is_ok(), drained);
    }
}

#[tokio::test]
async fn close_is_answered_and_reads_as_the_end() {
    let (mut stream, mut client) = open(&WsOptions::default()).await;
    client.send(&frame(BINARY, b"last")).await;
    client.send(&frame(CLOSE, &1001_u16.to_be_bytes())).await;
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"last");
    assert_eq!(client.close_code().await, 1001);
    let error = stream.write(b"x").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    // Both sides have closed: the socket may go.
    stream.shutdown().await.unwrap();
    client.end().await;
}

#[tokio::test]
async fn end_without_a_close_frame_reads_as_the_end() {
    // As on TCP: what came of a packet is the reader's, who knows that it is not all.
    for (partial, received_of_it) in [(0, &b""[..]), (3, b""), (9, b"cut")] {
        let (mut stream, mut client) = open(&WsOptions::default()).await;
        client.send(&frame(BINARY, b"last")).await;
        client.send(&frame(BINARY, b"cut off")[..partial]).await;
        client.0.shutdown().await.unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, [b"last", received_of_it].concat());
        stream.shutdown().await.unwrap();
    }
}

/// Our Close frame is not the end of reading: the client may have sent before it saw it.
#[tokio::test]
async fn shutdown_sends_close_and_waits_for_the_answer() {
    let (mut stream, mut client) = open(&WsOptions::default()).await;
    stream.write_all(b"bye").await.unwrap();
    stream.shutdown().await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(client.frame().await, (BINARY, b"bye".to_vec()));
    assert_eq!(client.close_code().await, 1000);
    client.send(&frame(BINARY, b"on its way")).await;
    client.send(&frame(CLOSE, &1000_u16.to_be_bytes())).await;
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"on its way");
    stream.shutdown().await.unwrap();
    client.end().await;
}

/// A client that sends its last words, and a ping, and is gone: the pong fails, the words count.
#[tokio::test]
async fn what_a_vanished_client_sent_is_read() {
    let (mut stream, mut client) = open(&WsOptions::default()).await;
    client.send(&frame(PING, b"?")).await;
    client.send(&frame(BINARY, b"last words")).await;
    drop(client);
    // A byte at a time, so that the failed pong comes before the data.
    for byte in b"last words" {
        assert_eq!(stream.read_u8().await.unwrap(), *byte);
    }
    let error = stream.write(b"x").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0);
}
