//! The memory of an idle session.

use super::{Live, Session};
use crate::hook::PacketService;

impl Session {
    /// Bytes that a running session of these types takes on the heap, in one allocation, in addition to
    /// what `C` and `S` own: with thousands of idle clients, this is most of the memory. Allocators round
    /// it up, jemalloc to 512 or 640.
    ///
    /// ```
    /// use mproxy_session::{Forward, Session};
    /// use tokio::net::TcpStream;
    ///
    /// type Stage = (); // the CONNECT stage: a service without state
    /// assert!(Session::live_size::<TcpStream, TcpStream, Forward, Forward, Stage>() <= 512);
    /// ```
    #[must_use]
    pub const fn live_size<C, S, U: PacketService, D: PacketService, A>() -> usize {
        size_of::<Live<C, S, U, D, A>>()
    }
}
