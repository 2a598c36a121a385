//! Prints a line for each packet of one direction of a connection.
//!
//! ```text
//! cargo run -p mproxy-codec --example packets                       # of a stream that it writes itself
//! cargo run -p mproxy-codec --example packets client < client.bin   # what a client sent, from CONNECT on
//! cargo run -p mproxy-codec --example packets broker 5 < broker.bin # what a broker sent; 3.1, 3.1.1 or 5
//! ```
//!
//! Wireshark saves such files: "Follow TCP Stream", one direction, "Save as raw".

use std::error::Error;
use std::io::{self, Read, Write};

use mproxy_codec::{
    ConnectBuilder, Direction, EncodeError, Frame, Framer, PINGREQ, QoS, ReasonCode,
    SubscriptionOptions, Version, View, Will, encode_disconnect, encode_publish, encode_subscribe,
};

/// The largest packet that is read, in bytes.
const MAX_PACKET_SIZE: usize = 1024 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let out = io::stdout().lock();
    let of_broker = |version| Framer::new(version, Direction::ToClient, MAX_PACKET_SIZE);
    let framer = match args[..] {
        [] => return walk(of_client(), &sample()?[..], out),
        ["client"] => of_client(),
        ["broker", "3.1"] => of_broker(Version::V31),
        ["broker", "3.1.1"] => of_broker(Version::V311),
        ["broker", "5"] => of_broker(Version::V5),
        _ => return Err("usage: packets [client | broker 3.1|3.1.1|5]".into()),
    };
    walk(framer, io::stdin().lock(), out)
}

fn of_client() -> Framer {
    Framer::before_connect(MAX_PACKET_SIZE)
}

/// Prints the packets of a stream up to its end, or up to one that is not valid.
fn walk(
    mut framer: Framer,
    mut stream: impl Read,
    mut out: impl Write,
) -> Result<(), Box<dyn Error>> {
    let mut room = [0; 4096];
    loop {
        let len = stream.read(&mut room)?;
        if len == 0 {
            break;
        }
        framer.push(&room[..len]);
        while let Some(frame) = framer.next_frame()? {
            print(&frame, &mut out)?;
        }
    }
    match framer.unread().len() {
        0 => Ok(()),
        left => Err(format!("the stream ends within a packet ({left} B of it came)").into()),
    }
}

fn print(frame: &Frame, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let (kind, len) = (frame.kind(), frame.as_bytes().len());
    write!(out, "{kind}, {len} bytes")?;
    match frame.view()? {
        View::Connect(connect) => {
            let (version, id) = (connect.version(), connect.client_id());
            let keep_alive = connect.keep_alive();
            write!(out, ": MQTT {version}, {id:?}, keep alive {keep_alive} s")?;
            if let Some(will) = connect.will() {
                write!(out, ", will {:?}", will.topic)?;
            }
        }
        View::Connack(connack) => write!(out, ": {}", connack.reason(frame.version()))?,
        View::Publish(publish) => {
            write!(out, ": {:?}", publish.topic())?;
            if let Some(id) = publish.packet_id() {
                write!(out, ", QoS {}, identifier {id}", publish.qos().as_u8())?;
            }
            for (flag, name) in [(publish.retain(), "retain"), (publish.dup(), "dup")] {
                if flag {
                    write!(out, ", {name}")?;
                }
            }
        }
        View::Subscribe(subscribe) => {
            for entry in subscribe.subscriptions() {
                write!(out, ": {:?}", entry.filter.as_str())?;
            }
        }
        _ => {}
    }
    Ok(writeln!(out)?)
}

/// What a device sends.
fn sample() -> Result<Vec<u8>, EncodeError> {
    let version = Version::V5;
    let connect = ConnectBuilder::new(version)
        .client_id("d7")
        .keep_alive(60)
        .user_name("d7")
        .password(b"secret")
        .will(Will::new("devices/d7/state", b"gone").retain(true))
        .build()?;
    let topic = "devices/d7/temperature";
    let options = SubscriptionOptions::new(QoS::AtLeastOnce);
    Ok([
        &connect.as_bytes()[..],
        &encode_subscribe(version, 1, &[], [("devices/d7/set/#", options)])?,
        &encode_publish(version, topic, QoS::AtLeastOnce, 2, &[], b"19.5")?,
        &PINGREQ,
        &encode_disconnect(version, ReasonCode::SUCCESS, &[])?,
    ]
    .concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(stream: &[u8]) -> (String, Result<(), String>) {
        let mut out = Vec::new();
        let outcome = walk(of_client(), stream, &mut out);
        let outcome = outcome.map_err(|error| error.to_string());
        (String::from_utf8(out).unwrap(), outcome)
    }

    #[test]
    fn every_packet_has_a_line() {
        let stream = sample().unwrap();
        let (printed, outcome) = lines(&stream);
        assert_eq!(outcome, Ok(()));
        let expected = r#"connect, 54 bytes: MQTT 5, "d7", keep alive 60 s, will "devices/d7/state"
subscribe, 24 bytes: "devices/d7/set/#"
publish, 33 bytes: "devices/d7/temperature", QoS 1, identifier 2
pingreq, 2 bytes
disconnect, 2 bytes
"#;
        assert_eq!(printed, expected);
        let (_, outcome) = lines(&stream[..stream.len() - 1]);
        let error = "the stream ends within a packet (1 B of it came)".to_owned();
        assert_eq!(outcome, Err(error));
    }

    #[test]
    fn what_is_not_mqtt_is_an_error() {
        let (printed, outcome) = lines(b"GET / HTTP/1.1\r\n");
        let error = "the first packet is not CONNECT".to_owned();
        assert_eq!((printed.as_str(), outcome), ("", Err(error)));
    }
}
