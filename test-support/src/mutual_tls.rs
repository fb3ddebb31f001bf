//! A receiver behind TLS that requires client certificates, with the authority that issues them.

#![expect(clippy::unwrap_used, reason = "a test harness fails by panicking")]

use crate::Receiver;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};

/// A client certificate and its private key, in PEM.
#[derive(Clone)]
pub struct ClientCertificate {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// A [`Receiver`] behind a proxy that ends TLS and accepts only clients with a certificate of its authority. The certificate of
/// the proxy has the same authority, which no system trusts.
pub struct MutualTlsReceiver {
    /// The `https://` URL of the proxy.
    pub url: String,
    /// The certificate of the authority in PEM.
    pub ca: String,
    /// The receiver behind the proxy.
    pub receiver: Receiver,
    authority: TestAuthority,
}

impl MutualTlsReceiver {
    /// Starts the receiver and its proxy on free ports of loopback.
    pub async fn start() -> Self {
        let receiver = Receiver::start().await;
        let authority = TestAuthority::new("Test authority");
        let config = authority.server_config("127.0.0.1", rustls::DEFAULT_VERSIONS);
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let behind = receiver.url.trim_start_matches("http://").to_owned();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, behind) = (acceptor.clone(), behind.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let Ok(mut receiver) = TcpStream::connect(behind).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut receiver).await;
                });
            }
        });
        Self { url, ca: authority.pem.clone(), receiver, authority }
    }

    /// Issues a client certificate that expires at the start of 2090.
    pub fn client(&self, name: &str) -> ClientCertificate {
        self.client_until(name, 2_090)
    }

    /// Issues a client certificate that expires at the start of a year.
    pub fn client_until(&self, name: &str, year: i32) -> ClientCertificate {
        let (certificate, key) = self.authority.issue(name, ExtendedKeyUsagePurpose::ClientAuth, year);
        ClientCertificate { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// An authority for certificates of servers and clients, which no system trusts.
pub struct TestAuthority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate in PEM.
    pub pem: String,
    /// Its certificate in DER.
    pub der: CertificateDer<'static>,
}

impl TestAuthority {
    /// Creates an authority with its key.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Self { issuer: Issuer::new(params, key), pem, der }
    }

    /// Issues a certificate with its key, which expires at the start of a year.
    pub fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose, year: i32) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        params.extended_key_usages = vec![usage];
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// The configuration of a server with a certificate for `host`, which accepts only clients with a certificate of this authority.
    pub fn server_config(&self, host: &str, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
        let (certificate, key) = self.issue(host, ExtendedKeyUsagePurpose::ServerAuth, 2_090);
        ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap()
    }
}
