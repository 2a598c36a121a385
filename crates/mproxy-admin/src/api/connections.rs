//! The list of client connections.

use std::cmp::Reverse;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

/// Maximum connections in one answer.
const MOST: usize = 1000;

/// Default number of connections in an answer.
const USUAL: usize = 100;

/// A client connection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Connection {
    /// Its number, unique in this process.
    pub id: u64,
    /// The name of its listener.
    pub listener: String,
    /// The address of the client; `None` on a Unix socket.
    pub peer: Option<String>,
    /// The client identifier, as the broker knows it.
    pub client_id: String,
    /// The user name, as the broker knows it.
    pub username: Option<String>,
    /// `3.1`, `3.1.1` or `5`.
    pub version: &'static str,
    /// Seconds of Keep Alive; 0 = none.
    pub keep_alive_s: u16,
    /// Whether the client asked for a new session.
    pub clean_start: bool,
    /// Seconds since its CONNECT was admitted.
    pub age_s: f64,
    /// Packets read from the client.
    pub packets_to_server: u64,
    /// Packets read from the broker.
    pub packets_to_client: u64,
    /// Bytes read from the client.
    pub bytes_to_server: u64,
    /// Bytes read from the broker.
    pub bytes_to_client: u64,
}

/// Which connections are listed, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// A client identifier; `*` is any text, `?` any character.
    pub client: Option<String>,
    /// A user name, likewise.
    pub username: Option<String>,
    /// An address without a port.
    pub ip: Option<IpAddr>,
    /// The name of a listener.
    pub listener: Option<String>,
    /// What comes first.
    #[serde(default)]
    pub sort: Sort,
    /// How many: 100 unless given, 1000 at most.
    pub limit: Option<usize>,
    /// How many are skipped.
    #[serde(default)]
    pub offset: usize,
}

/// What comes first in a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sort {
    /// The oldest connection.
    #[default]
    Age,
    /// The one with most bytes transferred.
    Bytes,
    /// Client identifiers in alphabetical order.
    Client,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page {
    /// How many connections match the filter.
    pub total: usize,
    /// How many were skipped.
    pub offset: usize,
    /// Maximum number of connections in this part.
    pub limit: usize,
    /// The connections.
    pub connections: Vec<Connection>,
}

/// How a connection is ended.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Disconnect {
    /// The reason code of the DISCONNECT to an MQTT 5 client: 0x80 to 0xFF, one that a server
    /// may send. 152 (0x98, administrative action) by default.
    #[serde(default = "administrative_action")]
    pub reason_code: u8,
    /// For how many seconds its client identifier is banned; 0 = until the ban is lifted, `None` = not at
    /// all.
    #[serde(default)]
    pub ban_s: Option<u64>,
}

const fn administrative_action() -> u8 {
    0x98
}

impl Default for Disconnect {
    fn default() -> Self {
        Self {
            reason_code: administrative_action(),
            ban_s: None,
        }
    }
}

impl Filter {
    /// Selects from all connections.
    pub(crate) fn page(&self, mut connections: Vec<Connection>) -> Page {
        let client = self.client.as_deref().map(WildMatch::new);
        let username = self.username.as_deref().map(WildMatch::new);
        let ip = self.ip.map(|ip| ip.to_string());
        connections.retain(|it| {
            let is_listener = |name: &String| *name == it.listener;
            let is_client = |pattern: &WildMatch| pattern.matches(&it.client_id);
            let is_user =
                |pattern: &WildMatch| pattern.matches(it.username.as_deref().unwrap_or(""));
            let is_ip = |ip: &String| it.peer.as_deref().is_some_and(|peer| is_at(peer, ip));
            self.listener.as_ref().is_none_or(is_listener)
                && client.as_ref().is_none_or(is_client)
                && username.as_ref().is_none_or(is_user)
                && ip.as_ref().is_none_or(is_ip)
        });
        match self.sort {
            Sort::Age => connections.sort_unstable_by_key(|it| it.id),
            Sort::Bytes => connections.sort_unstable_by_key(|it| {
                Reverse((it.bytes_to_server.saturating_add(it.bytes_to_client), it.id))
            }),
            Sort::Client => {
                connections.sort_unstable_by(|a, b| (&a.client_id, a.id).cmp(&(&b.client_id, b.id)))
            }
        }
        let limit = self.limit.unwrap_or(USUAL).min(MOST);
        Page {
            total: connections.len(),
            offset: self.offset,
            limit,
            connections: connections
                .into_iter()
                .skip(self.offset)
                .take(limit)
                .collect(),
        }
    }
}

/// Whether `peer`, an address with a port, has this address.
fn is_at(peer: &str, ip: &str) -> bool {
    let address = peer.rsplit_once(':').map_or(peer, |(address, _)| address);
    address.trim_matches(['[', ']']) == ip
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(id: u64, client_id: &str, peer: &str) -> Connection {
        Connection {
            id,
            listener: "mqtt".to_owned(),
            peer: Some(peer.to_owned()),
            client_id: client_id.to_owned(),
            username: None,
            version: "5",
            keep_alive_s: 60,
            clean_start: true,
            age_s: 1.0,
            packets_to_server: 0,
            packets_to_client: 0,
            bytes_to_server: id * 10,
            bytes_to_client: 0,
        }
    }

    fn ids(filter: &Filter) -> Vec<u64> {
        let all = vec![
            connection(2, "sensor-1", "10.0.0.1:1"),
            connection(1, "sensor-2", "[fd00::1]:2"),
            connection(3, "gateway", "10.0.0.10:1"),
        ];
        let page = filter.page(all);
        page.connections.iter().map(|it| it.id).collect()
    }

    #[test]
    fn a_filter_picks_what_it_names() {
        let filter = Filter::default();
        assert_eq!(ids(&filter), [1, 2, 3]);
        let client = Some("sensor-?".to_owned());
        assert_eq!(
            ids(&Filter {
                client,
                ..Filter::default()
            }),
            [1, 2]
        );
        for (ip, found) in [("10.0.0.1", 2), ("fd00::1", 1)] {
            let ip = Some(ip.parse().unwrap());
            assert_eq!(
                ids(&Filter {
                    ip,
                    ..Filter::default()
                }),
                [found]
            );
        }
        let listener = Some("ws".to_owned());
        assert!(
            ids(&Filter {
                listener,
                ..Filter::default()
            })
            .is_empty()
        );
        // a missing user name does not match
        let username = Some("a*".to_owned());
        assert!(
            ids(&Filter {
                username,
                ..Filter::default()
            })
            .is_empty()
        );
    }

    #[test]
    fn a_page_is_a_part_of_a_sorted_list() {
        let filter = Filter {
            sort: Sort::Bytes,
            limit: Some(1),
            offset: 1,
            ..Filter::default()
        };
        assert_eq!(ids(&filter), [2]);
        let filter = Filter {
            sort: Sort::Client,
            limit: Some(1_000_000),
            ..Filter::default()
        };
        assert_eq!(ids(&filter), [3, 2, 1]);
        assert_eq!(filter.page(Vec::new()).limit, MOST);
    }
}
