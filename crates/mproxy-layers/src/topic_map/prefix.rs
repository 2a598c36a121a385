//! The map itself, without any packets.

use std::sync::Arc;

use mproxy_codec::topic::{MAX_TOPIC_LENGTH, TopicError, TopicFilter, TopicName};
use thiserror::Error;

use crate::{
    identity::Values,
    template::{Template, TemplateError},
};

/// A prefix that may differ from client to client. Cloning is cheap.
///
/// See the [module documentation](super) for an example.
#[derive(Debug, Clone)]
pub struct PrefixMap {
    prefix: Arc<Template>,
}

impl PrefixMap {
    /// Parses a prefix, in which `${client_id}` and `${username}` stand for those of the client.
    ///
    /// # Errors
    ///
    /// The prefix is not a topic name that ends with `/`, begins with `$`, or has an unknown
    /// placeholder.
    pub fn new(prefix: &str) -> Result<Self, PrefixError> {
        let template = Template::parse(prefix, true)?;
        let sample = template.sample();
        let name = TopicName::new(&sample)?;
        if name.is_dollar() {
            return Err(PrefixError::Dollar);
        }
        // Otherwise the first level of a client's topic would be glued to the last one of the
        // prefix.
        if !sample.ends_with('/') {
            return Err(PrefixError::NoSlash);
        }
        Ok(Self {
            prefix: Arc::new(template),
        })
    }

    /// Returns the map of one client.
    ///
    /// # Errors
    ///
    /// The client has no usable value for a placeholder; it must not be let in.
    pub fn for_client(
        &self,
        client_id: &str,
        username: Option<&str>,
    ) -> Result<SessionMap, UnusableName> {
        let prefix = self
            .prefix
            .fill(&Values::new(client_id, username))
            .ok_or(UnusableName)?;
        Ok(SessionMap {
            prefix: prefix.into(),
        })
    }
}

/// Why a text is not a prefix.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PrefixError {
    /// A placeholder is not understood.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The prefix is not a topic name.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The prefix begins with `$`.
    #[error("prefix begins with `$`, which is the broker's own")]
    Dollar,
    /// The prefix does not end with `/`.
    #[error("prefix does not end with `/`")]
    NoSlash,
}

/// A client that cannot be given a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("client has no client id or user name that can stand in the topic prefix")]
pub struct UnusableName;

/// The prefix of one client. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct SessionMap {
    prefix: Arc<str>,
}

/// Why a topic cannot be mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MapError {
    /// The topic begins with `$`.
    #[error("topic begins with `$`, which has no place behind a prefix")]
    Dollar,
    /// The topic is not valid, or would be too long behind the prefix.
    #[error(transparent)]
    Topic(#[from] TopicError),
}

impl SessionMap {
    /// Returns the prefix.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the broker's name for a topic that the client names.
    ///
    /// # Errors
    ///
    /// The name begins with `$`, or would be too long.
    pub fn map_name(&self, name: &str) -> Result<String, MapError> {
        if name.starts_with('$') {
            return Err(MapError::Dollar);
        }
        if self.prefix.len() + name.len() > MAX_TOPIC_LENGTH {
            return Err(TopicError::TooLong.into());
        }
        Ok([&self.prefix, name].concat())
    }

