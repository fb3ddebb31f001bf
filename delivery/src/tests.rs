//! Attempts whose host names and trusted roots are fixed.

mod mutual_tls;

use crate::connector::Connector;
use crate::exchange::Clients;
use crate::happy_eyeballs::tests::BlackHole;
use crate::{AttemptOutcome, Auth, DeliveryRequest, Destination, Sender, Target, TlsSettings};
use bytes::Bytes;
use chrono::DateTime;
use domain::delivery::{DiagnosisCode as Code, Outcome};
use domain::endpoint::{Network, UrlPolicy};
use domain::event::EventType;
use domain::payload::PayloadFormat;
use domain::signature::Secret;
use http::HeaderValue;
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use test_support::{Receiver, Response};
use tokio::net::TcpListener;

/// A sender for which every host name has these addresses.
fn sender(addresses: Vec<SocketAddr>, allowed: &str, trusted: Option<CertificateDer<'static>>) -> Sender {
    sender_with(Arc::new(Mutex::new(addresses)), allowed, trusted)
}

/// Like [`sender`], with a resolver whose answer a test changes.
fn sender_with(
    addresses: Arc<Mutex<Vec<SocketAddr>>>,
    allowed: &str,
    trusted: Option<CertificateDer<'static>>,
) -> Sender {
    let policy = UrlPolicy { allow_http: true, allow_networks: vec![Network::parse(allowed).unwrap()] };
    sender_with_policy(policy, addresses, trusted)
}

fn sender_with_policy(
    policy: UrlPolicy,
    addresses: Arc<Mutex<Vec<SocketAddr>>>,
    trusted: Option<CertificateDer<'static>>,
) -> Sender {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(trusted);
    let mut connector = Connector::new(policy, roots).unwrap();
    connector.fixed_addresses = Some(addresses);
    let user_agent = HeaderValue::from_static("Berth-Webhooks/test");
    Sender { inner: Arc::new(Clients::with_connector(connector, user_agent, Duration::from_secs(10))) }
}

async fn attempt(sender: &Sender, url: &str, auth: Auth) -> AttemptOutcome {
    attempt_with(sender, url, auth, None).await
}

async fn attempt_with(sender: &Sender, url: &str, auth: Auth, tls: Option<Arc<TlsSettings>>) -> AttemptOutcome {
    let target = Target {
        webhook_id: 1,
        auth,
        secrets: vec![Secret::parse("your-secret-key").unwrap()],
        keys: Vec::new(),
        headers: Vec::new(),
        public_url: "https://berth.example.com".into(),
        tls,
    };
    let request = DeliveryRequest {
        target: Arc::new(target),
        url: Destination::new(url),
        delivery_id: "dlv_1".into(),
        event_id: "evt_1".into(),
        event_type: EventType::ReservationCreated,
        attempt: 1,
        test: false,
        format: PayloadFormat::Berth,
        body: Bytes::from_static(b"{}"),
    };
    sender.attempt(&request, DateTime::UNIX_EPOCH).await
}

#[tokio::test]
async fn http_is_refused_for_each_attempt_in_production() {
    let receiver = Receiver::start().await;
    let policy = UrlPolicy { allow_http: false, allow_networks: vec![Network::parse("127.0.0.0/8").unwrap()] };
    let sender = sender_with_policy(policy, Arc::new(Mutex::new(vec![address(&receiver)])), None);
    let oauth = Auth::Oauth2 {
        token_url: "http://idp.example/token".into(),
        client_id: "berth".into(),
        client_secret: "s3cret-s3cret".into(),
        scope: None,
        audience: None,
    };
    for (url, auth, host) in
        [("http://own.example/hook", Auth::None, "own.example"), ("https://own.example/hook", oauth, "idp.example")]
    {
        let done = attempt(&sender, url, auth).await;
        assert_eq!(done.diagnosis.code, Code::HttpsRequired, "{:?}", done.diagnosis);
        assert!(done.diagnosis.message.contains(host), "{:?}", done.diagnosis);
    }
    assert_eq!(receiver.count(), 0, "nothing was sent");
}

fn address(receiver: &Receiver) -> SocketAddr {
    receiver.url.trim_start_matches("http://").parse().unwrap()
}

#[tokio::test]
async fn host_whose_first_address_drops_syns_is_reached_for_token_and_event() {
    let dropping = BlackHole::new(Ipv4Addr::LOCALHOST.into(), 0);
    let receiver = Receiver::start().await;
    receiver.respond_with(|request| match request.path.as_str() {
        "/token" => Response::json(200, json!({"access_token": "token-1"})).with_header("connection", "close"),
        _ => Response::status(200),
    });
    let sender = sender(vec![dropping.address, address(&receiver)], "127.0.0.0/8", None);
    let auth = Auth::Oauth2 {
        token_url: "http://two.example/token".into(),
        client_id: "berth".into(),
        client_secret: "s3cret-s3cret".into(),
        scope: None,
        audience: None,
    };
    let done = attempt(&sender, "http://two.example/hook", auth).await;
    assert_eq!(done.outcome, Outcome::Succeeded, "{:?}", done.diagnosis);
    assert_eq!(receiver.requests().iter().map(|got| got.path.as_str()).collect::<Vec<_>>(), ["/token", "/hook"]);
}

