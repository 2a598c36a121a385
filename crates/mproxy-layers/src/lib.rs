#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod access_log;
pub mod acl;
pub mod client_id;
mod cut;
mod denials;
mod identity;
mod observe;
mod observed;
pub mod property_edit;
pub mod publish_rules;
pub mod template;
pub mod topic_map;
mod unwritable;
mod will;

pub use self::{
    identity::Names,
    observe::{Action, Observer},
    observed::Observed,
    template::TemplateError,
    will::DeniedWill,
};
