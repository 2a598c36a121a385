//! One table: its keys are known, or reported.

use super::fields::keys_of;
use super::reserved::{renamed, reserved};
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::file::{
    AccessLogFile, AclFile, AdminFile, ChainFile, ClientIdFile, File, HealthFile, LimitsFile,
    ListenerFile, LogFile, MapRuleFile, PropertyEditFile, RuleFile, ServerFile, SuperFile,
    ToClientFile, TopicMapFile, UpstreamFile,
};
use crate::scalar::{closest, part, quoted};
use serde::de::DeserializeOwned;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, Deserializer};

/// A kind of table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Root,
    Server,
    Listener,
    Limits,
    Upstream,
    Health,
    Chain,
    AccessLog,
    Acl,
    Rule,
    TopicMap,
    MapRule,
    Super,
    ClientId,
    PropertyEdit,
    ToClient,
    Admin,
    Log,
}

/// A table whose keys are known.
pub(super) trait Keys: DeserializeOwned + Default {
    /// Which table it is.
    const SECTION: Section;
}

/// Every section, with its header as one writes it.
const HEADERS: [(Section, &str); 18] = [
    (Section::Root, "the top of the file"),
    (Section::Server, "[server]"),
    (Section::Listener, "[[listeners]]"),
    (Section::Limits, "[listeners.limits]"),
    (Section::Upstream, "[upstreams.NAME]"),
    (Section::Health, "[upstreams.NAME.health]"),
    (Section::Chain, "[chains.NAME]"),
    (Section::AccessLog, "[layers.NAME] of type \"access-log\""),
    (Section::Acl, "[layers.NAME] of type \"acl\""),
    (Section::Rule, "[[layers.NAME.rules]]"),
    (Section::TopicMap, "[layers.NAME] of type \"topic-map\""),
    (
        Section::MapRule,
        "[[layers.NAME.rules]] of a layer of type \"topic-map\"",
    ),
    (Section::Super, "[layers.NAME.super]"),
    (Section::ClientId, "[layers.NAME] of type \"client-id\""),
    (
        Section::PropertyEdit,
        "[layers.NAME] of type \"property-edit\"",
    ),
    (Section::ToClient, "[layers.NAME.to_client]"),
    (Section::Admin, "[admin]"),
    (Section::Log, "[log]"),
];

impl Section {
    /// Its header as one writes it.
    pub(super) fn header(self) -> &'static str {
        HEADERS
            .iter()
            .find(|(section, _)| *section == self)
            .map_or("", |(_, header)| *header)
    }

    /// The section whose keys are easily written into this one: a listener's and its limits'.
    const fn neighbour(self) -> Option<Self> {
        match self {
            Self::Listener => Some(Self::Limits),
            Self::Limits => Some(Self::Listener),
            _ => None,
        }
    }

    /// The sections that stand inside of this one, or around it.
    const fn family(self) -> &'static [Self] {
        match self {
            Self::Listener => &[Self::Limits],
            Self::Limits => &[Self::Listener],
            Self::Upstream => &[Self::Health],
            Self::Health => &[Self::Upstream],
            Self::Acl => &[Self::Rule],
            Self::Rule => &[Self::Acl],
            Self::TopicMap => &[Self::Super, Self::MapRule],
            Self::Super | Self::MapRule => &[Self::TopicMap, Self::Super, Self::MapRule],
            Self::PropertyEdit => &[Self::ToClient],
            Self::ToClient => &[Self::PropertyEdit],
            _ => &[],
        }
    }

    /// The header of the section that a key of this name belongs to: of several, the nearest, or all
    /// the layers that have it.
    fn home(self, key: &str) -> Option<String> {
        let has = |section: &&Self| section.keys().contains(&key);
        if let Some(near) = self.family().iter().find(has) {
            return Some(near.header().to_owned());
        }
        let mut all = HEADERS.iter().map(|(section, _)| section).filter(has);
        let home = all.next()?;
        let mut header = home.header().to_owned();
        if home.layer_type().is_some() {
            for other in all.filter_map(|other| other.layer_type()) {
                header += &format!(" or \"{other}\"");
            }
        }
        Some(header)
    }

    /// The `type` of a layer that has these keys.
    fn layer_type(self) -> Option<&'static str> {
        match self {
            Self::AccessLog => Some("access-log"),
            Self::Acl => Some("acl"),
            Self::TopicMap => Some("topic-map"),
            Self::ClientId => Some("client-id"),
            Self::PropertyEdit => Some("property-edit"),
            _ => None,
        }
    }

    /// Its keys.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Root => keys_of::<File>(),
            Self::Server => keys_of::<ServerFile>(),
            Self::Listener => keys_of::<ListenerFile>(),
            Self::Limits => keys_of::<LimitsFile>(),
            Self::Upstream => keys_of::<UpstreamFile>(),
            Self::Health => keys_of::<HealthFile>(),
            Self::Chain => keys_of::<ChainFile>(),
            Self::AccessLog => keys_of::<AccessLogFile>(),
            Self::Acl => keys_of::<AclFile>(),
            Self::Rule => keys_of::<RuleFile>(),
            Self::TopicMap => keys_of::<TopicMapFile>(),
            Self::MapRule => keys_of::<MapRuleFile>(),
            Self::Super => keys_of::<SuperFile>(),
            Self::ClientId => keys_of::<ClientIdFile>(),
            Self::PropertyEdit => keys_of::<PropertyEditFile>(),
            Self::ToClient => keys_of::<ToClientFile>(),
            Self::Admin => keys_of::<AdminFile>(),
            Self::Log => keys_of::<LogFile>(),
        }
    }
}

