//! Every `invalid/*.toml` is refused with the text in the `.stderr` beside it, every
//! `warnings/*.toml` is accepted with it. `MPROXY_BLESS=1 cargo test` writes these texts.

use crate::support::{fixtures, mproxy, run, toml_files};
use std::fs;
use std::path::Path;

/// What is said of a file, which is not read from the golden one: another test may be writing that.
fn told(file: &Path, args: &[&str]) -> (i32, String, String) {
    let name = file.file_name().unwrap().to_str().unwrap();
    let mut command = mproxy(["check", "--config", name]);
    command.args(args).current_dir(file.parent().unwrap());
    run(&mut command)
}

/// The one about the environment needs the environment to be looked at.
fn arguments(file: &Path) -> &'static [&'static str] {
    match file.ends_with("placeholders.toml") {
        true => &[],
        false => &["--no-environment"],
    }
}

fn expect(file: &Path, code: i32, args: &[&str]) {
    let name = file.file_name().unwrap().to_str().unwrap();
    let (actual_code, stdout, stderr) = told(file, args);
    let golden = file.with_extension("stderr");
    if std::env::var_os("MPROXY_BLESS").is_some() {
        fs::write(&golden, &stderr).unwrap();
    }
    assert_eq!(actual_code, code, "{name}: {stdout}{stderr}");
    assert_eq!(stderr, fs::read_to_string(&golden).unwrap(), "{name}");
}

#[test]
fn every_mistake_is_told_at_once_and_where_it_is() {
    for file in toml_files(&fixtures("invalid")) {
        expect(&file, 78, arguments(&file));
    }
}

#[test]
fn warnings_are_told_and_refuse_only_when_asked_to() {
    for file in toml_files(&fixtures("warnings")) {
        expect(&file, 0, &["--no-environment"]);
        let path = file.to_str().unwrap();
        let mut command = mproxy(["check", "--no-environment", "--deny-warnings", "-c", path]);
        let (code, stdout, stderr) = run(&mut command);
        assert_eq!((code, stdout.as_str()), (78, ""));
        assert!(
            stderr.ends_with(" warnings: configuration refused\n"),
            "{stderr}"
        );
    }
}

#[test]
fn every_count_in_the_summary_is_the_number_of_messages() {
    for file in toml_files(&fixtures("invalid")) {
        let (_, _, text) = told(&file, arguments(&file));
        let errors = text.lines().filter(|it| it.starts_with("error: ")).count();
        let plural = if errors == 1 { "" } else { "s" };
        let last = text.lines().last().unwrap();
        assert!(
            last.starts_with(&format!("{errors} error{plural}")),
            "{last}"
        );
        assert!(last.ends_with(": configuration refused"), "{last}");
    }
}

#[test]
fn nothing_starts_on_a_configuration_that_is_refused() {
    let file = fixtures("invalid").join("wrong-values.toml");
    let (code, stdout, stderr) = run(&mut mproxy(["--config", file.to_str().unwrap()]));
    assert_eq!(code, 78);
    assert!(!stdout.contains("\"event\":\"listen\""), "{stdout}");
    assert!(
        stderr.contains("error: unknown value `supress`"),
        "{stderr}"
    );
}

#[test]
fn programs_can_read_the_mistakes() {
    let file = fixtures("invalid").join("unknown-keys.toml");
    let path = file.to_str().unwrap();
    let mut command = mproxy(["check", "--format", "json", "--config", path]);
    let (code, stdout, stderr) = run(&mut command);
    assert_eq!((code, stderr.as_str()), (78, ""));
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(json["ok"], false);
    assert_eq!(
        json["errors"],
        json["diagnostics"].as_array().unwrap().len()
    );
    let second = &json["diagnostics"][1];
    assert_eq!(second["message"], "unknown key `drain_timout`");
    assert_eq!((&second["line"], &second["column"]), (&3.into(), &1.into()));
    assert_eq!(second["label"], "did you mean `drain_timeout`?");
    assert_eq!(second["file"], path);
}

#[test]
fn a_key_that_a_version_lacks_is_never_ignored() {
    let file = fixtures("invalid").join("not-available.toml");
    let (_, _, text) = told(&file, arguments(&file));
    let titles: Vec<_> = text
        .lines()
        .filter(|it| it.starts_with("error: "))
        .collect();
    assert!(!titles.is_empty(), "{text}");
    for title in titles {
        assert!(
            title.ends_with(" is not available in this version"),
            "{title}"
        );
    }
}
