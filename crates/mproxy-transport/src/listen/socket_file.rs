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
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if !is_stale(path, &addr)? {
                    return Err(error);
                }
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
        Endpoint::Unix(self.path.clone()).into()
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

/// Whether the socket at the path is one on which nobody listens.
///
/// # Errors
/// The file is not a socket: it must not be removed, and no program listens there that could be
/// stopped.
fn is_stale(path: &Path, addr: &SockAddr) -> io::Result<bool> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if !kind.is_socket() {
        let what = if kind.is_dir() { "folder" } else { "file" };
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("there is a {what} of this name, which is not a socket"),
        ));
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
