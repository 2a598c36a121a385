//! Values of the configuration that are types of their own.

mod rate;
mod template;

pub use rate::Rate;
pub use template::Template;
