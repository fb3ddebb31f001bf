//! Attempts with client certificates and own authorities, against a server that verifies clients.

use super::{attempt_with, sender};
use crate::{Auth, Destination, Sender, TlsSettings};
use domain::delivery::{DiagnosisCode as Code, Outcome};
use parking_lot::Mutex;
use rcgen::ExtendedKeyUsagePurpose;
use rustls::SupportedProtocolVersion;
use rustls::pki_types::CertificateDer;
use std::net::SocketAddr;
use std::sync::Arc;
use test_support::TestAuthority;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const URL: &str = "https://own.example/hook";

/// Settings with a client certificate of `authority`, which trust the authority `trusted`.
fn settings(
    authority: &TestAuthority,
    name: &str,
    last_year: i32,
    trusted: &TestAuthority,
) -> Option<Arc<TlsSettings>> {
    let (certificate, key) = authority.issue(name, ExtendedKeyUsagePurpose::ClientAuth, last_year);
    TlsSettings::new(&trusted.pem, &certificate.pem(), &key.serialize_pem())
}

/// What a server has seen: for each connection, the end of the client certificate and the number of requests.
type Connections = Arc<Mutex<Vec<(CertificateDer<'static>, usize)>>>;

/// Serves HTTPS to clients with a certificate of `clients`, with a server certificate of the same authority.
async fn serve(clients: &TestAuthority, versions: &[&'static SupportedProtocolVersion]) -> (SocketAddr, Connections) {
    let config = clients.server_config("own.example", versions);
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Connections::default();
    let seen = connections.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, seen) = (acceptor.clone(), seen.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
                let n = {
                    let mut seen = seen.lock();
                    seen.push((certificate, 0));
                    seen.len() - 1
                };
                // Each request of these tests arrives in one read.
                while stream.read(&mut [0; 8_192]).await.is_ok_and(|count| count > 0) {
                    seen.lock()[n].1 += 1;
                    let body = r#"{"access_token":"token-1","token_type":"Bearer"}"#;
                    let response = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    if stream.write_all(response.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, connections)
}

fn sender_to(address: SocketAddr) -> Sender {
    sender(vec![address], "127.0.0.0/8", None)
}

const VERSIONS: [&[&SupportedProtocolVersion]; 2] = [&[&rustls::version::TLS13], &[&rustls::version::TLS12]];

#[tokio::test]
async fn client_certificate_and_own_authority_are_used() {
    for versions in VERSIONS {
        let authority = TestAuthority::new("internal");
        let (address, connections) = serve(&authority, versions).await;
        let sender = sender_to(address);
        let tls = settings(&authority, "berth", 2_090, &authority);
        let done = attempt_with(&sender, URL, Auth::None, tls.clone()).await;
        assert_eq!(done.outcome, Outcome::Succeeded, "{:?}", done.diagnosis);
        assert_eq!(sender.get(&Destination::new("https://own.example/health"), tls.as_ref()).await, Ok(200));
        assert_eq!(connections.lock().len(), 2, "a health check has its own connection");
        assert!(sender.certificate(URL).is_some(), "the certificate of the server is recorded");
    }
}

#[tokio::test]
async fn rejected_and_missing_client_certificates_are_diagnosed() {
    for versions in VERSIONS {
        let (authority, other) = (TestAuthority::new("internal"), TestAuthority::new("other"));
        let (address, _) = serve(&authority, versions).await;
        let without = TlsSettings::new(&authority.pem, "", "");
        for (tls, expected, hint) in [
            (without, "requires a client certificate (mutual TLS), and the webhook has none", "tls.client_certificate"),
            (settings(&other, "berth", 2_090, &authority), "alert unknown_ca", "ssl_client_certificate"),
            (settings(&authority, "berth", 2_021, &authority), "alert certificate_expired", "new certificate"),
        ] {
            // The alert and the end of the connection race with the request.
            for _ in 0..20 {
                let done = attempt_with(&sender_to(address), URL, Auth::None, tls.clone()).await;
                assert_eq!(done.diagnosis.code, Code::TlsFailed, "{:?}", done.diagnosis);
            }
            let diagnosis = attempt_with(&sender_to(address), URL, Auth::None, tls).await.diagnosis;
            assert!(diagnosis.message.contains(expected) && diagnosis.hint.contains(hint), "{diagnosis:?}");
        }
    }
}

#[tokio::test]
async fn unknown_authority_of_the_server_names_the_custom_ca() {
    let (authority, other) = (TestAuthority::new("internal"), TestAuthority::new("other"));
    let (address, connections) = serve(&authority, VERSIONS[0]).await;
    for (tls, hint) in [
        (None, "in the TLS settings of the webhook (Custom CA), or install it on the machine"),
        (settings(&authority, "berth", 2_090, &other), "None of the webhook's own authorities"),
    ] {
        let done = attempt_with(&sender_to(address), URL, Auth::None, tls).await;
        assert_eq!(done.diagnosis.code, Code::CertificateInvalid, "{:?}", done.diagnosis);
        assert!(done.diagnosis.hint.contains(hint), "{:?}", done.diagnosis);
    }
    assert_eq!(connections.lock().len(), 0);
}

/// One sender, one host, three sets of settings: each has its own connection, and equal settings share one.
#[tokio::test]
async fn connections_of_different_certificates_are_not_shared() {
    let authority = TestAuthority::new("internal");
    let (address, connections) = serve(&authority, VERSIONS[0]).await;
    let sender = sender_to(address);
    let one = settings(&authority, "one", 2_090, &authority).unwrap();
    let other = settings(&authority, "other", 2_090, &authority).unwrap();
    let copy = TlsSettings::new(one.ca_certificates(), one.client_certificate(), one.client_key()).unwrap();
    for tls in [&one, &other, &copy, &other] {
        let done = attempt_with(&sender, URL, Auth::None, Some(tls.clone())).await;
        assert_eq!(done.outcome, Outcome::Succeeded, "{:?}", done.diagnosis);
    }
    let none = attempt_with(&sender, URL, Auth::None, TlsSettings::new(&authority.pem, "", "")).await;
    assert_eq!(none.diagnosis.code, Code::TlsFailed, "no session of another webhook is resumed");
    let connections = connections.lock();
    assert_eq!(connections.iter().map(|(_, requests)| *requests).collect::<Vec<_>>(), [2, 2]);
    assert_ne!(connections[0].0, connections[1].0);
}

#[tokio::test]
async fn token_requests_present_the_client_certificate_and_tokens_are_not_shared() {
    let authority = TestAuthority::new("internal");
    let (address, connections) = serve(&authority, VERSIONS[0]).await;
    let sender = sender_to(address);
    let auth = Auth::Oauth2 {
        token_url: "https://own.example/token".into(),
        client_id: "berth".into(),
        client_secret: "s3cret-s3cret".into(),
        scope: None,
        audience: None,
    };
    for name in ["one", "other"] {
        let tls = settings(&authority, name, 2_090, &authority);
        for _ in 0..2 {
            let done = attempt_with(&sender, URL, auth.clone(), tls.clone()).await;
            assert_eq!(done.outcome, Outcome::Succeeded, "{:?}", done.diagnosis);
        }
    }
    assert_eq!(connections.lock().iter().map(|(_, requests)| *requests).collect::<Vec<_>>(), [3, 3]);
    let without = attempt_with(&sender, URL, auth, TlsSettings::new(&authority.pem, "", "")).await;
    assert_eq!(without.diagnosis.code, Code::TokenFailed);
    assert!(without.diagnosis.hint.contains("tls.client_certificate"), "{:?}", without.diagnosis);
}

#[tokio::test]
async fn settings_that_cannot_be_used_send_nothing() {
    let authority = TestAuthority::new("internal");
    let (address, connections) = serve(&authority, VERSIONS[0]).await;
    let (certificate, _) = authority.issue("berth", ExtendedKeyUsagePurpose::ClientAuth, 2_090);
    let tls = TlsSettings::new("", &certificate.pem(), "nonsense");
    let done = attempt_with(&sender_to(address), URL, Auth::None, tls).await;
    assert_eq!(done.diagnosis.code, Code::TlsFailed);
    assert!(done.diagnosis.message.contains("TLS settings of the webhook cannot be used"), "{:?}", done.diagnosis);
    assert_eq!(connections.lock().len(), 0);
}
