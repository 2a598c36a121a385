//! Lists that were fetched.

use std::time::{Duration, SystemTime};

use mproxy_transport::{RevocationList, TlsServer};
use rcgen::{CertificateRevocationListParams, KeyIdMethod, date_time_ymd};

use crate::support::{Ca, mutual};

/// A list of the CA that is in force in these years.
fn list(ca: &Ca, from: i32, to: i32) -> rcgen::CertificateRevocationList {
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(from, 1, 1),
        next_update: date_time_ymd(to, 1, 1),
        crl_number: 1.into(),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(&ca.issuer).unwrap()
}

/// In the middle of 2025.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_750_000_000)
}

#[test]
fn only_a_list_of_a_trusted_ca_that_is_in_force_is_used() {
    let (ca, twin) = (Ca::new(), Ca::new());
    let cas = [ca.path("ca.crt")];
    let check = |bytes: &[u8]| RevocationList::check(bytes.to_vec(), &cas, now());
    let good = list(&ca, 2025, 2200);
    let used = check(good.der()).unwrap();
    assert_eq!(check(good.pem().unwrap().as_bytes()).unwrap(), used);
    assert_eq!(used.this_update(), 1_735_689_600);
    assert_eq!(used.next_update(), 7_258_118_400);
    // a log that has it does not show its entries
    assert!(format!("{used:?}").len() < 100);

    let several = good.pem().unwrap().repeat(2);
    let mut changed = good.der().to_vec();
    let at = changed.len() - 200;
    changed[at] ^= 1;
    let behind = [good.der(), &b"x"[..]].concat();
    for (bytes, why) in [
        (
            list(&twin, 2025, 2200).der().to_vec(),
            "not signed by `CN=test CA",
        ),
        (list(&ca, 2024, 2025).der().to_vec(), "expired"),
        (list(&ca, 2026, 2200).der().to_vec(), "not valid yet"),
        (several.into_bytes(), "more than one"),
        (behind, "not a revocation list"),
        (b"<html>".to_vec(), "not a revocation list"),
        (
            b"-----BEGIN X509 CRL-----\n!\n".to_vec(),
            "not a revocation list",
        ),
        (ca.cert.to_vec(), "not a revocation list"),
        (Vec::new(), "not a revocation list"),
    ] {
        let error = check(&bytes).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    // whatever was changed
    check(&changed).unwrap_err();
    let error = RevocationList::check(good.der().to_vec(), &[ca.path("gone.crt")], now());
    assert!(error.unwrap_err().to_string().contains("gone.crt"));
}

#[test]
fn every_cut_and_every_changed_byte_is_refused() {
    let ca = Ca::new();
    let cas = [ca.path("ca.crt")];
    let good = list(&ca, 2025, 2200).der().to_vec();
    for at in 0..good.len() {
        RevocationList::check(good[..at].to_vec(), &cas, now()).unwrap_err();
        let mut changed = good.clone();
        changed[at] ^= 0x20;
        RevocationList::check(changed.clone(), &cas, now()).unwrap_err();
    }
}

#[test]
fn what_may_be_a_list_is_told_from_its_first_bytes() {
    const MAX: usize = 64 << 20;
    let ca = Ca::new();
    let good = list(&ca, 2025, 2200);
    let pem = good.pem().unwrap();
    let explained = format!("Certificate Revocation List (CRL):\n\tVersion 2\r\n{pem}");
    for whole in [good.der(), pem.as_bytes(), explained.as_bytes()] {
        for at in 0..=whole.len() {
            let first = &whole[..at];
            assert!(RevocationList::may_begin_with(first, true, MAX), "{at}");
        }
        assert!(RevocationList::may_begin_with(whole, false, MAX));
    }
    // as long as it may be
    let der = |length: &[u8]| [&[0x30][..], length, &[0x30]].concat();
    assert!(RevocationList::may_begin_with(
        &der(&[0x84, 3, 0xff, 0xff, 0xfa]),
        false,
        MAX
    ));
    let page = "<html>".repeat(1000);
    for (first, is_all) in [
        (&der(&[0x84, 3, 0xff, 0xff, 0xfb]), false),
        (&der(&[0x85, 0, 0, 0, 1, 0]), false),
        (&der(&[0x80]), false),
        (&[0x30, 0x82, 1, 0, 0x31].to_vec(), true),
        // more than it says
        (&[0x30, 1, 0x30, 0].to_vec(), true),
        (&b"\x1f\x8b".to_vec(), true),
        (&b"text\0".to_vec(), true),
        (&page.into_bytes(), false),
    ] {
        assert!(
            !RevocationList::may_begin_with(first, is_all, MAX),
            "{first:02x?}"
        );
    }
}

/// Only the first list of a CA counted: a revoked client was let in because of an older one that lay beside, in a file
/// or from a URL.
#[test]
fn the_newest_list_of_a_ca_counts_wherever_it_stands() {
    let ca = Ca::new();
    let device = ca.issue(&["device-7"]);
    let mut options = mutual(&ca, &ca.issue(&["broker.test"]));
    let clean = |year, number: u64| {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(year, 1, 1),
            next_update: date_time_ymd(2200, 1, 1),
            crl_number: number.into(),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&ca.issuer).unwrap().pem().unwrap()
    };
    let cas = [ca.path("ca.crt")];
    // of 2024, with the number 1
    let revokes = ca.revoke(&[&device], true);
    for (other, is_revoked) in [
        (clean(2023, 255), true),
        (clean(2024, 0), true),
        // the number of two bytes is the greater one
        (clean(2024, 256), false),
        (clean(2025, 0), false),
    ] {
        for order in [[&revokes, &other], [&other, &revokes]] {
            let paths = ["a.crl", "b.crl"].map(|it| ca.path(it));
            for (path, list) in paths.iter().zip(order) {
                std::fs::write(path, list).unwrap();
            }
            let fetched = RevocationList::check(order[1].clone().into_bytes(), &cas, now());
            let all = (paths.to_vec(), Vec::new());
            let mixed = (paths[..1].to_vec(), vec![Some(fetched.unwrap())]);
            for (files, kept) in [all, mixed] {
                options.revocation_lists = files;
                options.kept_lists = kept;
                let server = TlsServer::load(&options).unwrap();
                let judged = server.judge(std::slice::from_ref(&device.cert));
                assert_eq!(judged.is_err(), is_revoked, "{judged:?}");
            }
        }
    }
}

