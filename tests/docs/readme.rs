//! The configurations, links and tables of README.md, and of `docs`.

use std::fs;
use std::process::Command;

use mproxy_tests::server_binary;
use mproxy_tests::tools::root;

use crate::markdown::{blocks, document, for_users, links, read, readme};

/// Nobody reads more.
const LONGEST: usize = 219;

#[test]
fn every_block_says_what_it_is() {
    // anything else would be compiled as Rust, or tested by nobody
    let known = ["console", "toml", "rust", "text", "json"];
    for (path, text) in for_users() {
        for block in blocks(&text) {
            let language = block.language.as_str();
            assert!(known.contains(&language), "{path}: {block:?}");
            // of these only README.md is compiled
            assert!(language != "rust" || path == "README.md", "{path}");
        }
    }
}

#[test]
fn every_configuration_is_accepted() {
    let configurations: Vec<_> = for_users()
        .iter()
        .flat_map(|(_, text)| blocks(text))
        .filter(|block| block.language == "toml")
        .collect();
    assert!(configurations.len() >= 2);
    for block in configurations {
        let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        fs::write(file.path(), &block.text).expect("the temporary file is ours");
        let output = Command::new(server_binary())
            .args(["check", "--no-environment", "--deny-warnings", "--config"])
            .arg(file.path())
            .output()
            .expect("the proxy runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}\n{said}", block.text);
    }
}

#[test]
fn the_whole_configuration_is_the_one_in_config() {
    let keys = |text: &str| {
        let lines = text.lines().map(without_comment);
        let lines: Vec<_> = lines.filter(|line| !line.starts_with('#')).collect();
        lines.join("\n")
    };
    let file = keys(&document("config/minimal.toml"));
    let shown = blocks(&readme());
    assert!(
        shown.iter().any(|block| keys(&block.text) == file),
        "{file}"
    );
}

/// What is left out of the longer configuration are whole lines.
#[test]
fn the_access_rules_are_lines_of_the_file_in_config() {
    let file = read(&root().join("config/acl.toml"));
    let lines: Vec<_> = file.lines().map(without_comment).collect();
    let shown = blocks(&readme());
    let shown = shown.iter().find(|block| block.text.contains("\"acl\""));
    for line in shown.expect("access rules are shown").text.lines() {
        assert!(lines.contains(&line), "{line}");
    }
}

fn without_comment(line: &str) -> &str {
    line.split(" # ").next().unwrap_or(line)
}

#[test]
fn every_file_of_config_is_mentioned() {
    let text = document("docs/configuration.md");
    for entry in fs::read_dir(root().join("config")).expect("it is there") {
        let name = entry.expect("it can be read").file_name();
        let link = format!("(../config/{})", name.to_string_lossy());
        assert!(text.contains(&link), "{link}");
    }
}

#[test]
fn every_crate_has_a_readme_and_is_in_the_table() {
    let text = readme();
    for entry in fs::read_dir(root().join("crates")).expect("it is there") {
        let path = entry.expect("it can be read").path();
        assert!(path.join("README.md").is_file(), "{}", path.display());
        let name = path.file_name().expect("it has a name").to_string_lossy();
        let row = format!("| [{name}](crates/{name}) |");
        assert!(text.contains(&row), "{row}");
    }
}

/// An example that the guide does not link is found by nobody.
#[test]
fn every_example_is_in_the_guide() {
    let session = root().join("crates/mproxy-session");
    let guide = read(&session.join("src/guide.md"));
    for entry in fs::read_dir(session.join("examples")).expect("it is there") {
        let name = entry.expect("it can be read").file_name();
        let name = name.to_string_lossy();
        let link = format!("/crates/mproxy-session/examples/{name})");
        assert!(name == "common" || guide.contains(&link), "{name}");
    }
}

/// A page that README.md does not link is found by nobody.
#[test]
fn every_page_of_docs_is_linked() {
    let text = readme();
    for (path, _) in for_users().iter().filter(|(path, _)| path != "README.md") {
        assert!(text.contains(&format!("({path})")), "{path}");
    }
}

#[test]
fn every_link_leads_somewhere() {
    let text = readme();
    let found = links(&text);
    assert!(found.len() > 10, "{found:?}");
    for link in found {
        assert!(root().join(link).exists(), "{link}");
    }
}

#[test]
fn it_is_short_enough_to_be_read() {
    let lines = readme().lines().count();
    assert!(lines <= LONGEST, "{lines}");
}
