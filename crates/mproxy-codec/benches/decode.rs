//! What reading and rewriting cost, beside other codecs.
//!
//! `cargo bench -p mproxy-codec`. Each round reads what one read from a socket may bring, 16 KiB; the
//! item rate is the packet rate. The other codecs make owned packets; they get the bytes in the form
//! they want, and making that is not measured.

use bytes::BytesMut;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use mproxy_codec::{
    Direction, Head, Publish, PublishEdit, PublishLayout, QoS, SubscriptionOptions, Version, View,
    encode_publish, encode_subscribe,
};

/// PUBLISH packets of 16 KiB.
const PACKETS: usize = 147;
/// 43 bytes, as a sensor in a plant would have it.
const TOPIC: &str = "plant-7/line-3/machine-12/sensors/temp/value";
const FILTERS: [&str; 3] = [
    "plant-7/+/machine-12/#",
    "commands/machine-12/+",
    "$share/g/jobs/+",
];

fn main() {
    divan::main();
}

/// PUBLISH at QoS 1 with 64 bytes of payload.
fn publishes(version: Version) -> Vec<u8> {
    let topic = &TOPIC[..43];
    (0..PACKETS)
        .flat_map(|id| {
            let id = id as u16 | 1;
            encode_publish(version, topic, QoS::AtLeastOnce, id, b"", &[b'x'; 64]).expect("valid")
        })
        .collect()
}

fn subscribes() -> Vec<u8> {
    let options = SubscriptionOptions::new(QoS::AtLeastOnce);
    (0..PACKETS)
        .flat_map(|id| {
            let entries = FILTERS.map(|filter| (filter, options));
            encode_subscribe(Version::V311, id as u16 | 1, b"", entries).expect("valid")
        })
        .collect()
}

fn bench<T>(bencher: Bencher<'_, '_>, bytes: &[u8], mut read: impl FnMut(Head, &[u8]) -> T) {
    bencher.counter(ItemsCount::new(PACKETS)).bench_local(|| {
        let mut rest = black_box(bytes);
        while let Some(head) = Head::parse(rest).expect("valid") {
            let (packet, behind) = rest.split_at(head.total_len());
            black_box(read(head, packet));
            rest = behind;
        }
    });
}

fn layout(version: Version, head: Head, packet: &[u8]) -> PublishLayout {
    Head::check_first_byte(head.first_byte(), version, Direction::ToServer).expect("valid");
    PublishLayout::parse(head, version, Direction::ToServer, packet)
        .expect("valid")
        .expect("whole")
}

#[divan::bench]
fn scan(bencher: Bencher<'_, '_>) {
    bench(bencher, &publishes(Version::V311), |head, _| head.kind());
}

mod publish {
    use super::*;

    /// Offsets and a validated topic name: what the pipe asks for.
    #[divan::bench]
    fn layout_v311(bencher: Bencher<'_, '_>) {
        bench(bencher, &publishes(Version::V311), |head, packet| {
            layout(Version::V311, head, packet)
        });
    }

    #[divan::bench]
    fn layout_v5(bencher: Bencher<'_, '_>) {
        bench(bencher, &publishes(Version::V5), |head, packet| {
            layout(Version::V5, head, packet)
        });
    }

    #[divan::bench]
    fn view_v311(bencher: Bencher<'_, '_>) {
        bench(
            bencher,
            &publishes(Version::V311),
            |_, packet| match View::parse(Version::V311, Direction::ToServer, packet) {
                Ok(Some(View::Publish(publish))) => publish.topic().len(),
                _ => unreachable!("only PUBLISH"),
            },
        );
    }

    #[divan::bench]
    fn rewrite_topic_v311(bencher: Bencher<'_, '_>) {
        let edit = PublishEdit::new().topic("tenant-1/plant-7/line-3/machine-12/temp");
        bench(bencher, &publishes(Version::V311), |head, packet| {
            let publish = Publish::new(layout(Version::V311, head, packet), packet);
            publish.edit(Version::V311, &edit).expect("valid")
        });
    }

    #[divan::bench]
    fn mqtt_protocol(bencher: Bencher<'_, '_>) {
        use mqtt::Decodable as _;
        bench(bencher, &publishes(Version::V311), |_, mut packet| {
            mqtt::packet::VariablePacket::decode(&mut packet).expect("valid")
        });
    }

    #[divan::bench]
    fn mqttbytes_v4(bencher: Bencher<'_, '_>) {
        read_owned(bencher, &publishes(Version::V311), |stream| {
            mqttbytes::v4::read(stream, 1024).expect("valid");
        });
    }

    #[divan::bench]
    fn rumqttc_v4(bencher: Bencher<'_, '_>) {
        read_owned(bencher, &publishes(Version::V311), |stream| {
            rumqttc::mqttbytes::v4::Packet::read(stream, 1024).expect("valid");
        });
    }

    #[divan::bench]
    fn rumqttc_v5(bencher: Bencher<'_, '_>) {
        read_owned(bencher, &publishes(Version::V5), |stream| {
            rumqttc::v5::mqttbytes::v5::Packet::read(stream, Some(1024)).expect("valid");
        });
    }

    #[divan::bench]
    fn rmqtt_v3(bencher: Bencher<'_, '_>) {
        use tokio_util::codec::Decoder as _;
        let mut codec = rmqtt_codec::v3::Codec::default();
        read_owned(bencher, &publishes(Version::V311), |stream| {
            black_box(codec.decode(stream).expect("valid"));
        });
    }
}

mod subscribe {
    use super::*;

    /// Three filters, each validated.
    #[divan::bench]
    fn view(bencher: Bencher<'_, '_>) {
        bench(bencher, &subscribes(), |_, packet| {
            match View::parse(Version::V311, Direction::ToServer, packet) {
                Ok(Some(View::Subscribe(subscribe))) => subscribe.len(),
                _ => unreachable!("only SUBSCRIBE"),
            }
        });
    }

    #[divan::bench]
    fn mqtt_protocol(bencher: Bencher<'_, '_>) {
        use mqtt::Decodable as _;
        bench(bencher, &subscribes(), |_, mut packet| {
            mqtt::packet::VariablePacket::decode(&mut packet).expect("valid")
        });
    }

    #[divan::bench]
    fn mqttbytes_v4(bencher: Bencher<'_, '_>) {
        read_owned(bencher, &subscribes(), |stream| {
            mqttbytes::v4::read(stream, 1024).expect("valid");
        });
    }

    #[divan::bench]
    fn rumqttc_v4(bencher: Bencher<'_, '_>) {
        read_owned(bencher, &subscribes(), |stream| {
            rumqttc::mqttbytes::v4::Packet::read(stream, 1024).expect("valid");
        });
    }
}

/// Reads 10,000 packets from a buffer that the codec takes apart.
fn read_owned(bencher: Bencher<'_, '_>, bytes: &[u8], mut read: impl FnMut(&mut BytesMut)) {
    bencher
        .counter(ItemsCount::new(PACKETS))
        .with_inputs(|| BytesMut::from(bytes))
        .bench_local_refs(|stream| {
            while !stream.is_empty() {
                read(stream);
            }
        });
}
