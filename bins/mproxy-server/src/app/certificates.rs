//! The certificates and revocation lists of a plan: for the metrics, and for warnings.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use mproxy_admin::{Certificate, ListFile, TlsSide};
use mproxy_config::diagnostics::Diagnostic;
use mproxy_config::{Config, ListenerTls, OnUnavailable, TlsPlace, UpstreamTls};
use mproxy_transport::{CertificateNames, RevocationFile, TlsSetting, UnlistedCa};

use super::plan::Plan;

/// Each side of TLS of a plan: its certificates, and the files of its revocation lists.
fn sides(plan: &Plan) -> impl Iterator<Item = (TlsSide, &[CertificateNames], &[RevocationFile])> {
    let listeners = plan.listeners.iter().filter_map(|listener| {
        let tls = listener.tls.as_ref()?;
        let side = TlsSide::Listener(listener.name.to_string());
        Some((side, tls.certificates(), tls.revocation_files()))
    });
    let upstreams = plan.upstreams.iter().filter_map(|upstream| {
        let tls = upstream.tls.as_ref()?;
        let side = TlsSide::Upstream(upstream.config.name.clone());
        let own = tls.certificate().map_or(&[][..], std::slice::from_ref);
        Some((side, own, tls.revocation_files()))
    });
    listeners.chain(upstreams)
}

/// The certificates that are shown to clients and brokers, for the metrics. Of several with one name, it is the
/// one that expires first: a sample that is there twice spoils all of them.
pub(super) fn shown(plan: &Plan) -> Vec<Certificate> {
    let mut shown = BTreeMap::new();
    for (side, certificates, _) in sides(plan) {
        for names in certificates {
            let name = names.dns_names.first();
            let name = name.or(names.common_name.as_ref());
            let certificate = Certificate {
                side: side.clone(),
                name: name.unwrap_or(&names.subject).clone(),
                not_before: names.not_before,
                not_after: names.not_after,
            };
            let key = (side.clone(), certificate.name.clone());
            let known = shown.entry(key).or_insert_with(|| certificate.clone());
            if certificate.not_after < known.not_after {
                *known = certificate;
            }
        }
    }
    shown.into_values().collect()
}

/// The files of revocation lists, for the metrics.
pub(super) fn list_files(plan: &Plan) -> Vec<ListFile> {
    let mut files = BTreeMap::new();
    for (side, _, lists) in sides(plan) {
        for list in lists {
            let file = list.file.display().to_string();
            // a file may be named twice
            files.insert((side.clone(), file), list.next_update);
        }
    }
    let files = files.into_iter();
    let files = files.map(|((side, file), next_update)| ListFile {
        side,
        file,
        next_update,
    });
    files.collect()
}

/// The files of revocation lists that each table names.
pub(super) fn list_tables(plan: &Plan) -> impl Iterator<Item = (String, &[RevocationFile])> {
    sides(plan).map(|(side, _, lists)| {
        let table = match side {
            TlsSide::Listener(name) => format!("listeners.{name}"),
            TlsSide::Upstream(name) => format!("upstreams.{name}"),
        };
        (table, lists)
    })
}

