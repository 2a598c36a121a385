//! Client ids that one chain checks, and another chain of the same broker does not.

use crate::chain::Chain;
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::layer::{ClientId, ClientIdRequire, Layer, LayerKind};
use crate::listener::Listener;
use crate::listener::Placed;
use mproxy_transport::UpstreamAddr;
use std::collections::{BTreeMap, BTreeSet};

/// Maximum pairs of chains to compare; a thousand chains of one broker are fewer.
const MAX_STEPS: usize = 1_000_000;

/// Warns about listeners that reach one broker through chains with different rules for client ids.
///
/// A broker has one session per client id, whichever listener it came through: a client of the
/// one listener ends the session of a client of the other and takes its queued messages, although
/// each chain alone looks fine. `require = "any"` says that this is intended.
pub(super) fn check(cx: &mut Context, listeners: &[Placed]) {
    if cx.report.errors() > 0 {
        // A listener with a wrong reference has a stand-in chain.
        return;
    }
    // once per chain, not for each pair of listeners
    let mut told = BTreeSet::new();
    // and each pair of chains of a broker once, however many listeners they have
    let mut kinds: BTreeMap<String, Vec<&Placed>> = BTreeMap::new();
    let mut compared: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut steps = 0;
    for later in listeners {
        let upstream = &later.listener.upstream;
        let kind = (&*later.listener.chain.name, &*upstream.name);
        let kinds = kinds.entry(broker(&upstream.address)).or_default();
        let known = compared.contains_key(&kind);
        let from = compared.insert(kind, kinds.len()).unwrap_or_default();
        for earlier in kinds.iter().skip(from).copied() {
            steps += 1;
            if steps > MAX_STEPS {
                return cx.push(given_up(later));
            }
            let (taker, owner) = match owning(&earlier.listener.chain).next() {
                None => (earlier, later),
                Some(_) => (later, earlier),
            };
            let (from, of) = (&taker.listener, &owner.listener);
            if can_take(&from.chain, &of.chain)
                && told.insert((&from.chain.name, &from.upstream.name))
            {
                cx.push(warning(taker, owner));
            }
        }
        if !known {
            kinds.push(later);
        }
    }
}

fn given_up(from: &Placed) -> Diagnostic {
    let message =
        "not all chains were checked for client ids that clients can take from each other";
    let label = "mproxy did not check this listener and the later ones";
    let note = "more than a thousand chains reach one broker; let listeners share chains";
    let warning = Diagnostic::warning(message).at(from.span.clone());
    warning.label(label).note(note)
}

fn warning(taker: &Placed, owner: &Placed) -> Diagnostic {
    let (from, of) = (&taker.listener, &owner.listener);
    let message = format!(
        "clients of listener `{}` can take the client ids of listener `{}`",
        from.name, of.name
    );
    let label = match owning(&from.chain).next() {
        None => format!("chain `{}` does not check client ids", from.chain.name),
        Some((layer, _)) => format!(
            "chain `{}` checks client ids by `{}`, which differs",
            from.chain.name, layer.name
        ),
    };
    let warning = Diagnostic::warning(message)
        .at(taker.span.clone())
        .label(label);
    // `can_take` found one
    let Some((layer, _)) = owning(&of.chain).next() else {
        return warning;
    };
    let (chain, ids) = (&of.chain.name, &layer.name);
    let owns = format!(
        "chain `{chain}` checks client ids by `{ids}`; {}",
        shared(from, of)
    );
    let remedy = format!(
        "put `{ids}` in both chains; if this is intended, put a layer of type \"client-id\" with \
         `require = \"any\"` into chain `{}`",
        from.chain.name
    );
    warning.related(owner.span.clone(), owns).note(remedy)
}

fn shared(one: &Listener, other: &Listener) -> String {
    let (one, other) = (&one.upstream.name, &other.upstream.name);
    match one == other {
        true => format!("both reach upstream `{one}`"),
        false => format!("upstreams `{one}` and `{other}` are one broker"),
    }
}

