//! Bans, and the scores that lead to them.

use serde::{Deserialize, Serialize};

/// Maximum entries of each list in one answer.
const MOST: usize = 1000;

/// Default number of entries.
const USUAL: usize = 100;

/// A part of the bans, and of the scores.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BanList {
    /// How many bans there are.
    pub total: usize,
    /// The bans; those that end last come first.
    pub bans: Vec<BanEntry>,
    /// Points at which a client is banned.
    pub threshold: usize,
    /// How many have points.
    pub total_scores: usize,
    /// Those with points; those with most come first.
    pub scores: Vec<ScoreEntry>,
}

/// A ban.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BanEntry {
    /// `address`, `username` or `client_id`.
    pub subject: &'static str,
    /// The address, the network or the name.
    pub value: String,
    /// `points` or `admin`.
    pub by: &'static str,
    /// The last offence, or what the operator wrote.
    pub detail: String,
    /// Seconds since it was made.
    pub age_s: f64,
    /// Seconds until it is over; `None` = until it is lifted.
    pub remaining_s: Option<f64>,
}

/// A score.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScoreEntry {
    /// `address`, `username` or `client_id`.
    pub subject: &'static str,
    /// The address, the network or the name.
    pub value: String,
    /// Its points now.
    pub points: f64,
}

/// Which part of the lists is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BanFilter {
    /// How many of each list: 100 unless given, 1000 at most.
    pub limit: Option<usize>,
    /// How many of each list are skipped.
    #[serde(default)]
    pub offset: usize,
}

/// A ban to be made. One of the first three says what is banned.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NewBan {
    /// An address or a network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// A user name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// A client identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// For how many seconds: `bans.duration` unless given, 0 = until it is lifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_s: Option<u64>,
    /// Why, for the log and the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What is banned: an address or a network, a user name, or a client identifier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BanQuery {
    /// An address or a network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// A user name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// A client identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
}

/// What is banned, by its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bannable<'a> {
    /// An address or a network.
    Address(&'a str),
    /// A user name.
    Username(&'a str),
    /// A client identifier.
    ClientId(&'a str),
}

/// Why nothing is banned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BanRefused {
    /// The text is not an address or a network.
    Invalid(String),
    /// There is no room for another ban.
    Full,
}

impl NewBan {
    /// What is to be banned; `None` if not exactly one is given.
    pub fn subject(&self) -> Option<Bannable<'_>> {
        one(&self.address, &self.username, &self.client_id)
    }
}

impl BanQuery {
    /// What is meant; `None` if not exactly one is given.
    pub fn subject(&self) -> Option<Bannable<'_>> {
        one(&self.address, &self.username, &self.client_id)
    }
}

fn one<'a>(
    address: &'a Option<String>,
    username: &'a Option<String>,
    client_id: &'a Option<String>,
) -> Option<Bannable<'a>> {
    match (address, username, client_id) {
        (Some(address), None, None) => Some(Bannable::Address(address)),
        (None, Some(name), None) => Some(Bannable::Username(name)),
        (None, None, Some(name)) => Some(Bannable::ClientId(name)),
        _ => None,
    }
}

impl BanList {
    /// Leaves the part that is wanted.
    pub(crate) fn page(mut self, filter: &BanFilter) -> Self {
        let limit = filter.limit.unwrap_or(USUAL).min(MOST);
        cut(&mut self.bans, filter.offset, limit);
        cut(&mut self.scores, filter.offset, limit);
        self
    }
}

fn cut<T>(list: &mut Vec<T>, offset: usize, limit: usize) {
    list.drain(..offset.min(list.len()));
    list.truncate(limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_a_part_of_both_lists() {
        let score = |points| ScoreEntry {
            subject: "username",
            value: "ann".to_owned(),
            points,
        };
        let all = BanList {
            total: 0,
            bans: Vec::new(),
            threshold: 100,
            total_scores: 3,
            scores: [3.0, 2.0, 1.0].map(score).into(),
        };
        let filter = BanFilter {
            limit: Some(1),
            offset: 1,
        };
        assert_eq!(all.clone().page(&filter).scores, [score(2.0)]);
        let filter = BanFilter {
            limit: None,
            offset: 4,
        };
        assert_eq!(all.page(&filter).scores, []);
    }

    #[test]
    fn a_ban_is_of_one_subject() {
        let ban = |json| serde_json::from_str::<NewBan>(json).unwrap();
        let address = ban(r#"{"address": "192.0.2.7"}"#);
        assert_eq!(address.subject(), Some(Bannable::Address("192.0.2.7")));
        assert_eq!(ban(r#"{"for_s": 5}"#).subject(), None);
        let two = ban(r#"{"username": "ann", "client_id": "c"}"#);
        assert_eq!(two.subject(), None);
    }
}
