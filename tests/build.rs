//! Takes the Rust blocks of the documents that tests run, in front of a broker of the test's own in place
//! of the one on port 1883.

use std::path::Path;
use std::{env, fs};

/// Document, which of its Rust blocks, and the name of the file that it becomes.
const BLOCKS: [(&str, usize, &str); 3] = [
    ("../README.md", 0, "readme.rs"),
    ("../crates/mproxy-session/README.md", 0, "session.rs"),
    ("../crates/mproxy-session/src/guide.md", 0, "guide.rs"),
];

/// How the blocks write the address of the broker.
const BROKER: &str = "\"127.0.0.1:1883\"";

fn main() {
    let out = env::var_os("OUT_DIR").expect("cargo says where");
    for (document, number, name) in BLOCKS {
        println!("cargo::rerun-if-changed={document}");
        let text = fs::read_to_string(document).expect("the document is there");
        let block = rust(&text).nth(number).expect("it has such a block");
        assert!(block.contains(BROKER), "{document}: {block}");
        let block = block.replace(BROKER, "super::broker()");
        fs::write(Path::new(&out).join(name), block).expect("the folder is ours");
    }
}

/// The blocks that are compiled as Rust, with the lines that the reader is not shown.
fn rust(text: &str) -> impl Iterator<Item = String> {
    let blocks = text.split("\n```").skip(1).step_by(2);
    let blocks = blocks.filter_map(|block| block.split_once('\n'));
    let is_rust = |language: &str| matches!(language, "" | "rust" | "no_run");
    blocks
        .filter(move |(language, _)| is_rust(language))
        .map(|(_, block)| {
            let lines = block.lines();
            let shown = lines.map(|line| line.strip_prefix("# ").unwrap_or(line));
            shown.flat_map(|line| [line, "\n"]).collect()
        })
}
