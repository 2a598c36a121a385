//! Names of protocols (ALPN, RFC 7301).

use super::{TlsFileError, TlsSetting, problems::Problems};

/// The names as they are sent. rustls does not check them: it writes a length of one byte, whatever the name is.
pub(super) fn alpn(names: &[String], problems: &mut Problems) -> Vec<Vec<u8>> {
    for (index, name) in names.iter().enumerate() {
        let what = match name.len() {
            0 => "the name of a protocol is empty".to_owned(),
            1..=255 => continue,
            len => format!("the name of a protocol has {len} bytes, and may have 255"),
        };
        problems.push(TlsSetting::Alpn(index), TlsFileError::general(what));
    }
    if names.iter().map(|it| it.len() + 1).sum::<usize>() > MAX_LIST {
        let what = format_args!("the names of protocols have more than {MAX_LIST} bytes together");
        problems.push(TlsSetting::Alpn(0), TlsFileError::general(what));
    }
    names.iter().map(|it| it.clone().into_bytes()).collect()
}

/// All names with their lengths, in bytes. It keeps a ClientHello with them below what servers accept.
const MAX_LIST: usize = 4096;
