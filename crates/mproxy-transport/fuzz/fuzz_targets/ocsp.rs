//! Bytes are no answer of OCSP unless the issuer has signed them; what the issuer has signed, whatever it is, is
//! an answer that is in force, or refused.
#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use mproxy_transport::{ClientAuth, OcspQuestion, TlsIdentity, TlsServer, TlsServerOptions};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SigningKey};
use x509_cert::der::{Decode, Encode};
use x509_ocsp::OcspRequest;

const NOW: u64 = 1_750_000_000;

struct World {
    issuer: Issuer<'static, KeyPair>,
    question: OcspQuestion,
    /// What the issuer would sign.
    good: Vec<u8>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("the folder is ours");
        path
    };
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let ca = params.self_signed(&key).expect("a certificate").pem();
    let mut options = TlsServerOptions::default();
    options.client_auth = ClientAuth::Require;
    options.client_ca = vec![file("ca.crt", ca.clone())];
    options.certificates = vec![TlsIdentity {
        cert: file("own.crt", ca),
        key: file("own.key", key.serialize_pem()),
    }];
    let issuer = Issuer::new(params, key);
    let server = TlsServer::load(&options).expect("files that fit");
    let device = KeyPair::generate().expect("a key");
    let device = CertificateParams::default().signed_by(&device, &issuer);
    let device = device.expect("a certificate").der().clone();
    let question = server.questions(&[device]).expect("an issuer").remove(0);
    let request = question.request().expect("a request");
    let request = OcspRequest::from_der(&request).expect("what was written");
    let id = request.tbs_request.request_list[0].req_cert.clone();
    // by the hash of its key
    let responder = element(0xa2, &id.issuer_key_hash.to_der().expect("bytes"));
    let time = |text: &str| element(0x18, text.as_bytes());
    let single = [
        id.to_der().expect("what was read"),
        element(0x80, b""),
        time("20250615000000Z"),
        element(0xa0, &time("20250616000000Z")),
    ];
    let singles = element(0x30, &element(0x30, &single.concat()));
    let good = element(
        0x30,
        &[responder, time("20250615000000Z"), singles].concat(),
    );
    World {
        issuer,
        question,
        good,
    }
});

/// An element of DER, of less than 64 KiB.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len())
        .expect("it is short")
        .to_be_bytes();
    let len = match len {
        [0, short @ 0..0x80] => vec![short],
        [0, short] => vec![0x81, short],
        [high, low] => vec![0x82, high, low],
    };
    [&[tag][..], &len, content].concat()
}

/// An answer with this in it, signed by the issuer.
fn signed(data: &[u8]) -> Vec<u8> {
    let signature = WORLD.issuer.key().sign(data).expect("a signature");
    let signature = element(0x03, &[&[0][..], &signature].concat());
    // ECDSA with SHA-256
    let algorithm = element(0x30, &element(0x06, b"\x2a\x86\x48\xce\x3d\x04\x03\x02"));
    let basic = element(0x30, &[data, &algorithm, &signature].concat());
    let kind = element(0x06, b"\x2b\x06\x01\x05\x05\x07\x30\x01\x01");
    let bytes = element(0x30, &[kind, element(0x04, &basic)].concat());
    element(0x30, &[element(0x0a, &[0]), element(0xa0, &bytes)].concat())
}

/// Changes bytes: each three bytes of the plan are a place and what is to be there.
fn changed(bytes: &[u8], plan: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for step in plan.chunks_exact(3) {
        let at = usize::from(u16::from_be_bytes([step[0], step[1]])) % bytes.len();
        bytes[at] = step[2];
    }
    bytes
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else {
        return;
    };
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
    let check = |body: &[u8]| WORLD.question.check(body, now);
    match mode % 4 {
        0 => assert!(check(rest).is_err()),
        1 => {
            let good = signed(&WORLD.good);
            let body = changed(&good, rest);
            assert_eq!(check(&body).is_ok(), body == good);
        }
        kind => {
            let data = match kind {
                2 => changed(&WORLD.good, rest),
                _ => rest.to_vec(),
            };
            if let Ok(answer) = check(&signed(&data)) {
                assert!(answer.valid_until > NOW as i64);
            }
        }
    }
});
