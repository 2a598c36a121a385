//! `[chains.NAME]` and `[layers.NAME]`: what packets pass on their way.

use super::{AccessLog, Acl, ClientId, PropertyEdit, TopicMap};
use std::sync::Arc;

/// The most layers that one chain may hold.
///
/// Chains are composed statically, without a virtual call per packet, so there is one type
/// for each length; eight is more than any deployment that we know of uses.
pub const MAX_CHAIN_LAYERS: usize = 8;

/// A list of layers, outermost first.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// At most [`MAX_CHAIN_LAYERS`], outermost first; the client's packets meet the first
    /// one first.
    pub layers: Vec<Arc<Layer>>,
}

/// A layer with its settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Its name in logs and metrics.
    pub name: String,
    /// What it does.
    pub kind: LayerKind,
}

/// What a layer does.
#[derive(Clone, Debug, PartialEq)]
pub enum LayerKind {
    /// `type = "access-log"`: one line for each event of a session.
    AccessLog(AccessLog),
    /// `type = "acl"`: who may publish and subscribe where.
    Acl(Acl),
    /// `type = "topic-map"`: topics of the client in another place at the broker.
    TopicMap(TopicMap),
    /// `type = "client-id"`: who may use which client id.
    ClientId(ClientId),
    /// `type = "property-edit"`: User Properties that are taken out or appended.
    PropertyEdit(PropertyEdit),
}

impl LayerKind {
    /// The value of `type`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AccessLog(_) => "access-log",
            Self::Acl(_) => "acl",
            Self::TopicMap(_) => "topic-map",
            Self::ClientId(_) => "client-id",
            Self::PropertyEdit(_) => "property-edit",
        }
    }
}
