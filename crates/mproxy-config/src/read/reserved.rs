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

/// How a key that has another name now is written, with the value that it had, and what it means.
pub(super) fn renamed(
    section: Section,
    key: &str,
    value: Option<&str>,
) -> Option<(String, &'static str)> {
    RENAMED
        .iter()
        .find(|(place, name, ..)| *place == section && *name == key)
        .map(|(.., now, note)| (now.replace("{}", value.unwrap_or("...")), *note))
}

/// True for a layer type that does not exist yet.
pub(super) fn reserved_type(name: &str) -> bool {
    LAYER_TYPES.contains(&name)
}

/// Section, key, how it is written now, and what it means.
const RENAMED: &[(Section, &str, &str, &str)] = &[
    (
        Section::Listener,
        "path",
        "paths = [\"{}\"]",
        "without the key any path is served",
    ),
    (
        Section::Limits,
        "max_buffered",
        "max_replies = \"{}\"",
        "it limits mproxy's own answers that wait for a client, not what is forwarded",
    ),
    (
        Section::Limits,
        "max_connections_per_ipv6_prefix",
        "ipv6_prefix = 64",
        "it is the prefix alone: `max_connections_per_ip` and all other limits per address count by it",
    ),
];

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
    (
        Section::Acl,
        "super",
        "write a rule that allows `topics = [\"#\"]`, and says who with `usernames`",
    ),
    (Section::Rule, "user", "write `usernames = [\"...\"]`"),
    (Section::Rule, "clients", "write `client_ids = [\"...\"]`"),
    (
        Section::Rule,
        "when",
        "say who: `usernames`, `client_ids`, `anonymous`, `listeners` or `networks`",
    ),
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
