//! A real Prometheus that scrapes one admin port, and what it is asked.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{interval, timeout};

use crate::tools::tool;

/// A Prometheus with a folder and a port of its own; killed, if not stopped, with this value.
#[derive(Debug)]
pub(crate) struct Prometheus {
    addr: SocketAddr,
    process: Child,
    _data: TempDir,
}

impl Prometheus {
    /// Starts a Prometheus that scrapes `/metrics` of `admin` each second.
    pub(crate) async fn scraping(admin: SocketAddr) -> Self {
        let data = TempDir::new().expect("a temporary folder can be made");
        let config = data.path().join("prometheus.yml");
        let scrape = format!(
            "global: {{scrape_interval: 1s}}\n\
             scrape_configs: [{{job_name: mproxy, static_configs: [{{targets: ['{admin}']}}]}}]\n"
        );
        fs::write(&config, scrape).expect("the temporary folder is ours");
        let mut process = Command::new(tool("prometheus"))
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                data.path().join("data").display()
            ))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program was just found");
        let log = process.stderr.take().expect("standard error is a pipe");
        let addr = timeout(PATIENCE, ready(log))
            .await
            .expect("Prometheus starts in time");
        Self {
            addr,
            process,
            _data: data,
        }
    }

    /// Ends the process and waits for it.
    pub(crate) async fn stop(mut self) {
        self.process.kill().await.expect("a child can be killed");
    }

    /// The answer to an instant query, empty if there is none yet.
    ///
    /// # Panics
    /// If the query is no PromQL.
    pub(crate) async fn query(&self, query: &str) -> Vec<Value> {
        let path = format!("/api/v1/query?query={}", percent_encoded(query));
        let answer: Value = serde_json::from_str(&get(self.addr, &path).await).expect("JSON");
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let result = answer["data"]["result"].as_array();
        result.expect("the queries are for vectors").clone()
    }

    /// Asks all queries until each has an answer; gives back those that have none in the end.
    pub(crate) async fn unanswered(&self, queries: &BTreeSet<String>) -> BTreeSet<String> {
        let mut open = queries.clone();
        // A scrape takes place once a second, and `rate` needs two of them.
        let ask_again = async {
            let mut tick = interval(Duration::from_millis(500));
            while !open.is_empty() {
                tick.tick().await;
                for query in open.clone() {
                    if !self.query(&query).await.is_empty() {
                        open.remove(&query);
                    }
                }
            }
        };
        timeout(PATIENCE, ask_again).await.ok();
        open
    }
}

/// The address that the log names, once the log says that queries are answered. Reads on after
/// that, so that the log never blocks.
async fn ready(log: impl AsyncReadExt + Unpin + Send + 'static) -> SocketAddr {
    let mut lines = BufReader::new(log).lines();
    let (mut seen, mut addr, mut ready) = (String::new(), None, false);
    while let Some(line) = lines.next_line().await.expect("the log is text") {
        if let Some((_, listening)) = line.split_once("msg=\"Listening on\" address=") {
            addr = Some(listening.parse().expect("an address follows"));
        }
        // The two come from different threads, in any order.
        ready |= line.contains("Server is ready to receive web requests");
        if let (Some(addr), true) = (addr, ready) {
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return addr;
        }
        seen.extend([line.as_str(), "\n"]);
    }
    panic!("Prometheus ended:\n{seen}");
}

/// The body of the answer to a GET, which must be a 200.
pub(crate) async fn get(addr: SocketAddr, path: &str) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(addr).await?;
        // 1.0: the end of the body is the end of the connection.
        let request = format!("GET {path} HTTP/1.0\r\nHost: {addr}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(PATIENCE, exchange)
        .await
        .expect("an answer in time");
    let answer = answer.unwrap_or_else(|error| panic!("GET {path} of {addr}: {error}"));
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1);
    // A query that is refused explains itself in a body of JSON.
    assert!(
        matches!(status, Some("200" | "400" | "422")),
        "GET {path}: {head}"
    );
    body.to_owned()
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// How long anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
