//! A TCP forwarder that can be shut and opened again.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle};

use crate::port::Port;

/// Forwards TCP and nothing else, as a cable would. When it is shut, connections are refused, as if no
/// server listened; it can be opened again at the same address.
#[derive(Debug)]
pub struct Gate {
    port: Port,
    target: SocketAddr,
    accepting: Option<JoinHandle<()>>,
    carrying: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Gate {
    /// Opens one in front of a server.
    pub async fn before(target: SocketAddr) -> Self {
        let mut gate = Self {
            port: Port::reserve(),
            target,
            accepting: None,
            carrying: Arc::default(),
        };
        gate.open().await;
        gate
    }

    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Listens again.
    ///
    /// # Panics
    /// If the port is taken.
    pub async fn open(&mut self) {
        let listener = TcpListener::bind(self.addr()).await;
        let listener = listener.expect("the port is reserved");
        let (target, carrying) = (self.target, Arc::clone(&self.carrying));
        self.accepting = Some(tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let task = tokio::spawn(carry(near, target));
                lock(&carrying).push(task.abort_handle());
            }
        }));
    }

    /// Refuses new connections; open ones stay.
    pub async fn shut(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            // the listener is gone when the task is
            accepting.await.ok();
        }
    }

    /// Refuses new connections, and closes the open ones.
    pub async fn cut(&mut self) {
        self.shut().await;
        for connection in lock(&self.carrying).drain(..) {
            connection.abort();
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
    }
}

fn lock(carrying: &Mutex<Vec<AbortHandle>>) -> std::sync::MutexGuard<'_, Vec<AbortHandle>> {
    carrying.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forwards until the server closes the connection. After the client closed its side, the client still
/// gets what the server sends.
async fn carry(near: TcpStream, target: SocketAddr) {
    let Ok(far) = TcpStream::connect(target).await else {
        return;
    };
    for stream in [&near, &far] {
        stream.set_nodelay(true).expect("a TCP connection");
    }
    let (mut near_in, mut near_out) = near.into_split();
    let (mut far_in, mut far_out) = far.into_split();
    let up = async {
        if copy(&mut near_in, &mut far_out).await.is_ok() {
            far_out.shutdown().await.ok();
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = up => {}
        _ = copy(&mut far_in, &mut near_out) => {}
    }
}
