//! The authorities that every webhook trusts, and the TLS configuration without settings of a webhook.

use std::sync::Arc;

/// Maximum number of TLS sessions that can be resumed.
const TLS_SESSIONS: usize = 1_024;

/// The TLS configuration of all clients: TLS 1.2 and 1.3, Mozilla's roots and those installed on the machine.
///
/// # Errors
/// A sentence for the operator when TLS cannot be configured.
pub fn tls_config() -> Result<rustls::ClientConfig, String> {
    tls_config_with(trusted_roots())
}

/// Mozilla's roots and those installed on the machine.
pub(crate) fn trusted_roots() -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    // An internal authority is trusted after the operator has installed it on the machine.
    for certificate in rustls_native_certs::load_native_certs().certs {
        let _ = roots.add(certificate);
    }
    roots
}

/// The TLS configuration with these trusted roots.
///
/// # Errors
/// A sentence for the operator when TLS cannot be configured.
pub(crate) fn tls_config_with(roots: impl Into<Arc<rustls::RootCertStore>>) -> Result<rustls::ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be configured: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.resumption = rustls::client::Resumption::in_memory_sessions(TLS_SESSIONS);
    Ok(tls)
}
