//! The document that a configuration is read from: files merged, overrides applied,
//! placeholders of the environment filled in.
//!
//! Each text is parsed separately. The values keep the place that they came from, however
//! often they are merged, so that a problem can be shown where it was written.

mod files;
mod interpolate;
mod merge;
mod overrides;
mod regular;
mod trace;
mod tree;

pub(crate) use files::FileText;
pub use files::Location;
pub(crate) use overrides::Override;
pub use trace::{Content, Contents};

use super::context::Context;
use super::environment::Environment;
use toml::Spanned;
use toml::de::DeTable;

/// Every text of a configuration; later ones override earlier ones.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    pub files: Vec<FileText>,
    pub overrides: Vec<Override>,
}

impl Texts {
    /// Builds the document.
    ///
    /// With `resolve`, everything that `${env:...}` and `${file:...}` name must exist;
    /// without it, what is missing is left unchecked.
    ///
    /// Returns `None` when a text cannot be parsed: anything reported about the rest would be
    /// guesswork.
    pub(super) fn document<'t>(
        &'t self,
        cx: &mut Context,
        env: &Environment,
        resolve: bool,
    ) -> Option<Spanned<DeTable<'t>>> {
        let mut root = Spanned::new(0..0, DeTable::new());
        let mut complete = true;
        for file in &self.files {
            match tree::parse_file(cx, &file.text, file.base) {
                Some(table) => merge::merge(root.get_mut(), table.into_inner()),
                None => complete = false,
            }
        }
        if !complete {
            return None;
        }
        overrides::apply(cx, root.get_mut(), &self.overrides);
        interpolate::fill(cx, root.get_mut(), env, resolve);
        Some(root)
    }
}
