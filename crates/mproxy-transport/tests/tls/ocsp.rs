//! Questions to a responder of OCSP, and what it may answer, honest or not.

use std::time::{Duration, SystemTime};

use mproxy_transport::{OcspAnswer, OcspError, OcspQuestion, OcspStatus, TlsServer};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SerialNumber, SigningKey, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use x509_cert::{
    Certificate,
    der::{
        Any, Decode, Encode,
        asn1::{BitString, ObjectIdentifier, OctetString, UtcTime},
    },
    ext::Extension,
    spki::AlgorithmIdentifierOwned,
};
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspGeneralizedTime, OcspRequest, OcspResponse,
    ResponderId, ResponseBytes, ResponseData, RevokedInfo, SingleResponse, Version,
};

use crate::support::{Ca, Leaf, mutual};

const NOW: u64 = 1_750_000_000;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
}

fn time(offset: i64) -> OcspGeneralizedTime {
    let at = Duration::from_secs(NOW.saturating_add_signed(offset));
    UtcTime::from_unix_duration(at).unwrap().into()
}

/// A CA, a client that it has issued, and what mproxy would ask.
struct World {
    ca: Ca,
    device: Leaf,
    question: OcspQuestion,
}

/// One who signs answers, and what it calls itself.
struct Signer {
    key: KeyPair,
    cert: CertificateDer<'static>,
}

impl World {
    fn new() -> Self {
        let ca = Ca::new();
        let device = ca.issue(&["device-7"]);
        let questions = questions(&ca, false, std::slice::from_ref(&device.cert)).unwrap();
        let [question] = <[_; 1]>::try_from(questions).unwrap();
        Self {
            ca,
            device,
            question,
        }
    }

    fn cert_id(&self) -> CertId {
        let request = OcspRequest::from_der(&self.question.request().unwrap()).unwrap();
        request.tbs_request.request_list[0].req_cert.clone()
    }

    /// What the responder has to say, before somebody changes it.
    fn data(&self) -> ResponseData {
        ResponseData {
            version: Version::V1,
            responder_id: by_name(&self.ca.cert),
            produced_at: time(0),
            responses: vec![SingleResponse {
                cert_id: self.cert_id(),
                cert_status: CertStatus::good(),
                this_update: time(-10),
                next_update: Some(time(1000)),
                single_extensions: None,
            }],
            response_extensions: None,
        }
    }

    /// The good answer, with something changed before the CA signs it.
    fn answer(&self, change: impl FnOnce(&mut ResponseData)) -> Vec<u8> {
        let mut data = self.data();
        change(&mut data);
        signed(&data, self.ca.issuer.key(), &[])
    }

    /// The good answer, signed by a delegate, whose certificate goes with it.
    fn answer_by(&self, signer: &Signer) -> Vec<u8> {
        let mut data = self.data();
        data.responder_id = by_name(&signer.cert);
        signed(&data, &signer.key, &[&signer.cert])
    }

    fn check(&self, body: &[u8]) -> Result<OcspAnswer, OcspError> {
        self.question.check(body, now())
    }

    fn status(&self, body: &[u8]) -> Result<OcspStatus, OcspError> {
        self.check(body).map(|it| it.status)
    }
}

fn questions(
    ca: &Ca,
    whole_chain: bool,
    certificates: &[CertificateDer<'_>],
) -> Result<Vec<OcspQuestion>, OcspError> {
    let mut options = mutual(ca, &ca.issue(&["broker.test"]));
    options.checks_whole_chain = whole_chain;
    let server = TlsServer::load(&options).unwrap();
    server.questions(certificates)
}

fn by_name(cert: &CertificateDer<'_>) -> ResponderId {
    let cert = Certificate::from_der(cert).unwrap();
    ResponderId::ByName(cert.tbs_certificate.subject)
}

/// One whose certificate says something, issued by this one.
fn signer(
    issuer: &Issuer<'static, KeyPair>,
    change: impl FnOnce(&mut CertificateParams),
) -> Signer {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "responder");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
    change(&mut params);
    let cert = params.signed_by(&key, issuer).unwrap().der().clone();
    Signer { key, cert }
}

