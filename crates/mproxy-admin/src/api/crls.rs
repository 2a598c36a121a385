//! Revocation lists (CRLs).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

/// A revocation list that the configuration names: one that is fetched, or the lists in a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Crl {
    /// The URL without its query, or the path of the file; of a directory, that of a file in it.
    pub source: String,
    /// The tables that name it: `listeners.mqtts`, `upstreams.broker`. Without any, the URL was replaced, and
    /// the list stands in until the lists of the new URLs are there.
    pub used_by: Vec<String>,
    /// Whether it can be used.
    pub state: CrlState,
    /// When it was made; of a file, the list in it that expires first.
    #[serde(serialize_with = "time")]
    pub this_update: Option<SystemTime>,
    /// When it expires.
    #[serde(serialize_with = "time")]
    pub next_update: Option<SystemTime>,
    /// `None` for a file.
    pub fetch: Option<CrlFetch>,
}

/// Whether a list can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CrlState {
    /// It says who was revoked.
    Valid,
    /// A newer one should be there.
    Expired,
    /// It was not fetched yet.
    Missing,
}

/// What came of fetching a list.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CrlFetch {
    /// Fetches that brought the list, or said that it is the one in use.
    pub successes: u64,
    /// Fetches that did not.
    pub failures: u64,
    /// Seconds since the last one ended; `None` before that.
    pub age_s: Option<f64>,
    /// Seconds until the next one; `None` while one is under way.
    pub remaining_s: Option<f64>,
    /// Why the list of the last one is not in use; `None` if it is.
    pub error: Option<String>,
}

/// An answer with lists.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Crls {
    pub(crate) crls: Vec<Crl>,
}

impl Crl {
    /// A list that was made at the first of these times and expires at the second, in seconds since 1970; `None`
    /// if it is not there.
    #[must_use]
    pub fn new(source: String, used_by: Vec<String>, updates: Option<[i64; 2]>) -> Self {
        let [this_update, next_update] = match updates {
            Some(updates) => updates.map(at),
            None => [None; 2],
        };
        let state = match (updates, next_update) {
            (None, _) => CrlState::Missing,
            (_, Some(until)) if until > SystemTime::now() => CrlState::Valid,
            _ => CrlState::Expired,
        };
        Self {
            source,
            used_by,
            state,
            this_update,
            next_update,
            fetch: None,
        }
    }

    /// One that is fetched.
    #[must_use]
    pub fn fetched(self, fetch: CrlFetch) -> Self {
        Self {
            fetch: Some(fetch),
            ..self
        }
    }
}

/// The last second of the year 9999, after which neither RFC 5280 nor RFC 3339 has a time.
const LAST: u64 = 253_402_300_799;

fn at(seconds: i64) -> Option<SystemTime> {
    let seconds = u64::try_from(seconds).ok()?.min(LAST);
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// As RFC 3339 writes it.
fn time<S: Serializer>(time: &Option<SystemTime>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => to.collect_str(&humantime::format_rfc3339_seconds(*time)),
        None => to.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_from_when_to_when_it_is_valid() {
        let state = |updates| Crl::new("ca.crl".to_owned(), Vec::new(), updates).state;
        assert_eq!(state(None), CrlState::Missing);
        assert_eq!(state(Some([0, 1])), CrlState::Expired);
        assert_eq!(state(Some([-2, -1])), CrlState::Expired);
        let used_by = vec!["listeners.mqtts".to_owned()];
        let valid = Crl::new("ca.crl".to_owned(), used_by, Some([0, 7_258_118_400]));
        assert_eq!(
            serde_json::to_value(&valid).unwrap(),
            serde_json::json!({
                "source": "ca.crl", "used_by": ["listeners.mqtts"], "state": "valid",
                "this_update": "1970-01-01T00:00:00Z", "next_update": "2200-01-01T00:00:00Z",
                "fetch": null,
            })
        );
        let forever = Crl::new(String::new(), Vec::new(), Some([0, i64::MAX]));
        let forever = serde_json::to_value(&forever).unwrap();
        assert_eq!(forever["next_update"], "9999-12-31T23:59:59Z");
    }
}
