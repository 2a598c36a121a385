//! Certificates while the proxy runs: files that change, and clients that are no longer trusted.
//!
//! Certificates are renewed by machines, every few days or hours. The files of TLS are read again when
//! they change, with the configuration as it is: one that is being edited does not come into effect.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mproxy_admin::{Certificate, ListFile, TlsSide};
use mproxy_codec::ReasonCode;
use mproxy_config::diagnostics::Diagnostic;
use mproxy_config::{Config, Content, Contents, ListenerTls, OnUnavailable, TlsPlace, UpstreamTls};
use mproxy_session::{CloseReason, Order, SessionHandle};
use mproxy_transport::{
    CertificateNames, RevocationFile, TlsFault, TlsServer, TlsSetting, TlsViolation, UnlistedCa,
};
use tokio::sync::watch::{self, Sender};
use tokio::time::sleep;

use super::event::{self, Asker};
use super::plan::Plan;
use super::registry::Registry;
use super::session::fill_listener;
use super::workers::Workers;

/// The tables of TLS, and the files that each is read from.
fn tables(config: &Config) -> impl Iterator<Item = (String, Vec<&PathBuf>)> {
    let listeners = config.listeners.iter().filter_map(|listener| {
        let files = listener.tls.as_ref()?.files();
        Some((format!("listeners.{}.tls", listener.name), files.collect()))
    });
    let upstreams = config.upstreams.values().filter_map(|upstream| {
        let files = upstream.tls.as_ref()?.files();
        Some((format!("upstreams.{}.tls", upstream.name), files.collect()))
    });
    listeners.chain(upstreams)
}

/// What the files of TLS have now.
pub(super) fn contents(config: &Config) -> Contents {
    let files = tables(config).flat_map(|(_, files)| files);
    files
        .map(|file| (file.clone(), Content::of(file)))
        .collect()
}

/// The tables of TLS that have other files than before.
pub(super) fn changed(
    config: &Config,
    before: &Contents,
    now: &Contents,
) -> impl Iterator<Item = String> {
    let differs = |file| before.get(file) != now.get(file);
    tables(config).filter_map(move |(table, files)| files.into_iter().any(differs).then_some(table))
}

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

/// Watches the files of TLS, once there are any.
#[derive(Default)]
pub(super) struct Watch(Option<Sender<Contents>>);

impl Watch {
    /// Watches these files from now on.
    pub(super) fn follow(&mut self, files: &Contents, events: &event::Sender) {
        match &self.0 {
            Some(followed) => drop(followed.send_replace(files.clone())),
            None if files.is_empty() => {}
            None => {
                let (sender, receiver) = watch::channel(files.clone());
                match super::watch::watch(receiver, events.clone(), Asker::Certificates) {
                    Ok(watching) => drop(tokio::spawn(watching)),
                    Err(error) => tracing::warn!(
                        target: "mproxy::server",
                        event = "error",
                        detail = %error,
                        remedy = "reload by SIGHUP after each renewal, or raise \
                                  fs.inotify.max_user_instances",
                        "certificates are not watched"
                    ),
                }
                self.0 = Some(sender);
            }
        }
    }
}

/// How many certificates a worker judges before it does something else for a [`PAUSE`]. One takes about
/// 0.1 ms.
pub(super) const BATCH: usize = 8;

pub(super) const PAUSE: Duration = Duration::from_millis(1);

/// Ends the sessions whose certificates are not trusted any more by these listeners.
pub(super) fn judge(workers: &Workers, registry: &Registry, servers: HashMap<Arc<str>, TlsServer>) {
    if servers.is_empty() {
        return;
    }
    let servers = Arc::new(servers);
    workers.each(registry, |sessions| {
        let servers = Arc::clone(&servers);
        async move {
            let mut judged = 0;
            for handle in sessions.running() {
                if !end_if_distrusted(&handle, |name| servers.get(name)) {
                    continue;
                }
                judged += 1;
                if judged % BATCH == 0 {
                    sleep(PAUSE).await;
                }
            }
        }
    });
}

/// A reload finds this connection from now on: judges it as one that came before would have done. Otherwise a
/// client could keep a connection without a CONNECT until its certificate was revoked.
pub(super) fn catch_up(handle: &SessionHandle, served: &TlsServer, now: &TlsServer) {
    if !served.trusts_like(now) {
        end_if_distrusted(handle, |_| Some(now));
    }
}

/// Judges a session again, and ends it if its certificate is not trusted any more. True if it was judged.
fn end_if_distrusted<'a>(
    handle: &SessionHandle,
    server: impl FnOnce(&str) -> Option<&'a TlsServer>,
) -> bool {
    let Some(result) = rejudge(handle, server) else {
        return false;
    };
    if let Err(violation) = result
        && is_distrust(violation.fault())
    {
        let remedy = "if the device is lost, nothing; if not, give it a new certificate of a CA in \
                      listeners.NAME.tls.client_ca";
        reject(handle, &violation, Some(remedy));
    }
    true
}

/// The new judgement about a session with TLS at one of these listeners.
fn rejudge<'a>(
    handle: &SessionHandle,
    server: impl FnOnce(&str) -> Option<&'a TlsServer>,
) -> Option<Result<(), TlsViolation>> {
    let peer = handle.info()?.peer();
    let server = server(&peer.listener)?;
    let certificate = peer.tls.as_ref()?.certificate.as_ref();
    let chain = certificate.map_or(&[][..], |it| &it.chain);
    let chain: Vec<_> = chain.iter().map(|der| (**der).into()).collect();
    Some(server.judge(&chain))
}

/// Whether a judgement is about the certificate, which ends its sessions. A certificate or a list that has
/// expired, or a client that needs a certificate from now on, only keeps new connections out: otherwise a list
/// that was not renewed in time would disconnect the whole fleet, and discard its wills.
const fn is_distrust(fault: TlsFault) -> bool {
    matches!(
        fault,
        TlsFault::Revoked
            | TlsFault::UnknownIssuer
            | TlsFault::BadCertificate
            | TlsFault::LongChain
    )
}

/// Ends the session of a client whose certificate is not trusted any more, and logs why. `NAME` in the remedy is
/// that of the listener.
pub(super) fn reject(handle: &SessionHandle, why: &dyn Display, remedy: Option<&str>) {
    if let Some(info) = handle.info() {
        let certificate = info.peer().certificate();
        tracing::warn!(
            target: "mproxy::listener",
            event = "refuse",
            listener = &*info.peer().listener,
            peer = %info.peer(),
            session = handle.id().as_u64(),
            client_id = info.client_id(),
            certificate_subject = certificate.map(|it| it.subject.as_str()),
            certificate_serial = certificate.map(|it| it.serial.as_str()),
            certificate_issuer = certificate.map(|it| it.issuer.as_str()),
            reason = CloseReason::CertificateRejected.as_str(),
            detail = %why,
            remedy = remedy.map(|it| fill_listener(it, &info.peer().listener)),
            "the certificate of a connected client is no longer trusted"
        );
    }
    // its will is that of a client that is not trusted
    let order = Order::new(CloseReason::CertificateRejected, ReasonCode::NOT_AUTHORIZED);
    handle.close(order.without_will());
}
