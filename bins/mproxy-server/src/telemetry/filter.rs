//! `-v` and `-q`.

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// How many levels more, or less, to log than configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verbosity(pub(crate) i16);

impl Verbosity {
    /// Moves the general level in `filter`; directives for single targets stay as they are.
    pub(crate) fn apply(self, filter: &str) -> String {
        let moved = filter.split(',').map(|directive| {
            let at = LEVELS.iter().position(|it| *it == directive.trim());
            match at {
                Some(at) => self.moved(at),
                None => directive,
            }
        });
        moved.collect::<Vec<_>>().join(",")
    }

    fn moved(self, at: usize) -> &'static str {
        let last = LEVELS.len() - 1;
        let steps = usize::from(self.0.unsigned_abs());
        let at = match self.0 < 0 {
            true => at.saturating_sub(steps),
            false => at.saturating_add(steps).min(last),
        };
        LEVELS[at]
    }
}

#[cfg(test)]
mod tests {
    use super::Verbosity;

    #[test]
    fn only_the_general_level_moves() {
        assert_eq!(Verbosity(0).apply("info"), "info");
        assert_eq!(Verbosity(1).apply("info"), "debug");
        assert_eq!(Verbosity(9).apply("info"), "trace");
        assert_eq!(Verbosity(-1).apply("info"), "warn");
        assert_eq!(Verbosity(-9).apply("info"), "off");
        assert_eq!(Verbosity(1).apply("a=info, warn"), "a=info,info");
    }
}
