//! Attacks on TLS: handshakes that never end or never stop, records that never come whole, keys that
//! change all the time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mproxy_tests::tls;
use mproxy_tests::wire::PINGREQ;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_util::either::Either;

use super::{Tally, Target, again_and_again, side_by_side};
use crate::socket::{connect, log_in};

/// One address, as the simplest attacker has it.
const FROM: [u8; 4] = [127, 0, 0, 2];

/// Before one that was cut comes again.
const PAUSE: Duration = Duration::from_secs(1);

/// What comes of a record or message of 16 KiB.
const MOST: usize = 16_000;

/// Key updates between two packets: rustls takes no more in a row.
const UPDATES: usize = 30;

/// A ClientHello in its record.
fn hello(client: &Arc<ClientConfig>) -> Vec<u8> {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut connection = ClientConnection::new(Arc::clone(client), name).expect("a client");
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).expect("a vector takes it");
    bytes
}

pub(super) async fn half_handshakes(target: &Target, tally: &Tally, sockets: usize) {
    let hello = hello(&target.secure().client);
    hold(target, tally, sockets, &hello).await;
}

pub(super) async fn half_hellos(target: &Target, tally: &Tally, sockets: usize) {
    // a record of 16 KiB with the beginning of a message of 16 MiB
    let mut bytes = vec![22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
    bytes.resize(MOST, 0);
    hold(target, tally, sockets, &bytes).await;
}

/// Sends what is not whole, and waits to be cut; then again, a second later.
async fn hold(target: &Target, tally: &Tally, sockets: usize, bytes: &[u8]) {
    again_and_again(sockets, tally, PAUSE, |_| async move {
        let mut stream = connect(target.mqtt, FROM).await?;
        tally.count_opened();
        stream.write_all(bytes).await?;
        stream.read_to_end(&mut Vec::new()).await
    })
    .await;
}

pub(super) async fn crumbs(target: &Target, tally: &Tally, sockets: usize) {
    let hello = hello(&target.secure().client);
    let records: Vec<[u8; 6]> = hello[5..]
        .iter()
        .map(|byte| [22, 3, 1, 0, 1, *byte])
        .collect();
    let records = &records[..];
    let pause = Duration::from_millis(100);
    again_and_again(sockets, tally, pause, |_| async move {
        let mut stream = connect(target.mqtt, FROM).await?;
        stream.set_nodelay(true)?;
        tally.count_opened();
        for record in records {
            stream.write_all(record).await?;
            sleep(Duration::from_millis(5)).await;
        }
        stream.read_to_end(&mut Vec::new()).await
    })
    .await;
}

pub(super) async fn silence(target: &Target, tally: &Tally, sockets: usize) {
    again_and_again(sockets, tally, PAUSE, |_| async move {
        let mut stream = target.mqtt(FROM).await?;
        tally.count_opened();
        stream.read_to_end(&mut Vec::new()).await
    })
    .await;
}

pub(super) async fn half_records(target: &Target, tally: &Tally, sockets: usize, let_in: bool) {
    let mut bytes = vec![23, 3, 3, 0x40, 0];
    bytes.resize(MOST, 0);
    let bytes = &bytes[..];
    again_and_again(sockets, tally, PAUSE, |number| async move {
        let mut wire = target.mqtt(FROM).await?;
        if let_in {
            log_in(&mut wire, &format!("attacker-{number}")).await?;
        }
        tally.count_opened();
        let mut stream = below(wire)?;
        stream.write_all(bytes).await?;
        stream.read_to_end(&mut Vec::new()).await
    })
    .await;
}

/// The socket below TLS, to write what is no record.
fn below(wire: crate::Wire) -> io::Result<TcpStream> {
    match wire {
        Either::Right(stream) => Ok(stream.into_inner().0),
        Either::Left(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

pub(super) async fn handshakes(target: &Target, tally: &Tally, tasks: usize, resumed: bool) {
    let mut client = ClientConfig::clone(&target.secure().client);
    if !resumed {
        client.resumption = Resumption::disabled();
    }
    flood(target, tally, tasks, &Arc::new(client)).await;
}

pub(super) async fn long_chains(target: &Target, tally: &Tally, tasks: usize, count: usize) {
    let pki = &target.secure().pki;
    let mut chain = vec![tls::certificate(pki, "client.crt")];
    chain.resize(count, tls::certificate(pki, "ca.crt"));
    let client = tls::client_with(pki, "client", chain);
    flood(target, tally, tasks, &client).await;
}

/// Handshakes without a pause, each with a byte to see that it has ended.
async fn flood(target: &Target, tally: &Tally, tasks: usize, client: &Arc<ClientConfig>) {
    side_by_side(tasks, |_| async move {
        loop {
            let attempt = async {
                let stream = connect(target.mqtt, FROM).await?;
                let mut stream = tls::secure(client, stream).await?;
                // no MQTT: it is closed, after the tickets have been sent
                stream.write_all(&[0]).await?;
                stream.flush().await?;
                tally.count_opened();
                stream.read_to_end(&mut Vec::new()).await
            };
            let _ = attempt.await;
            tally.count_cut();
        }
    })
    .await;
}

pub(super) async fn aborts(target: &Target, tally: &Tally, tasks: usize) {
    let hello = hello(&target.secure().client);
    let hello = &hello[..];
    side_by_side(tasks, |_| async move {
        loop {
            let attempt = async {
                let mut stream = connect(target.mqtt, FROM).await?;
                stream.write_all(hello).await?;
                // the server has answered
                stream.read_u8().await?;
                SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
                tally.count_opened();
                Ok::<(), io::Error>(())
            };
            let _ = attempt.await;
        }
    })
    .await;
}

pub(super) async fn key_updates(target: &Target, tally: &Tally, clients: usize) {
    let pause = Duration::from_millis(10);
    again_and_again(clients, tally, pause, |number| async move {
        let mut wire = target.mqtt(FROM).await?;
        log_in(&mut wire, &format!("attacker-{number}")).await?;
        tally.count_opened();
        let Either::Right(mut stream) = wire else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let mut answers = [0; 4096];
        loop {
            for _ in 0..UPDATES {
                let connection = stream.get_mut().1;
                connection
                    .refresh_traffic_keys()
                    .map_err(io::Error::other)?;
            }
            stream.write_all(&PINGREQ).await?;
            stream.flush().await?;
            if stream.read(&mut answers).await? == 0 {
                return Ok::<(), io::Error>(());
            }
        }
    })
    .await;
}
