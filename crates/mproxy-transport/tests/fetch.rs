//! Files by HTTP.

use std::{net::SocketAddr, time::Duration};

use mproxy_transport::{
    Content, FetchError, FetchLimits, Fetched, HttpUrl, Receive, Resolver, Validators, fetch, post,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

/// Reads a request, answers with these bytes and closes; returns the request.
async fn server(answer: Vec<u8>) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serves = async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        // who has read enough closes
        let _ = stream.write_all(&answer).await;
        String::from_utf8(request).unwrap().to_lowercase()
    };
    (addr, tokio::spawn(serves))
}

const LIMITS: FetchLimits = FetchLimits {
    timeout: Duration::from_secs(20),
    max_size: 1000,
};

/// Receives what it is told, and says what it was asked.
#[derive(Default)]
struct Any {
    most: Option<usize>,
    wanted: &'static [u8],
    pause: Duration,
    allocated: usize,
}

impl Receive for Any {
    async fn room(&mut self, bytes: usize) -> Result<(), FetchError> {
        tokio::time::sleep(self.pause).await;
        self.allocated = bytes;
        match self.most {
            Some(free) if bytes > free => Err(FetchError::NoRoom { needs: bytes, free }),
            _ => Ok(()),
        }
    }

    fn judge(&self, first: &[u8], _: bool) -> Result<(), FetchError> {
        match first.starts_with(self.wanted) {
            true => Ok(()),
            false => Err(FetchError::Unwanted("something else")),
        }
    }
}

/// Fetches whatever is there.
async fn fetch_any(url: &HttpUrl, known: &Validators) -> Result<Fetched, FetchError> {
    let resolver = Resolver::system();
    fetch(url, LIMITS, &resolver, known, &mut Any::default()).await
}

async fn fetched(
    answer: impl Into<Vec<u8>>,
    known: &Validators,
) -> (Result<Fetched, FetchError>, String) {
    let (addr, request) = server(answer.into()).await;
    let url: HttpUrl = format!("http://{addr}/a.crl?key=1").parse().unwrap();
    let fetched = fetch_any(&url, known).await;
    (fetched, request.await.unwrap())
}

#[tokio::test]
async fn a_file_is_fetched_once_and_asked_about_after_that() {
    let answer =
        "HTTP/1.1 200 OK\r\nETag: \"7\"\r\nLast-Modified: Mon\r\nContent-Length: 4\r\n\r\nlist";
    let (first, request) = fetched(answer, &Validators::default()).await;
    let Ok(Fetched::Body(body, validators)) = first else {
        panic!("{first:?}");
    };
    assert_eq!(body, b"list");
    assert!(
        request.starts_with("get /a.crl?key=1 http/1.1\r\n"),
        "{request}"
    );
    assert!(request.contains("\r\nhost: 127.0.0.1:"), "{request}");
    assert!(!request.contains("if-"), "{request}");
    let unchanged = "HTTP/1.1 304 Not Modified\r\n\r\n";
    let (second, request) = fetched(unchanged, &validators).await;
    assert_eq!(second.unwrap(), Fetched::Unchanged);
    assert!(request.contains("if-none-match: \"7\"\r\n"), "{request}");
    assert!(request.contains("if-modified-since: mon\r\n"), "{request}");
    // nobody asked
    let (error, _) = fetched(unchanged, &Validators::default()).await;
    assert!(matches!(error, Err(FetchError::Redirect(_))), "{error:?}");
}

#[tokio::test]
async fn what_is_posted_arrives_and_the_answer_is_bounded_as_a_file_is() {
    let question = || Content {
        media_type: "application/ocsp-request",
        accept: "application/ocsp-response",
        body: b"what?\r\n\r\n".to_vec(),
    };
    for (answer, told) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nthis", "this"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n",
            "larger than 1000 bytes",
        ),
        (
            "HTTP/1.1 307 Elsewhere\r\nLocation: http://169.254.169.254/\r\n\r\n",
            "redirects (307",
        ),
        ("HTTP/1.1 304 Not Modified\r\n\r\n", "redirects (304"),
        ("HTTP/1.1 503 Busy\r\n\r\n", "answers 503"),
    ] {
        let (addr, request) = server(answer.into()).await;
        let url: HttpUrl = format!("http://{addr}/ocsp?key=1").parse().unwrap();
        let result = post(&url, LIMITS, &Resolver::system(), question()).await;
        let result = match result {
            Ok(body) => String::from_utf8(body).unwrap(),
            Err(error) => error.to_string(),
        };
        assert!(result.contains(told), "{result}");
        let request = request.await.unwrap();
        for part in [
            "post /ocsp?key=1 http/1.1\r\n",
            "\r\ncontent-type: application/ocsp-request\r\n",
            "\r\naccept: application/ocsp-response\r\n",
            "\r\ncontent-length: 9\r\n",
            "\r\nhost: 127.0.0.1:",
        ] {
            assert!(request.contains(part), "{request}");
        }
    }
}