    /// Returns the client's name for a topic of the broker, `None` if the client must not see it.
    pub fn unmap_name<'a>(&self, name: &'a str) -> Option<&'a str> {
        let name = name.strip_prefix(&*self.prefix)?;
        (!name.is_empty() && !name.starts_with('$')).then_some(name)
    }

    /// Returns the broker's filter for one that the client subscribes to or unsubscribes from.
    ///
    /// # Errors
    ///
    /// The filter is not valid, begins with `$` (after `$share/group/`), or would be too long.
    pub fn map_filter(&self, filter: &str) -> Result<String, MapError> {
        let filter = TopicFilter::new(filter)?;
        let Some(shared) = filter.shared()? else {
            return self.map_name(filter.as_str());
        };
        let inner = self.map_name(shared.filter().as_str())?;
        Ok(shared.with_filter(TopicFilter::new(&inner)?)?.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> SessionMap {
        let map = PrefixMap::new("t/${username}/").expect("a valid prefix");
        map.for_client("c", Some("u")).expect("a usable name")
    }

    #[test]
    fn names_go_there_and_back() {
        for name in ["a", "a/b", "/", "/a", "a/", "t/u/a", "é"] {
            let mapped = map().map_name(name).expect("a mapped name");
            assert_eq!(mapped, format!("t/u/{name}"));
            assert_eq!(map().unmap_name(&mapped), Some(name));
        }
    }

    #[test]
    fn what_is_not_the_clients_does_not_come_back() {
        for name in [
            "t/u",
            "t/u/",
            "t/v/a",
            "t/uu/a",
            "T/u/a",
            "a",
            "",
            "t/u/$SYS/a",
            "t/u/$",
        ] {
            assert_eq!(map().unmap_name(name), None, "{name}");
        }
    }

    #[test]
    fn filters_keep_their_wildcards_and_groups() {
        for (filter, mapped) in [
            ("#", "t/u/#"),
            ("+/a", "t/u/+/a"),
            ("a", "t/u/a"),
            ("/", "t/u//"),
            ("$share/g/#", "$share/g/t/u/#"),
            ("$share/g//a", "$share/g/t/u//a"),
        ] {
            assert_eq!(map().map_filter(filter).as_deref(), Ok(mapped));
        }
    }

    #[test]
    fn dollar_topics_have_no_place_behind_a_prefix() {
        for topic in ["$SYS/a", "$", "$queue/a", "$share", "$exclusive/a"] {
            assert_eq!(map().map_name(topic), Err(MapError::Dollar), "{topic}");
            assert_eq!(map().map_filter(topic), Err(MapError::Dollar), "{topic}");
        }
        assert_eq!(map().map_name("$share/g/a"), Err(MapError::Dollar));
        assert_eq!(map().map_filter("$share/g/$SYS/a"), Err(MapError::Dollar));
        assert_eq!(
            map().map_filter("$share/g/$share/h/a"),
            Err(MapError::Dollar)
        );
        assert_eq!(
            map().map_filter("$share/g"),
            Err(TopicError::ShareFilterMissing.into())
        );
        assert_eq!(
            map().map_filter("a#"),
            Err(TopicError::MultiLevelWildcard.into())
        );
    }

    #[test]
    fn what_would_be_too_long_is_refused() {
        let longest = "a".repeat(MAX_TOPIC_LENGTH - "t/u/".len());
        assert_eq!(
            map().map_name(&longest).map(|name| name.len()),
            Ok(MAX_TOPIC_LENGTH)
        );
        assert_eq!(
            map().map_filter(&longest).map(|name| name.len()),
            Ok(MAX_TOPIC_LENGTH)
        );
        assert_eq!(
            map().map_name(&format!("{longest}a")),
            Err(TopicError::TooLong.into())
        );
        let shared = format!(
            "$share/g/{}",
            "a".repeat(MAX_TOPIC_LENGTH - "$share/g/".len())
        );
        assert_eq!(map().map_filter(&shared), Err(TopicError::TooLong.into()));
    }

    #[test]
    fn clients_without_a_usable_name_get_no_map() {
        let map = PrefixMap::new("${username}/").expect("a valid prefix");
        for username in [
            None,
            Some(""),
            Some("a/b"),
            Some("+"),
            Some("#"),
            Some("a\0"),
            Some("$SYS"),
        ] {
            assert_eq!(
                map.for_client("c", username).err(),
                Some(UnusableName),
                "{username:?}"
            );
        }
        assert!(map.for_client("", Some("u")).is_ok());
    }

    #[test]
    fn prefixes_that_cannot_work_are_refused() {
        let error = |prefix| PrefixMap::new(prefix).err();
        assert_eq!(error(""), Some(TopicError::Empty.into()));
        assert_eq!(error("a"), Some(PrefixError::NoSlash));
        assert_eq!(error("a/${client_id}"), Some(PrefixError::NoSlash));
        assert_eq!(error("a/+/"), Some(TopicError::WildcardInName.into()));
        assert_eq!(error("$tenants/"), Some(PrefixError::Dollar));
        assert_eq!(
            error("a/${id}/"),
            Some(TemplateError::Unknown("id".to_owned()).into())
        );
        assert_eq!(error("/"), None);
    }
}
