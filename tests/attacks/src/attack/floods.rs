//! Connections: too many, too fast, or for nothing.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::sleep;

use super::{Tally, Target, side_by_side};
use crate::socket::log_in;
use crate::target::{Wire, socket};

/// Holds its own maximum, and asks for more.
pub(super) async fn over_own_limit(target: &Target, tally: &Tally, held: usize, tasks: usize) {
    let mut streams = Vec::new();
    for number in 0..held {
        let client_id = format!("attacker-{number}");
        if let Ok(mut stream) = target.mqtt([127, 0, 0, 2]).await
            && log_in(&mut stream, &client_id).await.is_ok()
        {
            tally.count_opened();
            streams.push(stream);
        }
        // below the shared rate
        sleep(Duration::from_millis(4)).await;
    }
    side_by_side(tasks, |_| async move {
        loop {
            if let Ok(mut stream) = target.mqtt([127, 0, 0, 2]).await {
                // a reset or an end: it is refused
                let _ = stream.read(&mut [0; 4]).await;
                reset(&stream);
            }
            tally.count_cut();
        }
    })
    .await;
}

pub(super) async fn silence(target: &Target, tally: &Tally, addresses: u8, each: usize) {
    side_by_side(usize::from(addresses) * each, |number| async move {
        let host = u8::try_from(number / each)
            .unwrap_or(u8::MAX)
            .saturating_add(2);
        loop {
            if let Ok(mut stream) = target.mqtt([127, 0, 0, host]).await {
                tally.count_opened();
                let _ = stream.read(&mut [0; 4]).await;
            }
            tally.count_cut();
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

pub(super) async fn idle(target: &Target, tally: &Tally, sockets: usize) {
    let mut streams = Vec::new();
    while streams.len() < sockets {
        if let Ok(stream) = target.ws([127, 0, 0, 2]).await {
            tally.count_opened();
            streams.push(stream);
        }
    }
    std::future::pending::<()>().await;
}

/// The route that README.md names makes all those addresses the machine's own.
pub(super) async fn one_prefix(target: &Target, tally: &Tally, addresses: u16, each: usize) {
    let to: SocketAddr = (address(u16::MAX), target.mqtt.port()).into();
    let mut streams = Vec::new();
    for host in 1..=addresses {
        let from = address(host);
        for number in 0..each {
            let attempt = async {
                let socket = TcpSocket::new_v6()?;
                // no interface has it
                SockRef::from(&socket).set_freebind_v6(true)?;
                socket.bind((from, 0).into())?;
                let mut stream = target.wrap(socket.connect(to).await?).await?;
                log_in(&mut stream, &format!("{host}-{number}")).await?;
                Ok::<_, std::io::Error>(stream)
            };
            match attempt.await {
                Ok(stream) => {
                    tally.count_opened();
                    streams.push(stream);
                }
                Err(_) => tally.count_cut(),
            }
        }
    }
    std::future::pending::<()>().await;
}

pub(super) async fn resets(target: &Target, tally: &Tally, tasks: usize) {
    side_by_side(tasks, |_| async move {
        loop {
            if let Ok(mut stream) = target.mqtt([127, 0, 0, 2]).await {
                tally.count_opened();
                // the beginning of a CONNECT: a client that was lost, not a probe
                let _ = stream.write_all(&[0x10]).await;
                let _ = stream.flush().await;
                // what was sent must arrive before the reset
                sleep(Duration::from_millis(1)).await;
                reset(&stream);
            }
        }
    })
    .await;
}

/// An address of the /64.
fn address(host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x6d70, 0, 0, 0, 0, 0, host)
}

/// Has it closed with a reset when it is dropped, which leaves nothing behind at this end.
fn reset(stream: &Wire) {
    // only a socket that is gone refuses
    let _ = SockRef::from(socket(stream)).set_linger(Some(Duration::ZERO));
}
