//! `[chains.NAME]` and `[layers.NAME]`.

use super::{ClientIdFile, Listing, Located, PropertyEditFile, Setting, TopicMapFile};
use crate::model::{
    AccessEvent, AclAction, AclDefault, AclOnDeny, AclSubscribe, DeniedWill, Reauthentication,
    VendorForm,
};
use crate::scalar::{FilterTemplate, Number, Text};
use mproxy_layers::acl::Network;
use schemars::JsonSchema;
use serde::Deserialize;

/// A list of layers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub(crate) struct ChainFile {
    /// Names of layers, outermost first; at most 8.
    #[schemars(extend("default" = [], "maxItems" = 8))]
    pub layers: Listing<Text>,
}

/// A layer. `type` decides which keys it has.
// The reader looks at `type` first and then reads one of the variants, so that a wrong key
// is reported where it stands; as a tagged enum, serde would report the table's header.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
#[schemars(inline)]
pub(crate) enum LayerFile {
    /// One log line for each event of a session. Payloads and passwords are never logged.
    AccessLog(AccessLogFile),
    /// Who may publish and subscribe where. The first rule that matches decides.
    Acl(Box<AclFile>),
    /// The client's topics in another place at the broker; the client does not see it.
    TopicMap(Box<TopicMapFile>),
    /// Who may use which client id, and what the broker sees of it.
    ClientId(Box<ClientIdFile>),
    /// User Properties of MQTT 5 that are taken out or appended.
    PropertyEdit(Box<PropertyEditFile>),
}

/// `type = "access-log"`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub(crate) struct AccessLogFile {
    /// Which events are logged. What needs attention has its line whatever is in this list.
    #[schemars(extend("default" =
        ["connect", "disconnect", "subscribe", "unsubscribe", "deny", "error"]))]
    pub events: Listing<AccessEvent>,
    /// With the event "publish": the share of PUBLISH packets that is logged; 0.01 = one in
    /// a hundred. Of these lines, too, more than log.max_rate allows are left out and counted.
    #[schemars(extend("default" = 0.0))]
    pub publish_sample: Setting<Number>,
}

/// `type = "acl"`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub(crate) struct AclFile {
    /// What happens when no rule matches.
    #[schemars(extend("default" = "deny"))]
    pub default: Setting<AclDefault>,
    /// How a subscription wider than the rules is answered. strict: refused in SUBACK;
    /// mosquitto: accepted, and deliveries are filtered; shared subscriptions are judged
    /// strictly all the same.
    #[schemars(extend("default" = "strict"))]
    pub subscribe: Setting<AclSubscribe>,
    /// What a denied client is told. reject: reason code 0x87 (MQTT 5), acknowledged and
    /// dropped (3.1.1); drop: always acknowledged and dropped; disconnect: closed.
    #[schemars(extend("default" = "reject"))]
    pub on_deny: Setting<AclOnDeny>,
    /// What becomes of a client whose will is denied. refuse: it is not let in; strip: it is,
    /// without its will.
    #[schemars(extend("default" = "refuse"))]
    pub will: Setting<DeniedWill>,
    /// Judge Response Topics (MQTT 5) as if the client published there itself.
    #[schemars(extend("default" = false))]
    pub check_response_topics: Setting<bool>,
    /// Forms beyond the standard that the broker knows; they are judged by the topic inside.
    /// Others are refused.
    #[schemars(extend("default" = []))]
    pub vendor: Listing<VendorForm>,
    /// A client that authenticates again while it is connected (AUTH 0x19), if the layer goes by
    /// names. refuse: it is closed with 0x8C; pass: the names stay those of CONNECT.
    #[schemars(extend("default" = "refuse"))]
    pub reauthentication: Setting<Reauthentication>,
    /// The rules; the first that matches decides.
    pub rules: Vec<Located<RuleFile>>,
}

/// A rule of an access control list. Has either `allow` or `deny`, and `topics` or
/// `filters` or both.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub(crate) struct RuleFile {
    /// What a denial is reported under.
    pub name: Setting<Text>,
    /// What is allowed.
    pub allow: Listing<AclAction>,
    /// What is denied.
    pub deny: Listing<AclAction>,
    /// Topics, as topic filters; ${client_id}, ${username} and ${cn} are filled in.
    pub topics: Listing<FilterTemplate>,
    /// Subscription filters, compared as they stand: "#" is the filter "#", not every topic.
    pub filters: Listing<FilterTemplate>,
    /// Only for clients with one of these user names. An empty list is an error.
    #[schemars(extend("minItems" = 1))]
    pub usernames: Listing<Text>,
    /// Only for clients with one of these client ids. An empty list is an error.
    #[schemars(extend("minItems" = 1))]
    pub client_ids: Listing<Text>,
    /// true: only for clients without a user name; false: only for those with one.
    pub anonymous: Setting<bool>,
    /// Only for clients of one of these listeners. An empty list is an error.
    #[schemars(extend("minItems" = 1))]
    pub listeners: Listing<Text>,
    /// Only for clients whose address is in one of these networks. An empty list is an error.
    #[schemars(extend("minItems" = 1))]
    pub networks: Listing<Network>,
}