/// True when clients of `taker` can use an id that a client of `owner` has.
fn can_take(taker: &Chain, owner: &Chain) -> bool {
    let mut chains = [taker, owner].into_iter();
    let judged = chains.any(|it| it.layers.iter().any(|layer| layer.kind.judges()));
    let owned = owning(owner).next().is_some();
    let same = owning(taker)
        .map(|(_, it)| it)
        .eq(owning(owner).map(|(_, it)| it));
    let wanted = ids(taker).any(|(_, it)| it.any_is_wanted);
    let (ours, theirs) = (start(taker), start(owner));
    let apart = !ours.starts_with(theirs) && !theirs.starts_with(ours);
    let apart = apart || begins_behind_a_name(taker, owner) || begins_behind_a_name(owner, taker);
    judged && owned && !same && !wanted && !apart
}

/// How a layer checks client ids.
#[derive(Debug, PartialEq, Eq)]
struct Ownership<'a> {
    require: ClientIdRequire,
    /// The separator or the template, if `require` uses it.
    text: &'a str,
    prefix: &'a str,
}

/// The layers of a chain that check its client ids, or keep them apart from those of other chains.
fn owning(chain: &Chain) -> impl Iterator<Item = (&Layer, Ownership<'_>)> {
    ids(chain).filter_map(|(layer, ids)| {
        let somebodys = ids.required().is_ok_and(|it| !it.names_nobody());
        let (require, text) = match ids.require {
            _ if !somebodys => (ClientIdRequire::Any, ""),
            ClientIdRequire::PrefixUsername => (ids.require, &*ids.separator),
            ClientIdRequire::Template => (ids.require, template(ids)),
            other => (other, ""),
        };
        let prefix = prefix(ids);
        let ownership = Ownership {
            require,
            text,
            prefix,
        };
        (somebodys || !prefix.is_empty()).then_some((layer, ownership))
    })
}

fn ids(chain: &Chain) -> impl Iterator<Item = (&Layer, &ClientId)> {
    chain.layers.iter().filter_map(|layer| match &layer.kind {
        LayerKind::ClientId(ids) => Some((&**layer, ids)),
        _ => None,
    })
}

fn template(ids: &ClientId) -> &str {
    ids.template.as_ref().map_or("", |it| it.as_str())
}

fn prefix(ids: &ClientId) -> &str {
    ids.prefix.as_ref().map_or("", |it| it.as_str())
}

/// The common prefix of all ids of a chain at the broker.
fn start(chain: &Chain) -> &str {
    let literal = |text| str::split(text, ['$', '*']).next().unwrap_or_default();
    let mut found = "";
    for (_, ids) in ids(chain) {
        found = match (prefix(ids), ids.require) {
            ("", ClientIdRequire::Template) => literal(template(ids)),
            // an id with a prefix has it in front
            ("", _) => found,
            (prefix, _) => literal(prefix),
        };
    }
    found
}

/// True when the ids of `other` begin with what stands behind the user name in those of `named`: a user
/// name is never empty, and does not hold the character that ends it.
fn begins_behind_a_name(named: &Chain, other: &Chain) -> bool {
    let ends = ids(named).last().and_then(|(_, ids)| {
        let behind = prefix(ids).strip_prefix("${username}")?;
        behind.chars().next().filter(|end| *end != '$')
    });
    ends.is_some_and(|end| start(other).starts_with(end))
}

/// The same text for two addresses of one broker, and for no others.
fn broker(address: &UpstreamAddr) -> String {
    let (Some(host), Some(port)) = (address.host(), address.port()) else {
        return address.to_string();
    };
    let host = match &*host.to_ascii_lowercase() {
        "localhost" | "::1" => "127.0.0.1".to_owned(),
        name => name.to_owned(),
    };
    let carrier = if address.is_websocket() { "ws" } else { "tcp" };
    format!("{carrier} {host} {port}")
}
