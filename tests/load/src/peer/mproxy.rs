//! mproxy itself, with one or another chain of hooks.

use std::fmt::Write;

use super::rig::{Recipe, Site, write};
use crate::error::Error;
use crate::net::free_port;

/// What is switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Variant {
    /// No hooks; counters are always on.
    Plain,
    /// An access control list of 100 rules, of which the last one allows.
    Acl,
    /// A topic prefix, so that every PUBLISH is rewritten.
    TopicMap,
    /// A WebSocket listener, no hooks.
    WebSocket,
    /// No hooks, and a log at level `info` with every line that there is.
    Log,
    /// Access log, access control list and topic prefix, and a WebSocket listener beside.
    Full,
    /// TLS with the clients, no hooks.
    Tls,
}

impl Variant {
    fn layers(self) -> &'static str {
        match self {
            Self::Plain | Self::WebSocket | Self::Log | Self::Tls => "",
            Self::Acl => r#""acl""#,
            Self::TopicMap => r#""map""#,
            Self::Full => r#""log", "acl", "map""#,
        }
    }
}

/// Rules of the list; one more than there are rules that do not match.
const RULES: usize = 100;

/// The name of the configuration.
pub(super) const FILE: &str = "mproxy.toml";

const PATH: &str = "/mqtt";

pub(super) fn recipe(site: &Site<'_>, variant: Variant) -> Result<Recipe, Error> {
    let path = write(site.dir, FILE, &config(site, variant, free_port()?)?)?;
    let program = site.mproxy.to_string_lossy().into_owned();
    let websocket = (variant == Variant::WebSocket).then(|| PATH.to_owned());
    Ok(Recipe {
        command: vec![program, "--config".into(), path],
        websocket,
    })
}

fn config(site: &Site<'_>, variant: Variant, admin: u16) -> Result<String, Error> {
    let mut out = format!(
        r#"version = 1

[server]
worker_threads = 2
drain_timeout = "1s"

[admin]
bind = "127.0.0.1:{admin}"

[log]
level = "{level}"
max_rate = "0/s"

[upstreams.broker]
address = "mqtt://{sink}"

[chains.default]
layers = [{layers}]
"#,
        sink = site.sink,
        level = if variant == Variant::Log {
            "info"
        } else {
            "warn"
        },
        layers = variant.layers(),
    );
    let main = if variant == Variant::WebSocket {
        "ws"
    } else {
        "mqtt"
    };
    listener(&mut out, "main", site.port, main);
    if let Some(tls) = site.tls {
        push(
            &mut out,
            format_args!(
                "[listeners.tls]\ncert = \"{}\"\nkey = \"{}\"\n",
                tls.cert, tls.key
            ),
        );
    }
    match variant {
        Variant::Plain | Variant::WebSocket | Variant::Log | Variant::Tls => {}
        Variant::Acl => acl(&mut out),
        Variant::TopicMap => map(&mut out),
        Variant::Full => {
            listener(&mut out, "beside", free_port()?, "ws");
            out.push_str("\n[layers.log]\ntype = \"access-log\"\n");
            acl(&mut out);
            map(&mut out);
        }
    }
    Ok(out)
}

fn listener(out: &mut String, name: &str, port: u16, protocol: &str) {
    push(
        out,
        format_args!(
            "\n[[listeners]]\nname = \"{name}\"\nbind = \"127.0.0.1:{port}\"\n\
             protocol = \"{protocol}\"\nupstream = \"broker\"\nchain = \"default\"\n"
        ),
    );
    if protocol == "ws" {
        push(out, format_args!("paths = [\"{PATH}\"]\n"));
    }
}

/// The rules before the last one are of the kinds that real lists have: wild cards in the middle
/// and at the end, and plain topics.
fn acl(out: &mut String) {
    out.push_str("\n[layers.acl]\ntype = \"acl\"\ndefault = \"deny\"\n");
    for rule in 0..RULES - 1 {
        let topic = match rule % 3 {
            0 => format!("plant/{rule}/+/state"),
            1 => format!("site-{rule}/#"),
            _ => format!("load/gateway-{rule:04}/up"),
        };
        push(
            out,
            format_args!(
                "\n[[layers.acl.rules]]\nname = \"rule {rule}\"\n\
                 allow = [\"publish\", \"subscribe\"]\ntopics = [\"{topic}\"]\n"
            ),
        );
    }
    out.push_str(
        "\n[[layers.acl.rules]]\nname = \"the load\"\n\
         allow = [\"publish\", \"subscribe\"]\ntopics = [\"load/#\"]\n",
    );
}

fn map(out: &mut String) {
    out.push_str("\n[layers.map]\ntype = \"topic-map\"\nprefix = \"site/a/\"\n");
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::net::Endpoint;

    fn config_of(variant: Variant) -> String {
        let sink = Endpoint::loopback(1883);
        let site = Site {
            dir: Path::new("/"),
            sink: &sink,
            mproxy: Path::new("mproxy"),
            port: 1884,
            tls: None,
            connections: 1000,
        };
        config(&site, variant, 9883).unwrap()
    }

    #[test]
    fn the_list_has_its_rules_and_the_last_one_allows() {
        let text = config_of(Variant::Acl);
        assert_eq!(text.matches("[[layers.acl.rules]]").count(), RULES);
        assert!(text.trim_end().ends_with("topics = [\"load/#\"]"));
        assert!(text.contains("layers = [\"acl\"]"));
    }

    #[test]
    fn each_variant_has_what_it_says() {
        let plain = config_of(Variant::Plain);
        assert!(plain.contains("layers = []") && !plain.contains("[layers."));
        assert!(plain.contains("address = \"mqtt://127.0.0.1:1883\""));
        let ws = config_of(Variant::WebSocket);
        assert!(ws.contains("protocol = \"ws\"\n") && !ws.contains("protocol = \"mqtt\""));
        assert!(plain.contains("level = \"warn\""));
        let log = config_of(Variant::Log);
        assert!(log.contains("level = \"info\"") && log.contains("max_rate = \"0/s\""));
        let full = config_of(Variant::Full);
        for part in [
            "[layers.log]",
            "[layers.acl]",
            "[layers.map]",
            "\"ws\"",
            "\"mqtt\"",
        ] {
            assert!(full.contains(part), "{part}");
        }
    }
}
