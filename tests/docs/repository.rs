//! What must hold for every file of the repository.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mproxy_tests::tools::{Run, root};

use crate::markdown::{document, links, quoted, read, table};

/// The files that are tracked, as paths below the root.
fn tracked() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output()
        .expect("git is installed");
    assert!(output.status.success(), "{output:?}");
    let names = String::from_utf8(output.stdout).expect("file names are UTF-8");
    let paths = names.split_terminator('\0').map(PathBuf::from);
    // somebody may be about to remove one
    paths.filter(|path| root().join(path).exists()).collect()
}

/// Text files with their contents.
pub(crate) fn texts() -> impl Iterator<Item = (PathBuf, String)> {
    tracked().into_iter().filter_map(|path| {
        let bytes = fs::read(root().join(&path)).ok()?;
        Some((path, String::from_utf8(bytes).ok()?))
    })
}

/// Put together here, so that this file is no hit.
fn joined(parts: &[[&str; 2]]) -> Vec<String> {
    parts.iter().map(|parts| parts.concat()).collect()
}

#[test]
fn no_registry_is_named() {
    // packages are named, and come from wherever their tools are told to look
    let hosts = joined(&[
        ["crates", ".io"],
        ["pypi", ".org"],
        ["pythonhosted", ".org"],
        ["npmjs", "."],
        ["deb.debian", ".org"],
        ["security.debian", ".org"],
        ["proxy.golang", ".org"],
    ]);
    for (path, text) in texts() {
        // cargo writes where a package came from
        if path.ends_with("Cargo.lock") {
            continue;
        }
        for host in &hosts {
            assert!(!text.contains(host), "{}: {host}", path.display());
        }
    }
}

#[test]
fn no_path_belongs_to_one_machine() {
    let mut paths = joined(&[
        ["/ro", "ot/"],
        ["/ho", "me/"],
        ["/Us", "ers/"],
        ["/work", "/main"],
        ["/work", "/shared"],
    ]);
    paths.push(format!("{}/", root().display()));
    for (path, text) in texts() {
        for machine in &paths {
            assert!(!text.contains(machine), "{}: {machine}", path.display());
        }
    }
}

#[test]
fn every_link_of_a_document_leads_somewhere() {
    for path in tracked() {
        if path.extension().is_none_or(|it| it != "md") {
            continue;
        }
        let file = root().join(&path);
        let folder = file.parent().expect("a file is in a folder");
        for link in links(&read(&file)) {
            // what is neither is the name of an item, which rustdoc looks up
            let is_path = link.contains(['/', '.']);
            assert!(
                !is_path || folder.join(link).exists(),
                "{}: {link}",
                path.display()
            );
        }
    }
}

/// Dependencies of crates point down, and the table for contributors is the picture of them.
#[test]
fn crates_depend_on_those_below_them_only() {
    let rows = table(&document("CONTRIBUTING.md"), "crate");
    let mut above = BTreeSet::new();
    for row in &rows {
        let name = row[0].trim_matches('`');
        above.insert(name.trim_start_matches("mproxy-").to_owned());
        let Ok(manifest) = fs::read_to_string(root().join(format!("crates/{name}/Cargo.toml")))
        else {
            assert_eq!(name, "mproxy-server");
            continue;
        };
        let found = manifest
            .lines()
            .skip_while(|line| *line != "[dependencies]");
        let found = found.skip(1).take_while(|line| !line.starts_with('['));
        let found = found.filter_map(|line| line.strip_prefix("mproxy-")?.split_once('.'));
        let found: BTreeSet<_> = found.map(|(name, _)| name).collect();
        let written = quoted(&row[2]).into_iter().collect();
        assert_eq!(found, written, "{name}");
        let up = found.iter().find(|it| above.contains(**it));
        assert_eq!(up, None, "{name} depends on what is above it");
    }
    let crates = fs::read_dir(root().join("crates")).expect("it is there");
    assert_eq!(rows.len(), crates.count() + 1);
}

/// Also in comments and scripts: a page that was renamed is looked for where it was.
#[test]
fn every_file_that_is_named_is_there() {
    let folders = ["bins/", "config/", "crates/", "deploy/", "docs/", "tests/"];
    let kinds = [".json", ".md", ".rs", ".sh", ".toml", ".yml"];
    let is_part = |it: char| it.is_ascii_alphanumeric() || "_./-".contains(it);
    let mut count = 0;
    for (path, text) in texts() {
        // it tells what was
        if path.ends_with("CHANGELOG.md") {
            continue;
        }
        let names = text.split(|it| !is_part(it));
        let names = names.map(|name| name.trim_end_matches('.'));
        let named = names.filter(|name| {
            folders.iter().any(|it| name.starts_with(it))
                && kinds.iter().any(|it| name.ends_with(it))
        });
        for name in named {
            let exists = |folder: &Path| root().join(folder).join(name).exists();
            assert!(path.ancestors().any(exists), "{}: {name}", path.display());
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}

#[test]
fn the_workflows_are_what_their_reader_expects() {
    let args = ["--builtin-schema", "vendor.github-workflows"];
    let file = root().join(".github/workflows/ci.yml");
    Run::on_file("check-jsonschema", &args, &file).accepts();
}

/// Who finds a hole reads what counts as one, and where to say so.
#[test]
fn the_security_policy_has_what_a_reporter_needs() {
    let text = read(&root().join("SECURITY.md"));
    for word in ["Threat model", "private", "90 days", "10 KiB", "10 times"] {
        assert!(text.contains(word), "{word}");
    }
}

/// The keys of which the page about reloads says that they take effect after a restart.
#[test]
fn every_key_that_takes_a_restart_is_explained() {
    let rows = table(&document("docs/reload.md"), "key or section");
    let row = rows
        .iter()
        .find(|row| row[1].starts_with("after a restart"));
    let explained: BTreeSet<_> = quoted(&row.expect("it is there")[0]).into_iter().collect();
    let mut found = BTreeSet::new();
    for (path, text) in texts() {
        let Ok(file) = path.strip_prefix("crates/mproxy-config/src") else {
            continue;
        };
        // the declaration of a key: `name: Type = default, restart "why";`
        let declared = text.match_indices("restart \"").filter_map(|(place, _)| {
            text[..place].lines().rev().find_map(|line| {
                let (key, _) = line.trim().split_once(": ")?;
                let is_key = key.bytes().all(|it| it.is_ascii_lowercase() || it == b'_');
                is_key.then_some(key)
            })
        });
        let section = file.with_extension("");
        found.extend(declared.map(|key| format!("{}.{key}", section.display())));
    }
    found.retain(|key| !key.contains('/'));
    let found: BTreeSet<_> = found.iter().map(String::as_str).collect();
    assert_eq!(explained, found);
}
