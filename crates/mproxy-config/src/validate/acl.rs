//! `type = "acl"`.

use super::placeholders::{self, Known};
use super::{gaps, levels, shadow, who};
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::file::{AclFile, Listing, Located, RuleFile};
use crate::model::{
    Acl, AclAction, AclDefault, AclOnDeny, AclRule, AclSubscribe, DeniedWill, Reauthentication,
    Template, VendorForm,
};
use crate::scalar::FilterTemplate;
use mproxy_codec::topic::VendorForms;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;

/// Checks an access control list.
pub(super) fn acl(cx: &mut Context, name: &str, keys: &AclFile, header: &Range<usize>) -> Acl {
    let default = cx.value(&keys.default, AclDefault::Deny);
    let vendor = vendor_forms(cx, &keys.vendor);
    let mut rules = Vec::new();
    for (index, file) in keys.rules.iter().enumerate() {
        rules.extend(rule(cx, index, file, &vendor).map(|rule| (file.span.clone(), rule)));
    }
    let index = shadow::unreachable(cx, &rules);
    gaps::check(cx, default, &keys.rules, &rules, &index);
    let idle = match default {
        AclDefault::Deny if keys.rules.is_empty() => Some("denies everything"),
        AclDefault::Allow if rules.iter().all(|(_, rule)| rule.allow) => Some("denies nothing"),
        _ => None,
    };
    if let (Some(what), true) = (idle, rules.len() == keys.rules.len()) {
        let message = format!("acl `{name}` {what}");
        let label = "add [[layers.NAME.rules]]";
        cx.push(Diagnostic::warning(message).at(header.clone()).label(label));
    }
    Acl {
        default,
        subscribe: cx.value(&keys.subscribe, AclSubscribe::Strict),
        on_deny: cx.value(&keys.on_deny, AclOnDeny::Reject),
        will: cx.value(&keys.will, DeniedWill::Refuse),
        check_response_topics: cx.value(&keys.check_response_topics, false),
        vendor,
        reauthentication: cx.value(&keys.reauthentication, Reauthentication::Refuse),
        rules: rules.into_iter().map(|(_, rule)| rule).collect(),
    }
}

/// The forms of topics in a list, each once.
pub(super) fn vendor_forms(cx: &mut Context, listing: &Listing<VendorForm>) -> Vec<VendorForm> {
    let given = cx.list(listing).unwrap_or_default();
    let mut forms: Vec<_> = given.into_iter().map(Spanned::into_inner).collect();
    forms.sort_unstable();
    forms.dedup();
    forms
}

fn rule(
    cx: &mut Context,
    index: usize,
    file: &Located<RuleFile>,
    vendor: &[VendorForm],
) -> Option<AclRule> {
    let keys = &file.value;
    let name = cx.value(&keys.name, format!("rule {}", index + 1));
    let topics = patterns(cx, &keys.topics, vendor);
    let filters = patterns(cx, &keys.filters, vendor);
    if keys.topics.is_empty() && keys.filters.is_empty() {
        let message = format!("rule `{name}` says nothing about topics");
        let label = "add `topics = [...]`; \"#\" stands for all";
        cx.push(
            Diagnostic::error(message)
                .at(file.span.clone())
                .label(label),
        );
    }
    let (allow, listing) = match (keys.allow.span(), keys.deny.span()) {
        (Some(_), None) => (true, &keys.allow),
        (None, Some(_)) => (false, &keys.deny),
        (Some(allow), Some(deny)) => {
            let message = format!("rule `{name}` both allows and denies");
            let error = Diagnostic::error(message)
                .at(deny)
                .label("make this a second rule");
            cx.push(error.related(allow, "allowed here"));
            return None;
        }
        (None, None) => {
            let message = format!("rule `{name}` neither allows nor denies");
            let label = "add `allow = [\"publish\", \"subscribe\"]` or `deny = [...]`";
            cx.push(
                Diagnostic::error(message)
                    .at(file.span.clone())
                    .label(label),
            );
            return None;
        }
    };
    let who = who::who(cx, &name, keys);
    let actions = actions(cx, &name, listing)?;
    if let (Some(span), true) = (keys.filters.span(), keys.topics.is_empty())
        && actions.len() > 1
    {
        // It would look like a rule about publishing, and would be none.
        let message = format!("rule `{name}` has only filters for publishing");
        let label = "filters are compared with those of SUBSCRIBE; add `topics`, or make two rules";
        cx.push(Diagnostic::error(message).at(span).label(label));
    }
    if let Some(span) = keys.filters.span()
        && !actions.contains(&AclAction::Subscribe)
    {
        let message = format!("rule `{name}` has filters, and is not about subscribing");
        let label = "filters are compared with those of SUBSCRIBE; use `topics`";
        cx.push(Diagnostic::error(message).at(span).label(label));
    }
    Some(AclRule {
        name,
        allow,
        actions,
        topics,
        filters,
        who,
        at: place(cx, &file.span),
    })
}

fn actions(cx: &mut Context, rule: &str, listing: &Listing<AclAction>) -> Option<Vec<AclAction>> {
    let given = cx.list(listing)?;
    let mut actions: Vec<_> = given.into_iter().map(Spanned::into_inner).collect();
    actions.sort_unstable();
    actions.dedup();
    if !actions.is_empty() {
        return Some(actions);
    }
    // Words that are wrong were reported; an empty list was not.
    if let (true, Some(span)) = (listing.is_empty(), listing.span()) {
        let message = format!("rule `{rule}` is about nothing");
        let label = "expected \"publish\", \"subscribe\" or both";
        cx.push(Diagnostic::error(message).at(span).label(label));
    }
    None
}

fn patterns(
    cx: &mut Context,
    listing: &Listing<FilterTemplate>,
    vendor: &[VendorForm],
) -> Vec<Template> {
    let forms = VendorForm::set(vendor);
    let Some(given) = cx.list(listing) else {
        return Vec::new();
    };
    let mut patterns = Vec::new();
    for pattern in given {
        let span = pattern.span();
        let pattern = pattern.into_inner();
        placeholders::check(cx, &pattern, &span, Known::All);
        levels::check(cx, &pattern, &span);
        if VendorForms::of(pattern.as_str()).is_some_and(|form| forms.contains(form)) {
            // It would never be asked: a denial in it would deny nothing.
            let message = format!("`{pattern}` is judged by the topic inside");
            let label = "leave out what is before it, or the form out of `vendor`";
            cx.push(Diagnostic::error(message).at(span).label(label));
            continue;
        }
        patterns.push(pattern);
    }
    patterns
}

/// `file:line` of a rule, without the directories.
fn place(cx: &Context, span: &Range<usize>) -> String {
    let Some(place) = cx.report.sources.find(span) else {
        return String::new();
    };
    let name = Path::new(place.name).file_name();
    let name = name.map_or_else(|| place.name.into(), |it| it.to_string_lossy());
    format!("{name}:{}", place.line)
}
