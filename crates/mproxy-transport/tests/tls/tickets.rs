//! Sessions that are resumed.

use std::{fs, sync::Arc};

use mproxy_transport::{TlsServer, TlsServerOptions};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Ca, mutual, options, shake};

/// Whether a client that was here before resumes its session at this server.
async fn resumes(server: &TlsServer, client: &Arc<ClientConfig>) -> Option<bool> {
    let (accepted, connected) = shake(server, Arc::clone(client), "broker.test").await;
    let (mut ours, info) = accepted.ok()?;
    // the tickets come behind the handshake, with the first data
    let mut connected = connected.ok()?;
    ours.write_all(b"x").await.unwrap();
    ours.flush().await.unwrap();
    connected.read_exact(&mut [0; 1]).await.unwrap();
    Some(info.is_resumed)
}

fn keys(count: usize, seed: u8) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let lines = (0..count).map(|it| BASE64_STANDARD.encode([seed + it as u8; 80]) + "\n");
    lines.collect()
}

#[tokio::test]
async fn a_session_is_resumed_also_at_a_replica_with_the_same_keys() {
    let ca = Ca::new();
    let leaf = ca.issue(&["broker.test"]);
    let file = ca.path("tickets");
    let with = |text: &str| {
        fs::write(&file, text).unwrap();
        let mut options = options(&leaf);
        options.ticket_key_file = Some(file.clone());
        TlsServer::load(&options).unwrap()
    };
    let client = Arc::new(ca.client(None));
    let first = with(&keys(3, 1));
    assert_eq!(resumes(&first, &client).await, Some(false));
    assert_eq!(resumes(&first, &client).await, Some(true));
    let replica = with(&keys(3, 1));
    assert_eq!(resumes(&replica, &client).await, Some(true));
    // the keys move on by one: what the last but one has encrypted is still read
    let rotated = with(&keys(3, 2));
    assert_eq!(resumes(&rotated, &client).await, Some(true));
    let others = with(&keys(3, 100));
    assert_eq!(resumes(&others, &client).await, Some(false));
}

#[tokio::test]
async fn without_a_file_tickets_survive_a_reload_of_the_same_trust() {
    let ca = Ca::new();
    let leaf = ca.issue(&["broker.test"]);
    let client = Arc::new(ca.client(None));
    let server = TlsServer::load(&options(&leaf)).unwrap();
    assert_eq!(resumes(&server, &client).await, Some(false));
    let renewed = TlsServer::load(&options(&ca.issue(&["broker.test"]))).unwrap();
    assert_eq!(resumes(&renewed, &client).await, Some(true));
}

/// A ticket says that its client was trusted once. It is void when that may have changed, and its
/// certificate is judged again in any case.
#[tokio::test]
async fn tickets_are_void_when_the_trust_changes() {
    let ca = Ca::new();
    let leaf = ca.issue(&["broker.test"]);
    let device = ca.issue(&["device-7"]);
    let client = Arc::new(ca.client(Some(&device)));
    let load = |change: &dyn Fn(&mut TlsServerOptions)| {
        let mut options = mutual(&ca, &leaf);
        change(&mut options);
        TlsServer::load(&options).unwrap()
    };
    let server = load(&|_| {});
    assert_eq!(resumes(&server, &client).await, Some(false));
    assert_eq!(resumes(&server, &client).await, Some(true));
    // a list that revokes nobody
    fs::write(ca.path("list"), ca.revoke(&[], true)).unwrap();
    let listed = load(&|it| it.revocation_lists.push(ca.path("list")));
    assert_eq!(resumes(&listed, &client).await, Some(false));
    assert_eq!(resumes(&listed, &client).await, Some(true));
    // another CA beside the first one
    let other = Ca::new();
    let wider = load(&|it| it.client_ca.push(other.path("ca.crt")));
    assert_eq!(resumes(&wider, &client).await, Some(false));
    // a ticket of a listener that asks nobody is worth nothing where certificates are required
    let open = TlsServer::load(&options(&leaf)).unwrap();
    let anonymous = Arc::new(ca.client(None));
    assert_eq!(resumes(&open, &anonymous).await, Some(false));
    assert_eq!(resumes(&open, &anonymous).await, Some(true));
    assert_eq!(resumes(&server, &anonymous).await, None);
}

#[test]
fn key_files_that_cannot_be_used_are_named() {
    let ca = Ca::new();
    let leaf = ca.issue(&["broker.test"]);
    let file = ca.path("tickets");
    for (text, what) in [
        (keys(2, 1), "2 keys; at least three"),
        (String::new(), "0 keys"),
        (
            keys(3, 1) + "AAAA\n",
            "key 4 has 3 bytes instead of 48 or 80",
        ),
        (keys(3, 1) + "*\n", "key 4 is not base64"),
    ] {
        fs::write(&file, &text).unwrap();
        let mut options = options(&leaf);
        options.ticket_key_file = Some(file.clone());
        let error = TlsServer::load(&options).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("tickets"), "{error}");
    }
}
