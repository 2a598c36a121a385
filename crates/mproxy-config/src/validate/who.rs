//! Which clients a rule of an acl is about.

use super::placeholders;
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::layer::AclWho;
use crate::layer::RuleKeys;
use crate::scalar::{Scalar, Text};
use crate::section::Listing;
use mproxy_layers::acl::Network;
use std::net::IpAddr;
use toml::Spanned;

/// Which clients a rule matches. Another check finds listeners that do not exist.
pub(crate) fn who(cx: &mut Context, rule: &str, keys: &RuleKeys) -> AclWho {
    nobody(cx, rule, &keys.usernames);
    nobody(cx, rule, &keys.client_ids);
    nobody(cx, rule, &keys.listeners);
    nobody(cx, rule, &keys.networks);
    let who = AclWho {
        usernames: sorted(literal(cx, &keys.usernames, FOR_ALL)),
        client_ids: sorted(literal(cx, &keys.client_ids, FOR_ALL)),
        anonymous: cx.given(&keys.anonymous),
        listeners: sorted(values(cx, &keys.listeners)),
        networks: networks(cx, &keys.networks),
    };
    if let (Some(true), Some(span)) = (who.anonymous, keys.usernames.span())
        && !who.usernames.is_empty()
    {
        let message = format!("rule `{rule}` matches no client");
        let label = "a client with a user name is not anonymous; make two rules";
        cx.push(Diagnostic::error(message).at(span).label(label));
    }
    who
}

/// Reports an empty list of clients: if its last name is removed, the rule must not match everybody.
fn nobody<T>(cx: &mut Context, rule: &str, listing: &Listing<T>) {
    if let Some(span) = cx.nothing_in(listing) {
        let message = format!("rule `{rule}` matches no client");
        let label = "remove the key to match all clients";
        cx.push(Diagnostic::error(message).at(span).label(label));
    }
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names.dedup();
    names
}

const FOR_ALL: &str = "names are compared literally; remove the key to match all clients";

/// Names. Reports those that look like patterns.
pub(crate) fn literal(
    cx: &mut Context,
    listing: &Listing<Text>,
    label: &'static str,
) -> Vec<String> {
    let given = cx.list(listing).unwrap_or_default();
    for name in &given {
        let text = name.get_ref();
        let placeholder = text.contains("${") || !placeholders::meant(text).is_empty();
        if placeholder || text.contains(['*', '#']) {
            let message = format!("`{text}` is taken literally");
            cx.push(Diagnostic::warning(message).at(name.span()).label(label));
        }
    }
    given.into_iter().map(Spanned::into_inner).collect()
}

fn values<T: Scalar>(cx: &mut Context, listing: &Listing<T>) -> Vec<T::Value> {
    let given = cx.list(listing).unwrap_or_default();
    given.into_iter().map(Spanned::into_inner).collect()
}

/// Networks. Reports single addresses that look like networks.
fn networks(cx: &mut Context, listing: &Listing<Network>) -> Vec<Network> {
    for (text, span) in listing.texts() {
        if let (Some(network), true) = (network_of(text), text.parse::<Network>().is_ok()) {
            let message = format!("`{text}` is a single address");
            let all = if text.contains(':') { 128 } else { 32 };
            let label =
                format!("did you mean `{network}`? For this one address, write `{text}/{all}`");
            cx.push(Diagnostic::warning(message).at(span).label(label));
        }
    }
    values(cx, listing)
}

/// The network that was probably meant by an address without a prefix length: `10.0.0.0/8`.
fn network_of(text: &str) -> Option<String> {
    let length = match text.parse().ok()? {
        IpAddr::V4(address) => match address.octets() {
            [0, 0, 0, 0] => 0,
            [_, 0, 0, 0] => 8,
            [_, _, 0, 0] => 16,
            [_, _, _, 0] => 24,
            _ => return None,
        },
        IpAddr::V6(address) if address.is_unspecified() => 0,
        IpAddr::V6(_) if text.ends_with("::") => 64,
        IpAddr::V6(_) => return None,
    };
    Some(format!("{text}/{length}"))
}