#[tokio::test]
async fn what_is_no_file_is_told() {
    let chunk = format!("{:x}\r\n{}\r\n", 600, "x".repeat(600));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(100_000));
    for (answer, told) in [
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "answers 404 Not Found",
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n",
            "redirects (302 Found)",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n",
            "larger than 1000 bytes",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n",
            "HTTP failed",
        ),
        (
            &format!("{chunked}{chunk}{chunk}0\r\n\r\n"),
            "larger than 1000 bytes",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nhalf",
            "HTTP failed",
        ),
        ("\x15\x03\x01\0\x02\x02\x46", "HTTP failed"),
        (&endless, "HTTP failed"),
        ("", "HTTP failed"),
    ] {
        let (result, _) = fetched(answer, &Validators::default()).await;
        let error = result.unwrap_err().to_string();
        assert!(error.contains(told), "{error} for {answer:.60}");
    }
    let url: HttpUrl = "http://127.0.0.1:1/".parse().unwrap();
    let error = fetch_any(&url, &Validators::default()).await;
    let error = error.unwrap_err().to_string();
    assert_eq!(error, "the server cannot be reached: connection refused");
}

/// A server that sends a byte now and then has not more time than one that sends none.
#[tokio::test(start_paused = true)]
async fn a_slow_server_has_its_time_and_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let drips = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        while stream.write_all(b"1\r\nx\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let url: HttpUrl = format!("http://{addr}/").parse().unwrap();
    let error = fetch_any(&url, &Validators::default()).await;
    assert_eq!(error.unwrap_err().to_string(), "not fetched in 20 s");
    // and the connection is closed
    drips.await.unwrap();
}

/// A body is judged while it comes. A header that promises much allocates nothing.
#[tokio::test(start_paused = true)]
async fn a_body_is_received_as_far_as_it_is_wanted_and_has_room() {
    let long = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{body}");
    let whole = long(&"y".repeat(900));
    for (answer, any, told, allocated) in [
        (long("x"), Any::default(), "something else", 1),
        (
            whole.clone(),
            Any {
                most: Some(800),
                ..Any::default()
            },
            "and 800 are free",
            900,
        ),
        // longer than a fetch may last: the server waits, not the other way round
        (
            whole,
            Any {
                pause: Duration::from_secs(3600),
                ..Any::default()
            },
            "",
            900,
        ),
    ] {
        let (addr, _request) = server(answer.into()).await;
        let url: HttpUrl = format!("http://{addr}/").parse().unwrap();
        let known = Validators::default();
        let mut any = Any {
            wanted: b"y",
            ..any
        };
        let fetched = fetch(&url, LIMITS, &Resolver::system(), &known, &mut any).await;
        match fetched {
            Ok(Fetched::Body(body, _)) => assert_eq!((body.len(), told), (900, "")),
            Ok(other) => panic!("{other:?}"),
            Err(error) => assert!(error.to_string().contains(told), "{error}"),
        }
        assert!(any.allocated >= allocated, "{}", any.allocated);
        assert!(any.allocated <= 1000, "{}", any.allocated);
    }
}

/// `Duration::MAX` stands for no limit, and was a panic: no clock goes as far.
#[tokio::test]
async fn a_file_may_take_any_time() {
    let (addr, _) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx".to_vec()).await;
    let url = format!("http://{addr}/f").parse().unwrap();
    let limits = FetchLimits {
        timeout: Duration::MAX,
        ..LIMITS
    };
    let known = Validators::default();
    let fetched = fetch(
        &url,
        limits,
        &Resolver::system(),
        &known,
        &mut Any::default(),
    )
    .await;
    assert!(matches!(fetched, Ok(Fetched::Body(body, _)) if body == b"x"));
}
