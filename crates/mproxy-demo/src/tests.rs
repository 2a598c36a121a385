//! The demo as a whole, with a stand-in for the proxy.

use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::*;

/// What the demo has said; tells when a line holds a text.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Shown>>);

#[derive(Default)]
struct Shown {
    text: String,
    awaited: Option<(&'static str, oneshot::Sender<()>)>,
}

impl Screen {
    fn awaiting(text: &'static str) -> (Self, oneshot::Receiver<()>) {
        let (tell, told) = oneshot::channel();
        let screen = Self::default();
        screen.0.lock().unwrap().awaited = Some((text, tell));
        (screen, told)
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().text.clone()
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut shown = self.0.lock().unwrap();
        shown.text.push_str(std::str::from_utf8(bytes).unwrap());
        let Shown { text, awaited } = &mut *shown;
        if let Some((_, tell)) = awaited.take_if(|(awaited, _)| text.contains(*awaited)) {
            let _ = tell.send(());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn options() -> Options {
    Options {
        port: Some(0),
        admin_port: Some(0),
        upstream: None,
        devices: true,
        tls: false,
        print_config: false,
    }
}

#[tokio::test]
async fn shows_where_everything_is_and_what_devices_do() {
    let (screen, told) = Screen::awaiting("meter   PUBLISH demo/meter/power");
    // no proxy in between: the devices talk to the broker
    let start = async |config: String| {
        let config: toml::Table = config.parse()?;
        assert_eq!(config["listeners"][0]["bind"].as_str(), Some("127.0.0.1:0"));
        let upstream = config["upstreams"]["broker"]["address"].as_str();
        let broker = upstream.and_then(|url| url.strip_prefix("mqtt://"));
        Ok(Running {
            proxy: broker.unwrap_or_default().parse()?,
            admin: None,
            finished: Box::pin(async move {
                told.await.unwrap();
                ExitCode::from(7)
            }),
        })
    };
    let code = run(options(), screen.clone(), start).await.unwrap();
    assert_eq!(code, ExitCode::from(7));
    let text = screen.text();
    assert!(text.starts_with("  broker     mqtt://127.0.0.1:"), "{text}");
    assert!(text.contains("(embedded, for this demo only)\n"), "{text}");
    assert!(
        text.contains("  meter   CONNECT 5 -> CONNACK success\n"),
        "{text}"
    );
}

#[tokio::test]
async fn a_proxy_that_does_not_start_ends_the_demo() {
    let start = async |_| Err("no".into());
    let screen = Screen::default();
    let error = run(options(), screen.clone(), start).await.err().unwrap();
    assert_eq!(error.to_string(), "cannot start the proxy");
    assert_eq!(error.source().unwrap().to_string(), "no");
    assert_eq!(screen.text(), "");
}

#[tokio::test]
async fn prints_a_configuration_to_start_from() {
    let options = Options {
        port: None,
        admin_port: Some(9999),
        upstream: Some("ws://broker/mqtt".to_owned()),
        print_config: true,
        ..options()
    };
    let start = async |_| unreachable!("only prints");
    let screen = Screen::default();
    let code = run(options, screen.clone(), start).await.unwrap();
    assert_eq!(code, ExitCode::SUCCESS);
    let config: toml::Table = screen.text().parse().unwrap();
    assert_eq!(
        config["listeners"][0]["bind"].as_str(),
        Some("127.0.0.1:1884")
    );
    assert_eq!(
        config["upstreams"]["broker"]["address"].as_str(),
        Some("ws://broker/mqtt")
    );
    assert_eq!(config["admin"]["bind"].as_str(), Some("127.0.0.1:9999"));
}

#[test]
fn a_taken_port_is_told_and_avoided_unless_it_was_asked_for() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let usual = taken.local_addr().unwrap().port();
    let mut out = Vec::new();
    let moved = choose("proxy", None, usual, &mut out).unwrap();
    assert_eq!(moved.port(), 0);
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains(&format!("port {usual} is taken")), "{text}");
    let mut out = Vec::new();
    let kept = choose("proxy", Some(usual), 1, &mut out).unwrap();
    assert_eq!((kept.port(), out.len()), (usual, 0));
}
