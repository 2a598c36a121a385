//! `[layers.NAME]` of type `topic-map`.

use super::{Listing, Located, Setting};
use crate::model::{DeniedWill, Reauthentication, VendorForm};
use crate::scalar::{PrefixTemplate, StartTemplate, Text};
use schemars::JsonSchema;
use serde::Deserialize;

/// `type = "topic-map"`. Has `prefix` or `rules` or both.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub(crate) struct TopicMapFile {
    /// What stands before the client's topics at the broker; ${username}, ${client_id} and ${cn}
    /// are filled in. With rules: before the topics that no rule is about.
    pub prefix: Setting<PrefixTemplate>,
    /// A client whose will has no place in the map: refused, or let in without its will.
    #[schemars(extend("default" = "refuse"))]
    pub will: Setting<DeniedWill>,
    /// Forms beyond the standard that the broker knows; the topic inside is mapped. Others are
    /// refused.
    #[schemars(extend("default" = []))]
    pub vendor: Listing<VendorForm>,
    /// Put the groups of shared subscriptions under the tenant: `acme:workers`.
    #[schemars(extend("default" = true))]
    pub group_prefix: Setting<bool>,
    /// A client that authenticates again while it is connected (AUTH 0x19), if the layer goes by
    /// names. refuse: it is closed with 0x8C; pass: the names stay those of CONNECT.
    #[schemars(extend("default" = "refuse"))]
    pub reauthentication: Setting<Reauthentication>,
    /// Clients that are not mapped: they see the broker as it is, all tenants included.
    #[serde(rename = "super")]
    pub super_clients: SuperFile,
    /// The first that a topic begins with replaces that.
    pub rules: Vec<Located<MapRuleFile>>,
}

/// Clients that are not mapped.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub(crate) struct SuperFile {
    /// By user name.
    #[schemars(extend("default" = []))]
    pub usernames: Listing<Text>,
    /// By client id, which anybody can claim.
    #[schemars(extend("default" = []))]
    pub client_ids: Listing<Text>,
}

/// A rule of a topic map.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub(crate) struct MapRuleFile {
    /// What topics begin with at the client, whole levels: "devices/" is `devices` and what is
    /// below; "" is everything.
    pub from: Setting<StartTemplate>,
    /// What they begin with at the broker instead; ${username}, ${client_id} and ${cn} are filled
    /// in.
    pub to: Setting<StartTemplate>,
    /// All clients meet there, although other rules keep them apart; they may read there.
    #[schemars(extend("default" = false))]
    pub shared: Setting<bool>,
    /// With `shared`: clients may publish there, too.
    #[schemars(extend("default" = false))]
    pub writable: Setting<bool>,
}
