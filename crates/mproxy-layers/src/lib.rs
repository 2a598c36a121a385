//! Ready-made layers for mproxy.

pub mod acl;
mod identity;
mod template;
pub mod topic_map;

pub use self::template::TemplateError;
