//! The sink's answers, byte by byte.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use crate::running::RunningSink;

const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a";
const CONNECT_5: &[u8] = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01a";
const CONNACK: &[u8] = b"\x20\x02\x00\x00";
const CONNACK_5: &[u8] = b"\x20\x03\x00\x00\x00";

fn exchange(stream: &mut TcpStream, send: &[u8], expect: &[u8]) {
    stream.write_all(send).unwrap();
    let mut got = vec![0; expect.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(
        got.escape_ascii().to_string(),
        expect.escape_ascii().to_string()
    );
}

/// The sink closed, and had nothing more to say.
fn assert_closed(mut stream: TcpStream) {
    match stream.read(&mut [0; 1]) {
        Ok(len) => assert_eq!(len, 0),
        // The sink closed with bytes of ours unread.
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

#[test]
fn every_packet_is_answered_in_version_3() {
    let sink = RunningSink::on_loopback();
    let mut stream = sink.connect();
    exchange(&mut stream, CONNECT, CONNACK);
    exchange(
        &mut stream,
        b"\x32\x06\x00\x01t\x00\x07x",
        b"\x40\x02\x00\x07",
    );
    exchange(
        &mut stream,
        b"\x34\x06\x00\x01t\x01\x07x",
        b"\x50\x02\x01\x07",
    );
    exchange(&mut stream, b"\x62\x02\x01\x07", b"\x70\x02\x01\x07");
    // Two filters, at QoS 0 and 1.
    exchange(
        &mut stream,
        b"\x82\x0a\x00\x09\x00\x01a\x00\x00\x01b\x01",
        b"\x90\x04\x00\x09\x00\x00",
    );
    exchange(&mut stream, b"\xc0\x00", b"\xd0\x00");
    exchange(
        &mut stream,
        b"\xa2\x05\x00\x0a\x00\x01a",
        b"\xb0\x02\x00\x0a",
    );
    stream.write_all(b"\xe0\x00").unwrap();
    assert_closed(stream);
}

#[test]
fn every_packet_is_answered_in_version_5() {
    let sink = RunningSink::on_loopback();
    let mut stream = sink.connect();
    exchange(&mut stream, CONNECT_5, CONNACK_5);
    exchange(
        &mut stream,
        b"\x32\x07\x00\x01t\x00\x07\x00x",
        b"\x40\x02\x00\x07",
    );
    exchange(
        &mut stream,
        b"\x34\x07\x00\x01t\x00\x08\x00x",
        b"\x50\x02\x00\x08",
    );
    // Two properties bytes: subscription identifier 5.
    exchange(
        &mut stream,
        b"\x82\x09\x00\x09\x02\x0b\x05\x00\x01a\x00",
        b"\x90\x04\x00\x09\x00\x00",
    );
    exchange(
        &mut stream,
        b"\xa2\x06\x00\x0a\x00\x00\x01a",
        b"\xb0\x04\x00\x0a\x00\x00",
    );
    exchange(&mut stream, b"\xc0\x00", b"\xd0\x00");
}

#[test]
fn publishes_of_any_qos_are_counted_whatever_pieces_they_come_in() {
    let sink = RunningSink::on_loopback();
    let mut stream = sink.connect();
    exchange(&mut stream, CONNECT, CONNACK);
    for byte in b"\x30\x04\x00\x01tx\x30\x83\x01\x00\x01t" {
        stream.write_all(&[*byte]).unwrap();
    }
    stream.write_all(&[b'x'; 128]).unwrap();
    exchange(
        &mut stream,
        b"\x32\x05\x00\x01t\x00\x01",
        b"\x40\x02\x00\x01",
    );
    exchange(
        &mut stream,
        b"\x82\x0c\x00\x02\x00\x07a/count\x00",
        b"\x90\x03\x00\x02\x00\x30\x0a\x00\x07a/count3",
    );
}

#[test]
fn a_flood_has_the_size_and_the_number_that_were_asked_for() {
    let sink = RunningSink::on_loopback();
    let mut stream = sink.connect();
    exchange(&mut stream, CONNECT_5, CONNACK_5);
    let mut expect = b"\x90\x04\x00\x02\x00\x00".to_vec();
    for _ in 0..20_000 {
        expect.extend_from_slice(b"\x30\x13\x00\x0dflood/20000/3\x00mmm");
    }
    exchange(
        &mut stream,
        b"\x82\x13\x00\x02\x00\x00\x0dflood/20000/3\x00",
        &expect,
    );
    // And nothing behind it.
    exchange(&mut stream, b"\xc0\x00", b"\xd0\x00");
}

#[test]
fn an_echo_comes_back_at_qos_0_with_its_properties() {
    let sink = RunningSink::on_loopback();
    let mut stream = sink.connect();
    exchange(&mut stream, CONNECT_5, CONNACK_5);
    exchange(
        &mut stream,
        b"\x82\x0c\x00\x02\x00\x00\x06a/echo\x00",
        b"\x90\x04\x00\x02\x00\x00",
    );
    exchange(
        &mut stream,
        b"\x30\x0c\x00\x06a/echo\x02\x01\x00x",
        b"\x30\x0c\x00\x06a/echo\x02\x01\x00x",
    );
    exchange(
        &mut stream,
        b"\x32\x0e\x00\x06a/echo\x00\x05\x02\x01\x00x",
        b"\x40\x02\x00\x05\x30\x0c\x00\x06a/echo\x02\x01\x00x",
    );
    // Other topics do not come back.
    exchange(&mut stream, b"\x30\x05\x00\x01a\x00x\xc0\x00", b"\xd0\x00");
}

#[test]
fn who_breaks_the_protocol_is_closed_and_others_are_served() {
    let sink = RunningSink::on_loopback();
    for bad in [
        // No CONNECT first; an unknown version; a fifth length byte.
        b"\xc0\x00".as_slice(),
        b"\x10\x0d\x00\x04MQTT\x09\x02\x00\x00\x00\x01a",
        b"\x10\xff\xff\xff\xff\x01",
    ] {
        let mut stream = sink.connect();
        stream.write_all(bad).unwrap();
        assert_closed(stream);
    }
    for bad in [
        b"\x36\x05\x00\x01t\x00\x01".as_slice(),
        b"\xf0\x00",
        b"\x32\x03\x00\x01t",
    ] {
        let mut stream = sink.connect();
        exchange(&mut stream, CONNECT, CONNACK);
        stream.write_all(bad).unwrap();
        assert_closed(stream);
    }
    exchange(&mut sink.connect(), CONNECT, CONNACK);
}

#[test]
fn a_client_that_does_not_read_stops_nobody() {
    let sink = RunningSink::on_loopback();
    let mut deaf = sink.connect();
    deaf.write_all(CONNECT).unwrap();
    deaf.write_all(b"\x82\x15\x00\x02\x00\x10flood/99999/1000\x00")
        .unwrap();
    let mut other = sink.connect();
    exchange(&mut other, CONNECT, CONNACK);
    for _ in 0..100 {
        exchange(&mut other, b"\xc0\x00", b"\xd0\x00");
    }
}
