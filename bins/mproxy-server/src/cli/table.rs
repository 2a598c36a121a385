//! Tables of what the proxy lists.

use crate::telemetry::harmless;
use serde_json::Value;
use std::io::{self, IsTerminal};
use std::time::Duration;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Maximum columns of a cell on a terminal.
const WIDEST: usize = 32;

/// Maximum columns of a cell on standard output. Cells are not cut if a program reads them.
pub(super) fn widest() -> usize {
    match io::stdout().is_terminal() {
        true => WIDEST,
        false => usize::MAX,
    }
}

/// The rows under this head, in columns as wide as their widest cell.
pub(super) fn of(head: &[&str], rows: Vec<Vec<String>>, widest: usize) -> String {
    let head = head.iter().map(|it| (*it).to_owned()).collect();
    let fitted = rows
        .into_iter()
        .map(|row| row.into_iter().map(|cell| fit(cell, widest)).collect());
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(fitted).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.width()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..rows[0].len()).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| cell.clone() + &" ".repeat(width - cell.width()))
            .collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// A value of an answer. Text may come from a client, so it is escaped.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => harmless(text),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// A time in seconds: `1m1s`.
pub(super) fn seconds(value: &Value) -> String {
    let Some(seconds) = value.as_f64() else {
        return "-".to_owned();
    };
    let time = Duration::from_secs(seconds.max(0.0) as u64);
    humantime::format_duration(time)
        .to_string()
        .replace(' ', "")
}

/// Cuts a cell that is wider than `widest` columns.
fn fit(cell: String, widest: usize) -> String {
    if cell.width() <= widest {
        return cell;
    }
    let mut columns = 1;
    let mut out: String = cell
        .chars()
        .take_while(|it| {
            columns += it.width().unwrap_or(0);
            columns <= widest
        })
        .collect();
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_cell_is_cut() {
        assert_eq!(fit("abcdef".to_owned(), 5), "abcd…");
        assert_eq!(fit("abcde".to_owned(), 5), "abcde");
        // wide characters take two columns, combining ones none
        assert_eq!(fit("泵泵泵".to_owned(), 5), "泵泵…");
        assert_eq!(fit("a\u{301}bcdef".to_owned(), 5), "a\u{301}bcd…");
    }
}
