//! A gateway outside of the workspace builds on the crates as another project would, and works.

use std::collections::BTreeSet;
use std::env;
use std::process::Command;

use mproxy_tests::tools::root;

use crate::markdown::read;

/// What the crates need must be in their own manifests: inside of the workspace, a feature of a
/// dependency that one member asks for is there for all of them.
#[test]
fn the_gateway_outside_is_built_and_its_tests_pass() {
    let test = env::current_exe().expect("a test is a file");
    let target = test.ancestors().nth(3);
    let target = target.expect("TARGET/debug/deps holds the tests");
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["test", "--locked", "--offline", "--quiet"])
        .arg("--manifest-path")
        .arg(root().join("tests/outside/Cargo.toml"))
        .env("CARGO_TARGET_DIR", target)
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{failed}");
    assert!(said.contains("running 4 tests"), "{said}");
}

/// The same versions as in the workspace, so that what is downloaded for one is there for the other. After
/// a change of the dependencies:
/// `cp Cargo.lock tests/outside && (cd tests/outside && cargo metadata --format-version 1 >/dev/null)`
#[test]
fn the_gateway_outside_is_locked_to_the_same_versions() {
    let ours = locked("Cargo.lock");
    let theirs = locked("tests/outside/Cargo.lock");
    assert!(theirs.len() > 20, "{theirs:?}");
    let other: Vec<_> = theirs
        .difference(&ours)
        .filter(|(name, _)| name != "gateway")
        .collect();
    assert!(other.is_empty(), "not in Cargo.lock: {other:?}");
}

/// Names and versions of the packages of a lock file.
fn locked(file: &str) -> BTreeSet<(String, String)> {
    let text = read(&root().join(file));
    let value = |package: &str, key: &str| {
        let mut lines = package.lines();
        let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        value.unwrap_or_default().trim_matches('"').to_owned()
    };
    let packages = text.split("[[package]]").skip(1);
    packages
        .map(|package| (value(package, "name"), value(package, "version")))
        .collect()
}
