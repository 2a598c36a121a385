//! As much of Markdown as a README needs.

use std::fs;
use std::path::Path;

use mproxy_tests::tools::root;

/// A fenced block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// The heading above it.
    pub(crate) section: String,
    /// What follows the fence.
    pub(crate) language: String,
    /// What is in it.
    pub(crate) text: String,
}

/// The text of README.md.
pub(crate) fn readme() -> String {
    document("README.md")
}

/// The text of a file of the repository.
pub(crate) fn document(path: &str) -> String {
    read(&root().join(path))
}

/// README.md and what is in `docs`: path and text.
pub(crate) fn for_users() -> Vec<(String, String)> {
    let names = fs::read_dir(root().join("docs")).expect("it is there");
    let names = names.map(|entry| entry.expect("it can be read").file_name());
    let paths = names.map(|name| format!("docs/{}", name.to_string_lossy()));
    let paths = paths.chain(["README.md".to_owned()]);
    let mut documents: Vec<_> = paths.map(|path| (path.clone(), document(&path))).collect();
    documents.sort();
    documents
}

/// The text of a file.
pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The fenced blocks of a text, in order.
pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut section = String::new();
    let mut open: Option<Block> = None;
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some("")) => blocks.extend(open.take()),
            (Some(block), _) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, Some(language)) => {
                open = Some(Block {
                    section: section.clone(),
                    language: language.to_owned(),
                    text: String::new(),
                });
            }
            (None, None) => {
                if let Some(heading) = line.strip_prefix("## ") {
                    heading.clone_into(&mut section);
                }
            }
        }
    }
    assert!(open.is_none(), "a block is not closed: {open:?}");
    blocks
}

/// The targets of the links of a text that are files of the repository.
pub(crate) fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).map(|rest| {
        let target = rest.split(')').next().unwrap_or_default();
        target.split('#').next().unwrap_or_default()
    });
    targets
        .filter(|target| !target.is_empty() && !target.contains("://"))
        .collect()
}

/// The cells of the table in a section of a text whose first column has this name, without its head.
pub(crate) fn table(text: &str, first: &str) -> Vec<Vec<String>> {
    let head = format!("| {first} |");
    let rows: Vec<_> = text
        .lines()
        .skip_while(|line| !line.starts_with(&head))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let line = line.trim_start_matches("| ").trim_end_matches(" |");
            line.split(" | ")
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
        .collect();
    assert!(!rows.is_empty(), "no table of {first}");
    rows
}

/// What is in backticks in a text.
pub(crate) fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// A text in which every number is the same number: ports, times and measurements differ from one
/// run to the next.
pub(crate) fn without_numbers(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        let char = if char.is_ascii_digit() { '#' } else { char };
        if char != '#' || !shown.ends_with('#') {
            shown.push(char);
        }
    }
    shown
}

#[test]
fn blocks_have_a_section_and_a_language() {
    let text = "## One\n```sh\na\n```\n## Two\n```toml\n## no heading\n```\n";
    let found: Vec<_> = blocks(text)
        .into_iter()
        .map(|block| (block.section, block.language, block.text))
        .collect();
    let expected = [("One", "sh", "a\n"), ("Two", "toml", "## no heading\n")];
    let expected = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
    assert_eq!(found, expected);
}

#[test]
fn tables_have_rows_of_cells() {
    let text = "x\n| a | b |\n|---|---|\n| `c`, `d` | e |\n| f | |\n\n| g |\n";
    let rows = table(text, "a");
    assert_eq!(rows[0], ["`c`, `d`", "e"]);
    assert_eq!(rows.len(), 2);
    assert_eq!(quoted(&rows[0][0]), ["c", "d"]);
}

#[test]
fn numbers_of_any_length_are_one() {
    assert_eq!(without_numbers("a 1:22 b # 0x87"), "a #:# b # #x#");
}
