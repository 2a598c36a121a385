//! nginx's stream module.

use std::path::Path;
use std::process::Command;

use super::rig::{Recipe, Site, find, write};
use crate::error::Error;

/// Where distributions put the module when it is not part of the program.
const MODULES: [&str; 3] = [
    "/usr/lib/nginx/modules/ngx_stream_module.so",
    "/usr/lib64/nginx/modules/ngx_stream_module.so",
    "/usr/share/nginx/modules/ngx_stream_module.so",
];

/// What is not installed.
pub(super) fn missing() -> Option<&'static str> {
    let Some(program) = find("nginx") else {
        return Some("not installed");
    };
    (!is_built_in(&program) && module().is_none()).then_some("its stream module is not installed")
}

fn module() -> Option<&'static str> {
    MODULES.into_iter().find(|path| Path::new(path).is_file())
}

/// Whether `nginx -V` says that the module needs no loading.
fn is_built_in(program: &Path) -> bool {
    let Ok(output) = Command::new(program).arg("-V").output() else {
        return false;
    };
    let text = String::from_utf8_lossy(&output.stderr);
    text.split_ascii_whitespace()
        .any(|word| word == "--with-stream")
}

pub(super) fn recipe(site: &Site<'_>) -> Result<Recipe, Error> {
    let program = find("nginx").unwrap_or_else(|| "nginx".into());
    let load = if is_built_in(&program) {
        None
    } else {
        module()
    };
    let path = write(site.dir, "nginx.conf", &config(site, load))?;
    let dir = site.dir.to_string_lossy();
    let command = vec![
        program.to_string_lossy().into_owned(),
        "-e".into(),
        "stderr".into(),
        "-p".into(),
        dir.into_owned(),
        "-c".into(),
        path,
    ];
    Ok(Recipe {
        command,
        websocket: None,
    })
}

fn config(site: &Site<'_>, module: Option<&str>) -> String {
    let load = module
        .map(|path| format!("load_module {path};\n"))
        .unwrap_or_default();
    // nginx before 1.23 does not speak TLS 1.3 by itself.
    let files = site.tls.map(|tls| {
        format!(
            "        ssl_certificate {};\n        ssl_certificate_key {};\n        \
             ssl_protocols TLSv1.2 TLSv1.3;\n",
            tls.cert, tls.key
        )
    });
    format!(
        "{load}daemon off;
worker_processes 2;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections {connections}; }}
stream {{
    server {{
        listen 127.0.0.1:{port}{ssl} backlog=4096;
{files}        proxy_pass {sink};
        proxy_timeout 1h;
    }}
}}
",
        port = site.port,
        ssl = if site.tls.is_some() { " ssl" } else { "" },
        files = files.unwrap_or_default(),
        sink = site.sink,
        // Any worker may get all of them, and nginx counts both sides.
        connections = 2 * site.connections,
    )
}