/// Without a list, webpki looks nobody up.
#[test]
fn a_list_that_is_still_to_come_lets_nobody_in_unless_that_is_allowed() {
    let ca = Ca::new();
    let device = ca.issue(&["device-7"]);
    let mut options = mutual(&ca, &ca.issue(&["broker.test"]));
    let judge = |options: &_| {
        let server = TlsServer::load(options).unwrap();
        let judged = server.judge(std::slice::from_ref(&device.cert));
        judged.map_err(|error| error.to_string())
    };
    judge(&options).unwrap();
    options.kept_lists = vec![None];
    let error = judge(&options).unwrap_err();
    assert!(error.contains("UnknownRevocationStatus"), "{error}");
    options.allows_unknown_revocation = true;
    judge(&options).unwrap();
    options.allows_unknown_revocation = false;
    let cas = [ca.path("ca.crt")];
    let revokes = ca.revoke(&[&device], true);
    for (pem, is_in) in [
        (list(&ca, 2025, 2200).pem().unwrap(), true),
        (revokes, false),
    ] {
        let kept = RevocationList::check(pem.clone().into_bytes(), &cas, now()).unwrap();
        options.kept_lists = vec![None, Some(kept)];
        assert_eq!(judge(&options).is_ok(), is_in);
    }
}
