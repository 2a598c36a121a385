//! Keys that name something else in the configuration.

use super::key::array;
use super::{Key, Listing, Setting, Titled, wraps};
use crate::diff::Path;
use crate::scalar::Text;
use std::sync::Arc;
use toml_edit::Value;

wraps! {
    /// The name of something else in the configuration.
    Reference<T: Titled>(Setting<Text>)
}

impl<T: Titled> Key for Reference<T> {
    type Value = Arc<T>;

    fn expected() -> String {
        "the name of one that is configured".to_owned()
    }

    fn show(value: &Arc<T>, table: &mut toml_edit::Table, key: &str) {
        table[key] = toml_edit::value(value.title());
    }

    /// The target is compared in its own section.
    fn compare(old: &Arc<T>, new: &Arc<T>, path: &Path<'_>) {
        path.compare(old.title(), new.title());
    }
}

wraps! {
    /// The names of several things.
    References<T: Titled>(Listing<Text>)
}

impl<T: Titled> Key for References<T> {
    type Value = Vec<Arc<T>>;

    fn expected() -> String {
        "a list, each the name of one that is configured".to_owned()
    }

    fn show(values: &Self::Value, table: &mut toml_edit::Table, key: &str) {
        table[key] = array(values.iter().map(|it| Value::from(it.title())));
    }

    fn compare(old: &Self::Value, new: &Self::Value, path: &Path<'_>) {
        let names = |all: &Self::Value| all.iter().map(|it| it.title().to_owned()).collect();
        path.compare::<Vec<String>>(&names(old), &names(new));
    }
}