/// What is loaded, and of no use: clients or brokers will not trust it, or it keeps them out. Each at its key,
/// with what to do.
pub(super) fn warnings(config: &Config, plan: &Plan) -> Vec<Diagnostic> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = i64::try_from(now.unwrap_or_default().as_secs()).unwrap_or(i64::MAX);
    let mut warnings = Vec::new();
    let listeners = config.listeners.iter().zip(&plan.listeners);
    for (listener, planned) in listeners {
        let (Some(table), Some(tls)) = (&listener.tls, &planned.tls) else {
            continue;
        };
        let place = |setting| table.place(&listener.name, setting);
        for (index, certificate) in tls.certificates().iter().enumerate() {
            let setting = TlsSetting::Cert(index);
            warnings.extend(outdated(
                place(setting),
                certificate,
                "clients do not trust it",
                now,
            ));
        }
        let on_unavailable = format!(
            "renew it, or set listeners.{}.tls.revocation.on_unavailable to \"allow\"",
            listener.name
        );
        for list in expired(tls.revocation_files(), now) {
            let effect = match table.revocation.on_unavailable {
                OnUnavailable::Deny => "new clients are kept out",
                OnUnavailable::Allow => "it says about no client that it was revoked lately",
            };
            warnings.push(list_warning(
                place(list.setting),
                list,
                effect,
                &on_unavailable,
            ));
        }
        for ca in tls.unlisted_cas() {
            let (effect, lists) = (of_clients(ca, table), of_listener(&listener.name));
            warnings.push(unlisted(place(ca.setting), ca, effect, &lists));
        }
    }
    let upstreams = config.upstreams.values().zip(&plan.upstreams);
    for (upstream, planned) in upstreams {
        let Some(tls) = &planned.tls else {
            continue;
        };
        let place = |setting| UpstreamTls::place(upstream.tls.as_ref(), &upstream.name, setting);
        if let Some(certificate) = tls.certificate() {
            let place = place(TlsSetting::Cert(0));
            warnings.extend(outdated(
                place,
                certificate,
                "the broker does not trust it",
                now,
            ));
        }
        for list in expired(tls.revocation_files(), now) {
            let effect = "mproxy does not trust the broker";
            warnings.push(list_warning(place(list.setting), list, effect, "renew it"));
        }
        for ca in tls.unlisted_cas() {
            let effect = "mproxy trusts no broker whose certificate it has issued";
            let lists = format!("upstreams.{}.tls.crl_files", upstream.name);
            warnings.push(unlisted(place(ca.setting), ca, effect, &lists));
        }
    }
    warnings
}

/// What a CA without a list means for those whose certificates it has issued.
fn of_clients(ca: &UnlistedCa, tls: &ListenerTls) -> &'static str {
    match tls.revocation.on_unavailable {
        OnUnavailable::Allow if !ca.has_list_of_other_key => {
            "certificates that it has issued cannot be revoked by a list"
        }
        _ => "clients whose certificates it has issued are kept out",
    }
}

/// The keys that name the lists of a listener.
fn of_listener(name: &str) -> String {
    let table = format!("listeners.{name}.tls.revocation");
    format!("{table}.crl_files or {table}.crl_urls")
}

/// The warning about a CA without a list. `lists` are the keys that name lists.
fn unlisted(place: TlsPlace, ca: &UnlistedCa, effect: &str, lists: &str) -> Diagnostic {
    let subject = &ca.subject;
    match ca.has_list_of_other_key {
        false => place.warning(
            &format!("there is no revocation list of `{subject}`: {effect}"),
            format!("add its list to {lists}, or remove the CA"),
        ),
        true => place.warning(
            &format!("another CA with the name `{subject}` has signed the revocation list with this name: {effect}"),
            "give the CAs different names, or remove the CA that issues no certificates any more",
        ),
    }
}

fn outdated(
    place: TlsPlace,
    certificate: &CertificateNames,
    effect: &str,
    now: i64,
) -> Option<Diagnostic> {
    let what = match (certificate.not_before <= now, now < certificate.not_after) {
        (true, true) => return None,
        (false, _) => "is not valid yet",
        (true, false) => "has expired",
    };
    let what = format!(
        "the certificate of `{}` {what}: {effect}",
        certificate.subject
    );
    Some(place.warning(&what, "renew it, and check the clock"))
}

fn expired(files: &[RevocationFile], now: i64) -> impl Iterator<Item = &RevocationFile> {
    files.iter().filter(move |it| it.next_update <= now)
}

fn list_warning(place: TlsPlace, list: &RevocationFile, effect: &str, remedy: &str) -> Diagnostic {
    let file = list.file.display();
    let what = format!("the revocation list in `{file}` has expired: {effect}");
    place.warning(&what, remedy)
}
