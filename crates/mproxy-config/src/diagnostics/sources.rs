//! The texts that a configuration was read from, addressed as if they were one text.

use std::ops::Range;

/// Every text that a configuration was read from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    list: Vec<Source>,
}

/// One text.
#[derive(Clone, Debug)]
struct Source {
    name: String,
    text: String,
    base: usize,
    /// Where lines begin: each rule looks up its line, in texts of many megabytes.
    lines: Vec<usize>,
    /// True for the command line and the environment, where values are not quoted.
    is_override: bool,
}

/// A range of text, found.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// The name of the file, or of the variable or flag.
    pub name: &'a str,
    /// The whole text.
    pub text: &'a str,
    /// The range in it.
    pub range: Range<usize>,
    /// The line of its start, from 1.
    pub line: usize,
    /// The column of its start in characters, from 1.
    pub column: usize,
}

impl Sources {
    /// Adds a file; returns the offset of its text.
    pub fn add_file(&mut self, name: String, text: String) -> usize {
        self.add(name, text, false)
    }

    /// Adds an environment variable or a flag; returns the offset of its text.
    pub fn add_override(&mut self, name: String, text: String) -> usize {
        self.add(name, text, true)
    }

    fn add(&mut self, name: String, text: String, is_override: bool) -> usize {
        // A gap of one, so that the end of one text is not the start of the next.
        let base = self.list.last().map_or(0, |it| it.base + it.text.len() + 1);
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(ends).collect();
        self.list.push(Source {
            lines,
            name,
            text,
            base,
            is_override,
        });
        base
    }

    /// Finds the text that a span points into.
    pub fn find(&self, span: &Range<usize>) -> Option<Place<'_>> {
        let source = self.source(span)?;
        let start = (span.start - source.base).min(source.text.len());
        let end = span.end.saturating_sub(source.base);
        let end = end.clamp(start, source.text.len());
        let line = source.lines.partition_point(|begin| *begin <= start);
        let begin = *source.lines.get(line.checked_sub(1)?)?;
        Some(Place {
            name: &source.name,
            text: &source.text,
            range: start..end,
            line,
            column: source.text.get(begin..start)?.chars().count() + 1,
        })
    }

    /// The names of the files.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let files = self.list.iter().filter(|it| !it.is_override);
        files.map(|it| &*it.name)
    }

    /// True for a text from the command line or the environment.
    pub fn is_override(&self, span: &Range<usize>) -> bool {
        self.source(span).is_some_and(|source| source.is_override)
    }

    fn source(&self, span: &Range<usize>) -> Option<&Source> {
        let count = self.list.partition_point(|it| it.base <= span.start);
        self.list.get(count.checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_found_in_the_text_they_came_from() {
        let mut sources = Sources::default();
        assert_eq!(sources.add_file("a.toml".into(), "x = 1\n".into()), 0);
        let base = sources.add_override("--set".into(), "a\nbä = 2".into());
        assert_eq!(base, 7);
        let place = sources.find(&(base + 6..base + 7)).unwrap();
        assert_eq!((place.name, place.line, place.column), ("--set", 2, 4));
        assert!(sources.is_override(&(base..base)));
        let end = sources.find(&(6..6)).unwrap();
        assert_eq!((end.name, end.line, end.column), ("a.toml", 2, 1));
    }
}