fn signed(data: &ResponseData, key: &KeyPair, certs: &[&CertificateDer<'_>]) -> Vec<u8> {
    let signature = key.sign(&data.to_der().unwrap()).unwrap();
    // ECDSA with SHA-256
    let algorithm = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
    let certs = certs.iter().map(|it| Certificate::from_der(it).unwrap());
    let certs: Vec<_> = certs.collect();
    let basic = BasicOcspResponse {
        tbs_response_data: data.clone(),
        signature_algorithm: AlgorithmIdentifierOwned {
            oid: algorithm,
            parameters: None,
        },
        signature: BitString::from_bytes(&signature).unwrap(),
        certs: (!certs.is_empty()).then_some(certs),
    };
    OcspResponse::successful(basic).unwrap().to_der().unwrap()
}

#[test]
fn a_question_names_the_certificate_by_sha_1_and_has_nothing_else_in_it() {
    let world = World::new();
    let request = OcspRequest::from_der(&world.question.request().unwrap()).unwrap();
    let tbs = request.tbs_request;
    assert_eq!(tbs.request_list.len(), 1);
    assert!(tbs.request_extensions.is_none() && request.optional_signature.is_none());
    let id = &tbs.request_list[0].req_cert;
    assert_eq!(id.hash_algorithm.oid.to_string(), "1.3.14.3.2.26");
    let cert = Certificate::from_der(&world.device.cert).unwrap();
    assert_eq!(id.serial_number, cert.tbs_certificate.serial_number);
    assert_eq!(world.question.place(), 0);
}

#[test]
fn the_issuer_of_a_certificate_says_what_its_status_is() {
    let world = World::new();
    let good = world.check(&world.answer(|_| {})).unwrap();
    assert_eq!(good.status, OcspStatus::Good);
    assert_eq!(good.valid_until, i64::try_from(NOW).unwrap() + 1000);
    let revoked = world.answer(|data| {
        data.responses[0].cert_status = CertStatus::revoked(RevokedInfo {
            revocation_time: time(-5000),
            revocation_reason: None,
        });
    });
    let since = i64::try_from(NOW).unwrap() - 5000;
    assert_eq!(world.status(&revoked), Ok(OcspStatus::Revoked(since)));
    let unknown = world.answer(|data| data.responses[0].cert_status = CertStatus::unknown());
    assert_eq!(world.status(&unknown), Ok(OcspStatus::Unknown));
    // by the hash of its key, and among answers about others
    let several = world.answer(|data| {
        let key_hash = data.responses[0].cert_id.issuer_key_hash.clone();
        data.responder_id = ResponderId::ByKey(key_hash);
        let mut other = data.responses[0].clone();
        other.cert_id.serial_number = serial(77);
        other.cert_status = CertStatus::unknown();
        data.responses.insert(0, other);
    });
    assert_eq!(world.status(&several), Ok(OcspStatus::Good));
    // without the parameters of the algorithm, which are NULL
    let short = world.answer(|data| data.responses[0].cert_id.hash_algorithm.parameters = None);
    assert_eq!(world.status(&short), Ok(OcspStatus::Good));
}

fn serial(number: u8) -> x509_cert::serial_number::SerialNumber {
    x509_cert::serial_number::SerialNumber::new(&[number]).unwrap()
}

#[test]
fn an_answer_about_another_certificate_is_no_answer() {
    let world = World::new();
    let flipped = |hash: &OctetString| {
        let mut bytes = hash.as_bytes().to_vec();
        bytes[19] ^= 1;
        OctetString::new(bytes).unwrap()
    };
    let others: [&dyn Fn(&mut CertId); 4] = [
        &|id| id.serial_number = serial(77),
        &|id| id.issuer_name_hash = flipped(&id.issuer_name_hash),
        &|id| id.issuer_key_hash = flipped(&id.issuer_key_hash),
        &|id| id.hash_algorithm.oid = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1"),
    ];
    for other in others {
        let answer = world.answer(|data| other(&mut data.responses[0].cert_id));
        assert_eq!(world.check(&answer), Err(OcspError::OtherCertificate));
    }
    let none = world.answer(|data| data.responses.clear());
    assert_eq!(world.check(&none), Err(OcspError::OtherCertificate));
    let twice = world.answer(|data| {
        let mut second = data.responses[0].clone();
        second.cert_status = CertStatus::unknown();
        data.responses.push(second);
    });
    assert_eq!(world.check(&twice), Err(OcspError::Several));
}

#[test]
fn an_answer_is_used_while_it_is_in_force() {
    let world = World::new();
    for (this, next, outcome) in [
        (-10, Some(1), Ok(())),
        (-10, Some(0), Err(OcspError::Expired(0))),
        (-9000, Some(-60), Err(OcspError::Expired(60))),
        // the clocks of both sides may differ
        (300, Some(1000), Ok(())),
        (301, Some(1000), Err(OcspError::NotYetValid(301))),
        // one without an end could be sent again for ever
        (-299, None, Ok(())),
        (-300, None, Err(OcspError::Expired(0))),
        (-100_000, None, Err(OcspError::Expired(99_700))),
    ] {
        let answer = world.answer(|data| {
            data.responses[0].this_update = time(this);
            data.responses[0].next_update = next.map(time);
        });
        let checked = world.check(&answer).map(drop);
        assert_eq!(checked, outcome, "{this} {next:?}");
    }
}

#[test]
fn only_the_issuer_or_whom_it_lets_sign_is_believed() {
    let world = World::new();
    let issuer = &world.ca.issuer;
    let delegate = signer(issuer, |_| {});
    let good = world.answer_by(&delegate);
    assert_eq!(world.status(&good), Ok(OcspStatus::Good));
    // a twin has the name of the CA, and another key
    let twin = Ca::new();
    assert_eq!(by_name(&twin.cert), by_name(&world.ca.cert));
    let by_twin = signed(&world.data(), twin.issuer.key(), &[]);
    assert_eq!(world.check(&by_twin), Err(OcspError::BadSignature));
    let with_twin = signed(&world.data(), twin.issuer.key(), &[&twin.cert]);
    assert_eq!(world.check(&with_twin), Err(OcspError::StrangeSigner));
    // the certificate of a client, or of a server, does not make a responder
    let without = signer(issuer, |it| it.extended_key_usages.clear());
    let client = signer(issuer, |it| {
        it.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::Any,
        ];
    });
    let encipherer = signer(issuer, |it| {
        it.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    });
    for wrong in [without, client, encipherer] {
        let answer = world.answer_by(&wrong);
        assert_eq!(world.check(&answer), Err(OcspError::SignerNotAllowed));
    }
    for years in [[2020, 2025], [2026, 2027]] {
        let [from, to] = years.map(|it| date_time_ymd(it, 1, 1));
        let stale = signer(issuer, |it| {
            it.not_before = from;
            it.not_after = to;
        });
        let answer = world.answer_by(&stale);
        assert_eq!(world.check(&answer), Err(OcspError::SignerExpired));
    }
    let by_other = world.answer_by(&signer(&twin.issuer, |_| {}));
    assert_eq!(world.check(&by_other), Err(OcspError::StrangeSigner));
    // a delegate of a delegate
    let middle = signer(issuer, |it| {
        it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    let params = CertificateParams::default();
    let below = signer(&Issuer::new(params, middle.key), |_| {});
    let answer = world.answer_by(&below);
    assert_eq!(world.check(&answer), Err(OcspError::StrangeSigner));
    // the certificate of one, and the signature of another
    let mut data = world.data();
    data.responder_id = by_name(&delegate.cert);
    let answer = signed(&data, twin.issuer.key(), &[&delegate.cert]);
    assert_eq!(world.check(&answer), Err(OcspError::BadSignature));
    let answer = signed(&data, &delegate.key, &[]);
    assert_eq!(world.check(&answer), Err(OcspError::UnknownSigner));
}

#[test]
fn a_responder_that_gives_no_answer_says_why() {
    let world = World::new();
    for (response, error) in [
        (OcspResponse::try_later(), OcspError::Busy("tryLater")),
        (
            OcspResponse::internal_error(),
            OcspError::Busy("internalError"),
        ),
        (
            OcspResponse::unauthorized(),
            OcspError::Refused("unauthorized"),
        ),
        (
            OcspResponse::malformed_request(),
            OcspError::Refused("malformedRequest"),
        ),
        (
            OcspResponse::sig_required(),
            OcspError::Refused("sigRequired"),
        ),
    ] {
        let is_busy = matches!(error, OcspError::Busy(_));
        assert_eq!(error.is_busy(), is_busy);
        assert_eq!(world.check(&response.to_der().unwrap()), Err(error));
    }
    let mut empty = OcspResponse::try_later();
    empty.response_status = x509_ocsp::OcspResponseStatus::Successful;
    assert_eq!(
        world.check(&empty.to_der().unwrap()),
        Err(OcspError::NotAnAnswer)
    );
    empty.response_bytes = Some(ResponseBytes {
        response_type: ObjectIdentifier::new_unwrap("1.2.3.4"),
        response: OctetString::new(world.answer(|_| {})).unwrap(),
    });
    assert_eq!(
        world.check(&empty.to_der().unwrap()),
        Err(OcspError::NotAnAnswer)
    );
    let critical = Extension {
        extn_id: ObjectIdentifier::new_unwrap("1.2.3.4"),
        critical: true,
        extn_value: OctetString::new(Any::null().to_der().unwrap()).unwrap(),
    };
    for is_single in [true, false] {
        let answer = world.answer(|data| {
            let extensions = Some(vec![critical.clone()]);
            match is_single {
                true => data.responses[0].single_extensions = extensions,
                false => data.response_extensions = extensions,
            }
        });
        assert_eq!(world.check(&answer), Err(OcspError::Critical));
    }
}

/// Whatever is changed, what comes out is no other status.
#[test]
fn every_cut_and_every_changed_byte_is_refused_and_so_is_garbage() {
    let world = World::new();
    let by_issuer = world.answer(|_| {});
    let by_delegate = world.answer_by(&signer(&world.ca.issuer, |_| {}));
    for good in [by_issuer, by_delegate] {
        for at in 0..good.len() {
            world.check(&good[..at]).unwrap_err();
            for bit in [1, 0x20, 0x80] {
                let mut changed = good.clone();
                changed[at] ^= bit;
                let checked = world.check(&changed);
                assert!(checked.is_err(), "{at} {bit:x} {:x}", good[at]);
            }
        }
        let mut longer = good.clone();
        longer.push(0);
        world.check(&longer).unwrap_err();
    }
    let mut random = fastrand::Rng::with_seed(7);
    for len in [0, 1, 2, 100, 5000] {
        for _ in 0..200 {
            let garbage: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
            world.check(&garbage).unwrap_err();
        }
    }
    // lengths that say more than there is
    for start in ["3084ffffffff", "30840fffffff0a0100", "30800a01000000"] {
        let bytes = (0..start.len()).step_by(2);
        let bytes: Vec<_> = bytes
            .map(|at| u8::from_str_radix(&start[at..at + 2], 16).unwrap())
            .collect();
        world.check(&bytes).unwrap_err();
    }
    // a hundred thousand sequences, each within the one before
    world.check(&[0x30, 0x80].repeat(500_000)).unwrap_err();
    world
        .check(b"<html>".repeat(200_000).as_slice())
        .unwrap_err();
}

/// An intermediate CA, below another one.
fn below(issuer: &Issuer<'static, KeyPair>, name: &str) -> (Issuer<'static, KeyPair>, Signer) {
    let key = KeyPair::generate().unwrap();
    let copy = KeyPair::try_from(key.serialize_der()).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(fastrand::u64(1..)));
    let cert = params.signed_by(&key, issuer).unwrap().der().clone();
    (Issuer::new(params, copy), Signer { key, cert })
}

fn leaf_of(issuer: &Issuer<'static, KeyPair>) -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from(fastrand::u64(1..)));
    params.signed_by(&key, issuer).unwrap().der().clone()
}

/// The places of the certificates that are asked about.
fn places(questions: &[OcspQuestion]) -> Vec<usize> {
    questions.iter().map(OcspQuestion::place).collect()
}

#[test]
fn as_much_of_the_chain_is_asked_about_as_is_configured_and_never_a_root() {
    let ca = Ca::new();
    let (upper, upper_cert) = below(&ca.issuer, "upper");
    let (lower, lower_cert) = below(&upper, "lower");
    let leaf = leaf_of(&lower);
    let (upper_cert, lower_cert) = (upper_cert.cert, lower_cert.cert);
    // in any order, with the root, which nobody needs, and with what has nothing to do with it
    let stray = Ca::new().cert;
    let chain = [
        leaf.clone(),
        ca.cert.clone(),
        upper_cert.clone(),
        stray,
        lower_cert.clone(),
    ];
    let asked = |whole_chain| questions(&ca, whole_chain, &chain).unwrap();
    assert_eq!(places(&asked(false)), [0]);
    assert_eq!(places(&asked(true)), [0, 4, 2]);
    let own = questions(&ca, true, &[ca.issue(&["device-7"]).cert]).unwrap();
    assert_eq!(places(&own), [0]);
    // one that was configured itself
    assert!(
        questions(&ca, true, std::slice::from_ref(&ca.cert))
            .unwrap()
            .is_empty()
    );
    for missing in [&[][..], &[leaf.clone(), lower_cert.clone()]] {
        questions(&ca, false, missing).unwrap_err();
    }
    let garbage = CertificateDer::from(b"x".to_vec());
    assert_eq!(
        questions(&ca, false, &[garbage, leaf]).unwrap_err(),
        OcspError::Unreadable
    );
}

/// For a signature, anybody can make a key that seems to have made it. A client could so send a CA of its own
/// with the name of its issuer, have the responder asked about that one, and sign the answer itself. So who
/// is not below a CA of clients is not an issuer, whatever its name is.
#[test]
fn an_issuer_that_no_ca_of_clients_has_issued_is_none() {
    let ca = Ca::new();
    let (real, real_cert) = below(&ca.issuer, "middle");
    let (fake, fake_cert) = below(&Ca::new().issuer, "middle");
    let (leaf, of_fake) = (leaf_of(&real), leaf_of(&fake));
    let chain = [leaf, fake_cert.cert.clone(), real_cert.cert.clone()];
    let asked = questions(&ca, false, &chain).unwrap();
    let answer = |key: &KeyPair, cert| {
        let request = OcspRequest::from_der(&asked[0].request().unwrap()).unwrap();
        let cert_id = request.tbs_request.request_list[0].req_cert.clone();
        let data = ResponseData {
            version: Version::V1,
            responder_id: by_name(cert),
            produced_at: time(0),
            responses: vec![SingleResponse {
                cert_id,
                cert_status: CertStatus::good(),
                this_update: time(0),
                next_update: Some(time(100)),
                single_extensions: None,
            }],
            response_extensions: None,
        };
        asked[0].check(&signed(&data, key, &[cert]), now())
    };
    answer(&real_cert.key, &real_cert.cert).unwrap();
    answer(&fake_cert.key, &fake_cert.cert).unwrap_err();
    assert_ne!(real_cert.key.der_bytes(), fake_cert.key.der_bytes());
    // nor is a client an issuer, whom a CA has issued
    let chain = [of_fake, fake_cert.cert];
    assert_eq!(
        questions(&ca, false, &chain).unwrap_err(),
        OcspError::NoIssuer
    );
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "client");
    let client = params.signed_by(&key, &ca.issuer).unwrap();
    let below = leaf_of(&Issuer::new(params, key));
    assert_eq!(
        questions(&ca, false, &[below, client.der().clone()]).unwrap_err(),
        OcspError::NoIssuer
    );
}
