//! `healthcheck`: one HTTP request to the admin port.

use super::args::HealthcheckArgs;
use super::streams::say;
use crate::exit::Exit;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

/// The most bytes of an answer that are read.
const ANSWER_MAX: u64 = 64 << 10;

/// Exits 0 when the proxy says that it is ready, 1 otherwise; Docker reserves 2.
pub(super) fn healthcheck(args: &HealthcheckArgs) -> ExitCode {
    match ask(&args.url, args.timeout) {
        Ok(answer) if is_ok(&answer) => Exit::Success.into(),
        Ok(answer) => {
            let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            let status = answer.lines().next().unwrap_or("no answer");
            say(format_args!("not ready: {status}\n{}\n", body.trim_end()));
            Exit::Failure.into()
        }
        Err(error) => {
            say(format_args!("not ready: {}: {error}\n", args.url));
            Exit::Failure.into()
        }
    }
}

fn ask(url: &str, timeout: Duration) -> io::Result<String> {
    let invalid = |why| io::Error::new(io::ErrorKind::InvalidInput, why);
    let rest = url
        .strip_prefix("http://")
        .ok_or_else(|| invalid("expected http://HOST:PORT"))?;
    let authority = rest.trim_end_matches('/');
    if authority.contains('/') {
        return Err(invalid("expected http://HOST:PORT, without a path"));
    }
    let address = authority
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| invalid("the name has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    write!(
        stream,
        "GET /readyz?verbose HTTP/1.0\r\nHost: {authority}\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn is_ok(answer: &str) -> bool {
    let mut words = answer.split_ascii_whitespace();
    let http = words.next().is_some_and(|it| it.starts_with("HTTP/1."));
    http && words.next() == Some("200")
}
