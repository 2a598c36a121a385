//! Matching, covering, overlapping.
//!
//! All arguments are valid names and filters. A name has at least one level, and is not empty; so
//! `#` means the same as `+/#`, and `/#` the same as `/+/#`. With these two written out, `#` never
//! stands in a place where it could match "no name at all", and both relations between filters can
//! be decided level by level: the levels of a name are chosen freely and independently of each
//! other, except that the first level of a name that a leading wildcard matches does not begin with
//! `$` `[MQTT-4.7.2-1]`.

/// Says whether `filter` matches `name`.
pub(super) fn matches(filter: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'$') && starts_with_wildcard(filter) {
        return false;
    }
    let (mut filter, mut name) = (filter, name);
    loop {
        match (filter, name) {
            ([b'#', ..], _) => return true,
            ([b'+', rest @ ..], _) => {
                filter = rest;
                let level = name
                    .iter()
                    .position(|&byte| byte == b'/')
                    .unwrap_or(name.len());
                name = name.get(level..).unwrap_or_default();
            }
            ([expected, filter_rest @ ..], [byte, name_rest @ ..]) if expected == byte => {
                (filter, name) = (filter_rest, name_rest);
            }
            // `a/#` matches its parent `a`.
            (rest, []) => return rest.is_empty() || rest == b"/#",
            _ => return false,
        }
    }
}

/// Says whether `filter` matches every name that `other` matches.
pub(super) fn covers(filter: &str, other: &str) -> bool {
    if other.starts_with('$') && starts_with_wildcard(filter.as_bytes()) {
        return false;
    }
    let (mut filter, mut other) = (filter.split('/'), written_out(other).split('/'));
    loop {
        match (filter.next(), other.next()) {
            (Some("#"), _) | (None, None) => return true,
            (None, _) | (_, None) | (_, Some("#")) => return false,
            (Some("+"), Some(_)) => {}
            (Some(level), Some(other)) if level == other => {}
            _ => return false,
        }
    }
}

/// Says whether some name is matched by both filters.
pub(super) fn overlaps(one: &str, other: &str) -> bool {
    if one.starts_with('$') && starts_with_wildcard(other.as_bytes())
        || other.starts_with('$') && starts_with_wildcard(one.as_bytes())
    {
        return false;
    }
    let (mut one, mut other) = (written_out(one).split('/'), written_out(other).split('/'));
    loop {
        match (one.next(), other.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (None, _) | (_, None) => return false,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(level), Some(other)) if level == other => {}
            _ => return false,
        }
    }
}

fn starts_with_wildcard(filter: &[u8]) -> bool {
    matches!(filter.first(), Some(b'+' | b'#'))
}

/// Replaces the two filters whose `#` would match the empty name by others that mean the same.
fn written_out(filter: &str) -> &str {
    match filter {
        "#" => "+/#",
        "/#" => "/+/#",
        _ => filter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matching_follows_the_examples_of_the_standard() {
        for (filter, name, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            (
                "sport/tennis/player1/#",
                "sport/tennis/player1/score/wimbledon",
                true,
            ),
            ("sport/#", "sport", true),
            ("sport/#", "sports", false),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/a", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/monitor", true),
            ("$SYS/#", "$SYS", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("+/$a", "b/$a", true),
            ("ACCOUNTS", "Accounts", false),
            ("a/+/#", "a", false),
            ("a/+/#", "a/", true),
            ("+/#", "a", true),
            ("a/+b", "a/xb", false),
        ] {
            assert_eq!(
                matches(filter.as_bytes(), name.as_bytes()),
                expected,
                "{filter} {name}"
            );
        }
    }

    #[test]
    fn covering_is_not_matching() {
        for (filter, other, expected) in [
            ("a/+", "a/#", false),
            ("a/#", "a", true),
            ("a/#", "a/#", true),
            ("a/#", "a/+/c", true),
            ("a/+/#", "a/#", false),
            ("#", "$SYS/#", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "#", false),
            ("$SYS/#", "$SYS/+/x", true),
            ("+/#", "#", true),
            ("#", "+/#", true),
            ("/+/#", "/#", true),
            ("+/+/#", "/#", true),
            ("+/+/#", "+/#", false),
            ("a", "+", false),
            ("+", "a", true),
            ("a/b", "a/b", true),
        ] {
            assert_eq!(covers(filter, other), expected, "{filter} covers {other}");
        }
    }

    #[test]
    fn overlapping_is_symmetric() {
        for (one, other, expected) in [
            ("a/+", "a/secret", true),
            ("a/#", "a", true),
            ("a/+", "a", false),
            ("+/b", "a/+", true),
            ("#", "$SYS/#", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/+", "$SYS/x", true),
            ("/#", "+", false),
            ("/#", "+/#", true),
            ("/#", "#", true),
            ("a/b/#", "a/c/#", false),
        ] {
            assert_eq!(overlaps(one, other), expected, "{one} overlaps {other}");
            assert_eq!(overlaps(other, one), expected, "{other} overlaps {one}");
        }
    }
}