#[tokio::test]
async fn blocked_addresses_of_a_host_are_never_tried() {
    let forbidden = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let receiver = Receiver::start().await;
    let refusing = SocketAddr::from(([127, 0, 0, 2], address(&receiver).port()));
    // 127.0.0.2 is allowed but does not listen, so the next address is tried.
    let addresses = vec![refusing, forbidden.local_addr().unwrap()];
    let done = attempt(&sender(addresses, "127.0.0.2/32", None), "http://two.example/", Auth::None).await;
    assert_eq!(done.diagnosis.code, Code::ConnectionRefused, "{:?}", done.diagnosis);
    let done = attempt(
        &sender(vec![forbidden.local_addr().unwrap()], "127.0.0.2/32", None),
        "http://two.example/",
        Auth::None,
    )
    .await;
    assert_eq!(done.diagnosis.code, Code::AddressNotAllowed);
    let accepted = tokio::time::timeout(Duration::ZERO, forbidden.accept()).await;
    assert!(accepted.is_err(), "no connection was opened to a blocked address");
}

/// The host name of a webhook resolves to an allowed address when it is registered and tested, and later to an internal one.
#[tokio::test]
async fn rebound_host_of_a_webhook_is_checked_on_each_connection() {
    let internal = TcpListener::bind("127.0.0.3:0").await.unwrap();
    let receiver = Receiver::start().await;
    receiver.respond(Response::status(200).with_header("connection", "close"));
    let addresses = Arc::new(Mutex::new(vec![address(&receiver)]));
    let sender = sender_with(addresses.clone(), "127.0.0.1/32", None);
    let first = attempt(&sender, "http://rebinding.example/", Auth::None).await;
    assert_eq!(first.outcome, Outcome::Succeeded, "{:?}", first.diagnosis);
    *addresses.lock() = vec![internal.local_addr().unwrap()];
    let second = attempt(&sender, "http://rebinding.example/", Auth::None).await;
    assert_eq!(second.diagnosis.code, Code::AddressNotAllowed, "{:?}", second.diagnosis);
    let accepted = tokio::time::timeout(Duration::ZERO, internal.accept()).await;
    assert!(accepted.is_err(), "no connection was opened to the internal address");
}

/// Serves TLS with a certificate, and HTTP 200 behind it. Returns the address.
async fn serve_tls(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> SocketAddr {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.read(&mut [0; 4_096]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        }
    });
    address
}

#[tokio::test]
async fn certificate_errors_name_their_cause() {
    let expired = |params: &mut rcgen::CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    };
    let client_only = |params: &mut rcgen::CertificateParams| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    };
    let authority = |params: &mut rcgen::CertificateParams| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    };
    type Change<'a> = &'a dyn Fn(&mut rcgen::CertificateParams);
    let unchanged: Change<'_> = &|_| {};
    for (names, change, trusted, expected) in [
        (&["own.example"][..], unchanged, true, "responded with 200"),
        (&["own.example"], unchanged, false, "an authority that Berth does not trust"),
        (&["own.example"], &authority as Change<'_>, true, "(CA:TRUE)"),
        (&["own.example"], &authority, false, "(CA:TRUE)"),
        (&[], unchanged, true, "no subject alternative name (SAN)"),
        (&["a.example", "b.example"], unchanged, true, "another name (a.example, b.example)"),
        (&["own.example"], &expired, true, "has expired"),
        (&["own.example"], &client_only, true, "is not for servers"),
    ] {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let address = serve_tls(certificate.der().clone(), key).await;
        let roots = trusted.then(|| certificate.der().clone());
        let done = attempt(&sender(vec![address], "127.0.0.0/8", roots), "https://own.example/", Auth::None).await;
        let code = if expected.contains("200") { Code::Ok } else { Code::CertificateInvalid };
        assert_eq!(done.diagnosis.code, code, "{:?}", done.diagnosis);
        assert!(done.diagnosis.message.contains(expected), "{:?}", done.diagnosis);
    }
}

/// Health checks do not resume TLS sessions, so that they see a renewed certificate.
#[tokio::test]
async fn certificate_of_a_server_is_known_after_a_connection_also_when_it_has_expired() {
    for (year, expected) in [(2_090, Code::Ok), (2_021, Code::CertificateInvalid)] {
        let mut params = rcgen::CertificateParams::new(vec!["own.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let address = serve_tls(certificate.der().clone(), key).await;
        let sender = sender(vec![address], "127.0.0.0/8", Some(certificate.der().clone()));
        let url = "https://own.example/hook";
        assert_eq!(sender.certificate(url), None);
        let result = sender.get(&Destination::new("https://own.example/health"), None).await;
        assert_eq!(result.map_or_else(|diagnosis| diagnosis.code, |_| Code::Ok), expected);
        let seen = sender.certificate(url).unwrap();
        assert_eq!(seen.expires_at.to_rfc3339(), format!("{year}-01-01T00:00:00+00:00"));
        assert!(seen.age < Duration::from_secs(10));
        assert_eq!(sender.certificate("https://own.example:8443/hook"), None);
        assert_eq!(sender.certificate("http://own.example/hook"), None);
        assert_eq!(attempt(&sender, url, Auth::None).await.diagnosis.code, expected);
    }
}
