//! One attempt to reach a broker: each of its addresses once, until one answers.
//!
//! ```text
//! address            addresses[0]     addresses[1]          those that failed a moment ago
//!   resolve            resolve          ...                         |
//!   ip, ip, ...  --->  ip, ip, ... --->                     ------> ip, ip, ...
//!      '-- TCP: its share of the time; then PROXY header, TLS, WebSocket: what is left
//! ```

use std::{net::SocketAddr, time::Duration};

use mproxy_patience::timeout_at;
use socket2::SockRef;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, UnixStream},
    time::Instant,
};

use super::{DialCause, Dialer, outages::Place};
use crate::{
    addr::{Carrier, Endpoint, UpstreamAddr},
    stream::Stream,
    tls::connect_tls,
    ws::{Subprotocol, connect_websocket},
};

/// The positions of addresses, and why each could not be reached.
pub(super) type Failures = Vec<(usize, DialCause)>;

pub(super) struct Round<'a> {
    dialer: &'a Dialer,
    head: &'a [u8],
    subprotocol: Subprotocol,
    deadline: Instant,
    failures: Failures,
    /// Failed a moment ago: tried last.
    last: Vec<Place>,
}

impl<'a> Round<'a> {
    pub(super) fn new(
        dialer: &'a Dialer,
        head: &'a [u8],
        subprotocol: Subprotocol,
        deadline: Instant,
    ) -> Self {
        Self {
            dialer,
            head,
            subprotocol,
            deadline,
            failures: Vec::new(),
            last: Vec::new(),
        }
    }

    /// Connects. Says by which address, and why not by those before.
    ///
    /// # Errors
    /// Why not by any.
    pub(super) async fn run(mut self) -> Result<(Stream, usize, Failures), Failures> {
        // it is expected that nobody listens at an outdated address
        let mut doubts = Failures::new();
        let count = self.dialer.addrs.len();
        for index in 0..count {
            if self.is_late() {
                break;
            }
            let behind = count - index - 1;
            let places = match self.places(index, behind).await {
                Ok((places, doubt)) => {
                    doubts.extend(doubt.map(|doubt| (index, doubt)));
                    places
                }
                Err(cause) => {
                    self.fails(index, cause);
                    continue;
                }
            };
            for (number, place) in places.iter().enumerate() {
                let others =
                    behind + (places.len() - number - 1) + usize::from(!self.last.is_empty());
                if let Some(stream) = self.attempt(*place, others).await {
                    return Ok((stream, index, self.failures));
                }
            }
        }
        let last = std::mem::take(&mut self.last);
        for (number, place) in last.iter().enumerate() {
            if let Some(stream) = self.attempt(*place, last.len() - number - 1).await {
                return Ok((stream, place.0, self.failures));
            }
        }
        for (index, doubt) in doubts {
            self.fails(index, doubt);
        }
        Err(self.failures)
    }

    /// Where the broker listens by the address at this position, apart from what failed a moment ago; and why that
    /// may be outdated.
    async fn places(
        &mut self,
        index: usize,
        behind: usize,
    ) -> Result<(Vec<Place>, Option<DialCause>), DialCause> {
        let dialer = self.dialer;
        let (mut places, mut doubt) = (Vec::new(), None);
        match &dialer.addrs[index].endpoint {
            // a literal address must not go through a thread
            Endpoint::Ip(addr) => places.push((index, Some(*addr))),
            Endpoint::Unix(_) => places.push((index, None)),
            Endpoint::Name { host, port } => {
                let share = self.share(behind);
                // the other half is for an address from an earlier answer
                let lookup = dialer.resolver.lookup(host, share / 2);
                let answer = timeout_at(Instant::now() + share, lookup).await;
                let answer = answer.map_err(|_| DialCause::TimedOut)?;
                let answer = answer.map_err(|failure| DialCause::Resolve(failure.into()))?;
                doubt = answer
                    .doubt
                    .map(|failure| DialCause::Resolve(failure.into()));
                for addr in &*answer.addrs {
                    let mut addr = *addr;
                    addr.set_port(*port);
                    places.push((index, Some(addr)));
                }
            }
        }
        let (trial, now) = (dialer.options.connect_timeout, Instant::now());
        places.retain(|place| {
            let is_out = dialer.outages.has(*place, trial, now);
            if is_out {
                self.last.push(*place);
            }
            !is_out
        });
        Ok((places, doubt))
    }

