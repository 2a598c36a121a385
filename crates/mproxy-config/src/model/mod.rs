//! Values of the configuration that are types of their own.

mod bind;
mod rate;
mod template;

pub use bind::Bind;
pub use rate::Rate;
pub use template::Template;