impl Context {
    /// Reads a table. Unknown keys are reported and left out, so that they do not hide other
    /// problems.
    pub(super) fn section<T: Keys>(&mut self, table: Spanned<DeTable<'_>>) -> T {
        let span = table.span();
        let known = T::SECTION.keys();
        let mut kept = DeTable::new();
        for (key, value) in table.into_inner() {
            if known.contains(&&**key.get_ref()) {
                kept.insert(key, value);
            } else {
                let value = value.get_ref().as_str();
                self.unknown_key(T::SECTION, key.get_ref(), value, key.span());
            }
        }
        match T::deserialize(Deserializer::from(Spanned::new(span.clone(), kept))) {
            Ok(value) => value,
            // Settings accept every value, so this is a table in the place of a value or
            // the other way round.
            Err(error) => {
                let at = error.span().unwrap_or(span);
                self.push(Diagnostic::error(error.message().to_owned()).at(at));
                T::default()
            }
        }
    }

    fn unknown_key(
        &mut self,
        section: Section,
        key: &str,
        value: Option<&str>,
        span: Range<usize>,
    ) {
        if let Some((instead, note)) = renamed(section, key, value) {
            let message = format!("`{key}` has another name now");
            let label = format!("write `{instead}`");
            let diagnostic = Diagnostic::error(message).at(span).label(label);
            return self.push(diagnostic.note(note));
        }
        let neighbour = section.neighbour();
        let moved = neighbour.and_then(|it| Some((it, renamed(it, key, value)?)));
        if let Some((there, (instead, note))) = moved {
            let message = format!("`{key}` has another name now, and another place");
            let label = format!("write `{instead}` in {}", there.header());
            let diagnostic = Diagnostic::error(message).at(span).label(label);
            return self.push(diagnostic.note(note));
        }
        let instead = reserved(section, key)
            .or_else(|| neighbour.and_then(|neighbour| reserved(neighbour, key)));
        if let Some(instead) = instead {
            let message = format!("`{key}` is not available in this version");
            return self.push(Diagnostic::error(message).at(span).label(instead));
        }
        let known = section.keys();
        let mut diagnostic = Diagnostic::error(format!("unknown key `{key}`")).at(span);
        let plural = [key, "s"].concat();
        if let Some(plural) = known.iter().find(|it| **it == plural) {
            // `[upstream.broker]` is not the `upstream` of a listener.
            diagnostic = diagnostic.label(format!("did you mean `{plural}`?"));
        // A key of another section was not misspelt.
        } else if let Some(header) = section.home(key) {
            diagnostic = diagnostic.label(format!("this key belongs into {header}"));
        } else if let Some(near) = closest(key, known.iter().copied()) {
            diagnostic = diagnostic.label(format!("did you mean `{near}`?"));
        } else if let Some(part) = part(key, known.iter().copied()) {
            diagnostic = diagnostic.label(format!("did you mean `{part}`?"));
        }
        // The section of `type` is known without it; it is a key all the same.
        let also = section.layer_type().map(|_| "type").into_iter();
        let keys = quoted(also.chain(known.iter().copied()));
        self.push(diagnostic.note(format!("keys here: {keys}")));
    }
}

macro_rules! sections {
    ($($table:ty => $section:ident,)*) => {
        $(impl Keys for $table {
            const SECTION: Section = Section::$section;
        })*
    };
}

sections! {
    File => Root,
    ServerFile => Server,
    ListenerFile => Listener,
    LimitsFile => Limits,
    UpstreamFile => Upstream,
    HealthFile => Health,
    ChainFile => Chain,
    AccessLogFile => AccessLog,
    AclFile => Acl,
    RuleFile => Rule,
    TopicMapFile => TopicMap,
    MapRuleFile => MapRule,
    SuperFile => Super,
    ClientIdFile => ClientId,
    PropertyEditFile => PropertyEdit,
    ToClientFile => ToClient,
    AdminFile => Admin,
    LogFile => Log,
}