    /// Of the time that is left, what one may take before so many others. One address that drops packets
    /// must not use up the time of the next ones.
    fn share(&self, others: usize) -> Duration {
        let left = self.deadline.saturating_duration_since(Instant::now());
        left / u32::try_from(others + 1).unwrap_or(u32::MAX)
    }

    /// The addresses before have used up the time.
    fn is_late(&self) -> bool {
        !self.failures.is_empty() && Instant::now() >= self.deadline
    }

    async fn attempt(&mut self, place: Place, others: usize) -> Option<Stream> {
        let outages = &self.dialer.outages;
        if self.is_late() {
            // It was not tried, which says nothing about it: the next client begins with it.
            return None;
        }
        match self.connect(place, others).await {
            Ok(stream) => {
                outages.succeeded(place);
                Some(stream)
            }
            Err(cause) => {
                outages.failed(place, Instant::now());
                self.fails(place.0, cause);
                None
            }
        }
    }

    async fn connect(&self, (index, ip): Place, others: usize) -> Result<Stream, DialCause> {
        let addr = &self.dialer.addrs[index];
        let until = Instant::now() + self.share(others);
        let opened = timeout_at(until, self.open(addr, ip)).await;
        let stream = opened.map_err(|_| DialCause::TimedOut)??;
        // a handshake that was begun costs the broker work: it is not given up for another address
        let secured = timeout_at(self.deadline, self.upgrade(addr, stream)).await;
        secured.map_err(|_| DialCause::TimedOut)?
    }

    async fn open(&self, addr: &UpstreamAddr, ip: Option<SocketAddr>) -> Result<Stream, DialCause> {
        match (&addr.endpoint, ip) {
            (Endpoint::Unix(path), _) => Ok(UnixStream::connect(path).await?.into()),
            (_, Some(ip)) => {
                let stream = TcpStream::connect(ip).await?;
                let options = self.dialer.options.tcp.towards(ip.ip());
                options.apply(SockRef::from(&stream))?;
                Ok(stream.into())
            }
            (_, None) => Err(DialCause::Io(std::io::ErrorKind::AddrNotAvailable.into())),
        }
    }

    async fn upgrade(&self, addr: &UpstreamAddr, mut stream: Stream) -> Result<Stream, DialCause> {
        stream.write_all(self.head).await?;
        let stream = match addr.is_tls {
            true => self.secure(addr, stream).await?,
            false => stream,
        };
        match &addr.carrier {
            Carrier::Plain => Ok(stream),
            Carrier::WebSocket { path } => {
                let authority = addr.endpoint.to_string();
                let patience = self.dialer.options.write_timeout;
                let subprotocol = self.subprotocol;
                Ok(connect_websocket(stream, &authority, path, subprotocol, patience).await?)
            }
        }
    }

    async fn secure(&self, addr: &UpstreamAddr, stream: Stream) -> Result<Stream, DialCause> {
        let host = addr.host();
        let tls = self.dialer.tls.as_ref();
        let name = tls.and_then(|tls| tls.server_name(host.as_deref()));
        let (Some(tls), Some(name)) = (tls, name) else {
            return Err(DialCause::TlsNotSetUp);
        };
        Ok(connect_tls(stream, tls, name).await?)
    }

    /// The last failure of an address counts.
    fn fails(&mut self, index: usize, cause: DialCause) {
        self.failures.retain(|(other, _)| *other != index);
        self.failures.push((index, cause));
    }
}
