//! Which paths a listener serves.

/// Paths as they are written: each exact, or a prefix of whole levels with `/*` at its end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Paths(Box<[Box<str>]>);

impl Paths {
    pub(super) fn new<I>(paths: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        Self(paths.into_iter().map(|it| it.into().into()).collect())
    }

    /// Whether a request for this path is served. It is compared as it came: a percent-encoded
    /// letter is not the letter.
    pub(super) fn serve(&self, path: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| matches(pattern, path))
    }

    /// What to tell a client that does not know where to connect.
    pub(super) fn hint(&self) -> String {
        match &*self.0 {
            [] => "to any path".to_owned(),
            [only] => format!("to the path {only}"),
            [first, ..] => format!("to one of its paths, such as {first}"),
        }
    }

    /// A path that is served, for an example.
    pub(super) fn example(&self) -> String {
        match self.0.first() {
            None => "/mqtt".to_owned(),
            Some(path) => match path.strip_suffix('*') {
                Some(prefix) if prefix.ends_with('/') => format!("{prefix}NAME"),
                _ => path.to_string(),
            },
        }
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) if prefix.ends_with('/') => path.starts_with(prefix),
        _ => path == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_or_a_prefix_of_whole_levels() {
        for (patterns, served, refused) in [
            (&[][..], &["/", "/mqtt", "/a/b", "", "*"][..], &[][..]),
            (&["/mqtt"], &["/mqtt"], &["/", "/mqtt/", "/mqttx", "/MQTT"]),
            (
                &["/tenant/*"],
                &["/tenant/x", "/tenant/x/y", "/tenant/"],
                &["/tenant", "/tenants/x", "/", "/x/tenant/x", "/%74enant/x"],
            ),
            (&["/*"], &["/", "/a"], &["", "*"]),
            // A star elsewhere is only a star.
            (&["/a*", "/*/b"], &["/a*", "/*/b"], &["/ab", "/x/b"]),
            (&["/a", "/b/*"], &["/a", "/b/c"], &["/c"]),
        ] {
            let paths = Paths::new(patterns.iter().copied());
            for path in served {
                assert!(paths.serve(path), "{patterns:?} {path}");
            }
            for path in refused {
                assert!(!paths.serve(path), "{patterns:?} {path}");
            }
            assert!(paths.serve(&paths.example()), "{patterns:?}");
        }
    }
}
