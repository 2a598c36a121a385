//! Certificates that are trusted as they are.

use std::sync::Arc;

use mproxy_transport::{
    DialCause, DialOptions, Dialer, ListenOptions, Listener, Subprotocol, TlsCause, TlsClient,
    TlsClientOptions, TlsError, TlsFault, TlsServer, accept_tls,
};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, date_time_ymd};
use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    sign::{CertifiedKey, SingleCertAndKey},
};

use crate::support::{Ca, Leaf, mutual, options, shake};

/// As `openssl req -x509` makes them.
fn of_a_ca(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
}

fn fault(error: &TlsCause) -> TlsFault {
    match error {
        TlsCause::Violation(violation) => violation.fault(),
        other => panic!("{other}"),
    }
}

/// What comes of a client that shows `device` where `trusted` is a CA of clients.
async fn client(ca: &Ca, device: &Leaf, trusted: &Leaf) -> Result<(), TlsError> {
    let mut options = mutual(ca, &ca.issue(&["broker.test"]));
    options.client_ca.push(trusted.identity.cert.clone());
    let server = TlsServer::load(&options).unwrap();
    let (accepted, _) = shake(&server, ca.client(Some(device)), "broker.test").await;
    accepted.map(|(_, info)| {
        assert_eq!(info.certificates[0], device.cert);
        server.judge(&info.certificates).unwrap();
    })
}

/// `openssl req -x509` makes certificates of a CA. A client with such a one was refused, although an operator had
/// named exactly this certificate; mosquitto lets it in.
#[tokio::test]
async fn a_client_may_show_the_certificate_that_is_named() {
    let ca = Ca::new();
    let device = ca.self_signed(&["device-7"], of_a_ca);
    client(&ca, &device, &device).await.unwrap();
    // one that says nothing about that was accepted before
    let plain = ca.self_signed(&["device-7"], |_| {});
    client(&ca, &plain, &plain).await.unwrap();

    let stranger = ca.self_signed(&["device-7"], of_a_ca);
    let error = client(&ca, &stranger, &device).await.unwrap_err();
    assert_eq!(fault(error.cause()), TlsFault::CaCertificate);
    assert!(error.to_string().contains("CA:TRUE"), "{error}");
    assert!(error.refused_certificate().is_some());
    // issued by the one that is trusted, and a CA itself
    let below = ca.issue_with(&["device-7"], of_a_ca);
    let error = client(&ca, &below, &device).await.unwrap_err();
    assert_eq!(fault(error.cause()), TlsFault::CaCertificate);
}

#[tokio::test]
async fn a_named_certificate_is_checked_otherwise() {
    let ca = Ca::new();
    for (not_before, not_after) in [(2020, 2024), (2199, 2200)] {
        let device = ca.self_signed(&["device-7"], |it| {
            of_a_ca(it);
            it.not_before = date_time_ymd(not_before, 1, 1);
            it.not_after = date_time_ymd(not_after, 1, 1);
        });
        let error = client(&ca, &device, &device).await.unwrap_err();
        assert_eq!(fault(error.cause()), TlsFault::Expired);
    }
    let server_only = ca.self_signed(&["device-7"], |it| {
        of_a_ca(it);
        it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let error = client(&ca, &server_only, &server_only).await.unwrap_err();
    assert_eq!(fault(error.cause()), TlsFault::BadCertificate);
    // the certificate is public, its key is not
    let device = ca.self_signed(&["device-7"], of_a_ca);
    let other = ca.self_signed(&["device-7"], of_a_ca).key;
    let certified = CertifiedKey::new(
        vec![device.cert.clone()],
        any_supported_type(&other).unwrap(),
    );
    let mut config = ca.client(None);
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(certified));
    let mut options = mutual(&ca, &ca.issue(&["broker.test"]));
    options.client_ca.push(device.identity.cert.clone());
    let server = TlsServer::load(&options).unwrap();
    let (accepted, _) = shake(&server, config, "broker.test").await;
    let error = accepted.unwrap_err();
    assert_eq!(fault(error.cause()), TlsFault::UnknownIssuer, "{error}");
}

/// No list could revoke it.
#[tokio::test]
async fn with_revocation_lists_no_certificate_is_trusted_as_it_is() {
    let ca = Ca::new();
    let device = ca.self_signed(&["device-7"], of_a_ca);
    let mut options = mutual(&ca, &ca.issue(&["broker.test"]));
    options.client_ca.push(device.identity.cert.clone());
    options.kept_lists.push(None);
    options.allows_unknown_revocation = true;
    let server = TlsServer::load(&options).unwrap();
    let error = server
        .judge(std::slice::from_ref(&device.cert))
        .unwrap_err();
    assert_eq!(error.fault(), TlsFault::CaCertificate);
}

/// What comes of a broker that shows `shown` where `trusted` is the CA of brokers.
async fn broker(shown: &Leaf, trusted: &Leaf, host: &str) -> Result<(), TlsFault> {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), &ListenOptions::default());
    let listener = listener.unwrap();
    let port = listener.local_addr().unwrap().socket_addr().unwrap().port();
    let server = TlsServer::load(&options(shown)).unwrap();
    let mut asked = TlsClientOptions::default();
    asked.ca.push(trusted.identity.cert.clone());
    asked.server_name = Some(host.to_owned());
    let dialer = Dialer::new(
        format!("mqtts://127.0.0.1:{port}").parse().unwrap(),
        DialOptions::default(),
    );
    let dialer = dialer.tls(TlsClient::load(&asked).unwrap());
    let accept = async {
        let accepted = listener.into_acceptor().unwrap().accept().await.unwrap();
        accept_tls(accepted.into_stream().unwrap(), &server, |_| {}).await
    };
    let (_accepted, dialled) = tokio::join!(accept, dialer.dial(Subprotocol::Mqtt));
    match dialled {
        Ok(_) => Ok(()),
        Err(error) => match error.cause() {
            DialCause::Tls(cause) => Err(fault(cause)),
            other => panic!("{other}"),
        },
    }
}

/// So were brokers with a self-signed certificate that is named in `ca`; and the remedy was about its name.
#[tokio::test]
async fn a_broker_may_show_the_certificate_that_is_named() {
    let ca = Ca::new();
    let own = ca.self_signed(&["broker.test"], of_a_ca);
    assert_eq!(broker(&own, &own, "broker.test").await, Ok(()));
    let wrong_name = broker(&own, &own, "other.test").await;
    assert_eq!(wrong_name, Err(TlsFault::WrongName));
    let stranger = ca.self_signed(&["broker.test"], of_a_ca);
    let refused = broker(&stranger, &own, "broker.test").await;
    assert_eq!(refused, Err(TlsFault::CaCertificate));
    let expired = ca.self_signed(&["broker.test"], |it| {
        of_a_ca(it);
        it.not_after = date_time_ymd(2024, 1, 1);
    });
    let refused = broker(&expired, &expired, "broker.test").await;
    assert_eq!(refused, Err(TlsFault::Expired));
}
