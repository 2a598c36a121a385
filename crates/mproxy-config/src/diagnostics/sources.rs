//! The texts that a configuration was read from, addressed as if they were one text.

use std::collections::BTreeMap;
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
    /// The number of its first line; not 1 for what is in the middle of a text.
    first_line: usize,
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
            first_line: 1,
            is_override,
        });
        base
    }

    /// The lines in which these spans begin, and nothing else: what to keep of a text of many megabytes, to name
    /// places in it later.
    pub fn excerpt(&self, spans: impl IntoIterator<Item = Range<usize>>) -> Self {
        let mut list = BTreeMap::new();
        for span in spans {
            if let Some(line) = self.line(&span) {
                list.insert(line.base, line);
            }
        }
        Self {
            list: list.into_values().collect(),
        }
    }

    /// The line in which a span begins.
    fn line(&self, span: &Range<usize>) -> Option<Source> {
        let source = self.source(span)?;
        let place = self.find(span)?;
        let begin = *source.lines.get(place.line - source.first_line)?;
        let text = source.text.get(begin..)?.lines().next().unwrap_or_default();
        Some(Source {
            name: source.name.clone(),
            text: text.to_owned(),
            base: source.base + begin,
            first_line: place.line,
            lines: vec![0],
            is_override: source.is_override,
        })
    }

    /// Finds the text that a span points into.
    pub fn find(&self, span: &Range<usize>) -> Option<Place<'_>> {
        let source = self.source(span)?;
        let start = span.start - source.base;
        if start > source.text.len() {
            // of an excerpt: the line is not in it
            return None;
        }
        let end = span.end.saturating_sub(source.base);
        let end = end.clamp(start, source.text.len());
        let line = source.lines.partition_point(|begin| *begin <= start);
        let begin = *source.lines.get(line.checked_sub(1)?)?;
        let line = source.first_line + line - 1;
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

    #[test]
    fn an_excerpt_names_the_same_places_and_has_no_other_text() {
        let mut sources = Sources::default();
        sources.add_file("a.toml".into(), "x = 1\ny = [\n  \"ä\", \"b\",\n]\n".into());
        let second = sources.add_file("b.toml".into(), "z = 2".into());
        let spans = [10..30, 20..23, 14..17, second + 4..second + 5];
        let excerpt = sources.excerpt(spans.clone());
        let shown = |sources: &Sources, span: &Range<usize>| {
            let place = sources.find(span)?;
            Some((place.name.to_owned(), place.line, place.column))
        };
        let places = spans.map(|it| shown(&excerpt, &it));
        assert_eq!(places[0], Some(("a.toml".to_owned(), 2, 5)));
        assert_eq!(places[1], Some(("a.toml".to_owned(), 3, 8)));
        assert_eq!(places[3], Some(("b.toml".to_owned(), 1, 5)));
        let spans = [10..30, 20..23, 14..17, second + 4..second + 5];
        assert_eq!(places, spans.map(|it| shown(&sources, &it)));
        assert_eq!(shown(&excerpt, &(0..1)), None);
        let texts: Vec<_> = excerpt.list.iter().map(|it| &*it.text).collect();
        assert_eq!(texts, ["y = [", "  \"ä\", \"b\",", "z = 2"]);
        // and once more, as after each reload of files only
        let again = excerpt.excerpt(std::iter::once(20..23));
        assert_eq!(shown(&again, &(20..23)), places[1]);
    }
}
