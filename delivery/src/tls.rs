//! TLS settings of webhooks: client certificates (mutual TLS) and additional trusted authorities.
//!
//! Connections with different settings are never shared: each set of settings has its own HTTP clients
//! (`tls_clients`).

mod check;
mod details;
mod trust;

pub use details::{certificate_details, client_certificate_expiry};
pub use trust::tls_config;

pub(crate) use trust::{tls_config_with, trusted_roots};

use domain::webhook::normalized_certificates;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest as _, Sha256};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Maximum number of TLS sessions of one set of settings that can be resumed.
const TLS_SESSIONS: usize = 64;

/// The TLS settings of a webhook, in clear text. Equal settings share connections.
#[derive(Clone)]
pub struct TlsSettings {
    /// Certificates of authorities in PEM; empty without them.
    ca_certificates: String,
    /// The client certificate with its chain in PEM; empty without one.
    client_certificate: String,
    /// Its private key in PEM; empty without one.
    client_key: String,
    /// SHA-256 of the texts above.
    digest: [u8; 32],
}

impl TlsSettings {
    /// Settings of PEM texts, of which certificates get their canonical form. `None` if all are empty.
    pub fn new(ca_certificates: &str, client_certificate: &str, client_key: &str) -> Option<Arc<Self>> {
        let ca_certificates = normalized_certificates(ca_certificates);
        let client_certificate = normalized_certificates(client_certificate);
        let client_key = if client_certificate.is_empty() { "" } else { client_key.trim() };
        if ca_certificates.is_empty() && client_certificate.is_empty() {
            return None;
        }
        let mut hash = Sha256::new();
        for text in [&ca_certificates, &client_certificate, client_key] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        let digest = hash.finalize().into();
        Some(Arc::new(Self { ca_certificates, client_certificate, client_key: client_key.to_owned(), digest }))
    }

    /// The certificates of authorities in PEM; empty without them.
    pub fn ca_certificates(&self) -> &str {
        &self.ca_certificates
    }

    /// The client certificate with its chain in PEM; empty without one.
    pub fn client_certificate(&self) -> &str {
        &self.client_certificate
    }

    /// The private key in PEM; empty without one.
    pub fn client_key(&self) -> &str {
        &self.client_key
    }

    /// What a diagnosis must consider.
    pub(crate) fn features(&self) -> TlsFeatures {
        TlsFeatures {
            has_certificate: !self.client_certificate.is_empty(),
            has_authorities: !self.ca_certificates.is_empty(),
        }
    }

    /// The configuration of connections. `roots` are the authorities of the system.
    ///
    /// # Errors
    /// A sentence if the settings cannot be used.
    pub(crate) fn client_config(&self, roots: &Arc<RootCertStore>) -> Result<ClientConfig, String> {
        let mut roots = roots.clone();
        if !self.ca_certificates.is_empty() {
            let roots = Arc::make_mut(&mut roots);
            for certificate in certificates(&self.ca_certificates)? {
                roots.add(certificate).map_err(|error| format!("an authority's certificate is not valid: {error}"))?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let mut config = if self.client_certificate.is_empty() {
            builder.with_no_client_auth()
        } else {
            let chain = certificates(&self.client_certificate)?;
            builder.with_client_auth_cert(chain, private_key(&self.client_key)?).map_err(|error| error.to_string())?
        };
        config.resumption = rustls::client::Resumption::in_memory_sessions(TLS_SESSIONS);
        Ok(config)
    }
}

impl PartialEq for TlsSettings {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for TlsSettings {}

impl Hash for TlsSettings {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

domain::redacted_debug!(TlsSettings { ca_certificates, client_certificate } hides { client_key, digest });

/// The kinds of TLS settings that a connection has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TlsFeatures {
    /// Whether it presents a client certificate.
    pub(crate) has_certificate: bool,
    /// Whether it trusts additional authorities.
    pub(crate) has_authorities: bool,
}

/// The certificates of a PEM text.
fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| "a certificate is not valid PEM".to_owned())
}

/// The private key of a PEM text.
fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| "the private key is not valid PEM".to_owned())
}
