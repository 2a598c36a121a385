//! What the demo prints first: where everything is, and what to try.

use std::fmt;
use std::net::SocketAddr;

use super::config::DemoTls;

/// The addresses of a running demo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Banner {
    /// The broker's URL.
    pub(super) broker: String,
    /// True for the broker that the demo brought along.
    pub(super) embedded: bool,
    /// Where the proxy listens.
    pub(super) proxy: SocketAddr,
    /// Where metrics are served, if they are.
    pub(super) admin: Option<SocketAddr>,
    /// Where it listens for TLS, if it does.
    pub(super) tls: Option<DemoTls>,
}

impl fmt::Display for Banner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { broker, proxy, .. } = self;
        let port = proxy.port();
        let remark = if self.embedded {
            "   (embedded, for this demo only)"
        } else {
            ""
        };
        writeln!(f, "  broker     {broker}{remark}")?;
        writeln!(f, "  proxy      mqtt://{proxy}")?;
        if let Some(admin) = self.admin {
            writeln!(f, "  metrics    http://{admin}/metrics")?;
        }
        writeln!(
            f,
            "  try        mosquitto_sub -p {port} -t 'demo/#' -v      \
             mosquitto_pub -p {port} -t demo/hello -m hi"
        )?;
        writeln!(
            f,
            "  denied?    mosquitto_pub -V 5 -q 1 -p {port} -t secret/x -m hi      \
             (0x87; the acl refuses it)"
        )?;
        if let Some(DemoTls { listen, dir }) = &self.tls {
            let (port, dir) = (listen.port(), dir.display());
            writeln!(
                f,
                "  TLS        mqtts://localhost:{port}   (the certificates go when the demo ends)"
            )?;
            writeln!(
                f,
                "             mosquitto_pub -h localhost -p {port} --cafile {dir}/ca.crt -t demo/hello -m hi"
            )?;
            writeln!(
                f,
                "             mosquitto_pub -h localhost -p {port} --cafile {dir}/ca.crt --cert {dir}/client.crt \\\n\
                 \x20              --key {dir}/client.key -t demo/hello -m hi      (as the user \"client\")"
            )?;
            writeln!(
                f,
                "             openssl s_client -connect localhost:{port} -CAfile {dir}/ca.crt"
            )?;
        }
        writeln!(
            f,
            "  config     mproxy-server demo --print-config > mproxy.toml"
        )?;
        writeln!(f, "  stop       Ctrl-C")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_where_and_what_to_try() {
        let mut banner = Banner {
            broker: "mqtt://127.0.0.1:41883".to_owned(),
            embedded: true,
            proxy: "127.0.0.1:1884".parse().unwrap(),
            admin: Some("127.0.0.1:9883".parse().unwrap()),
            tls: None,
        };
        let expected = "  \
  broker     mqtt://127.0.0.1:41883   (embedded, for this demo only)
  proxy      mqtt://127.0.0.1:1884
  metrics    http://127.0.0.1:9883/metrics
  try        mosquitto_sub -p 1884 -t 'demo/#' -v      mosquitto_pub -p 1884 -t demo/hello -m hi
  denied?    mosquitto_pub -V 5 -q 1 -p 1884 -t secret/x -m hi      (0x87; the acl refuses it)
  config     mproxy-server demo --print-config > mproxy.toml
  stop       Ctrl-C
";
        assert_eq!(banner.to_string(), expected);
        banner.embedded = false;
        banner.admin = None;
        let text = banner.to_string();
        assert!(text.starts_with("  broker     mqtt://127.0.0.1:41883\n"));
        assert!(!text.contains("metrics"));
        banner.tls = Some(DemoTls {
            listen: "127.0.0.1:8883".parse().unwrap(),
            dir: "/tmp/x".into(),
        });
        let text = banner.to_string();
        assert!(text.contains("-p 8883 --cafile /tmp/x/ca.crt"), "{text}");
    }
}
