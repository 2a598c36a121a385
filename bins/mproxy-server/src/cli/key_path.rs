//! The path of a key, for `config explain`.

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use mproxy_config::key_paths;
use std::ffi::OsStr;
use std::sync::LazyLock;

static PATHS: LazyLock<Vec<String>> = LazyLock::new(key_paths);

/// Any text; shells complete the paths of the keys.
#[derive(Clone, Debug)]
pub(super) struct KeyPath;

impl TypedValueParser for KeyPath {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(PATHS.iter().map(|it| PossibleValue::new(&**it))))
    }
}
