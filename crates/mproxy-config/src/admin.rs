//! `[admin]`: health, metrics and version over HTTP.

use crate::context::Context;
use crate::places::Places;
use crate::scalar::{AdminBind, FilePath};
use crate::section::{Setting, section};
use std::net::SocketAddr;
use std::path::PathBuf;

section! {
    /// Health, metrics and version over HTTP.
    Admin, AdminKeys in "[admin]", reload "at once" {
        /// Address of /livez, /readyz, /metrics and /version. In a pod: "0.0.0.0:9883". "" = off.
        bind: Option<SocketAddr> as Setting<AdminBind> = "127.0.0.1:9883",
            restart "the admin port is opened at start";
        /// File with the bearer token for the paths under /api. "" = callers from this host only.
        ///
        /// The paths under /api reload the configuration, and show and end connections. With a token,
        /// every caller must send it, those from this host too.
        token_file: Option<PathBuf> as Setting<FilePath> = "";
    }
    also {
        /// Where `token_file` was written.
        places: Places<&'static str>;
    }
    reserved {
        "inspector": "remove it";
        "payloads": "remove it; payloads are never shown";
        "tap_buffer": "remove it";
    }
}

/// Checks `[admin]`.
pub(crate) fn admin(cx: &mut Context, keys: &AdminKeys) -> Admin {
    let errors = cx.report.errors();
    let mut places = Places::default();
    places.insert("token_file", keys.token_file.span());
    let mut admin = Admin::read(cx, keys, places);
    if cx.report.errors() > errors {
        // A wrong address is none, so that nothing is said about the default in its place.
        admin.bind = None;
    }
    if let Some(file) = &admin.token_file {
        cx.reads(file);
    }
    admin
}
