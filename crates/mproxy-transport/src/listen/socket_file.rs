//! The file of a Unix socket: replaced when stale, removed when done.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::addr::{Endpoint, ListenAddr};

/// Removes the socket file when dropped, if it is still the one that was bound.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode: another process may have put its own socket in this place since.
    identity: (u64, u64),
}

impl SocketFile {
    pub(super) fn bind(path: &Path, backlog: i32) -> io::Result<(UnixListener, Self)> {
        let addr = SockAddr::unix(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        match socket.bind(&addr) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path, &addr)? => {
                fs::remove_file(path)?;
                socket.bind(&addr)?;
            }
            result => result?,
        }
        let metadata = fs::symlink_metadata(path)?;
        let file = Self {
            path: path.to_owned(),
            identity: identity(&metadata),
        };
        socket.listen(backlog)?;
        Ok((socket.into(), file))
    }

    pub(super) fn listen_addr(&self) -> ListenAddr {
        ListenAddr(Endpoint::Unix(self.path.clone()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = |metadata: fs::Metadata| identity(&metadata) == self.identity;
        if fs::symlink_metadata(&self.path).is_ok_and(ours) {
            // Best effort: a file left behind is found stale by the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether the path is a socket on which nobody listens.
fn is_stale(path: &Path, addr: &SockAddr) -> io::Result<bool> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A listener whose queue is full answers "would block", which is a sign of life.
    probe.set_nonblocking(true)?;
    Ok(match probe.connect(addr) {
        Err(error) => error.kind() == io::ErrorKind::ConnectionRefused,
        Ok(()) => false,
    })
}

fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
