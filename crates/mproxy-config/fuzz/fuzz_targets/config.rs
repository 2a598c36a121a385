//! Any text is a configuration or a list of mistakes, each of which can be shown; and what is in
//! effect, written down, is the same configuration.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mproxy_config::{Environment, Loaded, Location, Request, load, show};

/// The text and, behind a line `--set`, values from the command line.
fn read(text: &str) -> Loaded {
    let (text, set) = text.split_once("\n--set\n").unwrap_or((text, ""));
    let request = Request {
        location: Location::Text(text.to_owned()),
        set: set.lines().map(str::to_owned).collect(),
        listen: None,
        upstream: None,
        resolve: false,
    };
    let variables = [("NAME", "value"), ("EMPTY", ""), ("MPROXY_ADMIN__BIND", "")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    load(&request, &variables.into_iter().collect::<Environment>())
}

/// Without comments, which say where a rule stood.
fn settings(shown: &str) -> Vec<&str> {
    shown
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect()
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    // files of the machine are nobody's input
    if text.contains("${file:") {
        return;
    }
    let loaded = read(text);
    assert_eq!(loaded.config.is_some(), loaded.report.errors() == 0);
    // drawing costs more than all the rest, and a blank more is the same text in another eighth
    if data.len().is_multiple_of(8) {
        loaded.report.render(false);
    }
    loaded.report.to_json(true);
    let Some(config) = loaded.config else {
        return;
    };
    let shown = show(&config, &loaded.secrets);
    // what was a placeholder and is not known stands there as one
    if shown.contains("${") || shown.contains("***") {
        return;
    }
    let again = read(&shown);
    let Some(config) = again.config else {
        panic!("{shown}\n{}", again.report.render(false));
    };
    assert_eq!(settings(&show(&config, &again.secrets)), settings(&shown));
});
