//! The configuration that the demo runs: ordinary TOML, which `--print-config` prints to start from.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What differs from one demo to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DemoConfig {
    /// Where devices connect.
    pub(super) listen: SocketAddr,
    /// Where health and metrics are served.
    pub(super) admin: SocketAddr,
    /// The broker's URL.
    pub(super) upstream: String,
    /// The listener with TLS.
    pub(super) tls: Option<DemoTls>,
}

/// A listener with TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DemoTls {
    pub(super) listen: SocketAddr,
    /// Where the certificates are.
    pub(super) dir: PathBuf,
}

impl fmt::Display for DemoTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = |name: &str| toml::Value::from(self.dir.join(name).to_string_lossy().as_ref());
        let [cert, key, ca] = ["server.crt", "server.key", "ca.crt"].map(file);
        write!(
            f,
            r##"
# Clients may show a certificate; its common name is their user name then.
[[listeners]]
name = "mqtts"
bind = "{listen}"
upstream = "broker"
chain = "default"
[listeners.tls]
cert = {cert}
key = {key}
client_auth = "optional"
client_ca = [{ca}]
username_from = "cn"
"##,
            listen = self.listen
        )
    }
}

impl fmt::Display for DemoConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // the only value that somebody else wrote
        let upstream = toml::Value::from(self.upstream.as_str());
        let Self { listen, admin, .. } = self;
        let tls = self.tls.as_ref().map(DemoTls::to_string);
        let tls = tls.unwrap_or_default();
        write!(
            f,
            r##"# What `mproxy-server demo` runs. Check it: mproxy-server check --config mproxy.toml
version = 1

[[listeners]]
name = "mqtt"
bind = "{listen}"
upstream = "broker"
chain = "default"
{tls}
[upstreams.broker]
address = {upstream}

# Asked in this order by every client's packets.
[chains.default]
layers = ["log", "acl"]

[layers.log]
type = "access-log"

[layers.acl]
type = "acl"
default = "deny"

# The first rule that matches decides.
[[layers.acl.rules]]
name = "demo/ is for everybody"
allow = ["publish", "subscribe"]
topics = ["demo/#"]

[[layers.acl.rules]]
name = "the rest is for nobody"
deny = ["publish", "subscribe"]
topics = ["#"]

[admin]
bind = "{admin}"
"##
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mproxy_config::{Choice, Environment, LayerKind, Location, Request, load};

    fn config(upstream: &str) -> DemoConfig {
        DemoConfig {
            listen: "127.0.0.1:1884".parse().unwrap(),
            admin: "127.0.0.1:0".parse().unwrap(),
            upstream: upstream.to_owned(),
            tls: None,
        }
    }

    #[test]
    fn is_toml_with_the_values_in_place() {
        let text = config("mqtt://127.0.0.1:41883").to_string();
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(
            table["listeners"][0]["bind"].as_str(),
            Some("127.0.0.1:1884")
        );
        assert_eq!(
            table["upstreams"]["broker"]["address"].as_str(),
            Some("mqtt://127.0.0.1:41883")
        );
        assert_eq!(table["admin"]["bind"].as_str(), Some("127.0.0.1:0"));
        assert_eq!(
            table["layers"]["acl"]["rules"].as_array().map(Vec::len),
            Some(2)
        );
    }

    #[test]
    fn is_accepted_without_a_warning() {
        let mut secure = config("mqtt://127.0.0.1:41883");
        secure.tls = Some(DemoTls {
            listen: "127.0.0.1:8883".parse().unwrap(),
            dir: "/tmp/with \"quotes\"".into(),
        });
        for config in [config("mqtt://127.0.0.1:41883"), secure] {
            accepted(&config.to_string());
        }
    }

    fn accepted(text: &str) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let request = Request {
            location: Location::Path(file.path().to_owned()),
            set: Vec::new(),
            listen: None,
            upstream: None,
            resolve: true,
        };
        let loaded = load(&request, &Environment::default());
        let config = loaded.config.unwrap();
        assert_eq!(loaded.report.warnings(), 0);
        let chain = &config.listeners[0].chain;
        let [_, acl] = chain.layers.as_slice() else {
            panic!("not two layers: {chain:?}");
        };
        let LayerKind::Acl(acl) = &acl.kind else {
            panic!("not an acl: {acl:?}");
        };
        let rules: Vec<_> = acl.rules.iter().map(|rule| rule.name.as_str()).collect();
        assert_eq!(rules, ["demo/ is for everybody", "the rest is for nobody"]);
        assert_eq!(acl.default.word(), "deny");
    }

    #[test]
    fn a_url_stays_a_value_whatever_it_holds() {
        for url in ["a\"b", "a'b", "a\nb = 1", "a'''\"\"\"\\"] {
            let table: toml::Table = config(url).to_string().parse().unwrap();
            assert_eq!(
                table["upstreams"]["broker"]["address"].as_str(),
                Some(url),
                "{url:?}"
            );
        }
    }
}
