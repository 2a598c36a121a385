//! Keys of the configuration language that this version cannot do.
//!
//! They are errors, never ignored: somebody who writes `[listeners.tls]` relies on it.

use super::Section;

/// What is said about a key that does not exist yet, or `None` when there is none of that
/// name at all.
pub(super) fn reserved(section: Section, key: &str) -> Option<&'static str> {
    RESERVED
        .iter()
        .find(|(place, name, _)| *place == section && *name == key)
        .map(|(_, _, instead)| *instead)
}

/// What to write instead of a key that has another name now, with the value that it had.
pub(super) fn renamed(section: Section, key: &str, value: Option<&str>) -> Option<String> {
    RENAMED
        .iter()
        .find(|(place, name, _)| *place == section && *name == key)
        .map(|(.., instead)| instead.replace("{}", value.unwrap_or("...")))
}

/// True for a layer type that does not exist yet.
pub(super) fn reserved_type(name: &str) -> bool {
    LAYER_TYPES.contains(&name)
}

/// Section, key, and how it is written now.
const RENAMED: &[(Section, &str, &str)] = &[(Section::Listener, "path", "paths = [\"{}\"]")];

/// Section, key, and what to do instead.
const RESERVED: &[(Section, &str, &str)] = &[
    (
        Section::Root,
        "metrics",
        "metrics are served at /metrics of the admin port",
    ),
    (Section::Root, "otel", "remove it"),
    (
        Section::Listener,
        "tls",
        "let something in front end TLS, and bind to loopback",
    ),
    (
        Section::Listener,
        "proxy_protocol",
        "turn it off in the load balancer",
    ),
    (
        Section::Listener,
        "trust_forwarded_for",
        "remove it; it is never trusted",
    ),
    (
        Section::Limits,
        "idle_buffer",
        "remove it; an idle connection keeps no buffer",
    ),
    (
        Section::Upstream,
        "send_proxy_protocol",
        "turn it off in the broker",
    ),
    (
        Section::Upstream,
        "credentials",
        "remove it; credentials are passed on",
    ),
    (
        Section::Upstream,
        "health",
        "remove it; /readyz of the admin port looks at the broker",
    ),
    (
        Section::AccessLog,
        "output",
        "remove it; lines go to the log of the process",
    ),
    (Section::AccessLog, "format", "set `log.format`"),
    (
        Section::AccessLog,
        "payload",
        "remove it; payloads are never logged",
    ),
    (
        Section::AccessLog,
        "redact",
        "remove it; passwords and properties are never logged",
    ),
    (
        Section::Acl,
        "files",
        "write the rules here, as [[layers.NAME.rules]]",
    ),
    (Section::Acl, "recheck_on_reload", "remove it"),
    (Section::Rule, "when", "leave out the rule"),
    (Section::Admin, "token_file", "bind it to loopback"),
    (Section::Admin, "inspector", "remove it"),
    (
        Section::Admin,
        "payloads",
        "remove it; payloads are never shown",
    ),
    (Section::Admin, "tap_buffer", "remove it"),
];

const LAYER_TYPES: &[&str] = &[
    "auth",
    "cel",
    "dynsec",
    "exhook",
    "opentelemetry",
    "quota",
    "rate-limit",
    "schema",
    "topic-rewrite",
    "webhook",
];
